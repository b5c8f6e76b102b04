"""hither-fit.js: epochs over a bundled Trainer's entries are `Trainer.fit`'s, also offline.

What a step is, and what happens to the state, is in tests/test_page_training.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht

from .browser import serving
from .bundles import in_node

L = ht.nn


def test_fit_goes_through_the_samples(node: str, line: Path) -> None:
    """A line through noiseless samples is found; what an epoch reports is over all of it; an order comes from the seed."""
    x = np.random.default_rng(5).normal(size=(11, 2)).astype(np.float32)
    y = x @ [[2.0], [-1.0]] + 0.5
    body = """
      const { fit, evaluate } = await import(folder + "/hither-fit.js"), seen = [], sizes = [];
      const onBatch = (b) => void sizes.push(b), onEpoch = (e) => void seen.push(e);
      const options = { epochs: 40, seed: 3, validation: samples, onBatch, onEpoch };
      const samples_ = { x: Float32Array.from(samples.x), y: samples.y };
      const p = await load(folder, { device: "wasm", threads: 1 }), first = await fit(p, samples_, options);
      const q = await load(folder, { device: "wasm", threads: 1 }), again = await fit(q, samples_, { ...options, epochs: 1 });
      const stopped = await fit(q, samples, { epochs: 5, onEpoch: (e) => e < 1 });
      const error = async (act) => act.then(() => null, (e) => [e.code, e.message]);
      return {
        first, again, seen: seen.length, batches: Math.max(...sizes) + 1, stopped: stopped.loss.length,
        all: await evaluate(p, samples),
        weights: Object.fromEntries(Object.entries(await p.state()).map(([n, t]) => [n, t.data])),
        short: await error(fit(p, { x: samples.x.slice(1), y: samples.y })), none: await error(fit(p, { x: samples.x })),
        other: await error(fit(p, { ...samples, z: [1] })),
        turned: await error(fit(p, { x: { data: samples.x, shape: [2, 11] }, y: samples.y })),
        shaped: await error(fit(p, { x: { data: samples.x, shape: [11, 2] }, y: { data: samples.y, shape: [11, 1] } })),
        epochs: await error(fit(p, samples, { epochs: "many" })),
        nan: await error(fit(p, { x: samples.x.map(() => NaN), y: samples.y })),
        aborted: await error(fit(p, samples, { signal: AbortSignal.abort() })),
      };
    """
    got = in_node(node, line, body, samples={"x": x.ravel().tolist(), "y": y.ravel().tolist()})
    assert "value" in got, got
    got = got["value"]
    assert got["seen"] == 41 and got["batches"] == 3  # 4 + 4 + 3 samples
    assert got["first"]["loss"][0] == got["again"]["loss"][0] and got["stopped"] == 2
    assert got["first"]["val_loss"][-1] == got["all"]["loss"] < 1e-3
    np.testing.assert_allclose(got["weights"]["weights.line.kernel"], [2, -1], atol=0.02)
    np.testing.assert_allclose(got["weights"]["weights.line.bias"], [0.5], atol=0.02)
    assert got["short"] == ["input", '"x" has 21 elements, not 10 rows of [2]']
    assert got["none"][0] == "input" and '"z" of the samples is no input' in got["other"][1]
    assert got["turned"] == ["input", '"x" has the shape [2,11], not 11 rows of [2]'] and got["shaped"] is None
    assert got["epochs"] == ["option", "epochs is many, not a number"]
    assert got["nan"][0] == "loss" and got["aborted"][1].startswith("This operation was aborted")


def test_batches_are_cut_into_the_same_arrays(node: str, line: Path) -> None:
    """Nothing is allocated per step: one array for each input and size of a batch. What is wrong with validation data is said
    before an epoch has been trained."""
    body = """
      const { fit } = await import(folder + "/hither-fit.js"), p = await load(folder, { device: "wasm", threads: 1 });
      const run = p.run.bind(p), seen = { train: new Set(), evaluate: new Set() };
      let steps = 0;
      p.run = (entry, values, options) => {
        if (values?.x) steps++;
        for (const t of [values?.x, values?.y]) t && seen[/[a-z]+/.exec(entry)[0]].add(t.data);
        return run(entry, values, options);
      };
      const samples = { x: new Float32Array(22).fill(1), y: Array(11).fill(1) };
      const wrong = await fit(p, samples, { validation: { x: samples.x } }).catch((e) => e.message), before = steps;
      await fit(p, samples, { epochs: 3, validation: { x: samples.x.slice(0, 10), y: new Float32Array(5) } });
      return { wrong, before, steps, made: [seen.train.size, seen.evaluate.size] };
    """
    got = in_node(node, line, body)["value"]
    # 4 + 4 + 3 samples, and 4 + 1, in programs for 4 and for 1
    assert got == {"wrong": '"y" of the samples is missing, or no array', "before": 0, "steps": 15, "made": [2, 4]}


def test_averages_become_the_weights_as_training_ends(node: str, tmp_path: Path) -> None:
    """As in Trainer.fit, where the optimizer has use_ema; other bundles have no such entry."""
    x = np.random.default_rng(5).normal(size=(8, 2)).astype(np.float32)
    y = x @ [[2.0], [-1.0]]

    def made() -> ht.Trainer:
        L.seed(1)
        net = L.Sequential([L.Input((2,)), L.Dense(1, name="line")])
        return ht.Trainer(net, "mse", ht.optim.SGD(0.1, use_ema=True, ema_momentum=0.8), device="cpu")

    given = {"x": ht.Spec((4, 2)), "y": ht.Spec((4, 1))}
    ht.bundle(made(), tmp_path, given, targets=("wasm",))
    body = """
      const { fit } = await import(folder + "/hither-fit.js"), p = await load(folder, { device: "wasm", threads: 1 });
      await fit(p, samples, { epochs: 3, shuffle: false });
      return Object.fromEntries(Object.entries(await p.state()).map(([n, t]) => [n, t.data]));
    """
    got = in_node(node, tmp_path, body, samples={"x": x.ravel().tolist(), "y": y.ravel().tolist()})["value"]
    trainer = made()
    trainer.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    assert got["weights.line.kernel"] == got["optimizer.average.line.kernel"]
    np.testing.assert_allclose(got["weights.line.kernel"], trainer.net.weights["line.kernel"].numpy().ravel(), rtol=1e-5)


LEARNER = """<!doctype html><title>learner</title><link rel=icon href=data:,><script type=module>
  import { load } from "./BUNDLEhither.js";
  import { fit, evaluate } from "./BUNDLEhither-fit.js";
  const samples = { x: Float32Array.from({ length: 22 }, (_, i) => i % 5 / 5), y: new Float32Array(11).fill(3) };
  try {
    const program = await load("./BUNDLE", { device: "wasm" });
    if (navigator.onLine) await navigator.serviceWorker.register("sw.js?ASKED");
    else await program.restore("mine"); // what an earlier visit has learnt
    const { loss } = await fit(program, samples, { epochs: 2 });
    await program.save("mine");
    document.title = "loss " + [...loss, (await evaluate(program, samples)).loss];
  } catch (e) { document.title = "failed: " + e.message; }
