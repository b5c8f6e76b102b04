"""TensorFlow operators of TF.js graph models, one small model each, against NumPy (or formulas written out) on `cpu`.

If one fails, models that use the operator compute something else than in TF.js.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.formats.tfjs.registry import OPERATORS

from . import references as ref
from .tfjs_build import C, GraphModel, agree, run

RNG = np.random.default_rng(7)
X = RNG.uniform(-2, 2, (2, 3, 4)).astype(np.float32)
Y = RNG.uniform(-2, 2, (3, 1)).astype(np.float32)
POSITIVE = RNG.uniform(0.2, 3, (2, 3, 4)).astype(np.float32)
IMAGE = RNG.standard_normal((2, 7, 6, 4)).astype(np.float32)
INTS = RNG.integers(-9, 9, (3, 4)).astype(np.int32)
BOOLS = RNG.random((3, 4)) < 0.5


UNARY: dict[str, tuple[Callable[[np.ndarray], Any], np.ndarray]] = {
    "Abs": (np.abs, X), "Neg": (np.negative, X), "Sign": (np.sign, X), "Square": (np.square, X), "Floor": (np.floor, X),
    "Ceil": (np.ceil, X), "Round": (np.round, X), "Exp": (np.exp, X), "Expm1": (np.expm1, X), "Log": (np.log, POSITIVE),
    "Log1p": (np.log1p, POSITIVE), "Sqrt": (np.sqrt, POSITIVE), "Rsqrt": (lambda x: 1 / np.sqrt(x), POSITIVE),
    "Reciprocal": (lambda x: 1 / x, POSITIVE), "Sin": (np.sin, X), "Cos": (np.cos, X), "Tan": (np.tan, X / 2),
    "Asin": (np.arcsin, X / 2), "Acos": (np.arccos, X / 2), "Atan": (np.arctan, X), "Sinh": (np.sinh, X), "Cosh": (np.cosh, X),
    "Tanh": (np.tanh, X), "Asinh": (np.arcsinh, X), "Acosh": (np.arccosh, POSITIVE + 1), "Atanh": (np.arctanh, X / 2.1),
    "Erf": (ref.erf, X), "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), X), "Softplus": (lambda x: np.logaddexp(0, x), X),
    "Relu": (lambda x: np.maximum(x, 0), X), "Relu6": (lambda x: np.clip(x, 0, 6), 4 * X),
    "Elu": (lambda x: np.where(x > 0, x, np.expm1(x)), X),
    "Selu": (lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)), X),
    "IsNan": (np.isnan, np.array([1, np.nan, np.inf], np.float32)), 
    "IsInf": (np.isinf, np.array([1, np.nan, -np.inf], np.float32)),
    "IsFinite": (np.isfinite, np.array([1, np.nan, np.inf], np.float32)), "LogicalNot": (np.logical_not, BOOLS),
    "ZerosLike": (np.zeros_like, X), "OnesLike": (np.ones_like, INTS), "Identity": (lambda x: x, X),
    "StopGradient": (lambda x: x, X), "Snapshot": (lambda x: x, X), "LogSoftmax": (lambda x: np.log(ref.softmax(x)), X),
    "Softmax": (ref.softmax, X), "Shape": (lambda x: np.array(x.shape, np.int32), X),
    "Size": (lambda x: np.array(x.size, np.int32), X), "Rank": (lambda x: np.array(x.ndim, np.int32), X),
    "L2Loss": (lambda x: np.array((x**2).sum() / 2), X),
}  # fmt: skip


@pytest.mark.parametrize("op", UNARY)
def test_unary(op: str, tmp_path: Path) -> None:
    function, x = UNARY[op]
    agree(run(tmp_path, op, x)[0], function(x))


BINARY: dict[str, tuple[Callable[..., Any], np.ndarray, np.ndarray]] = {
    "Add": (np.add, X, Y), "AddV2": (np.add, X, Y), "Sub": (np.subtract, X, Y), "Mul": (np.multiply, X, Y),
    "RealDiv": (np.divide, X, Y), "Maximum": (np.maximum, X, Y), "Minimum": (np.minimum, X, Y),
    "FloorDiv": (np.floor_divide, INTS, np.array([3], np.int32)), "FloorMod": (np.mod, INTS, np.array([3], np.int32)),
    "Mod": (np.mod, X, Y), "Div": (np.floor_divide, INTS, np.array([4], np.int32)), "Pow": (np.power, POSITIVE, Y),
    "TruncateDiv": (lambda a, b: np.trunc(a / b).astype(np.int32), INTS, np.array([4], np.int32)),
    "SquaredDifference": (lambda a, b: (a - b) ** 2, X, Y), "Atan2": (np.arctan2, X, Y),
    "DivNoNan": (lambda a, b: np.where(b == 0, 0, a / np.where(b == 0, 1, b)), X, np.array([0, 1, 2, 0], np.float32)),
    "Xlogy": (
        lambda a, b: np.where(a == 0, 0, a * np.log(np.where(a == 0, 1, b))),
        np.array([0, 1, 2], np.float32), np.array([0, 2, 3], np.float32),
    ),
    "Equal": (np.equal, INTS, INTS[:1]), "NotEqual": (np.not_equal, INTS, INTS[:1]), "Less": (np.less, X, Y),
    "LessEqual": (np.less_equal, X, Y), "Greater": (np.greater, X, Y), "GreaterEqual": (np.greater_equal, X, Y),
    "LogicalAnd": (np.logical_and, BOOLS, BOOLS[:1]), "LogicalOr": (np.logical_or, BOOLS, BOOLS[:1]),
    "LogicalXor": (np.logical_xor, BOOLS, BOOLS[:1]), "BitwiseAnd": (np.bitwise_and, INTS, INTS[:1]),
    "Prelu": (lambda x, a: np.where(x > 0, x, a * x), X, np.float32([0.1, 0.2, 0.3, 0.4])),
}  # fmt: skip


@pytest.mark.parametrize("op", BINARY)
def test_binary(op: str, tmp_path: Path) -> None:
    function, a, b = BINARY[op]
    with np.errstate(all="ignore"):
        agree(run(tmp_path, op, a, b)[0], function(a, b))


REDUCTIONS = {
    "Sum": np.sum, "Mean": np.mean, "Max": np.max, "Min": np.min, "Prod": np.prod,
    "EuclideanNorm": lambda x, axis, keepdims: np.sqrt((x**2).sum(axis, keepdims=keepdims)),
}  # fmt: skip


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("op", [*REDUCTIONS, "All", "Any"])
def test_reductions(op: str, keep: bool, tmp_path: Path) -> None:
    x = BOOLS if op in ("All", "Any") else X
    function = {"All": np.all, "Any": np.any}.get(op) or REDUCTIONS[op]
    axes = (0, -1) if x.ndim == 3 else (1,)
    agree(run(tmp_path, op, x, C(np.array(axes)), keep_dims=keep)[0], function(x, axis=axes, keepdims=keep))


def sliding(x: np.ndarray, axis: int, exclusive: bool, reverse: bool) -> np.ndarray:
    """A running sum written out."""
    x = np.flip(x, axis) if reverse else x
    made = np.cumsum(x, axis) - (x if exclusive else 0)
    return np.flip(made, axis) if reverse else made


def one_hot(i: np.ndarray, depth: int, on: float, off: float) -> np.ndarray:
    return np.where(i[..., None] == np.arange(depth), np.float32(on), np.float32(off))


INDICES = np.array([[2, 0], [1, 1]], np.int32)
TUPLES = np.array([[0, 1], [1, 2]], np.int32)
CASES: list[tuple[str, str, tuple[Any, ...], dict[str, Any], Callable[[], Any]]] = [
    ("addn", "AddN", (X, X, Y), {}, lambda: 2 * X + Y),
    ("bias", "BiasAdd", (IMAGE, np.arange(4, dtype=np.float32)), {}, lambda: IMAGE + np.arange(4)),
    (
        "bias-nchw",
        "BiasAdd",
        (IMAGE, np.arange(7, dtype=np.float32)),
        {"data_format": "NCHW"},
        lambda: IMAGE + np.arange(7)[:, None, None],
    ),
    ("leaky", "LeakyRelu", (X,), {"alpha": 0.3}, lambda: np.where(X > 0, X, 0.3 * X)),
    ("clip", "ClipByValue", (X, C(-0.5), C(1.0)), {}, lambda: np.clip(X, -0.5, 1)),
    ("argmax", "ArgMax", (X, C(1)), {}, lambda: X.argmax(1).astype(np.int32)),
    ("argmin", "ArgMin", (X, C(-1)), {}, lambda: X.argmin(-1).astype(np.int32)),
    ("cumsum", "Cumsum", (X, C(1)), {"exclusive": True, "reverse": True}, lambda: sliding(X, 1, True, True)),
    ("cumprod", "Cumprod", (X, C(2)), {}, lambda: np.cumprod(X, 2)),
    ("select", "Select", (np.array([True, False]), X, -X), {}, lambda: np.stack([X[0], -X[1]])),
    ("selectv2", "SelectV2", (BOOLS, X, Y), {}, lambda: np.where(BOOLS, X, Y)),
    ("cast", "Cast", (X,), {"DstT": ("type", "int32")}, lambda: X.astype(np.int32)),
    ("cast-int64", "Cast", (X,), {"DstT": ("type", "DT_INT64")}, lambda: X.astype(np.int32)),
    ("cast-bool", "Cast", (INTS,), {"DstT": ("type", "bool")}, lambda: INTS != 0),
    ("reshape", "Reshape", (X, C(np.array([4, -1]))), {}, lambda: X.reshape(4, -1)),
    ("squeeze", "Squeeze", (X[:, :1],), {"squeeze_dims": [1]}, lambda: X[:, 0]),
    ("squeeze-all", "Squeeze", (X[:1, :1],), {}, lambda: X[0, 0]),
    ("expand", "ExpandDims", (X, C(-2)), {}, lambda: X[:, :, None]),
    ("pad", "Pad", (X, C(np.array([[0, 1], [2, 0], [0, 0]]))), {}, lambda: np.pad(X, [(0, 1), (2, 0), (0, 0)])),
    (
        "padv2",
        "PadV2",
        (X, C(np.array([[0, 1], [2, 0], [0, 0]])), C(3.0)),
        {},
        lambda: np.pad(X, [(0, 1), (2, 0), (0, 0)], constant_values=3),
    ),
    (
        "mirror",
        "MirrorPad",
        (X, C(np.array([[0, 0], [1, 2], [3, 3]]))),
        {"mode": "REFLECT"},
        lambda: np.pad(X, [(0, 0), (1, 2), (3, 3)], "reflect"),
    ),
    (
        "symmetric",
        "MirrorPad",
        (X, C(np.array([[1, 0], [1, 2], [4, 3]]))),
        {"mode": "SYMMETRIC"},
        lambda: np.pad(X, [(1, 0), (1, 2), (4, 3)], "symmetric"),
    ),
    ("concat", "ConcatV2", (X, X[:, :1], C(1)), {}, lambda: np.concatenate([X, X[:, :1]], 1)),
    ("concat-v1", "Concat", (C(0), X, X), {}, lambda: np.concatenate([X, X])),
    ("pack", "Pack", (X, -X), {"axis": 1}, lambda: np.stack([X, -X], 1)),
    ("tile", "Tile", (X, C(np.array([1, 2, 3]))), {}, lambda: np.tile(X, (1, 2, 3))),
    ("broadcast", "BroadcastTo", (Y, C(np.array([2, 3, 4]))), {}, lambda: np.broadcast_to(Y, (2, 3, 4))),
    ("broadcast-args", "BroadcastArgs", (C(np.array([2, 1])), C(np.array([3]))), {}, lambda: np.array([2, 3], np.int32)),
    ("transpose", "Transpose", (X, C(np.array([2, 0, 1]))), {}, lambda: X.transpose(2, 0, 1)),
    ("slice", "Slice", (X, C(np.array([0, 1, 2])), C(np.array([-1, 2, 1]))), {}, lambda: X[:, 1:3, 2:3]),
    (
        "strided",
        "StridedSlice",
        (X, C(np.array([1, 0, 3])), C(np.array([2, 3, 0])), C(np.array([1, 2, -2]))),
        {},
        lambda: X[1:2, ::2, 3:0:-2],
    ),
    (
        "strided-masks",
        "StridedSlice",
        (X, C(np.array([0, 0, 1, 0])), C(np.array([0, 0, 2, 0])), C(np.array([1, 1, 1, 1]))),
        {"ellipsis_mask": 1, "new_axis_mask": 2, "shrink_axis_mask": 4, "end_mask": 8},
        lambda: X[..., None, 1, 0:],
    ),
    ("gather", "GatherV2", (X, INDICES, C(1)), {}, lambda: np.take(X, INDICES, 1)),
    (
        "gather-batch",
        "GatherV2",
        (X, INDICES, C(2)),
        {"batch_dims": 1},
        lambda: np.stack([np.take(a, i, 1) for a, i in zip(X, INDICES)]),
    ),
    ("gather-v1", "Gather", (X, C(np.array([1, 0]))), {}, lambda: X[[1, 0]]),
    ("gathernd", "GatherNd", (X, TUPLES), {}, lambda: X[TUPLES[:, 0], TUPLES[:, 1]]),
    ("reverse", "ReverseV2", (X, C(np.array([0, -1]))), {}, lambda: X[::-1, :, ::-1]),
    (
        "reverse-sequence",
        "ReverseSequence",
        (X, C(np.array([2, 3]))),
        {"seq_dim": 1, "batch_dim": 0},
        lambda: np.stack([X[0, [1, 0, 2]], X[1, ::-1]]),
    ),
    (
        "scatternd",
        "ScatterNd",
        (np.array([[1], [3], [1]], np.int32), INTS[:3, :2], C(np.array([5, 2]))),
        {},
        lambda: np.array([[0, 0], INTS[0, :2] + INTS[2, :2], [0, 0], INTS[1, :2], [0, 0]], np.int32),
    ),
    ("update", "TensorScatterUpdate", (X, np.array([[1]], np.int32), -X[:1]), {}, lambda: np.stack([X[0], -X[0]])),
    (
        "sparse",
        "SparseToDense",
        (np.array([1, 3], np.int32), C(np.array([5])), np.array([5, 6], np.float32), C(-1.0)),
        {},
        lambda: np.float32([-1, 5, -1, 6, -1]),
    ),
    ("onehot", "OneHot", (INDICES, C(3), C(2.0), C(-1.0)), {"axis": -1}, lambda: one_hot(INDICES, 3, 2, -1)),
    (
        "onehot-axis",
        "OneHot",
        (INDICES, C(3), C(1.0), C(0.0)),
        {"axis": 0},
        lambda: np.moveaxis(one_hot(INDICES, 3, 1, 0), -1, 0),
    ),
    ("fill", "Fill", (C(np.array([2, 3])), np.array(1.5, np.float32)), {}, lambda: np.full((2, 3), 1.5)),
    ("range", "Range", (C(1), C(8), C(3)), {}, lambda: np.arange(1, 8, 3, dtype=np.int32)),
    ("linspace", "LinSpace", (np.array(1, np.float32), np.array(4, np.float32), C(5)), {}, lambda: np.linspace(1, 4, 5)),
    ("matmul", "MatMul", (X[0], X[1]), {"transpose_b": True}, lambda: X[0] @ X[1].T),
    ("batch-matmul", "BatchMatMulV2", (X, X[:1]), {"adj_y": True}, lambda: X @ X[:1].transpose(0, 2, 1)),
    ("einsum", "Einsum", (X, X), {"equation": "bij,bkj->bik"}, lambda: np.einsum("bij,bkj->bik", X, X)),
    ("band", "MatrixBandPart", (X, C(0), C(-1)), {}, lambda: np.triu(X)),
    (
        "fused-matmul",
        "_FusedMatMul",
        (X[0], X[1].T.copy(), Y[:, 0]),
        {"fused_ops": ["BiasAdd", "Relu"]},
        lambda: np.maximum(X[0] @ X[1].T + Y[:, 0], 0),
    ),
    (
        "fused-matmul-prelu",
        "_FusedMatMul",
        (X[0], X[1].T.copy(), Y[:, 0], C(np.float32([0.1, 0.2, 0.3]))),
        {"fused_ops": ["BiasAdd", "Prelu"]},
        lambda: (lambda v: np.where(v > 0, v, v * [0.1, 0.2, 0.3]))(X[0] @ X[1].T + Y[:, 0]),
    ),
    (
        "lrn",
        "LRN",
        (IMAGE,),
        {"depth_radius": 1, "bias": 1.5, "alpha": 0.5, "beta": 0.75},
        lambda: IMAGE / (1.5 + 0.5 * sum(np.pad(IMAGE**2, [(0, 0)] * 3 + [(1, 1)])[..., k : k + 4] for k in range(3))) ** 0.75,
    ),
    (
        "depth-to-space",
        "DepthToSpace",
        (IMAGE,),
        {"block_size": 2, "data_format": "NHWC"},
        lambda: IMAGE.reshape(2, 7, 6, 2, 2, 1).transpose(0, 1, 3, 2, 4, 5).reshape(2, 14, 12, 1),
    ),
    (
        "space-to-batch",
        "SpaceToBatchND",
        (IMAGE, C(np.array([2, 3])), C(np.array([[0, 1], [0, 0]]))),
        {},
        lambda: (
            np.pad(IMAGE, [(0, 0), (0, 1), (0, 0), (0, 0)])
            .reshape(2, 4, 2, 2, 3, 4)
            .transpose(2, 4, 0, 1, 3, 5)
            .reshape(12, 4, 2, 4)
        ),
    ),
    (
        "batch-to-space",
        "BatchToSpaceND",
        (np.arange(96, dtype=np.float32).reshape(8, 2, 3, 2), C(np.array([2, 2])), C(np.array([[1, 0], [0, 2]]))),
        {},
        lambda: np.arange(96).reshape(2, 2, 2, 2, 3, 2).transpose(2, 3, 0, 4, 1, 5).reshape(2, 4, 6, 2)[:, 1:, :-2],
    ),
    (
        "bincount",
        "Bincount",
        (np.array([1, 2, 2, 7], np.int32), C(5), C(np.zeros(0, np.float32))),
        {},
        lambda: np.float32([0, 1, 2, 0, 0]),
    ),
    (
        "dense-bincount",
        "DenseBincount",
        (np.array([[1, 2], [2, 0]], np.int32), C(3), C(np.zeros(0, np.float32))),
        {"binary_output": True},
        lambda: np.float32([[0, 1, 1], [1, 0, 1]]),
    ),
    (
        "lower",
        "LowerBound",
        (np.array([[1, 2, 2, 5]], np.float32), np.array([[2, 9]], np.float32)),
        {},
        lambda: np.array([[1, 4]], np.int32),
    ),
    (
        "upper",
        "UpperBound",
        (np.array([[1, 2, 2, 5]], np.float32), np.array([[2, 0]], np.float32)),
        {},
        lambda: np.array([[3, 0]], np.int32),
    ),
    (
        "segment-sum",
        "UnsortedSegmentSum",
        (X, C(np.array([1, 1])), C(3)),
        {},
        lambda: np.stack([X[0] * 0, X[0] + X[1], X[0] * 0]),
    ),
    (
        "segment-mean",
        "SparseSegmentMean",
        (X, C(np.array([0, 1, 1])), C(np.array([0, 0, 1]))),
        {},
        lambda: np.stack([(X[0] + X[1]) / 2, X[1]]),
    ),
    (
        "fake-quant",
        "FakeQuantWithMinMaxVars",
        (X, C(-1.0), C(1.55)),
        {},
        lambda: np.round(np.clip(X, -1, 1.55) / 0.01) * 0.01,
    ),
]


@pytest.mark.parametrize(("op", "operands", "attributes", "want"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_operator(
    op: str, operands: tuple[Any, ...], attributes: dict[str, Any], want: Callable[[], Any], tmp_path: Path
) -> None:
    agree(run(tmp_path, op, *operands, **attributes)[0], want(), 1e-4 if op == "Cumprod" else 2e-5)


def test_spectra(tmp_path: Path) -> None:
    """A magnitude spectrum and a signal put back together, through complex values."""
    signal = RNG.standard_normal((2, 12)).astype(np.float32)
    model = GraphModel()
    spectrum = model.op("RFFT", model.input("x", (2, 12)), np.array([16]))
    model.output("magnitude", model.op("ComplexAbs", spectrum))
    model.output("real", model.op("Real", spectrum))
    model.output("back", model.op("IRFFT", spectrum, np.array([16])))
    model.output("full", model.op("Imag", model.op("FFT", model.op("Complex", "x", "x"))))
    model.output("inverse", model.op("Real", model.op("IFFT", model.op("Complex", "x", "x"))))
    got = {k: v.numpy() for k, v in ht.load(model.save(tmp_path), device="cpu")(signal).items()}
    want = np.fft.rfft(signal, 16)
    both = signal + 1j * signal
    agree(got["magnitude"], np.abs(want), 1e-4)
    agree(got["real"], want.real, 1e-4)
    agree(got["back"], np.pad(signal, [(0, 0), (0, 4)]), 1e-4)
    agree(got["full"], np.fft.fft(both).imag, 1e-4)
    agree(got["inverse"], np.fft.ifft(both).real, 1e-4)


def test_several_results(tmp_path: Path) -> None:
    for i, part in enumerate(run(tmp_path / "a", "Unpack", X, outputs=3, axis=1, num=3)):
        agree(part, X[:, i])
    for i, part in enumerate(run(tmp_path / "b", "Split", C(2), X, outputs=2, num_split=2)):
        agree(part, np.split(X, 2, 2)[i])
    for part, want in zip(run(tmp_path / "c", "SplitV", X, C(np.array([1, -1])), C(2), outputs=2), np.split(X, [1], 2)):
        agree(part, want)
    values, places = run(tmp_path / "d", "TopKV2", X, C(2), outputs=2, sorted=True)
    agree(values, -np.sort(-X, -1)[..., :2])
    agree(places, np.argsort(-X, -1, kind="stable")[..., :2].astype(np.int32))
    for part, x in zip(run(tmp_path / "e", "IdentityN", X, Y, outputs=2), (X, Y)):
        agree(part, x)
    indices, wanted = run(
        tmp_path / "f",
        "SparseReshape",
        np.array([[0, 1], [1, 2]], np.int32),
        C(np.array([2, 3])),
        C(np.array([3, -1])),
        outputs=2,
    )
    agree(indices, np.array([[0, 1], [2, 1]], np.int32))
    agree(wanted, np.array([3, 2], np.int32))


def test_random_numbers_have_their_distribution(tmp_path: Path) -> None:
    shape = C(np.array([4000]))
    (uniform,) = run(tmp_path / "a", "RandomUniform", shape, seed=3)
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.05
    (normal,) = run(tmp_path / "b", "RandomStandardNormal", shape, seed=3)
    assert abs(normal.mean()) < 0.1 and abs(normal.std() - 1) < 0.1
    (cut,) = run(tmp_path / "c", "TruncatedNormal", shape, seed=3)
    assert np.abs(cut).max() <= 2
    (whole,) = run(tmp_path / "d", "RandomUniformInt", shape, C(2), C(5), seed=3)
    assert set(whole.tolist()) == {2, 3, 4}
    (drawn,) = run(tmp_path / "e", "Multinomial", C(np.log(np.float32([[0.25, 0.75]]))), C(2000), seed=3)
    assert abs(drawn.mean() - 0.75) < 0.05


CONVERTER = """
Add AddV2 AddN BiasAdd Sub RealDiv Div DivNoNan FloorDiv Mul Maximum Minimum Pow SquaredDifference Mod FloorMod Abs Acos
Asin Atan Atan2 Ceil ClipByValue Complex ComplexAbs Cos Cosh Elu Exp Floor Log Imag Neg Real Prelu Relu Relu6 Selu
Sigmoid Sin Sinh Sqrt Rsqrt Square Tan Tanh Sign Round Expm1 Log1p Reciprocal Softplus Asinh Acosh Atanh Erf LeakyRelu
IsNan IsFinite IsInf EmptyTensorList LoopCond Switch Merge Enter Exit NextIteration TensorArrayV3 TensorArrayWriteV3
TensorArrayReadV3 TensorArrayGatherV3 TensorArrayScatterV3 TensorArrayConcatV3 TensorArraySplitV3 TensorArraySizeV3
TensorArrayCloseV3 StatelessIf If StatelessWhile While TensorListScatter TensorListScatterV2 TensorListGather
TensorListGetItem TensorListSetItem TensorListReserve TensorListFromTensor TensorListStack TensorListSplit
TensorListConcat TensorListConcatV2 TensorListPopBack TensorListPushBack TensorListLength TensorListResize AvgPool
MaxPool MaxPoolWithArgmax AvgPool3D MaxPool3D Conv1D Conv2D _FusedConv2D Conv2DBackpropInput DepthwiseConv2d
DepthwiseConv2dNative FusedDepthwiseConv2dNative Conv3D Dilation2D Fill LinSpace OneHot Ones OnesLike
RandomStandardNormal RandomUniform RandomUniformInt Range TruncatedNormal Zeros ZerosLike Multinomial
NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 Where ListDiff LowerBound TopKV2
UpperBound Unique UniqueV2 PlaceholderWithDefault Identity IdentityN Snapshot Rank Size Shape ShapeN Print NoOp
StopGradient FakeQuantWithMinMaxVars HashTable HashTableV2 LookupTableImport LookupTableImportV2 LookupTableFind
LookupTableFindV2 LookupTableSize LookupTableSizeV2 InitializeTable InitializeTableV2 ResizeBilinear
ResizeNearestNeighbor CropAndResize ImageProjectiveTransformV3 Equal NotEqual Greater GreaterEqual Less LessEqual
LogicalAnd LogicalNot LogicalOr Select SelectV2 BitwiseAnd _FusedMatMul MatMul BatchMatMul BatchMatMulV2 Transpose
Einsum MatrixBandPart EuclideanNorm FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 LRN Softmax LogSoftmax Bincount
DenseBincount Max Mean Min Sum All Any ArgMax ArgMin Prod Cumprod Cumsum ConcatV2 Concat GatherV2 Gather Reverse
ReverseV2 Slice StridedSlice Pack Unpack Tile Split SplitV ScatterNd GatherNd SparseToDense TensorScatterUpdate
SparseReshape SparseSegmentMean SparseSegmentSum FFT IFFT RFFT IRFFT Cast ExpandDims MirrorPad Pad PadV2 Reshape
EnsureShape Squeeze SpaceToBatchND BatchToSpaceND DepthToSpace BroadcastTo BroadcastArgs
"""


def test_tensorflow_js_op_list_is_covered() -> None:
    """Every operator that tfjs-converter 4.22 executes is there, but those on strings, ragged tensors and decision forests."""
    assert not [op for op in CONVERTER.split() if op not in OPERATORS]
