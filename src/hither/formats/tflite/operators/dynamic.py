"""Operators whose result's length depends on data: computed where the data are known, else filled into a bounded buffer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....model import BoundedOutput
from ... import tensorflow as tf
from ..registry import Node, operator


@operator("WHERE", stored=True)
def where(node: Node, condition: Any) -> Any:
    """The indices of what is true, int64 [n, rank]."""
    known = node.known(condition)
    if known is not None:
        return Array(np.argwhere(known).astype(np.int64))
    indices, count = ops.nonzero_bounded(condition)
    return BoundedOutput(ops.astype(ops.matrix_transpose(indices), dt.int64), count, 0)


@operator("UNIQUE", stored=True)
def unique(node: Node, x: Any) -> Any:
    """Values in the order in which they first occur, and where each element's is."""
    known = node.static(x, "what unique values are taken of").reshape(-1)
    _, first, inverse = np.unique(known, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Array(known[np.sort(first)]), Array(rank[inverse.reshape(-1)].astype(node.outputs[1].element.numpy))


@operator("NON_MAX_SUPPRESSION_V4", stored=True)
def non_max_suppression_v4(node: Node, boxes: Any, scores: Any, most: Any, overlap: Any, least: Any) -> Any:
    indices, _, count = _suppressed(node, boxes, scores, most, overlap, least, 0.0)
    return indices, count


@operator("NON_MAX_SUPPRESSION_V5", stored=True)
def non_max_suppression_v5(node: Node, boxes: Any, scores: Any, most: Any, overlap: Any, least: Any, sigma: Any) -> Any:
    return _suppressed(node, boxes, scores, most, overlap, least, ops.reshape(sigma, ()))


def _suppressed(node: Node, boxes: Any, scores: Any, most: Any, overlap: Any, least: Any, sigma: Any) -> tuple[Any, Any, Any]:
    """Indices, scores and count; both lists as long as the largest number of boxes asked for, filled up with 0."""
    room = int(node.scalar(most, "the largest number of boxes"))
    node.check(0 <= room < 1 << 20, f"at most {room} boxes")
    threshold = node.known(least)
    low = least if threshold is None else float(threshold.reshape(-1)[0])
    bound = min(room, boxes.shape[0])
    indices, chosen, count = tf.non_max_suppression(
        boxes, scores, ops.asarray(room), iou_threshold=ops.reshape(overlap, ()),
        score_threshold=-math.inf if isinstance(low, float) and math.isinf(low) else low, sigma=sigma, bound=bound,
    )  # fmt: skip
    spare = [(0, room - bound)]
    return ops.pad(indices, spare), ops.pad(chosen, spare), ops.astype(count, dt.int32)
