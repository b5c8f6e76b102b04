"""Training where the bundle runs: in pages and in Node the losses are Python's, and the state outlives the page."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples.training.sources import digits

import hither as ht

from .browser import BLANK, Site, in_page, serving
from .bundles import flip, in_node

L = ht.nn
LOSS = L.losses.SparseCategoricalCrossentropy(from_logits=True)
STEPS, ROWS = 50, (16, 8)
DEVICES = ["device: 'wasm', threads: 1", "device: 'wasm', worker: true, threads: 2", "device: 'webgpu'"]


def specs(rows: int) -> dict[str, ht.Spec]:
    return {"x": ht.Spec((rows, 8, 8, 1)), "y": ht.Spec((rows,), "int32")}


def cnn() -> ht.nn.Sequential:
    L.seed(5)
    return L.Sequential([
        L.Input((8, 8, 1)), L.Conv2D(6, 3, padding="same", use_bias=False, name="edges"), L.BatchNormalization(name="norm"),
        L.ReLU(), L.MaxPooling2D(), L.Flatten(), L.Dropout(0.25), L.Dense(10, name="digit"),
    ])  # fmt: skip


def rows_of(step: int) -> slice:
    """The samples of a step; every tenth batch is smaller."""
    return slice(16 * step, 16 * step + ROWS[step % 10 == 9])


@dataclass
class Trained:
    """A bundle of an untrained network, and what the same network gives natively."""

    folder: Path
    x: np.ndarray
    y: np.ndarray
    losses: list[float]
    evaluated: dict[str, float]
    predicted: np.ndarray


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("training")
    (x, y), _ = digits()
    trainer = ht.Trainer(cnn(), LOSS, ht.optim.Adam(5e-3), metrics=["accuracy"], device="cpu", seed=2)
    ht.bundle(trainer, root / "cnn", [specs(rows) for rows in ROWS])
    losses = [trainer.train_on_batch(x[rows_of(i)], y[rows_of(i)])["loss"] for i in range(STEPS)]
    held = slice(1000, 1048)
    evaluated = trainer.evaluate(x[held], y[held], batch_size=16, verbose=0)
    predicted = trainer.predict(x[held], verbose=0).numpy()[:16]
    (root / "blank.html").write_text(BLANK)
    (root / "digits.json").write_text(json.dumps({"x": (x * 16).astype(int).ravel().tolist(), "y": y.tolist()}))
    return Trained(root / "cnn", x, y, losses, evaluated, predicted)


@pytest.fixture(scope="session")
def site(trained: Trained) -> Iterator[Site]:
    with serving(trained.folder.parent) as running:
        yield running


# `batch(first, last)` of the digits, `step(i)` as rows_of has it, and whether two states are the same to the bit
DATA = """
  const { x, y } = await (await fetch("/digits.json")).json();
  const batch = (a, b) => ({ x: Float32Array.from(x.slice(64 * a, 64 * b), (v) => v / 16), y: y.slice(a, b) });
  const step = async (p, i, options) => {
    const { loss } = await p.run("train_step", batch(16 * i, 16 * i + (i % 10 === 9 ? 8 : 16)), options);
    return loss.data[0];
  };
  const bits = (state) => Object.entries(state).map(([n, t]) => n + [...new Uint8Array(t.data.buffer)]).join();
