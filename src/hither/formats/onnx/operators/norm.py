"""Normalisations. Statistics are computed in float32 at least, as the standard asks with stash_type."""

from __future__ import annotations

import math
from typing import Any

from .... import ops
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import along, as_float, cast


def _rsqrt(x: Any) -> Any:
    return apply("rsqrt", x)


@operator("BatchNormalization")
def batch_normalization(node: Node, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    rank = len(x.shape)
    node.check(rank >= 2, f"takes [N, C, …], got shape {tuple(x.shape)}")
    if node.opset < 9 and not node.get("spatial", 1):
        raise node.unsupported("spatial=0")
    epsilon = node["epsilon"]
    if node.opset >= 14 and node.get("training_mode", 0):
        axes = tuple(i for i in range(rank) if i != 1)
        wide = as_float(x)
        now = ops.mean(wide, axis=axes)
        centred = wide - along(now, 1, rank)
        spread = ops.mean(centred * centred, axis=axes)
        factor = along(_rsqrt(spread + epsilon) * as_float(scale), 1, rank)
        y = cast(centred * factor + along(as_float(bias), 1, rank), x.dtype)
        m = node["momentum"]
        return y, mean * m + cast(now, mean.dtype) * (1 - m), variance * m + cast(spread, variance.dtype) * (1 - m)
    # One multiplication and one addition per element; the factors depend on weights alone and fold.
    factor = as_float(scale) * _rsqrt(as_float(variance) + epsilon)
    shift = as_float(bias) - as_float(mean) * factor
    return x * along(cast(factor, x.dtype), 1, rank) + along(cast(shift, x.dtype), 1, rank)


def _normalised(x: Any, axes: tuple[int, ...], epsilon: float) -> tuple[Any, Any, Any]:
    """(x - mean) / sqrt(variance + epsilon) over axes, with the mean and the inverse deviation (axes kept)."""
    mean = ops.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    inverse = _rsqrt(ops.mean(centred * centred, axis=axes, keepdims=True) + epsilon)
    return centred * inverse, mean, inverse


@operator("InstanceNormalization")
def instance_normalization(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    rank = len(x.shape)
    node.check(rank >= 3, f"takes [N, C, …], got shape {tuple(x.shape)}")
    y, _, _ = _normalised(as_float(x), tuple(range(2, rank)), node["epsilon"])
    return cast(y * along(as_float(scale), 1, rank) + along(as_float(bias), 1, rank), x.dtype)


@operator("LayerNormalization")
def layer_normalization(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    axis = node.axis(node.get("axis", -1), len(x.shape))
    y, mean, inverse = _normalised(as_float(x), tuple(range(axis, len(x.shape))), node.get("epsilon", 1e-5))
    y = cast(y * as_float(scale), x.dtype) if bias is None else cast(y * as_float(scale) + as_float(bias), x.dtype)
    return y, mean, inverse


@operator("RMSNormalization")
def rms_normalization(node: Node, x: Any, scale: Any) -> Any:
    axis = node.axis(node.get("axis", -1), len(x.shape))
    wide = as_float(x)
    square = ops.mean(wide * wide, axis=tuple(range(axis, len(x.shape))), keepdims=True)
    return cast(wide * _rsqrt(square + node.get("epsilon", 1e-5)), x.dtype) * scale


@operator("GroupNormalization")
def group_normalization(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    groups, rank = node["num_groups"], len(x.shape)
    n, c = x.shape[:2]
    node.check(groups > 0 and c % groups == 0, f"{c} channels do not split into {groups} groups")
    parts = ops.reshape(as_float(x), (n, groups, c // groups * math.prod(x.shape[2:])))
    y, _, _ = _normalised(parts, (2,), node["epsilon"])
    if node.opset < 21:  # one number for each group
        y = y * along(as_float(scale), 1, 3) + along(as_float(bias), 1, 3)
        return cast(ops.reshape(y, x.shape), x.dtype)
    y = ops.reshape(y, x.shape)
    return cast(y * along(as_float(scale), 1, rank) + along(as_float(bias), 1, rank), x.dtype)


@operator("LpNormalization")
def lp_normalization(node: Node, x: Any) -> Any:
    axis, p = node.axis(node["axis"], len(x.shape)), node["p"]
    node.check(p in (1, 2), f"p must be 1 or 2, got {p}")
    size = ops.sum(ops.abs(x), axis=axis, keepdims=True) if p == 1 else ops.sqrt(ops.sum(x * x, axis=axis, keepdims=True))
    return ops.where(size == 0, 0.0, x / ops.where(size == 0, 1.0, size))
