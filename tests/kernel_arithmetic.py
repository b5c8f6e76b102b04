"""Operations of kernel IR that NumPy does not have: fused multiply-add, and products of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b as rounded sum and exact error (Knuth)."""
    s = a + b
    z = s - a
    return s, (a - (s - z)) + (b - z)


def _round_to_odd(a: Any, b: Any) -> Any:
    """a + b rounded to odd, so that a later rounding to nearest acts on the exact sum (Boldo and Melquiond 2008)."""
    s, error = _two_sum(a, b)
    even = (np.asarray(s, np.float64).view(np.int64) & 1) == 0
    return np.where((error != 0) & even & np.isfinite(s), np.nextafter(s, np.copysign(np.inf, error)), s)


def fused(a: Any, b: Any, c: Any) -> Any:
    """fma in one rounding, correct but for float64 results that are denormal."""
    if a.dtype != np.float64:
        wide = (np.asarray(x, np.float64) for x in (a, b, c))
        x, y, z = wide
        result = np.where(np.isfinite(x * y + z), _round_to_odd(x * y, z), x * y + z).astype(a.dtype)
        return result if result.ndim else result[()]
    plain = a * b + c
    high = a * b

    def split(x: Any) -> tuple[Any, Any]:
        big = x * 134217729.0
        top = big - (big - x)
        return top, x - top

    (a1, a0), (b1, b0) = split(a), split(b)
    low = ((a1 * b1 - high) + a1 * b0 + a0 * b1) + a0 * b0
    t, t_low = _two_sum(c, low)
    v, v_low = _two_sum(high, t)
    exact = v + _round_to_odd(t_low, v_low)
    result = np.where(np.isfinite(plain) & np.isfinite(exact), exact, plain)
    return result if result.ndim else result[()]


def dot(a: np.ndarray, b: np.ndarray, c: np.ndarray, kind: str) -> np.ndarray:
    """Four products of bytes to a lane, or two of 16-bit numbers, added up."""
    if kind == "pairs":
        both = np.atleast_1d(a).view(np.int16).astype(np.int32) * np.atleast_1d(b).view(np.int16)
        return c + both.reshape(-1, 2).sum(1, dtype=np.int32).reshape(np.shape(c))
    left = np.atleast_1d(a).view(np.int8 if kind == "signed" else np.uint8).astype(np.int32)
    right = np.atleast_1d(b).view(np.int8).astype(np.int32)
    if kind == "seven bits" and left.max() > 127:
        raise ValueError(f"bytes of at most 127 were promised, one is {left.max()}")
    return c + (left * right).reshape(-1, 4).sum(1, dtype=np.int32).reshape(np.shape(c))