"""


@pytest.mark.parametrize("options", DEVICES)
def test_pages_train_as_python_does(page: Any, site: Site, trained: Trained, options: str) -> None:
    """The same losses step by step, on batches of two sizes, then the same evaluation and predictions; and the weights go back
    to Python. Nothing is allocated on a GPU meanwhile."""
    body = f"""
      {DATA}
      const made = {{ buffers: 0, groups: 0 }}, count = (method, key) => {{
        const old = globalThis.GPUDevice?.prototype[method];
        if (old) GPUDevice.prototype[method] = function (...a) {{ made[key]++; return old.apply(this, a); }};
      }};
      count("createBuffer", "buffers");
      count("createBindGroup", "groups");
      const p = await load(url, {{ {options} }});
      await p.warmup({{ entry: "train_step" }});
      await p.warmup({{ variant: 1, entry: "train_step" }});
      Object.assign(made, {{ buffers: 0, groups: 0 }});
      const losses = [];
      for (let i = 0; i < {STEPS}; i++) losses.push(await step(p, i));
      await p.run("reset_metrics");
      let evaluated;
      for (let i = 1000; i < 1048; i += 16) evaluated = await p.run("evaluate", batch(i, i + 16));
      const {{ digit }} = await p.run({{ x: batch(1000, 1016).x }});
      const file = await p.export();
      return {{ losses, evaluated, digit, made, file: btoa(String.fromCharCode(...file)), threads: p.info.threads }};
    """
    got = in_page(page, site, body, "cnn")
    assert "value" in got, got
    got = got["value"]
    np.testing.assert_allclose(got["losses"], trained.losses, rtol=1e-3, atol=1e-3)
    assert {n: t["data"][0] for n, t in got["evaluated"].items()} == pytest.approx(trained.evaluated, abs=1e-3)
    np.testing.assert_allclose(np.reshape(got["digit"]["data"], (16, 10)), trained.predicted, atol=5e-3)
    assert got["made"] == {"buffers": 0, "groups": 0}
    file = trained.folder.parent / "exported.safetensors"
    file.write_bytes(base64.b64decode(got["file"]))
    net = cnn()
    net.load_weights(ht.load_weights(file))
    np.testing.assert_allclose(net(trained.x[1000:1016]).numpy(), np.reshape(got["digit"]["data"], (16, 10)), atol=1e-4)


@pytest.mark.parametrize("options", DEVICES)
def test_epochs_of_any_number_of_samples(page: Any, site: Site, trained: Trained, options: str) -> None:
    """43 samples in batches of 16 and of 10: the last one has 11, or 3. Statistics of batches, draws, losses and metrics are of
    those alone, as the Trainer's, which compiles steps for them; and any number of samples is evaluated and predicted."""
    trainer = ht.Trainer(cnn(), LOSS, ht.optim.Adam(5e-3), metrics=["accuracy"], device="cpu", seed=2)
    settings = {"shuffle": False, "verbose": 0}
    x, y, held = trained.x[:43], trained.y[:43], (trained.x[43:62], trained.y[43:62])
    expected: dict[str, list[float]] = {}
    for size, epochs in ((None, 3), (10, 2)):
        logs = trainer.fit(x, y, batch_size=size or 16, epochs=epochs, validation_data=held, **settings).history
        expected = {name: expected.get(name, []) + logs[name] for name in logs}
    body = f"""
      {DATA}
      const {{ fit, predict }} = await import(url + "/hither-fit.js"), p = await load(url, {{ {options} }});
      const validation = batch(43, 62), first = await fit(p, batch(0, 43), {{ epochs: 3, shuffle: false, validation }});
      const second = await fit(p, batch(0, 43), {{ epochs: 2, shuffle: false, validation, batchSize: 10 }});
      const history = Object.fromEntries(Object.keys(first).map((n) => [n, [...first[n], ...second[n]]]));
      const held = validation.x, one = await predict(p, {{ x: held.slice(0, 64) }}), all = await predict(p, {{ x: held }});
      const wrong = await fit(p, batch(0, 43), {{ batchSize: 17 }}).catch((e) => e.message);
      return {{ history, one: one.digit, all: all.digit, wrong }};
    """
    got = in_page(page, site, body, "cnn")
    assert "value" in got, got
    got = got["value"]
    assert set(got["history"]) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(got["history"][name], values, rtol=1e-4, atol=1e-4, err_msg=name)
    predicted = trainer.predict(held[0], verbose=0).numpy()
    assert got["all"]["shape"] == [19, 10] and got["one"]["shape"] == [1, 10]
    np.testing.assert_allclose(np.reshape(got["all"]["data"], (19, 10)), predicted, atol=1e-3)
    np.testing.assert_allclose(got["one"]["data"], predicted[0], atol=1e-3)
    assert "batchSize is a number from 1 to 16" in got["wrong"]


@pytest.mark.parametrize("options", DEVICES[1:])
def test_a_state_outlives_the_page(page: Any, site: Site, options: str) -> None:
    """What follows a kept state is decided by it: weights, moments, running averages and random keys all come back."""
    load = f"{DATA} const p = await load(url, {{ {options} }});"
    before = f"""
      {load}
      for (let i = 0; i < 4; i++) await step(p, i);
      await p.save("run");
      return [await step(p, 4), await step(p, 9), bits(await p.state())];
    """
    after = f"""
      {load}
      const fresh = bits(await p.state());
      await p.restore("run");
      const kept = bits(await p.state());
      return [await step(p, 4), await step(p, 9), bits(await p.state()), fresh === kept];
    """
    first = in_page(page, site, before, "cnn")
    page.reload()
    again = in_page(page, site, after, "cnn")
    assert again["value"] == [*first["value"], False]


