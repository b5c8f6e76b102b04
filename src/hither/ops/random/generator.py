"""Random numbers from explicit keys: Threefry-2x32 with 20 rounds, a counter-based generator.

Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011). A key is uint32[2]; the same key gives the
same numbers on every target (bits, integers and uniforms bit for bit), so that draws never depend on order or threads. Use
`split` to get fresh keys; never draw twice from one key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import dtypes as dt
from ...graph.primitives import counter
from .. import elementwise as el
from .. import reduce as rd
from ..bits import bitwise_and, bitwise_left_shift, bitwise_or, bitwise_right_shift, bitwise_xor
from ..operands import Like, apply, asarray, converted, is_traced, one_axis
from ..search import argsort
from ..shape import concat, reshape, slice_axis

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def key(seed: Like, /) -> Any:
    """The key of a seed: an integer below 2^64 (below 2^31 where it is traced).

    Example:
        >>> import hither as ht
        >>> ht.random.key(7)
        Array([0, 7], dtype=uint32)
    """
    if isinstance(seed, int | np.integer):
        value = int(seed) & (2**64 - 1)
        return asarray(np.array([value >> 32, value & 0xFFFFFFFF], np.uint32))
    low = reshape(asarray(seed, dtype=dt.uint32), (1,))
    return concat([el.multiply(low, 0), low])


def _rotated(x: Any, by: int) -> Any:
    return bitwise_or(bitwise_left_shift(x, by), bitwise_right_shift(x, 32 - by))


def threefry(keys: Like, first: Like, second: Like, /) -> tuple[Any, Any]:
    """The block cipher: two uint32 words out for two in, elementwise, under a key of two words."""
    k = asarray(keys)
    k0, k1 = k[0], k[1]
    schedule = (k0, k1, bitwise_xor(bitwise_xor(k0, k1), _PARITY))
    x0, x1 = el.add(asarray(first), k0), el.add(asarray(second), k1)
    for group in range(5):
        for by in _ROTATIONS[group % 2]:
            x0 = el.add(x0, x1)
            x1 = bitwise_xor(_rotated(x1, by), x0)
        x0 = el.add(x0, schedule[(group + 1) % 3])
        x1 = el.add(x1, el.add(schedule[(group + 2) % 3], group + 1))
    return x0, x1


def _words(keys: Like, first: Like, position: Any, second: Any) -> Any:
    """A word of each block, the second one where `second` says so. Each word computes its block for itself: what is compiled
    has one result then, and no round of it lies in memory; two results would be stored after every round, for one another."""
    x0, x1 = threefry(keys, first, position)
    return el.where(second, x1, x0)


def bits(keys: Like, /, shape: Sequence[int] = ()) -> Any:
    """Random uint32. Word i is the first half of block i's output, and word i + ⌈n/2⌉ the second."""
    k = asarray(keys)
    if k.dtype is not dt.uint32 or tuple(k.shape) != (2,):
        raise TypeError(
            f"random functions take a key first, uint32 of shape (2,) from random.key, or in a layer's call from "
            f"hither.nn.next_key(); got {k.dtype} of shape {k.shape}"
        )
    count = math.prod(shape)
    if count == 0:
        return asarray(np.zeros(tuple(shape), np.uint32))
    half = -(-count // 2)
    if is_traced(k):
        i = counter((count,), 0, dt.uint32, k)
        second = el.greater_equal(i, half)
        words = _words(k, el.multiply(i, 0), el.where(second, el.subtract(i, half), i), second)
    else:  # operation by operation, half as many blocks are half the work
        position = counter((half,), 0, dt.uint32, k)
        words = slice_axis(concat([*threefry(k, el.multiply(position, 0), position)]), 0, 0, count)
    return reshape(words, tuple(shape))


def split(keys: Like, count: int = 2, /) -> Any:
    """`count` new keys, independent of each other and of the old one: uint32[count, 2]."""
    k = asarray(keys)
    i = counter((2 * count,), 0, dt.uint32, k)
    first = el.add(el.multiply(i, 0), 1)  # apart from the blocks that bits draws
    words = _words(k, first, bitwise_right_shift(i, 1), el.equal(bitwise_and(i, 1), 1))
    return reshape(words, (count, 2))


def fold_in(keys: Like, data: Like, /) -> Any:
    """A new key from a key and a number, such as a step or layer index."""
    k, number = asarray(keys), reshape(asarray(data, dtype=dt.uint32), (1,))
    i = counter((2,), 0, dt.uint32, k if is_traced(k) else number)
    nothing = el.multiply(i, 0)
    return _words(k, el.add(nothing, 2), el.add(nothing, number), el.equal(i, 1))


def uniform(keys: Like, /, shape: Sequence[int] = (), *, low: Like = 0.0, high: Like = 1.0, dtype: Any = dt.float32) -> Any:
    """Evenly distributed in low … high (without high, up to rounding). 24 random bits, 53 for float64."""
    wanted = dt.dtype(dtype)
    if wanted is dt.float64:
        words = bits(keys, (2, *shape))
        top = converted(bitwise_right_shift(words[0], 5), wanted)
        rest = converted(bitwise_right_shift(words[1], 6), wanted)
        unit = el.multiply(el.add(el.multiply(top, 2.0**26), rest), 2.0**-53)
    else:
        unit = _unit(bits(keys, shape))
    scaled = unit if low == 0.0 and high == 1.0 else el.add(el.multiply(unit, el.subtract(high, low)), low)
    return converted(scaled, wanted)


def _unit(words: Any) -> Any:
    """The upper 24 bits as float32 in 0 … 1."""
    return el.multiply(converted(bitwise_right_shift(words, 8), dt.float32), 2.0**-24)


def _pairs(keys: Like, shape: Sequence[int]) -> tuple[Any, Any]:
    """Two uniform float32 numbers for each element, which are both words of one block: uniform(keys, (2, *shape)). Traced, as
    two arrays from the beginning: what a batch of fewer samples draws can then be had from a program for more."""
    k = asarray(keys)
    if not is_traced(k) or not math.prod(shape):
        both = uniform(k, (2, *shape))
        return both[0], both[1]
    position = counter((math.prod(shape),), 0, dt.uint32, k)
    first, second = threefry(k, el.multiply(position, 0), position)
    return _unit(reshape(first, tuple(shape))), _unit(reshape(second, tuple(shape)))


def normal(keys: Like, /, shape: Sequence[int] = (), *, mean: Like = 0.0, std: Like = 1.0, dtype: Any = dt.float32) -> Any:
    """Normally distributed, by Box and Muller's transform (1958)."""
    wanted = dt.dtype(dtype)
    both = uniform(keys, (2, *shape), dtype=wanted) if wanted is dt.float64 else _pairs(keys, shape)
    radius = el.sqrt(el.multiply(el.log1p(el.negative(both[0])), -2.0))
    made = el.multiply(radius, el.cos(el.multiply(both[1], 2 * math.pi)))
    return converted(el.add(el.multiply(made, std), mean), wanted)


def truncated_normal(
    keys: Like, /, shape: Sequence[int] = (), *, mean: Like = 0.0, std: Like = 1.0, dtype: Any = dt.float32
) -> Any:
    """Normal within two standard deviations of the mean: the best of 8 draws, which misses once in 10^11, then clipped."""
    draws = normal(keys, (8, *shape), dtype=dt.float32)
    made = draws[7]
    for i in reversed(range(7)):
        made = el.where(el.less_equal(el.abs(draws[i]), 2.0), draws[i], made)
    return converted(el.add(el.multiply(el.clip(made, -2.0, 2.0), std), mean), dt.dtype(dtype))


def randint(keys: Like, low: int, high: int, /, shape: Sequence[int] = (), *, dtype: Any = dt.int32) -> Any:
    """Integers in low … high - 1. The bias is below (high - low) / 2^32."""
    span = int(high) - int(low)
    if not 0 < span <= 2**32:
        raise ValueError(f"randint takes low < high, at most 2^32 apart, got {low} and {high}")
    drawn = bits(keys, shape)
    drawn = el.remainder(drawn, span) if span < 2**32 else drawn
    return el.add(converted(drawn, dt.dtype(dtype)), int(low))


def bernoulli(keys: Like, p: Like = 0.5, /, shape: Sequence[int] | None = None) -> Any:
    """True with probability p, of p's shape unless one is given."""
    p = asarray(p)
    return el.less(uniform(keys, tuple(p.shape) if shape is None else shape), converted(p, dt.float32))


def dropout(keys: Like, x: Like, rate: float, /, *, noise_shape: Sequence[int] | None = None) -> Any:
    """x with elements set to 0 at this rate and the others scaled by 1 / (1 - rate), so that the mean stays.

    Args:
        rate: 0 … 1.
        noise_shape: of what is drawn, where it is not x's: axes of extent 1 are dropped as a whole.

    Source: Srivastava et al.: Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.

    Example:
        >>> import hither as ht
        >>> x = ht.random.dropout(ht.random.key(0), ht.ones(1000), 0.5)
        >>> sorted(set(x.tolist()))
        [0.0, 2.0]
    """
    x = asarray(x)
    if not 0 <= rate <= 1:
        raise ValueError(f"dropout takes a rate from 0 to 1, got {rate}")
    if rate in (0, 1):
        return x if rate == 0 else el.multiply(x, 0)
    kept = bernoulli(keys, 1 - rate, tuple(x.shape) if noise_shape is None else tuple(noise_shape))
    return el.where(kept, el.divide(x, 1 - rate), np.zeros((), x.dtype.numpy))


def gumbel(keys: Like, /, shape: Sequence[int] = ()) -> Any:
    """Standard Gumbel: -log(-log(uniform)), float32."""
    unit = el.multiply(el.add(converted(bitwise_right_shift(bits(keys, shape), 8), dt.float32), 0.5), 2.0**-24)
    return el.negative(el.log(el.negative(el.log(unit))))


def categorical(keys: Like, logits: Like, /, *, axis: int = -1) -> Any:
    """An int32 class per row of unnormalised log probabilities, by the Gumbel-max trick."""
    logits = asarray(logits)
    return rd.argmax(el.add(converted(logits, dt.float32), gumbel(keys, logits.shape)), axis=axis, dtype=dt.int32)


def permutation(keys: Like, count: int, /) -> Any:
    """0 … count-1 in random order, int64: where random words would have to go to be sorted."""
    return argsort(converted(bitwise_right_shift(bits(keys, (count,)), 1), dt.int32))


def shuffle(keys: Like, x: Like, /, *, axis: int = 0) -> Any:
    """x with the slices along an axis in random order."""
    x = asarray(x)
    axis = one_axis(axis, x.ndim)
    return apply("take", x, permutation(keys, x.shape[axis]), axis=axis)


__all__ = [
    "bernoulli", "bits", "categorical", "fold_in", "gumbel", "key", "normal", "permutation", "randint", "shuffle",
    "split", "threefry", "truncated_normal", "uniform",
]  # fmt: skip
