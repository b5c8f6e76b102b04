"""Whole numbers of few bits, several to an element, with a scale (and what stands for 0) for each block of neighbours: how
weights are kept. The numbers are called codes, as in the literature on quantisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import dtypes as dt
from ...dtypes import DType
from ..batching import spread
from ..core import Abstract
from ..primitive import Indexed, primitive
from .rules import apply, full

WORDS = {2: dt.uint8, 4: dt.uint8, 8: dt.uint8, 16: dt.uint16}  # bits of a code: the elements that codes lie in


def codes_in(bits: int) -> int:
    """Codes in an element."""
    return WORDS[bits].bits // bits


def _wide(dtype: DType) -> DType:
    """What numbers of this dtype are computed in."""
    return dt.float64 if dtype is dt.float64 else dt.float32


def _dequantize_abstract(
    packed: Abstract, scales: Abstract, *zeros: Abstract, bits: int, block: int, size: int, axis: int, dtype: DType
) -> Abstract:
    if packed.dtype is not WORDS.get(bits) or not scales.dtype.is_float or not dtype.is_float or len(zeros) > 1:
        raise TypeError(
            f"dequantize takes codes of {', '.join(f'{n} bits in {word}' for n, word in WORDS.items())}, float scales and "
            f"perhaps zero points, and gives floats; got {bits} bits in "
            f"{packed}, {', '.join(map(str, (scales, *zeros)))} → {dtype}"
        )
    parameters = (scales, *zeros)
    blocks = -(-size // block) if block > 0 else -1
    fits = 0 <= axis < packed.rank and packed.shape[-1:] == (-(-size // codes_in(bits)),)
    for p in parameters:
        outer = zip(p.shape[:-1], packed.shape[:-1], strict=False)
        fits = fits and p.rank == packed.rank and p.shape[-1] == blocks and all(n in (1, whole) for n, whole in outer)
    if not fits or len({p.shape for p in parameters}) > 1:
        raise ValueError(
            f"dequantize: {size} codes of {bits} bits along the last axis in blocks of {block} do not lie in {packed} with "
            f"parameters {', '.join(map(str, parameters))}, axis {axis}"
        )
    shape = [*packed.shape[:-1]]
    shape.insert(axis, size)
    return Abstract(tuple(shape), dtype)


def _dequantize(
    packed: np.ndarray, scales: np.ndarray, *zeros: np.ndarray, bits: int, block: int, size: int, axis: int, dtype: DType
) -> np.ndarray:
    parts = [packed >> shift & (1 << bits) - 1 for shift in range(0, WORDS[bits].bits, bits)]
    numbers = np.stack(parts, axis=-1).reshape(*packed.shape[:-1], -1)[..., :size].astype(_wide(dtype).numpy)

    def each(parameters: np.ndarray) -> np.ndarray:
        return np.repeat(parameters.astype(numbers.dtype), block, axis=-1)[..., :size]

    numbers -= each(zeros[0]) if zeros else 1 << bits - 1
    return np.moveaxis(numbers * each(scales), -1, axis).astype(dtype.numpy)


def _dequantize_batch(samples: int, flags: tuple[bool, ...], /, *operands: Any, axis: int, **params: Any) -> Any:
    batched = (spread(v, flag, samples) for v, flag in zip(operands, flags, strict=True))
    return apply("dequantize", *batched, axis=axis + 1, **params)


def _dequantize_vjp(
    cotangents: Any, operands: Any, results: Any, bits: int, block: int, size: int, axis: int, dtype: DType
) -> tuple[Any, ...]:
    """Scales are factors and zero points are subtracted; codes, and zero points that are integers, are no numbers to move."""
    (g,), (packed, scales, *zeros) = cotangents, operands
    last = len(packed.shape) - 1
    order = tuple(a for a in range(last + 1) if a != axis)
    wide = _wide(dtype)
    g = apply("convert", apply("transpose", g, permutation=(*order, axis)), dtype=wide)
    each: dict[str, Any] = {"bits": bits, "block": block, "size": size, "axis": last, "dtype": wide}

    def of(parameters: Any, slopes: Any) -> Any:
        """Slopes added up over what a parameter serves."""
        outer, blocks = tuple(slopes.shape[:-1]), parameters.shape[-1]
        whole = apply("pad", slopes, low=(0,) * (last + 1), high=(*(0,) * last, blocks * block - size), value=0)
        served = tuple(a for a, n in enumerate(outer) if parameters.shape[a] < n)
        summed = apply("reduce_sum", apply("reshape", whole, shape=(*outer, blocks, block)), axes=(*served, last + 1))
        return apply("convert", apply("reshape", summed, shape=tuple(parameters.shape)), dtype=parameters.dtype)

    numbers = apply("dequantize", packed, full(1, g, shape=tuple(scales.shape)), *zeros, **each)
    found = [None, of(scales, apply("mul", g, numbers))]
    if zeros and zeros[0].dtype.is_float:
        less = apply("mul", apply("convert", of(zeros[0], g), dtype=wide), apply("convert", scales, dtype=wide))
        found.append(apply("convert", apply("neg", less), dtype=zeros[0].dtype))
    return (*found, *[None] * (len(operands) - len(found)))


def _emit_dequantize(
    k: Any, index: Any, read: Any, operands: Any, result: Any, bits: int, block: int, size: int, axis: int, dtype: DType
) -> Any:
    outer, at, several = [*index[:axis], *index[axis + 1 :]], index[axis], codes_in(bits)
    word = k.convert(read(0, (*outer, at // several)), dt.int32)
    if several > 1:
        shift = k.index_value(at % several, dt.int32) * bits
        word = (word >> shift) & (1 << bits) - 1
    place = (*(i if n > 1 else 0 for i, n in zip(outer, operands[1].shape, strict=False)), at // block)
    wide = _wide(dtype)
    zero = k.convert(read(2, place), wide) if len(operands) > 2 else float(1 << bits - 1)
    return (k.convert(word, wide) - zero) * k.convert(read(1, place), wide)


# x[…, i] = scales[…, i // block] · (code i of packed[…] - zeros[…, i // block]), the lowest bits of an element first; without
# zeros, the middle of the codes' range is 0. Scales and zeros may have extent 1 where packed has more. The `size` numbers along
# the last axis become axis `axis` of the result.
primitive(
    "dequantize",
    abstract=_dequantize_abstract,
    evaluate=_dequantize,
    vjp=_dequantize_vjp,
    batch=_dequantize_batch,
    lowering=Indexed(_emit_dequantize),
)


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes 0 … 2^bits - 1 as elements of WORDS[bits], neighbours along the last axis together, filled up with 0."""
    several, word = codes_in(bits), WORDS[bits].numpy
    missing = -codes.shape[-1] % several
    filled = np.pad(codes.astype(word), [*[(0, 0)] * (codes.ndim - 1), (0, missing)])
    packed = np.zeros((*filled.shape[:-1], filled.shape[-1] // several), word)
    for i in range(several):
        packed |= filled[..., i::several] << bits * i
    return packed


__all__ = ["WORDS", "codes_in", "pack_codes"]
