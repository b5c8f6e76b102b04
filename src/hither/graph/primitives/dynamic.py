"""Primitives whose result size depends on values: buffers of the upper bound, with the count beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import dtypes as dt
from ..core import Abstract
from ..primitive import Template, primitive
from .rules import require_kind

# -- nonzero ---------------------------------------------------------------------------------------------------------------


def _nonzero_abstract(x: Abstract) -> tuple[Abstract, Abstract]:
    require_kind("nonzero", x, "biuf")
    return Abstract((x.rank, x.size), dt.int64), Abstract((), dt.int64)


def _nonzero(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    made = np.zeros((x.ndim, x.size), np.int64)
    if x.ndim == 0:
        return made, np.asarray(int(x != 0), np.int64)
    found = np.nonzero(x)
    for axis, positions in enumerate(found):
        made[axis, : len(positions)] = positions
    return made, np.asarray(len(found[0]), np.int64)


primitive("nonzero", abstract=_nonzero_abstract, evaluate=_nonzero, lowering=Template("nonzero"))

# -- nms -------------------------------------------------------------------------------------------------------------------


def _nms_abstract(
    boxes: Abstract, scores: Abstract, max_output: Abstract, iou_threshold: Abstract, score_threshold: Abstract,
    bound: int, center: bool = False,
) -> tuple[Abstract, Abstract]:  # fmt: skip
    if boxes.rank != 3 or scores.rank != 3 or boxes.shape[2] != 4 or scores.shape[0] != boxes.shape[0]:
        raise ValueError(f"nms takes boxes [B, N, 4] and scores [B, C, N], got {boxes} and {scores}")
    if scores.shape[2] != boxes.shape[1]:
        raise ValueError(f"nms: {boxes} holds {boxes.shape[1]} boxes, {scores} scores {scores.shape[2]}")
    require_kind("nms", boxes, "f")
    require_kind("nms", scores, "f")
    require_kind("nms (max_output)", max_output, "iu")
    for operand in (max_output, iou_threshold, score_threshold):
        if operand.size != 1:
            raise ValueError(f"nms takes one number for max_output and each threshold, got {operand}")
    return Abstract((bound, 3), dt.int64), Abstract((), dt.int64)


def _corners(boxes: np.ndarray, center: bool) -> np.ndarray:
    """[N, 4] as y1, x1, y2, x2 with y1 <= y2 and x1 <= x2; centre form is x, y, width, height."""
    if center:
        x, y, w, h = boxes.T
        half = np.asarray(0.5, boxes.dtype)
        return np.stack([y - h * half, x - w * half, y + h * half, x + w * half], 1)
    y1, x1, y2, x2 = boxes.T
    return np.stack([np.minimum(y1, y2), np.minimum(x1, x2), np.maximum(y1, y2), np.maximum(x1, x2)], 1)


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of the others; 0 where either is empty."""
    top, left = np.maximum(box[0], others[:, 0]), np.maximum(box[1], others[:, 1])
    bottom, right = np.minimum(box[2], others[:, 2]), np.minimum(box[3], others[:, 3])
    zero = np.asarray(0, box.dtype)
    inter = np.maximum(bottom - top, zero) * np.maximum(right - left, zero)
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = area + areas - inter
    return np.where((area > 0) & (areas > 0) & (union > 0), inter / np.where(union > 0, union, 1), zero)


def _nms(
    boxes: np.ndarray, scores: np.ndarray, max_output: np.ndarray, iou_threshold: np.ndarray, score_threshold: np.ndarray,
    bound: int, center: bool = False,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Greedy suppression per batch and class: best score first (ties: lower index), a box is kept unless it overlaps a kept
    one by more than the threshold. Rows are (batch, class, box)."""
    limit, most, least = int(max_output.reshape(())), iou_threshold.reshape(()), score_threshold.reshape(())
    rows: list[tuple[int, int, int]] = []
    for b in range(boxes.shape[0]):
        corners = _corners(boxes[b], center)
        for c in range(scores.shape[1]):
            order = [int(i) for i in np.argsort(-scores[b, c], kind="stable") if scores[b, c, i] > least]
            kept: list[int] = []
            for i in order:
                if len(kept) >= limit:
                    break
                if not kept or not (_overlap(corners[i], corners[kept]) > most).any():
                    kept.append(i)
            rows += [(b, c, i) for i in kept]
    made = np.zeros((bound, 3), np.int64)
    count = min(len(rows), bound)
    if count:
        made[:count] = rows[:count]
    return made, np.asarray(count, np.int64)


def _nms_flops(operands: Sequence[Abstract], results: Sequence[Abstract], params: Mapping[str, Any]) -> int:
    """Every box is compared with each that is kept, at most: an overlap takes about 16 operations."""
    scores, number = operands[1].size, operands[1].shape[2]
    return 16 * scores * min(number, params["bound"])


primitive("nms", abstract=_nms_abstract, evaluate=_nms, lowering=Template("nms"), flops=_nms_flops)
