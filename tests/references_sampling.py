"""Plain loops for the op table's rows on images: sampling, regions, deformable convolution, blocks."""

from __future__ import annotations

import itertools
import math

import numpy as np


def at_point(image: np.ndarray, *place: float) -> np.ndarray:
    """Channels of an image [C, *spatial] at a place, linearly between pixels, zeros outside."""
    made = np.zeros(len(image))
    for corner in itertools.product(*[(math.floor(p), math.floor(p) + 1) for p in place]):
        if all(0 <= i < n for i, n in zip(corner, image.shape[1:])):
            made += math.prod(1 - abs(p - i) for p, i in zip(place, corner)) * image[(slice(None), *corner)]
    return made


def grid_sample(x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Linear, zeros outside, pixels as areas; any number of spatial axes."""
    made = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for b, *at in np.ndindex(len(x), *grid.shape[1:-1]):
        point = grid[(b, *at)][::-1]
        made[(b, slice(None), *at)] = at_point(x[b], *[(g + 1) * n / 2 - 0.5 for g, n in zip(point, x.shape[2:])])
    return made


def affine_grid(theta: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each pixel's centre in -1 … 1, times the matrix."""
    made = np.zeros((len(theta), height, width, 2))
    for b, i, j in np.ndindex(*made.shape[:3]):
        made[b, i, j] = theta[b] @ ((2 * j + 1) / width - 1, (2 * i + 1) / height - 1, 1)
    return made


def roi_align(x: np.ndarray, rois: np.ndarray, images: np.ndarray, size: tuple[int, int], samples: int) -> np.ndarray:
    """The mean of each bin's samples; samples more than a pixel outside are 0, others move to the border. 0: one per pixel."""
    (height, width), extents = size, x.shape[2:]
    made = np.zeros((len(rois), x.shape[1], height, width))
    for r, i, j in np.ndindex(len(rois), height, width):
        x1, y1, x2, y2 = rois[r] - 0.5
        steps = ((y2 - y1) / height, (x2 - x1) / width)
        counts = [samples or max(math.ceil(s), 1) for s in steps]
        for a, b in np.ndindex(*counts):
            place = (y1 + (i + (a + 0.5) / counts[0]) * steps[0], x1 + (j + (b + 0.5) / counts[1]) * steps[1])
            if all(-1 <= p <= n for p, n in zip(place, extents)):
                inside = [min(max(p, 0), n - 1) for p, n in zip(place, extents)]
                made[r, :, i, j] += at_point(x[images[r]], *inside) / math.prod(counts)
    return made


def roi_max_pool(x: np.ndarray, rois: np.ndarray, images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The largest pixel of each bin."""
    made = np.zeros((len(rois), x.shape[1], *size))
    for r, i, j in np.ndindex(len(rois), *size):
        x1, y1, x2, y2 = np.floor(rois[r] + 0.5)
        ends = []
        for start, stop, bins, at, extent in ((y1, y2, size[0], i, x.shape[2]), (x1, x2, size[1], j, x.shape[3])):
            step = max(stop - start + 1, 1) / bins
            low, high = math.floor(at * step) + start, math.ceil((at + 1) * step) + start
            ends.append(slice(int(np.clip(low, 0, extent)), int(np.clip(high, 0, extent))))
        part = x[images[r], :, ends[0], ends[1]]
        made[r, :, i, j] = part.max((1, 2)) if part.size else 0
    return made


def deform_conv(x: np.ndarray, w: np.ndarray, offset: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Stride 1, no padding, one group."""
    rows, columns = w.shape[2:]
    made = np.zeros((len(x), len(w), *offset.shape[2:]))
    for b, i, j in np.ndindex(len(x), *offset.shape[2:]):
        for tap, (r, c) in enumerate(np.ndindex(rows, columns)):
            down, across = offset[b, 2 * tap : 2 * tap + 2, i, j]
            made[b, :, i, j] += w[:, :, r, c] @ at_point(x[b], i + r + down, j + c + across) * mask[b, tap, i, j]
    return made


def col2im(x: np.ndarray, image: tuple[int, int], block: tuple[int, int], padding: int) -> np.ndarray:
    """Each block added at its place; stride 1."""
    channels = x.shape[1] // math.prod(block)
    wide = [n + 2 * padding for n in image]
    made = np.zeros((len(x), channels, *wide))
    count = [n - k + 1 for n, k in zip(wide, block)]
    parts = x.reshape(len(x), channels, *block, *count)
    for r, c, i, j in np.ndindex(*block, *count):
        made[:, :, i + r, j + c] += parts[:, :, r, c, i, j]
    return made[:, :, padding : padding + image[0], padding : padding + image[1]]


def reverse_sequences(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Time first, then the batch."""
    made = x.copy()
    for b, n in enumerate(lengths):
        made[:n, b] = x[:n, b][::-1]
    return made


def crop_and_resize(
    x: np.ndarray, boxes: np.ndarray, images: np.ndarray, size: tuple[int, int], nearest: bool, beyond: float
) -> np.ndarray:
    """TensorFlow's CropAndResize of [N, H, W, C], pixel by pixel."""
    made = np.full((len(boxes), *size, x.shape[-1]), beyond, np.float64)
    height, width = x.shape[1:3]
    for r, i, j in np.ndindex(len(boxes), *size):
        y1, x1, y2, x2 = boxes[r].astype(np.float64)
        row = y1 * (height - 1) + i * (y2 - y1) * (height - 1) / (size[0] - 1) if size[0] > 1 else (y1 + y2) / 2 * (height - 1)
        column = x1 * (width - 1) + j * (x2 - x1) * (width - 1) / (size[1] - 1) if size[1] > 1 else (x1 + x2) / 2 * (width - 1)
        if 0 <= row <= height - 1 and 0 <= column <= width - 1:
            image = np.moveaxis(x[images[r]], -1, 0)
            made[r, i, j] = image[:, int(row + 0.5), int(column + 0.5)] if nearest else at_point(image, row, column)
    return made


def projective(x: np.ndarray, matrices: np.ndarray, size: tuple[int, int], fill: float) -> np.ndarray:
    """TensorFlow's ImageProjectiveTransformV3 of [N, C, H, W], bilinear, with a constant outside."""
    made = np.zeros((*x.shape[:2], *size))
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=fill)
    for n, i, j in np.ndindex(x.shape[0], *size):
        a0, a1, a2, b0, b1, b2, c0, c1 = matrices[n % len(matrices)].astype(np.float64)
        k = c0 * j + c1 * i + 1
        row, column = (b0 * j + b1 * i + b2) / k, (a0 * j + a1 * i + a2) / k
        inside = -1 < row < x.shape[2] and -1 < column < x.shape[3]
        made[n, :, i, j] = at_point(padded[n], row + 1, column + 1) if inside else fill
    return made
