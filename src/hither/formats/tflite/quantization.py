"""Quantised numbers, `real = scale · (q - zero_point)`, by TensorFlow Lite's quantisation specification.

Products of 8-bit numbers accumulate exactly in int32, with the zero points taken out of the sum. What leaves the sum is scaled
by scale_x · scale_w / scale_y, one factor per channel where the weights have one scale per channel, rounded to the nearest
integer and saturated. The factor is a float32, as in XNNPACK's kernels: within a quantisation step of the fixed-point
multiplication of the reference kernels, from which it differs only where a result lies within 1e-5 of the middle between two.

Everything else computes on the real numbers in float32 and rounds once, which is what the reference kernels approximate with
tables and fixed point. Activations of 16 bits do so too: their products do not fit into int32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import dtypes as dt
from ... import ops
from ...dtypes import DType
from ...graph.primitives import apply
from .schema import Quantization, TensorDef


def along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A vector shaped to broadcast along one axis of an array of `rank` axes; one number as a scalar."""
    return values.reshape(()) if len(values) == 1 else values.reshape([-1 if a == axis else 1 for a in range(rank)])


def is_quantized(tensor: TensorDef | None) -> bool:
    """Whether a tensor's integers stand for real numbers."""
    return tensor is not None and tensor.quantization is not None and tensor.dtype is not None and tensor.dtype.is_integer


def dequantize(x: Any, quantization: Quantization) -> Any:
    """The real numbers that integers stand for, float32."""
    rank = len(x.shape)
    zero = along(quantization.zero_point, quantization.axis, rank)
    scale = along(quantization.scale, quantization.axis, rank)
    if not zero.any():
        return ops.astype(x, dt.float32) * scale
    return ops.astype(ops.astype(x, dt.int32) - zero.astype(np.int32), dt.float32) * scale


def quantize(x: Any, quantization: Quantization, to: DType) -> Any:
    """Real numbers as integers of a dtype, rounded and saturated."""
    rank = len(x.shape)
    zero = along(quantization.zero_point, quantization.axis, rank)
    scale = along(quantization.scale, quantization.axis, rank)
    inverse = (1 / np.where(scale == 0, np.inf, scale.astype(np.float64))).astype(np.float32)
    return saturated(_offset(apply_round(x * inverse), zero), to)


def rescaled(x: Any, have: Quantization, want: Quantization, to: DType) -> Any:
    """Integers of one quantisation as those of another."""
    same = np.array_equal(have.scale, want.scale) and np.array_equal(have.zero_point, want.zero_point)
    if same and x.dtype == to:
        return x
    return quantize(dequantize(x, have), want, to)


def apply_round(x: Any) -> Any:
    """Rounded to the nearest integer, still float."""
    return apply("round", x)


def _offset(x: Any, zero: np.ndarray) -> Any:
    return x + zero.astype(np.float32) if zero.any() else x


def saturated(x: Any, to: DType, low: int | None = None, high: int | None = None) -> Any:
    """Whole floats as an integer dtype, clipped to its range or a smaller one."""
    limits = np.iinfo(to.numpy)
    least, most = (
        max(limits.min, low if low is not None else limits.min),
        min(limits.max, high if high is not None else limits.max),
    )
    if to.bits >= 32:  # the largest integer is no float32
        most = min(most, 2**31 - 128)
    return ops.astype(ops.minimum(ops.maximum(x, float(least)), float(most)), to)


def requantize(total: Any, factor: np.ndarray, zero: int, to: DType, limits: tuple[int, int]) -> Any:
    """int32 sums [..., channels] times factors, one or one per channel, as quantised numbers."""
    scaled = apply_round(ops.astype(total, dt.float32) * factor.astype(np.float32))
    return saturated(scaled + float(zero) if zero else scaled, to, *limits)


_CLIPS: dict[str, tuple[float, float]] = {
    "NONE": (-np.inf, np.inf), "RELU": (0, np.inf), "RELU_N1_TO_1": (-1, 1), "RELU6": (0, 6), "RELU_0_TO_1": (0, 1),
}  # fmt: skip


def clip_limits(activation: str) -> tuple[float, float] | None:
    """The interval that an activation clips to; None where it does something else."""
    return _CLIPS.get(activation)


def stored_limits(activation: str, quantization: Quantization, to: DType) -> tuple[int, int] | None:
    """The interval that an activation clips quantised numbers to; None where it does something else."""
    clip = clip_limits(activation)
    if clip is None or quantization.per_axis:
        return None
    limits = np.iinfo(to.numpy)
    scale, zero = float(quantization.scale[0]), int(quantization.zero_point[0])
    ends = [
        int(np.clip(np.round(v / scale) + zero, limits.min, limits.max)) if np.isfinite(v) and scale > 0 else default
        for v, default in zip(clip, (limits.min, limits.max))
    ]
    return ends[0], ends[1]
