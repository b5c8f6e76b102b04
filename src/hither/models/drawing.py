"""Findings drawn on pictures: boxes, points, skeletons, masks and captions, readable at any size and for any eyes.

Lines scale with the picture and have a dark edge, so that they show on any ground. Colours are those that Okabe and Ito chose
to be told apart by people with any kind of colour vision (Color Universal Design, 2008), without their black and grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178))
EDGE = (20, 20, 20)
SHADE = 0.65  # of a mask's colour over the picture

Point = Sequence[float]


class Drawing:
    """A picture being drawn on. Places are shares of its width and height; `colour` counts through COLOURS.

    Args:
        pixels: uint8 [H, W, 3].
    """

    def __init__(self, pixels: np.ndarray) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self.image = Image.fromarray(pixels)
        self._pen = ImageDraw.Draw(self.image)
        self._size = np.array([pixels.shape[1], pixels.shape[0]], np.float64)
        self.width = max(round(min(pixels.shape[:2]) / 220), 2)
        self._font: Any = ImageFont.load_default(max(round(min(pixels.shape[:2]) / 28), 11))

    def _at(self, point: Point) -> tuple[float, float]:
        x, y = np.asarray(point, np.float64)[:2] * self._size
        return float(x), float(y)

    def box(self, box: Point, caption: str = "", colour: int = 0) -> None:
        """x1, y1, x2, y2, with a caption above it, or inside where there is no room above."""
        (x1, y1), (x2, y2) = self._at(box[:2]), self._at(box[2:])
        for width, line in ((2 * self.width, EDGE), (self.width, _colour(colour))):
            self._pen.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=line, width=width)
        if caption:
            self.caption(box, caption, colour)

    def caption(self, place: Point, text: str, colour: int = 0) -> None:
        """Text on a ground of its colour, its lower left corner at a place if that is in the picture."""
        x, y = self._at(place)
        left, top, right, bottom = self._pen.textbbox((0, 0), text, font=self._font)
        pad = self.width + 1
        width, height = right - left + 2 * pad, bottom - top + 2 * pad
        x = min(max(x, 0), max(self._size[0] - width, 0))
        y = y - height if y >= height else max(y, 0)
        fill = _colour(colour)
        self._pen.rectangle((x, y, x + width, y + height), fill=fill)
        dark = 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] < 110
        self._pen.text((x + pad - left, y + pad - top), text, font=self._font, fill=(255, 255, 255) if dark else (0, 0, 0))

    def points(self, points: Iterable[Point], colour: int = 0, radius: float = 1.5) -> None:
        """Discs; `radius` in widths of a line. Those that an edge would hide have none."""
        size = radius * self.width
        rings = [(size + 1, EDGE)] if size >= 1.5 else []
        for reach, fill in (*rings, (size, _colour(colour))):
            for point in points:
                x, y = self._at(point)
                self._pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)

    def lines(self, points: Sequence[Point], pairs: Iterable[tuple[int, int]], colour: int = 0, width: float = 1.0) -> None:
        """Lines between pairs of points, by number."""
        pairs = list(pairs)
        drawn = max(round(width * self.width), 1)
        for across, fill in ((drawn + 2, EDGE), (drawn, _colour(colour))):
            for a, b in pairs:
                self._pen.line((*self._at(points[a]), *self._at(points[b])), fill=fill, width=across)

    def mask(self, mask: np.ndarray, colour: int = 1) -> None:
        """A colour over where a mask [H, W] is 0, and its outline: what is 1 stays as it is."""
        from PIL import Image, ImageDraw

        ground = np.asarray(self.image, np.float32)
        weight = SHADE * (1 - np.clip(mask, 0, 1))[..., None]
        inside = mask > 0.5
        outline = np.zeros_like(inside)
        for axis in (0, 1):
            changes = np.diff(inside, axis=axis, prepend=inside.take([0], axis))
            for shift in range(self.width):
                outline |= np.roll(changes, shift, axis)
        made = ground + weight * (np.array(_colour(colour), np.float32) - ground)
        made[outline] = EDGE
        self.image = Image.fromarray(made.round().astype(np.uint8))
        self._pen = ImageDraw.Draw(self.image)


def _colour(number: int) -> tuple[int, int, int]:
    return COLOURS[number % len(COLOURS)]
