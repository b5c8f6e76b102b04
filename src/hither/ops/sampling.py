"""Sampling images at computed places: grids, regions, boxes, projective maps, deformable convolution.

Images become tables of pixels, one row of channels each, so that one lookup fetches a whole pixel and images that several
regions share are not copied.

Conventions: the ONNX operator definitions of GridSample, AffineGrid, RoiAlign, MaxRoiPool and DeformConv, TensorFlow's of
CropAndResize and ImageProjectiveTransformV3. Cubic weights: Keys, Cubic convolution interpolation for digital image
processing, 1981. Regions: He et al.: Mask R-CNN, 2017. Deformable
convolution: Dai et al.: Deformable Convolutional Networks, 2017, and with a mask Zhu et al., 2018.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.trace import static_value
from . import elementwise as el
from . import reduce as rd
from .conv import Amounts, Padding, each_axis, resolve_padding, with_bias
from .operands import Like, apply, asarray, converted, promoted, spread, wide_float
from .products import matmul
from .shape import expand_dims, matrix_transpose, permute_dims, reshape

_KEYS = -0.75  # the coefficient of cubic weights, as in PyTorch and ONNX


@dataclass(frozen=True)
class _Pixels:
    """Images [N, C, *spatial] as a table [N · pixels, C], and the row at which the image of each sample begins."""

    table: Any
    extents: tuple[int, ...]
    start: Any  # int32, broadcasts against the places

    @staticmethod
    def of(x: Any, images: Any, rank: int) -> _Pixels:
        """`images` names the image that the samples along the leading axis of places (with `rank` axes) come from."""
        extents = tuple(x.shape[2:])
        table = reshape(permute_dims(x, (0, *range(2, x.ndim), 1)), (x.shape[0] * math.prod(extents), x.shape[1]))
        start = el.multiply(converted(asarray(images), dt.int32), math.prod(extents))
        return _Pixels(table, extents, reshape(start, (-1, *(1,) * (rank - 1))))

    def inside(self, at: Sequence[Any]) -> Any:
        """Whether whole places, one array for each spatial axis, lie in the image."""
        made: Any = None
        for place, extent in zip(at, self.extents, strict=True):
            one = el.logical_and(el.greater_equal(place, 0), el.less(place, extent))
            made = one if made is None else el.logical_and(made, one)
        return made

    def look(self, at: Sequence[Any], valid: Any = None) -> Any:
        """Pixels [*places, C] at whole places, brought to the border where they lie outside; 0 where not `valid`."""
        row = self.start
        flat: Any = None
        for place, extent in zip(at, self.extents, strict=True):
            index = converted(el.clip(place, 0, extent - 1), dt.int32)
            flat = index if flat is None else el.add(el.multiply(flat, extent), index)
        taken = apply("take", self.table, el.add(flat, row), axis=0)
        return taken if valid is None else el.where(expand_dims(valid, axis=-1), taken, 0)

    def linear(self, at: Sequence[Any]) -> list[Any]:
        """The weighted neighbours of each place, to be summed; pixels outside count as 0."""
        made = []
        for neighbour, weight in _neighbours([_weighted(v, "linear") for v in at]):
            made.append(el.multiply(self.look(neighbour, self.inside(neighbour)), expand_dims(weight, axis=-1)))
        return made


def _weighted(at: Any, mode: str) -> list[tuple[Any, Any]]:
    """Whole places around places, and their weights."""
    first = el.floor(at)
    t = el.subtract(at, first)
    if mode == "linear":
        return [(first, el.subtract(1.0, t)), (el.add(first, 1), t)]
    a = _KEYS
    made = []
    for offset in (-1, 0, 1, 2):
        d = el.abs(el.subtract(t, float(offset)))
        if offset in (0, 1):
            weight = el.add(el.multiply(el.multiply(el.subtract(el.multiply(d, a + 2), a + 3), d), d), 1.0)
        else:
            weight = el.multiply(el.subtract(el.multiply(el.add(el.multiply(el.subtract(d, 5.0), d), 8.0), d), 4.0), a)
        made.append((el.add(first, offset), weight))
    return made


def _neighbours(axes: Sequence[list[tuple[Any, Any]]]) -> list[tuple[list[Any], Any]]:
    """All combinations of weighted places along the axes, with the products of their weights."""
    made = []
    for choice in itertools.product(*axes):
        weight: Any = None
        for _, w in choice:
            weight = w if weight is None else el.multiply(weight, w)
        made.append(([place for place, _ in choice], weight))
    return made


def _total(parts: Sequence[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = el.add(total, part)
    return total


def _channels_second(x: Any) -> Any:
    return permute_dims(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))


# -- grids -----------------------------------------------------------------------------------------------------------------


def grid_sample(x: Like, grid: Like, /, *, mode: str = "linear", padding: str = "zeros", align_corners: bool = False) -> Any:
    """x sampled at points of a grid.

    Args:
        x: [N, C, *spatial]: one to three spatial axes.
        grid: [N, *out, axes]: a coordinate for each spatial axis, the last axis first ((x, y) for images), in -1 … 1.
        mode: "linear", "nearest" or "cubic" (images only).
        padding: what lies outside: "zeros", "border" or "reflection".
        align_corners: whether -1 and 1 are the centres of the border pixels, or their outer edges.

    Returns:
        [N, C, *out].
    """
    if mode not in ("linear", "nearest", "cubic"):
        raise ValueError(f"grid_sample: mode is linear, nearest or cubic, got {mode!r}")
    if padding not in ("zeros", "border", "reflection"):
        raise ValueError(f"grid_sample: padding is zeros, border or reflection, got {padding!r}")
    x, back = wide_float(x)
    points = converted(asarray(grid), x.dtype)
    rank = x.ndim - 2
    if rank < 1 or points.ndim != x.ndim or points.shape[-1] != rank or points.shape[0] != x.shape[0]:
        raise ValueError(
            f"grid_sample takes x [N, C, *spatial] and grid [N, *out, spatial axes], got shapes {x.shape} and {points.shape}"
        )
    if mode == "cubic" and rank != 2:
        raise ValueError(f"grid_sample: cubic sampling is for images [N, C, H, W], got shape {x.shape}")
    pixels = _Pixels.of(x, np.arange(x.shape[0], dtype=np.int32), points.ndim - 1)
    where = []
    for axis, extent in enumerate(pixels.extents):
        scaled = el.add(points[..., rank - 1 - axis], 1.0)
        at = el.multiply(scaled, (extent - 1) / 2) if align_corners else el.subtract(el.multiply(scaled, extent / 2), 0.5)
        where.append(_bounded(at, extent, padding, align_corners) if mode != "cubic" else at)

    def look(at: Sequence[Any]) -> Any:
        if mode == "cubic":
            at = [_bounded(v, extent, padding, align_corners) for v, extent in zip(at, pixels.extents)]
        return pixels.look(at, pixels.inside(at) if padding == "zeros" else None)

    if mode == "nearest":
        made = look([el.round(v) for v in where])
    else:
        around = _neighbours([_weighted(v, mode) for v in where])
        made = _total([el.multiply(look(at), expand_dims(weight, axis=-1)) for at, weight in around])
    return converted(_channels_second(made), back)


def _bounded(at: Any, extent: int, padding: str, align_corners: bool) -> Any:
    """Places brought inside by the padding rule; as they are for "zeros"."""
    if padding == "border":
        return el.clip(at, 0, extent - 1)
    if padding == "reflection":
        low, span = (0.0, float(extent - 1)) if align_corners else (-0.5, float(extent))
        if span == 0:
            return el.multiply(at, 0)
        away = el.abs(el.subtract(at, low))
        turns = el.floor(el.divide(away, span))
        rest = el.subtract(away, el.multiply(turns, span))
        odd = el.not_equal(el.subtract(turns, el.multiply(el.floor(el.multiply(turns, 0.5)), 2.0)), 0)
        return el.clip(el.add(el.where(odd, el.subtract(span, rest), rest), low), 0, extent - 1)
    return at


def affine_grid(theta: Like, spatial: Sequence[int], /, *, align_corners: bool = False) -> Any:
    """The grid for `grid_sample` that an affine map of the result's coordinates gives.

    Args:
        theta: [N, axes, axes + 1]: a matrix for each sample.
        spatial: the extents of the result, two or three.

    Returns:
        [N, *spatial, axes].
    """
    theta = asarray(theta)
    rank = len(spatial)
    if rank not in (2, 3) or theta.shape[1:] != (rank, rank + 1):
        raise ValueError(f"affine_grid takes theta [N, axes, axes + 1] for two or three axes, got {theta.shape} for {spatial}")
    axes = []
    for n in spatial:
        if align_corners:
            axes.append(np.linspace(-1, 1, n) if n > 1 else np.zeros(n))
        else:
            axes.append((np.arange(n) * 2 + 1) / n - 1)
    mesh = np.meshgrid(*axes, indexing="ij")
    base = np.stack([*reversed(mesh), np.ones(tuple(spatial))], -1).reshape(-1, rank + 1).astype(theta.dtype.numpy)
    rows = spread(asarray(base), (theta.shape[0], *base.shape))
    return reshape(matmul(rows, matrix_transpose(theta)), (theta.shape[0], *spatial, rank))


# -- regions ----------------------------------------------------------------------------------------------------------------


def roi_align(
    x: Like, rois: Like, images: Like, size: tuple[int, int], /, *, mode: str = "avg", scale: float = 1.0, samples: int = 0,
    half_pixel: bool = True,
) -> Any:  # fmt: skip
    """Regions of images, resampled to one size: each bin from a grid of linearly interpolated samples.

    Args:
        x: [N, C, H, W].
        rois: [R, 4]: (x1, y1, x2, y2) of each region.
        images: int [R]: the image each region is of.
        size: rows and columns of bins.
        mode: "avg": the mean of a bin's samples; "max": the largest of their weighted neighbours (as ONNX has it).
        scale: what coordinates are multiplied by to be pixels of x.
        samples: along each axis of a bin; 0 takes one for each pixel begun, and rois must then be known while tracing.
        half_pixel: pixels are areas, (0, 0) being the corner of the first; otherwise its centre, and regions at least 1 × 1.

    Returns:
        [R, C, *size].
    """
    if mode not in ("avg", "max"):
        raise ValueError(f"roi_align: mode is avg or max, got {mode!r}")
    x, back = wide_float(x)
    rois = converted(asarray(rois), x.dtype)
    if x.ndim != 4 or rois.ndim != 2 or rois.shape[1] != 4:
        raise ValueError(f"roi_align takes x [N, C, H, W] and rois [R, 4], got shapes {x.shape} and {rois.shape}")
    box = el.multiply(rois, scale)
    if half_pixel:
        box = el.subtract(box, 0.5)
    x1, y1, x2, y2 = (box[:, i] for i in range(4))
    extents = [el.subtract(y2, y1), el.subtract(x2, x1)]
    if not half_pixel:
        extents = [el.maximum(e, 1.0) for e in extents]
    steps = [el.divide(e, float(bins)) for e, bins in zip(extents, size)]
    (rows, row_used), (columns, column_used) = (
        _bin_samples(start, step, bins, samples) for start, step, bins in zip((y1, x1), steps, size)
    )
    count, down, across = rois.shape[0], rows.shape[2], columns.shape[2]
    full = (count, size[0], size[1], down, across)
    at = [
        spread(reshape(rows, (count, size[0], 1, down, 1)), full),
        spread(reshape(columns, (count, 1, size[1], 1, across)), full),
    ]
    pixels = _Pixels.of(x, images, len(full))
    near: Any = None  # samples more than a pixel outside count as 0
    for place, extent in zip(at, pixels.extents):
        one = el.logical_and(el.greater_equal(place, -1.0), el.less_equal(place, float(extent)))
        near = one if near is None else el.logical_and(near, one)
    parts = pixels.linear([el.clip(v, 0.0, float(e - 1)) for v, e in zip(at, pixels.extents)])
    if mode == "max":
        sampled = parts[0]
        for part in parts[1:]:
            sampled = el.maximum(sampled, part)
    else:
        sampled = _total(parts)
    sampled = el.where(expand_dims(near, axis=-1), sampled, 0.0)  # [R, rows, columns, down, across, C]
    if row_used is None or column_used is None:
        made = (rd.max if mode == "max" else rd.mean)(sampled, axis=(3, 4))
        return converted(_channels_second(made), back)
    used = (row_used.reshape(count, 1, 1, down, 1, 1) & column_used.reshape(count, 1, 1, 1, across, 1)).astype(bool)
    if mode == "max":
        made = rd.max(el.where(used, sampled, -math.inf), axis=(3, 4))
    else:
        made = el.divide(rd.sum(el.where(used, sampled, 0.0), axis=(3, 4)), used.sum((3, 4)).clip(1).astype(x.dtype.numpy))
    return converted(_channels_second(made), back)


def _bin_samples(start: Any, step: Any, bins: int, samples: int) -> tuple[Any, np.ndarray | None]:
    """Places [R, bins, samples] along one axis, and which samples of a region count (None: all)."""
    count = start.shape[0]
    used: np.ndarray | None = None
    number = np.arange(bins).reshape(1, -1, 1)
    if samples > 0:
        offsets = number + (np.arange(samples) + 0.5) / samples
    else:
        known = static_value(step)
        if known is None:
            raise ValueError("roi_align: with samples=0 the regions decide how many there are and must be known while tracing")
        each = np.ceil(known).clip(1).reshape(-1, 1, 1)
        sample = np.arange(int(each.max(initial=1))).reshape(1, 1, -1)
        offsets = number + (sample + 0.5) / each
        used = (sample < each).reshape(count, -1)
    shape = (count, 1, 1)
    return el.add(reshape(start, shape), el.multiply(reshape(step, shape), offsets.astype(start.dtype.numpy))), used


def crop_and_resize(
    x: Like, boxes: Like, images: Like, size: tuple[int, int], /, *, mode: str = "linear", extrapolation: float = 0.0,
    layout: str = "channels_first",
) -> Any:  # fmt: skip
    """Boxes cut out of images, each resampled to one size whose corners are the box's corners (TensorFlow's CropAndResize).

    Args:
        x: [N, C, H, W], or [N, H, W, C] for layout="channels_last".
        boxes: [R, 4]: (y1, x1, y2, x2), 0 … 1 from the centre of the first pixel to the centre of the last. A box may be
            mirrored (y1 > y2) and reach outside.
        images: int [R]: the image each box is of.
        size: rows and columns of the result; one row or column is the box's middle.
        mode: "linear" or "nearest".
        extrapolation: what lies outside the image.

    Returns:
        [R, C, *size], or channels last.
    """
    if mode not in ("linear", "nearest"):
        raise ValueError(f"crop_and_resize: mode is linear or nearest, got {mode!r}")
    x, back = wide_float(x)
    boxes = converted(asarray(boxes), x.dtype)
    if x.ndim != 4 or boxes.ndim != 2 or boxes.shape[1] != 4 or min(size) < 1:
        raise ValueError(f"crop_and_resize takes x of 4 axes, boxes [R, 4] and a size, got {x.shape}, {boxes.shape}, {size}")
    x = _channels_second(x) if layout == "channels_last" else x
    count = boxes.shape[0]
    places, inside = [], []
    for axis, (n, extent) in enumerate(zip(size, x.shape[2:])):
        start, stop = el.multiply(boxes[:, axis], float(extent - 1)), el.multiply(boxes[:, axis + 2], float(extent - 1))
        if n > 1:
            step = el.divide(el.subtract(stop, start), float(n - 1))
            number = np.arange(n, dtype=x.dtype.numpy)
            at = el.add(expand_dims(start, axis=1), el.multiply(expand_dims(step, axis=1), number))
        else:
            at = expand_dims(el.multiply(el.add(start, stop), 0.5), axis=1)
        at = reshape(at, (count, n, 1) if axis == 0 else (count, 1, n))
        places.append(at)
        inside.append(el.logical_and(el.greater_equal(at, 0.0), el.less_equal(at, float(extent - 1))))
    places = [spread(at, (count, *size)) for at in places]
    pixels = _Pixels.of(x, images, 3)
    if mode == "nearest":
        made = pixels.look([el.floor(el.add(at, 0.5)) for at in places])
    else:
        made = _total(pixels.linear([el.clip(at, 0.0, float(n - 1)) for at, n in zip(places, pixels.extents)]))
    made = el.where(expand_dims(el.logical_and(*inside), axis=-1), made, extrapolation)
    return converted(made if layout == "channels_last" else _channels_second(made), back)


def projective_transform(
    x: Like, matrices: Like, size: tuple[int, int], /, *, mode: str = "nearest", padding: str = "zeros", fill: Like = 0.0,
    layout: str = "channels_first",
) -> Any:  # fmt: skip
    """Images seen through projective maps of the result's pixels (TensorFlow's ImageProjectiveTransformV3).

    Args:
        x: [N, C, H, W], or [N, H, W, C] for layout="channels_last".
        matrices: [N or 1, 8]: (a0, a1, a2, b0, b1, b2, c0, c1); the result at (x, y) is the image at
            ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k), k = c0 x + c1 y + 1.
        size: rows and columns of the result.
        mode: "nearest" or "linear".
        padding: what lies outside: "zeros" (that is `fill`), "border", "reflection" (with the border) or "wrap".

    Returns:
        [N, C, *size], or channels last.
    """
    if mode not in ("linear", "nearest") or padding not in ("zeros", "border", "reflection", "wrap"):
        raise ValueError(f"projective_transform: mode {mode!r} or padding {padding!r} is unknown")
    x, back = wide_float(x)
    maps = converted(asarray(matrices), x.dtype)
    if x.ndim != 4 or maps.ndim != 2 or maps.shape[1] != 8 or maps.shape[0] not in (1, x.shape[0]):
        raise ValueError(f"projective_transform takes x of 4 axes and matrices [N or 1, 8], got {x.shape} and {maps.shape}")
    x = _channels_second(x) if layout == "channels_last" else x
    count, kind = x.shape[0], x.dtype.numpy
    down, across = np.arange(size[0], dtype=kind).reshape(1, -1, 1), np.arange(size[1], dtype=kind).reshape(1, 1, -1)
    c = [reshape(maps[:, i], (-1, 1, 1)) for i in range(8)]
    k = el.add(el.add(el.multiply(c[6], across), el.multiply(c[7], down)), 1.0)
    beyond = el.equal(k, 0.0)
    k = el.where(beyond, 1.0, k)
    full = (count, *size)
    places = []
    for (a, b, shift), extent in zip((c[3:6], c[:3]), x.shape[2:]):
        at = el.divide(el.add(el.add(el.multiply(a, across), el.multiply(b, down)), shift), k)
        places.append(spread(_mapped(at, extent, padding), full))
    pixels = _Pixels.of(x, np.arange(count, dtype=np.int32), 3)

    def look(at: Sequence[Any]) -> Any:
        found = pixels.look(at)
        return el.where(expand_dims(pixels.inside(at), axis=-1), found, fill)

    if mode == "nearest":
        made = look([el.floor(el.add(at, 0.5)) for at in places])
    else:
        around = _neighbours([_weighted(at, "linear") for at in places])
        made = _total([el.multiply(look(at), expand_dims(weight, axis=-1)) for at, weight in around])
    made = el.where(expand_dims(spread(beyond, full), axis=-1), fill, made)
    return converted(made if layout == "channels_last" else _channels_second(made), back)


def _mapped(at: Any, extent: int, padding: str) -> Any:
    """Places brought inside as `projective_transform` does it; as they are for "zeros"."""
    if padding == "zeros":
        return at
    if padding == "reflection" and extent > 1:
        rest = el.subtract(at, el.multiply(el.floor(el.divide(at, float(2 * extent))), float(2 * extent)))
        mirrored = el.where(el.greater_equal(rest, float(extent)), el.subtract(float(2 * extent - 1), rest), rest)
        inner = el.logical_and(el.greater_equal(at, 0.0), el.less_equal(at, float(extent - 1)))
        at = el.where(inner, at, el.where(el.less(at, 0.0), _reflected_below(at, extent), mirrored))
    elif padding == "wrap" and extent > 1:
        turns = float(extent - 1)
        up = el.add(at, el.multiply(el.add(el.trunc(el.divide(el.negative(at), turns)), 1.0), float(extent)))
        down = el.subtract(at, el.multiply(el.trunc(el.divide(at, turns)), float(extent)))
        at = el.where(el.less(at, 0.0), up, el.where(el.greater(at, turns), down, at))
    return el.clip(at, 0.0, float(extent - 1))


def _reflected_below(at: Any, extent: int) -> Any:
    """Negative places mirrored about the image's first edge."""
    period = float(2 * extent)
    near = el.add(at, el.multiply(el.trunc(el.divide(el.negative(at), period)), period))
    return el.where(el.less(near, float(-extent)), el.add(near, period), el.subtract(el.negative(near), 1.0))


