"""Parts of pictures inside a traced network: the whole fitted into a square, and turned squares cut out of it.

Places are in pixels of the picture, (0, 0) being the corner of its first pixel. Everything works on traced arrays, so that it
is compiled together with the networks before and after it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import ops


def unit(image: Any) -> Any:
    """A picture of bytes as floats from 0 to 1."""
    return ops.multiply(ops.astype(image, "float32"), 1 / 255)


@dataclass(frozen=True)
class Fit:
    """A picture of `height` × `width` in the middle of a square of `size`, its aspect kept, the rest zero."""

    height: int
    width: int
    size: int

    @property
    def inner(self) -> tuple[int, int]:
        """Rows and columns of the square that the picture takes."""
        longer = max(self.height, self.width)
        rows, columns = (max(round(extent * self.size / longer), 1) for extent in (self.height, self.width))
        return rows, columns

    @property
    def origin(self) -> tuple[int, int]:
        """Row and column of the square at which the picture begins."""
        rows, columns = self.inner
        return (self.size - rows) // 2, (self.size - columns) // 2

    def apply(self, picture: Any) -> Any:
        """[1, height, width, C] → [1, size, size, C]; pixels between are averaged, none is skipped."""
        rows, columns = self.inner
        top, left = self.origin
        small = ops.resize(picture, (rows, columns), axes=(1, 2), antialias=True)
        return ops.pad(small, ((0, 0), (top, self.size - rows - top), (left, self.size - columns - left), (0, 0)))

    def back(self, points: Any) -> Any:
        """Places [..., 2] as (x, y) in the square, from 0 to 1, in pixels of the picture."""
        (rows, columns), (top, left) = self.inner, self.origin
        scale = np.array([self.width / columns, self.height / rows], np.float32)
        return ops.multiply(ops.subtract(ops.multiply(points, float(self.size)), np.array([left, top], np.float32)), scale)


@dataclass(frozen=True)
class Region:
    """Turned squares of a picture, one for each entry of the arrays: centre [..., 2], side and angle [...]."""

    centre: Any
    side: Any
    angle: Any  # radians, clockwise as the picture is seen

    @staticmethod
    def around(boxes: Any, first: Any, second: Any, upright: float, *, scale: float, shift: float = 0.0) -> Region:
        """Squares over boxes, turned so that the line between two points has a given direction.

        Args:
            boxes: [K, 4]: x1, y1, x2, y2.
            first, second: [K, 2]: points.
            upright: the angle of the line from first to second as the network wants it, counter-clockwise from the right.
            scale: the side over the longer side of the box.
            shift: how far the centre moves down in the turned square, in heights of the box.
        """
        angle = _turn(first, second, upright)
        width, height = ops.subtract(boxes[:, 2], boxes[:, 0]), ops.subtract(boxes[:, 3], boxes[:, 1])
        down = ops.multiply(height, shift)
        move = ops.stack([ops.negative(ops.multiply(ops.sin(angle), down)), ops.multiply(ops.cos(angle), down)], axis=1)
        middle = ops.multiply(ops.add(boxes[:, :2], boxes[:, 2:]), 0.5)
        return Region(ops.add(middle, move), ops.multiply(ops.maximum(width, height), scale), angle)

    def at(self, i: Any) -> Region:
        """One of them."""
        return Region(*(ops.take(v, ops.reshape(i, (1,)), axis=0) for v in (self.centre, self.side, self.angle)))

    def crop(self, picture: Any, size: int, samples: int = 1) -> Any:
        """Cut out of one picture [1, H, W, C]: [1, size, size, C]; the border goes on outside.

        `samples` along each axis are averaged for every pixel of the result, for regions much larger than it.
        """
        _, height, width, channels = picture.shape
        half = ops.multiply(self.side, 0.5)
        across, along = ops.multiply(half, ops.cos(self.angle)), ops.multiply(half, ops.sin(self.angle))
        to_x, to_y = 2 / width, 2 / height
        rows = [
            [ops.multiply(across, to_x), ops.multiply(along, -to_x), ops.subtract(ops.multiply(self.centre[:, 0], to_x), 1.0)],
            [ops.multiply(along, to_y), ops.multiply(across, to_y), ops.subtract(ops.multiply(self.centre[:, 1], to_y), 1.0)],
        ]
        theta = ops.stack([ops.stack(row, axis=1) for row in rows], axis=1)
        many = size * samples
        planes = ops.permute_dims(picture, (0, 3, 1, 2))
        cut = ops.grid_sample(planes, ops.affine_grid(theta, (many, many)), padding="border")
        cut = ops.permute_dims(cut, (0, 2, 3, 1))
        if samples == 1:
            return cut
        return ops.mean(ops.reshape(cut, (1, size, samples, size, samples, channels)), axis=(2, 4))

    def back(self, points: Any) -> Any:
        """Places [1, P, 2 or 3] in one square, from 0 to 1, in pixels of the picture; depth is only scaled."""
        u, v = (ops.multiply(ops.subtract(points[..., a], 0.5), self.side) for a in (0, 1))
        sin, cos = ops.sin(self.angle), ops.cos(self.angle)
        x = ops.add(ops.subtract(ops.multiply(u, cos), ops.multiply(v, sin)), self.centre[:, :1])
        y = ops.add(ops.add(ops.multiply(u, sin), ops.multiply(v, cos)), self.centre[:, 1:])
        depth = [ops.multiply(points[..., 2], self.side)] if points.shape[-1] == 3 else []
        return ops.stack([x, y, *depth], axis=-1)


def _turn(first: Any, second: Any, upright: float) -> Any:
    """How far the line from first to second is turned, clockwise, from where it should point."""
    across, down = (ops.subtract(second[..., a], first[..., a]) for a in (0, 1))
    turned = ops.subtract(upright, ops.atan2(ops.negative(down), across))
    whole = ops.floor(ops.divide(ops.add(turned, math.pi), 2 * math.pi))
    return ops.subtract(turned, ops.multiply(whole, 2 * math.pi))


def relative(points: Any, height: int, width: int) -> Any:
    """Places [..., 2 or 3] in pixels as shares of the picture's width, height and, for depth, width."""
    return ops.multiply(points, np.array([1 / width, 1 / height, 1 / width][: points.shape[-1]], np.float32))


def bounds(points: Any) -> Any:
    """The boxes [..., 4] (x1, y1, x2, y2) around points [..., P, 2 or 3]."""
    flat = points[..., :2]
    return ops.concat([ops.min(flat, axis=-2), ops.max(flat, axis=-2)], axis=-1)
