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
from . import references_sampling as sampling
from .tfjs_build import GraphModel

RNG = np.random.default_rng(7)
X = RNG.uniform(-2, 2, (2, 3, 4)).astype(np.float32)
Y = RNG.uniform(-2, 2, (3, 1)).astype(np.float32)
POSITIVE = RNG.uniform(0.2, 3, (2, 3, 4)).astype(np.float32)
IMAGE = RNG.standard_normal((2, 7, 6, 4)).astype(np.float32)
INTS = RNG.integers(-9, 9, (3, 4)).astype(np.int32)
BOOLS = RNG.random((3, 4)) < 0.5


def run(folder: Path, op: str, *operands: Any, outputs: int = 1, dtype: str = "float32", **attributes: Any) -> list[np.ndarray]:
    """One operator on operands, of which arrays are inputs and others (in a list) constants."""
    model, feeds, names = GraphModel(), {}, []
    for i, x in enumerate(operands):
        if isinstance(x, np.ndarray):
            names.append(model.input(f"x{i}", x.shape, x.dtype.name))
            feeds[f"x{i}"] = x
        else:
            names.append(model.const(f"c{i}", np.asarray(x[0]) if isinstance(x, list) else x))
    made = model.op(op, *names, **attributes)
    if not feeds:
        feeds["zero"] = np.zeros((), np.float32)
        model.input("zero", ())
    for i in range(outputs):
        model.output(f"y{i}", f"{made}:{i}", dtype)
    loaded = ht.load(model.save(folder), device="cpu")
    return [y.numpy() for y in loaded(feeds).values()]


def agree(got: np.ndarray, want: Any, tolerance: float = 2e-5) -> None:
    want = np.asarray(want)
    assert got.shape == want.shape
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(got, want)


def C(values: Any) -> list[Any]:
    """A constant operand."""
    return [values]


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


def first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


FILTERS = RNG.standard_normal((3, 3, 4, 5)).astype(np.float32)
BIAS = RNG.standard_normal(5).astype(np.float32)


