"""Convolutions and pooling, and convolutions that the converter has fused with what follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .... import ops
from ... import tensorflow as tf
from ..registry import Node, operator
from .common import channels_last, spatial


def _padding(node: Node, rank: int) -> Any:
    return tf.spatial_padding(node.text("padding", "VALID"), rank, _explicit(node, rank))


def _explicit(node: Node, rank: int) -> tuple[int, ...]:
    given = node.integers("explicit_paddings")
    if given and node.text("data_format", "NHWC")[1] == "C" and len(given) == 2 * (rank + 2):
        given = (*given[:2], *given[4:], *given[2:4])
    return given


def _window_arguments(node: Node, rank: int) -> dict[str, Any]:
    return {"strides": spatial(node, "strides", rank), "padding": _padding(node, rank)}


def _rank(node: Node, x: Any, rank: int) -> None:
    node.check(len(x.shape) == rank + 2, f"takes {rank + 2} axes, got shape {tuple(x.shape)}")


def _conv(node: Node, x: Any, filters: Any, rank: int = 2) -> Any:
    _rank(node, x, rank)
    arguments = _window_arguments(node, rank) | {"dilation": spatial(node, "dilations", rank)}
    return channels_last(node, x, lambda v: tf.conv(v, filters, **arguments))


def _depthwise(node: Node, x: Any, filters: Any) -> Any:
    _rank(node, x, 2)
    arguments = _window_arguments(node, 2) | {"dilation": spatial(node, "dilations", 2)}
    return channels_last(node, x, lambda v: tf.depthwise_conv(v, filters, **arguments))


@operator("Conv2D", rows=True)
def conv2d(node: Node, x: Any, filters: Any) -> Any:
    return _conv(node, x, filters)


@operator("Conv3D", rows=True)
def conv3d(node: Node, x: Any, filters: Any) -> Any:
    return _conv(node, x, filters, 3)


@operator("Conv1D", rows=True)
def conv1d(node: Node, x: Any, filters: Any) -> Any:
    _rank(node, x, 1)
    stride, dilation = node.integer("stride", 1), node.integer("dilation", 1)
    padding = tf.spatial_padding(node.text("padding", "VALID"), 1)
    return channels_last(node, x, lambda v: tf.conv(v, filters, strides=stride, padding=padding, dilation=dilation))


@operator("DepthwiseConv2dNative", "DepthwiseConv2d", rows=True)
def depthwise_conv2d(node: Node, x: Any, filters: Any) -> Any:
    return _depthwise(node, x, filters)


@operator("Conv2DBackpropInput", "Conv3DBackpropInputV2")
def conv_transpose(node: Node, shape: Any, filters: Any, x: Any) -> Any:
    rank = 3 if node.op_type.startswith("Conv3D") else 2
    _rank(node, x, rank)
    wanted = node.ints(shape, "the shape of the result")
    if len(wanted) == rank:  # extents alone
        wanted = (x.shape[0], *wanted, filters.shape[-2])
    if node.text("data_format", "NHWC")[1] == "C":
        wanted = (wanted[0], *wanted[2:], wanted[1])
    arguments = _window_arguments(node, rank) | {"dilation": spatial(node, "dilations", rank)}
    return channels_last(node, x, lambda v: tf.conv_transpose(v, filters, (x.shape[0], *wanted[1:]), **arguments))


# -- fused ---------------------------------------------------------------------------------------------------------------------

ACTIVATIONS = {"Relu": ops.relu, "Relu6": ops.relu6, "Elu": ops.elu, "Sigmoid": ops.sigmoid, "Tanh": ops.tanh}


def finished(node: Node, y: Any, extra: Sequence[Any]) -> Any:
    """What the attribute fused_ops does to a product, with its operands."""
    left = list(extra)

    def operand(what: str) -> Any:
        node.check(bool(left), f"{what} has no operand")
        return left.pop(0)

    first = node.text("data_format", "NHWC")[1:2] == "C" and len(y.shape) > 2

    def channels(v: Any) -> Any:
        return ops.reshape(v, (-1, *(1,) * (len(y.shape) - 2))) if first and len(v.shape) == 1 else v

    for name in node.texts("fused_ops"):
        if name == "BiasAdd":
            y = y + channels(operand(name))
        elif name == "FusedBatchNorm":
            scale, offset, mean, variance = (operand(name) for _ in range(4))
            y = ops.batch_norm(y, scale, offset, mean, variance, epsilon=node.number("epsilon", 1e-4), axis=1 if first else -1)
        elif name == "Prelu":
            y = ops.prelu(y, channels(operand(name)))
        elif name == "LeakyRelu":
            y = ops.leaky_relu(y, alpha=node.number("leakyrelu_alpha", 0.2))
        elif name in ACTIVATIONS:
            y = ACTIVATIONS[name](y)
        elif name not in ("Identity", "Linear", "NoOp"):
            raise node.unsupported(f"fused operator {name!r}")
    node.check(not left, f"has {len(left)} operands that nothing uses")
    return y


@operator("_FusedConv2D", rows=True)
def fused_conv2d(node: Node, x: Any, filters: Any, *extra: Any) -> Any:
    return finished(node, _conv(node, x, filters), extra)


@operator("FusedDepthwiseConv2dNative", "_FusedDepthwiseConv2dNative", rows=True)
def fused_depthwise_conv2d(node: Node, x: Any, filters: Any, *extra: Any) -> Any:
    return finished(node, _depthwise(node, x, filters), extra)


# -- pooling -------------------------------------------------------------------------------------------------------------------


def _pool(node: Node, x: Any, rank: int, function: Any) -> Any:
    _rank(node, x, rank)
    window, arguments = spatial(node, "ksize", rank), _window_arguments(node, rank)
    return channels_last(node, x, lambda v: function(v, window, layout="channels_last", **arguments))


@operator("MaxPool", rows=True)
def max_pool(node: Node, x: Any) -> Any:
    return _pool(node, x, 2, ops.max_pool)


@operator("AvgPool", rows=True)
def avg_pool(node: Node, x: Any) -> Any:
    return _pool(node, x, 2, ops.avg_pool)


@operator("MaxPool3D", rows=True)
def max_pool_3d(node: Node, x: Any) -> Any:
    return _pool(node, x, 3, ops.max_pool)


@operator("AvgPool3D", rows=True)
def avg_pool_3d(node: Node, x: Any) -> Any:
    return _pool(node, x, 3, ops.avg_pool)


@operator("MaxPoolWithArgmax")
def max_pool_with_argmax(node: Node, x: Any) -> Any:
    _rank(node, x, 2)
    best, place = tf.max_pool_with_argmax(
        x, spatial(node, "ksize", 2), **_window_arguments(node, 2), include_batch=node.flag("include_batch_in_index")
    )  # fmt: skip
    return best, ops.astype(place, "int32")


@operator("Dilation2D", rows=True)
def dilation2d(node: Node, x: Any, filters: Any) -> Any:
    _rank(node, x, 2)
    rates = spatial(node, "rates" if node.get("rates") is not None else "dilations", 2)
    return ops.dilation2d(x, filters, **_window_arguments(node, 2), dilation=rates)
