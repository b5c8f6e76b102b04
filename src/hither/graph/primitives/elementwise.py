"""Elementwise primitives: result element i depends on operand elements i alone. Operands have one shape and one dtype.

Evaluation is NumPy's, with three rules of our own that hold on every target: integers divided by zero give 0, floats
converted to integers truncate and saturate (NaN gives 0), and max/min pass NaN through from either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import dtypes as dt
from ...dtypes import DType
from ..core import Abstract
from ..primitive import Elementwise, primitive
from .rules import apply, full, require_kind, require_same


def _unary(
    name: str, function: Callable[..., Any], emit: Callable[..., Any], vjp: Callable[..., Any] | None, kinds: str = "fc",
    result: DType | None = None, real: bool = False,
) -> None:  # fmt: skip
    """Declare a unary primitive; `vjp(g, x, y)` gives the operand's cotangent, or None for zero.

    The result's dtype is `result`, or the operand's (with `real`, that of the operand's real part).
    """

    def result_of(x: DType) -> DType:
        return result or (x.real if real else x)

    def abstract(x: Abstract) -> Abstract:
        require_kind(name, x, kinds)
        return Abstract(x.shape, result_of(x.dtype))

    def evaluate(x: np.ndarray) -> np.ndarray:
        return np.asarray(function(x)).astype(result_of(dt.dtype(x.dtype)).numpy, copy=False)

    def pull(cotangents: tuple[Any, ...], operands: tuple[Any, ...], results: tuple[Any, ...]) -> tuple[Any, ...]:
        assert vjp is not None
        return (vjp(cotangents[0], operands[0], results[0]),)

    primitive(name, abstract=abstract, evaluate=evaluate, lowering=Elementwise(emit), vjp=None if vjp is None else pull)


def _binary(
    name: str, function: Callable[..., Any], emit: Callable[..., Any], vjp: Callable[..., Any] | None, kinds: str = "iufc",
    result: DType | None = None,
) -> None:  # fmt: skip
    """Declare a binary primitive; `vjp(g, a, b, y)` gives both cotangents."""

    def abstract(a: Abstract, b: Abstract) -> Abstract:
        require_same(name, a, b)
        require_kind(name, a, kinds)
        return Abstract(a.shape, result or a.dtype)

    def evaluate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(function(a, b)).astype((result or dt.dtype(a.dtype)).numpy, copy=False)

    def pull(cotangents: tuple[Any, ...], operands: tuple[Any, ...], results: tuple[Any, ...]) -> tuple[Any, ...]:
        assert vjp is not None
        return tuple(vjp(cotangents[0], *operands, results[0]))

    primitive(name, abstract=abstract, evaluate=evaluate, lowering=Elementwise(emit), vjp=None if vjp is None else pull)


# -- what gradient rules are written with ----------------------------------------------------------------------------------


def _add(a: Any, b: Any) -> Any:
    return apply("add", a, b)


def _mul(a: Any, b: Any) -> Any:
    return apply("mul", a, b)


def _div(a: Any, b: Any) -> Any:
    return apply("div", a, b)


def _neg(a: Any) -> Any:
    return apply("neg", a)


def _plus(a: Any, value: float) -> Any:
    return apply("add", a, full(value, a))


def _times(a: Any, value: float) -> Any:
    return apply("mul", a, full(value, a))


def _where(condition: Any, a: Any, b: Any) -> Any:
    return apply("select", condition, a, b)


# -- unary -------------------------------------------------------------------------------------------------------------


def _math(name: str) -> Callable[..., Any]:
    return lambda k, x: k.math(name, x)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x.astype(np.float64))).astype(np.float64)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float32) if x.dtype == np.float16 else x
    return 1 / (1 + np.exp(-x))


def _zero(g: Any, x: Any, y: Any) -> None:
    return None


def _emit_sign(k: Any, x: Any) -> Any:
    if x.dtype.kind == "u":
        return k.select(x.eq(0), x, k.const(1, x.dtype))
    signed = k.select(x > 0, k.const(1, x.dtype), k.select(x < 0, k.const(-1, x.dtype), x))
    return signed  # zero and NaN compare false twice and stand for themselves


def _sign(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "c":
        return np.sign(x)
    return np.where(x == 0, x.dtype.type(0), x / np.abs(x))


def _expm1(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "c":
        return np.expm1(x)
    return np.where(np.isfinite(x), np.expm1(x), np.exp(x) - x.dtype.type(1))  # NumPy multiplies infinities by zeros there


def _emit_abs(k: Any, x: Any) -> Any:
    return x if x.dtype.kind == "u" else k.abs(x)


def _no_complex(k: Any, *values: Any) -> Any:
    raise TypeError("no target has complex numbers; `compile` refuses them by name before any kernel is written")


def _tan_vjp(g: Any, x: Any, y: Any) -> Any:
    return _mul(g, _plus(_mul(y, y), 1.0))


def _abs_vjp(g: Any, x: Any, y: Any) -> Any:
    if x.dtype.kind == "c":
        return _mul(apply("convert", g, dtype=x.dtype), apply("conj", apply("sign", x)))
    return _mul(g, apply("sign", x))


def _sign_vjp(g: Any, x: Any, y: Any) -> Any:
    """Zero for reals. x/|x| moves with the part of dx across x: (g - Re(g·y)·conj(y)) / |x|, and not at 0."""
    if x.dtype.kind != "c":
        return None
    along = _mul(apply("convert", apply("real", _mul(g, y)), dtype=x.dtype), apply("conj", y))
    size = apply("convert", apply("abs", x), dtype=x.dtype)
    still = apply("eq", size, full(0, x))
    return _where(still, full(0, x), _div(apply("sub", g, along), _where(still, full(1, x), size)))


def _one_minus_square(y: Any) -> Any:
    return _plus(_neg(_mul(y, y)), 1.0)


_unary("neg", np.negative, lambda k, x: -x, lambda g, x, y: _neg(g), "iufc")
_unary("abs", np.abs, _emit_abs, _abs_vjp, "iufc", real=True)
_unary("sign", _sign, _emit_sign, _sign_vjp, "iufc")
_unary("floor", np.floor, lambda k, x: k.floor(x), _zero, "f")
_unary("ceil", np.ceil, lambda k, x: k.ceil(x), _zero, "f")
_unary("round", np.rint, lambda k, x: k.round(x), _zero, "fc")
_unary("trunc", np.trunc, lambda k, x: k.trunc(x), _zero, "f")
_unary("exp", np.exp, _math("exp"), lambda g, x, y: _mul(g, y))
_unary("expm1", _expm1, _math("expm1"), lambda g, x, y: _mul(g, _plus(y, 1.0)))
_unary("log", np.log, _math("log"), lambda g, x, y: _div(g, x))
_unary("log1p", np.log1p, _math("log1p"), lambda g, x, y: _div(g, _plus(x, 1.0)))
_unary("sqrt", np.sqrt, lambda k, x: k.sqrt(x), lambda g, x, y: _div(_times(g, 0.5), y))
_unary("rsqrt", lambda x: 1 / np.sqrt(x), _math("rsqrt"), lambda g, x, y: _times(_div(_mul(g, y), x), -0.5))
_unary("sin", np.sin, _math("sin"), lambda g, x, y: _mul(g, apply("cos", x)))
_unary("cos", np.cos, _math("cos"), lambda g, x, y: _neg(_mul(g, apply("sin", x))))
_unary("tan", np.tan, _math("tan"), _tan_vjp)
_unary("asin", np.arcsin, _math("asin"), lambda g, x, y: _mul(g, apply("rsqrt", _one_minus_square(x))))
_unary("acos", np.arccos, _math("acos"), lambda g, x, y: _neg(_mul(g, apply("rsqrt", _one_minus_square(x)))))
_unary("atan", np.arctan, _math("atan"), lambda g, x, y: _div(g, _plus(_mul(x, x), 1.0)))
_unary("sinh", np.sinh, _math("sinh"), lambda g, x, y: _mul(g, apply("cosh", x)))
_unary("cosh", np.cosh, _math("cosh"), lambda g, x, y: _mul(g, apply("sinh", x)))
_unary("tanh", np.tanh, _math("tanh"), lambda g, x, y: _mul(g, _one_minus_square(y)))
_unary("asinh", np.arcsinh, _math("asinh"), lambda g, x, y: _mul(g, apply("rsqrt", _plus(_mul(x, x), 1.0))))
_unary("acosh", np.arccosh, _math("acosh"), lambda g, x, y: _mul(g, apply("rsqrt", _plus(_mul(x, x), -1.0))))
_unary("atanh", np.arctanh, _math("atanh"), lambda g, x, y: _div(g, _one_minus_square(x)))
_unary(
    "erf", _erf, _math("erf"),
    lambda g, x, y: _mul(g, _times(apply("exp", _neg(_mul(x, x))), 2 / math.sqrt(math.pi))), "f",
)  # fmt: skip
_unary("sigmoid", _sigmoid, _math("sigmoid"), lambda g, x, y: _mul(g, _mul(y, _plus(_neg(y), 1.0))), "f")
_unary("conj", np.conj, _no_complex, lambda g, x, y: apply("conj", g), "c")
_unary("real", np.real, _no_complex, lambda g, x, y: apply("convert", g, dtype=x.dtype), "c", real=True)
_unary("imag", np.imag, _no_complex, lambda g, x, y: apply("complex", _times(g, 0.0), _neg(g)), "c", real=True)
_unary("bitwise_not", np.invert, lambda k, x: ~x, None, "biu")
_unary("is_nan", np.isnan, lambda k, x: x.ne(x), None, "f", dt.bool_)
_unary("is_inf", np.isinf, lambda k, x: k.abs(x).eq(math.inf), None, "f", dt.bool_)


# -- conversions ---------------------------------------------------------------------------------------------------------


def convert_array(x: np.ndarray, dtype: DType) -> np.ndarray:
    """NumPy's astype with our rules: float to integer truncates and saturates, NaN gives 0; integers wrap."""
    if x.dtype.kind != "f" or not dtype.is_integer:
        return x.astype(dtype.numpy)
    limits = np.iinfo(dtype.numpy)
    value = np.trunc(x.astype(np.float64))
    inside = (value >= float(limits.min)) & (value < float(limits.max) + 1)  # float(max)+1 is exact: a power of two
    made = np.where(inside, value, 0).astype(dtype.numpy)
    made[value < float(limits.min)] = limits.min
    made[value >= float(limits.max) + 1] = limits.max
    return made


def _convert_vjp(cotangents: tuple[Any, ...], operands: tuple[Any, ...], results: tuple[Any, ...], dtype: DType) -> tuple[Any]:
    if operands[0].dtype.kind not in "fc" or dtype.kind not in "fc":
        return (None,)
    g = cotangents[0]
    if dtype.kind == "c" and operands[0].dtype.kind == "f":
        g = apply("real", g)
    return (apply("convert", g, dtype=operands[0].dtype),)


def _converted(x: np.ndarray, dtype: DType) -> np.ndarray:
    return np.asarray(convert_array(np.atleast_1d(x), dtype)).reshape(x.shape)


primitive(
    "convert",
    abstract=lambda x, dtype: Abstract(x.shape, dtype),
    evaluate=_converted,
    lowering=Elementwise(lambda k, x, dtype: k.halves.rounded(x) if dtype is dt.float16 else k.convert(x, dtype)),
    vjp=_convert_vjp,
)

# What a compiler stores small for lack of room: memory holds float16, and what is not stored keeps the digits that it has.
primitive(
    "narrow",
    abstract=lambda x: Abstract(x.shape, dt.float16),
    evaluate=lambda x: _converted(x, dt.float16),
    lowering=Elementwise(lambda k, x: x),
    vjp=None,
)


def _bitcast_abstract(x: Abstract, dtype: DType) -> Abstract:
    if x.dtype.bits != dtype.bits or (x.dtype is dt.bool_) != (dtype is dt.bool_):
        raise TypeError(f"bitcast keeps the width of elements: got {x} to {dtype}")
    return Abstract(x.shape, dtype)


def _emit_bitcast(k: Any, x: Any, dtype: DType) -> Any:
    if dtype is dt.float16:  # halves are float32 in registers
        return x if x.dtype.is_float else k.halves.widened(k.bitcast(x, dt.int16))
    if dtype.bits == 16 and x.dtype.is_float:
        return k.bitcast(k.halves.narrowed(x), dtype)
    return k.bitcast(x, dtype)


primitive(
    "bitcast",
    abstract=_bitcast_abstract,
    evaluate=lambda x, dtype: np.ascontiguousarray(x).view(dtype.numpy).reshape(x.shape),
    lowering=Elementwise(_emit_bitcast),
)


# -- binary --------------------------------------------------------------------------------------------------------------


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind not in "iu":
        return np.true_divide(a, b)
    safe = np.where(b == 0, 1, b).astype(b.dtype)
    if a.dtype.kind == "u":
        return np.where(b == 0, 0, a // safe)
    minus_one = safe == -1  # the only quotient that overflows; it wraps
    quotient = a // np.where(minus_one, 1, safe).astype(a.dtype)
    quotient += (quotient < 0) & (quotient * safe != a)  # floor to truncation
    return np.where(b == 0, 0, np.where(minus_one, np.negative(a), quotient))


def _emit_div(k: Any, a: Any, b: Any) -> Any:
    if b.dtype.is_float:
        return a / b
    zero = b.eq(0)
    if b.dtype.kind == "u":
        return k.select(zero, k.const(0, a.dtype), a / k.select(zero, k.const(1, b.dtype), b))
    minus_one = b.eq(-1)  # the lowest integer / -1 traps in hardware; ours wraps
    quotient = a / k.select(zero | minus_one, k.const(1, b.dtype), b)
    return k.select(zero, k.const(0, a.dtype), k.select(minus_one, -a, quotient))


def _remainder(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.fmod(a, b)  # C's sign; 0 for a zero integer divisor


def _emit_rem(k: Any, a: Any, b: Any) -> Any:
    if b.dtype.is_float:
        return k.rem(a, b)
    zero = b.eq(0)
    trivial = zero if b.dtype.kind == "u" else zero | b.eq(-1)
    return k.select(trivial, k.const(0, a.dtype), k.rem(a, k.select(trivial, k.const(1, b.dtype), b)))


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind not in "iu":
        return np.power(a, b)
    if a.dtype.kind == "u":
        return np.power(a, b)
    positive = np.power(a, np.maximum(b, 0))
    reciprocal = np.where(a == 1, 1, np.where(a == -1, np.where(b % 2 == 0, 1, -1), 0))
    return np.where(b < 0, reciprocal, positive)


def _emit_pow(k: Any, a: Any, b: Any) -> Any:
    if a.dtype.is_float:
        return k.math("pow", a, b)
    one = k.const(1, a.dtype)
    result, square, rest = one, a, b
    for _ in range(a.dtype.bits):  # by squaring, wrapping as multiplication does
        result = k.select((rest & 1).ne(0), result * square, result)
        square, rest = square * square, rest >> 1
    if a.dtype.kind == "u":
        return result
    odd_sign = k.select((b & 1).eq(0), one, k.const(-1, a.dtype))
    reciprocal = k.select(a.eq(1), one, k.select(a.eq(-1), odd_sign, k.const(0, a.dtype)))
    return k.select(b < 0, reciprocal, result)


def _known(value: Any) -> Any:
    """The number a kernel value is known to be, or None."""
    op = value.op
    if op is not None and op.kind == "splat":
        op = op.args[0].op
    return op.attr if op is not None and op.kind == "const" else None


def _emit_extremum(how: str) -> Callable[..., Any]:
    def emit(k: Any, a: Any, b: Any) -> Any:
        function = k.max if how == "max" else k.min
        if not a.dtype.is_float:
            return function(a, b)
        for first, second in ((a, b), (b, a)):
            known = _known(second)
            if known is not None and known == known:
                return function(first, second)  # passes a NaN in its first operand
        return k.select(b.ne(b), b, function(a, b))

    return emit


def _extremum_vjp(how: str) -> Callable[..., Any]:
    """Where operands are equal the second takes the cotangent, so that relu = max(x, 0) has derivative 0 at 0.

    Whether the first was taken shows in the result, which a network keeps for what comes after it; the operand it need not.
    """

    def vjp(g: Any, a: Any, b: Any, y: Any) -> tuple[Any, Any]:
        first = apply("lt", b, y) if how == "max" else apply("lt", y, b)
        nothing = full(0, g)
        return _where(first, g, nothing), _where(first, nothing, g)

    return vjp


def _pow_vjp(g: Any, a: Any, b: Any, y: Any) -> tuple[Any, Any]:
    """d/da = b·a^(b-1), 0 where b is 0; d/db = y·log a, 0 where a is 0."""
    nothing = full(0, g)
    slope = _where(apply("eq", b, full(0, b)), nothing, _mul(b, apply("pow", a, _plus(b, -1.0))))
    at_zero = apply("eq", a, full(0, a))
    logarithm = apply("log", _where(at_zero, full(1, a), a))
    return _mul(g, slope), _mul(g, _mul(y, _where(at_zero, nothing, logarithm)))


def _atan2_vjp(g: Any, a: Any, b: Any, y: Any) -> tuple[Any, Any]:
    scaled = _div(g, _add(_mul(a, a), _mul(b, b)))
    return _mul(scaled, b), _neg(_mul(scaled, a))


def _shifted_out(a: Any, b: Any) -> Any:
    """Whether no bit stays, as for NumPy: by the width or more, or by less than nothing. Hardware takes b modulo the width."""
    far = b >= a.dtype.bits
    return far | (b < 0) if b.dtype.kind == "i" else far


def _emit_shift_left(k: Any, a: Any, b: Any) -> Any:
    outside = _shifted_out(a, b)
    return k.select(outside, k.const(0, a.dtype), a << k.select(outside, k.const(0, b.dtype), b))


def _emit_shift_right(k: Any, a: Any, b: Any) -> Any:
    outside = _shifted_out(a, b)
    if a.dtype.kind == "i":  # copies of the sign are left
        return a >> k.select(outside, k.const(a.dtype.bits - 1, b.dtype), b)
    return k.select(outside, k.const(0, a.dtype), a >> k.select(outside, k.const(0, b.dtype), b))


def _emit_compare(kind: str) -> Callable[..., Any]:
    def emit(k: Any, a: Any, b: Any) -> Any:
        if a.dtype is not dt.bool_:
            return k.compare(kind, a, b)
        match kind:
            case "eq":
                return ~(a ^ b)
            case "ne":
                return a ^ b
            case "lt":
                return ~a & b
        return ~a | b

    return emit


_binary("add", np.add, lambda k, a, b: a + b, lambda g, a, b, y: (g, g))
_binary("sub", np.subtract, lambda k, a, b: a - b, lambda g, a, b, y: (g, _neg(g)))
_binary("mul", np.multiply, lambda k, a, b: a * b, lambda g, a, b, y: (_mul(g, b), _mul(g, a)))
_binary("div", _divide, _emit_div, lambda g, a, b, y: (_div(g, b), _neg(_div(_mul(g, y), b))))
_binary(
    "rem", _remainder, _emit_rem, lambda g, a, b, y: (g, _neg(_mul(g, apply("trunc", _div(a, b))))), "iuf"
)  # fmt: skip
_binary("pow", _power, _emit_pow, _pow_vjp)
_binary("max", np.maximum, _emit_extremum("max"), _extremum_vjp("max"), "iuf")
_binary("min", np.minimum, _emit_extremum("min"), _extremum_vjp("min"), "iuf")
_binary("atan2", np.arctan2, lambda k, a, b: k.math("atan2", a, b), _atan2_vjp, "f")
_binary("bit_and", np.bitwise_and, lambda k, a, b: a & b, None, "biu")
_binary("bit_or", np.bitwise_or, lambda k, a, b: a | b, None, "biu")
_binary("bit_xor", np.bitwise_xor, lambda k, a, b: a ^ b, None, "biu")
_binary("shift_left", np.left_shift, _emit_shift_left, None, "iu")
_binary("shift_right", np.right_shift, _emit_shift_right, None, "iu")
_binary("eq", np.equal, _emit_compare("eq"), None, "biufc", dt.bool_)
_binary("ne", np.not_equal, _emit_compare("ne"), None, "biufc", dt.bool_)
_binary("lt", np.less, _emit_compare("lt"), None, "biuf", dt.bool_)
_binary("le", np.less_equal, _emit_compare("le"), None, "biuf", dt.bool_)


def _complex_abstract(a: Abstract, b: Abstract) -> Abstract:
    require_same("complex", a, b)
    require_kind("complex", a, "f")
    return Abstract(a.shape, dt.complex128 if a.dtype is dt.float64 else dt.complex64)


def _complex(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    made = np.empty(a.shape, np.complex128 if a.dtype == np.float64 else np.complex64)
    made.real, made.imag = a, b  # a + 1j * b would make NaN of infinities
    return made


def _complex_vjp(cotangents: tuple[Any, ...], operands: tuple[Any, ...], results: tuple[Any, ...]) -> tuple[Any, Any]:
    a, b = (apply("convert", apply(part, cotangents[0]), dtype=operands[0].dtype) for part in ("real", "imag"))
    return a, _neg(b)


primitive("complex", abstract=_complex_abstract, evaluate=_complex, lowering=Elementwise(_no_complex), vjp=_complex_vjp)


# -- select --------------------------------------------------------------------------------------------------------------


def _select_abstract(condition: Abstract, a: Abstract, b: Abstract) -> Abstract:
    require_kind("select (condition)", condition, "b", "compare something")
    require_same("select", a, b)
    require_same("select", condition, a, dtypes=False)
    return a


def _select_vjp(cotangents: tuple[Any, ...], operands: tuple[Any, ...], results: tuple[Any, ...]) -> tuple[Any, ...]:
    g, condition = cotangents[0], operands[0]
    nothing = full(0, g)
    return None, _where(condition, g, nothing), _where(condition, nothing, g)


primitive(
    "select",
    abstract=_select_abstract,
    evaluate=lambda condition, a, b: np.where(condition, a, b),
    lowering=Elementwise(lambda k, condition, a, b: k.select(condition, a, b)),
    vjp=_select_vjp,
)
