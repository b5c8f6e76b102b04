"""Single-shot detectors of the BlazeFace family: anchors, decoding, and suppression of doubles, compiled in.

Bazarevsky et al.: BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs, 2019. Overlapping detections are averaged
by their scores instead of dropped, as the paper's section 3.3 has it, which keeps boxes of a video still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops
from ..model import Model
from .regions import Fit

OVERLAP = 0.3
LARGEST_LOGIT = 100.0


def grid(size: int, layers: Sequence[tuple[int, int]]) -> np.ndarray:
    """The centres of anchors, float32 [N, 2] as (x, y) from 0 to 1: for each (stride, anchors per place), row by row."""
    made = []
    for stride, each in layers:
        n = -(-size // stride)
        y, x = np.mgrid[:n, :n]
        centres = (np.stack([x, y], -1).reshape(-1, 1, 2) + 0.5) / n
        made.append(np.repeat(centres, each, 1).reshape(-1, 2))
    return np.concatenate(made).astype(np.float32)


@dataclass(frozen=True)
class Found:
    """Detections in pixels of the picture; `count` of the K count, best first."""

    boxes: Any  # [K, 4]: x1, y1, x2, y2
    points: Any  # [K, P, 2]
    scores: Any  # [K]
    count: Any  # int32


@dataclass(frozen=True)
class Detector:
    """A network that scores anchors, with what finds the objects in its answer.

    Args:
        network: [1, size, size, 3] → for each anchor, offsets (x, y, width, height, points…) in pixels, and a logit.
        anchors: [N, 2], from `grid`.
        low: what a black pixel is; a white one is 1.
        threshold: the least score.
        most: K, the most objects that are kept.
    """

    network: Model
    anchors: np.ndarray
    low: float
    threshold: float
    most: int

    def __call__(self, picture: Any) -> Found:
        """The objects of one picture [1, H, W, 3] from 0 to 1."""
        ((name, spec),) = self.network.inputs.items()
        assert spec.shape is not None and isinstance(spec.shape[1], int)
        size = spec.shape[1]
        fit = Fit(picture.shape[1], picture.shape[2], size)
        square = ops.add(ops.multiply(fit.apply(picture), 1 - self.low), self.low)
        offsets, logits = sorted(self.network({name: square}).values(), key=lambda v: -int(v.shape[-1]))
        offsets, logits = offsets[0], logits[0, :, 0]
        scores = ops.sigmoid(ops.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT))
        shares = ops.multiply(offsets, 1 / size)
        centre, half = ops.add(shares[:, :2], self.anchors), ops.multiply(shares[:, 2:4], 0.5)
        points = shares.shape[1] // 2 - 2
        places = [ops.subtract(centre, half), ops.add(centre, half)]
        places += [ops.add(shares[:, 4 + 2 * p : 6 + 2 * p], self.anchors) for p in range(points)]
        flat = ops.concat(places, axis=1)
        kept, scores, count = self._merged(flat, scores)
        pixels = fit.back(ops.reshape(kept, (self.most, 2 + points, 2)))
        return Found(ops.reshape(pixels[:, :2], (self.most, 4)), pixels[:, 2:], scores, count)

    def _merged(self, places: Any, scores: Any) -> tuple[Any, Any, Any]:
        """The best of overlapping detections, averaged with those that they suppress, by score."""
        boxes = places[:, :4]
        rows, count = ops.nms_bounded(boxes[None], scores[None, None], self.most, OVERLAP, self.threshold, bound=self.most)
        best = ops.astype(rows[:, 2], "int32")
        lead = ops.take(boxes, best, axis=0)
        low = [ops.maximum(lead[:, None, a], boxes[None, :, a]) for a in (0, 1)]
        high = [ops.minimum(lead[:, None, a], boxes[None, :, a]) for a in (2, 3)]
        shared = [ops.maximum(ops.subtract(h, v), 0.0) for h, v in zip(high, low)]
        area = ops.multiply(ops.subtract(boxes[:, 2], boxes[:, 0]), ops.subtract(boxes[:, 3], boxes[:, 1]))
        common = ops.multiply(*shared)
        union = ops.subtract(ops.add(ops.take(area, best, axis=0)[:, None], area[None]), common)
        joined = ops.logical_and(ops.greater(common, ops.multiply(union, OVERLAP)), ops.greater(scores, self.threshold)[None])
        weights = ops.where(joined, scores[None], 0.0)
        total = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1e-6)
        return ops.divide(ops.matmul(weights, places), total), ops.take(scores, best, axis=0), ops.astype(count, "int32")
