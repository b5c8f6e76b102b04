"""Sampling images at computed places: GridSample, AffineGrid, RoiAlign, MaxRoiPool."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import as_float, cast


def pixels(images: Any, index: list[Any], valid: Any | None) -> Any:
    """Elements of images [N, C, *S] at integer places, one float [N, L] array per spatial axis; 0 where not `valid`."""
    n, c, spatial = images.shape[0], images.shape[1], images.shape[2:]
    flat: Any = None
    for place, extent in zip(index, spatial):
        at = cast(ops.minimum(ops.maximum(place, 0.0), float(extent - 1)), dt.int32)
        flat = at if flat is None else flat * extent + at
    length = flat.shape[1]
    flat = ops.broadcast_to(ops.reshape(flat, (n, 1, length)), (n, c, length))
    found = apply("take_along", ops.reshape(images, (n, c, math.prod(spatial))), flat, axis=2)
    return found if valid is None else ops.where(ops.reshape(valid, (n, 1, length)), found, 0.0)


def inside(index: list[Any], extents: tuple[int, ...]) -> Any:
    """Whether integer places lie in the image."""
    result: Any = None
    for place, extent in zip(index, extents):
        ok = (place >= 0) & (place <= float(extent - 1))
        result = ok if result is None else result & ok
    return result


def bilinear_at(images: Any, *places: Any) -> Any:
    """Linear interpolation of [N, C, *S] at places [N, L] per spatial axis, zeros outside: [N, C, L]."""
    lower = [ops.floor(p) for p in places]
    total: Any = None
    for corner in itertools.product((0, 1), repeat=len(places)):
        index = [low + float(c) for low, c in zip(lower, corner)]
        weight: Any = None
        for place, low, c in zip(places, lower, corner):
            part = place - low if c else 1.0 - (place - low)
            weight = part if weight is None else weight * part
        part = pixels(images, index, inside(index, images.shape[2:])) * ops.expand_dims(weight, axis=1)
        total = part if total is None else total + part
    return total


@operator("GridSample")
def grid_sample(node: Node, x: Any, grid: Any) -> Any:
    mode, padding, aligned = node["mode"], node["padding_mode"], bool(node["align_corners"])
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    rank = len(x.shape) - 2
    node.check(
        rank >= 1 and len(grid.shape) == len(x.shape) and grid.shape[-1] == rank, f"grid {tuple(grid.shape)} does not fit"
    )
    node.check(mode in ("nearest", "linear", "cubic"), f"mode {mode!r} is unknown")
    node.check(padding in ("zeros", "border", "reflection"), f"padding_mode {padding!r} is unknown")
    if mode == "cubic" and rank != 2:
        raise node.unsupported("cubic interpolation of volumes")
    n, spatial = x.shape[0], tuple(x.shape[2:])
    out = tuple(grid.shape[1:-1])
    flat = ops.reshape(as_float(grid), (n, math.prod(out), rank))
    places = []
    for axis, extent in enumerate(spatial):
        g = flat[:, :, rank - 1 - axis]  # the grid's last axis counts from the innermost axis
        places.append((g + 1.0) * ((extent - 1) / 2) if aligned else ((g + 1.0) * float(extent) - 1.0) * 0.5)
    source = as_float(x)

    def read(index: list[Any]) -> Any:
        if padding == "zeros":
            return pixels(source, index, inside(index, spatial))
        if padding == "reflection":
            index = [_reflected(i, e, aligned) for i, e in zip(index, spatial)]
        return pixels(source, index, None)

    if padding == "border" and mode != "cubic":
        places = [ops.minimum(ops.maximum(p, 0.0), float(e - 1)) for p, e in zip(places, spatial)]
    elif padding == "reflection" and mode != "cubic":
        places = [_reflected(p, e, aligned) for p, e in zip(places, spatial)]
    if mode == "nearest":
        result = read([apply("round", p) for p in places])
    else:
        lower = [ops.floor(p) for p in places]
        offsets = (0, 1) if mode == "linear" else (-1, 0, 1, 2)
        weights = [[_tap_weight(p - low, k, mode) for k in offsets] for p, low in zip(places, lower)]
        result = None
        for choice in itertools.product(range(len(offsets)), repeat=rank):
            index = [low + float(offsets[k]) for low, k in zip(lower, choice)]
            weight: Any = None
            for axis, k in enumerate(choice):
                weight = weights[axis][k] if weight is None else weight * weights[axis][k]
            part = read(index) * ops.expand_dims(weight, axis=1)
            result = part if result is None else result + part
    return cast(ops.reshape(result, (n, x.shape[1], *out)), x.dtype)


def _tap_weight(fraction: Any, offset: int, mode: str) -> Any:
    """The weight of the pixel `offset` away from the lower one."""
    if mode == "linear":
        return fraction if offset else 1.0 - fraction
    a = -0.75
    t = ops.abs(fraction - float(offset))
    if offset in (0, 1):
        return ((a + 2) * t - (a + 3)) * t * t + 1.0
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a


def _reflected(place: Any, extent: int, aligned: bool) -> Any:
    """A place folded back at the image's borders: pixel centres if corners are aligned, pixel edges if not."""
    low, high = (0.0, float(extent - 1)) if aligned else (-0.5, extent - 0.5)
    span = high - low
    if span <= 0:
        return place * 0.0
    distance = ops.abs(place - low)
    turns = ops.floor(distance * (1.0 / span))
    rest = distance - turns * span
    odd = turns - ops.floor(turns * 0.5) * 2.0
    return ops.where(odd > 0.5, high - rest, low + rest)


