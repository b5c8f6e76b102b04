"""Normalisations and the softmax family."""

from __future__ import annotations

from typing import Any

from .... import ops
from ....errors import UnsupportedFeature
from ... import tensorflow as tf
from ..registry import Node, operator
from ..sizes import Bounded


@operator("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", rows=True)
def fused_batch_norm(node: Node, x: Any, scale: Any, offset: Any, mean: Any, variance: Any) -> Any:
    if node.flag("is_training") and mean.shape[0] == 0:
        raise UnsupportedFeature(f"{node.label}: statistics of the batch itself (is_training) are not supported")
    axis = 1 if node.text("data_format", "NHWC")[1:2] == "C" else -1
    return ops.batch_norm(x, scale, offset, mean, variance, epsilon=node.number("epsilon", 1e-4), axis=axis)


@operator("LRN", rows=True)
def local_response_norm(node: Node, x: Any) -> Any:
    node.check(len(x.shape) == 4, f"takes [N, H, W, C], got shape {tuple(x.shape)}")
    radius = node.integer("depth_radius", 5)
    node.check(0 <= radius <= 1 << 20, f"depth_radius {radius} is out of range")
    return tf.local_response_norm(
        x, min(radius, x.shape[-1]), bias=node.number("bias", 1.0), alpha=node.number("alpha", 1.0),
        beta=node.number("beta", 0.5),
    )  # fmt: skip


@operator("Softmax", "LogSoftmax", bounded=True)
def softmax(node: Node, x: Any) -> Any:
    function = ops.softmax if node.op_type == "Softmax" else ops.log_softmax
    if not isinstance(x, Bounded):
        return function(x, axis=-1)
    lowest = x.filled(-float("inf")) if x.axis == len(x.shape) - 1 else x.data
    return x.map(function(lowest, axis=-1))


@operator("L2Loss")
def l2_loss(node: Node, x: Any) -> Any:
    return ops.sum(ops.square(x)) * 0.5