@pytest.mark.parametrize("options", DEVICES[1:])
def test_a_step_that_fails_leaves_the_state(page: Any, site: Site, options: str) -> None:
    """Aborted, or with a loss that is not finite: not a bit changes. Python says so of its steps, too."""
    body = f"""
      {DATA}
      const p = await load(url, {{ {options} }});
      await step(p, 0);
      const before = bits(await p.state()), nan = {{ ...batch(0, 16), x: new Float32Array(1024).fill(NaN) }};
      const {{ loss, accuracy }} = await p.run("train_step", nan), unhurt = bits(await p.state()) === before;
      let aborted;
      for (let tries = 0; tries < 20 && aborted === undefined; tries++) {{  // a step may end before it is aborted
        await p.loadState(await p.state());
        const stop = new AbortController(), start = bits(await p.state());
        const ran = step(p, 1, {{ signal: stop.signal }}).then(() => 0, (e) => e.name);
        setTimeout(() => stop.abort());
        if (await ran === "AbortError") aborted = bits(await p.state()) === start;
      }}
      return {{ loss: String(loss.data[0]), accuracy: accuracy.data[0], unhurt, aborted }};
    """
    got = in_page(page, site, body, "cnn")["value"]
    assert got["loss"] == "NaN" and 0 <= got["accuracy"] <= 1
    assert got["unhurt"] and got["aborted"]


# -- in Node, and of any kind of network ---------------------------------------------------------------------------------------


def recurrent() -> ht.nn.Sequential:
    L.seed(1)
    return L.Sequential([
        L.Input((5,), dtype="int32"), L.Embedding(9, 4, mask_zero=True, name="words"),
        L.GRU(6, dropout=0.2, name="gru"), L.Dense(1, name="score"),
    ])  # fmt: skip


def two_by_two() -> ht.nn.Functional:
    L.seed(3)
    a, b = L.Input((3,), name="left"), L.Input((2,), name="right")
    h = L.Dense(4, activation="tanh", name="h")(L.Concatenate(name="both")([a, b]))
    return L.Functional([a, b], [L.Dense(1, name="level")(h), L.Dense(3, name="kind")(h)])


def arrays(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.normal(size=shape).astype(np.float32)


STEPPING = """
  const program = await load(folder, { device: "wasm", threads: 1 }), found = [];
  for (let i = 0; i < 8; i++) found.push(await program.run("train_step", inputs));
  return found.map((f) => Object.fromEntries(Object.entries(f).map(([n, t]) => [n, t.data[0]])));
"""


def test_a_recurrent_network_trains_in_node(node: str, tmp_path: Path) -> None:
    """Loops, masks, lookups and dropout inside of loops, their gradients, and an optimizer with moments."""
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 9, (6, 5)).astype(np.int32), rng.normal(size=(6, 1)).astype(np.float32)
    trainer = ht.Trainer(recurrent(), "mse", ht.optim.RMSprop(0.01), metrics=["mae"], device="cpu", seed=1)
    trainer.train_on_batch(x, y)
    ht.bundle(trainer, tmp_path / "b", targets=("wasm",))  # the shapes of the batch that it has seen, and what it has learnt
    expected = [trainer.train_on_batch(x, y)["loss"] for _ in range(8)]
    got = in_node(node, tmp_path / "b", STEPPING, inputs={"x": x.ravel().tolist(), "y": y.ravel().tolist()})
    assert "value" in got, got
    np.testing.assert_allclose([f["loss"] for f in got["value"]], expected, rtol=1e-4)


def test_several_inputs_outputs_and_weights_of_samples(node: str, tmp_path: Path) -> None:
    """Everything has the name that the network gives it."""
    normal = arrays()
    left, right, level, weight = normal(4, 3), normal(4, 2), normal(4, 1), np.array([1, 0, 2, 0.5], np.float32)
    kind = np.array([0, 2, 1, 2], np.int32)
    trainer = ht.Trainer(two_by_two(), {"level": "mse", "kind": LOSS}, "adam", {"kind": ["accuracy"]}, device="cpu")
    given = {"left": left, "right": right, "y_level": level, "y_kind": kind, "sample_weight": weight}
    manifest = ht.bundle(trainer, tmp_path / "b", {n: ht.Spec(a.shape, a.dtype) for n, a in given.items()}, targets=("wasm",))
    entries = manifest["variants"][0]["entries"]
    assert [s["name"] for s in entries["predict"]["inputs"]] == ["left", "right"]
    assert [s["name"] for s in entries["predict"]["outputs"]] == ["level", "kind"]
    assert {s["name"] for s in entries["evaluate"]["outputs"]} == {"loss", "level_loss", "kind_loss", "kind_accuracy"}
    expected = [trainer.train_on_batch([left, right], [level, kind], weight) for _ in range(8)]
    inputs = {name: array.ravel().tolist() for name, array in given.items()}
    got = in_node(node, tmp_path / "b", STEPPING, inputs=inputs)
    assert "value" in got, got
    np.testing.assert_allclose([f["loss"] for f in got["value"]], [e["loss"] for e in expected], rtol=1e-4)
    assert got["value"][0]["kind_accuracy"] == pytest.approx(expected[0]["kind_accuracy"])


