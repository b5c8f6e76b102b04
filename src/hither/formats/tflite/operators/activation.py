"""Activations. Those of quantised numbers compute on the real numbers and round once, as the reference's tables do."""

from __future__ import annotations

import math
from typing import Any

from .... import ops
from ..registry import Node, operator


@operator("RELU")
def relu(node: Node, x: Any) -> Any:
    return ops.maximum(x, 0)


@operator("RELU6")
def relu6(node: Node, x: Any) -> Any:
    return ops.minimum(ops.maximum(x, 0), 6)


@operator("RELU_N1_TO_1")
def relu_n1_to_1(node: Node, x: Any) -> Any:
    return ops.minimum(ops.maximum(x, -1), 1)


@operator("RELU_0_TO_1")
def relu_0_to_1(node: Node, x: Any) -> Any:
    return ops.minimum(ops.maximum(x, 0), 1)


@operator("TANH")
def tanh(node: Node, x: Any) -> Any:
    return ops.tanh(x)


@operator("LOGISTIC")
def logistic(node: Node, x: Any) -> Any:
    return ops.sigmoid(x)


@operator("ELU")
def elu(node: Node, x: Any) -> Any:
    return ops.elu(x)


@operator("GELU")
def gelu(node: Node, x: Any) -> Any:
    return ops.gelu(x, approximate=bool(node.get("approximate", False)))


@operator("HARD_SWISH")
def hard_swish(node: Node, x: Any) -> Any:
    return ops.hard_swish(x)


@operator("LEAKY_RELU")
def leaky_relu(node: Node, x: Any) -> Any:
    return ops.where(x > 0, x, x * float(node.get("alpha", 0.0)))


@operator("PRELU")
def prelu(node: Node, x: Any, slope: Any) -> Any:
    return ops.where(x > 0, x, x * slope)


@operator("SOFTMAX")
def softmax(node: Node, x: Any) -> Any:
    beta = float(node.get("beta", 0.0))
    node.check(math.isfinite(beta) and len(x.shape) > 0, f"softmax of {tuple(x.shape)} with beta {beta}")
    return ops.softmax(x if beta == 1 else x * beta, axis=-1)


@operator("LOG_SOFTMAX")
def log_softmax(node: Node, x: Any) -> Any:
    return ops.log_softmax(x, axis=-1)


@operator("L2_NORMALIZATION")
def l2_normalization(node: Node, x: Any) -> Any:
    length = ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True))
    return node.activated(x / ops.maximum(length, 1e-6))
