"""Functions made of log x: logarithms, inverse hyperbolic functions, softplus, powers. Registered in hither.kernels.math.

x = m · 2^e with m in [sqrt(1/2), sqrt(2)) and f = m - 1 exact; log x = e·ln 2 + log(1 + f). float32 takes a minimax polynomial
in f, float64 the series of 2·atanh(s) in s = f/(2 + f), arranged as f - (f²/2 - s·(f²/2 + R)) so that f enters exactly (as in
FreeBSD's msun by K. C. Ng). Bounds are in ulp of the result, CPU arithmetic.
"""

from __future__ import annotations

from math import log, sqrt
from typing import TYPE_CHECKING

from .ir import Val
from .math_exponential import exp, exp2_sum
from .math_parts import (
    SHIFT,
    Pair,
    add,
    bits,
    constant,
    constant_pair,
    cut,
    decompose,
    format_of,
    horner,
    infinity,
    is_finite,
    is_nan,
    ln2,
    ln2_scaled,
    multiply,
    not_a_number,
    sign_bits,
    two_product,
    two_sum,
    with_sign,
)

if TYPE_CHECKING:
    from .builder import Builder

_SQRT_HALF = sqrt(0.5)
_TEN = 10


def _log1p_reduced(k: Builder, f: Val, extra: Val | None = None) -> Val:
    """log(1 + f) + extra for f from the reduction and a small `extra`."""
    table = format_of(f).coefficients
    square = f * f
    half = square * 0.5
    if "LOG" in table:
        tail = f * square * horner(k, f, table["LOG"])
    else:
        s = f / (f + 2.0)
        z = s * s
        tail = s * k.fma(z, horner(k, z, table["ATANH3"]), half)
    return f - (half - (tail if extra is None else tail + extra))


def _log_finite(k: Builder, x: Val, correction: Val | None = None) -> Val:
    """log x for positive finite x, plus a small correction."""
    high, low = ln2(format_of(x))
    m, e = decompose(k, x, _SQRT_HALF)
    exponent = k.convert(e, x.dtype)
    extra = exponent * low
    extra = extra if correction is None else extra + correction
    return k.fma(exponent, constant(k, high, x), _log1p_reduced(k, m - 1.0, extra))


def _log_edges(k: Builder, x: Val, result: Val) -> Val:
    """Zero gives -inf, anything below NaN; inf and NaN pass."""
    f = format_of(x)
    i = bits(k, x)
    result = k.select(k.const(f.infinity, f.integer) <= i, x, result)
    result = k.select(i < 0, not_a_number(k, x), result)
    return k.select((i & f.magnitude).eq(0), -infinity(k, x), result)


def log_(k: Builder, x: Val) -> Val:
    """Natural logarithm within 1 ulp."""
    return _log_edges(k, x, _log_finite(k, x))


def _log_base(k: Builder, x: Val, per_e: float, per_two: tuple[float, float]) -> Val:
    """log of another base from per_e = log(e) and log(2) in two pieces, in that base."""
    m, e = decompose(k, x, _SQRT_HALF)
    exponent = k.convert(e, x.dtype)
    part = _log1p_reduced(k, m - 1.0) * per_e
    if per_two[1]:
        part = k.fma(exponent, constant(k, per_two[1], x), part)
    return _log_edges(k, x, k.fma(exponent, constant(k, per_two[0], x), part))


def log2_(k: Builder, x: Val) -> Val:
    """Base 2 within 2 ulp, exact for powers of two."""
    return _log_base(k, x, 1 / log(2), (1.0, 0.0))


