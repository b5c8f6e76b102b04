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
from .control import fori_loop
from .operands import Like, apply, asarray, converted, floating, is_traced, one_axis, promoted, with_axes
from .shape import concat, expand_dims, moveaxis, reshape, slice_axis


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


def searchsorted(x1: Like, x2: Like, /, *, side: str = "left", sorter: Like | None = None) -> Any:
    """Where each x2 would be inserted into sorted values x1 to keep them sorted, int64: before equal ones, or after ("right").

    Compares with every sorted value: meant for short tables (bucket edges). NaN is inserted where it sorts: at the end.

    Args:
        x1: [n], sorted, or sorted by `sorter`.
        sorter: [n] integers, what `argsort` gives for x1.

    Example:
        >>> import hither as ht
        >>> ht.searchsorted(ht.asarray([1, 3, 5]), ht.asarray([3, 9]))
        Array([1, 3], dtype=int64)
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side is 'left' or 'right', got {side!r}")
    table, x = promoted(x1, x2)
    if table.ndim != 1:
        raise ValueError(f"searchsorted takes one axis of sorted values, got shape {table.shape}")
    if sorter is not None:
        table = apply("take", table, asarray(sorter), axis=0)
    wanted = expand_dims(x, axis=-1)
    before = el.less(table, wanted) if side == "left" else el.less_equal(table, wanted)
    if x.dtype.is_float:
        last = el.isnan(wanted)
        before = el.logical_or(before, el.logical_and(last, el.logical_not(el.isnan(table))) if side == "left" else last)
    return rd.sum(before, axis=-1, dtype=dt.int64)


# -- results of unknown size ---------------------------------------------------------------------------------------------------


def nonzero_bounded(x: Like, /) -> tuple[Any, Any]:
    """(int64 [rank, size], int64 count): positions of the elements that are not zero, the first `count` columns."""
    x = asarray(x)
    return apply("nonzero", el.not_equal(x, 0) if x.dtype.kind == "c" else x)


def nonzero(x: Like, /) -> tuple[Any, ...]:
    """Positions of the elements that are not zero, one int64 array per axis, row-major."""
    _require_concrete("nonzero", x)
    if asarray(x).ndim == 0:
        raise ValueError("nonzero takes an array of one axis or more, got a 0-d one; compare it with 0 instead")
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


class UniqueCounts(NamedTuple):
    """What unique_counts gives."""

    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    """What unique_inverse gives."""

    values: Any
    inverse_indices: Any


def unique_all(x: Like, /) -> UniqueAll:
    """Distinct elements in ascending order, where each occurs first, how to rebuild x from them, and how often each occurs.

    Every NaN is distinct from the others, as the standard has it.

    Example:
        >>> import hither as ht
        >>> ht.unique_all(ht.asarray([3, 1, 3])).counts
        Array([1, 2], dtype=int64)
    """
    _require_concrete("unique_all", x)
    data = asarray(x).numpy()
    values, indices, inverse, counts = np.unique(
        data, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )  # fmt: skip
    positions = (Array(p.astype(np.int64)) for p in (indices, inverse.reshape(data.shape), counts))
    return UniqueAll(Array(values), *positions)


def unique_values(x: Like, /) -> Any:
    """Distinct elements, ascending."""
    return unique_all(x).values


def unique_counts(x: Like, /) -> UniqueCounts:
    """Distinct elements, ascending, and how often each occurs."""
    made = unique_all(x)
    return UniqueCounts(made.values, made.counts)


def unique_inverse(x: Like, /) -> UniqueInverse:
    """Distinct elements, ascending, and for each element of x its position among them."""
    made = unique_all(x)
    return UniqueInverse(made.values, made.inverse_indices)


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
    boxes, scores = promoted(with_axes("nms(boxes)", boxes, "[B, N, 4]"), with_axes("nms(scores)", scores, "[B, C, N]"))
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


def soft_nms_bounded(
    boxes: Like, scores: Like, max_output: Like, iou_threshold: Like = 1.0, score_threshold: Like = 0.0, sigma: Like = 0.5, /,
    *, bound: int | None = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Non-maximum suppression that lowers the scores of boxes that overlap a chosen one instead of dropping them.

    The best box is chosen again and again; the scores of all others are multiplied by exp(-iou² / (2 · sigma)), or by 0 where
    they overlap it by more than iou_threshold. Bodla et al.: Soft-NMS, 2017, as TensorFlow has it.

    Args:
        boxes: [N, 4]: corners y1, x1, y2, x2 in any order of the two.
        scores: [N].
        max_output: at most so many boxes.
        score_threshold: boxes must score higher than this when they are chosen.
        bound: rows of the result; by default N, or max_output where that is known and smaller.

    Returns:
        int32 [bound] boxes in the order they are chosen, their lowered scores [bound], and int32: how many count; what
        follows is 0.
    """
    boxes, scores = (floating(v) for v in promoted(boxes, scores))
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"soft_nms takes boxes [N, 4] and scores [N], got shapes {boxes.shape} and {scores.shape}")
    n, most = boxes.shape[0], reshape(converted(asarray(max_output), dt.int32), ())
    if bound is None:
        known = static_value(most)
        bound = n if known is None else min(n, max(int(known), 0))
    if bound == 0 or n == 0:
        return asarray(np.zeros(bound, np.int32)), converted(asarray(np.zeros(bound)), scores.dtype), asarray(0)
    overlap, least, spread_of = (
        reshape(converted(asarray(t), scores.dtype), ()) for t in (iou_threshold, score_threshold, sigma)
    )
    (y1, y2), (x1, x2) = ((el.minimum(boxes[:, a], boxes[:, a + 2]), el.maximum(boxes[:, a], boxes[:, a + 2])) for a in (0, 1))
    area = el.multiply(el.subtract(y2, y1), el.subtract(x2, x1))
    place = np.arange(n, dtype=np.int32)
    slot = np.arange(bound, dtype=np.int32)

    def turn(i: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        left, chosen, gained, count = state
        best = rd.argmax(left, axis=0, dtype=dt.int32)
        score = apply("take", left, best, axis=0)
        going = el.logical_and(el.logical_and(el.equal(count, i), el.greater(score, least)), el.less(i, most))
        here = el.logical_and(el.equal(slot, i), going)
        corner = [apply("take", edge, best, axis=0) for edge in (y1, x1, y2, x2, area)]
        height = el.maximum(el.subtract(el.minimum(y2, corner[2]), el.maximum(y1, corner[0])), 0.0)
        width = el.maximum(el.subtract(el.minimum(x2, corner[3]), el.maximum(x1, corner[1])), 0.0)
        common = el.multiply(height, width)
        both = el.subtract(el.add(area, corner[4]), common)
        degenerate = el.logical_or(el.less_equal(area, 0), el.less_equal(corner[4], 0))
        iou = el.where(degenerate, 0.0, el.divide(common, el.where(degenerate, 1.0, both)))
        lowered = el.exp(el.divide(el.negative(el.square(iou)), el.multiply(spread_of, 2.0)))
        lowered = el.multiply(left, el.where(el.less_equal(iou, overlap), lowered, 0.0))
        left = el.where(going, el.where(el.equal(place, best), -np.inf, lowered), left)
        return (
            left, el.where(here, best, chosen), el.where(here, score, gained), el.add(count, converted(going, dt.int32))
        )  # fmt: skip

    empty = asarray(np.zeros(bound, scores.dtype.numpy))
    return fori_loop(0, bound, turn, (scores, asarray(np.zeros(bound, np.int32)), empty, asarray(0)))[1:]


# -- sets --------------------------------------------------------------------------------------------------------------------


def unique_bounded(x: Like, /, *, axis: int | None = None, in_order: bool = False) -> tuple[Any, Any, Any, Any, Any]:
    """Distinct slices of x along an axis (elements of the flattened x for None), in buffers of the largest size.

    Slices sort into runs of equals; a running count of runs is each slice's place among the distinct ones. Stable sorts by one
    column after another, the least important first, sort slices lexicographically.

    Args:
        in_order: in the order of first occurrence instead of ascending.

    Returns:
        The distinct slices, int64 [n]: where each occurs first, int64 [n]: the place of each slice of x among them, int64 [n]:
        how often each occurs, and the int64 count of distinct slices.
    """
    x = asarray(x)
    slices = reshape(x, (x.size,)) if axis is None else moveaxis(x, one_axis(axis, x.ndim), 0)
    n = slices.shape[0]
    if n == 0:
        empty = asarray(np.zeros(0, np.int64))
        return x if axis is not None else slices, empty, empty, empty, asarray(np.int64(0))
    order, starts = _runs(reshape(slices, (n, slices.size // n)))
    run = el.subtract(apply("cumulative", starts, axis=0, combine="add", exclusive=False, reverse=False), 1)
    count = el.add(run[-1], 1)
    numbers, column = asarray(np.arange(n, dtype=np.int64)), reshape(run, (n, 1))
    nothing, far = asarray(np.zeros(n, np.int64)), asarray(np.full(n, n, np.int64))
    # A stable sort keeps equals in order, so each run's smallest position is its first occurrence.
    first = apply("scatter_nd", far, column, order, combine="min")
    total = apply("scatter_nd", nothing, column, asarray(np.ones(n, np.int64)), combine="add")
    inverse = apply("scatter_nd", nothing, reshape(order, (n, 1)), run, combine="set")
    if in_order:
        ranked, by_first = apply("sort", first, axis=0, descending=False)
        place = apply("scatter_nd", nothing, reshape(by_first, (n, 1)), numbers, combine="set")
        first, total = ranked, apply("take", total, by_first, axis=0)
        inverse = apply("take", place, inverse, axis=0)
    distinct = apply("take", slices, el.minimum(first, n - 1), axis=0)
    return distinct if axis is None else moveaxis(distinct, 0, one_axis(axis, x.ndim)), first, inverse, total, count


_WRITTEN_OUT = 16  # columns; sorting by more is a loop


def _runs(rows: Any) -> tuple[Any, Any]:
    """The order that sorts rows [n, m] lexicographically, and int64 [n]: 1 where a run of equal rows starts in it."""
    n, m = rows.shape
    order: Any = asarray(np.arange(n, dtype=np.int64))

    def by(column: Any, order: Any) -> Any:
        _, turn = apply("sort", apply("take", column, order, axis=0), axis=0, descending=False)
        return apply("take", order, turn, axis=0)

    if m <= _WRITTEN_OUT:
        for k in reversed(range(m)):
            order = by(rows[:, k], order)
    else:
        order = fori_loop(0, m, lambda k, order: by(apply("take", rows, el.subtract(m - 1, k), axis=1), order), order)
    ordered = apply("take", rows, order, axis=0)
    differs = rd.any(el.not_equal(ordered[1:], ordered[:-1]), axis=1)
    return order, concat([asarray(np.ones(1, np.int64)), converted(differs, dt.int64)], axis=0)


def isin(x1: Like, x2: Like, /, *, invert: bool = False) -> Any:
    """Whether each element of x1 is one of the elements of x2 (with `invert`, none of them).

    Compares every pair: x2 is meant to be short.

    Example:
        >>> import hither as ht
        >>> ht.isin(ht.asarray([1, 2, 3]), [3, 1])
        Array([ True, False,  True], dtype=bool)
    """
    a, b = promoted(x1, x2)
    found = rd.any(el.equal(expand_dims(a, axis=-1), reshape(b, (b.size,))), axis=-1)
    return el.logical_not(found) if invert else found


def setdiff1d_bounded(x1: Like, x2: Like, /) -> tuple[Any, Any, Any]:
    """The elements of x1 that are not in x2, in their order, in a buffer of x1's size.

    Args:
        x1, x2: vectors.

    Returns:
        The elements [n], their int64 positions in x1 [n], and the int64 count of them; what follows them is of no meaning.

    Raises:
        ValueError: where x1 is no vector.

    Example:
        >>> import hither as ht
        >>> values, places, count = ht.setdiff1d_bounded([4, 2, 4, 1], [2, 3])
        >>> values[: int(count)].tolist(), places[: int(count)].tolist()
        ([4, 4, 1], [0, 2, 3])
    """
    x = asarray(x1)
    if x.ndim != 1:
        raise ValueError(f"setdiff1d_bounded takes vectors, got shape {tuple(x.shape)}")
    places, count = nonzero_bounded(isin(x, x2, invert=True))
    return apply("take", x, places[0], axis=0) if x.size else x, places[0], count


__all__ = [
    "UniqueAll", "UniqueCounts", "UniqueInverse", "argsort", "isin", "nms", "nms_bounded", "nonzero", "nonzero_bounded",
    "searchsorted", "setdiff1d_bounded", "soft_nms_bounded", "sort", "top_k", "unique_all", "unique_bounded", "unique_counts",
    "unique_inverse", "unique_values",
]  # fmt: skip
