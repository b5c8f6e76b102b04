"""Numbers of four bits, two to a byte, with a scale for each group of neighbours along the last axis: how weights are kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import dtypes as dt
from ..batching import spread
from ..core import Abstract
from ..primitive import Indexed, primitive
from .rules import apply

ZERO = 8  # what stands for 0


def _unpack_abstract(pairs: Abstract, scales: Abstract) -> Abstract:
    fits = pairs.rank == scales.rank > 0 and pairs.shape[:-1] == scales.shape[:-1]
    if pairs.dtype is not dt.uint8 or not scales.dtype.is_float:
        raise TypeError(f"unpack_nibbles takes bytes of two numbers, and scales, got {pairs} and {scales}")
    if (
        not fits
        or (scales.shape[-1] == 0) != (pairs.shape[-1] == 0)
        or (scales.shape[-1] and 2 * pairs.shape[-1] % scales.shape[-1])
    ):
        raise ValueError(
            f"unpack_nibbles takes a scale for each group of numbers along the last axis, got {pairs} and {scales}"
        )
    return Abstract((*pairs.shape[:-1], 2 * pairs.shape[-1]), dt.float32)


def _unpack(pairs: np.ndarray, scales: np.ndarray) -> np.ndarray:
    numbers = np.stack([pairs & 15, pairs >> 4], axis=-1).astype(np.float32).reshape(*pairs.shape[:-1], -1) - ZERO
    if not scales.shape[-1]:
        return numbers
    return numbers * np.repeat(scales.astype(np.float32), numbers.shape[-1] // scales.shape[-1], axis=-1)


def _unpack_batch(size: int, flags: tuple[bool, ...], pairs: Any, scales: Any) -> Any:
    return apply("unpack_nibbles", *(spread(v, flag, size) for v, flag in zip((pairs, scales), flags, strict=True)))


def _emit_unpack(k: Any, index: Any, read: Any, operands: Any, result: Any) -> Any:
    *outer, at = index
    group = result.shape[-1] // operands[1].shape[-1]
    pair = k.convert(read(0, (*outer, at // 2)), dt.int32)
    upper = k.index_value(at % 2, dt.int32).ne(0)
    number = k.select(upper, pair >> 4, pair & 15) - ZERO
    return k.convert(number, dt.float32) * read(1, (*outer, at // group))


# x[…, 2i] is the lower half of pairs[…, i] and x[…, 2i + 1] the upper one, less 8, times the scale of its group.
primitive("unpack_nibbles", abstract=_unpack_abstract, evaluate=_unpack, batch=_unpack_batch, lowering=Indexed(_emit_unpack))


def pack_nibbles(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers of -8 to 7 as bytes, two neighbours of the last axis in each."""
    shifted = (numbers + ZERO).astype(np.uint8)
    return np.ascontiguousarray(shifted[..., ::2] | shifted[..., 1::2] << 4)


__all__ = ["ZERO", "pack_nibbles"]
