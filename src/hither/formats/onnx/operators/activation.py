"""Activation functions and the softmax family."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import broadcast, cast, constant, elementwise, flatten_from


def _activation(name: str) -> Callable[[Callable[[Node, Any], Any]], None]:
    """Register a function of one array; data of data-dependent length passes through."""

    def register(function: Callable[[Node, Any], Any]) -> None:
        def run(node: Node, x: Any) -> Any:
            return elementwise(node, lambda a: function(node, a), x)

        operator(name, bounded=True)(run)

    return register


@_activation("Relu")
def relu(node: Node, x: Any) -> Any:
    return ops.maximum(x, 0)


@_activation("LeakyRelu")
def leaky_relu(node: Node, x: Any) -> Any:
    return ops.where(x < 0, x * node["alpha"], x)


@_activation("ThresholdedRelu")
def thresholded_relu(node: Node, x: Any) -> Any:
    return ops.where(x > node["alpha"], x, 0.0)


@_activation("Elu")
def elu(node: Node, x: Any) -> Any:
    return ops.where(x < 0, apply("expm1", ops.minimum(x, 0.0)) * node["alpha"], x)


@_activation("Celu")
def celu(node: Node, x: Any) -> Any:
    alpha = node["alpha"]
    return ops.maximum(x, 0.0) + ops.minimum(apply("expm1", ops.minimum(x, 0.0) / alpha) * alpha, 0.0)


@_activation("Selu")
def selu(node: Node, x: Any) -> Any:
    return ops.where(x > 0, x, apply("expm1", ops.minimum(x, 0.0)) * node["alpha"]) * node["gamma"]


@_activation("HardSigmoid")
def hard_sigmoid(node: Node, x: Any) -> Any:
    return ops.minimum(ops.maximum(x * node["alpha"] + node["beta"], 0.0), 1.0)


@_activation("HardSwish")
def hard_swish(node: Node, x: Any) -> Any:
    return x * ops.minimum(ops.maximum(x * (1.0 / 6.0) + 0.5, 0.0), 1.0)


@_activation("Softplus")
def softplus(node: Node, x: Any) -> Any:
    return _softplus(x)


def _softplus(x: Any) -> Any:
    return apply("log1p", apply("exp", -ops.abs(x))) + ops.maximum(x, 0.0)


@_activation("Softsign")
def softsign(node: Node, x: Any) -> Any:
    return x / (ops.abs(x) + 1.0)


@_activation("Mish")
def mish(node: Node, x: Any) -> Any:
    return x * apply("tanh", _softplus(x))


@_activation("Swish")
def swish(node: Node, x: Any) -> Any:
    return x * apply("sigmoid", x * node["alpha"])


@_activation("Gelu")
def gelu(node: Node, x: Any) -> Any:
    kind = node.get("approximate", "none")
    node.check(kind in ("none", "tanh"), f"approximate must be 'none' or 'tanh', got {kind!r}")
    if kind == "tanh":
        return x * 0.5 * (apply("tanh", (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) + 1.0)
    return x * 0.5 * (apply("erf", x * math.sqrt(0.5)) + 1.0)


@_activation("Shrink")
def shrink(node: Node, x: Any) -> Any:
    bias, limit = node["bias"], node["lambd"]
    if x.dtype.kind != "f":
        wide = cast(x, dt.float32)
        return cast(ops.where(wide < -limit, wide + bias, ops.where(wide > limit, wide - bias, 0.0)), x.dtype)
    return ops.where(x < -limit, x + bias, ops.where(x > limit, x - bias, 0.0))


@operator("PRelu")
def prelu(node: Node, x: Any, slope: Any) -> Any:
    return ops.where(x < 0, x * ops.broadcast_to(slope, x.shape), x)


@operator("Clip", bounded=True)
def clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    if node.opset < 11:
        low = constant(node["min"], x.dtype)
        high = constant(node["max"], x.dtype)
    if low is not None:
        x = elementwise(node, lambda a, b: apply("max", a, b), x, low)
    if high is not None:
        x = elementwise(node, lambda a, b: apply("min", a, b), x, high)
    return x


def over_axes(node: Node, x: Any, function: Callable[[Any, int], Any], opset: int) -> Any:
    """Apply along `axis`; before opset 13 the axes from `axis` on count as one."""
    axis = node.axis(node["axis"], max(len(x.shape), 1))
    if opset < 13:
        return ops.reshape(function(flatten_from(x, axis), 1), x.shape)
    return function(x, axis)


@operator("Softmax")
def softmax(node: Node, x: Any) -> Any:
    return over_axes(node, x, lambda a, axis: ops.softmax(a, axis=axis), node.opset)


@operator("LogSoftmax")
def log_softmax(node: Node, x: Any) -> Any:
    return over_axes(node, x, lambda a, axis: ops.log_softmax(a, axis=axis), node.opset)


@operator("Hardmax")
def hardmax(node: Node, x: Any) -> Any:
    def function(a: Any, axis: int) -> Any:
        largest = ops.argmax(a, axis=axis, keepdims=True)
        index = constant(np.arange(a.shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(a.shape))]), largest.dtype)
        return cast(apply("eq", *broadcast(index, largest)), x.dtype)

    return over_axes(node, x, function, node.opset)
