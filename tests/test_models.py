"""Real networks on every target against the runtime they were made for: `make models`, or `make models ARGS='-k ppocr'`.

ONNX networks are run once by ONNX Runtime; of TF.js networks, samples of what TF.js gives are kept (tests/models_tfjs.py). Each
is then compiled for each target. Bundles are loaded by the real loader in headless
Chromium: inputs go in as typed arrays, results come back as bytes and are compared here. `python -m tests.test_models` makes
docs/models.md of what was measured (tests/models_report.py), once every network has been on every target.
"""

from __future__ import annotations

import base64
import gc
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import hither as ht
from hither.program import Program

from . import models, models_report, models_tfjs
from .browser import serving
from .models import RealModel, Sampled
from .models_report import TOLERANCE, Measurement, record

pytestmark = pytest.mark.slow

PAGE = "<!doctype html><title>models</title><link rel=icon href=data:,>"

MODELS: dict[str, RealModel] = {**models.MODELS, **models_tfjs.MODELS}
# What `make test` keeps of `make models`: a convolution net, one of integers and gathers, one with branches and an LSTM.
IN_EVERY_RUN = ("ppocr-cls", "magika", "silero-vad-16k-op15")
CASES = models_report.ONNX.cases() + models_report.TFJS.cases()

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A network, what goes in, and what its own runtime makes of it. `moved`: see `sensitivity`."""

    name: str
    model: RealModel
    path: Path
    feeds: Arrays
    expected: dict[str, Sampled]
    milliseconds: float  # ONNX Runtime's, with its own choice of threads; 0 where results are kept ones
    moved: float


def marks(name: str, device: str) -> list[pytest.MarkDecorator]:
    """What a case needs, and whether it waits for `make models`."""
    needs = [pytest.mark.browser] if device.startswith("chromium") else [pytest.mark.gpu] if device == "webgpu" else []
    every = name in IN_EVERY_RUN and device != "chromium webgpu"
    return needs if every else [*needs, pytest.mark.models]


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """One network at a time: what a refilled one needs on disk (VGG-19: 548 MiB) is gone before the next comes."""
    name: str = request.param
    folder = tmp_path_factory.mktemp("model")
    model = MODELS[name]
    path, feeds = model.prepared(folder), model.feeds()
    gc.collect()
    if isinstance(model, models_tfjs.GraphModel):
        yield Case(name, model, path, feeds, model.expected(), 0.0, 0.0)
        return
    results, milliseconds = run_onnx_runtime(path, feeds)
    moved = sensitivity(path, feeds, results) if model.unstable else 0.0
    expected = {k: Sampled.of(a) for k, a in results.items()}
    yield Case(name, model, path, feeds, expected, milliseconds, moved)
    shutil.rmtree(folder)
    gc.collect()


def run_onnx_runtime(path: Path, feeds: Arrays) -> tuple[Arrays, float]:
    """Outputs and milliseconds a run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    results, milliseconds = timed(lambda: session.run(None, feeds))
    return dict(zip((o.name for o in session.get_outputs()), results, strict=True)), milliseconds


def sensitivity(path: Path, feeds: Arrays, expected: Arrays) -> float:
    """How far ONNX Runtime's own outputs move when its inputs do by one unit in the last place.

    Dynamic quantisation rounds to 255 steps in every layer, and a last bit decides which step. Where that moves a network's
    output by more than the tolerance, no two correct implementations agree to it; each operator by itself still must (see
    test_quantised_operators_are_exact).
    """
    worst = 0.0
    for factor in (1 + 2.0**-23, 1 - 2.0**-24, 1 + 2.0**-22):
        nearby = {k: (a * np.float32(factor) if a.dtype.kind == "f" else a) for k, a in feeds.items()}
        moved, _ = run_onnx_runtime(path, nearby)
        worst = max(worst, *(Sampled.of(want).error(moved[k]) for k, want in expected.items()))
    return worst


def timed(run: Callable[[], Any], seconds: float = 1.0) -> tuple[Any, float]:
    """What `run` gives, and the median milliseconds of the runs after the first: those that fit into a second, one to ten."""
    start = time.perf_counter()
    result = run()
    taken = [time.perf_counter() - start]
    while len(taken) < 2 or (sum(taken) + taken[-1] < seconds and len(taken) < 11):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return result, 1e3 * statistics.median(taken[1:])


# -- the targets -----------------------------------------------------------------------------------------------------------


def run_native(case: Case, device: str) -> tuple[Arrays, float, int]:
    """Outputs, milliseconds a run and bytes resident, on a native device."""
    program: Program = ht.compile(ht.load(case.path), case.model.specs(), device=device)
    feeds = {k: a for k, a in case.feeds.items() if k not in case.model.static}
    outputs, milliseconds = timed(lambda: program(feeds))
    return {k: a.numpy() for k, a in outputs.items()}, milliseconds, program.memory()["total"]