def test_states_that_do_not_fit_are_refused(node: str, line: Path, trained: Trained, tmp_path: Path) -> None:
    """Of another network, damaged, cut short, or with a value of another shape: an error each, and the state stays."""
    kept = tmp_path / "kept"
    body = """
      const p = await load(folder, { device: "wasm", threads: 1 });
      const error = (act) => act.then(() => null, (e) => [e.code, e.message]);
      await p.run("train_step", { x: Array(8).fill(1), y: Array(4).fill(1) });
      await p.save(kept);
      const before = JSON.stringify(await p.state()), file = await p.export();
      const found = [
        await error(p.restore(other)), await error(p.restore(kept + "-damaged")), await error(p.restore(kept + "-none")),
        await error(p.import(file.subarray(0, 20))), await error(p.import(file, "optimizer")), await error(p.export("nothing")),
        await error(p.loadState({ "weights.line.bias": [1, 2] })), await error(p.loadState({ "weights.line": [1] })),
      ];
      await p.loadState({ "optimizer.learning_rate": 0.25 });
      const rate = (await p.state())["optimizer.learning_rate"].data[0];
      await p.restore(kept);
      return { found, rate, same: JSON.stringify(await p.state()) === before };
    """
    for folder, file in ((line, kept), (trained.folder, tmp_path / "other")):
        saved = in_node(node, folder, "await (await load(folder, { device: 'wasm' })).save(kept);", kept=str(file))
        assert saved == {"value": None}
    (tmp_path / "kept-damaged").write_bytes(kept.read_bytes())
    flip(tmp_path / "kept-damaged", kept.stat().st_size - 1)
    got = in_node(node, line, body, kept=str(kept), other=str(tmp_path / "other"))["value"]
    assert [code for code, _ in got["found"]] == ["state"] * 8
    messages = [message for _, message in got["found"]]
    for message, part in zip(
        messages,
        ("the file has", "do not have their SHA-256", "ENOENT", "cut short", "the file has", "no state nothing.*",
         "the state is weights.line.bias: float32[1], got [2]", 'no state "weights.line"'),
    ):  # fmt: skip
        assert part in message, messages
    assert got["rate"] == 0.25 and got["same"]
    np.testing.assert_array_equal(ht.load_weights(kept)["optimizer.step"].numpy(), 1)  # what is kept is a safetensors file


def frozen() -> ht.nn.Sequential:
    """A backbone that training leaves as it is, statistics included, and a head."""
    L.seed(7)
    net = L.Sequential([
        L.Input((6, 6, 3)), L.Conv2D(8, 3, padding="same", use_bias=False, name="edges"), L.BatchNormalization(name="norm"),
        L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(3, name="head"),
    ])  # fmt: skip
    draw = arrays(8)
    net.load_weights({"norm.moving_mean": draw(8) / 5, "norm.moving_variance": 1 + draw(8) ** 2}, strict=False)
    for layer in net.layers[:-1]:
        layer.trainable = False
    return net


