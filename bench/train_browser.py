"""Training steps in the browser: hither's bundle of a step, TensorFlow.js on each of its backends and jax-js, in one page.

Everyone begins with the weights that hither begins with natively, and the losses of the first steps must be hither's native ones
before anything is timed. An engine that takes seconds for a step is timed on a few single steps.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np

from . import measure, site, train
from .browser import SHARE_MS, SLOW_MS, page_of, reason
from .trained import Trained

# (name in the report, module in web/engines, its target); ours first
ENGINES = (
    ("hither", "train_hither", "wasm"),
    ("tfjs cpu", "train_tfjs", "cpu"),
    ("tfjs wasm", "train_tfjs", "wasm"),
    ("tfjs webgl", "train_tfjs", "webgl"),
    ("tfjs webgpu", "train_tfjs", "webgpu"),
    ("jax-js", "train_jaxjs", "wasm"),
)


def folder_of(net: Trained) -> str:
    """Where the page finds the net."""
    return f"train-{net.name}"


def prepare(net: Trained) -> dict[str, Any]:
    """Write the net's folder: the bundle of a training step, the batch, the first weights, and the losses to be had."""
    import hither as ht
    from hither.train.batches import Batch

    folder = site.SITE / folder_of(net)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    x, y = net.batch()
    batch = Batch(x, y)
    steps = net.trainer().prepare(batch)
    named = steps._named("train", batch)
    specs = {name: ht.Spec(array.shape, array.dtype) for name, array in named.items()}
    manifest = ht.bundle({"train": steps.train}, folder / "bundle", specs, targets=("wasm",), state=steps.initial)
    losses = {"losses": np.array(train.expected_losses(net), np.float32)}
    site.pack(folder, {"x": x, "y": y}, losses, net.weights())
    return site.weigh(folder / "bundle", manifest)


def steady(browser: Any, served: site.Served, net: Trained, threads: int, rounds: int) -> dict[str, Any]:
    """Times of a training step of all contestants."""
    record: dict[str, Any] = {**measure.conditions(), "contestants": {}, "skipped": {}}
    slow: dict[str, list[float]] = {}
    with page_of(browser) as page:
        page.goto(f"{served.origin}/web/page.html")
        page.wait_for_function("globalThis.bench && crossOriginIsolated")
        page.evaluate("(base) => bench.open(base)", f"/nets/{folder_of(net)}/")
        for name, engine, target in ENGINES:
            try:
                made = page.evaluate(
                    "([name, engine, options, floor]) => bench.add(name, engine, options, floor)",
                    [name, engine, {"target": target, "threads": threads, "net": net.name}, measure.FLOOR],
                )
                if made["error"] is None or made["error"] > measure.TOLERANCE:
                    raise measure.Disagreement(f"its losses differ by {made['error']} of the largest")
            except Exception as error:
                if name == "hither":
                    raise
                page.evaluate("(name) => bench.remove(name)", name)
                record["skipped"][name] = reason(error)
                continue
            record["contestants"][name] = made
            once = page.evaluate("(name) => bench.once(name)", name)
            if once > SLOW_MS / 4:
                slow[name] = [once, *(page.evaluate("(name) => bench.once(name)", name) for _ in range(2))]
                page.evaluate("(name) => bench.remove(name)", name)
        times = page.evaluate("([rounds, share]) => bench.alternate(rounds, share)", [rounds, SHARE_MS])
    for name, ms in {**times, **slow}.items():
        record["contestants"][name].update(measure.summary(np.asarray(ms) / 1e3))
    record["load_after"] = round(os.getloadavg()[0], 2)
    return record
