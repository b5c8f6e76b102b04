"""A picture file as the input of a model of fixed size, and places found in it brought back to the picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import media
from ..model import Model
from ..spec import Spec

FRAME = (480, 640)  # rows and columns that models take unless they are loaded for others: a camera's usual picture


def image_spec(size: tuple[int, int] = FRAME) -> Spec:
    """One picture of bytes."""
    return Spec((1, *size, 3), "uint8", media="image", layout="NHWC")


def show_box(box: Sequence[float]) -> str:
    """A box in a line of text."""
    return ", ".join(f"{v:.2f}" for v in box)


@dataclass(frozen=True)
class Picture:
    """A picture, and the frame [1, H, W, 3] in whose middle it was put with its aspect kept."""

    pixels: np.ndarray  # uint8 [h, w, 3]
    frame: np.ndarray
    inside: tuple[int, int, int, int]  # of the frame: top, left, rows, columns

    @staticmethod
    def of(model: Model, source: Any) -> Picture:
        """A file, or uint8 [h, w, 3], for the model's input "image"."""
        pixels = source if isinstance(source, np.ndarray) else media.read_image(os.fspath(source))
        shape = model.inputs["image"].shape
        assert shape is not None
        height, width = int(shape[1] or 0), int(shape[2] or 0)
        scale = min(height / pixels.shape[0], width / pixels.shape[1])
        rows, columns = (max(round(extent * scale), 1) for extent in pixels.shape[:2])
        top, left = (height - rows) // 2, (width - columns) // 2
        frame = np.zeros((1, height, width, 3), np.uint8)
        frame[0, top : top + rows, left : left + columns] = media.resize_image(pixels, rows, columns)
        return Picture(pixels, frame, (top, left, rows, columns))

    def back(self, points: np.ndarray) -> np.ndarray:
        """Places [..., 2 or 3] as shares of the frame, as shares of the picture."""
        _, height, width, _ = self.frame.shape
        top, left, rows, columns = self.inside
        scale = np.array([width / columns, height / rows, width / columns], np.float32)
        start = np.array([left / columns, top / rows, 0], np.float32)
        axes = points.shape[-1]
        return points * scale[:axes] - start[:axes]

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes [N, 4] (x1, y1, x2, y2) likewise."""
        return self.back(boxes.reshape(-1, 2, 2)).reshape(-1, 4)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask [H, W] of the frame as one of the picture's size, float32 [h, w]."""
        from PIL import Image

        top, left, rows, columns = self.inside
        part = Image.fromarray(np.ascontiguousarray(mask[top : top + rows, left : left + columns], np.float32))
        return np.asarray(part.resize((self.pixels.shape[1], self.pixels.shape[0]), Image.Resampling.BILINEAR))
