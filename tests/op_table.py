"""The op table: every public array function once, with an independent reference, operands, dtypes and tolerance.

Suites expand it over what they test: the NumPy evaluator (test_primitives), the compiled targets, the gradients. A row's
reference is NumPy (or plain Python) that shares no code with hither; float operands reach it as float64, and its result is
compared after rounding to the dtype hither gives.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import hither as ht

from . import references as ref

FLOATS = ("float32", "float64", "float16")
FLOAT = ("float32",)
INTS = ("int32", "int64", "uint8")
NUMBERS = (*FLOATS, *INTS)

# family → dtype → (relative, absolute); ints and bools are compared exactly
TOLERANCE: dict[str, dict[str, tuple[float, float]]] = {
    "exact": {"float16": (0, 0), "float32": (0, 0), "float64": (0, 0)},
    "arithmetic": {"float16": (1e-3, 1e-3), "float32": (2e-6, 1e-6), "float64": (1e-13, 1e-13)},
    "transcendental": {"float16": (2e-3, 1e-3), "float32": (4e-6, 2e-6), "float64": (1e-12, 1e-12)},
    "sums": {"float16": (5e-3, 5e-3), "float32": (2e-5, 2e-5), "float64": (1e-11, 1e-11)},
}


@dataclass(frozen=True)
class Operand:
    """How to draw one operand: shape, range (floats -2 … 2, integers -9 … 8 unless given), a dtype if not the row's."""

    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    dtype: str | None = None
    values: Any = None  # these values instead of drawn ones

    def draw(self, dtype: str, seed: int) -> np.ndarray:
        """The operand as a NumPy array; the same for the same seed."""
        wanted = np.dtype(self.dtype or dtype)
        if self.values is not None:
            return np.asarray(self.values).astype(wanted)
        rng = np.random.default_rng(seed)
        if wanted.kind == "b":
            return rng.random(self.shape) < 0.5
        if wanted.kind in "iu":
            low = max(-9 if self.low is None else int(self.low), 0 if wanted.kind == "u" else -(2**31))
            high = 9 if self.high is None else int(self.high)
            return rng.integers(low, max(high, low + 1), self.shape).astype(wanted)
        low, high = (-2.0 if self.low is None else self.low), (2.0 if self.high is None else self.high)
        return rng.uniform(low, high, self.shape).astype(wanted)


@dataclass(frozen=True)
class Op:
    """A row of the table."""

    name: str
    function: Callable[..., Any]
    reference: Callable[..., Any]
    operands: tuple[Operand, ...]
    dtypes: tuple[str, ...] = FLOATS
    gradient: bool = False
    tolerance: str = "arithmetic"

    def arrays(self, dtype: str, seed: int = 0) -> list[np.ndarray]:
        """Operands for this dtype, reproducible from the row's name."""
        base = zlib.crc32(self.name.encode()) + 97 * seed
        return [o.draw(dtype, base + i) for i, o in enumerate(self.operands)]

    def expected(self, arrays: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """What the reference gives, computed in float64 where operands are floats."""
        with np.errstate(all="ignore"):
            made = self.reference(*[a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays])
        return tuple(np.asarray(m) for m in (made if isinstance(made, tuple) else (made,)))


def flat_results(made: Any) -> tuple[Any, ...]:
    """The arrays of a function's result."""
    return tuple(made) if isinstance(made, tuple | list) else (made,)


def check(got: np.ndarray, expected: np.ndarray, family: str, factor: float = 1.0) -> None:
    """Assert that a result agrees with its reference within the family's tolerance for its dtype."""
    assert got.shape == expected.shape, f"shape {got.shape}, expected {expected.shape}"
    if got.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected.astype(got.dtype))
        return
    rtol, atol = TOLERANCE[family][got.dtype.name]
    np.testing.assert_allclose(
        got.astype(np.float64), expected.astype(got.dtype).astype(np.float64), rtol=rtol * factor, atol=atol * factor
    )


A = Operand
X = A((3, 4))
TABLE: list[Op] = []


def op(
    name: str, function: Callable[..., Any], reference: Callable[..., Any], *operands: Operand,
    dtypes: tuple[str, ...] = FLOATS, gradient: bool = False, tolerance: str = "arithmetic",
) -> None:  # fmt: skip
    """Add a row."""
    TABLE.append(Op(name, function, reference, operands or (X,), dtypes, gradient, tolerance))


def cases(dtypes: tuple[str, ...] | None = None) -> Iterator[tuple[str, Op, str]]:
    """(id, row, dtype) for every row and dtype, or those of them in `dtypes`."""
    for row in TABLE:
        for dtype in row.dtypes:
            if dtypes is None or dtype in dtypes:
                yield f"{row.name}-{dtype}", row, dtype


# -- elementwise -------------------------------------------------------------------------------------------------------------

for _name, _function, _low, _high, _smooth in [
    ("exp", np.exp, -3, 3, True), ("expm1", np.expm1, -3, 3, True), ("log", np.log, 0.1, 5, True),
    ("log1p", np.log1p, -0.8, 5, True), ("sqrt", np.sqrt, 0.1, 5, True), ("sin", np.sin, -6, 6, True),
    ("cos", np.cos, -6, 6, True), ("tan", np.tan, -1.3, 1.3, True), ("asin", np.arcsin, -0.95, 0.95, True),
    ("acos", np.arccos, -0.95, 0.95, True), ("atan", np.arctan, -4, 4, True), ("sinh", np.sinh, -3, 3, True),
    ("cosh", np.cosh, -3, 3, True), ("tanh", np.tanh, -3, 3, True), ("asinh", np.arcsinh, -3, 3, True),
    ("acosh", np.arccosh, 1.1, 5, True), ("atanh", np.arctanh, -0.9, 0.9, True), ("log2", np.log2, 0.1, 5, True),
    ("log10", np.log10, 0.1, 5, True), ("exp2", np.exp2, -3, 3, True),
]:  # fmt: skip
    op(_name, getattr(ht, _name), _function, A((3, 5), _low, _high), gradient=_smooth, tolerance="transcendental")
