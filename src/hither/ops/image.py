"""Resampling of grids: resize by every convention in use, and sampling at computed points.

Resizing is separable. Each axis becomes a sum over taps of gathered slices times constant weights, or one product with a
constant matrix where taps are many; which samples and which weights is worked out while tracing.

Conventions: the ONNX operator definitions of Resize and GridSample; cubic weights: Keys, Cubic convolution interpolation for
digital image processing, 1981.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import dtypes as dt
from . import elementwise as el
from .linalg import matmul
from .operands import Like, apply, asarray, converted, one_axis, wide_float
from .shape import moveaxis, permute_dims, repeat, reshape

TRANSFORMS = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)  # fmt: skip
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
_MOST_TAPS = 8  # more than this per output are a matrix product


@dataclass(frozen=True)
class Sampling:
    """How result positions along one axis become source positions, and how samples are weighted; see `resize`."""

    mode: str = "linear"
    transform: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    antialias: bool = False
    exclude_outside: bool = False
    cubic: float = -0.75

    def check(self) -> None:
        """Raise ValueError for names that do not exist."""
        for what, given, known in (
            ("mode", self.mode, ("nearest", "linear", "cubic")), ("transform", self.transform, TRANSFORMS),
            ("nearest", self.nearest, NEAREST),
        ):  # fmt: skip
            if given not in known:
                raise ValueError(f"resize: {what} is one of {', '.join(known)}, got {given!r}")

    def positions(self, n: int, m: int, scale: float, region: tuple[float, float] | None) -> np.ndarray:
        """Source positions of the m results along an axis of n samples. Nearest: in float32, so that ties fall as elsewhere."""
        real: Any = np.float32 if self.mode == "nearest" else np.float64
        at: np.ndarray = np.arange(m, dtype=real)
        s, half = real(scale), real(0.5)
        match self.transform:
            case "asymmetric":
                return at / s
            case "align_corners":
                return at * real((n - 1) / (m - 1)) if m > 1 else np.zeros(m, real)
            case "pytorch_half_pixel" if m == 1:
                return np.zeros(1, real)
            case "half_pixel_symmetric":
                shift = n / 2 * (1 - m / (scale * n))
                return real(shift) + (at + half) / s - half
            case "tf_half_pixel_for_nn":
                return (at + half) / s
            case "tf_crop_and_resize":
                start, end = region or (0.0, 1.0)
                if m == 1:
                    return np.full(1, (start + end) / 2 * (n - 1), real)
                return real(start * (n - 1)) + at * real((end - start) * (n - 1) / (m - 1))
        return (at + half) / s - half

    def rounded(self, at: np.ndarray) -> np.ndarray:
        """Positions as sample numbers, for mode "nearest"."""
        match self.nearest:
            case "floor":
                return np.floor(at)
            case "ceil":
                return np.ceil(at)
            case "round_prefer_ceil":
                return np.floor(at + at.dtype.type(0.5))
        return np.ceil(at - at.dtype.type(0.5))

    def taps(self, n: int, at: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Sample numbers int32[m, t] (inside) and weights float64[m, t]."""
        if self.mode == "nearest":
            return self.rounded(at).clip(0, n - 1).astype(np.int32)[:, None], np.ones((len(at), 1))
        radius = 1 if self.mode == "linear" else 2
        shrink = min(scale, 1.0) if self.antialias else 1.0  # a wider kernel where samples are left out
        reach = math.ceil(radius / shrink)
        centre = at.astype(np.float64)[:, None]
        number = np.floor(centre) + np.arange(1 - reach, reach + 1)
        weights = self._kernel(np.abs(number - centre) * shrink)
        if self.exclude_outside:
            weights = np.where((number >= 0) & (number <= n - 1), weights, 0)
        if self.exclude_outside or self.antialias:
            total = weights.sum(1, keepdims=True)
            weights = weights / np.where(total == 0, 1, total)
        return number.clip(0, n - 1).astype(np.int32), weights

    def _kernel(self, distance: np.ndarray) -> np.ndarray:
        if self.mode == "linear":
            return np.maximum(1 - distance, 0)
        a, d = self.cubic, distance
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * (d**3 - 5 * d**2 + 8 * d - 4)
        return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def resize(
    x: Like, sizes: Sequence[int] | None = None, /, *, scales: Sequence[float] | None = None,
    axes: Sequence[int] | None = None, mode: str = "linear", transform: str = "half_pixel",
    nearest: str = "round_prefer_floor", antialias: bool = False, exclude_outside: bool = False, cubic: float = -0.75,
    region: Sequence[tuple[float, float]] | None = None, extrapolation: float = 0.0,
) -> Any:  # fmt: skip
    """x resampled along axes to other extents.

    Args:
        sizes: the new extents, or None with `scales` (extent · scale, rounded down).
        scales: factors per axis; beside `sizes` they only decide positions.
        axes: which axes; the last ones by default.
        mode: "nearest", "linear" or "cubic".
        transform: how result positions become source positions: "half_pixel" (pixels are areas; PyTorch, TensorFlow 2),
            "align_corners", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric", "tf_half_pixel_for_nn",
            "tf_crop_and_resize".
        nearest: how positions are rounded in mode "nearest": "round_prefer_floor", "round_prefer_ceil", "floor", "ceil".
        antialias: widen the kernel when shrinking.
        exclude_outside: give samples beyond the border no weight, instead of repeating the border.
        cubic: Keys's coefficient: -0.75 (PyTorch, ONNX) or -0.5 (TensorFlow).
        region: (start, end) per axis in 0 … 1, for "tf_crop_and_resize".
        extrapolation: what "tf_crop_and_resize" gives outside x.

    Example:
        >>> import hither as ht
        >>> ht.resize(ht.asarray([0.0, 1.0]), (4,))
        Array([0.  , 0.25, 0.75, 1.  ], dtype=float32)
    """
    x = asarray(x)
    if sizes is None and scales is None:
        raise ValueError("resize takes sizes or scales")
    given = sizes if sizes is not None else scales
    count = len(given)  # type: ignore[arg-type]
    where = [one_axis(a, x.ndim) for a in (range(-count, 0) if axes is None else axes)]
    extents = [math.floor(x.shape[a] * f) for a, f in zip(where, scales or ())] if sizes is None else [int(s) for s in sizes]
    factors = [m / x.shape[a] for a, m in zip(where, extents)] if scales is None else [float(f) for f in scales]
    sampling = Sampling(mode, transform, nearest, antialias, exclude_outside, cubic)
    sampling.check()
    if len({len(where), len(extents), len(factors)}) != 1:
        raise ValueError(f"resize takes as many sizes and scales as axes, got {sizes}, {scales}, {axes}")
    made, back = (x, x.dtype) if mode == "nearest" else wide_float(x)
    outside = []
    # shrinking axes first: less to compute on the others
    for i in sorted(range(count), key=lambda i: factors[i]):
        axis, n, m = where[i], x.shape[where[i]], extents[i]
        if n == m and factors[i] == 1 and region is None:
            continue
        if n == 0:
            raise ValueError(f"resize: axis {axis} of shape {x.shape} is empty")
        at = sampling.positions(n, m, factors[i], None if region is None else region[i])
        made = _resampled(made, axis, *sampling.taps(n, at, factors[i]))
        if transform == "tf_crop_and_resize":
            outside.append((axis, (at < 0) | (at > n - 1)))
    if x.dtype.is_integer and mode != "nearest":
        made = converted(el.round(made), x.dtype)
    made = converted(made, x.dtype if x.dtype.is_integer else back)
    for axis, mask in outside:
        if mask.any():
            made = el.where(mask.reshape([-1 if a == axis else 1 for a in range(x.ndim)]), extrapolation, made)
    return made


