"""ONNX out: what ONNX has one operator for is written as that operator, and real networks come out small and right.

A failure means that other runtimes would run an exported network as many small operators, or compute something else.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import UnsupportedOperators
from hither.formats.onnx.export import export
from hither.formats.tflite import load_bytes

from . import models, models_keras, models_tfjs, models_tflite
from .test_onnx_export import run

RNG = np.random.default_rng(5)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


K, TRANSPOSED, B = numbers(3, 2, 3, 3), numbers(2, 3, 2, 2), numbers(3)
X, Y = numbers(1, 2, 6, 6), numbers(1, 6, 6, 2)
IMAGE, ROWS = {"x": X}, {"x": numbers(2, 4, 5)}
SCALE, SHIFT, SLOPE = numbers(5), numbers(5), np.abs(numbers(5))

CASES: dict[str, tuple[Callable[..., Any], dict[str, np.ndarray], list[str]]] = {
    "conv with bias": (lambda x: ht.conv(x, K, B), IMAGE, ["Conv"]),
    "conv, bias and relu6": (lambda x: ht.relu6(ht.conv(x, K, B)), IMAGE, ["Conv", "Clip"]),
    "conv, bias equal everywhere": (lambda x: ht.conv(x, K, np.ones(3, np.float32)), IMAGE, ["Conv"]),
    "channels last": (lambda x: ht.conv(x, K, B, layout="channels_last"), {"x": Y}, ["Transpose", "Conv", "Transpose"]),
    "transposed conv": (lambda x: ht.conv_transpose(x, TRANSPOSED, B, strides=2), IMAGE, ["ConvTranspose"]),
    "relu": (ht.relu, ROWS, ["Relu"]),
    "clip": (lambda x: ht.clip(x, -0.5, 0.25), ROWS, ["Clip"]),
    "hard sigmoid": (lambda x: ht.hard_sigmoid(x, alpha=0.2), ROWS, ["HardSigmoid"]),
    "hard swish": (ht.hard_swish, ROWS, ["HardSwish"]),
    "hard swish, divided last": (lambda x: x * ht.relu6(x + 3) / 6, ROWS, ["HardSwish"]),
    "hard swish, gate divided": (lambda x: x * (ht.relu6(x + 3) / 6), ROWS, ["HardSwish"]),
    "leaky relu": (ht.leaky_relu, ROWS, ["LeakyRelu"]),
    "prelu": (lambda x: ht.prelu(x, SLOPE), ROWS, ["PRelu"]),
    "softmax": (ht.softmax, ROWS, ["Softmax"]),
    "softmax over an axis inside": (lambda x: ht.softmax(x, axis=1), ROWS, ["Softmax"]),
    "layer norm": (lambda x: ht.layer_norm(x, SCALE, SHIFT), ROWS, ["LayerNormalization"]),
    "layer norm without bias": (lambda x: ht.layer_norm(x, SCALE), ROWS, ["LayerNormalization"]),
    "mean": (lambda x: ht.mean(x, axis=(1, 2)), ROWS, ["ReduceMean"]),
    "mean, axes kept": (lambda x: ht.mean(x, axis=1, keepdims=True), ROWS, ["ReduceMean"]),
    "average pool": (lambda x: ht.avg_pool(x, 2), IMAGE, ["AveragePool"]),
    "a vector added": (lambda x: x + SHIFT, ROWS, ["Add"]),
    "bytes": (
        lambda x: ht.matmul(x.astype("int32") - 3, (np.arange(12).reshape(4, 3) - 5).astype(np.int32)),
        {"x": RNG.integers(0, 255, (2, 4)).astype(np.uint8)}, ["MatMulInteger"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_operator(name: str) -> None:
    function, feeds, wanted = CASES[name]
    proto = export(function, {n: ht.Spec(a.shape, a.dtype) for n, a in feeds.items()})
    assert [n.op_type for n in proto.graph.node if n.op_type != "Identity"] == wanted
    want = function(*[ht.asarray(a) for a in feeds.values()]).numpy()
    np.testing.assert_allclose(run(proto, feeds)[0], want, rtol=1e-5, atol=1e-6)


def test_what_others_read_stays() -> None:
    """A convolution whose sums are read too is written once, and its bias is added."""

    def function(x: Any) -> Any:
        sums = ht.conv(x, K)
        return sums, sums + B.reshape(3, 1, 1)

    proto = export(function, {"x": ht.Spec(X.shape)})
    assert Counter(n.op_type for n in proto.graph.node if n.op_type != "Identity") == {"Conv": 1, "Add": 1}
    for got, want in zip(run(proto, IMAGE), function(ht.asarray(X)), strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=1e-5)


def test_limits_that_cross_are_no_clip() -> None:
    function = lambda x: ht.minimum(ht.maximum(x, 1.0), -1.0)  # noqa: E731
    proto = export(function, {"x": ht.Spec((2, 4, 5))})
    np.testing.assert_array_equal(run(proto, ROWS)[0], np.full((2, 4, 5), -1, np.float32))


def test_convolutions_of_wide_integers_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedOperators, match="conv of int32"):
        export(lambda x: ht.conv(x, np.full((1, 1, 2, 2), 1000, np.int32)), {"x": ht.Spec((1, 1, 4, 4), "int32")})


# -- real networks -------------------------------------------------------------------------------------------------------------


def _from(kind: str, name: str) -> tuple[Any, dict[str, np.ndarray], dict[str, Any]]:
    """A model, its inputs, the shapes to write it for."""
    if kind == "tflite":
        tflite = load_bytes(models_tflite.MODELS[name].content())
        feeds = models_tflite.MODELS[name].feeds(tflite.inputs)[0]
        return tflite, feeds, {n: ht.Spec(a.shape, a.dtype) for n, a in feeds.items()}
    entry: Any = {"onnx": models.MODELS, "tfjs": models_tfjs.MODELS, "keras": models_keras.MODELS}[kind][name]
    model = ht.load(entry.prepared(Path(tempfile.mkdtemp())))
    feeds = {n: a for n, a in entry.feeds().items() if n not in entry.static}
    return model, feeds, entry.specs()


REAL = [
    ("onnx", "ppocr-rec", 1e-4), ("onnx", "magika", 1e-4), ("onnx", "silero-vad", 1e-4), ("onnx", "basic-pitch", 1e-4),
    ("onnx", "ddddocr", 1e-4), ("tfjs", "blazeface-front", 1e-4), ("tfjs", "movenet-lightning", 1e-4),
    ("tfjs", "centernet", 1e-4), ("tfjs", "faceboxes", 1e-4), ("keras", "nsfw-mobilenet-v2", 1e-4),
    ("tflite", "hand-lite", 1e-4), ("tflite", "palm-lite", 1e-4), ("tflite", "hey-mycroft", 0),
    # unstable: see tests/test_models.py
    ("onnx", "ddddocr-old", 2e-2),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize(("kind", "name", "tolerance"), REAL, ids=[f"{k}-{n}" for k, n, _ in REAL])
def test_real_networks_through_onnx_runtime(kind: str, name: str, tolerance: float) -> None:
    """Floats, loops and branches, detections whose number data decides, 8-bit integers, state."""
    model, feeds, specs = _from(kind, name)
    proto = export(model, specs)
    want = {n: a.numpy() for n, a in ht.compile(model, specs, device="cpu")(feeds).items()}
    state = {n: np.asarray(a) for n, a in model.state.items()}
    got = dict(zip([o.name for o in proto.graph.output], run(proto, {**feeds, **state}), strict=True))
    assert [n for n in got if n.removesuffix(".next") not in state] == list(want)
    for output, array in want.items():
        assert models.Sampled.of(array).error(got[output]) <= tolerance, output
    stored = sum(a.size * max(a.itemsize, 4 if a.dtype.kind == "f" else 1) for a in map(np.asarray, model.weights.values()))
    assert proto.ByteSize() < 1.1 * stored + (1 << 18)  # float16 weights are written as the float32 that they compute in