op("rsqrt", ht.rsqrt, lambda x: 1 / np.sqrt(x), A((7,), 0.2, 4), gradient=True, tolerance="transcendental")
op("erf", ht.erf, ref.erf, A((33,), -4, 4), gradient=True, tolerance="transcendental")
op("sigmoid", ht.sigmoid, lambda x: 1 / (1 + np.exp(-x)), A((33,), -8, 8), gradient=True, tolerance="transcendental")
op("floor", ht.floor, np.floor, A((4, 5), -5, 5), tolerance="exact")
op("ceil", ht.ceil, np.ceil, A((4, 5), -5, 5), tolerance="exact")
op("trunc", ht.trunc, np.trunc, A((4, 5), -5, 5), tolerance="exact")
op("round", ht.round, np.rint, A((6,), values=[-2.5, -1.5, -0.5, 0.5, 1.5, 2.4]), tolerance="exact")
op("negative", ht.negative, np.negative, dtypes=("float32", "float16", "int32", "int64"), tolerance="exact", gradient=True)
op("abs", ht.abs, np.abs, dtypes=NUMBERS, tolerance="exact", gradient=True)
op("sign", ht.sign, np.sign, A((5,), values=[-3, 0, 2, 1, -1]), dtypes=("float32", "float16", "int32"), tolerance="exact")
op("square", ht.square, np.square, dtypes=NUMBERS, gradient=True)
op("reciprocal", ht.reciprocal, lambda x: 1 / x, A((5,), 0.3, 3), gradient=True)
op("add", ht.add, np.add, A((3, 4)), A((4,)), dtypes=NUMBERS, gradient=True)
op("subtract", ht.subtract, np.subtract, A((3, 1)), A((1, 4)), dtypes=NUMBERS, gradient=True)
op("multiply", ht.multiply, np.multiply, A((2, 3, 4)), A((3, 1)), dtypes=NUMBERS, gradient=True)
op("divide", ht.divide, np.divide, X, A((3, 4), 0.5, 2), gradient=True)
op("divide_ints", ht.divide, lambda a, b: a / b, X, A((3, 4), 1, 9), dtypes=("int32",))
op("truncated_divide", ht.truncated_divide, ref.truncated_divide, A((64,), -99, 99), A((64,), -5, 5), dtypes=("int32", "int64"))
op("floor_divide", ht.floor_divide, np.floor_divide, A((64,), -99, 99), A((64,), 1, 7), dtypes=("int32", "int64", "float32"))
op("remainder", ht.remainder, np.remainder, A((64,), -99, 99), A((64,), 1, 7), dtypes=("int32", "int64", "uint8"))
op("remainder_float", ht.remainder, np.remainder, A((32,), -9, 9), A((32,), 0.5, 3), dtypes=("float32",), tolerance="sums")
op("fmod", ht.fmod, np.fmod, A((64,), -99, 99), A((64,), 1, 7), dtypes=("int32", "int64", "float32"), tolerance="sums")
op("pow", ht.pow, np.power, A((5, 4), 0.2, 3), A((5, 4), -2, 3), gradient=True, tolerance="transcendental")
op("pow_ints", ht.pow, np.power, A((8,), -3, 4), A((8,), 0, 5), dtypes=("int32", "int64"))
op("pow_two", lambda x: x**2, lambda x: x**2, X, dtypes=("float32", "int32"), gradient=True)
op("pow_half", lambda x: x**0.5, np.sqrt, A((5,), 0.2, 3), gradient=True)
op("pow_cube", lambda x: x**3, lambda x: x**3, gradient=True, tolerance="sums")
op("maximum", ht.maximum, np.maximum, X, A((4,)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op("minimum", ht.minimum, np.minimum, X, A((4,)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op("maximum_nan", ht.maximum, np.maximum, A((4,), values=[1, np.nan, np.nan, 2]), A((4,), values=[np.nan, 1, np.nan, 3]))
op("clip", lambda x: ht.clip(x, -1, 1), lambda x: np.clip(x, -1, 1), dtypes=("float32", "int32"), gradient=True)
op("hypot", ht.hypot, np.hypot, X, X, tolerance="transcendental", dtypes=("float32", "float64"))
op("atan2", ht.atan2, np.arctan2, A((40,)), A((40,)), gradient=True, tolerance="transcendental")
op("logaddexp", ht.logaddexp, np.logaddexp, X, X, gradient=True, tolerance="transcendental")
op("equal", ht.equal, np.equal, A((20,), 0, 3), A((20,), 0, 3), dtypes=("float32", "int32", "int64", "bool"))
op("not_equal", ht.not_equal, np.not_equal, A((20,), 0, 3), A((20,), 0, 3), dtypes=("float32", "int32", "bool"))
op("less", ht.less, np.less, X, X, dtypes=(*NUMBERS, "bool"))
op("less_equal", ht.less_equal, np.less_equal, X, X, dtypes=(*NUMBERS, "bool"))
op("greater", ht.greater, np.greater, X, X, dtypes=NUMBERS)
op("greater_equal", ht.greater_equal, np.greater_equal, X, X, dtypes=NUMBERS)
op("logical_and", ht.logical_and, np.logical_and, X, X, dtypes=("bool", "int32"))
op("logical_or", ht.logical_or, np.logical_or, X, X, dtypes=("bool", "int32"))
op("logical_xor", ht.logical_xor, np.logical_xor, X, X, dtypes=("bool", "int32"))
op("logical_not", ht.logical_not, np.logical_not, dtypes=("bool", "float32", "int32"))
op("isnan", ht.isnan, np.isnan, A((3,), values=[np.nan, 1, np.inf]))
op("isinf", ht.isinf, np.isinf, A((4,), values=[np.nan, 1, np.inf, -np.inf]))
op("isfinite", ht.isfinite, np.isfinite, A((4,), values=[np.nan, 1, np.inf, -np.inf]))
op("signbit", ht.signbit, np.signbit, A((4,), values=[-0.0, 0.0, -2.5, 3]))
op("copysign", ht.copysign, np.copysign, A((3,), values=[1, -2, 3]), A((3,), values=[-0.0, 2, -1]), tolerance="exact")
op("where", ht.where, np.where, A((3, 4), dtype="bool"), X, A((4,)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op("bitwise_and", ht.bitwise_and, np.bitwise_and, X, X, dtypes=(*INTS, "bool"))
op("bitwise_or", ht.bitwise_or, np.bitwise_or, X, X, dtypes=(*INTS, "bool"))
op("bitwise_xor", ht.bitwise_xor, np.bitwise_xor, X, X, dtypes=(*INTS, "bool"))
op("bitwise_invert", ht.bitwise_invert, np.bitwise_not, dtypes=(*INTS, "bool"))
op("shift_left", ht.bitwise_left_shift, np.left_shift, X, A((3, 4), 0, 7), dtypes=INTS)
op("shift_right", ht.bitwise_right_shift, np.right_shift, X, A((3, 4), 0, 7), dtypes=INTS)
op(
    "astype_int",
    lambda x: ht.astype(x, "int32"),
    lambda x: x.astype(np.int32),
    A((20,), -9, 9),
    dtypes=("float32", "uint8", "bool"),
)
op("astype_float", lambda x: ht.astype(x, "float32"), lambda x: x.astype(np.float32), dtypes=(*INTS, "float16", "bool"))
op("astype_bool", lambda x: ht.astype(x, "bool"), lambda x: x.astype(bool), A((9,), 0, 3), dtypes=("float32", "int32"))
op(
    "saturate", lambda x: ht.astype(x, "uint8"), lambda x: np.array([0, 0, 255, 255, 7, 0]),
    A((6,), values=[-5, np.nan, 300, np.inf, 7.9, -np.inf]), dtypes=("float32",),
)  # fmt: skip
op("bitcast", lambda x: ht.bitcast(x, "int32"), lambda x: x.astype(np.float32).view(np.int32), dtypes=("float32",))
op("bitcast_half", lambda x: ht.bitcast(x, "uint16"), lambda x: x.astype(np.float16).view(np.uint16), dtypes=("float16",))

# -- activations -------------------------------------------------------------------------------------------------------------

for _name, _reference in {
    "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x < 0, 0.01 * x, x), "elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "selu": lambda x: 1.05070102214813232 * np.where(x < 0, 1.67326319217681885 * np.expm1(x), x),
    "celu": lambda x: np.maximum(0, x) + np.minimum(0, np.expm1(x)), "gelu": lambda x: x * 0.5 * (1 + ref.erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + np.exp(-x)), "softplus": lambda x: np.log1p(np.exp(x)),
    "log_sigmoid": lambda x: -np.log1p(np.exp(-x)), "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "softsign": lambda x: x / (1 + np.abs(x)), "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1), "hard_tanh": lambda x: np.clip(x, -1, 1),
    "tanh_shrink": lambda x: x - np.tanh(x), "soft_shrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "hard_shrink": lambda x: np.where(np.abs(x) > 0.5, x, 0), "squareplus": lambda x: (x + np.sqrt(x * x + 4)) / 2,
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x >= 1, x, (x + 1) ** 2 / 4)),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1), "thresholded_relu": lambda x: np.where(x > 1, x, 0),
}.items():  # fmt: skip
    op(_name, getattr(ht, _name), _reference, A((41,), -4, 4), gradient=True, tolerance="transcendental")
op(
    "gelu_tanh", lambda x: ht.gelu(x, approximate=True),
    lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    A((41,), -4, 4), gradient=True, tolerance="transcendental",
)  # fmt: skip
op("prelu", ht.prelu, lambda x, s: np.where(x < 0, s * x, x), A((2, 3, 4)), A((3, 1), 0.1, 0.5), gradient=True)
op("glu", ht.glu, lambda x: x[..., :3] / (1 + np.exp(-x[..., 3:])), A((2, 6)), gradient=True, tolerance="transcendental")

# -- shape -------------------------------------------------------------------------------------------------------------------

SHAPES = ("float32", "float16", "int64", "bool")


def moved(name: str, function: Callable[..., Any], reference: Callable[..., Any], *operands: Operand) -> None:
    """A row that moves elements: exact in every dtype, linear."""
    op(name, function, reference, *operands, dtypes=SHAPES, gradient=True, tolerance="exact")


moved("reshape", lambda x: ht.reshape(x, (4, -1, 3)), lambda x: x.reshape(4, -1, 3), A((2, 6, 2)))
moved("permute_dims", lambda x: ht.permute_dims(x, (2, 0, 1)), lambda x: x.transpose(2, 0, 1), A((2, 3, 5)))
moved(
    "transpose_reshape",
    lambda x: x.transpose(1, 0, 2).reshape(6, 5),
    lambda x: x.transpose(1, 0, 2).reshape(6, 5),
    A((2, 3, 5)),
)
moved("moveaxis", lambda x: ht.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), A((2, 3, 5)))
moved("squeeze", lambda x: ht.squeeze(x, 1), lambda x: np.squeeze(x, 1), A((2, 1, 3)))
moved("expand_dims", lambda x: ht.expand_dims(x, axis=(0, -1)), lambda x: x[None, ..., None], A((2, 3)))
moved("broadcast_to", lambda x: ht.broadcast_to(x, (4, 2, 3)), lambda x: np.broadcast_to(x, (4, 2, 3)), A((2, 1)))
moved("concat", lambda a, b, c: ht.concat([a, b, c], axis=1), lambda *p: np.concatenate(p, 1), A((2, 3)), A((2, 1)), A((2, 4)))
moved("stack", lambda a, b: ht.stack([a, b], axis=1), lambda a, b: np.stack([a, b], 1), A((2, 3)), A((2, 3)))
moved("split", lambda x: tuple(ht.split(x, [1, 3, 2], axis=1)), lambda x: tuple(np.split(x, [1, 4], 1)), A((2, 6)))
moved("unstack", ht.unstack, lambda x: tuple(x), A((3, 2)))
moved("flip", lambda x: ht.flip(x, axis=1), lambda x: np.flip(x, 1), A((2, 5)))
moved("roll", lambda x: ht.roll(x, (1, -2), axis=(0, 1)), lambda x: np.roll(x, (1, -2), (0, 1)), A((3, 5)))
moved("tile", lambda x: ht.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), A((2, 3)))
moved("repeat", lambda x: ht.repeat(x, 3, axis=1), lambda x: np.repeat(x, 3, 1), A((2, 3)))
moved("repeat_counts", lambda x: ht.repeat(x, [0, 2, 1], axis=1), lambda x: np.repeat(x, [0, 2, 1], 1), A((2, 3)))
moved("slice", lambda x: x[1:, ::-2, ..., None], lambda x: x[1:, ::-2, ..., None], A((3, 6, 2)))
moved("slice_strided", lambda x: x[1:9:3, -1:-8:-2], lambda x: x[1:9:3, -1:-8:-2], A((10, 9)))
moved("index", lambda x: x[1, -2], lambda x: x[1, -2], A((3, 6, 2)))
moved("pad", lambda x: ht.pad(x, [(1, 2), (0, 3)]), lambda x: np.pad(x, [(1, 2), (0, 3)]), A((2, 3)))
moved("pad_negative", lambda x: ht.pad(x, [(-1, 2), (1, -1)]), lambda x: np.pad(x, [(0, 2), (1, 0)])[1:, :-1], A((3, 3)))
for _mode in ("reflect", "symmetric", "edge", "wrap"):
    moved(
        f"pad_{_mode}", lambda x, m=_mode: ht.pad(x, [(2, 1), (1, 2)], mode=m),
        lambda x, m=_mode: np.pad(x, [(2, 1), (1, 2)], mode=m), A((3, 4)),
    )  # fmt: skip
