"""Boxes of non-maximum suppression: their corners and how much two overlap."""

from __future__ import annotations

from collections.abc import Sequence

from ...graph.core import Value
from ..builder import Builder
from ..emitter import Emitter
from ..index import Index, constant
from ..ir import Val


def corners(e: Emitter, boxes: Value, batch: Index, i: Index, center: bool) -> Sequence[Val]:
    """(y1, x1, y2, x2) of a box, lower ones first; `center`: given as x, y, width, height."""
    k = e.k
    with e.point():
        p = [e.read(boxes, (batch, i, constant(c))) for c in range(4)]
    if center:
        x, y, w, h = p
        return y - h * 0.5, x - w * 0.5, y + h * 0.5, x + w * 0.5
    return k.min(p[0], p[2]), k.min(p[1], p[3]), k.max(p[0], p[2]), k.max(p[1], p[3])


def overlap(k: Builder, a: Sequence[Val], b: Sequence[Val]) -> Val:
    """Intersection over union; 0 where a box is empty."""
    y1, x1, y2, x2 = a
    v1, u1, v2, u2 = b
    height = k.max(k.min(y2, v2) - k.max(y1, v1), 0.0)
    width = k.max(k.min(x2, u2) - k.max(x1, u1), 0.0)
    inter = height * width
    area, other_area = (y2 - y1) * (x2 - x1), (v2 - v1) * (u2 - u1)
    union = area + other_area - inter
    nothing = k.const(0.0, union.dtype)
    proper = (nothing < area) & (nothing < other_area) & (nothing < union)
    return k.select(proper, inter / k.select(proper, union, k.const(1.0, union.dtype)), nothing)
