"""Trigonometric functions and their inverses. Registered in hither.kernels.math.

|x| = n·π/2 + r with |r| <= π/4, then minimax polynomials of sin r and cos r, chosen and signed by n mod 4. Small arguments are
reduced with π/2 in four pieces (Cody and Waite 1980); where any lane is larger, those lanes are reduced exactly, by an integer
product with the bits of 2/π that matter (Payne and Hanek 1983), so that results are right for every finite argument.
Bounds are in ulp of the result, CPU arithmetic.
"""

from __future__ import annotations

from functools import cache
from math import pi, tan
from typing import TYPE_CHECKING

from .ir import Val
from .math_parts import (
    SHIFT,
    Format,
    bits,
    constant,
    cut,
    format_of,
    horner,
    is_inf,
    is_nan,
    magnitude_bits,
    nearest,
    not_a_number,
    pi_scaled,
    sign_bits,
    two_product,
    two_sum,
    with_sign,
)

if TYPE_CHECKING:
    from .builder import Builder

_DIGITS = 7  # of the product that is kept: 2 to be wrong in, 5 that count


def _direct_limit(f: Format) -> float:
    """Arguments below it are reduced in floats: n times each of the first three pieces of π/2 is exact."""
    return 2.0**13 if f.mantissa == 23 else 2.0**27