@operator("AffineGrid")
def affine_grid(node: Node, theta: Any, size: Any) -> Any:
    shape = node.ints(size, "the size")
    spatial = shape[2:]
    rank = len(spatial)
    node.check(
        rank in (2, 3) and tuple(theta.shape) == (shape[0], rank, rank + 1), f"theta {tuple(theta.shape)} does not fit {shape}"
    )
    axes = []
    for n in spatial:
        if node["align_corners"]:
            axes.append(np.linspace(-1, 1, n) if n > 1 else np.zeros(n))
        else:
            axes.append((np.arange(n) * 2 + 1) / n - 1)
    mesh = np.meshgrid(*axes, indexing="ij")
    base = np.stack([*reversed(mesh), np.ones(spatial)], -1).reshape(1, -1, rank + 1).astype(theta.dtype.numpy)
    points = ops.matmul(ops.broadcast_to(Array(base), (shape[0], *base.shape[1:])), ops.matrix_transpose(theta))
    return ops.reshape(points, (shape[0], *spatial, rank))


@operator("RoiAlign")
def roi_align(node: Node, x: Any, rois: Any, batch: Any) -> Any:
    mode = node["mode"]
    node.check(mode in ("avg", "max"), f"mode must be avg or max, got {mode!r}")
    height, width, ratio = node["output_height"], node["output_width"], node["sampling_ratio"]
    half = node.opset >= 16 and node["coordinate_transformation_mode"] == "half_pixel"
    count, (_, c, h, w) = rois.shape[0], x.shape
    box = rois * node["spatial_scale"]
    if half:
        box = box - 0.5
    x1, y1, x2, y2 = (box[:, i] for i in range(4))
    bin_h, bin_w = y2 - y1, x2 - x1
    if not half:
        bin_h, bin_w = ops.maximum(bin_h, 1.0), ops.maximum(bin_w, 1.0)
    bin_h, bin_w = bin_h / float(height), bin_w / float(width)
    rows, row_ok = _bin_samples(node, y1, bin_h, height, ratio, rois)
    cols, col_ok = _bin_samples(node, x1, bin_w, width, ratio, rois)
    sh, sw = rows.shape[2], cols.shape[2]
    full = (count, height, width, sh, sw)
    y = ops.broadcast_to(ops.reshape(rows, (count, height, 1, sh, 1)), full)
    z = ops.broadcast_to(ops.reshape(cols, (count, 1, width, 1, sw)), full)
    flat = (count, height * width * sh * sw)
    y, z = ops.reshape(y, flat), ops.reshape(z, flat)
    images = apply("take", x, batch, axis=0)
    near = (y >= -1.0) & (y <= float(h)) & (z >= -1.0) & (z <= float(w))
    y, z = (ops.minimum(ops.maximum(p, 0.0), float(e - 1)) for p, e in ((y, h), (z, w)))
    near = ops.reshape(near, (count, 1, flat[1]))
    if mode == "max":
        parts = _corner_products(images, y, z)
        sampled = parts[0]
        for part in parts[1:]:
            sampled = ops.maximum(sampled, part)
    else:
        sampled = bilinear_at(images, y, z)
    shape = (count, c, height, width, sh, sw)
    sampled = ops.reshape(ops.where(near, sampled, 0.0), shape)
    if row_ok is None or col_ok is None:
        axes = (4, 5)
        return ops.max(sampled, axis=axes) if mode == "max" else ops.mean(sampled, axis=axes)
    valid = ops.reshape(row_ok, (count, 1, 1, 1, sh, 1)) & ops.reshape(col_ok, (count, 1, 1, 1, 1, sw))
    valid = ops.broadcast_to(valid, shape)
    if mode == "max":
        return ops.max(ops.where(valid, sampled, -math.inf), axis=(4, 5))
    used = ops.sum(cast(valid, x.dtype), axis=(4, 5))
    return ops.sum(ops.where(valid, sampled, 0.0), axis=(4, 5)) / ops.maximum(used, 1.0)


