"""Rows of the op table: elementwise functions and activations."""

from __future__ import annotations

import math

import numpy as np

import hither as ht
from hither.graph.primitives.rules import apply

from . import references as ref
from .op_case import INTS, NUMBERS, Operand, Table

A = Operand
X = A((3, 4))
TABLE = Table()
SMOOTH = {"dtypes": ("float32",), "gradient": True}
op = TABLE.op

# -- complex numbers, which run on NumPy alone --------------------------------------------------------------------------------

for _name in ("conj", "real", "imag"):
    op(_name, getattr(ht, _name), getattr(np, _name), dtypes=("complex64",), tolerance="exact")
op(
    "make_complex", lambda a, b: ht.imag(ht.log2(ht.make_complex(a, b))), lambda a, b: np.angle(a + 1j * b) / np.log(2),
    A((4,), dtype="float32"), A((4,), dtype="float32"), dtypes=("complex64",), tolerance="transcendental",
)  # fmt: skip
op("isnan_complex", lambda x: ht.isnan(x) | ht.isinf(x), lambda x: np.isnan(x) | np.isinf(x), dtypes=("complex64",))

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
op("floor", ht.floor, np.floor, A((4, 5), -5, 5), tolerance="exact", gradient=True)
op("ceil", ht.ceil, np.ceil, A((4, 5), -5, 5), tolerance="exact", gradient=True)
op("trunc", ht.trunc, np.trunc, A((4, 5), -5, 5), tolerance="exact", gradient=True)
op("round", ht.round, np.rint, A((6,), values=[-2.5, -1.5, -0.5, 0.5, 1.5, 2.4]), tolerance="exact")
op("round_between", ht.round, np.rint, A((4, 5), -5, 5), tolerance="exact", **SMOOTH)
op("negative", ht.negative, np.negative, dtypes=("float32", "float16", "int32", "int64"), tolerance="exact", gradient=True)
op("abs", ht.abs, np.abs, dtypes=NUMBERS, tolerance="exact", gradient=True)
op("sign", ht.sign, np.sign, A((5,), values=[-3, 0, 2, 1, -1]), dtypes=("float32", "float16", "int32"), tolerance="exact")
op("sign_smooth", ht.sign, np.sign, A((9,)), tolerance="exact", **SMOOTH)
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
op("remainder_float", ht.remainder, np.remainder, A((32,), -9, 9), A((32,), 0.5, 3), tolerance="sums", **SMOOTH)
op("fmod", ht.fmod, np.fmod, A((64,), -99, 99), A((64,), 1, 7), dtypes=("int32", "int64", "float32"), tolerance="sums")
op("fmod_slope", ht.fmod, np.fmod, A((32,), -9, 9), A((32,), 0.5, 3), tolerance="sums", **SMOOTH)
op("pow", ht.pow, np.power, A((5, 4), 0.2, 3), A((5, 4), -2, 3), gradient=True, tolerance="transcendental")
op("pow_ints", ht.pow, np.power, A((8,), -3, 4), A((8,), 0, 5), dtypes=("int32", "int64"))
op("pow_two", lambda x: x**2, lambda x: x**2, X, dtypes=("float32", "int32"), gradient=True)
op("pow_half", lambda x: x**0.5, np.sqrt, A((5,), 0.2, 3), gradient=True)
op("pow_cube", lambda x: x**3, lambda x: x**3, gradient=True, tolerance="sums")
op("maximum", ht.maximum, np.maximum, X, A((4,)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op("minimum", ht.minimum, np.minimum, X, A((4,)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op("maximum_nan", ht.maximum, np.maximum, A((4,), values=[1, np.nan, np.nan, 2]), A((4,), values=[np.nan, 1, np.nan, 3]))
op("clip", lambda x: ht.clip(x, -1, 1), lambda x: np.clip(x, -1, 1), dtypes=("float32", "int32"), gradient=True)
op("hypot", ht.hypot, np.hypot, X, X, tolerance="transcendental", dtypes=("float32", "float64"), gradient=True)
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
op(
    "nextafter", ht.nextafter, lambda a, b: np.nextafter(a.astype(np.float32), b.astype(np.float32)),
    A((6,), values=[1.0, 1.0, -1.0, 3.0, 0.5, -2.5]), A((6,), values=[2.0, 0.0, 0.0, 3.0, np.inf, -np.inf]),
    dtypes=("float32",), tolerance="exact",
)  # fmt: skip
op(
    "remainder_signs", lambda a, b: ht.signbit(ht.remainder(a, b)), lambda a, b: np.signbit(np.remainder(a, b)),
    A((6,), values=[0.0, -0.0, 4.0, -4.0, 5.0, -5.0]), A((6,), values=[-2.0, 2.0, -2.0, 2.0, -3.0, 3.0]),
    dtypes=("float32", "float64"),
)  # fmt: skip
op(
    "floor_divide_infinite", ht.floor_divide, lambda a, b: np.where(np.isinf(b), a / b, np.floor_divide(a, b)),
    A((6,), values=[5.0, -5.0, 0.0, 5.0, -5.0, 1.0]),
    A((6,), values=[np.inf, np.inf, -np.inf, -np.inf, -np.inf, 0.1]), dtypes=("float32", "float64"), tolerance="exact",
)  # fmt: skip
op("signbit", ht.signbit, np.signbit, A((4,), values=[-0.0, 0.0, -2.5, 3]))
op("copysign", ht.copysign, np.copysign, A((3,), values=[1, -2, 3]), A((3,), values=[-0.0, 2, -1]), tolerance="exact")
op("copysign_smooth", ht.copysign, np.copysign, X, X, tolerance="exact", **SMOOTH)
op("where", ht.where, np.where, A((3, 4), dtype="bool"), X, A((4,)), dtypes=NUMBERS, gradient=True, tolerance="exact")
op("bitwise_and", ht.bitwise_and, np.bitwise_and, X, X, dtypes=(*INTS, "bool"))
op("bitwise_or", ht.bitwise_or, np.bitwise_or, X, X, dtypes=(*INTS, "bool"))
op("bitwise_xor", ht.bitwise_xor, np.bitwise_xor, X, X, dtypes=(*INTS, "bool"))
op("bitwise_invert", ht.bitwise_invert, np.bitwise_not, dtypes=(*INTS, "bool"))
op("shift_left", ht.bitwise_left_shift, np.left_shift, X, A((3, 4), 0, 7), dtypes=INTS)
op("shift_right", ht.bitwise_right_shift, np.right_shift, X, A((3, 4), 0, 7), dtypes=INTS)
for _name in ("left", "right"):  # by the width or more, and by less than nothing
    op(
        f"shift_{_name}_outside", getattr(ht, f"bitwise_{_name}_shift"), getattr(np, f"{_name}_shift"), A((1, 8)),
        A((4, 1), values=[[-1], [-100], [64], [100]]), dtypes=INTS,
    )  # fmt: skip
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
op("narrow", lambda x: apply("narrow", x), lambda x: x.astype(np.float16), dtypes=("float32",), tolerance="exact")
op("bitcast", lambda x: ht.bitcast(x, "int32"), lambda x: x.astype(np.float32).view(np.int32), dtypes=("float32",))
op("bitcast_half", lambda x: ht.bitcast(x, "uint16"), lambda x: x.astype(np.float16).view(np.uint16), dtypes=("float16",))

# -- activations -------------------------------------------------------------------------------------------------------------

for _name, _reference in {
    "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x < 0, 0.01 * x, x), "elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "selu": lambda x: 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * np.expm1(x), x),
    "celu": lambda x: np.maximum(0, x) + np.minimum(0, np.expm1(x)),
    "gelu": lambda x: x * 0.5 * (1 + ref.erf(x / math.sqrt(2))),
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
