"""Random numbers from further distributions, made from the uniform and normal ones of hither.ops.random.

Where the textbook method rejects and draws again, a fixed number of candidates is drawn at once and the first accepted one
taken: no loop depends on values, so that every target runs it and gradients of the shape parameters' callers stay simple. How
rarely no candidate is accepted is said beside each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import dtypes as dt
from .. import elementwise as el
from .. import reduce as rd
from ..operands import Like, asarray, common_shape, converted, spread
from ..shape import expand_dims, moveaxis
from . import generator as random

_GAMMA_CANDIDATES = 8  # each is accepted with probability 0.95 or more: none of them once in 10^10
_POISSON_CANDIDATES = 12  # each is accepted with probability 0.85 or more: none of them once in 10^10
_FEW = 10.0  # up to this mean Poisson numbers are counted off, above it rejected
_MOST_OF_FEW = 48  # more than that once in 10^16


def _parameters(shape: Sequence[int] | None, *values: Like) -> tuple[list[Any], tuple[int, ...]]:
    """Parameters as float32 arrays of the result's shape, which is theirs unless one is given."""
    arrays = [converted(asarray(v), dt.float32) for v in values]
    wanted = common_shape(*[a.shape for a in arrays]) if shape is None else tuple(shape)
    return [spread(a, wanted) for a in arrays], wanted


def _open_unit(keys: Like, shape: Sequence[int]) -> Any:
    """Uniform in 0 … 1 without both ends."""
    return el.add(random.uniform(keys, shape), 2.0**-25)


def exponential(keys: Like, /, shape: Sequence[int] = (), *, scale: Like = 1.0, dtype: Any = dt.float32) -> Any:
    """Exponentially distributed with mean `scale`: -log(1 - uniform).

    Example:
        >>> import hither as ht
        >>> ht.random.exponential(ht.random.key(0), (3,)).shape
        (3,)
    """
    drawn = el.negative(el.log1p(el.negative(random.uniform(keys, shape))))
    return converted(el.multiply(drawn, scale), dt.dtype(dtype))


def laplace(
    keys: Like, /, shape: Sequence[int] = (), *, mean: Like = 0.0, scale: Like = 1.0, dtype: Any = dt.float32
) -> Any:  # fmt: skip
    """Laplace's distribution, exp(-|x - mean| / scale) / (2 · scale): an exponential with a random sign."""
    magnitudes, signs = random.uniform(keys, (2, *shape))
    size = el.negative(el.log1p(el.negative(magnitudes)))
    drawn = el.where(el.less(signs, 0.5), el.negative(size), size)
    return converted(el.add(el.multiply(drawn, scale), mean), dt.dtype(dtype))


def _first_accepted(candidates: Any, accepted: Any) -> Any:
    """Along the first axis, the first candidate that is accepted; the last one where none is."""
    made = candidates[-1]
    for i in reversed(range(candidates.shape[0] - 1)):
        made = el.where(accepted[i], candidates[i], made)
    return made


def _log_gamma(keys: Any, shape_parameter: Any, shape: tuple[int, ...]) -> Any:
    """The logarithm of Gamma(shape_parameter, 1) numbers."""
    first, second, third = random.split(keys, 3)
    small = el.less(shape_parameter, 1.0)
    a = el.where(small, el.add(shape_parameter, 1.0), shape_parameter)
    d = el.subtract(a, 1.0 / 3.0)
    c = el.divide(1.0 / 3.0, el.sqrt(d))
    x = random.normal(first, (_GAMMA_CANDIDATES, *shape))
    u = _open_unit(second, (_GAMMA_CANDIDATES, *shape))
    root = el.add(el.multiply(x, c), 1.0)
    positive = el.greater(root, 0.0)
    log_v = el.multiply(el.log(el.where(positive, root, 1.0)), 3.0)
    bound = el.add(el.multiply(el.square(x), 0.5), el.multiply(d, el.add(el.subtract(1.0, el.exp(log_v)), log_v)))
    made = _first_accepted(log_v, el.logical_and(positive, el.less(el.log(u), bound)))
    boost = el.divide(el.log(_open_unit(third, shape)), shape_parameter)  # Γ(a) = Γ(a + 1) · u^(1/a)
    return el.add(el.add(el.log(d), made), el.where(small, boost, 0.0))


def gamma(
    keys: Like, alpha: Like, /, shape: Sequence[int] | None = None, *, scale: Like = 1.0, dtype: Any = dt.float32
) -> Any:  # fmt: skip
    """The gamma distribution with shape parameter alpha > 0 and mean alpha · scale, of alpha's shape unless one is given.

    Marsaglia and Tsang: A Simple Method for Generating Gamma Variables (2000).

    Example:
        >>> import hither as ht
        >>> ht.random.gamma(ht.random.key(0), 2.5, (4,)).shape
        (4,)
    """
    (a,), wanted = _parameters(shape, alpha)
    return converted(el.multiply(el.exp(_log_gamma(keys, a, wanted)), scale), dt.dtype(dtype))