def _corner_products(images: Any, y: Any, z: Any) -> list[Any]:
    """The four weighted neighbours of each place, not summed: ONNX takes the largest of them in mode "max"."""
    low = [ops.floor(y), ops.floor(z)]
    parts = []
    for corner in itertools.product((0, 1), repeat=2):
        index = [p + float(c) for p, c in zip(low, corner)]
        weight: Any = None
        for place, p, c in zip((y, z), low, corner):
            part = place - p if c else 1.0 - (place - p)
            weight = part if weight is None else weight * part
        parts.append(pixels(images, index, None) * ops.expand_dims(weight, axis=1))
    return parts


def _bin_samples(node: Node, start: Any, size: Any, bins: int, ratio: int, rois: Any) -> tuple[Any, Any | None]:
    """Sample places [R, bins, samples] along one axis, and which of them count (None: all)."""
    count = start.shape[0]
    if ratio > 0:
        offsets = (np.arange(bins)[:, None] + (np.arange(ratio) + 0.5) / ratio).astype(np.float32)
        return ops.reshape(start, (count, 1, 1)) + ops.reshape(size, (count, 1, 1)) * Array(offsets[None]), None
    # sampling_ratio 0 takes ceil(bin size) samples, so the boxes' sizes decide how many there are.
    used = np.ceil(node.static(size, "the number of samples (sampling_ratio is 0, which derives it from rois)"))
    used = used.clip(1).reshape(-1, 1, 1)
    most = int(used.max(initial=1))
    sample = np.arange(most).reshape(1, 1, -1)
    offsets = (np.arange(bins).reshape(1, -1, 1) + (sample + 0.5) / used).astype(np.float32)
    places = ops.reshape(start, (count, 1, 1)) + ops.reshape(size, (count, 1, 1)) * Array(offsets)
    return places, Array((sample < used).reshape(count, most))


@operator("MaxRoiPool")
def max_roi_pool(node: Node, x: Any, rois: Any) -> Any:
    """Each bin is the maximum over the pixels that it covers, found with two masked maxima, rows then columns."""
    pooled, (h, w) = tuple(node["pooled_shape"]), x.shape[2:]
    node.check(len(pooled) == 2 and min(pooled) > 0, f"pooled_shape {pooled} must be two positive numbers")
    count = rois.shape[0]
    images = apply("take", x, cast(rois[:, 0], dt.int32), axis=0)
    box = apply("floor", rois[:, 1:] * node["spatial_scale"] + 0.5)
    result = images
    for first, last, extent, bins, axis in ((1, 3, h, pooled[0], 2), (0, 2, w, pooled[1], 3)):
        start = ops.reshape(box[:, first], (count, 1, 1))
        size = ops.maximum(ops.reshape(box[:, last], (count, 1, 1)) - start + 1.0, 1.0) / float(bins)
        number: Any = Array(np.arange(bins, dtype=np.float32).reshape(1, -1, 1))
        low = ops.minimum(ops.maximum(ops.floor(number * size) + start, 0.0), float(extent))
        high = ops.minimum(ops.maximum(ops.ceil((number + 1.0) * size) + start, 0.0), float(extent))
        pixel = Array(np.arange(extent, dtype=np.float32).reshape(1, 1, -1))
        mask = (pixel >= low) & (pixel < high)  # [R, bins, extent]
        shape = [count, 1, 1, 1, 1]
        shape[axis], shape[axis + 1] = bins, extent
        spread = ops.expand_dims(result, axis=axis)
        spread = ops.where(ops.reshape(mask, shape), spread, -math.inf)
        result = apply("reduce_max", spread, axes=(axis + 1,))
    return ops.where(apply("is_inf", result), 0.0, result)