moved("tril", lambda x: ht.tril(x, k=1), lambda x: np.tril(x, 1), A((2, 4, 5)))
moved("triu", lambda x: ht.triu(x, k=-1), lambda x: np.triu(x, -1), A((2, 4, 5)))
moved("depth_to_space", lambda x: ht.depth_to_space(x, 2), lambda x: ref.depth_to_space(x, 2, True), A((2, 8, 3, 2)))
moved(
    "depth_to_space_crd",
    lambda x: ht.depth_to_space(x, 2, mode="CRD"),
    lambda x: ref.depth_to_space(x, 2, False),
    A((1, 8, 2, 2)),
)
moved("space_to_depth", lambda x: ht.depth_to_space(ht.space_to_depth(x, 2), 2), lambda x: x, A((1, 2, 4, 6)))
moved("diagonal", ht.diagonal, lambda x: np.diagonal(x, axis1=-2, axis2=-1), A((2, 4, 3)))
moved(
    "dynamic_slice", lambda x, i: ht.dynamic_slice(x, i, (2, 3)), lambda x, i: x[2:4, 0:3],
    A((4, 5)), A((2,), dtype="int32", values=[9, -4]),
)  # fmt: skip
moved("dynamic_update_slice", ht.dynamic_update_slice, ref.dynamic_update_slice, A((4, 5)), A((2, 3)), A((2,), 0, 2, "int32"))

