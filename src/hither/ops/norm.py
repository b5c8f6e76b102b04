"""Normalisations and the softmax family. float16 is computed in float32 and rounded at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import dtypes as dt
from ..graph.trace import note_statistics
from . import elementwise as el
from . import reduce as rd
from .conv import window_sums
from .creation import one_hot
from .operands import Axis, Like, asarray, axes_of, converted, one_axis, wide_float, with_axes
from .shape import reshape


def softmax(x: Like, /, *, axis: Axis = -1) -> Any:
    """exp(x) / Σ exp(x) along axes, shifted by the maximum so that nothing overflows.

    Example:
        >>> import hither as ht
        >>> ht.softmax(ht.asarray([0.0, 0.0]))
        Array([0.5, 0.5], dtype=float32)
    """
    x, back = wide_float(x)
    exps = el.exp(el.subtract(x, rd.max(x, axis=axis, keepdims=True)))
    return converted(el.divide(exps, rd.sum(exps, axis=axis, keepdims=True)), back)


def log_softmax(x: Like, /, *, axis: Axis = -1) -> Any:
    """log(softmax(x)), exact where softmax underflows."""
    x, back = wide_float(x)
    shifted = el.subtract(x, rd.max(x, axis=axis, keepdims=True))
    return converted(el.subtract(shifted, el.log(rd.sum(el.exp(shifted), axis=axis, keepdims=True))), back)


def hardmax(x: Like, /, *, axis: int = -1) -> Any:
    """1 at the first maximum along the axis, 0 elsewhere."""
    x = asarray(x)
    axis = one_axis(axis, x.ndim)
    return one_hot(rd.argmax(x, axis=axis, dtype=dt.int32), x.shape[axis], axis=axis, dtype=x.dtype)


def _channels(v: Like | None, x: Any, axis: int) -> Any:
    """A vector of one number per channel, shaped to broadcast along `axis` of x."""
    if v is None:
        return None
    v = asarray(v)
    return converted(reshape(v, [v.size if a == axis else 1 for a in range(x.ndim)]), x.dtype)


def _affine(x: Any, scale: Any, bias: Any) -> Any:
    x = x if scale is None else el.multiply(x, scale)
    return x if bias is None else el.add(x, bias)


def _standardize(x: Any, axes: Sequence[int], epsilon: float) -> Any:
    """(x - mean) / √(variance + epsilon) over axes."""
    apart = el.subtract(x, rd.mean(x, axis=axes, keepdims=True))
    variance = rd.mean(el.square(apart), axis=axes, keepdims=True)
    return el.multiply(apart, el.rsqrt(el.add(variance, epsilon)))


def batch_norm(
    x: Like, scale: Like | None, bias: Like | None, mean: Like, variance: Like, /, *, epsilon: float = 1e-5, axis: int = 1
) -> Any:
    """(x - mean) / √(variance + epsilon) · scale + bias, with one statistic per channel along `axis`.

    Written as one multiplication and one addition by vectors, which fold into a convolution before it.
    """
    note_statistics(mean, variance)
    x, back = wide_float(x)
    axis = one_axis(axis, x.ndim)
    factor = el.rsqrt(el.add(converted(asarray(variance), x.dtype), epsilon))
    if scale is not None:
        factor = el.multiply(factor, converted(asarray(scale), x.dtype))
    shift = el.negative(el.multiply(converted(asarray(mean), x.dtype), factor))
    if bias is not None:
        shift = el.add(shift, converted(asarray(bias), x.dtype))
    return converted(_affine(x, _channels(factor, x, axis), _channels(shift, x, axis)), back)


def layer_norm(
    x: Like, scale: Like | None = None, bias: Like | None = None, /, *, axis: Axis = -1, epsilon: float = 1e-5
) -> Any:
    """Each element standardised over `axis` (the trailing ones usually), times scale, plus bias, which broadcast to x.

    Ba, Kiros, Hinton: Layer Normalization, 2016.
    """
    x, back = wide_float(x)
    made = _standardize(x, axes_of(axis, x.ndim), epsilon)
    parts = [None if v is None else converted(asarray(v), x.dtype) for v in (scale, bias)]
    return converted(_affine(made, *parts), back)


def rms_norm(x: Like, scale: Like | None = None, /, *, axis: Axis = -1, epsilon: float = 1e-5) -> Any:
    """x / √(mean(x²) + epsilon) · scale. Zhang, Sennrich: Root Mean Square Layer Normalization, 2019."""
    x, back = wide_float(x)
    power = rd.mean(el.square(x), axis=axis, keepdims=True)
    made = el.multiply(x, el.rsqrt(el.add(power, epsilon)))
    return converted(_affine(made, None if scale is None else converted(asarray(scale), x.dtype), None), back)


def instance_norm(x: Like, scale: Like | None = None, bias: Like | None = None, /, *, epsilon: float = 1e-5) -> Any:
    """Each channel of each sample of [N, C, *spatial] standardised over its spatial axes."""
    x, back = wide_float(x)
    made = _standardize(x, range(2, x.ndim), epsilon)
    return converted(_affine(made, _channels(scale, x, 1), _channels(bias, x, 1)), back)


def group_norm(x: Like, groups: int, scale: Like | None = None, bias: Like | None = None, /, *, epsilon: float = 1e-5) -> Any:
    """Channels of [N, C, *spatial] standardised in groups. Wu, He: Group Normalization, 2018."""
    x, back = wide_float(with_axes("group_norm", x, "[N, C, *spatial]"))
    n, channels, *spatial = x.shape
    if groups < 1 or channels % groups:
        raise ValueError(f"group_norm: {channels} channels do not divide into {groups} groups")
    grouped = reshape(x, (n, groups, channels // groups * math.prod(spatial)))
    made = reshape(_standardize(grouped, (2,), epsilon), x.shape)
    return converted(_affine(made, _channels(scale, x, 1), _channels(bias, x, 1)), back)


def local_response_norm(
    x: Like, size: int, /, *, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0, axis: int = 1
) -> Any:
    """x / (bias + alpha/size · Σ x²)^beta, the sum over `size` neighbouring channels (ONNX's LRN)."""
    x, back = wide_float(x)
    axis = one_axis(axis, x.ndim)
    before, channels = math.prod(x.shape[:axis]), x.shape[axis]
    flat = reshape(el.square(x), (before, 1, channels, math.prod(x.shape[axis + 1 :])))
    low = (size - 1) // 2
    padding = ((low, size - 1 - low), (0, 0))
    total = window_sums(flat, (size, 1), (1, 1), (1, 1), padding, "channels_first")
    base = el.add(el.multiply(reshape(total, x.shape), alpha / size), bias)
    return converted(el.divide(x, el.pow(base, beta)), back)


def lp_normalize(x: Like, /, *, p: float = 2, axis: int = -1) -> Any:
    """x divided by its p-norm along the axis; 0 where the norm is 0."""
    x, back = wide_float(x)
    norm = rd.vector_norm(x, axis=axis, ord=p, keepdims=True)
    return converted(el.where(el.equal(norm, 0), 0, el.divide(x, norm)), back)


def mean_variance_normalize(x: Like, /, *, axis: Axis = (0, 2, 3), epsilon: float = 1e-9) -> Any:
    """(x - mean) / (standard deviation + epsilon) over axes (ONNX's MeanVarianceNormalization)."""
    x, back = wide_float(x)
    apart = el.subtract(x, rd.mean(x, axis=axis, keepdims=True))
    deviation = el.sqrt(rd.mean(el.square(apart), axis=axis, keepdims=True))
    return converted(el.divide(apart, el.add(deviation, epsilon)), back)


__all__ = [
    "batch_norm", "group_norm", "hardmax", "instance_norm", "layer_norm", "local_response_norm", "log_softmax",
    "lp_normalize", "mean_variance_normalize", "rms_norm", "softmax",
]  # fmt: skip