def _pi(f: Format, divisor: int) -> tuple[float, float]:
    """π/divisor as a sum of two floats."""
    digits = f.mantissa + 1
    high, low = cut(pi_scaled() // divisor, SHIFT, (digits, digits))
    return high, low


def _reduce_direct(k: Builder, a: Val) -> tuple[Val, Val]:
    f = format_of(a)
    narrow = f.mantissa == 23
    n, as_float = nearest(k, a, 2 / pi)
    r = a
    for piece in cut(pi_scaled() // 2, SHIFT, (11, 11, 11, 24) if narrow else (26, 26, 26, 53)):
        r = k.rounded(k.fma(as_float, constant(k, -piece, a), r))
    return n, r


@cache
def _two_over_pi(digit: int, count: int) -> tuple[int, ...]:
    """The first digits of 2/π in base 2^digit, after a leading zero."""
    scaled = (2 << (2 * SHIFT)) // pi_scaled()
    return (0, *((scaled >> (SHIFT - digit * (i + 1))) & ((1 << digit) - 1) for i in range(count)))


def _reduce_exact(k: Builder, a: Val) -> tuple[Val, Val]:
    """Payne and Hanek's reduction for a finite of at least the direct limit; anything smaller gives anything finite."""
    f = format_of(a)
    digit = 12 if f.mantissa == 23 else 27  # products of two digits, and sums of two of those, fit the integer
    mask = (1 << digit) - 1
    i = bits(k, a)
    mantissa = (i & ((1 << f.mantissa) - 1)) | (1 << f.mantissa)
    low, high = mantissa & mask, mantissa >> digit
    # a = mantissa · 2^e. Digits of 2/π worth multiples of 4 quadrants drop out: the window starts at digit (e - 2)/digit.
    largest = f.bias - f.mantissa  # of e
    e = k.max((i >> f.mantissa) - (f.bias + f.mantissa) - 2, -digit)
    e = k.min(e, largest) + digit
    start = (e * ((1 << 16) // digit + 1)) >> 16  # e / digit, exact for these e, without a division of vectors
    shift = e - start * digit
    last = (largest + digit) // digit  # start of the window of the largest float
    steps = last.bit_length()
    digits = (*_two_over_pi(digit, last + _DIGITS), *[0] * (1 << steps))
    window: list[Val] = [k.const(d, f.integer) for d in digits[: (1 << steps) + _DIGITS]]
    for step in reversed(range(steps)):  # a barrel shifter by the window's start
        distance = 1 << step
        taken = (start & distance).ne(0)
        window = [k.select(taken, window[j + distance], window[j]) for j in range(distance + _DIGITS)]
    back = digit - shift
    aligned = [((window[j] << shift) | (window[j + 1] >> back)) & mask for j in range(_DIGITS)]
    product: list[Val] = []
    carry = k.const(0, f.integer)
    for j in reversed(range(_DIGITS)):
        total = low * aligned[j] + carry
        total = total if j == _DIGITS - 1 else total + high * aligned[j + 1]
        product.insert(0, total & mask)
        carry = total >> digit
    # The product is a fraction of a turn: the two top bits, rounded, are the quadrant, the rest the signed distance to it.
    n = (product[0] + (1 << (digit - 3))) >> (digit - 2)
    first = ((product[0] - (n << (digit - 2))) << digit) + product[1]
    second = (product[2] << digit) + product[3]
    angle = two_sum(k, k.convert(first, a.dtype) * 2.0 ** (2 * digit), k.convert(second, a.dtype))
    angle = two_sum(k, angle.high, angle.low + k.convert(product[4], a.dtype) * 2.0**-digit)
    upper, lower = _pi(f, 2)
    radians = two_product(k, angle.high, constant(k, upper, a))
    radians_low = radians.low + (angle.high * lower + angle.low * upper)
    return n, (radians.high + radians_low) * 2.0 ** (2 - 4 * digit)


def _reduce(k: Builder, a: Val) -> tuple[Val, Val]:
    """a = n·π/2 + r for a >= 0; n mod 4 is what counts."""
    f = format_of(a)
    n, r = _reduce_direct(k, a)
    limit = k.const(_direct_limit(f), a.dtype)
    biggest = k.reduce("max", k.select(magnitude_bits(k, a) < f.infinity, a, 0.0))

    def exactly() -> tuple[Val, Val]:
        large = limit <= a
        exact_n, exact_r = _reduce_exact(k, a)
        return k.select(large, exact_n, n), k.select(large, exact_r, r)

    n, r = k.if_else(limit <= biggest, exactly, lambda: (n, r))
    return n, r


def _sin_cos(k: Builder, r: Val) -> tuple[Val, Val]:
    """sin r and cos r of a reduced argument."""
    table = format_of(r).coefficients
    z = r * r
    sine = k.fma(r * z, horner(k, z, table["SIN"]), r)
    half = z * 0.5
    one = constant(k, 1.0, r)
    rounded = k.rounded(one - half)  # and what that lost is added to the small terms
    return sine, rounded + k.fma(z * z, horner(k, z, table["COS"]), k.rounded(one - rounded) - half)


def _quadrant(k: Builder, x: Val, ahead: int, sign: Val | None) -> Val:
    """sin(|x| + ahead·π/2), with this sign."""
    f = format_of(x)
    n, r = _reduce(k, k.abs(x))
    n = n + ahead if ahead else n
    sine, cosine = _sin_cos(k, r)
    value = k.select((n & 1).ne(0), cosine, sine)
    flip = (n & 2) << (f.dtype.bits - 2)
    flip = flip if sign is None else flip ^ sign
    value = k.bitcast(bits(k, value) ^ flip, x.dtype)
    return k.select(magnitude_bits(k, x) < f.infinity, value, not_a_number(k, x))


def sin(k: Builder, x: Val) -> Val:
    """Within 2 ulp for every finite x."""
    return _quadrant(k, x, 0, sign_bits(k, x))


def cos(k: Builder, x: Val) -> Val:
    """Within 2 ulp for every finite x."""
    return _quadrant(k, x, 1, None)


def tan_(k: Builder, x: Val) -> Val:
    """Within 4 ulp for every finite x, as sine over cosine."""
    f = format_of(x)
    n, r = _reduce(k, k.abs(x))
    sine, cosine = _sin_cos(k, r)
    odd = (n & 1).ne(0)
    value = k.select(odd, -cosine, sine) / k.select(odd, sine, cosine)
    value = k.bitcast(bits(k, value) ^ sign_bits(k, x), x.dtype)
    return k.select(magnitude_bits(k, x) < f.infinity, value, not_a_number(k, x))


# -- inverses ----------------------------------------------------------------------------------------------------------------


def _atan_sum(k: Builder, t: Val, high: Val, low: Val) -> Val:
    """high + low + atan(t) for |t| <= tan(π/8)."""
    z = t * t
    return high + (low + k.fma(t * z, horner(k, z, format_of(t).coefficients["ATAN"]), t))


def atan(k: Builder, x: Val) -> Val:
    """Within 2 ulp: atan t, π/4 + atan((t - 1)/(t + 1)) or π/2 - atan(1/t) of t = |x|, with one division."""
    f = format_of(x)
    a = k.abs(x)
    far, middle = a > tan(3 * pi / 8), a > tan(pi / 8)
    top = k.select(far, constant(k, -1.0, x), k.select(middle, a - 1.0, a))
    bottom = k.select(far, a, k.select(middle, a + 1.0, 1.0))
    half, quarter = _pi(f, 2), _pi(f, 4)
    high, low = (k.select(far, constant(k, half[i], x), k.select(middle, constant(k, quarter[i], x), 0.0)) for i in (0, 1))
    result = with_sign(k, _atan_sum(k, top / bottom, high, low), sign_bits(k, x))
    return k.select(a < f.epsilon, x, result)


def atan2(k: Builder, y: Val, x: Val) -> Val:
    """The angle of the point (x, y) within 3 ulp, with IEEE 754's special cases for zeros and infinities."""
    f = format_of(x)
    width = max(x.width, y.width)
    x, y = k.broadcast(x, width), k.broadcast(y, width)
    a, b = k.abs(x), k.abs(y)
    steep = a < b
    small, large = k.select(steep, a, b), k.select(steep, b, a)
    diagonal = is_inf(k, small)
    small, large = k.select(diagonal, 1.0, small), k.select(diagonal, 1.0, large)
    unbounded = is_inf(k, large)
    shrink = k.select(large > 2.0 ** (f.bias - 1), constant(k, 0.25, x), 1.0)  # so that their sum does not overflow
    small, large = small * shrink, large * shrink
    middle = (small > large * tan(pi / 8)) & ~unbounded
    top = k.select(middle, small - large, small)
    bottom = k.select(middle, small + large, large)
    t = top / k.select(bottom.eq(0.0), 1.0, bottom)
    t = k.select(unbounded, 0.0, t)
    # The octant: ±atan(t) + a multiple of π/4. Left of the axis π - angle, above the diagonal π/2 - angle.
    left = bits(k, x) < 0
    negate = steep ^ left
    t = k.select(negate, -t, t)
    high, low = (
        k.select(
            steep,
            k.select(middle, _choose(k, left, 3, 1, f, i, x), constant(k, _pi(f, 2)[i], x)),
            k.select(middle, _choose(k, left, 3, 1, f, i, x), _choose(k, left, 4, 0, f, i, x)),
        )
        for i in (0, 1)
    )
    result = with_sign(k, k.abs(_atan_sum(k, t, high, low)), sign_bits(k, y))
    return k.select(is_nan(k, x) | is_nan(k, y), not_a_number(k, x), result)


def _choose(k: Builder, condition: Val, a: int, b: int, f: Format, piece: int, like: Val) -> Val:
    """Piece 0 or 1 of a·π/4 or of b·π/4."""

    def eighths(n: int) -> Val:
        digits = f.mantissa + 1
        return constant(k, cut(n * pi_scaled() // 4, SHIFT, (digits, digits))[piece], like)

    return k.select(condition, eighths(a), eighths(b))


def _asin_tail(k: Builder, t: Val, z: Val) -> Val:
    """asin t - t for 0 <= t <= 1/2, z = t²."""
    return t * z * horner(k, z, format_of(t).coefficients["ASIN"])


def _asin_parts(k: Builder, x: Val) -> tuple[Val, Val, Val, Val]:
    """(|x| > 1/2, t, tail, |x|): asin |x| is t + tail for small |x|, else π/2 - 2·(t + tail)."""
    a = k.abs(x)
    large = a > 0.5
    z = k.select(large, k.max((1.0 - a) * 0.5, 0.0), a * a)
    root = k.sqrt(z)
    t = k.select(large, root, a)
    return large, t, _asin_tail(k, t, z), a


def _in_domain(k: Builder, x: Val, result: Val) -> Val:
    """NaN unless |x| <= 1."""
    f = format_of(x)
    return k.select(k.const(f.one, f.integer) < magnitude_bits(k, x), not_a_number(k, x), result)


def asin(k: Builder, x: Val) -> Val:
    """Within 2 ulp: π/2 - 2·asin(sqrt((1 - |x|)/2)) beyond 1/2. NaN beyond 1."""
    f = format_of(x)
    large, t, tail, a = _asin_parts(k, x)
    high, low = _pi(f, 2)
    beyond = high - ((t + t) - low + (tail + tail))
    result = with_sign(k, k.select(large, beyond, t + tail), sign_bits(k, x))
    return _in_domain(k, x, k.select(a < f.epsilon, x, result))


def acos(k: Builder, x: Val) -> Val:
    """Within 2 ulp: 2·asin(sqrt((1 - x)/2)) above 1/2, π minus that of -x below -1/2. NaN beyond 1."""
    f = format_of(x)
    large, t, tail, _ = _asin_parts(k, x)
    negative = x < 0.0
    half, whole = _pi(f, 2), _pi(f, 1)
    twice = (t + t) + (tail + tail)
    outer = k.select(negative, whole[0] - (twice - whole[1]), twice)
    signed, signed_tail = k.select(negative, -t, t), k.select(negative, -tail, tail)
    inner = half[0] - (signed - (half[1] - signed_tail))
    return _in_domain(k, x, k.select(large, outer, inner))
