"""Elementwise functions, by the Python array API standard's names and semantics.

Arguments broadcast and promote as in hither.ops.operands. Functions that are only defined on floats convert integers to
float32 first.
"""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes as dt
from ..graph.trace import static_value
from .operands import (
    Like,
    apply,
    asarray,
    broadcasted,
    combine,
    converted,
    floating,
    is_traced,
    is_weak,
    number,
    promoted,
    result_type,
    unaliased,
)  # fmt: skip

# -- arithmetic ------------------------------------------------------------------------------------------------------------


def _arithmetic(name: str, a: Like, b: Like) -> Any:
    a, b = promoted(a, b)
    if a.dtype is dt.bool_:
        raise TypeError(f"{name} of two bool arrays is not defined; use logical_and/logical_or, or convert one to int32")
    return apply(name, *broadcasted(a, b))


def add(x1: Like, x2: Like, /) -> Any:
    """x1 + x2.

    Example:
        >>> import hither as ht
        >>> ht.add(ht.asarray([1, 2]), 0.5)
        Array([1.5, 2.5], dtype=float32)
    """
    return _arithmetic("add", x1, x2)


def subtract(x1: Like, x2: Like, /) -> Any:
    """x1 - x2."""
    return _arithmetic("sub", x1, x2)


def multiply(x1: Like, x2: Like, /) -> Any:
    """x1 · x2."""
    return _arithmetic("mul", x1, x2)


def divide(x1: Like, x2: Like, /) -> Any:
    """x1 / x2 as a real quotient: integers give float32."""
    a, b = promoted(x1, x2)
    return combine("div", floating(a), floating(b))


def truncated_divide(x1: Like, x2: Like, /) -> Any:
    """Integer quotient rounded toward zero, 0 where x2 is 0 (ONNX's and C's division)."""
    a, b = promoted(x1, x2)
    if a.dtype.is_float:
        return trunc(combine("div", a, b))
    return _arithmetic("div", a, b)


def remainder(x1: Like, x2: Like, /) -> Any:
    """x1 mod x2 with the sign of x2 (Python's %)."""
    a, b = broadcasted(*promoted(x1, x2))
    r = _arithmetic("rem", a, b)
    if a.dtype.kind == "u":
        return r
    below = less(b, 0)
    made = apply("select", logical_and(not_equal(r, 0), not_equal(less(r, 0), below)), add(r, b), r)
    if not a.dtype.is_float:
        return made
    return where(equal(r, 0), where(below, number(-0.0, a.dtype), number(0.0, a.dtype)), made)  # zeros have b's sign too


def fmod(x1: Like, x2: Like, /) -> Any:
    """The remainder with the sign of x1 (C's fmod and %)."""
    return _arithmetic("rem", x1, x2)


def divide_no_nan(x1: Like, x2: Like, /) -> Any:
    """x1 / x2, 0 where x2 is 0; so are the gradients there.

    Example:
        >>> import hither as ht
        >>> ht.divide_no_nan(ht.asarray([1.0, 2.0]), ht.asarray([0.0, 4.0]))
        Array([0. , 0.5], dtype=float32)
    """
    b = asarray(x2)
    zero = equal(b, 0)
    return where(zero, 0, divide(x1, where(zero, 1, b)))


def squared_difference(x1: Like, x2: Like, /) -> Any:
    """(x1 - x2)²."""
    return square(subtract(x1, x2))


def heaviside(x1: Like, x2: Like, /) -> Any:
    """0 where x1 < 0, x2 where it is 0, 1 where it is greater; NaN stays.

    Example:
        >>> import hither as ht
        >>> ht.heaviside(ht.asarray([-2.0, 0.0, 3.0]), 0.5)
        Array([0. , 0.5, 1. ], dtype=float32)
    """
    a, b = broadcasted(*promoted(floating(x1), x2))
    return where(less(a, 0), 0, where(greater(a, 0), 1, where(equal(a, 0), b, a)))


def floor_divide(x1: Like, x2: Like, /) -> Any:
    """x1 / x2 rounded down (Python's //); 0 for a zero integer divisor, an infinity or NaN for a zero float divisor.

    Infinities as the standard's table has them: an infinite x1 by a finite x2 is infinite (Python's floats give NaN), a finite
    x1 by an infinite x2 is a zero, of either sign (Python's floats give -1 where the signs differ).
    """
    a, b = broadcasted(*promoted(x1, x2))
    if not a.dtype.is_float:
        q = _arithmetic("div", a, b)
        if a.dtype.kind == "u":
            return q
        r = _arithmetic("rem", a, b)
        below = logical_and(not_equal(r, 0), not_equal(less(r, 0), less(b, 0)))
        return apply("select", below, subtract(q, 1), q)
    quotient = divide(a, b)
    rest = remainder(a, b)
    whole = round(divide(subtract(a, rest), b))  # exact multiples first, so that 1 // 0.1 is 9
    whole = where(equal(whole, 0), multiply(quotient, number(0.0, a.dtype)), whole)  # zeros have the quotient's sign
    return where(logical_or(equal(b, 0), logical_or(isinf(a), isinf(b))), quotient, whole)