def roi_max_pool(x: Like, rois: Like, images: Like, size: tuple[int, int], /, *, scale: float = 1.0) -> Any:
    """The maximum over the pixels that each bin of a region covers, 0 where it covers none; arguments as for `roi_align`.

    Two masked maxima, along rows and then along columns. Girshick: Fast R-CNN, 2015.
    """
    x, rois = asarray(x), asarray(rois)
    if x.ndim != 4 or rois.ndim != 2 or rois.shape[1] != 4 or min(size) < 1:
        raise ValueError(f"roi_max_pool takes x [N, C, H, W], rois [R, 4] and bins, got {x.shape}, {rois.shape} and {size}")
    count, (height, width) = rois.shape[0], x.shape[2:]
    made = apply("take", x, converted(asarray(images), dt.int32), axis=0)
    box = el.floor(el.add(el.multiply(rois, scale), 0.5))
    for first, last, extent, bins, axis in ((1, 3, height, size[0], 2), (0, 2, width, size[1], 3)):
        start = reshape(box[:, first], (count, 1, 1))
        length = el.maximum(el.add(el.subtract(reshape(box[:, last], (count, 1, 1)), start), 1.0), 1.0)
        step = el.divide(length, float(bins))
        number = np.arange(bins, dtype=rois.dtype.numpy).reshape(1, -1, 1)
        low = el.clip(el.add(el.floor(el.multiply(step, number)), start), 0.0, float(extent))
        high = el.clip(el.add(el.ceil(el.multiply(step, number + 1)), start), 0.0, float(extent))
        pixel = np.arange(extent, dtype=rois.dtype.numpy).reshape(1, 1, -1)
        mask = el.logical_and(el.less_equal(low, pixel), el.greater(high, pixel))  # [R, bins, extent]
        shape = [count, 1, 1, 1, 1]
        shape[axis], shape[axis + 1] = bins, extent
        made = rd.max(el.where(reshape(mask, shape), expand_dims(made, axis=axis), -math.inf), axis=axis + 1)
    return el.where(el.isinf(made), 0.0, made)


