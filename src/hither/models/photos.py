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


# Three women on a sofa, one raising a glass; five on a staircase; four standing before a window.
SOFA = _people(3, "8eb081c9efb14370fa94d9feab9e5fbeafd19a627491853a80c2bf67f7ffa936")
LEANING = _people(2, "7d2b60ae6f13bf30f422e04df87451081a02c83de469056f25afb44b7000c691")
STAIRS = _people(5, "6d45095ebb182d8f975c0790e0e4eefd86fbb40609cf4b271776d92e12662938")
WINDOW = _people(6, "9baad80f9d5e306fb9b8c0913d44445f1e95848df317530efb03d0934c57ba87")
COFFEE = _skimage("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7")
CAT = _skimage("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb")

SOFA_FACES: tuple[Box, ...] = ((0.29, 0.25, 0.42, 0.46), (0.54, 0.16, 0.68, 0.39), (0.78, 0.23, 0.89, 0.45))
STAIRS_FACES: tuple[Box, ...] = (
    (0.40, 0.07, 0.50, 0.24), (0.57, 0.16, 0.67, 0.31), (0.32, 0.30, 0.42, 0.47), (0.72, 0.27, 0.83, 0.48),
    (0.19, 0.63, 0.32, 0.85),
)  # fmt: skip
LEANING_HANDS: tuple[Box, ...] = ((0.10, 0.23, 0.22, 0.34), (0.42, 0.75, 0.51, 0.91), (0.64, 0.54, 0.74, 0.65))
WINDOW_PEOPLE: tuple[Box, ...] = (
    (0.07, 0.24, 0.36, 1.00), (0.32, 0.13, 0.54, 1.00), (0.51, 0.10, 0.75, 1.00), (0.70, 0.09, 0.93, 1.00)
)  # fmt: skip


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    sides = [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0.0) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    common = sides[0] * sides[1]
    return common / (areas[0] + areas[1] - common)


def matches(found: np.ndarray, seen: Sequence[Box], least: float = 0.5) -> bool:
    """Whether there is exactly one box for each thing that is seen, overlapping it by `least`."""
    return len(found) == len(seen) and all(sum(overlap(box, f) >= least for f in found) == 1 for box in seen)
