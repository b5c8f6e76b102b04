"""Photographs for the examples, from packages, and what anybody can see in them.

Boxes are x1, y1, x2, y2 in shares of the picture, drawn by hand around what they name: they say where something is, to about
a tenth of its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .card import Source

Box = tuple[float, float, float, float]


def _people(number: int, sha256: str) -> Source:
    return Source("@vladmandic/face-api", "1.7.15", f"demo/sample{number}.jpg", sha256, "npm")


def _skimage(name: str, sha256: str) -> Source:
    # Any platform's wheel holds the same pictures.
    return Source("scikit-image", "0.26.0", f"skimage/data/{name}", sha256, python="3.11", platform="manylinux_2_28_x86_64")


# Three women on a sofa, one raising a glass; three with their hands at a chin and on knees; five on a staircase; four standing
# before a window; a cup of coffee.
SOFA = _people(3, "8eb081c9efb14370fa94d9feab9e5fbeafd19a627491853a80c2bf67f7ffa936")
LEANING = _people(2, "7d2b60ae6f13bf30f422e04df87451081a02c83de469056f25afb44b7000c691")
STAIRS = _people(5, "6d45095ebb182d8f975c0790e0e4eefd86fbb40609cf4b271776d92e12662938")
WINDOW = _people(6, "9baad80f9d5e306fb9b8c0913d44445f1e95848df317530efb03d0934c57ba87")
COFFEE = _skimage("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7")

SOFA_FACES: tuple[Box, ...] = ((0.29, 0.25, 0.42, 0.46), (0.54, 0.16, 0.68, 0.39), (0.78, 0.23, 0.89, 0.45))
STAIRS_FACES: tuple[Box, ...] = (
    (0.40, 0.07, 0.50, 0.24), (0.57, 0.16, 0.67, 0.31), (0.32, 0.30, 0.42, 0.47), (0.72, 0.27, 0.83, 0.48),
    (0.19, 0.63, 0.32, 0.85),
)  # fmt: skip
LEANING_HANDS: tuple[Box, ...] = ((0.12, 0.23, 0.215, 0.33), (0.42, 0.76, 0.495, 0.90), (0.643, 0.54, 0.73, 0.63))
COFFEE_CUP: Box = (0.28, 0.04, 0.69, 0.60)
WINDOW_PEOPLE: tuple[Box, ...] = (
    (0.07, 0.24, 0.36, 1.00), (0.32, 0.13, 0.54, 1.00), (0.51, 0.10, 0.75, 1.00), (0.70, 0.09, 0.93, 1.00)
)  # fmt: skip
# Inside of four faces and two bodies, and parts of the window and the wall between and beside them.
WINDOW_SKIN: tuple[Box, ...] = (
    (0.15, 0.36, 0.22, 0.46), (0.37, 0.27, 0.43, 0.37), (0.63, 0.24, 0.69, 0.35), (0.79, 0.20, 0.86, 0.33),
    (0.16, 0.70, 0.30, 0.95), (0.60, 0.55, 0.68, 0.95),
)  # fmt: skip
WINDOW_GROUND: tuple[Box, ...] = ((0.01, 0.02, 0.30, 0.18), (0.36, 0.02, 0.56, 0.08), (0.94, 0.02, 0.99, 0.50))


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    sides = [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0.0) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    common = sides[0] * sides[1]
    return common / (areas[0] + areas[1] - common)


def matches(found: np.ndarray, seen: Sequence[Box], least: float = 0.5) -> bool:
    """Whether there is exactly one box for each thing that is seen, overlapping it by `least`."""
    return len(found) == len(seen) and all(sum(overlap(box, f) >= least for f in found) == 1 for box in seen)