# -- gather and scatter ------------------------------------------------------------------------------------------------------

moved("take", lambda x, i: ht.take(x, i, axis=1), lambda x, i: np.take(x, i, 1), A((3, 5, 2)), A((2, 4), 0, 5, "int32"))
moved("take_negative", lambda x, i: ht.take(x, i, axis=0), lambda x, i: np.take(x, i, 0), A((5, 2)), A((6,), -5, 5, "int64"))
moved("take_row", lambda x, i: x[i], lambda x, i: x[i], A((5, 3)), A((), 0, 5, "int32"))
moved(
    "take_along_axis",
    lambda x, i: ht.take_along_axis(x, i, axis=1),
    lambda x, i: np.take_along_axis(x, i, 1),
    A((3, 5)),
    A((3, 4), 0, 5, "int64"),
)
moved("gather_nd", ht.gather_nd, lambda x, i: x[i[..., 0], i[..., 1]], A((3, 3, 4)), A((2, 5, 2), 0, 3, "int64"))
moved(
    "gather_nd_batch", lambda x, i: ht.gather_nd(x, i, batch_dims=1), lambda x, i: np.stack([x[b][i[b, :, 0]] for b in range(2)]),
    A((2, 4, 3)), A((2, 5, 1), 0, 4, "int32"),
)  # fmt: skip
moved(
    "getitem_arrays",
    lambda x, i, j: x[i, :, j],
    lambda x, i, j: x[i, :, j],
    A((4, 2, 3)),
    A((5,), 0, 4, "int32"),
    A((5,), 0, 3, "int32"),
)
moved("scatter_nd", ht.scatter_nd, ref.scatter_nd, A((6, 2)), A((3, 1), dtype="int64", values=[[4], [0], [4]]), A((3, 2)))
moved(
    "scatter_along_axis", lambda x, i, u: ht.scatter_along_axis(x, i, u, axis=1), ref.scatter_along,
    A((3, 5)), A((3, 2), dtype="int64", values=[[0, 0], [4, 1], [2, 3]]), A((3, 2)),
)  # fmt: skip
for _how in ("add", "mul", "min", "max"):
    op(
        f"scatter_nd_{_how}", lambda x, i, u, h=_how: ht.scatter_nd(x, i, u, combine=h),
        lambda x, i, u, h=_how: ref.scatter_nd(x, i, u, h), A((6, 2)),
        A((4, 1), dtype="int32", values=[[4], [0], [4], [5]]), A((4, 2)),
        dtypes=("float32", "int32"), gradient=_how == "add",
    )  # fmt: skip

