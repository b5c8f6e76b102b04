"""Functions made of e^x: exponentials, hyperbolic functions, sigmoid, the error function. Registered in hither.kernels.math.

e^x = 2^n · e^r with n the integer nearest to x/ln 2 and |r| <= ln 2 / 2, r reduced with ln 2 in two pieces of which the first
times n is exact (Cody and Waite 1980), e^r by a minimax polynomial. Bounds are in ulp of the result, CPU arithmetic.
"""

from __future__ import annotations

from math import e, log2
from typing import TYPE_CHECKING

from .ir import Val
from .math_parts import (
    Format,
    constant,
    format_of,
    horner,
    ln2,
    magnitude_bits,
    nearest,
    power_of_two,
    scale,
    sign_bits,
    two_product,
    with_sign,
)

if TYPE_CHECKING:
    from .builder import Builder


def _reduce(k: Builder, x: Val) -> tuple[Val, Val]:
    """x = n·ln 2 + r, as (n, r)."""
    f = format_of(x)
    high, low = ln2(f)
    n, as_float = nearest(k, x, log2(e))
    return n, k.fma(as_float, constant(k, -low, x), k.rounded(k.fma(as_float, constant(k, -high, x), x)))


def _clamp(k: Builder, x: Val, low: float, high: float) -> Val:
    return k.max(k.min(x, high), low)


def exp(k: Builder, x: Val) -> Val:
    """e^x within 1.25 ulp. Clamped where the result is 0 or inf anyway, so that 2^n stays in range."""
    f = format_of(x)
    n, r = _reduce(k, _clamp(k, x, -104.0, 89.0) if f.mantissa == 23 else _clamp(k, x, -746.0, 710.0))
    return scale(k, horner(k, r, (1.0, 1.0, *f.coefficients["EXP"])), n)


def exp2(k: Builder, x: Val) -> Val:
    """2^x within 1.25 ulp, exact for integers."""
    f = format_of(x)
    return exp2_sum(k, _clamp(k, x, -151.0, 129.0) if f.mantissa == 23 else _clamp(k, x, -1076.0, 1025.0), None)


def exp2_sum(k: Builder, x: Val, low: Val | None) -> Val:
    """2^(x + low) for x in range and a small `low`."""
    f = format_of(x)
    n, as_float = nearest(k, x, 1.0)
    r = x - as_float
    r = r if low is None else r + low
    return scale(k, horner(k, r, (1.0, *f.coefficients["EXP2"])), n)


def _expm1_scaled(k: Builder, x: Val, shift: int) -> Val:
    """(e^x - 1)/2^shift for x in range. Not for denormals, which a shift rounds."""
    f = format_of(x)
    n, r = _reduce(k, x)
    small = k.fma(r * r, horner(k, r, f.coefficients["EXP"]), r)
    power = power_of_two(k, n - shift if shift else n, f)
    return k.fma(small, power, power - 2.0**-shift)


def _expm1_quarter(k: Builder, x: Val) -> Val:
    """(e^x - 1)/4, which does not overflow before sinh does."""
    narrow = format_of(x).mantissa == 23
    return _expm1_scaled(k, _clamp(k, x, -18.0, 89.5) if narrow else _clamp(k, x, -38.0, 710.6), 2)


def _or_itself(k: Builder, x: Val, result: Val) -> Val:
    """x where it is so small (or so exact a zero) that f(x) = x."""
    return k.select(k.abs(x) < format_of(x).epsilon, x, result)


def expm1(k: Builder, x: Val) -> Val:
    """e^x - 1 within 2 ulp, as 2^n·(e^r - 1) + (2^n - 1)."""
    return _or_itself(k, x, _expm1_quarter(k, x) * 4.0)


def sinh(k: Builder, x: Val) -> Val:
    """Within 3 ulp, from E = e^|x| - 1 as (E + E/(E + 1))/2."""
    f = format_of(x)
    half = _expm1_quarter(k, k.abs(x)) * 2.0
    result = half + half / k.fma(half, constant(k, 2.0, x), constant(k, 1.0, x))
    result = k.select(k.const((f.bias + 6) << f.mantissa, f.integer) <= magnitude_bits(k, x), half, result)  # |x| >= 64
    return _or_itself(k, x, with_sign(k, result, sign_bits(k, x)))


def cosh(k: Builder, x: Val) -> Val:
    """Within 2 ulp, as (e^|x| + e^-|x|)/2, with e^|x|/4 in hand so that nothing overflows early."""
    quarter = _expm1_quarter(k, k.abs(x)) + 0.25
    return quarter * 2.0 + 0.125 / quarter


def tanh(k: Builder, x: Val) -> Val:
    """Within 2.5 ulp, as E/(E + 2) with E = e^2|x| - 1, clamped where it has reached 1."""
    a = k.abs(x)
    near = k.min(a, 9.02 if format_of(x).mantissa == 23 else 20.0)
    expm1_ = _expm1_scaled(k, near + near, 0)
    return _or_itself(k, x, with_sign(k, expm1_ / (expm1_ + 2.0), sign_bits(k, x)))


def sigmoid(k: Builder, x: Val) -> Val:
    """1/(1 + e^-x) within 3 ulp, from e^-|x| so that small results keep their digits."""
    small = exp(k, -k.abs(x))
    return k.select(x < 0.0, small, 1.0) / (small + 1.0)


def _erfc_positive(k: Builder, a: Val, f: Format) -> Val:
    """erfc of a >= 0: e^(-a²) · P((a - 4)/(a + 4)) / (1 + 2a), after Schonfelder (1978) and Shepherd and Laframboise (1981)."""
    a = k.min(a, 10.5 if f.mantissa == 23 else 27.5)
    square = two_product(k, a, a)
    decay = exp(k, -square.high)
    decay = decay - decay * square.low
    scaled = horner(k, (a - 4.0) / (a + 4.0), f.coefficients["ERFCX"])
    return decay * (scaled / k.fma(a, constant(k, 2.0, a), constant(k, 1.0, a)))


def _erf_small(k: Builder, x: Val) -> Val:
    """erf for |x| < 1 (float32: 0.93), as x + x·P(x²)."""
    return k.fma(x, horner(k, x * x, format_of(x).coefficients["ERF"]), x)


def erf(k: Builder, x: Val) -> Val:
    """Within 2 ulp: a polynomial near zero, else 1 - erfc of |x|, which float32 takes as 2^P(|x|)."""
    f = format_of(x)
    a = k.abs(x)
    if f.mantissa == 23:
        exponent = horner(k, k.min(a, 3.94), f.coefficients["LOG2_ERFC"])
        n, as_float = nearest(k, exponent, 1.0)
        small = horner(k, exponent - as_float, (1.0, *f.coefficients["EXP2"])) * power_of_two(k, n, f)
    else:
        small = _erfc_positive(k, a, f)
    large = with_sign(k, 1.0 - small, sign_bits(k, x))
    return k.select(a < (0.93 if f.mantissa == 23 else 1.0), _erf_small(k, x), large)


def erfc(k: Builder, x: Val) -> Val:
    """1 - erf(x) within 4 ulp, also where it is tiny."""
    f = format_of(x)
    a = k.abs(x)
    positive = _erfc_positive(k, a, f)
    result = k.select(x < 0.0, 2.0 - positive, positive)
    return k.select(a < 0.5, 1.0 - _erf_small(k, x), result)
