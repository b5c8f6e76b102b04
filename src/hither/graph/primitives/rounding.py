"""Rounding floats to bytes, in one multiply-add: what products of bytes multiply (passes/bytes.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import dtypes as dt
from ..core import Abstract
from ..primitive import Elementwise, primitive
from .rules import require_same

ROUNDING = 1.5 * 2**23  # added to a float below 2^22, it leaves the nearest whole number in the lowest bits


def _abstract(
    x: Abstract, factor: Abstract, shift: int, bits: int, signed: bool, low: int | None, high: int | None
) -> Abstract:
    require_same("round_to_bytes", x, factor)
    if x.dtype is not dt.float32:
        raise TypeError(f"round_to_bytes rounds float32, got {x.dtype}")
    if not 1 <= bits <= 8:
        raise ValueError(f"round_to_bytes makes bytes of 1 to 8 bits, got {bits}")
    return Abstract(x.shape, dt.int8 if signed else dt.uint8)


def _evaluate(
    x: np.ndarray, factor: np.ndarray, shift: int, bits: int, signed: bool, low: int | None, high: int | None
) -> np.ndarray:
    moved = (x.astype(np.float64) * factor + (ROUNDING + shift)).astype(np.float32)
    if low is not None:
        moved = np.maximum(moved, np.float32(ROUNDING + low))
    if high is not None:
        moved = np.minimum(moved, np.float32(ROUNDING + high))
    return (moved.view(np.int32) & ((1 << bits) - 1)).astype(np.int8 if signed else np.uint8)


def _emit(k: Any, x: Any, factor: Any, shift: int, bits: int, signed: bool, low: int | None, high: int | None) -> Any:
    moved = k.fma(x, factor, k.const(ROUNDING + shift, dt.float32))
    if low is not None:
        moved = k.max(moved, ROUNDING + low)
    if high is not None:
        moved = k.min(moved, ROUNDING + high)
    return k.convert(k.bitcast(moved, dt.int32) & ((1 << bits) - 1), dt.int8 if signed else dt.uint8)


# The lowest `bits` of the whole number nearest to x · factor + shift, no less than `low` and no more than `high` where they are
# given; without them such numbers are taken to lie between -2^22 and 2^22. A NaN becomes any of the bytes
# within the limits: bytes cannot say that there was one (`hither.compile` tells users so).
primitive("round_to_bytes", abstract=_abstract, evaluate=_evaluate, lowering=Elementwise(_emit))

__all__ = ["ROUNDING"]