def negative(x: Like, /) -> Any:
    """-x."""
    return apply("neg", _numeric("negative", x))


def positive(x: Like, /) -> Any:
    """x."""
    return unaliased(_numeric("positive", x), x)


def _numeric(name: str, x: Like) -> Any:
    x = asarray(x)
    if x.dtype is dt.bool_:
        raise TypeError(f"{name} of a bool array is not defined; use logical_not, or convert it to int32")
    return x


def abs(x: Like, /) -> Any:
    """Magnitude: of complex numbers √(re² + im²), a real dtype."""
    return apply("abs", _numeric("abs", x))


def sign(x: Like, /) -> Any:
    """-1, 0 or 1; x / |x| of complex numbers; NaN stays NaN."""
    return apply("sign", _numeric("sign", x))


def pow(x1: Like, x2: Like, /) -> Any:
    """x1 to the power x2. Integer powers wrap; a negative exponent of an integer rounds toward zero.

    A float base with a small constant exponent becomes multiplications or a square root; while tracing x ** 0.5 is just
    sqrt(x), which is NaN instead of inf at -inf.
    """
    if not is_weak(x1) or not is_weak(x2):
        base, exponent = (x if is_weak(x) else asarray(x) for x in (x1, x2))
        dtype = result_type(base, exponent)
        known = None
        if not is_weak(base) and base.dtype == dtype and dtype.is_float:
            known = exponent if is_weak(exponent) else static_value(exponent) if exponent.shape == () else None
        if known is not None and float(known) in _POWERS:
            return _POWERS[float(known)](base)
        if not is_weak(base) and base.dtype.is_float and not is_weak(exponent) and exponent.dtype.is_integer:
            exponent = converted(exponent, base.dtype)
    return _arithmetic("pow", x1, x2)


_POWERS: dict[float, Any] = {
    1.0: lambda x: unaliased(x, x),
    2.0: lambda x: multiply(x, x),
    3.0: lambda x: multiply(multiply(x, x), x),
    -1.0: lambda x: divide(1.0, x),
    0.5: lambda x: apply("sqrt", x) if is_traced(x) else _square_root(x),
}


def _square_root(x: Any) -> Any:
    """x to the power 0.5 as C's pow has it: unlike the root, inf at -inf and 0 at -0."""
    return where(equal(x, -math.inf), math.inf, add(apply("sqrt", x), 0.0))


def maximum(x1: Like, x2: Like, /) -> Any:
    """The larger; NaN if either is NaN."""
    return _extremum("max", x1, x2)


def minimum(x1: Like, x2: Like, /) -> Any:
    """The smaller; NaN if either is NaN."""
    return _extremum("min", x1, x2)


def _extremum(name: str, x1: Like, x2: Like) -> Any:
    a, b = promoted(x1, x2)
    if a.dtype is dt.bool_:
        return combine("bit_or" if name == "max" else "bit_and", a, b)
    return apply(name, *broadcasted(a, b))


def clip(x: Like, /, min: Like | None = None, max: Like | None = None) -> Any:
    """x limited to min … max; either may be None.

    Example:
        >>> import hither as ht
        >>> ht.clip(ht.asarray([-2.0, 0.5, 9.0]), 0, 6)
        Array([0. , 0.5, 6. ], dtype=float32)
    """
    made = _numeric("clip", x)
    if min is not None:
        made = maximum(made, min)
    return unaliased(made, x) if max is None else minimum(made, max)


def square(x: Like, /) -> Any:
    """x²."""
    x = asarray(x)
    return multiply(x, x)


def reciprocal(x: Like, /) -> Any:
    """1 / x."""
    x = floating(x)
    return divide(number(1, x.dtype), x)


def hypot(x1: Like, x2: Like, /) -> Any:
    """√(x1² + x2²), without overflow on the way."""
    a, b = (abs(floating(x)) for x in promoted(x1, x2))
    big, small = maximum(a, b), minimum(a, b)
    ratio = divide(small, where(equal(big, 0), 1, big))
    infinite = logical_or(isinf(a), isinf(b))  # also beside NaN
    return where(infinite, math.inf, multiply(big, sqrt(add(1, square(ratio)))))


