"""Operators whose result's size depends on values: known values give it at once, others a buffer and a length."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ....graph.trace import static_value
from ... import tensorflow as tf
from ..registry import Node, operator
from ..sizes import Bounded, Dim, Sizes, bounded
from .common import cast, int32


@operator("Where", bounded=True)
def where(node: Node, condition: Any) -> Any:
    """Positions [n, axes] of what is true."""
    if isinstance(condition, Bounded):
        node.check(condition.axis == 0, "a length known at run time must be that of the first axis")
        condition = ops.logical_and(cast(condition.data, "bool"), condition.mask())
    known = static_value(condition)
    if known is not None:
        return int32(np.argwhere(known))
    positions, count = ops.nonzero_bounded(condition)
    rows = ops.astype(ops.matrix_transpose(positions), "int32")
    return bounded(rows, Dim.of(count, 0, condition.size), 0)


@operator("ListDiff")
def list_diff(node: Node, x: Any, y: Any) -> Any:
    node.check(len(x.shape) == len(y.shape) == 1, "takes two vectors")
    known, others = static_value(x), static_value(y)
    if known is not None and others is not None:
        keep = ~np.isin(known, others)
        return Array(known[keep]), int32(np.flatnonzero(keep))
    absent = ops.logical_not(ops.any(ops.expand_dims(x, axis=1) == ops.expand_dims(y, axis=0), axis=1))
    positions, count = ops.nonzero_bounded(absent)
    length, places = Dim.of(count, 0, x.shape[0]), ops.astype(positions[0], "int32")
    return bounded(ops.take(x, places, axis=0), length, 0), bounded(places, length, 0)


def _unique(node: Node, x: Any, axis: int | None) -> tuple[Any, Any, Any]:
    """Distinct slices in the order they first occur, the place of each of x's among them, and how often each occurs."""
    length = None
    if isinstance(x, Bounded):
        raise node.unsupported("data whose length is known only at run time")
    values, _, inverse, counts, count = ops.unique_bounded(x, axis=axis, in_order=True)
    known = static_value(count)
    length = Dim.of(count, 0, x.shape[axis or 0]) if known is None else Dim(int(known.reshape(())))
    return (
        bounded(values, length, axis or 0), ops.astype(inverse, "int32"), bounded(ops.astype(counts, "int32"), length, 0)
    )  # fmt: skip


@operator("Unique", "UniqueWithCounts")
def unique(node: Node, x: Any) -> Any:
    node.check(len(x.shape) == 1, f"takes a vector, got shape {tuple(x.shape)}")
    made = _unique(node, x, None)
    return made if node.op_type == "UniqueWithCounts" else made[:2]


@operator("UniqueV2")
def unique_v2(node: Node, x: Any, axis: Any) -> Any:
    along = node.ints(axis, "the axis")
    node.check(len(along) <= 1 and (bool(along) or len(x.shape) == 1), f"axis {along} does not fit shape {tuple(x.shape)}")
    return _unique(node, x, node.axis(along[0], len(x.shape)) if along else None)[:2]


# -- boxes ---------------------------------------------------------------------------------------------------------------------


def _suppression(node: Node, boxes: Any, scores: Any, most: Any, *thresholds: Any) -> Any:
    """tf.non_max_suppression of boxes of a length known at run time or not; `most` may be Sizes."""
    if isinstance(scores, Bounded):
        scores = scores.filled(-np.inf)
    boxes = boxes.data if isinstance(boxes, Bounded) else boxes
    n = min(boxes.shape[0], scores.shape[0])
    boxes, scores = boxes[:n], scores[:n]
    defaults: tuple[Any, ...] = (0.5, -np.inf, 0.0)
    iou, least, sigma = thresholds + defaults[len(thresholds) :]
    limit = n
    if isinstance(most, Sizes):
        limit, most = min(n, max(most.dims.reshape(-1)[0].high, 0)), ops.reshape(most.plain(), ())
    else:
        known = static_value(most)
        limit = n if known is None else int(min(max(int(known.reshape(())), 0), n))
    return tf.non_max_suppression(
        boxes, scores, most, iou_threshold=iou, score_threshold=least, sigma=sigma, bound=limit
    )  # fmt: skip


def _cut(made: Any, count: Any) -> Any:
    """As many entries as count."""
    known = static_value(count)
    length = Dim.of(count, 0, made.shape[0]) if known is None else Dim(int(known.reshape(())))
    return bounded(made, length, 0)


@operator("NonMaxSuppression", bounded=True)
def non_max_suppression(node: Node, boxes: Any, scores: Any, most: Any) -> Any:
    chosen, _, count = _suppression(node, boxes, scores, most, node.number("iou_threshold", 0.5))
    return _cut(chosen, count)


@operator("NonMaxSuppressionV2", "NonMaxSuppressionV3", bounded=True, sizes=True)
def non_max_suppression_v3(node: Node, boxes: Any, scores: Any, most: Any, *thresholds: Any) -> Any:
    node.check(len(thresholds) == int(node.op_type[-1]) - 1, "has too few or too many inputs")
    chosen, _, count = _suppression(node, boxes, scores, most, *thresholds)
    return _cut(chosen, count)


@operator("NonMaxSuppressionV4", bounded=True, sizes=True)
def non_max_suppression_v4(node: Node, boxes: Any, scores: Any, most: Any, iou: Any, least: Any) -> Any:
    chosen, _, count = _suppression(node, boxes, scores, most, iou, least)
    if not node.flag("pad_to_max_output_size"):
        return _cut(chosen, count), count
    wanted = int(node.scalar(most, "the number of boxes"))
    return ops.pad(chosen, [(0, wanted - chosen.shape[0])]), count


@operator("NonMaxSuppressionV5", bounded=True, sizes=True)
def non_max_suppression_v5(node: Node, boxes: Any, scores: Any, most: Any, iou: Any, least: Any, sigma: Any) -> Any:
    chosen, gained, count = _suppression(node, boxes, scores, most, iou, least, sigma)
    if not node.flag("pad_to_max_output_size"):
        length = _cut(chosen, count)
        return length, length.map(gained) if isinstance(length, Bounded) else gained[: length.shape[0]], count
    wanted = int(node.scalar(most, "the number of boxes"))
    return (*(ops.pad(v, [(0, wanted - v.shape[0])]) for v in (chosen, gained)), count)


@operator("TopKV2", bounded=True, sizes=True)
def top_k(node: Node, x: Any, k: Any) -> Any:
    """The first k of the sorted last axis; of equals the one that comes first."""
    axis = len(x.shape) - 1
    if isinstance(x, Bounded) and x.axis == axis:
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype.numpy).min
        data = x.filled(lowest)
    else:
        data = x.data if isinstance(x, Bounded) else x
    dim = k.dims.reshape(-1)[0] if isinstance(k, Sizes) else Dim(int(node.scalar(k, "k")))
    node.check(dim.high >= 0 and (dim.known is None or dim.high <= data.shape[axis]), f"k does not fit shape {tuple(x.shape)}")
    values, places = ops.top_k(data, min(dim.high, data.shape[axis]), axis=axis)
    places = ops.astype(places, "int32")
    if isinstance(x, Bounded) and x.axis != axis:
        node.check(dim.known is not None, "k must be known where the rows are not")
        return x.map(values), x.map(places)
    return bounded(values, dim, axis), bounded(places, dim, axis)
