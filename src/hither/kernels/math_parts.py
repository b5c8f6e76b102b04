"""What the functions of hither.kernels.math are made of: floats taken apart into bits, polynomials, double-length arithmetic.

Tests for NaN and infinity look at bits, since WGSL lets an implementation assume that neither occurs. Reductions turn the
rounded quotient into a float through an integer rather than by subtracting the magic constant again, which a compiler that
reassociates (Mesa, Metal's fast math) would undo, and Builder.rounded stands wherever a rounding error is computed. Nothing
relies on fma rounding once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, nan
from typing import TYPE_CHECKING

from .. import dtypes as dt
from ..dtypes import DType
from . import math_coefficients
from .ir import Val

if TYPE_CHECKING:
    from .builder import Builder


@dataclass(frozen=True)
class Format:
    """A float format: its fields as integers of the same size, and the coefficient tables that go with it."""

    dtype: DType
    integer: DType  # signed, of the same size
    mantissa: int  # stored bits
    bias: int
    coefficients: dict[str, tuple[float, ...]]

    @property
    def sign(self) -> int:
        """The sign bit, as the (negative) integer it is."""
        return -(1 << (self.dtype.bits - 1))

    @property
    def magnitude(self) -> int:
        """All bits but the sign."""
        return (1 << (self.dtype.bits - 1)) - 1

    @property
    def infinity(self) -> int:
        """The bits of +inf."""
        return (2 * self.bias + 1) << self.mantissa

    @property
    def one(self) -> int:
        """The bits of 1.0."""
        return self.bias << self.mantissa

    @property
    def magic(self) -> float:
        """1.5·2^mantissa: adding it rounds to an integer, left in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def magic_bits(self) -> int:
        return ((self.bias + self.mantissa) << self.mantissa) | (1 << (self.mantissa - 1))

    @property
    def epsilon(self) -> float:
        """Half the distance from 1 to the next float: f(x) = x for |x| below it where f(x) = x + O(x²)."""
        return 2.0 ** -(self.mantissa + 1)

    @property
    def least_normal(self) -> float:
        return 2.0 ** (1 - self.bias)


_FORMATS = {
    dt.float32: Format(dt.float32, dt.int32, 23, 127, math_coefficients.FLOAT32),
    dt.float64: Format(dt.float64, dt.int64, 52, 1023, math_coefficients.FLOAT64),
}


def format_of(x: Val) -> Format:
    """The format of a value.

    Raises:
        TypeError: unless it is a float32 or float64 (halves are computed in float32).
    """
    if x.dtype not in _FORMATS:
        raise TypeError(f"math functions take float32 and float64 values, got {x.dtype}; convert it to float32 first")
    return _FORMATS[x.dtype]


# -- constants ---------------------------------------------------------------------------------------------------------------

# Constants needed in more digits than a float has are cut from integers: floor(constant · 2^SHIFT).
SHIFT = 1280  # the largest float64 needs 971 + 3·54 + 62 bits of 2/pi


@cache
def pi_scaled(shift: int = SHIFT) -> int:
    """floor(pi · 2^shift), by Machin's formula pi = 16·atan(1/5) - 4·atan(1/239)."""
    guard = shift + 32
    return (16 * _atan_inverse(5, guard) - 4 * _atan_inverse(239, guard)) >> 32