def test_frozen_weights_are_constants(node: str, tmp_path: Path) -> None:
    """They are folded and packed as those of a model, no part of the state, and exported with it: the file has all weights.
    A file in which they differ is refused, and so is a state that was kept beside others."""
    net = frozen()
    trainer = ht.Trainer(net, LOSS, ht.optim.SGD(0.5), device="cpu")
    normal = arrays(1)
    x, y = normal(4, 6, 6, 3), np.array([0, 2, 1, 0], np.int32)
    given = {"x": ht.Spec(x.shape), "y": ht.Spec(y.shape, "int32")}
    manifest = ht.bundle(trainer, tmp_path / "b", given)
    alone = ht.bundle(net, tmp_path / "model", {"x": ht.Spec(x.shape)})
    steps, plain = (m["builds"][0]["variants"][0]["predict"]["steps"] for m in (manifest, alone))
    assert len(steps) == len(plain) and len(manifest["frozen"]) == 5  # the normalisation has no step of its own
    assert not [n for n in ht.load(tmp_path / "b").state if "edges" in n or "norm" in n]
    body = """
      const { readFile, writeFile } = await import("node:fs/promises");
      const p = await load(folder, { device: "wasm", threads: 1 }), losses = [];
      for (let i = 0; i < 3; i++) losses.push((await p.run("train_step", inputs)).loss.data[0]);
      await p.save(kept);
      await writeFile(file, await p.export());
      const known = Object.keys(await p.state());
      await p.import(await readFile(file));
      const error = await p.loadState({ "weights.edges.kernel": [1] }).catch((e) => e.message);
      return { losses, known, error };
    """
    inputs = {"x": x.ravel().tolist(), "y": y.tolist()}
    file, kept = tmp_path / "all.safetensors", tmp_path / "kept"
    got = in_node(node, tmp_path / "b", body, inputs=inputs, file=str(file), kept=str(kept))
    assert "value" in got, got
    got = got["value"]
    np.testing.assert_allclose(got["losses"], [trainer.train_on_batch(x, y)["loss"] for _ in range(3)], rtol=1e-5)
    assert {n for n in got["known"] if n.startswith("weights.")} == {"weights.head.kernel", "weights.head.bias"}
    assert '"weights.edges.kernel" is frozen' in got["error"]
    weights = {n: a.numpy() for n, a in ht.load_weights(file).items()}
    assert set(weights) == set(net.weights)
    other = frozen()
    other.load_weights(weights)
    np.testing.assert_allclose(other(x).numpy(), trainer.predict(x, verbose=0).numpy(), rtol=1e-5, atol=1e-6)
    weights["norm.gamma"] = weights["norm.gamma"] + 1
    ht.save_weights(weights, tmp_path / "changed.safetensors")
    head = {n: a for n, a in weights.items() if n.startswith("head")}
    ht.save_weights(head, tmp_path / "head.safetensors")
    trainer.set_weights(weights)
    ht.bundle(trainer, tmp_path / "c", given, targets=("wasm",))
    body = """
      const p = await load(folder, { device: "wasm", threads: 1 }), { readFile } = await import("node:fs/promises");
      const error = async (act) => act.then(() => null, (e) => e.message), before = JSON.stringify(await p.state());
      const take = (file) => error(readFile(file).then((f) => p.import(f)));
      const changed = await take(files[0]), same = JSON.stringify(await p.state()) === before;
      return { changed, same, kept: await error(p.restore(kept)), head: await take(files[1]) };
    """
    files = [str(tmp_path / f"{n}.safetensors") for n in ("changed", "head")]
    got, after = (in_node(node, tmp_path / n, body, files=files, kept=str(kept))["value"] for n in "bc")
    assert 'other values of "norm.gamma", which is frozen' in got["changed"] and got["same"]
    assert got["kept"] is None and got["head"] is None
    assert after["changed"] is None and "kept beside other frozen weights" in after["kept"]


def test_files_with_forged_places_are_refused(node: str, line: Path) -> None:
    """Offsets that are text, or no pair, must not let a file write beyond its tensors; no header is no crash."""
    body = """
      const p = await load(folder, { device: "wasm", threads: 1 }), good = await p.export();
      const length = Number(new DataView(good.buffer).getBigUint64(0, true)), data = good.subarray(8 + length);
      const header = JSON.parse(new TextDecoder().decode(good.subarray(8, 8 + length)));
      delete header.__metadata__;
      const file = (h) => {
        const head = new TextEncoder().encode(JSON.stringify(h)), made = new Uint8Array(8 + head.length + data.length + 4096);
        new DataView(made.buffer).setBigUint64(0, BigInt(head.length), true);
        made.set(head, 8);
        made.set(data, 8 + head.length);
        return made;
      };
      const [name] = Object.keys(header), [from, to] = header[name].data_offsets, found = [];
      for (const places of [[String(from), String(to)], [from], {}, null, [from, to, 1e9], [-8, to - from - 8]]) {
        const forged = { ...header, [name]: { ...header[name], data_offsets: places } };
        found.push(await p.import(file(forged)).then(() => "taken", (e) => e.code));
      }
      found.push(await p.import(file(null)).then(() => "taken", (e) => e.code));
      return { found, good: await p.import(file(header)).then(() => "taken") };
    """
    assert in_node(node, line, body)["value"] == {"found": ["state"] * 7, "good": "taken"}
