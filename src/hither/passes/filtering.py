"""Minimal filtering F(m, r): m outputs of an r-tap filter from m + r - 1 multiplications, as three small matrices.

By Toom and Cook: polynomials are multiplied by their values at points (the last "point" is infinity); transposed, the same
matrices filter: result = Aᵀ [(G filter) · (Bᵀ data)] (Lavin and Gray 2015, arXiv 1509.09308; Barabasz et al. 2018, arXiv
1803.10986, on points and errors). Matrices are made from the points, exactly; kernels apply them as short sequences of sums
and multiply-adds (kernels/templates/toom_cook.py), and passes ask what is exact.

Points are halves and quarters near one. With the customary 0, ±1, ±2 the sixth powers spread over more magnitudes and F(4, 3)
in two dimensions loses twice the digits: over 256 channels of normal values its error is 3.1e-6 of the result's standard
deviation (root mean square; largest 3.6e-5), with 0, ±3/4, ±3/2 it is 1.5e-6 (1.0e-5); a plain sum has 0.9e-6 (0.7e-5).

Of whole numbers, with the customary points and what they divide by left to the last matrix, the first two transforms give whole
numbers: exact, as are sums of their products.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

Matrix = tuple[tuple[Fraction, ...], ...]

_POINTS = {
    1: (),
    4: (Fraction(0), Fraction(1), Fraction(-1)),
    6: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)),
}  # by the number of multiplications; infinity comes last
_WHOLE_POINTS = {n: tuple(map(Fraction, (0, 1, -1, 2, -2)[: n - 1])) for n in (1, 4, 6)}


@dataclass(frozen=True)
class Filtering:
    """F(outputs, taps) along one axis: `data` is Bᵀ, `filter` is G, `result` is Aᵀ."""

    outputs: int
    taps: int
    data: Matrix
    filter: Matrix
    result: Matrix

    @property
    def points(self) -> int:
        return self.outputs + self.taps - 1


@functools.cache
def filtering(outputs: int, taps: int, whole: bool = False) -> Filtering:
    """The matrices of F(outputs, taps); `whole`: those of data and filter have whole numbers only.

    Raises:
        KeyError: if there are no points for outputs + taps - 1 multiplications.

    Example:
        f = filtering(4, 3)
        a, g, b = (np.array(m, float) for m in (f.result, f.filter, f.data))
        y = a @ ((g @ filter) * (b @ data))  # y[i] = Σ filter[j] · data[i + j]
    """
    points = (_WHOLE_POINTS if whole else _POINTS)[outputs + taps - 1]
    data, filter_, columns = [], [], []
    for p in points:
        others = [q for q in points if q != p]
        scale = math.prod((p - q for q in others), start=Fraction(1))
        data.append((*_from_roots(others), Fraction(0)))
        filter_.append(tuple(p**j / (1 if whole else scale) for j in range(taps)))
        columns.append([p**i / (scale if whole else 1) for i in range(outputs)])
    data.append(_from_roots(points))
    filter_.append(tuple(Fraction(j == taps - 1) for j in range(taps)))
    columns.append([Fraction(i == outputs - 1) for i in range(outputs)])
    return Filtering(outputs, taps, tuple(data), tuple(filter_), tuple(zip(*columns, strict=True)))


def _from_roots(roots: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Coefficients of Π (x - root), the constant one first."""
    made = [Fraction(1)]
    for root in roots:
        made = [low - root * high for low, high in zip([Fraction(0), *made], [*made, Fraction(0)], strict=True)]
    return tuple(made)


def exact_in_pairs(axes: Sequence[Filtering], channels: int, most: int) -> bool:
    """Whether bytes of 0 to `most`, and signed ones, are numbers of 16 bits when transformed, and sums of products over all
    channels such of 32."""
    for position in np.ndindex(*(a.points for a in axes)):
        above, below, weights = 1, 0, 128
        for axis, p in zip(axes, position, strict=True):
            positive, negative = (int(sum(max(sign * c, 0) for c in axis.data[p])) for sign in (1, -1))
            above, below = above * positive + below * negative, above * negative + below * positive
            weights *= int(sum(map(abs, axis.filter[p])))
        data = max(above, below) * most
        if max(data, weights) >= 1 << 15 or channels * data * weights >= 1 << 31:
            return False
    return True
