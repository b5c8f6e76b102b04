"""Sums by index: of segments, of counts, of pairs of classes; and whether a class is among the best.

Numbers of segments and classes are arguments, not what the largest index happens to be: shapes do not depend on values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.primitives.rules import lowest
from . import elementwise as el
from . import reduce as rd
from .creation import full, ones, zeros
from .indexing import scatter_nd, take_along_axis
from .operands import Like, asarray, converted
from .shape import expand_dims, reshape, stack


def _segmented(name: str, data: Like, ids: Like, count: int, initial: Any, combine: str) -> Any:
    x, segments = asarray(data), asarray(ids)
    axes = segments.ndim
    if tuple(x.shape[:axes]) != tuple(segments.shape) or count < 0:
        raise ValueError(f"{name}: ids {tuple(segments.shape)} do not fit data of shape {tuple(x.shape)}, or count {count}")
    rows = reshape(x, (math.prod(segments.shape), *x.shape[axes:]))
    flat = reshape(segments, (rows.shape[0], 1))
    inside = el.logical_and(el.greater_equal(flat, 0), el.less(flat, count))
    flat = el.where(inside, flat, count)  # one row more takes what is dropped
    start = full((count + 1, *rows.shape[1:]), initial, dtype=x.dtype)
    return scatter_nd(start, flat, rows, combine=combine)[:count]


def segment_sum(data: Like, segment_ids: Like, /, *, num_segments: int) -> Any:
    """The sum of the slices of `data` that have the same segment, for segments 0 … num_segments - 1.

    Args:
        data: [*n, ...].
        segment_ids: integers [*n], in any order; slices of others are dropped.

    Returns:
        [num_segments, ...]; 0 where a segment is empty.

    Raises:
        ValueError: where shapes do not fit.

    Example:
        >>> import hither as ht
        >>> ht.segment_sum(ht.asarray([1, 2, 3]), [0, 1, 0], num_segments=3)
        Array([4, 2, 0], dtype=int32)
    """
    return _segmented("segment_sum", data, segment_ids, num_segments, 0, "add")


def segment_max(data: Like, segment_ids: Like, /, *, num_segments: int) -> Any:
    """The largest of the slices of `data` that have the same segment, as `segment_sum`; the lowest number where it is empty.

    Example:
        >>> import hither as ht
        >>> ht.segment_max(ht.asarray([1.0, 2.0, 3.0]), [0, 1, 0], num_segments=3)
        Array([  3.,   2., -inf], dtype=float32)
    """
    x = asarray(data)
    return _segmented("segment_max", x, segment_ids, num_segments, lowest(x.dtype), "max")


def scatter(indices: Like, values: Like, /, shape: Sequence[int]) -> Any:
    """An array of this shape with values added at index tuples, and else zeros.

    Args:
        indices: integers [..., k]: tuples that index the first k axes.
        values: [..., *shape[k:]].

    Example:
        >>> import hither as ht
        >>> ht.scatter([[0], [2], [0]], ht.asarray([1, 5, 2]), (4,))
        Array([3, 0, 5, 0], dtype=int32)
    """
    values = asarray(values)
    return scatter_nd(zeros(tuple(shape), dtype=values.dtype), asarray(indices), values, combine="add")


def bincount(x: Like, /, weights: Like | None = None, *, length: int) -> Any:
    """How often each of 0 … length - 1 occurs, int32; other numbers are counted nowhere.

    Args:
        x: integers.
        weights: of x's shape: what each occurrence counts. The result has their dtype.

    Example:
        >>> import hither as ht
        >>> ht.bincount([0, 2, 2], length=4), ht.bincount([0, 2, 2], [0.5, 1.0, 1.5], length=3)
        (Array([1, 0, 2, 0], dtype=int32), Array([0.5, 0. , 2.5], dtype=float32))
    """
    x = reshape(asarray(x), (-1,))
    if weights is not None:
        return segment_sum(reshape(asarray(weights), (-1,)), x, num_segments=length)
    hits = el.equal(np.arange(length, dtype=np.int64)[:, None], converted(x, dt.int64))
    return rd.sum(hits, axis=1)


def confusion_matrix(labels: Like, predictions: Like, /, *, num_classes: int, weights: Like | None = None) -> Any:
    """How often each label (row) was predicted as each class (column).

    Args:
        labels, predictions: classes 0 … num_classes - 1, of one shape; pairs with others are counted nowhere.
        weights: of that shape: what each pair counts.

    Returns:
        [num_classes, num_classes]: int32, or of the weights' dtype.

    Example:
        >>> import hither as ht
        >>> ht.confusion_matrix([0, 1, 1], [0, 0, 1], num_classes=2)
        Array([[1, 0],
               [1, 1]], dtype=int32)
    """
    rows, columns = (reshape(converted(asarray(v), dt.int32), (-1,)) for v in (labels, predictions))
    counted = ones(rows.shape, dtype=dt.int32) if weights is None else reshape(asarray(weights), (-1,))
    known = [el.logical_and(el.greater_equal(v, 0), el.less(v, num_classes)) for v in (rows, columns)]
    counted = el.where(el.logical_and(*known), counted, 0)
    return scatter(stack([el.where(k, v, 0) for k, v in zip(known, (rows, columns))], axis=-1), counted, (num_classes,) * 2)


def in_top_k(targets: Like, predictions: Like, /, k: int) -> Any:
    """Whether each target is among the k classes of the largest predictions; a class that ties with the k-th is.

    Args:
        targets: classes [...].
        predictions: [..., classes]; NaN and infinities of the target give False.

    Example:
        >>> import hither as ht
        >>> ht.in_top_k([0, 1], ht.asarray([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2]]), k=2)
        Array([False,  True], dtype=bool)
    """
    targets, scores = asarray(targets), asarray(predictions)
    mine = take_along_axis(scores, expand_dims(targets, axis=-1), axis=-1)
    above = rd.sum(el.greater(scores, mine), axis=-1)
    return el.logical_and(el.less(above, k), el.isfinite(mine)[..., 0])


__all__ = [
    "bincount", "confusion_matrix", "in_top_k", "scatter", "segment_max", "segment_sum",
]  # fmt: skip