def beta(
    keys: Like, alpha: Like, other: Like, /, shape: Sequence[int] | None = None, *, dtype: Any = dt.float32
) -> Any:  # fmt: skip
    """The beta distribution on 0 … 1 with parameters alpha > 0 and `other` > 0: x / (x + y) of two gamma numbers."""
    (a, b), wanted = _parameters(shape, alpha, other)
    first, second = random.split(keys)
    odds = el.subtract(_log_gamma(first, a, wanted), _log_gamma(second, b, wanted))
    return converted(el.sigmoid(odds), dt.dtype(dtype))


def _log_factorial(k: Any) -> Any:
    """log k! of floats by Stirling's series, with eight factors taken off where k is small."""
    z = el.add(k, 8.0)
    inverse = el.divide(1.0, z)
    series = el.multiply(inverse, el.subtract(1.0 / 12.0, el.multiply(el.square(inverse), 1.0 / 360.0)))
    stirling = el.add(
        el.subtract(el.multiply(el.add(z, -0.5), el.log(z)), z), el.add(series, 0.5 * math.log(2 * math.pi))
    )  # of (z - 1)!
    factors: Any = 1.0
    for i in range(1, 8):
        factors = el.multiply(factors, el.add(k, float(i)))
    return el.subtract(stirling, el.log(factors))


def poisson(keys: Like, rate: Like, /, shape: Sequence[int] | None = None, *, dtype: Any = dt.int32) -> Any:
    """How many events happen where `rate` are expected: Poisson's distribution, of rate's shape unless one is given.

    Rates of up to 10 by inversion, others by transformed rejection with squeeze: Hörmann, The transformed rejection method for
    generating Poisson random variables (1993). Rates above 10^5 are as good as float32's digits.

    Example:
        >>> import hither as ht
        >>> ht.random.poisson(ht.random.key(0), 3.0, (4,)).dtype
        hither.int32
    """
    (lam,), wanted = _parameters(shape, rate)
    first, second, third = random.split(keys, 3)
    few = _few(first, el.minimum(lam, _FEW), wanted)
    many = _many(second, third, el.maximum(lam, _FEW), wanted)
    return converted(el.where(el.less_equal(lam, _FEW), few, many), dt.dtype(dtype))


def _few(keys: Any, lam: Any, shape: tuple[int, ...]) -> Any:
    """By inversion: how many of the distribution function's values lie below a uniform number."""
    k = np.arange(_MOST_OF_FEW, dtype=np.float32)
    log_factorials = np.array([math.lgamma(n + 1) for n in k], np.float32)
    positive = expand_dims(el.maximum(lam, 1e-30), axis=-1)
    chance = el.exp(el.subtract(el.subtract(el.multiply(el.log(positive), k), positive), log_factorials))
    below = el.greater(expand_dims(random.uniform(keys, shape), axis=-1), rd.cumulative_sum(chance, axis=-1))
    return converted(rd.sum(below, axis=-1), dt.float32)


def _many(first: Any, second: Any, lam: Any, shape: tuple[int, ...]) -> Any:
    b = el.add(el.multiply(el.sqrt(lam), 2.53), 0.931)
    a = el.add(el.multiply(b, 0.02483), -0.059)
    inverse_alpha = el.add(el.divide(1.1328, el.add(b, -3.4)), 1.1239)
    squeeze = el.subtract(0.9277, el.divide(3.6224, el.add(b, -2.0)))
    draws = (_POISSON_CANDIDATES, *shape)
    u = el.subtract(random.uniform(first, draws), 0.5)
    v = _open_unit(second, draws)
    us = el.maximum(el.subtract(0.5, el.abs(u)), 1e-7)
    k = el.floor(el.add(el.add(el.multiply(el.add(el.divide(el.multiply(a, 2.0), us), b), u), lam), 0.43))
    quick = el.logical_and(el.greater_equal(us, 0.07), el.less_equal(v, squeeze))
    possible = el.logical_and(el.greater_equal(k, 0.0), el.logical_or(el.greater_equal(us, 0.013), el.less_equal(v, us)))
    inside = el.maximum(k, 0.0)
    density = el.subtract(el.subtract(el.multiply(inside, el.log(lam)), lam), _log_factorial(inside))
    hat = el.log(el.divide(el.multiply(v, inverse_alpha), el.add(el.divide(a, el.square(us)), b)))
    accepted = el.logical_or(quick, el.logical_and(possible, el.less_equal(hat, density)))
    return _first_accepted(inside, accepted)


def multinomial(keys: Like, logits: Like, count: int, /) -> Any:
    """`count` independent int32 classes for each row of unnormalised log probabilities.

    Args:
        logits: [..., classes].

    Returns:
        int32 [..., count].

    Example:
        >>> import hither as ht
        >>> ht.random.multinomial(ht.random.key(0), ht.zeros((2, 5)), 3).shape
        (2, 3)
    """
    rows = converted(asarray(logits), dt.float32)
    drawn = el.add(rows, random.gumbel(keys, (int(count), *rows.shape)))
    return moveaxis(rd.argmax(drawn, axis=-1, dtype=dt.int32), 0, -1)


__all__ = [
    "beta", "exponential", "gamma", "laplace", "multinomial", "poisson",
]  # fmt: skip
