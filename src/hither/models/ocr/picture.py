"""Pictures as arrays: a piece of one, turned and scaled. `picture.js` is the same in JavaScript: both read the same.

Pixel (x, y) covers the square from (x, y) to (x + 1, y + 1). Sampling is bilinear; where the piece is shrunk by two or more,
the picture is first averaged over whole blocks of pixels, or fine print would alias.
"""

from __future__ import annotations

import math

import numpy as np

from .boxes import Box


def shrink(pixels: np.ndarray, factor: int) -> np.ndarray:
    """The mean of each block of factor x factor pixels of uint8 [H, W, C], rounded down; what fills no block is left out."""
    if factor < 2:
        return pixels
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    blocks = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
    return (blocks.sum((1, 3), dtype=np.uint32) // (factor * factor)).astype(np.uint8)


def cut(pixels: np.ndarray, box: Box, width: int, height: int) -> np.ndarray:
    """The piece of uint8 [H, W, C] under `box`, as uint8 [height, width, C]; beyond its edges the picture repeats them."""
    factor = max(1, math.floor(min(box.width / width, box.height / height, min(pixels.shape[:2]))))
    pixels, box = shrink(pixels, factor), box.scaled(1 / factor)
    c, s = math.cos(box.angle), math.sin(box.angle)
    u = (((np.arange(width) + 0.5) / width - 0.5) * box.width)[None, :]
    v = (((np.arange(height) + 0.5) / height - 0.5) * box.height)[:, None]
    x = np.clip(box.x + u * c - v * s - 0.5, 0, pixels.shape[1] - 1)
    y = np.clip(box.y + u * s + v * c - 0.5, 0, pixels.shape[0] - 1)
    x0, y0 = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    x1, y1 = np.minimum(x0 + 1, pixels.shape[1] - 1), np.minimum(y0 + 1, pixels.shape[0] - 1)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    top = pixels[y0, x0] * (1 - fx) + pixels[y0, x1] * fx
    bottom = pixels[y1, x0] * (1 - fx) + pixels[y1, x1] * fx
    return np.floor(top * (1 - fy) + bottom * fy + 0.5).astype(np.uint8)