def _resampled(x: Any, axis: int, samples: np.ndarray, weights: np.ndarray) -> Any:
    """Σ over taps t of weights[:, t] · x taken at samples[:, t] along the axis."""
    n, m = x.shape[axis], len(samples)
    if samples.shape[1] == 1:
        factor = m // n
        if factor * n == m and (samples[:, 0] == np.arange(m) // max(factor, 1)).all():
            return repeat(x, factor, axis=axis)  # plain index arithmetic: nothing to look up
        return apply("take", x, np.ascontiguousarray(samples[:, 0]), axis=axis)
    kind = x.dtype.numpy
    if samples.shape[1] > _MOST_TAPS:
        matrix = np.zeros((n, m))
        np.add.at(matrix, (samples.T, np.arange(m)), weights.T)
        return moveaxis(matmul(moveaxis(x, axis, -1), matrix.astype(kind)), -1, axis)
    total = None
    for tap in range(samples.shape[1]):
        if not weights[:, tap].any():
            continue
        factor = weights[:, tap].astype(kind).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        part = el.multiply(apply("take", x, np.ascontiguousarray(samples[:, tap]), axis=axis), factor)
        total = part if total is None else el.add(total, part)
    return total


# -- sampling at computed points ------------------------------------------------------------------------------------------


def grid_sample(x: Like, grid: Like, /, *, mode: str = "linear", padding: str = "zeros", align_corners: bool = False) -> Any:
    """x sampled at points of a grid.

    Args:
        x: [N, C, H, W].
        grid: [N, h, w, 2]: (x, y) in -1 … 1 across the image.
        mode: "linear", "nearest" or "cubic".
        padding: what lies outside: "zeros", "border" or "reflection".
        align_corners: whether -1 and 1 are the centres of the border pixels, or their outer edges.

    Returns:
        [N, C, h, w].
    """
    if mode not in ("linear", "nearest", "cubic"):
        raise ValueError(f"grid_sample: mode is linear, nearest or cubic, got {mode!r}")
    if padding not in ("zeros", "border", "reflection"):
        raise ValueError(f"grid_sample: padding is zeros, border or reflection, got {padding!r}")
    x, back = wide_float(x)
    if x.ndim != 4:
        raise ValueError(f"grid_sample takes [N, C, H, W], got shape {x.shape}")
    points = converted(asarray(grid), x.dtype)
    n, _, height, width = x.shape
    where = []
    for extent, coordinate in ((height, points[..., 1]), (width, points[..., 0])):
        scaled = el.add(coordinate, 1.0)
        at = el.multiply(scaled, (extent - 1) / 2) if align_corners else el.subtract(el.multiply(scaled, extent / 2), 0.5)
        where.append(_bounded(at, extent, padding, align_corners) if mode != "cubic" else at)
    pixels = permute_dims(x, (0, 2, 3, 1))  # whole channel vectors are looked up

    def look(row: Any, column: Any) -> Any:
        if mode == "cubic":
            row, column = _bounded(row, height, padding, align_corners), _bounded(column, width, padding, align_corners)
        inside = None
        if padding == "zeros":
            inside = el.logical_and(
                el.logical_and(el.greater_equal(row, 0), el.less(row, height)),
                el.logical_and(el.greater_equal(column, 0), el.less(column, width)),
            )
        index = [converted(el.clip(v, 0, m - 1), dt.int32) for v, m in ((row, height), (column, width))]
        flat = el.add(el.multiply(index[0], width), index[1])
        taken = apply(
            "gather_nd", reshape(pixels, (n, height * width, pixels.shape[-1])), reshape(flat, (*flat.shape, 1)), batch_dims=1
        )
        return taken if inside is None else el.where(reshape(inside, (*inside.shape, 1)), taken, 0)

    row, column = where
    if mode == "nearest":
        made = look(el.round(row), el.round(column))
    else:
        rows, columns = (_weighted_neighbours(v, mode) for v in (row, column))
        made = None
        for r, wr in rows:
            for c, wc in columns:
                weight = el.multiply(wr, wc)
                part = el.multiply(look(r, c), reshape(weight, (*weight.shape, 1)))
                made = part if made is None else el.add(made, part)
    return converted(permute_dims(made, (0, 3, 1, 2)), back)


def _bounded(at: Any, extent: int, padding: str, align_corners: bool) -> Any:
    """Positions brought inside by the padding rule; as they are for "zeros"."""
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


def _weighted_neighbours(at: Any, mode: str) -> list[tuple[Any, Any]]:
    """Sample numbers around positions and their weights."""
    first = el.floor(at)
    t = el.subtract(at, first)
    if mode == "linear":
        return [(first, el.subtract(1.0, t)), (el.add(first, 1), t)]
    a = -0.75
    made = []
    for offset in (-1, 0, 1, 2):
        d = el.abs(el.subtract(t, float(offset)))
        if offset in (0, 1):
            weight = el.add(el.multiply(el.multiply(el.subtract(el.multiply(d, a + 2), a + 3), d), d), 1.0)
        else:
            weight = el.multiply(el.subtract(el.multiply(el.add(el.multiply(el.subtract(d, 5.0), d), 8.0), d), 4.0), a)
        made.append((el.add(first, offset), weight))
    return made


__all__ = [
    "Sampling", "grid_sample", "resize",
]  # fmt: skip