def same(extents: tuple[int, ...], window: int, stride: int, dilation: int = 1) -> list[tuple[int, int]]:
    made = []
    for n in extents:
        total = max((-(-n // stride) - 1) * stride + (window - 1) * dilation + 1 - n, 0)
        made.append((total // 2, total - total // 2))
    return made


@pytest.mark.parametrize(("padding", "stride", "dilation"), [("SAME", 2, 1), ("VALID", 1, 2), ("EXPLICIT", 1, 1)])
def test_conv2d(padding: str, stride: int, dilation: int, tmp_path: Path) -> None:
    attributes: dict[str, Any] = {
        "strides": [1, stride, stride, 1],
        "dilations": [1, dilation, dilation, 1],
        "padding": padding,
    }
    pads = {"SAME": same((7, 6), 3, stride), "VALID": [(0, 0), (0, 0)], "EXPLICIT": [(1, 0), (2, 1)]}[padding]
    if padding == "EXPLICIT":
        attributes["explicit_paddings"] = [0, 0, 1, 0, 2, 1, 0, 0]
    want = last(
        ref.conv(
            np.pad(first(IMAGE), [(0, 0), (0, 0), *pads]), FILTERS.transpose(3, 2, 0, 1), strides=stride, dilation=dilation
        )
    )
    agree(run(tmp_path, "Conv2D", IMAGE, C(FILTERS), **attributes)[0], want, 1e-4)
    fused = run(tmp_path, "_FusedConv2D", IMAGE, C(FILTERS), C(BIAS), fused_ops=["BiasAdd", "Relu6"], **attributes)[0]
    agree(fused, np.clip(want + BIAS, 0, 6), 1e-4)


def test_fused_convolution_with_prelu_leaky_and_batch_norm(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "VALID"}
    want = last(ref.conv(first(IMAGE), FILTERS.transpose(3, 2, 0, 1)))
    slope = np.abs(BIAS)
    got = run(
        tmp_path / "a", "_FusedConv2D", IMAGE, C(FILTERS), C(BIAS), C(slope), fused_ops=["BiasAdd", "Prelu"], **attributes
    )[0]
    agree(got, np.where(want + BIAS > 0, want + BIAS, (want + BIAS) * slope), 1e-4)
    got = run(
        tmp_path / "b",
        "_FusedConv2D",
        IMAGE,
        C(FILTERS),
        C(BIAS),
        fused_ops=["BiasAdd", "LeakyRelu"],
        leakyrelu_alpha=0.4,
        **attributes,
    )[0]
    agree(got, np.where(want + BIAS > 0, want + BIAS, (want + BIAS) * 0.4), 1e-4)
    statistics = [C(v) for v in (slope, BIAS, BIAS + 1, slope + 0.5)]
    got = run(
        tmp_path / "c", "_FusedConv2D", IMAGE, C(FILTERS), *statistics, fused_ops=["FusedBatchNorm"], epsilon=0.01, **attributes
    )[0]
    agree(got, (want - BIAS - 1) / np.sqrt(slope + 0.51) * slope + BIAS, 1e-4)


def test_depthwise_convolution_and_batch_norm(tmp_path: Path) -> None:
    filters = RNG.standard_normal((3, 3, 4, 2)).astype(np.float32)
    weights = filters.reshape(3, 3, 1, 8).transpose(3, 2, 0, 1)
    want = last(ref.conv(np.pad(first(IMAGE), [(0, 0), (0, 0), *same((7, 6), 3, 1)]), weights, groups=4))
    attributes: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    agree(run(tmp_path / "a", "DepthwiseConv2dNative", IMAGE, C(filters), **attributes)[0], want, 1e-4)
    bias = np.arange(8, dtype=np.float32)
    got = run(
        tmp_path / "b", "FusedDepthwiseConv2dNative", IMAGE, C(filters), C(bias), fused_ops=["BiasAdd", "Elu"], **attributes
    )[0]
    agree(got, np.where(want + bias > 0, want + bias, np.expm1(want + bias)), 1e-4)
    four = [np.abs(RNG.standard_normal(4)).astype(np.float32) for _ in range(4)]
    got = run(tmp_path / "c", "FusedBatchNormV3", IMAGE, *[C(v) for v in four], epsilon=0.001, is_training=False)[0]
    agree(got, (IMAGE - four[2]) / np.sqrt(four[3] + 0.001) * four[0] + four[1])


@pytest.mark.parametrize(("padding", "extents", "stride"), [("SAME", (14, 11), 2), ("VALID", (16, 14), 2), ("SAME", (7, 6), 1)])
def test_conv2d_transpose(padding: str, extents: tuple[int, int], stride: int, tmp_path: Path) -> None:
    """It is the gradient of Conv2D with respect to its input: <conv(a), x> = <a, transpose(x)> for every a."""
    filters = RNG.standard_normal((3, 3, 5, 4)).astype(np.float32)
    attributes: dict[str, Any] = {"strides": [1, stride, stride, 1], "padding": padding}
    got = run(tmp_path, "Conv2DBackpropInput", C(np.array([2, *extents, 5])), C(filters), IMAGE, **attributes)[0]
    assert got.shape == (2, *extents, 5)
    a = RNG.standard_normal((2, *extents, 5)).astype(np.float32)
    pads = same(extents, 3, stride) if padding == "SAME" else [(0, 0), (0, 0)]
    conv = last(ref.conv(np.pad(first(a), [(0, 0), (0, 0), *pads]), filters.transpose(3, 2, 0, 1), strides=stride))
    assert conv.shape == IMAGE.shape
    np.testing.assert_allclose((conv * IMAGE).sum(), (a * got).sum(), rtol=1e-4)


@pytest.mark.parametrize(("op", "reduce"), [("MaxPool", np.max), ("AvgPool", np.mean)])
def test_pooling(op: str, reduce: Callable[..., Any], tmp_path: Path) -> None:
    got = run(tmp_path, op, IMAGE, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME")[0]
    (top, _), (left, _) = same((7, 6), 3, 2)
    for i, j in np.ndindex(4, 3):
        rows, columns = slice(max(2 * i - top, 0), 2 * i - top + 3), slice(max(2 * j - left, 0), 2 * j - left + 3)
        np.testing.assert_allclose(got[:, i, j], reduce(IMAGE[:, rows, columns], axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_max_pool_with_argmax(tmp_path: Path) -> None:
    best, place = run(
        tmp_path, "MaxPoolWithArgmax", IMAGE, outputs=2, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID",
        include_batch_in_index=True,
    )  # fmt: skip
    np.testing.assert_array_equal(IMAGE.reshape(-1)[place], best)


def test_dilation2d(tmp_path: Path) -> None:
    filters = RNG.standard_normal((2, 3, 4)).astype(np.float32)
    got = run(tmp_path, "Dilation2D", IMAGE, C(filters), strides=[1, 1, 1, 1], rates=[1, 1, 1, 1], padding="VALID")[0]
    want = np.max([IMAGE[:, i : i + 6, j : j + 4] + filters[i, j] for i in range(2) for j in range(3)], axis=0)
    agree(got, want)


def sampled(n: int, m: int, mode: str) -> np.ndarray:
    """Source positions of m results along n samples."""
    at = np.arange(m)
    if mode == "corners":
        return at * (n - 1) / max(m - 1, 1)
    return (at + 0.5) * n / m - 0.5 if mode == "centers" else at * n / m


@pytest.mark.parametrize("mode", ["corners", "centers", "plain"])
@pytest.mark.parametrize("op", ["ResizeBilinear", "ResizeNearestNeighbor"])
def test_resize(op: str, mode: str, tmp_path: Path) -> None:
    size = (10, 4)
    flags = {"align_corners": mode == "corners", "half_pixel_centers": mode == "centers"}
    got = run(tmp_path, op, IMAGE, C(np.array(size)), **flags)[0]
    want = IMAGE.astype(np.float64)
    for axis, m in ((1, size[0]), (2, size[1])):
        n = IMAGE.shape[axis]
        at = sampled(n, m, mode)
        if op == "ResizeNearestNeighbor":
            rounded = np.floor(at + 0.5) if mode == "corners" else np.floor(at + 0.5 * (mode == "centers"))
            want = np.take(want, rounded.clip(0, n - 1).astype(int), axis)
            continue
        low = np.floor(at)
        t = (at - low).reshape([-1 if a == axis else 1 for a in range(4)])
        want = (
            np.take(want, low.clip(0, n - 1).astype(int), axis) * (1 - t)
            + np.take(want, (low + 1).clip(0, n - 1).astype(int), axis) * t
        )
    agree(got, want)


def test_crop_and_resize(tmp_path: Path) -> None:
    boxes = np.array([[0.1, 0.2, 0.9, 0.8], [0.52, 0.93, 0.2, 0.1], [-0.5, 0.05, 0.55, 1.2]], np.float32)
    images = np.array([0, 1, 1], np.int32)
    for method in ("bilinear", "nearest"):
        got = run(
            tmp_path / method,
            "CropAndResize",
            IMAGE,
            boxes,
            images,
            C(np.array([3, 5])),
            method=method,
            extrapolation_value=0.25,
        )[0]
        agree(got, sampling.crop_and_resize(IMAGE, boxes, images, (3, 5), method == "nearest", 0.25), 1e-4)


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


# -- sizes that depend on values -----------------------------------------------------------------------------------------------


def test_where_and_list_diff_are_as_long_as_they_come_out(tmp_path: Path) -> None:
    agree(run(tmp_path / "a", "Where", BOOLS)[0], np.argwhere(BOOLS).astype(np.int32))
    x, y = np.array([1, 2, 3, 4, 5], np.int32), np.array([2, 5], np.int32)
    kept, places = run(tmp_path / "b", "ListDiff", x, y, outputs=2)
    agree(kept, np.array([1, 3, 4], np.int32))
    agree(places, np.array([0, 2, 3], np.int32))


def test_unique_keeps_first_occurrences_in_order(tmp_path: Path) -> None:
    values, places = run(tmp_path / "a", "Unique", np.array([4, 1, 4, 7, 1], np.int32), outputs=2)
    agree(values, np.array([4, 1, 7], np.int32))
    agree(places, np.array([0, 1, 0, 2, 1], np.int32))
    rows = np.array([[2, 1], [0, 3], [2, 1]], np.float32)
    values, places = run(tmp_path / "b", "UniqueV2", rows, C(np.array([0])), outputs=2)
    agree(values, rows[:2])
    agree(places, np.array([0, 1, 0], np.int32))


BOXES = np.array(
    [[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [0, 10, 1, 11], [0, 10.1, 1, 11.1], [0, 100, 1, 101]], np.float32
)
SCORES = np.array([0.9, 0.75, 0.6, 0.95, 0.5, 0.3], np.float32)


def test_non_max_suppression(tmp_path: Path) -> None:
    """TensorFlow's own example: boxes 3, 0 and 5 are kept; with soft suppression also lowered scores."""
    thresholds = (C(0.5), C(0.0))
    agree(run(tmp_path / "2", "NonMaxSuppressionV2", BOXES, SCORES, C(3), C(0.5))[0], np.array([3, 0, 5], np.int32))
    agree(run(tmp_path / "3", "NonMaxSuppressionV3", BOXES, SCORES, C(3), C(0.5), C(0.4))[0], np.array([3, 0], np.int32))
    chosen, count = run(
        tmp_path / "4", "NonMaxSuppressionV4", BOXES, SCORES, C(5), *thresholds, outputs=2, pad_to_max_output_size=True
    )
    agree(chosen, np.array([3, 0, 5, 0, 0], np.int32))
    assert count == 3
    chosen, scores, count = run(tmp_path / "5", "NonMaxSuppressionV5", BOXES, SCORES, C(6), C(1.0), C(0.0), C(0.5), outputs=3)
    agree(chosen, np.array([3, 0, 1, 5, 4, 2], np.int32))
    agree(scores, np.float32([0.95, 0.9, 0.384, 0.3, 0.256, 0.197]), 1e-3)
    assert count == 6


def test_a_count_goes_on_through_shape_arithmetic(tmp_path: Path) -> None:
    """Kept boxes, filled up with zeros to a fixed number: n + (k - n) is k again, whatever n turns out to be."""
    model = GraphModel()
    x = model.input("x", (6,))
    positions = model.op("Squeeze", model.op("Where", model.op("Greater", x, np.float32(0))), squeeze_dims=[1])
    kept = model.op("GatherV2", x, positions, np.array(0))
    length = model.op("StridedSlice", model.op("Shape", kept), np.array([0]), np.array([1]), np.array([1]), shrink_axis_mask=1)
    rest = model.op("Sub", np.array(8), length)
    zeros = model.op("Fill", model.op("Pack", rest, axis=0), np.float32(-1))
    model.output("joined", model.op("ConcatV2", kept, zeros, np.array(0)))
    paddings = model.op("ExpandDims", model.op("Pack", np.array(0), rest, axis=0), np.array(0))
    model.output("padded", model.op("Pad", kept, paddings))
    model.output("kept", kept)
    model.output("total", model.op("Sum", kept, np.array([0])))
    model.output("mean", model.op("Mean", kept, np.array([0])))
    model.output("best", model.op("TopKV2", kept, model.op("Minimum", length, np.array(2))))
    model.output("scaled", model.op("Mul", kept, model.op("Cast", length, DstT=("type", "float32"))))
    model.output("numbers", model.op("Range", np.array(0), length, np.array(1)), "int32")
    model.output(
        "first", model.op("Slice", kept, np.array([0]), model.op("Pack", model.op("Minimum", length, np.array(2)), axis=0))
    )
    loaded = ht.load(model.save(tmp_path), device="cpu")
    for x_now in (np.float32([1, -2, 3, 0, 5, -1]), np.float32([-1, 4, -1, -1, -1, -1]), np.arange(1, 7, dtype=np.float32)):
        got = {k: v.numpy() for k, v in loaded(x_now).items()}
        want = x_now[x_now > 0]
        n = len(want)
        agree(got["joined"], np.concatenate([want, np.full(8 - n, -1, np.float32)]))
        agree(got["padded"], np.pad(want, (0, 8 - n)))
        agree(got["kept"], want)
        agree(got["total"], want.sum())
        agree(got["mean"], want.mean())
        agree(got["best"], -np.sort(-want)[: min(n, 2)])
        agree(got["scaled"], want * n)
        agree(got["numbers"], np.arange(n, dtype=np.int32))
        agree(got["first"], want[:2])


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
