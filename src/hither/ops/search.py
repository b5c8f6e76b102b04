"""Sorting, searching and sets.

Functions whose result has as many elements as the values happen to need (nonzero, unique, nms) give exactly that on concrete
arrays. While tracing, sizes must be known: the `*_bounded` forms give a buffer of the largest size and the count beside it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import dtypes as dt
from ..array import Array
from ..graph.trace import static_value
from . import elementwise as el
from . import reduce as rd
from .operands import Like, apply, asarray, converted, floating, is_traced, one_axis, promoted
from .shape import expand_dims, reshape, slice_axis


def _sorted(x: Like, axis: int, descending: bool) -> tuple[Any, Any]:
    x = asarray(x)
    if not x.ndim:
        return x, asarray(np.int64(0))
    boolean = x.dtype is dt.bool_
    values, order = apply("sort", converted(x, dt.int32) if boolean else x, axis=one_axis(axis, x.ndim), descending=descending)
    return (converted(values, dt.bool_) if boolean else values), order


def sort(x: Like, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """Elements in order along an axis; NaN counts as largest.

    Example:
        >>> import hither as ht
        >>> ht.sort(ht.asarray([3, 1, 2]), descending=True)
        Array([3, 2, 1], dtype=int32)
    """
    return _sorted(x, axis, descending)[0]


def argsort(x: Like, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """Where the elements of `sort` come from, int64; equal elements keep their order."""
    return _sorted(x, axis, descending)[1]


def top_k(x: Like, k: int, /, *, axis: int = -1, largest: bool = True) -> tuple[Any, Any]:
    """The k largest (or smallest) elements along an axis, in order, and their int64 positions."""
    x = asarray(x)
    axis = one_axis(axis, x.ndim)
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"top_k: k={k} of an axis of extent {x.shape[axis]}")
    values, order = _sorted(x, axis, largest)
    return slice_axis(values, axis, 0, k), slice_axis(order, axis, 0, k)


def searchsorted(sorted_values: Like, x: Like, /, *, side: str = "left") -> Any:
    """Where each x would be inserted into sorted values to keep them sorted, int64: before equal ones, or after ("right").

    Compares with every sorted value: meant for short tables (bucket edges).
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side is 'left' or 'right', got {side!r}")
    table, x = promoted(sorted_values, x)
    if table.ndim != 1:
        raise ValueError(f"searchsorted takes one axis of sorted values, got shape {table.shape}")
    compare = el.less if side == "left" else el.less_equal
    return rd.sum(compare(table, expand_dims(x, axis=-1)), axis=-1, dtype=dt.int64)


# -- results of unknown size ---------------------------------------------------------------------------------------------------


def nonzero_bounded(x: Like, /) -> tuple[Any, Any]:
    """(int64 [rank, size], int64 count): positions of the elements that are not zero, the first `count` columns."""
    x = asarray(x)
    return apply("nonzero", x)


def nonzero(x: Like, /) -> tuple[Any, ...]:
    """Positions of the elements that are not zero, one int64 array per axis, row-major."""
    _require_concrete("nonzero", x)
    positions, count = nonzero_bounded(x)
    n = int(count)
    return tuple(Array(axis[:n]) for axis in positions.numpy())


def _require_concrete(name: str, *xs: Any) -> None:
    if is_traced(*xs):
        raise TypeError(
            f"the size of {name}'s result depends on values that are only being traced; use {name}_bounded where there is "
            "one, or a formulation with hither.where that keeps the size"
        )


class UniqueAll(NamedTuple):
    """What unique_all gives."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


def unique_all(x: Like, /) -> UniqueAll:
    """Distinct elements in ascending order, where each occurs first, how to rebuild x from them, and how often each occurs."""
    _require_concrete("unique_all", x)
    data = asarray(x).numpy()
    values, indices, inverse, counts = np.unique(data, return_index=True, return_inverse=True, return_counts=True)
    return UniqueAll(Array(values), Array(indices), Array(inverse.reshape(data.shape)), Array(counts))


def unique_values(x: Like, /) -> Any:
    """Distinct elements, ascending."""
    return unique_all(x).values


def unique_counts(x: Like, /) -> tuple[Any, Any]:
    """Distinct elements, ascending, and how often each occurs."""
    made = unique_all(x)
    return made.values, made.counts


def unique_inverse(x: Like, /) -> tuple[Any, Any]:
    """Distinct elements, ascending, and for each element of x its position among them."""
    made = unique_all(x)
    return made.values, made.inverse_indices


def nms_bounded(
    boxes: Like, scores: Like, max_output: Like, iou_threshold: Like = 0.0, score_threshold: Like = -np.inf, /, *,
    center: bool = False, bound: int | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Non-maximum suppression into a buffer of `bound` rows: (int64 [bound, 3], int64 count).

    Args:
        boxes: [B, N, 4]: corners y1, x1, y2, x2 in any order of the two, or x, y, width, height with `center`.
        scores: [B, C, N].
        max_output: at most so many boxes per batch and class.
        iou_threshold: boxes that overlap a better one by more than this are dropped.
        score_threshold: boxes must score higher than this.
        bound: rows of the result; by default B·C·N, or B·C·max_output where that is known and smaller.

    Returns:
        Rows (batch, class, box), sorted by batch, class, then falling score; and how many of them count.
    """
    boxes, scores = promoted(boxes, scores)
    boxes, scores = floating(boxes), floating(scores)
    most = asarray(max_output, dtype=dt.int64)
    if bound is None:
        batches, classes, n = scores.shape
        known = static_value(most)
        per_class = n if known is None else min(n, max(int(known.reshape(-1)[0]), 0))
        bound = batches * classes * per_class
    thresholds = [converted(asarray(t), boxes.dtype) for t in (iou_threshold, score_threshold)]
    return apply("nms", boxes, scores, most, *thresholds, bound=bound, center=center)


def nms(
    boxes: Like, scores: Like, max_output: Like, iou_threshold: Like = 0.0, score_threshold: Like = -np.inf, /, *,
    center: bool = False,
) -> Any:  # fmt: skip
    """Non-maximum suppression: int64 rows (batch, class, box) of what is kept; see nms_bounded for the arguments."""
    _require_concrete("nms", boxes, scores, max_output, iou_threshold, score_threshold)
    rows, count = nms_bounded(boxes, scores, max_output, iou_threshold, score_threshold, center=center)
    return Array(rows.numpy()[: int(count)])


def bincount(x: Like, /, *, length: int) -> Any:
    """How often each of 0 … length-1 occurs, int32; other numbers are counted nowhere."""
    x = reshape(asarray(x), (-1,))
    hits = el.equal(np.arange(length, dtype=np.int64)[:, None], converted(x, dt.int64))
    return rd.sum(hits, axis=1)


__all__ = [
    "UniqueAll", "argsort", "bincount", "nms", "nms_bounded", "nonzero", "nonzero_bounded", "searchsorted", "sort",
    "top_k", "unique_all", "unique_counts", "unique_inverse", "unique_values",
]  # fmt: skip
