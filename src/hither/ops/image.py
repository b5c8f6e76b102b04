"""Resizing, by every convention in use.

Resizing is separable. Each axis becomes a sum over taps of gathered slices times constant weights, or one product with a
constant matrix where taps are many; which samples and which weights is worked out while tracing.

Conventions: the ONNX operator definition of Resize; cubic weights: Keys, Cubic convolution interpolation for
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
from .creation import zeros
from .operands import Like, asarray, converted, one_axis, wide_float
from .products import matmul
from .shape import moveaxis, take_known

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

    def positions(self, n: int, m: int, scale: float, region: tuple[float, float] | None, real: Any) -> np.ndarray:
        """Source positions of the m results along an axis of n samples, as `real` numbers: rounding decides ties."""
        at = np.arange(m, dtype=real)
        s, half = real(scale), real(0.5)
        match self.transform:
            case "asymmetric":
                return at / s
            case "align_corners":
                return at * real(n - 1) / real(m - 1) if m > 1 else np.zeros(m, real)
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
                return real(start * (n - 1)) + at * real((end - start) * (n - 1) / max(m - 1, 1))
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
    shape = list(x.shape)
    for axis, m in zip(where, extents):
        shape[axis] = m
    if min(shape, default=1) < 0:
        raise ValueError(f"resize: the result would have shape {tuple(shape)}")
    if 0 in shape:
        return zeros(shape, dtype=x.dtype)
    made, back = (x, x.dtype) if mode == "nearest" else wide_float(x)
    # Positions are float32, as in ONNX Runtime and PyTorch, so that ties fall as there; more only where x has more.
    real = np.float64 if made.dtype is dt.float64 and mode != "nearest" else np.float32
    outside = []
    # shrinking axes first: less to compute on the others
    for i in sorted(range(count), key=lambda i: factors[i]):
        axis, n, m = where[i], x.shape[where[i]], extents[i]
        if n == m and factors[i] == 1 and (region is None or tuple(region[i]) == (0, 1)):
            continue
        if n == 0:
            raise ValueError(f"resize: axis {axis} of shape {x.shape} is empty")
        at = sampling.positions(n, m, factors[i], None if region is None else region[i], real)
        made = _resampled(made, axis, *sampling.taps(n, at, factors[i]))
        if transform == "tf_crop_and_resize":
            outside.append((axis, (at < 0) | (at > n - 1)))
    if x.dtype.is_integer and mode != "nearest":
        made = converted(el.round(made), x.dtype)
    made = converted(made, x.dtype if x.dtype.is_integer else back)
    for axis, mask in outside:
        if mask.any():
            beyond = int(extrapolation) if x.dtype.is_integer else extrapolation
            made = el.where(mask.reshape([-1 if a == axis else 1 for a in range(x.ndim)]), beyond, made)
    return made


def _resampled(x: Any, axis: int, samples: np.ndarray, weights: np.ndarray) -> Any:
    """Σ over taps t of weights[:, t] · x taken at samples[:, t] along the axis."""
    n, m = x.shape[axis], len(samples)
    if samples.shape[1] == 1:
        return take_known(x, samples[:, 0], axis)
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
        part = el.multiply(take_known(x, samples[:, tap], axis), factor)
        total = part if total is None else el.add(total, part)
    if total is None:  # no sample has weight: all of them lie outside
        return zeros((*x.shape[:axis], m, *x.shape[axis + 1 :]), dtype=x.dtype)
    return total


__all__ = [
    "Sampling", "resize",
]  # fmt: skip