def log10_(k: Builder, x: Val) -> Val:
    """Base 10 within 2 ulp."""
    narrow = format_of(x).mantissa == 23
    ln10 = 3 * ln2_scaled() + _ln_five_quarters()
    high, low = cut((ln2_scaled() << SHIFT) // ln10, SHIFT, (14, 24) if narrow else (40, 53))
    return _log_base(k, x, 1 / log(_TEN), (high, low))


def _ln_five_quarters() -> int:
    """floor(ln(10/8) · 2^SHIFT), as 2·atanh(1/9)."""
    guard = SHIFT + 32
    term = total = (1 << guard) // 9
    n = 1
    while term:
        term //= 81
        n += 2
        total += term // n
    return (2 * total) >> 32


def log1p(k: Builder, x: Val) -> Val:
    """log(1 + x) within 2 ulp: log of the rounded sum, plus what rounding it lost, divided by it."""
    total = x + 1.0
    known = k.rounded(total)
    lost = k.select(x < 1.0, x - k.rounded(known - 1.0), 1.0 - k.rounded(known - x))
    safe = k.select(total.eq(0.0), 1.0, total)
    result = _log_edges(k, total, _log_finite(k, total, lost / safe))
    return k.select(k.abs(x) < format_of(x).epsilon, x, result)


def softplus(k: Builder, x: Val) -> Val:
    """log(1 + e^x) within 3 ulp, as max(x, 0) + log1p(e^-|x|)."""
    return k.max(x, 0.0) + log1p(k, exp(k, -k.abs(x)))


def asinh(k: Builder, x: Val) -> Val:
    """Within 3 ulp: log1p(a + a²/(1 + sqrt(a² + 1))) of a = |x|; for large a, log a + ln 2."""
    f = format_of(x)
    a = k.abs(x)
    square = a * a
    large = a > 2.0 ** (f.mantissa + 2)
    inner = k.select(large, a, a + square / (k.sqrt(square + 1.0) + 1.0))
    result = log1p(k, inner) + k.select(large, constant(k, log(2), x), 0.0)
    return k.select(a < f.epsilon, x, with_sign(k, result, sign_bits(k, x)))


def acosh(k: Builder, x: Val) -> Val:
    """Within 3 ulp: log1p(t + sqrt(2t + t²)) of t = x - 1; for large x, log x + ln 2. NaN below 1."""
    f = format_of(x)
    large = x > 2.0 ** (f.mantissa + 2)
    t = x - 1.0
    inner = k.select(large, x, t + k.sqrt(k.max(t * (t + 2.0), 0.0)))
    result = log1p(k, inner) + k.select(large, constant(k, log(2), x), 0.0)
    return k.select(bits(k, x) < f.one, not_a_number(k, x), result)


def atanh(k: Builder, x: Val) -> Val:
    """Within 3 ulp: log1p(2a/(1 - a))/2 of a = |x|. ±inf at ±1, NaN beyond."""
    f = format_of(x)
    a = k.abs(x)
    inside = a < 1.0
    result = log1p(k, (a + a) / k.select(inside, 1.0 - a, 1.0)) * 0.5
    edge = k.select(a.eq(1.0), infinity(k, x), not_a_number(k, x))
    return k.select(a < f.epsilon, x, with_sign(k, k.select(inside, result, edge), sign_bits(k, x)))


def _log2_pair(k: Builder, x: Val) -> Pair:
    """log2 of positive finite x in double length: 2·atanh(s) with s and the first two terms of the series in double length."""
    f = format_of(x)
    m, e = decompose(k, x, _SQRT_HALF)
    top = m - 1.0
    bottom = two_sum(k, constant(k, 2.0, x), top)
    s = top / bottom.high
    product = two_product(k, s, bottom.high)
    s_low = ((k.rounded(top - product.high) - product.low) - s * bottom.low) / bottom.high
    whole = Pair(s, s_low)
    z = multiply(k, whole, whole)
    third = constant_pair(k, (2 << SHIFT) // 3, SHIFT, x)
    rest = z.high * z.high * horner(k, z.high, f.coefficients["ATANH5"])
    series = multiply(k, z, third)
    series = two_sum(k, series.high, series.low + rest)
    total = multiply(k, whole, add(k, Pair(constant(k, 2.0, x), constant(k, 0.0, x)), series))
    scaled = multiply(k, total, constant_pair(k, (1 << (2 * SHIFT)) // ln2_scaled(), SHIFT, x))
    # the exponent is 0 or larger than the rest
    exponent = k.convert(e, x.dtype)
    joined = two_sum(k, exponent, scaled.high)
    return two_sum(k, joined.high, joined.low + scaled.low)


def pow_(k: Builder, x: Val, y: Val) -> Val:
    """x^y within 4 ulp, with IEEE 754's special cases: y·log2|x| in double length, then 2 to that power.

    x^0 = 1^y = 1 for any operand, NaN included; a negative x with a y that is not an integer gives NaN.
    """
    f = format_of(x)
    width = max(x.width, y.width)
    x, y = k.broadcast(x, width), k.broadcast(y, width)
    a = k.abs(x)
    regular = is_finite(k, x) & a.ne(0.0)
    log_of = _log2_pair(k, k.select(regular, a, 1.0))
    bound = 2.0**33 if f.mantissa == 23 else 2.0**64  # decides between 0, 1 and inf for every x but 1
    by = k.max(k.min(y, bound), -bound)
    product = two_product(k, by, log_of.high)
    low = product.low + by * log_of.low
    limit_low, limit_high = (-151.0, 129.0) if f.mantissa == 23 else (-1076.0, 1025.0)
    exponent = k.max(k.min(product.high, limit_high), limit_low)
    inside = exponent.eq(product.high)
    core = exp2_sum(k, exponent, k.select(inside, low, 0.0))
    vanishes = a.eq(0.0) ^ (y < 0.0)
    core = k.select(regular, core, k.select(vanishes, 0.0, infinity(k, x)))

    whole = k.trunc(y).eq(y)
    odd = whole & (k.trunc(y * 0.5) * 2.0).ne(y)
    sign = k.select(odd, sign_bits(k, x), k.const(0, f.integer))
    result = with_sign(k, core, sign)
    negative = (bits(k, x) < 0) & regular
    result = k.select(negative & ~whole, not_a_number(k, x), result)
    result = k.select(is_nan(k, x) | is_nan(k, y), not_a_number(k, x), result)
    return k.select(y.eq(0.0) | x.eq(1.0), 1.0, result)
