"""Normalisations. Statistics are computed in float32 at least, as the standard asks with stash_type."""

from __future__ import annotations

from typing import Any

from .... import ops
from ..registry import Node, operator
from .common import along, as_float, cast


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
        factor = along(ops.rsqrt(spread + epsilon) * as_float(scale), 1, rank)
        y = cast(centred * factor + along(as_float(bias), 1, rank), x.dtype)
        m = node["momentum"]
        return y, mean * m + cast(now, mean.dtype) * (1 - m), variance * m + cast(spread, variance.dtype) * (1 - m)
    return ops.batch_norm(x, scale, bias, mean, variance, epsilon=epsilon)


def statistics(x: Any, axes: tuple[int, ...], epsilon: float) -> tuple[Any, Any]:
    """The mean over axes and the inverse of the deviation, both with these axes kept: results beside the normalised x."""
    wide = as_float(x)
    mean = ops.mean(wide, axis=axes, keepdims=True)
    return mean, ops.rsqrt(ops.mean(ops.square(wide - mean), axis=axes, keepdims=True) + epsilon)


def layer_norm_results(node: Node, x: Any, scale: Any, bias: Any, axes: tuple[int, ...], epsilon: float) -> tuple[Any, ...]:
    """Layer normalisation with the statistics that a node may want as its second and third result."""
    y = ops.layer_norm(x, scale, bias, axis=axes, epsilon=epsilon)
    return (y, *statistics(x, axes, epsilon)) if node.wants(1) or node.wants(2) else (y, None, None)


@operator("InstanceNormalization")
def instance_normalization(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    node.check(len(x.shape) >= 3, f"takes [N, C, …], got shape {tuple(x.shape)}")
    return ops.instance_norm(x, scale, bias, epsilon=node["epsilon"])


def _trailing(node: Node, x: Any) -> tuple[int, ...]:
    return tuple(range(node.axis(node.get("axis", -1), len(x.shape)), len(x.shape)))


@operator("LayerNormalization", attributes={"axis": -1, "epsilon": 1e-5, "stash_type": 1})
def layer_normalization(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    """ONNX Runtime has it in opsets before 17 too, where ONNX does not."""
    return layer_norm_results(node, x, scale, bias, _trailing(node, x), node["epsilon"])


@operator("RMSNormalization")
def rms_normalization(node: Node, x: Any, scale: Any) -> Any:
    return ops.rms_norm(x, scale, axis=_trailing(node, x), epsilon=node.get("epsilon", 1e-5))


@operator("GroupNormalization")
def group_normalization(node: Node, x: Any, scale: Any, bias: Any) -> Any:
    groups, channels = node["num_groups"], x.shape[1]
    node.check(groups > 0 and channels % groups == 0, f"{channels} channels do not split into {groups} groups")
    if node.opset < 21:  # one number for each group
        scale, bias = (ops.repeat(v, channels // groups) for v in (scale, bias))
    return ops.group_norm(x, groups, scale, bias, epsilon=node["epsilon"])


@operator("LpNormalization")
def lp_normalization(node: Node, x: Any) -> Any:
    p = node["p"]
    node.check(p in (1, 2), f"p must be 1 or 2, got {p}")
    return ops.lp_normalize(x, axis=node.axis(node["axis"], len(x.shape)), p=p)
