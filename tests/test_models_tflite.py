"""Real TensorFlow Lite networks on every target against LiteRT: part of `make models`.

Floats agree to 1e-3 of the largest element, integers to a quantisation step. Networks that keep state are run on a sequence.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.formats.tflite import load_bytes

from .browser import serving
from .models import Sampled
from .models_tflite import MODELS, Arrays, TfliteModel, eight_bit_results, with_output
from .test_models import PAGE, TOLERANCE
from .tflite_build import litert

pytestmark = pytest.mark.slow

DEVICES = ("cpu", "webgpu", "chromium wasm", "chromium webgpu")
# An emulated GPU in a page is slow; this one stands for the rest: 8-bit integers and state.
ON_CHROMIUM_WEBGPU = ("hey-mycroft",)
# What `make test` keeps: float16 weights and a custom operator, and integers with state.
IN_EVERY_RUN = ("selfie-landscape", "hey-mycroft")
CASES = [(m, d) for m in MODELS for d in DEVICES if d != "chromium webgpu" or m in ON_CHROMIUM_WEBGPU]


@dataclass(frozen=True)
class Case:
    """A network, what goes in, and what LiteRT makes of it, frame by frame."""

    model: TfliteModel
    data: bytes
    feeds: list[Arrays]
    expected: list[Arrays]


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    model = MODELS[request.param]
    data = model.content()
    feeds = model.feeds(load_bytes(data).inputs)
    yield Case(model, data, feeds, litert(data, feeds))


def marks(name: str, device: str) -> list[pytest.MarkDecorator]:
    """What a case needs, and whether it waits for `make models`."""
    needs = [pytest.mark.browser] if device.startswith("chromium") else [pytest.mark.gpu] if device == "webgpu" else []
    return needs if name in IN_EVERY_RUN else [*needs, pytest.mark.models]


def check(got: Arrays, want: Arrays, tolerance: float) -> None:
    assert set(got) == set(want)
    for name, array in want.items():
        assert (got[name].shape, got[name].dtype) == (array.shape, array.dtype), name
        if array.dtype.kind == "f":
            assert Sampled.of(array).error(got[name]) <= tolerance, name
        else:
            assert np.abs(got[name].astype(int) - array.astype(int)).max() <= 1, name


IN_PAGE = """async ({ device, frames }) => {
  const { load } = await import("/bundle/hither.js");
  const program = await load("/bundle/", { device }), results = [];
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
  }
  program.close();
  return results;
}"""
KINDS = {"float32": "Float32Array", "int8": "Int8Array", "uint8": "Uint8Array"}


def run_in_page(case: Case, page: Any, folder: Path, target: str) -> list[Arrays]:
    """Outputs, frame by frame, from a bundle in the browser."""
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
    return [
        {n: np.frombuffer(base64.b64decode(o["data"]), o["dtype"]).reshape(o["shape"]) for n, o in each.items()}
        for each in found
    ]


@pytest.mark.parametrize(
    ("case", "device"),
    [pytest.param(n, d, id=f"{n}-{d.replace(' ', '-')}", marks=marks(n, d)) for n, d in CASES],
    indirect=["case"],
)
def test_agrees_with_litert(case: Case, device: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if device.startswith("chromium"):
        outputs = run_in_page(case, request.getfixturevalue("page"), tmp_path, device.split()[1])
    else:
        model = load_bytes(case.data, device=device)
        outputs = [{n: a.numpy() for n, a in model(feeds).items()} for feeds in case.feeds]
    for got, want in zip(outputs, case.expected, strict=True):
        check(got, want, TOLERANCE[device])
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
            check({n: a.numpy() for n, a in model(frame).items()}, want, 0)