# -- deformable convolution -------------------------------------------------------------------------------------------------


def deform_conv(
    x: Like, w: Like, offset: Like, bias: Like | None = None, mask: Like | None = None, /, *, strides: Amounts = 1,
    padding: Padding = "valid", dilation: Amounts = 1, groups: int = 1, offset_groups: int = 1,
) -> Any:  # fmt: skip
    """A convolution whose every tap samples the image at its own offset, linearly interpolated.

    Args:
        x: [N, C, H, W].
        w: [O, C/groups, *window].
        offset: [N, offset_groups · taps · 2, *out]: rows, then columns, to move each tap by.
        mask: [N, offset_groups · taps, *out]: what each tap is multiplied by.
    """
    x, w, offset = promoted(x, w, offset)
    if x.ndim != 4 or w.ndim != 4 or offset.ndim != 4:
        raise ValueError(f"deform_conv takes images [N, C, H, W], got {x.shape}, weights {w.shape}, offsets {offset.shape}")
    n, channels, window, out = x.shape[0], x.shape[1], tuple(w.shape[2:]), tuple(offset.shape[2:])
    s, d = each_axis(strides, 2, "strides"), each_axis(dilation, 2, "dilation")
    pairs = resolve_padding(padding, x.shape[2:], window, s, d)
    taps, parts = math.prod(window), offset_groups
    moved = reshape(offset, (n * parts, taps, 2, *out))
    tap, place = np.indices(window).reshape(2, taps, 1, 1), np.indices(out).reshape(2, 1, *out)
    at = []
    for axis in (0, 1):
        regular = tap[axis] * d[axis] + place[axis] * s[axis] - pairs[axis][0]
        at.append(el.add(moved[:, :, axis], regular.astype(x.dtype.numpy)))
    images = reshape(x, (n * parts, channels // parts, *x.shape[2:]))
    pixels = _Pixels.of(images, np.arange(n * parts, dtype=np.int32), 4)
    sampled = _total(pixels.linear(at))  # [N · parts, taps, *out, C / parts]
    if mask is not None:
        sampled = el.multiply(sampled, reshape(converted(asarray(mask), x.dtype), (n * parts, taps, *out, 1)))
    places = math.prod(out)
    columns = permute_dims(reshape(sampled, (n * parts, taps, places, channels // parts)), (0, 3, 1, 2))
    columns = reshape(columns, (n, groups, channels // groups * taps, places))
    weights = reshape(w, (1, groups, w.shape[0] // groups, channels // groups * taps))
    return with_bias(reshape(matmul(weights, columns), (n, w.shape[0], *out)), bias, "channels_first")


__all__ = [
    "affine_grid", "crop_and_resize", "deform_conv", "grid_sample", "projective_transform", "roi_align", "roi_max_pool",
]  # fmt: skip
