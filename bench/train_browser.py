"""Training steps in the browser: hither's bundle of a step, TensorFlow.js on each of its backends and jax-js, in one page.

Everyone begins with the weights that hither begins with natively, and the losses of the first steps must be hither's native
ones before anything is timed. An engine that takes seconds for a step is timed on a few single steps, in a page of its own.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
LIMIT_S = 120


def folder_of(net: Trained) -> str:
    """Where the page finds the net."""
    return f"train-{net.name}"


def prepare(net: Trained) -> dict[str, Any]:
    """Write the net's folder: the bundle of a training step, the batch, the first weights, and the losses to be had."""
    import hither as ht

    folder = site.SITE / folder_of(net)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    x, y = net.batch()
    specs = {"x": ht.Spec(x.shape, x.dtype), "y": ht.Spec(y.shape, y.dtype)}
    trainer = net.trainer()
    begin = time.perf_counter()
    manifest = ht.bundle(trainer, folder / "bundle", specs, targets=("wasm",))
    seconds = time.perf_counter() - begin
    losses = {"losses": np.array(train.expected_losses(net), np.float32)}
    site.pack(folder, {"x": x, "y": y}, losses, net.weights())
    return {"bundle_s": seconds, **site.weigh(folder / "bundle", manifest)}


def steady(
    browser: Any, served: site.Served, net: Trained, threads: int, rounds: int,
    engines: Sequence[tuple[str, str, str]] = ENGINES,
) -> dict[str, Any]:  # fmt: skip
    """Times of a training step of all contestants: each is tried in a page of its own, and those that are not slow take turns
    in one page."""
    record: dict[str, Any] = {**measure.conditions(), "contestants": {}, "skipped": {}}
    fast: list[tuple[str, str, str]] = []
    for name, engine, target in engines:
        options = {"target": target, "threads": threads, "net": net.name}
        try:
            with _opened(browser, served, net) as page:
                made = _added(page, name, engine, options)
                once = [page.evaluate("(name) => bench.once(name)", name)]
                if once[0] > SLOW_MS / 4:
                    once += [page.evaluate("(name) => bench.once(name)", name) for _ in range(2)]
        except Exception as error:
            if name == "hither":
                raise
            record["skipped"][name] = reason(error)
            continue
        record["contestants"][name] = {**made, **measure.summary(np.asarray(once) / 1e3)}
        if once[0] <= SLOW_MS / 4:
            fast.append((name, engine, target))
    with _opened(browser, served, net) as page:
        for name, engine, target in fast:
            _added(page, name, engine, {"target": target, "threads": threads, "net": net.name})
        times = page.evaluate("([rounds, share]) => bench.alternate(rounds, share)", [rounds, SHARE_MS])
    for name, ms in times.items():
        record["contestants"][name].update(measure.summary(np.asarray(ms) / 1e3))
    record["load_after"] = round(os.getloadavg()[0], 2)
    return record


@contextmanager
def _opened(browser: Any, served: site.Served, net: Trained) -> Iterator[Any]:
    with page_of(browser) as page:
        page.goto(f"{served.origin}/web/page.html")
        page.wait_for_function("globalThis.bench && crossOriginIsolated")
        page.evaluate("(base) => bench.open(base)", f"/nets/{folder_of(net)}/")
        yield page


def _added(page: Any, name: str, engine: str, options: dict[str, Any]) -> dict[str, Any]:
    """Set a contestant up and have it train for the first steps, in at most LIMIT_S.

    Raises:
        TimeoutError: it did not get there. (An engine that blocks the page cannot be interrupted; its page can be closed.)
        Disagreement: its losses are others.
    """
    page.evaluate(
        """([name, engine, options, floor]) => {
          globalThis.made = undefined;
          bench.add(name, engine, options, floor).then((made) => { globalThis.made = made; },
                                                       (error) => { globalThis.made = { failed: String(error) }; });
        }""",
        [name, engine, options, measure.FLOOR],
    )
    try:
        page.wait_for_function("globalThis.made", timeout=LIMIT_S * 1000)
    except Exception as error:
        raise TimeoutError(f"its first {train.CHECKED} steps take more than {LIMIT_S} s") from error
    made: dict[str, Any] = page.evaluate("globalThis.made")
    if "failed" in made:
        raise RuntimeError(made["failed"])
    if made["error"] is None or made["error"] > measure.TOLERANCE:
        raise measure.Disagreement(f"its losses differ by {made['error']} of the largest")
    return made