# -- rounding ----------------------------------------------------------------------------------------------------------------


def _rounding(name: str, x: Like) -> Any:
    made = _numeric(name, x)
    if made.dtype.kind == "c" and name != "round":
        raise TypeError(f"{name} of complex numbers is not defined; round them, or their real and imag")
    return apply(name, made) if made.dtype.kind in "fc" else unaliased(made, x)


def floor(x: Like, /) -> Any:
    """Down to an integer."""
    return _rounding("floor", x)


def ceil(x: Like, /) -> Any:
    """Up to an integer."""
    return _rounding("ceil", x)


def trunc(x: Like, /) -> Any:
    """Toward zero to an integer."""
    return _rounding("trunc", x)


def round(x: Like, /) -> Any:
    """To the nearest integer, halves to even; of complex numbers both parts."""
    return _rounding("round", x)


# -- complex numbers -----------------------------------------------------------------------------------------------------------


def make_complex(real: Like, imag: Like, /) -> Any:
    """Complex numbers of these real and imaginary parts.

    Example:
        >>> import hither as ht
        >>> ht.make_complex([1.0, 2.0], 0.5)
        Array([1.+0.5j, 2.+0.5j], dtype=complex64)
    """
    a, b = (floating(x) for x in promoted(real, imag))
    if a.dtype.kind == "c":
        raise TypeError(f"make_complex takes real parts, got {a.dtype}")
    return combine("complex", a, b)


def conj(x: Like, /) -> Any:
    """The complex conjugate; real numbers are their own.

    Example:
        >>> import hither as ht
        >>> ht.conj(ht.asarray([1 + 2j]))
        Array([1.-2.j], dtype=complex64)
    """
    made = _numeric("conj", x)
    return apply("conj", made) if made.dtype.kind == "c" else unaliased(made, x)


def real(x: Like, /) -> Any:
    """The real part."""
    made = _numeric("real", x)
    return apply("real", made) if made.dtype.kind == "c" else unaliased(made, x)


def imag(x: Like, /) -> Any:
    """The imaginary part; 0 for real numbers."""
    made = _numeric("imag", x)
    return apply("imag", made) if made.dtype.kind == "c" else multiply(made, number(0, made.dtype))


# -- transcendental functions ------------------------------------------------------------------------------------------------


def _float_function(name: str, primitive: str, text: str) -> Any:
    def function(x: Like, /) -> Any:
        return apply(primitive, floating(x))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function


exp = _float_function("exp", "exp", "e to the power x.")
expm1 = _float_function("expm1", "expm1", "exp(x) - 1, exact for small x.")
log = _float_function("log", "log", "Natural logarithm.")
log1p = _float_function("log1p", "log1p", "log(1 + x), exact for small x.")
sqrt = _float_function("sqrt", "sqrt", "Square root.")
rsqrt = _float_function("rsqrt", "rsqrt", "1 / √x.")
sin = _float_function("sin", "sin", "Sine of an angle in radians.")
cos = _float_function("cos", "cos", "Cosine of an angle in radians.")
tan = _float_function("tan", "tan", "Tangent of an angle in radians.")
asin = _float_function("asin", "asin", "Inverse sine.")
acos = _float_function("acos", "acos", "Inverse cosine.")
atan = _float_function("atan", "atan", "Inverse tangent.")
sinh = _float_function("sinh", "sinh", "Hyperbolic sine.")
cosh = _float_function("cosh", "cosh", "Hyperbolic cosine.")
tanh = _float_function("tanh", "tanh", "Hyperbolic tangent.")
asinh = _float_function("asinh", "asinh", "Inverse hyperbolic sine.")
acosh = _float_function("acosh", "acosh", "Inverse hyperbolic cosine.")
atanh = _float_function("atanh", "atanh", "Inverse hyperbolic tangent.")
erf = _float_function("erf", "erf", "The error function, 2/√π ∫₀ˣ exp(-t²) dt.")
sigmoid = _float_function("sigmoid", "sigmoid", "1 / (1 + exp(-x)).")


def exp2(x: Like, /) -> Any:
    """2 to the power x."""
    return exp(multiply(floating(x), math.log(2)))


def _scaled(x: Any, factor: float) -> Any:
    """x by a real factor: part by part, for a complex product would make NaN of infinities."""
    if x.dtype.kind != "c":
        return multiply(x, factor)
    return make_complex(multiply(real(x), factor), multiply(imag(x), factor))