def _atan_inverse(n: int, shift: int) -> int:
    term = total = (1 << shift) // n
    k, sign = 1, 1
    while term:
        term //= n * n
        k, sign = k + 2, -sign
        total += sign * (term // k)
    return total


@cache
def ln2_scaled(shift: int = SHIFT) -> int:
    """floor(ln 2 · 2^shift), as 2·atanh(1/3)."""
    guard = shift + 32
    term = (1 << guard) // 3
    total, k = term, 1
    while term:
        term //= 9
        k += 2
        total += term // k
    return (2 * total) >> 32


@cache
def cut(scaled: int, shift: int, widths: tuple[int, ...]) -> tuple[float, ...]:
    """A positive constant scaled/2^shift as a sum of floats of these numbers of bits, the last rounded to nearest."""
    parts = []
    for i, width in enumerate(widths):
        drop = max(scaled.bit_length() - width, 0)
        top = (scaled + ((1 << drop) >> 1) if i == len(widths) - 1 else scaled) >> drop << drop
        parts.append(float(top >> drop) * 2.0 ** (drop - shift))
        scaled -= top
    return tuple(parts)


def ln2(f: Format) -> tuple[float, float]:
    """ln 2 = high + low; high times any exponent is exact."""
    a, b = cut(ln2_scaled(), SHIFT, (14, 24) if f.mantissa == 23 else (40, 53))
    return a, b


# -- bits --------------------------------------------------------------------------------------------------------------------


def bits(k: Builder, x: Val) -> Val:
    """The bits as a signed integer."""
    return k.bitcast(x, format_of(x).integer)


def magnitude_bits(k: Builder, x: Val) -> Val:
    """The bits without the sign: they order like |x|, with inf and then NaN on top."""
    return bits(k, x) & format_of(x).magnitude


def sign_bits(k: Builder, x: Val) -> Val:
    """The sign bit alone."""
    return bits(k, x) & format_of(x).sign


def is_nan(k: Builder, x: Val) -> Val:
    """Whether x is NaN, by its bits."""
    return magnitude_bits(k, x) > format_of(x).infinity


def is_inf(k: Builder, x: Val) -> Val:
    """Whether x is an infinity, by its bits."""
    return magnitude_bits(k, x).eq(format_of(x).infinity)


def is_finite(k: Builder, x: Val) -> Val:
    """Whether x is neither infinite nor NaN, by its bits."""
    return magnitude_bits(k, x) < format_of(x).infinity


def with_sign(k: Builder, magnitude: Val, sign: Val) -> Val:
    """A value without sign, given these sign bits (of `sign_bits`)."""
    return k.bitcast(bits(k, magnitude) | sign, magnitude.dtype)


def constant(k: Builder, value: float, like: Val) -> Val:
    """A constant of the dtype of `like`."""
    return k.const(value, like.dtype)


def not_a_number(k: Builder, like: Val) -> Val:
    return constant(k, nan, like)


def infinity(k: Builder, like: Val) -> Val:
    return constant(k, inf, like)


def power_of_two(k: Builder, n: Val, f: Format) -> Val:
    """2^n for an integer n that is the exponent of a normal number."""
    return k.bitcast((n + f.bias) << f.mantissa, f.dtype)


def scale(k: Builder, x: Val, n: Val) -> Val:
    """x · 2^n for |n| up to twice the largest exponent, rounding once also where the result is denormal."""
    f = format_of(x)
    half = n >> 1
    return (x * power_of_two(k, half, f)) * power_of_two(k, n - half, f)


def nearest(k: Builder, x: Val, factor: float) -> tuple[Val, Val]:
    """The integer n nearest to x · factor, as an integer and as a float. |n| < 2^(mantissa - 1)."""
    f = format_of(x)
    n = bits(k, k.fma(x, constant(k, factor, x), constant(k, f.magic, x))) - f.magic_bits
    return n, k.convert(n, x.dtype)


def decompose(k: Builder, x: Val, low: float) -> tuple[Val, Val]:
    """Positive finite x = m · 2^e with m in [low, 2·low), as (m, e as an integer). Denormals too."""
    f = format_of(x)
    tiny = x < f.least_normal
    lifted = bits(k, k.select(tiny, x * 2.0 ** (f.mantissa + 1), x))
    start = _bits_of(low, f)
    e = (lifted - start) >> f.mantissa
    m = k.bitcast(lifted - (e << f.mantissa), x.dtype)
    lowered = k.const(-(f.mantissa + 1), f.integer)
    return m, e + k.select(tiny, lowered, k.const(0, f.integer))


def _bits_of(value: float, f: Format) -> int:
    source, target = ("<f", "<i") if f.mantissa == 23 else ("<d", "<q")
    return int(struct.unpack(target, struct.pack(source, value))[0])


# -- arithmetic --------------------------------------------------------------------------------------------------------------


def horner(k: Builder, x: Val, coefficients: Sequence[float], tail: Val | None = None) -> Val:
    """The polynomial with these coefficients, lowest degree first (`tail` stands above the highest)."""
    terms = [constant(k, c, x) for c in coefficients]
    total = tail if tail is not None else terms.pop()
    for c in reversed(terms):
        total = k.fma(total, x, c)
    return total


def head(k: Builder, x: Val) -> Val:
    """x with the lower half of its mantissa cleared: products of two heads are exact."""
    f = format_of(x)
    return k.bitcast(bits(k, x) & -(1 << ((f.mantissa + 2) // 2)), x.dtype)


@dataclass(frozen=True)
class Pair:
    """A double-length value high + low, |low| at most about an ulp of high."""

    high: Val
    low: Val


def two_sum(k: Builder, a: Val, b: Val) -> Pair:
    """a + b exactly, for |a| >= |b| (Dekker 1971)."""
    total = k.rounded(a + b)
    return Pair(total, b - k.rounded(total - a))


def two_product(k: Builder, a: Val, b: Val) -> Pair:
    """a · b, to within the product of the two lower halves' rounding (Dekker 1971, split by masks)."""
    product = k.rounded(a * b)
    a1, b1 = head(k, a), head(k, b)
    a0, b0 = a - a1, b - b1
    return Pair(product, ((k.rounded(a1 * b1 - product) + a1 * b0) + a0 * b1) + a0 * b0)


def multiply(k: Builder, a: Pair, b: Pair) -> Pair:
    """Double-length product."""
    exact = two_product(k, a.high, b.high)
    return two_sum(k, exact.high, exact.low + (a.high * b.low + a.low * b.high))


def add(k: Builder, a: Pair, b: Pair) -> Pair:
    """Double-length sum, for |a| >= |b|."""
    total = two_sum(k, a.high, b.high)
    return two_sum(k, total.high, total.low + (a.low + b.low))


def constant_pair(k: Builder, scaled: int, shift: int, like: Val) -> Pair:
    """A positive constant scaled/2^shift in double length."""
    digits = format_of(like).mantissa + 1
    high, low = cut(scaled, shift, (digits, digits))
    return Pair(constant(k, high, like), constant(k, low, like))
