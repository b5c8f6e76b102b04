"""Functions of the bits that numbers are made of: shifts, masks, signs, and the number beside a number."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes as dt
from . import elementwise as el
from .operands import Like, apply, asarray, broadcasted, combine, floating, number, promoted


def signbit(x: Like, /) -> Any:
    """Whether the sign bit is set: true for -0.0 as well."""
    x = asarray(x)
    if x.dtype.is_float:
        x = apply("bitcast", x, dtype=dt.dtype(f"int{x.dtype.bits}"))
    return el.less(x, 0)


def copysign(x1: Like, x2: Like, /) -> Any:
    """The magnitude of x1 with the sign of x2."""
    a, b = (floating(x) for x in promoted(x1, x2))
    return el.where(signbit(b), el.negative(el.abs(a)), el.abs(a))


def nextafter(x1: Like, x2: Like, /) -> Any:
    """The next number after x1 that its dtype has, in the direction of x2; x2 where they are equal.

    The bits of floats count upwards with their magnitude, so it is the integer beside x1's.

    Example:
        >>> import hither as ht
        >>> float(ht.nextafter(1.0, 2.0)) - 1 == ht.finfo(ht.float32).eps
        True
    """
    a, b = broadcasted(*(floating(x) for x in promoted(x1, x2)))
    kind = dt.dtype(f"int{a.dtype.bits}")
    count = apply("bitcast", a, dtype=kind)
    away = el.equal(el.less(a, b), el.less(0, a))  # from zero
    beside = el.add(count, el.where(away, number(1, kind), number(-1, kind)))
    least = el.add(
        el.where(el.less(b, 0), number(-(2 ** (kind.bits - 1)), kind), number(0, kind)), 1
    )  # a step from either zero
    made = apply("bitcast", el.where(el.equal(a, 0), least, beside), dtype=a.dtype)
    made = el.where(el.equal(a, b), b, made)
    return el.where(el.logical_or(el.isnan(a), el.isnan(b)), math.nan, made)


def bitwise_and(x1: Like, x2: Like, /) -> Any:
    """x1 & x2; logical on bools."""
    return combine("bit_and", x1, x2)


def bitwise_or(x1: Like, x2: Like, /) -> Any:
    """x1 | x2; logical on bools."""
    return combine("bit_or", x1, x2)


def bitwise_xor(x1: Like, x2: Like, /) -> Any:
    """x1 ^ x2; logical on bools."""
    return combine("bit_xor", x1, x2)


def bitwise_invert(x: Like, /) -> Any:
    """~x; logical on bools."""
    return apply("bitwise_not", asarray(x))


def bitwise_left_shift(x1: Like, x2: Like, /) -> Any:
    """x1 << x2; 0 once every bit is shifted out, as by a negative x2."""
    return combine("shift_left", x1, x2)


def bitwise_right_shift(x1: Like, x2: Like, /) -> Any:
    """x1 >> x2: arithmetic for signed dtypes."""
    return combine("shift_right", x1, x2)


def bitcast(x: Like, dtype: Any, /) -> Any:
    """The same bits read as another dtype of the same width."""
    return apply("bitcast", asarray(x), dtype=dt.dtype(dtype))


__all__ = [
    "bitcast", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "copysign", "nextafter", "signbit",
]  # fmt: skip
