"""From a map of how likely each pixel is text to the boxes of text lines: the post-processing of DB.

Real-time Scene Text Detection with Differentiable Binarization (Liao et al., 2020), section 3.5: threshold, connected
components, the smallest rectangle around each, widened because the network was trained on shrunken regions. `boxes.js` is the
same in JavaScript, line by line; both walk runs of pixels, not pixels, which keeps plain Python fast enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

PIXEL_THRESHOLD = 0.3
BOX_THRESHOLD = 0.6
UNCLIP = 1.6  # how far boxes are widened, in units of area / perimeter
SMALLEST = 3  # pixels of the shorter side
MOST = 1000


@dataclass(frozen=True)
class Box:
    """A rectangle turned by `angle` (radians, clockwise on the screen); width runs along the text."""

    x: float
    y: float
    width: float
    height: float
    angle: float
    score: float = 1.0

    def corners(self) -> list[tuple[float, float]]:
        """Clockwise from the top left of the text."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        w, h = self.width / 2, self.height / 2
        return [(self.x + u * c - v * s, self.y + u * s + v * c) for u, v in ((-w, -h), (w, -h), (w, h), (-w, h))]

    def scaled(self, factor: float) -> Box:
        return Box(self.x * factor, self.y * factor, self.width * factor, self.height * factor, self.angle, self.score)


def find_boxes(probability: np.ndarray) -> list[Box]:
    """Boxes of text lines in a probability map [H, W], in reading order."""
    boxes = []
    for runs in components(probability > PIXEL_THRESHOLD):
        points = [(x, y) for y, start, stop in runs for x in (start, stop - 1)]
        rectangle = smallest_rectangle(convex_hull(points))
        if min(rectangle.width, rectangle.height) < SMALLEST:
            continue
        pixels = sum(stop - start for _, start, stop in runs)
        score = sum(float(probability[y, start:stop].sum()) for y, start, stop in runs) / pixels
        if score < BOX_THRESHOLD:
            continue
        by = UNCLIP * rectangle.width * rectangle.height / (rectangle.width + rectangle.height)
        width, height = rectangle.width + by, rectangle.height + by
        boxes.append(Box(rectangle.x + 0.5, rectangle.y + 0.5, width, height, rectangle.angle, score))
    boxes.sort(key=lambda b: -b.score * b.width * b.height)
    return reading_order(boxes[:MOST])


def components(mask: np.ndarray) -> list[list[tuple[int, int, int]]]:
    """The 8-connected components of a mask, each as its runs (y, start, stop)."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, stops = np.argwhere(edges == 1), np.argwhere(edges == -1)
    runs = [(int(y), int(a), int(b)) for (y, a), (_, b) in zip(starts, stops)]
    parent = list(range(len(runs)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    above = 0  # the first run that may still touch the current one from the row above
    for i, (y, start, stop) in enumerate(runs):
        while runs[above][0] < y - 1 or (runs[above][0] == y - 1 and runs[above][2] < start):  # diagonal neighbours touch
            above += 1
        j = above
        while runs[j][0] == y - 1 and runs[j][1] <= stop:
            a, b = root(i), root(j)
            parent[max(a, b)] = min(a, b)
            j += 1
    found: dict[int, list[tuple[int, int, int]]] = {}
    for i, run in enumerate(runs):
        found.setdefault(root(i), []).append(run)
    return list(found.values())


def convex_hull(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Andrew's monotone chain; corners in order around the hull, collinear points left out."""
    ordered = sorted(set(points))
    if len(ordered) < 3:
        return ordered

    def chain(along: list[tuple[int, int]]) -> list[tuple[int, int]]:
        kept: list[tuple[int, int]] = []
        for p in along:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], p) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    return chain(ordered) + chain(ordered[::-1])


def _turn(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def smallest_rectangle(hull: list[tuple[int, int]]) -> Box:
    """The rectangle of least area around a convex hull; one of its sides lies along an edge of the hull."""
    best, least = Box(hull[0][0], hull[0][1], 0, 0, 0), math.inf
    for (ax, ay), (bx, by) in zip(hull, hull[1:] + hull[:1]):
        length = math.hypot(bx - ax, by - ay)
        if not length:
            continue
        c, s = (bx - ax) / length, (by - ay) / length
        us, vs = [x * c + y * s for x, y in hull], [y * c - x * s for x, y in hull]
        width, height = max(us) - min(us), max(vs) - min(vs)
        if width * height < least - 1e-9:
            u, v = (max(us) + min(us)) / 2, (max(vs) + min(vs)) / 2
            least, best = width * height, Box(u * c - v * s, u * s + v * c, width, height, math.atan2(s, c))
    return _upright(best)


def _upright(box: Box) -> Box:
    """The same rectangle with its angle within 45° of horizontal; a tall one (upward text) is turned on its side."""
    turns = math.floor(box.angle / (math.pi / 2) + 0.5)
    angle = box.angle - turns * math.pi / 2
    width, height = (box.height, box.width) if turns % 2 else (box.width, box.height)
    if height >= 1.5 * width:
        return Box(box.x, box.y, height, width, angle - math.pi / 2)
    return Box(box.x, box.y, width, height, angle)


def reading_order(boxes: list[Box]) -> list[Box]:
    """Rows from top to bottom, each from left to right. A box belongs to a row if its centre is within half a line of it."""
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda b: b.y):
        row = rows[-1] if rows else []
        if row and abs(box.y - sum(b.y for b in row) / len(row)) < 0.5 * min(box.height, min(b.height for b in row)):
            row.append(box)
        else:
            rows.append([box])
    return [box for row in rows for box in sorted(row, key=lambda b: b.x)]