def log2(x: Like, /) -> Any:
    """Logarithm to base 2."""
    return _scaled(log(x), 1 / math.log(2))


def log10(x: Like, /) -> Any:
    """Logarithm to base 10."""
    return _scaled(log(x), 1 / math.log(10))


def atan2(x1: Like, x2: Like, /) -> Any:
    """The angle of the point (x2, x1) in -π … π."""
    a, b = promoted(x1, x2)
    return combine("atan2", floating(a), floating(b))


def logaddexp(x1: Like, x2: Like, /) -> Any:
    """log(exp(x1) + exp(x2)), without overflow."""
    a, b = (floating(x) for x in promoted(x1, x2))
    big = maximum(a, b)
    gap = where(isinf(big), 0, negative(abs(subtract(a, b))))
    return where(isinf(big), big, add(big, log1p(exp(gap))))


# -- comparison and logic ----------------------------------------------------------------------------------------------------


def equal(x1: Like, x2: Like, /) -> Any:
    """x1 == x2, elementwise."""
    return combine("eq", x1, x2)


def not_equal(x1: Like, x2: Like, /) -> Any:
    """x1 != x2, elementwise."""
    return combine("ne", x1, x2)


def less(x1: Like, x2: Like, /) -> Any:
    """x1 < x2."""
    return combine("lt", x1, x2)


def less_equal(x1: Like, x2: Like, /) -> Any:
    """x1 <= x2."""
    return combine("le", x1, x2)


def greater(x1: Like, x2: Like, /) -> Any:
    """x1 > x2."""
    return combine("lt", x2, x1)


def greater_equal(x1: Like, x2: Like, /) -> Any:
    """x1 >= x2."""
    return combine("le", x2, x1)


def truth(x: Like, /) -> Any:
    """x as bool: whether it is not zero."""
    return converted(asarray(x), dt.bool_)


def logical_and(x1: Like, x2: Like, /) -> Any:
    """Both are true."""
    return combine("bit_and", truth(x1), truth(x2))


def logical_or(x1: Like, x2: Like, /) -> Any:
    """At least one is true."""
    return combine("bit_or", truth(x1), truth(x2))


def logical_xor(x1: Like, x2: Like, /) -> Any:
    """Exactly one is true."""
    return combine("bit_xor", truth(x1), truth(x2))


def logical_not(x: Like, /) -> Any:
    """True where x is zero."""
    return apply("bitwise_not", truth(x))


def _either_part(name: str, x: Any) -> Any:
    """Whether either part of complex numbers has a property."""
    return apply("bit_or", apply(name, apply("real", x)), apply(name, apply("imag", x)))


def isnan(x: Like, /) -> Any:
    """Whether x is NaN, in either part."""
    x = asarray(x)
    if x.dtype.kind == "c":
        return _either_part("is_nan", x)
    return apply("is_nan", x) if x.dtype.is_float else not_equal(x, x)


def isinf(x: Like, /) -> Any:
    """Whether x is infinite, in either part."""
    x = asarray(x)
    if x.dtype.kind == "c":
        return _either_part("is_inf", x)
    return apply("is_inf", x) if x.dtype.is_float else not_equal(x, x)


def isfinite(x: Like, /) -> Any:
    """Neither infinite nor NaN."""
    x = asarray(x)
    if x.dtype.kind == "c":
        return logical_not(logical_or(isnan(x), isinf(x)))
    return less(abs(x), math.inf) if x.dtype.is_float else equal(x, x)


def where(condition: Like, x1: Like, x2: Like, /) -> Any:
    """x1 where the condition holds, else x2.

    Example:
        >>> import hither as ht
        >>> x = ht.asarray([-1.0, 2.0])
        >>> ht.where(x > 0, x, 0)
        Array([0., 2.], dtype=float32)
    """
    a, b = promoted(x1, x2)
    return apply("select", *broadcasted(truth(condition), a, b))


__all__ = [
    "abs", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "clip", "conj", "cos", "cosh", "divide",
    "divide_no_nan", "equal", "erf", "exp", "exp2", "expm1", "floor", "floor_divide", "fmod", "greater", "greater_equal",
    "heaviside", "hypot", "imag", "isfinite", "isinf", "isnan", "less", "less_equal", "log", "log1p", "log2", "log10",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "make_complex", "maximum", "minimum", "multiply",
    "negative", "not_equal", "positive", "pow", "real", "reciprocal", "remainder", "round", "rsqrt", "sigmoid", "sign", "sin",
    "sinh", "sqrt", "square", "squared_difference", "subtract", "tan", "tanh", "trunc", "truncated_divide", "where",
]  # fmt: skip
