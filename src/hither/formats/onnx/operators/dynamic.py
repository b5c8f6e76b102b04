"""Operators whose result's size depends on values.

Known values give their exact result at once. Otherwise the result is Bounded: a buffer for the largest case, and a length.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ....graph.trace import static_value
from ..registry import Bounded, Node, operator

MAX_SORTED_COLUMNS = 64


@operator("NonZero")
def nonzero(node: Node, x: Any) -> Any:
    known = static_value(x)
    if known is not None:
        found = np.nonzero(known.reshape(1) if known.ndim == 0 else known)
        return Array(np.stack(found).astype(np.int64) if known.ndim else np.zeros((0, len(found[0])), np.int64))
    positions, count = apply("nonzero", x)
    return Bounded(positions, count, 1)


@operator("Compress")
def compress(node: Node, x: Any, condition: Any) -> Any:
    axis = node.get("axis")
    if axis is None:
        x, axis = ops.reshape(x, (math.prod(x.shape),)), 0
    axis = node.axis(axis, len(x.shape))
    node.check(len(condition.shape) == 1, f"the condition must be a vector, got shape {tuple(condition.shape)}")
    if condition.shape[0] > x.shape[axis]:
        condition = condition[: x.shape[axis]]
    known = static_value(condition)
    if known is not None:
        return apply("take", x, Array(np.flatnonzero(known).astype(np.int32)), axis=axis)
    positions, count = apply("nonzero", condition)
    return Bounded(apply("take", x, positions[0], axis=axis), count, axis)


@operator("NonMaxSuppression")
def non_max_suppression(node: Node, boxes: Any, scores: Any, most: Any = None, overlap: Any = None, least: Any = None) -> Any:
    node.check(len(boxes.shape) == 3 and len(scores.shape) == 3, "boxes and scores must have three axes")
    batch, classes, count = scores.shape
    if most is None:
        return Array(np.zeros((0, 3), np.int64))
    known = static_value(most)
    each = count if known is None else int(min(max(int(known.reshape(-1)[0]), 0), count))
    if each == 0:
        return Array(np.zeros((0, 3), np.int64))
    selected, length = apply(
        "nms",
        boxes,
        scores,
        ops.reshape(most, ()),
        Array(np.zeros((), np.float32)) if overlap is None else ops.reshape(overlap, ()),
        Array(np.full((), -math.inf, np.float32)) if least is None else ops.reshape(least, ()),
        bound=batch * classes * each,
        center=bool(node["center_point_box"]),
    )
    exact = static_value(length)
    return Bounded(selected, length, 0) if exact is None else selected[: int(exact)]


@operator("Unique")
def unique(node: Node, x: Any) -> Any:
    axis = node.get("axis")
    known = static_value(x)
    if known is not None:
        return _known_unique(known, axis, bool(node["sorted"]))
    columns = 1 if axis is None else math.prod(x.shape) // max(x.shape[node.axis(axis, len(x.shape))], 1)
    if columns > MAX_SORTED_COLUMNS:
        raise node.unsupported(
            f"unique slices of {columns} elements (at most {MAX_SORTED_COLUMNS}) that are not known while compiling"
        )
    distinct, first, inverse, total, count = ops.unique_bounded(x, axis=axis, in_order=not node["sorted"])
    where = 0 if axis is None else node.axis(axis, len(x.shape))
    return Bounded(distinct, count, where), Bounded(first, count, 0), inverse, Bounded(total, count, 0)


def _known_unique(x: np.ndarray, axis: int | None, in_order: bool) -> tuple[Array, ...]:
    values, first, inverse, total = np.unique(x, return_index=True, return_inverse=True, return_counts=True, axis=axis)
    inverse = inverse.reshape(-1)
    if not in_order:
        order = np.argsort(first, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        values = values[order] if axis is None else np.take(values, order, axis)
        first, total, inverse = first[order], total[order], place[inverse]
    return Array(values), *(Array(np.asarray(a, np.int64)) for a in (first, inverse, total))
