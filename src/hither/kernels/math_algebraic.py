"""Remainders and roots. Registered in hither.kernels.math. Bounds are in ulp of the result, CPU arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ir import INDEX, Val
from .math_parts import (
    Format,
    bits,
    constant,
    format_of,
    infinity,
    is_finite,
    is_inf,
    is_nan,
    magnitude_bits,
    not_a_number,
    scale,
    sign_bits,
    with_sign,
)

if TYPE_CHECKING:
    from .builder import Builder


def _integer_and_exponent(k: Builder, a: Val, f: Format) -> tuple[Val, Val]:
    """Finite a >= 0 as an integer with a leading one · 2^e (any integer for 0)."""
    tiny = a < f.least_normal
    i = bits(k, k.select(tiny, a * 2.0**f.mantissa, a))
    fraction = (i & ((1 << f.mantissa) - 1)) | (1 << f.mantissa)
    lowered = k.select(tiny, k.const(f.mantissa, f.integer), k.const(0, f.integer))
    return fraction, (i >> f.mantissa) - (f.bias + f.mantissa) - lowered


def fmod(k: Builder, x: Val, y: Val) -> Val:
    """x - trunc(x/y)·y, exactly, with the sign of x: long division of the mantissas, a bit of the quotient a step.

    As many steps as the exponents of x and y differ by (in the lane where they differ most).
    """
    f = format_of(x)
    width = max(x.width, y.width)
    x, y = k.broadcast(x, width), k.broadcast(y, width)
    a, b = k.abs(x), k.abs(y)
    regular = is_finite(k, x) & is_finite(k, y) & b.ne(0.0) & (b <= a)
    remainder, e_a = _integer_and_exponent(k, k.select(regular, a, 1.0), f)
    divisor, e_b = _integer_and_exponent(k, k.select(regular, b, 1.0), f)
    steps = e_a - e_b
    with k.loop(0, k.convert(k.reduce("max", steps), INDEX) + 1, init=[remainder, k.const(0, f.integer, width)]) as loop:
        rest, done = loop.carried
        rest = k.select(divisor <= rest, rest - divisor, rest)
        loop.yield_(k.select(done < steps, rest + rest, rest), done + 1)
    exact = scale(k, k.convert(loop.results[0], x.dtype), e_b)
    result = with_sign(k, k.select(regular, exact, a), sign_bits(k, x))
    undefined = is_nan(k, x) | is_inf(k, x) | is_nan(k, y) | b.eq(0.0)
    return k.select(undefined, not_a_number(k, x), result)


def mod(k: Builder, x: Val, y: Val) -> Val:
    """x - floor(x/y)·y with the sign of y, as Python and NumPy define %: fmod, plus y where the signs differ."""
    rest = fmod(k, x, y)
    zero = rest.eq(0.0)
    apart = (bits(k, rest) ^ bits(k, y)) < 0
    moved = k.select(apart & ~is_nan(k, rest), rest + y, rest)
    return k.select(zero, with_sign(k, constant(k, 0.0, x), sign_bits(k, y)), moved)


def rsqrt(k: Builder, x: Val) -> Val:
    """1/sqrt(x) within 1 ulp; ±inf at ±0, 0 at inf, NaN below 0."""
    zero = x.eq(0.0)
    result = constant(k, 1.0, x) / k.sqrt(k.select(zero, 1.0, x))
    result = k.select(zero, with_sign(k, infinity(k, x), sign_bits(k, x)), result)
    return k.select(x < 0.0, not_a_number(k, x), result)


def cbrt(k: Builder, x: Val) -> Val:
    """The real cube root within 2 ulp: a third of the exponent as first guess, Halley's iteration, a last step of Newton's."""
    f = format_of(x)
    a = k.abs(x)
    tiny = a < f.least_normal * 8
    lift = 3 * ((f.mantissa + 6) // 3)
    scaled = a * k.select(tiny, constant(k, 2.0**lift, x), 2.0**-3)  # normal, and four times it does not overflow
    # bits are nearly linear in log2: a third of them, plus two thirds of those of 1, less the average error of that
    third = k.convert(k.convert(bits(k, scaled), x.dtype) * (1 / 3), f.integer)
    t = k.bitcast(third + (f.one * 2 // 3 - (1 << f.mantissa) // 30), x.dtype)
    for _ in range(2 if f.mantissa == 23 else 3):
        cube = t * t * t
        t = t * ((cube + scaled + scaled) / (cube + cube + scaled))
    t = t - (t - scaled / (t * t)) * (1 / 3)
    t = t * k.select(tiny, constant(k, 2.0 ** -(lift // 3), x), 2.0)
    itself = a.eq(0.0) | (k.const(f.infinity, f.integer) <= magnitude_bits(k, x))
    return k.select(itself, x, with_sign(k, t, sign_bits(k, x)))
