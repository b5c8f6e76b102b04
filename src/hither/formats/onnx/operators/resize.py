"""Resize and Upsample: separable, one axis after another, with sources and weights computed while compiling.

Formulas: the ONNX operator definition of Resize (opset 19); cubic weights after Keys, "Cubic convolution interpolation for
digital image processing" (1981).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ..proto import check_shape
from ..registry import Node, operator
from .common import as_float, cast, take_known

MATRIX_TAPS = 6  # with more contributions per element, a matrix product is cheaper than gathers


@operator("Upsample")
def upsample(node: Node, x: Any, scales: Any = None) -> Any:
    factors = node["scales"] if node.opset < 9 else tuple(float(v) for v in node.static(scales, "the scales").reshape(-1))
    node.check(len(factors) == len(x.shape), f"{len(factors)} scales do not fit shape {tuple(x.shape)}")
    node.check(all(f >= 1 and math.isfinite(f) for f in factors), f"scales must be at least 1, got {factors}")
    mode = node["mode"]
    node.check(mode in ("nearest", "linear", "bilinear"), f"mode must be nearest or linear, got {mode!r}")
    sizes = tuple(math.floor(n * f) for n, f in zip(x.shape, factors))
    check_shape(sizes, x.dtype.itemsize, node.label)
    kind = "nearest" if mode == "nearest" else "linear"
    return _resized(x, sizes, lambda axis: _Axis(x.shape[axis], sizes[axis], factors[axis], kind, "asymmetric", "floor"))


@operator("Resize")
def resize(node: Node, x: Any, *operands: Any) -> Any:
    given = (*operands, None, None, None)
    roi, scales, sizes = (None, given[0], None) if node.opset < 11 else given[:3]
    rank = len(x.shape)
    axes = node.axes(node.get("axes") or tuple(range(rank)), rank)
    factor = _vector(node, scales, "the scales")
    wanted = _vector(node, sizes, "the sizes")
    node.check((factor is None) != (wanted is None), "needs either scales or sizes")
    node.check(len(factor if factor is not None else wanted or ()) == len(axes), f"scales or sizes do not fit axes {axes}")
    mode = node["mode"]
    if node.opset < 11:
        transform, rounding = "asymmetric", "floor"
        mode = "linear" if mode == "bilinear" else mode
    else:
        transform, rounding = node["coordinate_transformation_mode"], node["nearest_mode"]
    if mode not in ("nearest", "linear", "cubic"):
        raise node.unsupported(f"mode {mode!r}")
    regions = None
    if transform == "tf_crop_and_resize":
        node.check(roi is not None, "tf_crop_and_resize needs roi")
        regions = node.static(roi, "the roi").astype(np.float64).reshape(-1)
        node.check(len(regions) == 2 * len(axes), f"{len(regions)} roi numbers do not fit {len(axes)} axes")
    shape = list(x.shape)
    scale = [1.0] * rank
    if wanted is not None:
        whole = [int(w) for w in wanted]
        ratios = [w / max(x.shape[a], 1) for w, a in zip(whole, axes)]
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        node.check(policy in ("stretch", "not_larger", "not_smaller"), f"keep_aspect_ratio_policy {policy!r} is unknown")
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(axes)
            whole = [math.floor(ratio * x.shape[a] + 0.5) for a in axes]
        for i, axis in enumerate(axes):
            shape[axis], scale[axis] = whole[i], ratios[i]
    else:
        for i, axis in enumerate(axes):
            f = float((factor or ())[i])
            node.check(f > 0 and math.isfinite(f), f"a scale is {f}")
            span = 1.0 if regions is None else regions[len(axes) + i] - regions[i]
            shape[axis], scale[axis] = math.floor(x.shape[axis] * span * f), f
    node.check(all(n >= 0 for n in shape), f"the result would have shape {shape}")
    check_shape(shape, x.dtype.itemsize, node.label)
    extrapolation = node.get("extrapolation_value", 0.0)

    def geometry(axis: int) -> _Axis:
        region = None
        if regions is not None and axis in axes:
            i = axes.index(axis)
            region = (regions[i], regions[len(axes) + i])
        return _Axis(
            x.shape[axis], shape[axis], scale[axis], mode, transform, rounding, region,
            node.get("cubic_coeff_a", -0.75), bool(node.get("exclude_outside", 0)), bool(node.get("antialias", 0)),
            extrapolation,
        )  # fmt: skip

    return _resized(x, tuple(shape), geometry)


def _vector(node: Node, x: Any, what: str) -> tuple[float, ...] | None:
    """A vector that is known, None where it is left out or empty (which older files write for "left out")."""
    if x is None or 0 in x.shape:
        return None
    return tuple(node.static(x, what).reshape(-1).tolist())


class _Axis:
    """How one axis is resized: `taps()` gives for each result element the sources and their weights."""

    def __init__(
        self,
        extent: int,
        size: int,
        scale: float,
        mode: str,
        transform: str,
        rounding: str = "round_prefer_floor",
        region: tuple[float, float] | None = None,
        cubic: float = -0.75,
        exclude: bool = False,
        antialias: bool = False,
        extrapolation: float = 0.0,
    ) -> None:
        self.extent, self.size, self.scale, self.mode = extent, size, scale, mode
        self.transform, self.rounding, self.region = transform, rounding, region
        self.cubic, self.exclude, self.antialias, self.extrapolation = cubic, exclude, antialias, extrapolation

    @property
    def is_identity(self) -> bool:
        return self.extent == self.size and self.scale == 1 and self.region in (None, (0.0, 1.0))

    def positions(self) -> np.ndarray:
        """Where each result element lies on the source axis. float32 decides ties as the reference does."""
        out = np.arange(self.size, dtype=np.float32)
        scale, n, m = np.float32(self.scale), self.extent, self.size
        if self.transform == "asymmetric":
            return out / scale
        if self.transform == "align_corners":
            return np.zeros(m, np.float32) if m == 1 else out * np.float32(n - 1) / np.float32(m - 1)
        if self.transform == "pytorch_half_pixel":
            return np.zeros(m, np.float32) - 0.5 if m == 1 else (out + np.float32(0.5)) / scale - np.float32(0.5)
        if self.transform == "half_pixel":
            return (out + np.float32(0.5)) / scale - np.float32(0.5)
        if self.transform == "half_pixel_symmetric":
            adjustment = m / (self.scale * n)
            offset = n / 2 * (1 - adjustment)
            return np.float32(offset) + (out + np.float32(0.5)) / scale - np.float32(0.5)
        if self.transform == "tf_half_pixel_for_nn":
            return (out + np.float32(0.5)) / scale
        if self.transform == "tf_crop_and_resize":
            start, end = self.region or (0.0, 1.0)
            if m > 1:
                return np.float32(start * (n - 1)) + out * np.float32((end - start) * (n - 1) / (m - 1))
            return np.full(m, 0.5 * (start + end) * (n - 1), np.float32)
        raise ValueError(f"coordinate_transformation_mode {self.transform!r} is unknown")

    def outside(self) -> np.ndarray:
        """Which result elements lie outside the source and take the extrapolation value."""
        if self.transform != "tf_crop_and_resize":
            return np.zeros(self.size, bool)
        at = self.positions()
        return (at < 0) | (at > self.extent - 1)

    def nearest(self) -> np.ndarray:
        """The source of each result element in mode "nearest"."""
        at = self.positions()
        if self.rounding == "round_prefer_floor":
            index = np.ceil(at - np.float32(0.5))
        elif self.rounding == "round_prefer_ceil":
            index = np.floor(at + np.float32(0.5))
        elif self.rounding in ("floor", "ceil"):
            index = getattr(np, self.rounding)(at)
        else:
            raise ValueError(f"nearest_mode {self.rounding!r} is unknown")
        return index.clip(0, self.extent - 1).astype(np.int32)

    def taps(self) -> tuple[np.ndarray, np.ndarray]:
        """Sources int32[size, k] and weights float64[size, k] of each result element."""
        at = self.positions().astype(np.float64)
        kernel: Callable[[np.ndarray], np.ndarray] = self._triangle if self.mode == "linear" else self._keys
        reach = 1.0 if self.mode == "linear" else 2.0
        stretch = min(1.0, self.scale) if self.antialias else 1.0
        first = np.floor(at - reach / stretch).astype(np.int64) + 1
        count = math.ceil(2 * reach / stretch) + (1 if stretch < 1 else 0)
        index = first[:, None] + np.arange(count)
        weights = kernel((index - at[:, None]) * stretch)
        inside = (index >= 0) & (index < self.extent)
        if self.exclude:
            weights = np.where(inside, weights, 0)
        if self.exclude or self.antialias:
            total = weights.sum(1, keepdims=True)
            weights = weights / np.where(total == 0, 1, total)
        return index.clip(0, self.extent - 1).astype(np.int32), weights

    @staticmethod
    def _triangle(distance: np.ndarray) -> np.ndarray:
        return np.maximum(0, 1 - np.abs(distance))

    def _keys(self, distance: np.ndarray) -> np.ndarray:
        t, a = np.abs(distance), self.cubic
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _resized(x: Any, shape: tuple[int, ...], geometry: Callable[[int], _Axis]) -> Any:
    """Resize each axis that changes; interpolation runs in float32 at least and rounds once, at the end."""
    axes = [(i, geometry(i)) for i in range(len(shape))]
    axes = [(i, a) for i, a in axes if not a.is_identity]
    if any(a.extent == 0 for _, a in axes) and 0 not in shape:
        raise ValueError(f"cannot resize an empty axis of shape {tuple(x.shape)}")
    if all(a.mode == "nearest" for _, a in axes):
        result = x
        for i, axis in axes:
            result = take_known(result, axis.nearest(), i)
    else:
        result = as_float(x)
        for i, axis in sorted(axes, key=lambda pair: pair[1].size / max(pair[1].extent, 1)):
            result = _interpolated(result, i, axis)
        result = cast(apply("round", result), x.dtype) if x.dtype.kind in "iu" else cast(result, x.dtype)
    for i, axis in axes:
        outside = axis.outside()
        if outside.any():
            mask = Array(outside.reshape([-1 if j == i else 1 for j in range(len(shape))]))
            result = ops.where(mask, axis.extrapolation if x.dtype.kind == "f" else int(axis.extrapolation), result)
    return result


def _interpolated(x: Any, where: int, axis: _Axis) -> Any:
    index, weights = axis.taps()
    rank = len(x.shape)
    if index.shape[1] > MATRIX_TAPS:
        dense = np.zeros((axis.size, axis.extent))
        np.add.at(dense, (np.arange(axis.size)[:, None], index), weights)
        order = [i for i in range(rank) if i != where] + [where]
        back = [order.index(i) for i in range(rank)]
        matrix = Array(np.ascontiguousarray(dense.T).astype(x.dtype.numpy))
        return ops.permute_dims(ops.matmul(ops.permute_dims(x, tuple(order)), matrix), tuple(back))
    total = None
    for tap in range(index.shape[1]):
        if not weights[:, tap].any():
            continue
        factor = Array(weights[:, tap].astype(x.dtype.numpy).reshape([-1 if i == where else 1 for i in range(rank)]))
        part = take_known(x, index[:, tap], where) * factor
        total = part if total is None else total + part
    if total is None:  # nothing contributes: an empty result, or places that all lie outside
        return ops.zeros((*x.shape[:where], axis.size, *x.shape[where + 1 :]), dtype=x.dtype)
    return total
