"""How elementwise primitives are written in ONNX: most have an operator, the rest are put together.

Formulas that avoid cancellation: expm1 and log1p after W. Kahan (N. Higham, Accuracy and Stability of Numerical Algorithms,
§1.14.1).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import dtypes as dt
from ....dtypes import DType
from .writer import Writer, rule

PLAIN = {
    "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "round": "Round", "exp": "Exp", "log": "Log",
    "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh",
    "cosh": "Cosh", "tanh": "Tanh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "erf": "Erf", "sigmoid": "Sigmoid",
    "is_nan": "IsNaN", "div": "Div", "pow": "Pow", "eq": "Equal", "lt": "Less", "le": "LessOrEqual",
    "select": "Where",
}  # fmt: skip
# What an operator takes in ONNX Runtime is less than what ONNX says; bool and narrow integers are computed in int32.
LOGICAL = {"bit_and": "And", "bit_or": "Or", "bit_xor": "Xor", "mul": "And", "add": "Or", "max": "Or", "min": "And"}
BITWISE = {"bit_and": "BitwiseAnd", "bit_or": "BitwiseOr", "bit_xor": "BitwiseXor"}
ARITHMETIC = {"add": "Add", "sub": "Sub", "mul": "Mul", "max": "Max", "min": "Min"}
NARROW = ("int8", "int16", "uint8", "uint16")


def _kind(node: Any) -> DType:
    return node.operands[0].dtype


def _widened(w: Writer, node: Any, compute: Any, *x: str) -> str:
    """Computed in int32 where the operands are narrow integers, and wrapped back to their width."""
    kind = _kind(node)
    if kind.name not in NARROW:
        return compute(*x)
    return w.cast(compute(*[w.cast(v, dt.int32) for v in x]), node.results[0].dtype)


@rule(*(name for name in PLAIN if name not in ("eq", "lt", "le", "select", "neg", "abs", "sign", "div")))
def plain(w: Writer, node: Any, *x: str) -> str:
    return _widened(w, node, lambda *v: w.op(PLAIN[node.primitive.name], *v), *x)


@rule("neg", "abs", "sign")
def signed(w: Writer, node: Any, x: str) -> str:
    kind = _kind(node)
    if node.primitive.name == "neg" and kind.kind == "u":  # which ONNX does not negate
        return _widened(w, node, lambda v: w.op("Sub", w.number(0, dt.int32 if kind.name in NARROW else kind), v), x)
    return w.op(PLAIN[node.primitive.name], x)


@rule("is_inf")
def is_infinite(w: Writer, node: Any, x: str) -> str:
    return _infinite(w, _kind(node), x)


def _infinite(w: Writer, kind: DType, x: str) -> str:
    """ONNX asks this of halves from opset 20 on."""
    return w.op("IsInf", w.cast(x, dt.float32) if kind is dt.float16 else x)


@rule("div", "rem")
def divide(w: Writer, node: Any, a: str, b: str) -> str:
    """ONNX Runtime stops at an integer divided by zero, where quotient and remainder are 0 here, and the processor at the
    least of all divided by -1."""
    kind, rest = _kind(node), node.primitive.name == "rem"
    known = w.found.known(node.operands[1])

    def compute(x: str, y: str) -> str:
        return w.op("Mod", x, y, fmod=1) if rest else w.op("Div", x, y)

    if kind.kind == "f" or (known is not None and not np.isin(known, (0, -1)).any()):
        return _widened(w, node, compute, a, b)

    def guarded(x: str, y: str) -> str:
        wide = dt.int32 if kind.name in NARROW else kind
        zero, one = w.number(0, wide), w.number(1, wide)
        nothing = w.op("Equal", y, zero)
        overflows = w.op("Equal", y, w.number(-1, wide)) if wide.kind == "i" else nothing
        either = w.op("Or", nothing, overflows)
        made = w.op("Where", nothing, zero, compute(x, w.op("Where", either, one, y)))
        return w.op("Where", overflows, zero if rest else w.op("Sub", zero, x), made) if wide.kind == "i" else made

    return _widened(w, node, guarded, a, b)


@rule("select")
def select(w: Writer, node: Any, condition: str, a: str, b: str) -> str:
    if node.results[0].dtype.kind == "b":
        return w.op("Or", w.op("And", condition, a), w.op("And", w.op("Not", condition), b))
    if node.results[0].dtype.name in NARROW:
        wide = w.op("Where", condition, w.cast(a, dt.int32), w.cast(b, dt.int32))
        return w.cast(wide, node.results[0].dtype)
    return w.op("Where", condition, a, b)


@rule("eq", "lt", "le")
def compare(w: Writer, node: Any, a: str, b: str) -> str:
    if (_kind(node).name in (*NARROW, "bool") and node.primitive.name != "eq") or _kind(node).name in NARROW:
        a, b = w.cast(a, dt.int32), w.cast(b, dt.int32)
    return w.op(PLAIN[node.primitive.name], a, b)


@rule("ne")
def not_equal(w: Writer, node: Any, a: str, b: str) -> str:
    if _kind(node).name in NARROW:
        a, b = w.cast(a, dt.int32), w.cast(b, dt.int32)
    return w.op("Not", w.op("Equal", a, b))


@rule("add", "sub", "mul", "max", "min")
def arithmetic(w: Writer, node: Any, a: str, b: str) -> str:
    name = node.primitive.name
    if _kind(node).kind == "b":
        return w.op(LOGICAL[name], a, b)
    made = _widened(w, node, lambda *v: w.op(ARITHMETIC[name], *v), a, b)
    if name in ("max", "min") and _kind(node).kind == "f" and all(w.found.known(o) is None for o in node.operands):
        made = w.op("Where", w.op("IsNaN", a), a, w.op("Where", w.op("IsNaN", b), b, made))
    return made


@rule("bit_and", "bit_or", "bit_xor")
def bitwise(w: Writer, node: Any, a: str, b: str) -> str:
    names = LOGICAL if _kind(node).kind == "b" else BITWISE
    return w.op(names[node.primitive.name], a, b)


@rule("bitwise_not")
def bitwise_not(w: Writer, node: Any, x: str) -> str:
    return w.op("Not" if _kind(node).kind == "b" else "BitwiseNot", x)


@rule("shift_left", "shift_right")
def shift(w: Writer, node: Any, a: str, b: str) -> str:
    """ONNX shifts unsigned integers, by less than their width. To the left the bits are the same; to the right a signed shift
    is a floor division. By more, or by less than nothing, the sign stays to the right, and nothing to the left."""
    kind, left = _kind(node), node.primitive.name == "shift_left"
    known = w.found.known(node.operands[1])
    if kind is dt.uint64 or (kind.kind == "u" and known is not None and np.all(known < kind.bits)):
        return w.op("BitShift", a, b, direction="LEFT" if left else "RIGHT")
    wide, amount = (w.cast(v, dt.int64) for v in (a, b))
    most = kind.bits - (2 if kind.kind == "i" and not left else 1)  # further to the right, a sign is all there is
    zero = w.const(0)
    outside = w.op("Or", w.op("Less", amount, zero), w.op("Greater", amount, w.const(most)))
    amount = w.cast(w.op("Where", outside, zero, amount), dt.float64)
    power = w.cast(w.op("Pow", w.cast(w.const(2), dt.float64), amount), dt.int64)
    if left:
        return w.cast(w.op("Where", outside, zero, w.op("Mul", wide, power)), kind)
    floored = w.op("Div", w.op("Sub", wide, w.op("Mod", wide, power)), power)  # Mod is of the divisor's sign
    return w.cast(w.op("Where", outside, w.op("Where", w.op("Less", wide, zero), w.const(-1), zero), floored), kind)


@rule("trunc")
def trunc(w: Writer, node: Any, x: str) -> str:
    return w.op("Mul", w.op("Sign", x), w.op("Floor", w.op("Abs", x)))


@rule("rsqrt")
def rsqrt(w: Writer, node: Any, x: str) -> str:
    return w.op("Reciprocal", w.op("Sqrt", x))


@rule("expm1")
def expm1(w: Writer, node: Any, x: str) -> str:
    one, minus = w.number(1, _kind(node)), w.number(-1, _kind(node))
    u = w.op("Exp", x)
    less = w.op("Sub", u, one)
    corrected = w.op("Mul", less, w.op("Div", x, w.op("Log", u)))  # the quotient is near 1, where a product would overflow
    straight = w.op("Or", w.op("Equal", less, minus), _infinite(w, _kind(node), u))
    return w.op("Where", w.op("Equal", u, one), x, w.op("Where", straight, less, corrected))


@rule("log1p")
def log1p(w: Writer, node: Any, x: str) -> str:
    one = w.number(1, _kind(node))
    u = w.op("Add", x, one)
    logged = w.op("Log", u)
    corrected = w.op("Mul", logged, w.op("Div", x, w.op("Sub", u, one)))
    return w.op("Where", w.op("Equal", u, one), x, w.op("Where", _infinite(w, _kind(node), u), logged, corrected))


@rule("atan2")
def atan2(w: Writer, node: Any, y: str, x: str) -> str:
    """The arc tangent of y / x, in the quadrant of the point."""
    kind = _kind(node)
    zero, pi, half = (w.number(v, kind) for v in (0, math.pi, math.pi / 2))
    below = w.op("Less", w.op("Div", w.number(1, kind), y), zero)  # true for -0 too
    straight = w.op("Atan", w.op("Div", y, x))
    behind = w.op("Add", straight, w.op("Where", below, w.op("Neg", pi), pi))
    upright = w.op("Where", w.op("Equal", y, zero), zero, w.op("Where", below, w.op("Neg", half), half))
    turned = w.op("Where", w.op("Less", x, zero), behind, straight)
    return w.op("Where", w.op("Equal", x, zero), upright, turned)


@rule("convert", "narrow")
def convert(w: Writer, node: Any, x: str) -> str:
    """Floats beyond an integer's range become its ends, and NaN 0, where ONNX leaves open what happens."""
    kind, wanted = _kind(node), node.results[0].dtype
    if kind.kind == "f" and wanted.kind in "iu":
        limits = np.iinfo(wanted.numpy)
        top = np.nextafter(np.float64(limits.max), 0) if wanted.bits == 64 else limits.max  # 2^63 - 1 is no double
        wide = w.op("Where", w.op("IsNaN", x), w.number(0, kind), x)
        wide = w.cast(wide, dt.float64)
        wide = w.op("Min", w.op("Max", wide, w.number(limits.min, dt.float64)), w.number(top, dt.float64))
        return w.cast(wide, wanted)
    return w.cast(x, wanted)
