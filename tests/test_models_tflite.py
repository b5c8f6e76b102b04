"""Real TensorFlow Lite networks on every target against LiteRT: part of `make models`.

Floats agree to 1e-3 of the largest element, integers to a quantisation step. Networks that keep state are run on a sequence.
"""

from __future__ import annotations

import base64
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.formats.tflite import load_bytes
from hither.program import Program

from .browser import serving
from .models import Sampled
from .models_report import TFLITE, TOLERANCE, Measurement, record
from .models_tflite import MODELS, Arrays, TfliteModel, eight_bit_results, with_output
from .test_models import PAGE, timed
from .tflite_build import litert, litert_calls

pytestmark = pytest.mark.slow

# What `make test` keeps: float16 weights and a custom operator, and integers with state.
IN_EVERY_RUN = ("selfie-landscape", "hey-mycroft")


@dataclass(frozen=True)
class Case:
    """A network, what goes in, and what LiteRT makes of it, frame by frame."""

    name: str
    model: TfliteModel
    data: bytes
    feeds: list[Arrays]
    expected: list[Arrays]
    milliseconds: float  # LiteRT's, a frame, on one thread


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    model = MODELS[request.param]
    data = model.content()
    feeds = model.feeds(load_bytes(data).inputs)
    run = litert_calls(data)
    expected = [run(each) for each in feeds]
    _, milliseconds = timed(lambda: run(feeds[-1]))
    yield Case(request.param, model, data, feeds, expected, milliseconds)


def marks(name: str, device: str) -> list[pytest.MarkDecorator]:
    """What a case needs, and whether it waits for `make models`."""
    needs = [pytest.mark.browser] if device.startswith("chromium") else [pytest.mark.gpu] if device == "webgpu" else []
    return needs if name in IN_EVERY_RUN else [*needs, pytest.mark.models]


def differences(got: Arrays, want: Arrays) -> tuple[float, int | None]:
    """The largest error of an output of floats, and the largest difference of one of integers, if there are any."""
    assert set(got) == set(want)
    error, steps = 0.0, None
    for name, array in want.items():
        assert (got[name].shape, got[name].dtype) == (array.shape, array.dtype), name
        if array.dtype.kind == "f":
            error = max(error, Sampled.of(array).error(got[name]))
        else:
            steps = max(steps or 0, int(np.abs(got[name].astype(int) - array.astype(int)).max()))
    return error, steps


IN_PAGE = """async ({ device, frames }) => {
  const { load } = await import("/bundle/hither.js");
  const program = await load("/bundle/", { device }), results = [], taken = [];
  let last;
  for (const inputs of frames) {
    const feeds = {}, outputs = {};
    for (const { name, file, kind } of inputs) feeds[name] = new globalThis[kind](await (await fetch(file)).arrayBuffer());
    for (const [name, { data, shape, dtype }] of Object.entries(await program.run(feeds))) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      let text = "";
      for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
      outputs[name] = { data: btoa(text), shape, dtype };
    }
    results.push(outputs);
    last = feeds;
  }
  const begun = performance.now();
  do {
    const start = performance.now();
    await program.run(last);
    taken.push(performance.now() - start);
  } while (taken.length < 10 && performance.now() - begun < 1000);
  program.close();
  return { results, taken };
}"""
KINDS = {"float32": "Float32Array", "int8": "Int8Array", "uint8": "Uint8Array"}


def run_native(case: Case, device: str) -> tuple[list[Arrays], float, int]:
    """Outputs, frame by frame; milliseconds a run; bytes resident."""
    specs = {n: ht.Spec(a.shape, a.dtype) for n, a in case.feeds[0].items()}
    program: Program = ht.compile(load_bytes(case.data), specs, device=device)
    outputs = [{n: a.numpy() for n, a in program(feeds).items()} for feeds in case.feeds]
    _, milliseconds = timed(lambda: program(case.feeds[-1]))
    return outputs, milliseconds, program.memory()["total"]


def run_in_page(case: Case, page: Any, folder: Path, target: str) -> tuple[list[Arrays], float, int]:
    """Outputs, frame by frame; milliseconds a run; the bundle's bytes."""
    specs = {n: ht.Spec(a.shape, a.dtype) for n, a in case.feeds[0].items()}
    ht.bundle(load_bytes(case.data), folder / "bundle", specs, targets=(target,))
    (folder / "blank.html").write_text(PAGE)
    frames = []
    for i, arrays in enumerate(case.feeds):
        inputs = []
        for k, (name, array) in enumerate(arrays.items()):
            (folder / f"input_{i}_{k}.bin").write_bytes(array.tobytes())
            inputs.append({"name": name, "file": f"/input_{i}_{k}.bin", "kind": KINDS[array.dtype.name]})
        frames.append(inputs)
    with serving(folder) as site:
        page.set_default_timeout(600_000)
        page.goto(f"{site.origin}/blank.html")
        found = page.evaluate(IN_PAGE, {"device": target, "frames": frames})
    outputs = [
        {n: np.frombuffer(base64.b64decode(o["data"]), o["dtype"]).reshape(o["shape"]) for n, o in each.items()}
        for each in found["results"]
    ]
    return outputs, statistics.median(found["taken"]), sum(f.stat().st_size for f in (folder / "bundle").iterdir())


@pytest.mark.parametrize(
    ("case", "device"),
    [pytest.param(n, d, id=f"{n}-{d.replace(' ', '-')}", marks=marks(n, d)) for n, d in TFLITE.cases()],
    indirect=["case"],
)
def test_agrees_with_litert(case: Case, device: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if device.startswith("chromium"):
        page = request.getfixturevalue("page")
        outputs, milliseconds, size = run_in_page(case, page, tmp_path, device.split()[1])
    else:
        outputs, milliseconds, size = run_native(case, device)
    found = [differences(got, want) for got, want in zip(outputs, case.expected, strict=True)]
    error = max(error for error, _ in found)
    steps = max((steps for _, steps in found if steps is not None), default=None)
    record(Measurement(TFLITE.format, case.name, device, error, milliseconds, size, case.milliseconds, steps))
    assert error <= TOLERANCE[device] and (steps or 0) <= 1
    if case.model.frames > 1:  # a sequence that leaves no trace would prove nothing
        first = next(iter(case.expected[0]))
        assert len({each[first].tobytes() for each in case.expected}) > 1


@pytest.mark.models
@pytest.mark.parametrize("name", ["hey-mycroft", "okay-nabu"])
def test_every_integer_of_a_streaming_network_agrees(name: str) -> None:
    """Each 8-bit tensor in between, over a sequence: within a step of LiteRT's, which the state would otherwise add up."""
    data = MODELS[name].content()
    feeds = MODELS[name].feeds(load_bytes(data).inputs)
    for tensor in eight_bit_results(data):
        probed = with_output(data, tensor)
        model = load_bytes(probed, device="numpy")
        for frame, want in zip(feeds, litert(probed, feeds), strict=True):
            _, steps = differences({n: a.numpy() for n, a in model(frame).items()}, want)
            assert steps is not None and steps <= 1