# -- reductions --------------------------------------------------------------------------------------------------------------

op(
    "sum",
    ht.sum,
    np.sum,
    A((4, 5)),
    dtypes=("float32", "float64", "float16", "int32", "int64"),
    gradient=True,
    tolerance="sums",
)
op(
    "sum_axes",
    lambda x: ht.sum(x, axis=(0, 2), keepdims=True),
    lambda x: np.sum(x, (0, 2), keepdims=True),
    A((3, 5, 7)),
    gradient=True,
    tolerance="sums",
)
op("sum_long", lambda x: ht.sum(x, axis=-1), lambda x: np.sum(x, -1), A((3, 1000)), tolerance="sums")
op(
    "prod",
    lambda x: ht.prod(x, axis=0),
    lambda x: np.prod(x, 0),
    A((4, 3)),
    dtypes=("float32", "float64", "int32"),
    gradient=True,
    tolerance="sums",
)
op(
    "prod_axes",
    lambda x: ht.prod(x, axis=(0, 2)),
    lambda x: np.prod(x, (0, 2)),
    A((2, 3, 3)),
    dtypes=("float32",),
    gradient=True,
    tolerance="sums",
)
op("max", lambda x: ht.max(x, axis=1), lambda x: np.max(x, 1), A((4, 7)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op(
    "min",
    lambda x: ht.min(x, axis=(0, 1)),
    lambda x: np.min(x, (0, 1)),
    A((4, 7, 2)),
    dtypes=NUMBERS,
    gradient=True,
    tolerance="exact",
)
op(
    "max_nan",
    lambda x: ht.max(x, axis=0),
    lambda x: np.max(x, 0),
    A((2, 3), values=[[1, np.nan, 3], [np.nan, 2, 5]]),
    dtypes=FLOAT,
)
op("mean", lambda x: ht.mean(x, axis=-1), lambda x: np.mean(x, -1), A((3, 9)), gradient=True, tolerance="sums")
op("mean_ints", ht.mean, np.mean, A((3, 9)), dtypes=("int32", "uint8"), tolerance="sums")
op("var", lambda x: ht.var(x, axis=0), lambda x: np.var(x, 0), A((7, 3)), gradient=True, tolerance="sums")
op("std", lambda x: ht.std(x, axis=0, correction=1), lambda x: np.std(x, 0, ddof=1), A((7, 3)), gradient=True, tolerance="sums")
op("any", lambda x: ht.any(x, axis=1), lambda x: np.any(x, 1), A((5, 3), 0, 2), dtypes=("bool", "int32"))
op("all", lambda x: ht.all(x, axis=1), lambda x: np.all(x, 1), A((5, 2), 0, 2), dtypes=("bool", "int32"))
op("count_nonzero", ht.count_nonzero, np.count_nonzero, A((9,), 0, 2), dtypes=("bool", "int32", "float32"))
op(
    "logsumexp",
    lambda x: ht.logsumexp(x, axis=1),
    lambda x: np.log(np.sum(np.exp(x), 1)),
    A((3, 5)),
    gradient=True,
    tolerance="transcendental",
)
op(
    "vector_norm",
    lambda x: ht.vector_norm(x, axis=1),
    lambda x: np.linalg.norm(x, axis=1),
    A((3, 5)),
    gradient=True,
    tolerance="sums",
)
op("argmax", lambda x: ht.argmax(x, axis=1), lambda x: np.argmax(x, 1), A((4, 9), 0, 5), dtypes=NUMBERS)
op(
    "argmin",
    lambda x: ht.argmin(x, axis=0, keepdims=True),
    lambda x: np.argmin(x, 0, keepdims=True),
    A((9, 4), 0, 5),
    dtypes=NUMBERS,
)
op(
    "argmax_last",
    lambda x: ht.argmax(x, axis=1, last=True),
    lambda x: x.shape[1] - 1 - np.argmax(x[:, ::-1], 1),
    A((4, 9), 0, 3),
    dtypes=("int32",),
)
op(
    "cumulative_sum",
    lambda x: ht.cumulative_sum(x, axis=1),
    lambda x: np.cumsum(x, 1),
    A((3, 8)),
    dtypes=("float32", "float64", "int32", "int64"),
    gradient=True,
    tolerance="sums",
)
op(
    "cumulative_sum_reverse", lambda x: ht.cumulative_sum(x, axis=0, exclusive=True, reverse=True),
    lambda x: np.cumsum(x[::-1], 0)[::-1] - x, A((6, 2)), dtypes=("float32", "int32"), gradient=True, tolerance="sums",
)  # fmt: skip
op(
    "cumulative_prod",
    lambda x: ht.cumulative_prod(x, axis=1),
    lambda x: np.cumprod(x, 1),
    A((3, 6)),
    dtypes=("float32", "int32"),
    gradient=True,
    tolerance="sums",
)
op(
    "cumulative_max",
    lambda x: ht.cumulative_max(x, axis=1),
    lambda x: np.maximum.accumulate(x, 1),
    A((3, 9)),
    dtypes=("float32", "int32"),
    gradient=True,
    tolerance="exact",
)
op(
    "cumulative_min",
    lambda x: ht.cumulative_min(x, axis=0),
    lambda x: np.minimum.accumulate(x, 0),
    A((9, 3)),
    dtypes=("float32",),
    gradient=True,
    tolerance="exact",
)

# -- sorting -----------------------------------------------------------------------------------------------------------------

op("sort", lambda x: ht.sort(x, axis=0), lambda x: np.sort(x, 0), A((7, 3)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op(
    "sort_descending",
    lambda x: ht.sort(x, descending=True),
    lambda x: -np.sort(-x),
    A((3, 7)),
    dtypes=("float32", "int32"),
    gradient=True,
)
op("argsort", ht.argsort, lambda x: np.argsort(x, kind="stable"), A((3, 12), 0, 4), dtypes=("int32", "float32", "uint8"))
op(
    "argsort_descending",
    lambda x: ht.argsort(x, descending=True),
    lambda x: np.argsort(-x, kind="stable"),
    A((3, 12), 0, 4),
    dtypes=("int32",),
)
op(
    "top_k",
    lambda x: ht.top_k(x, 3),
    lambda x: (-np.sort(-x)[:, :3], np.argsort(-x, kind="stable")[:, :3]),
    A((4, 9)),
    dtypes=("float32", "int32"),
)
op(
    "searchsorted",
    ht.searchsorted,
    np.searchsorted,
    A((5,), values=[-2, 0, 1, 1, 3]),
    A((3, 4), -4, 4),
    dtypes=("float32", "int32"),
)
op("nonzero_bounded", ht.nonzero_bounded, ref.nonzero_bounded, A((3, 5), 0, 2), dtypes=("bool", "int32", "float32"))
op("one_hot", lambda i: ht.one_hot(i, 5), lambda i: np.eye(5)[i], A((3, 2), 0, 5), dtypes=("int32", "int64", "uint8"))
op(
    "nms_bounded", lambda b, s: ht.nms_bounded(b, s, 3, 0.5, 0.1, bound=6), lambda b, s: ref.nms(b, s, 3, 0.5, 0.1, 6),
    A((1, 12, 4), 0, 1), A((1, 2, 12), 0, 1), dtypes=FLOAT,
)  # fmt: skip

# -- products ----------------------------------------------------------------------------------------------------------------

PRODUCTS = ("float32", "float64", "float16", "int32")


def product(name: str, function: Callable[..., Any], reference: Callable[..., Any], *operands: Operand) -> None:
    """A row of sums of products."""
    op(name, function, reference, *operands, dtypes=PRODUCTS, gradient=True, tolerance="sums")


product("matmul", ht.matmul, np.matmul, A((5, 7)), A((7, 3)))
product("matmul_batch", ht.matmul, np.matmul, A((2, 1, 5, 4)), A((3, 4, 6)))
product("matmul_tall", ht.matmul, np.matmul, A((2, 3, 5, 4)), A((4, 6)))
product("matmul_vectors", ht.matmul, np.matmul, A((9,)), A((9,)))
product("matmul_vector", ht.matmul, np.matmul, A((2, 5, 4)), A((4,)))
product("matmul_ta", lambda a, b: ht.matmul(a, b, transpose_a=True), lambda a, b: a.T @ b, A((7, 5)), A((7, 3)))
product("matmul_tb", lambda a, b: ht.matmul(a, b, transpose_b=True), lambda a, b: a @ b.T, A((5, 7)), A((3, 7)))
product(
    "matmul_tt", lambda a, b: ht.matmul(a, b, transpose_a=True, transpose_b=True), lambda a, b: a.T @ b.T, A((7, 5)), A((3, 7))
)
product(
    "tensordot",
    lambda a, b: ht.tensordot(a, b, axes=([1, 0], [0, 1])),
    lambda a, b: np.tensordot(a, b, ([1, 0], [0, 1])),
    A((3, 4, 5)),
    A((4, 3, 2)),
)
product("vecdot", ht.vecdot, lambda a, b: np.sum(a * b, -1), A((3, 4)), A((3, 4)))
product("outer", ht.outer, np.outer, A((3,)), A((4,)))
for _equation, _shapes in {
    "ij,jk->ik": ((3, 4), (4, 5)), "bij,bkj->bik": ((2, 3, 4), (2, 5, 4)), "ii->i": ((4, 4),), "ij->": ((3, 4),),
    "...ij,...jk": ((2, 3, 4), (4, 5)), "i,j,k->kij": ((2,), (3,), (4,)), "bhqd,bhkd->bhqk": ((1, 2, 3, 4), (1, 2, 5, 4)),
    "ijk,jil->kl": ((2, 3, 4), (3, 2, 5)), "ij,ij->j": ((3, 4), (3, 4)), "a...,...b->a...b": ((2, 3), (3, 4)),
}.items():  # fmt: skip
    product(
        f"einsum_{_equation}", lambda *x, e=_equation: ht.einsum(e, *x), lambda *x, e=_equation: np.einsum(e, *x),
        *[A(s) for s in _shapes],
    )  # fmt: skip
op(
    "matmul_int8", lambda a, b: ht.matmul(a, b, dtype="int32"), lambda a, b: a.astype(np.int32) @ b.astype(np.int32),
    A((5, 40), -128, 127, "int8"), A((40, 6), -128, 127, "int8"), dtypes=("int8",),
)  # fmt: skip
op(
    "matmul_uint8_int8", lambda a, b: ht.matmul(a, b, dtype="int32"), lambda a, b: a.astype(np.int32) @ b.astype(np.int32),
    A((5, 40), 0, 255, "uint8"), A((40, 6), -128, 127, "int8"), dtypes=("int8",),
)  # fmt: skip

# -- convolution and pooling -------------------------------------------------------------------------------------------------

for _label, _x, _w, _options in [
    ("pointwise", (2, 6, 5, 4), (7, 6, 1, 1), {}),
    ("3x3", (1, 3, 8, 7), (5, 3, 3, 3), {"padding": 1}),
    ("strided", (1, 3, 9, 8), (4, 3, 3, 3), {"strides": 2, "padding": ((1, 0), (0, 1))}),
    ("dilated", (1, 2, 9, 9), (3, 2, 3, 3), {"dilation": 2, "padding": 2}),
    ("grouped", (1, 6, 5, 5), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    ("depthwise", (1, 8, 6, 6), (8, 1, 3, 3), {"groups": 8, "padding": 1}),
    ("depthwise_multiplied", (1, 4, 7, 6), (8, 1, 3, 3), {"groups": 4, "strides": 2}),
    ("1d", (2, 3, 16), (4, 3, 5), {"strides": 2, "padding": 2}),
    ("3d", (1, 2, 4, 5, 6), (3, 2, 2, 2, 3), {"padding": 1}),
]:  # fmt: skip
    op(
        f"conv_{_label}", lambda x, w, o=_options: ht.conv(x, w, **o), lambda x, w, o=_options: ref.conv(x, w, **o),
        A(_x), A(_w), dtypes=FLOATS, gradient=True, tolerance="sums",
    )  # fmt: skip
    op(
        f"conv_last_{_label}", lambda x, w, o=_options: ht.conv(x, w, layout="channels_last", **o),
        lambda x, w, o=_options: np.moveaxis(ref.conv(np.moveaxis(x, -1, 1), w, **o), 1, -1),
        A((_x[0], *_x[2:], _x[1])), A(_w), dtypes=FLOAT, gradient=True, tolerance="sums",
    )  # fmt: skip
op(
    "conv_int8", lambda x, w: ht.conv(x, w, padding=1, dtype="int32"), lambda x, w: ref.conv(x.astype(np.int64), w, padding=1),
    A((1, 3, 5, 5), -128, 127), A((4, 3, 3, 3), -128, 127), dtypes=("int8",),
)  # fmt: skip
op(
    "conv_bias", lambda x, w, b: ht.conv(x, w, b, padding="same"), lambda x, w, b: ref.conv(x, w, padding=1) + b[:, None, None],
    A((1, 3, 5, 5)), A((4, 3, 3, 3)), A((4,)), gradient=True, tolerance="sums",
)  # fmt: skip
for _label, _x, _w, _options in [
    ("plain", (1, 3, 4, 5), (3, 2, 3, 3), {}),
    ("strided", (2, 3, 4, 3), (3, 4, 2, 2), {"strides": 2}),
    ("padded", (1, 3, 4, 4), (3, 2, 3, 3), {"strides": 2, "padding": 1, "output_padding": 1}),
    ("dilated", (1, 2, 4, 4), (2, 3, 3, 3), {"dilation": 2, "padding": ((1, 0), (2, 1))}),
    ("grouped", (1, 4, 3, 3), (4, 2, 3, 3), {"groups": 2, "strides": (2, 1)}),
    ("1d", (1, 2, 7), (2, 3, 4), {"strides": 3}),
]:  # fmt: skip
    op(
        f"conv_transpose_{_label}", lambda x, w, o=_options: ht.conv_transpose(x, w, **o),
        lambda x, w, o=_options: ref.conv_transpose(x, w, **o), A(_x), A(_w), gradient=True, tolerance="sums",
    )  # fmt: skip
for _label, _x, _options in [
    ("2", (2, 3, 6, 8), {"window": 2}),
    ("overlapping", (1, 2, 7, 7), {"window": 3, "strides": 2, "padding": 1}),
    ("uneven", (1, 2, 9, 5), {"window": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1)), "dilation": (2, 1)}),
    ("1d", (2, 3, 11), {"window": 4, "strides": 3}),
]:  # fmt: skip
    op(
        f"max_pool_{_label}", lambda x, o=_options: ht.max_pool(x, o["window"], **{k: v for k, v in o.items() if k != "window"}),
        lambda x, o=_options: ref.pool(x, np.max, -np.inf, **o), A(_x), gradient=True, tolerance="exact",
    )  # fmt: skip
    op(
        f"avg_pool_{_label}",
        lambda x, o=_options: ht.avg_pool(x, o["window"], count_include_pad=True, **{k: v for k, v in o.items() if k != "window"}),
        lambda x, o=_options: ref.pool(x, np.mean, 0.0, **o), A(_x), gradient=True, tolerance="sums",
    )  # fmt: skip
op(
    "avg_pool_exclusive", lambda x: ht.avg_pool(x, 3, strides=2, padding=1),
    lambda x: ref.pool(x, np.nanmean, np.nan, window=3, strides=2, padding=1), A((1, 2, 6, 6)), gradient=True, tolerance="sums",
)  # fmt: skip
op("max_pool_indices", lambda x: ht.max_pool_with_indices(x, 2)[1], ref.max_pool_indices, A((2, 3, 4, 6)), dtypes=FLOAT)
op(
    "lp_pool",
    lambda x: ht.lp_pool(x, 2),
    lambda x: ref.pool(x, lambda v, axis: np.sqrt(np.sum(v * v, axis=axis)), 0.0, window=2),
    A((1, 2, 4, 4), 0.1, 2),
    gradient=True,
    tolerance="sums",
)
op(
    "global_avg_pool",
    ht.global_avg_pool,
    lambda x: x.mean((2, 3), keepdims=True),
    A((2, 3, 4, 5)),
    gradient=True,
    tolerance="sums",
)
op(
    "global_max_pool",
    ht.global_max_pool,
    lambda x: x.max((2, 3), keepdims=True),
    A((2, 3, 4, 5)),
    gradient=True,
    tolerance="exact",
)

# -- normalisation -----------------------------------------------------------------------------------------------------------

op("softmax", ht.softmax, ref.softmax, A((3, 7), -5, 5), gradient=True, tolerance="transcendental")
op(
    "softmax_axis",
    lambda x: ht.softmax(x, axis=1),
    lambda x: ref.softmax(x, 1),
    A((2, 5, 3)),
    gradient=True,
    tolerance="transcendental",
)
op(
    "softmax_large",
    ht.softmax,
    ref.softmax,
    A((2, 3), values=[[900, 901, 899], [-900, 0, -901]]),
    dtypes=FLOAT,
    tolerance="transcendental",
)
op("log_softmax", ht.log_softmax, lambda x: np.log(ref.softmax(x)), A((3, 7), -5, 5), gradient=True, tolerance="transcendental")
op("hardmax", ht.hardmax, lambda x: np.eye(x.shape[-1])[np.argmax(x, -1)], A((3, 5)), dtypes=("float32", "float16"))
op(
    "batch_norm",
    ht.batch_norm,
    ref.batch_norm,
    A((2, 3, 4)),
    A((3,), 0.5, 2),
    A((3,)),
    A((3,)),
    A((3,), 0.2, 2),
    gradient=True,
    tolerance="sums",
)
op("layer_norm", ht.layer_norm, ref.layer_norm, A((2, 3, 8)), A((8,)), A((8,)), gradient=True, tolerance="sums")
op(
    "rms_norm",
    ht.rms_norm,
    lambda x, s: x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5) * s,
    A((2, 3, 8)),
    A((8,)),
    gradient=True,
    tolerance="sums",
)
op("instance_norm", ht.instance_norm, ref.instance_norm, A((2, 3, 4, 5)), A((3,)), A((3,)), gradient=True, tolerance="sums")
op(
    "group_norm",
    lambda x, s, b: ht.group_norm(x, 2, s, b),
    lambda x, s, b: ref.group_norm(x, 2, s, b),
    A((2, 4, 3, 2)),
    A((4,)),
    A((4,)),
    gradient=True,
    tolerance="sums",
)
op(
    "local_response_norm",
    lambda x: ht.local_response_norm(x, 3, alpha=0.3),
    lambda x: ref.local_response_norm(x, 3, 0.3),
    A((2, 5, 3)),
    gradient=True,
    tolerance="transcendental",
)
op(
    "lp_normalize",
    ht.lp_normalize,
    lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True),
    A((3, 5)),
    gradient=True,
    tolerance="sums",
)
op(
    "mean_variance_normalize",
    ht.mean_variance_normalize,
    lambda x: (x - x.mean((0, 2, 3), keepdims=True)) / (x.std((0, 2, 3), keepdims=True) + 1e-9),
    A((2, 3, 4, 4)),
    gradient=True,
    tolerance="sums",
)

# -- control -----------------------------------------------------------------------------------------------------------------

op(
    "cond",
    lambda x: ht.cond(ht.sum(x) > 0, lambda v: v * 2.0, lambda v: v - 1.0, x),
    lambda x: x * 2 if x.sum() > 0 else x - 1,
    A((5,)),
    dtypes=FLOAT,
)
op(
    "fori_loop",
    lambda x: ht.fori_loop(0, 3, lambda i, v: v * x + i, x),
    lambda x: ((x * x + 0) * x + 1) * x + 2,
    A((5,)),
    dtypes=FLOAT,
    tolerance="sums",
)
op(
    "scan",
    lambda x: ht.scan(lambda c, v: (c + v, c * v), ht.zeros((3,)), x),
    ref.scan_sums,
    A((4, 3)),
    dtypes=FLOAT,
    tolerance="sums",
)
op(
    "while_loop",
    lambda x: ht.while_loop(lambda v: ht.max(v) < 50.0, lambda v: v * 2.0, x),
    ref.doubled,
    A((4,), 0.5, 2),
    dtypes=FLOAT,
)