</script>"""


@pytest.mark.parametrize("where", ["in the bundle", "above it"])
def test_a_page_trains_offline(page: Any, line: Path, tmp_path: Path, where: str) -> None:
    """After one visit, with what that has learnt. One's own page lies in the bundle, or has the service worker beside it."""
    bundle, asked = ("", "file=page.html") if where == "in the bundle" else ("b/", "bundle=b/&file=page.html")
    shutil.copytree(line, tmp_path / bundle, dirs_exist_ok=True)
    shutil.copy(line / "sw.js", tmp_path / "sw.js")
    (tmp_path / "page.html").write_text(LEARNER.replace("BUNDLE", bundle).replace("ASKED", asked))
    losses = []
    with serving(tmp_path) as own:
        page.goto(f"{own.origin}/page.html")
        for online in (True, False):
            page.wait_for_function("document.title !== 'learner'", timeout=20000)
            assert page.title().startswith("loss "), page.title()
            losses.append([float(x) for x in page.title().removeprefix("loss ").split(",")])
            if online:
                page.evaluate("navigator.serviceWorker.ready.then(() => new Promise((done) => setTimeout(done, 300)))")
                page.context.set_offline(True)
                own.requests.clear()
                page.reload()
        assert not own.requests
        page.context.set_offline(False)
    assert losses[1][0] < losses[0][0] and losses[1][2] < losses[0][2]