# As `timed`, but the loader has warmed the program up before.
IN_PAGE = """async ({ device, inputs }) => {
  const { load } = await import("/bundle/hither.js");
  const feeds = {};
  for (const { name, file, kind } of inputs) {
    feeds[name] = new globalThis[kind](await (await fetch(file)).arrayBuffer());
  }
  const program = await load("/bundle/", { device });
  const taken = [], begun = performance.now();
  let results;
  do {
    const start = performance.now();
    results = await program.run(feeds);
    taken.push(performance.now() - start);
  } while (taken.length < 10 && performance.now() - begun < 1000);
  const outputs = {};
  for (const [name, { data, shape, dtype }] of Object.entries(results)) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    outputs[name] = { data: btoa(text), shape, dtype };
  }
  const { device: used } = program.info;
  program.close();
  return { outputs, used, taken };
}"""
TYPED_ARRAYS = {"float32": "Float32Array", "int32": "Int32Array", "int64": "BigInt64Array"}


def run_in_page(case: Case, page: Any, folder: Path, target: str) -> tuple[Arrays, float, int]:
    """Outputs, milliseconds a run and the bundle's bytes, from a bundle in the browser."""
    ht.bundle(ht.load(case.path), folder / "bundle", case.model.specs(), targets=(target,))
    (folder / "blank.html").write_text(PAGE)
    inputs = []
    for i, (name, array) in enumerate(case.feeds.items()):
        if name not in case.model.static:
            (folder / f"input_{i}.bin").write_bytes(array.tobytes())
            inputs.append({"name": name, "file": f"/input_{i}.bin", "kind": TYPED_ARRAYS[array.dtype.name]})
    with serving(folder) as site:
        page.set_default_timeout(600_000)
        page.goto(f"{site.origin}/blank.html")
        found = page.evaluate(IN_PAGE, {"device": target, "inputs": inputs})
    assert found["used"] == target
    outputs = {
        name: np.frombuffer(base64.b64decode(o["data"]), o["dtype"]).reshape(o["shape"]) for name, o in found["outputs"].items()
    }
    taken = found["taken"]
    return outputs, statistics.median(taken), sum(f.stat().st_size for f in (folder / "bundle").iterdir())


@pytest.mark.parametrize(
    ("case", "device"),
    [
        pytest.param(
            name, device, id=f"{name}-{device.replace(' ', '-')}",
            marks=marks(name, device),
        )
        for name, device in CASES
    ],
    indirect=["case"],
)  # fmt: skip
def test_agrees_with_its_own_runtime(case: Case, device: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if device.startswith("chromium"):
        page = request.getfixturevalue("page")
        outputs, milliseconds, size = run_in_page(case, page, tmp_path, device.split()[1])
        shutil.rmtree(tmp_path)  # pytest would keep it
    else:
        outputs, milliseconds, size = run_native(case, device)
    assert list(outputs) == list(case.expected)
    worst = 0.0
    for name, want in case.expected.items():
        got = outputs[name]
        assert (got.shape, got.dtype) == (want.shape, want.dtype), name
        worst = max(worst, want.error(got))
    group = models_report.TFJS if isinstance(case.model, models_tfjs.GraphModel) else models_report.ONNX
    record(Measurement(group.format, case.name, device, worst, milliseconds, size, case.milliseconds))
    assert worst <= max(TOLERANCE[device], 3 * case.moved)  # three samples underestimate it


@pytest.mark.models
@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_quantised_operators_are_exact(device: str, tmp_path: Path) -> None:
    """Every operator of a dynamically quantised network, given what ONNX Runtime gives it, computes the same bits; where
    roundings are the implementation's own (sigmoid, the LSTM's activations) the same to a few units in the last place."""
    model = onnx.load(MODELS["ddddocr-old"].path())
    separate, feeds, expected = isolated(model, MODELS["ddddocr-old"].feeds())
    onnx.save(separate, tmp_path / "model.onnx")
    outputs = {k: a.numpy() for k, a in ht.load(tmp_path / "model.onnx", device=device)(feeds).items()}
    own = {o: node.op_type for node in separate.graph.node for o in node.output}
    for name, want in expected.items():
        if own[name] == "DynamicQuantizeLSTM":  # it quantises its state twenty times over
            assert Sampled.of(want).error(outputs[name]) <= 5e-3
        elif own[name] == "Sigmoid":
            np.testing.assert_allclose(outputs[name], want, rtol=0, atol=3e-7)
        else:
            np.testing.assert_array_equal(outputs[name], want, err_msg=f"{own[name]} {name}")


def isolated(model: onnx.ModelProto, feeds: Arrays) -> tuple[onnx.ModelProto, Arrays, Arrays]:
    """The network taken apart: every node reads inputs of the new model and writes outputs of it. Its inputs and expected
    outputs are the values that ONNX Runtime computes in between."""
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=o) for n in model.graph.node for o in n.output if o)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    between = dict(zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True)) | feeds

    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    known = {t.name for t in graph.initializer}
    # Shapes, and what is reshaped to them, must be constants; they hold no arithmetic to check.
    kept = [n for n in graph.node if n.op_type not in ("Shape", "Gather", "Concat", "ConstantOfShape", "Unsqueeze", "Reshape")]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    expected: Arrays = {}
    for node in kept:
        for i, name in enumerate(node.output):
            if name:
                node.output[i] = f"{name}.made"
                expected[node.output[i]] = between[name]
        graph.node.append(node)
    read = dict.fromkeys(name for node in kept for name in node.input if name and name not in known)
    inputs = {name: between[name] for name in read}
    graph.input.extend(_described(name, array) for name, array in inputs.items())
    graph.output.extend(_described(name, array) for name, array in expected.items())
    return made, inputs, expected


def _described(name: str, array: np.ndarray) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


if __name__ == "__main__":
    models_report.main()
