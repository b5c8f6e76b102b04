"""Rows of the op table: gradients that have kernels of their own, of convolutions' filters and of pools of extremes.

What a target makes of other gradients follows from the operations they are made of; the evaluator's are checked against finite
differences (tests/test_primitives.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import hither as ht

from .op_case import FLOAT, FLOATS, Operand, Table
from .references import pairs_of, tuple_of

A = Operand
TABLE = Table()
op = TABLE.op


def filter_gradient(
    x: np.ndarray, w: np.ndarray, g: np.ndarray, strides: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> np.ndarray:
    """Every output element adds its multiple of the window that it saw."""
    count = x.ndim - 2
    s, d = tuple_of(strides, count), tuple_of(dilation, count)
    padded = np.pad(x, [(0, 0), (0, 0), *pairs_of(padding, count)])
    per_in, per_out = w.shape[1], w.shape[0] // groups
    made = np.zeros(w.shape)
    for n, o, *at in np.ndindex(*g.shape):
        window = tuple(slice(i * t, i * t + (k - 1) * by + 1, by) for i, t, k, by in zip(at, s, w.shape[2:], d))
        first = o // per_out * per_in
        made[o] += g[(n, o, *at)] * padded[(n, slice(first, first + per_in), *window)]
    return made


def max_gradient(
    x: np.ndarray, g: np.ndarray, window: Any, strides: Any = None, padding: Any = 0, dilation: Any = 1
) -> np.ndarray:  # fmt: skip
    """Every window gives its cotangent to its first maximum, by position."""
    count = x.ndim - 2
    k, d, pairs = tuple_of(window, count), tuple_of(dilation, count), pairs_of(padding, count)
    s = tuple_of(k if strides is None else strides, count)
    made = np.zeros(x.shape)
    for n, c, *at in np.ndindex(*g.shape):
        best, where = -np.inf, None
        for tap in np.ndindex(*k):
            place = tuple(i * step + t * by - low for i, step, t, by, (low, _) in zip(at, s, tap, d, pairs))
            if all(0 <= p < extent for p, extent in zip(place, x.shape[2:])) and x[(n, c, *place)] > best:
                best, where = x[(n, c, *place)], place
        assert where is not None
        made[(n, c, *where)] += g[(n, c, *at)]
    return made


def max_pool(window: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda x: ht.max_pool(x, window, **options)


for _label, _x, _w, _options in [
    ("pointwise", (2, 6, 5, 4), (7, 6, 1, 1), {}),
    ("3x3", (2, 3, 8, 7), (20, 3, 3, 3), {"padding": 1}),
    ("chunks", (4, 2, 24, 24), (3, 2, 3, 3), {"padding": 1}),  # more pixels than weights: a sum of several
    ("lines", (1, 1, 30, 20), (4, 1, 3, 3), {}),  # and of one picture, by lines
    ("wide", (1, 24, 6, 6), (9, 24, 2, 2), {}),
    ("strided", (1, 3, 10, 8), (4, 3, 3, 3), {"strides": 2, "padding": ((1, 0), (0, 1))}),
    ("dilated", (1, 2, 9, 9), (3, 2, 3, 3), {"dilation": (2, 3), "padding": 2}),
    ("grouped", (2, 6, 5, 5), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    ("depthwise", (2, 20, 6, 6), (20, 1, 3, 3), {"groups": 20, "padding": 1}),
    ("depthwise_large", (1, 3, 8, 8), (3, 1, 5, 4), {"groups": 3, "strides": 2}),
    ("1d", (2, 3, 17), (4, 3, 5), {"strides": 2, "padding": 2}),
    ("3d", (1, 2, 4, 5, 6), (3, 2, 2, 2, 3), {"padding": 1}),
]:  # fmt: skip
    _g = ht.conv(np.zeros(_x, np.float32), np.zeros(_w, np.float32), **_options).shape
    op(
        f"filter_gradient_{_label}", lambda x, w, g, o=_options: ht.vjp(lambda v: ht.conv(x, v, **o), w)[1](g)[0],
        lambda x, w, g, o=_options: filter_gradient(x, w, g, **o), A(_x), A(_w), A(_g),
        dtypes=FLOATS if math.prod(_x) < 600 else FLOAT, gradient=math.prod(_x) < 400, tolerance="sums",
    )  # fmt: skip
for _label, _x, _g, _options in [
    ("2", (2, 3, 6, 8), (2, 3, 3, 4), {"window": 2}),
    ("channels", (1, 21, 4, 6), (1, 21, 2, 3), {"window": 2}),
    ("left_over", (1, 2, 9, 6), (1, 2, 3, 2), {"window": (3, 2), "strides": 3}),
    ("padded", (1, 2, 7, 5), (1, 2, 4, 3), {"window": 2, "padding": ((1, 0), (0, 1))}),
    ("one_window", (1, 2, 1, 3), (1, 2, 1, 2), {"window": 2, "padding": ((1, 0), (1, 0))}),  # a tap that is never inside
    ("overlapping", (2, 3, 7, 7), (2, 3, 4, 4), {"window": 3, "strides": 2, "padding": 1}),
    ("dilated", (1, 2, 9, 5), (1, 2, 4, 5), {"window": (3, 2), "strides": (2, 1), "padding": (1, (0, 1)), "dilation": (2, 1)}),
    ("1d", (2, 3, 11), (2, 3, 3), {"window": 4, "strides": 3}),
    ("large", (1, 2, 9, 8), (1, 2, 9, 4), {"window": (6, 5), "strides": (1, 2), "padding": ((3, 2), (2, 2))}),
]:  # fmt: skip
    op(
        f"max_pool_gradient_{_label}", lambda x, g, o=_options: ht.vjp(max_pool(**o), x)[1](g)[0],
        lambda x, g, o=_options: max_gradient(x, g, **o), A(_x), A(_g), gradient=True, tolerance="sums",
    )  # fmt: skip
op(
    "max_pool_gradient_ties", lambda x, g: ht.vjp(lambda v: ht.max_pool(v, 2), x)[1](g)[0],
    lambda x, g: max_gradient(x, g, 2), A((1, 1, 4, 4), values=[[[[1, 1, 2, 0], [1, 0, 2, 2], [0, 0, 3, 3], [0, 0, 3, 4]]]]),
    A((1, 1, 2, 2)),
)  # fmt: skip
op(
    "min_pool_gradient", lambda x, g: ht.vjp(lambda v: -ht.max_pool(-v, 2), x)[1](g)[0],
    lambda x, g: max_gradient(-x, g, 2), A((1, 3, 4, 6)), A((1, 3, 2, 3)),
)  # fmt: skip
