"""Quantised operators of com.microsoft: products of integers, and float functions between a scale and a zero point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..... import dtypes as dt
from ..... import ops
from .....dtypes import DType
from .....graph.primitives import apply
from ...registry import Node, operator
from .. import integer_products
from ..activation import over_axes
from ..common import as_float, cast
from ..integer_products import centred, one
from ..pool import average_pool
from ..quantize import (
    dequantize_linear,
    dynamic_parameters,
    qlinear_conv,
    quantize_linear,
    requantised,
    saturate,
)  # fmt: skip
from ..rnn import Layout, activations
from .domain import DOMAIN
from .fused import mask_length
from .products import CONV

POOL = {"auto_pad": "NOTSET", "ceil_mode": 0, "pads": [int], "strides": [int], "kernel_shape": [int], "count_include_pad": 0}


@operator("QuantizeLinear", domain=DOMAIN, attributes={"axis": 1})
def quantize(node: Node, x: Any, scale: Any, zero: Any = None) -> Any:
    return quantize_linear(node, x, scale, zero)


@operator("DequantizeLinear", domain=DOMAIN, attributes={"axis": 1})
def dequantize(node: Node, x: Any, scale: Any, zero: Any = None) -> Any:
    return dequantize_linear(node, x, scale, zero)


# -- products of integers ------------------------------------------------------------------------------------------------------


def _dynamic_product(a: Any, b: Any, b_scale: Any, b_zero: Any) -> Any:
    """A float matrix, quantised to uint8 by its own range, times an integer one."""
    scale, zero = dynamic_parameters(a)
    quantised = saturate(apply("round", a / scale) + cast(zero, a.dtype), dt.uint8)
    return cast(integer_products.matmul(quantised, b, zero, b_zero), dt.float32) * (b_scale * scale)


@operator("DynamicQuantizeMatMul", domain=DOMAIN, attributes={})
def dynamic_quantize_matmul(node: Node, a: Any, b: Any, b_scale: Any, b_zero: Any = None, bias: Any = None) -> Any:
    result = _dynamic_product(a, b, b_scale, b_zero)
    return result if bias is None else result + bias


@operator("MatMulIntegerToFloat", domain=DOMAIN, attributes={})
def matmul_integer_to_float(
    node: Node, a: Any, b: Any, a_scale: Any, b_scale: Any, a_zero: Any = None, b_zero: Any = None, bias: Any = None
) -> Any:
    total = cast(integer_products.matmul(a, b, a_zero, b_zero), dt.float32) * (a_scale * b_scale)
    return total if bias is None else total + bias


@operator("MatMulInteger16", domain=DOMAIN, attributes={})
def matmul_integer16(node: Node, a: Any, b: Any) -> Any:
    return ops.matmul(cast(a, dt.int32), cast(b, dt.int32))


@operator("MulInteger", domain=DOMAIN, attributes={}, optional=("a_zero",))
def mul_integer(node: Node, a: Any, a_zero: Any, b: Any, b_zero: Any = None) -> Any:
    return centred(a, a_zero) * centred(b, b_zero)


@operator("QGemm", domain=DOMAIN, attributes={"transA": 0, "transB": 0, "alpha": 1.0})
def qgemm(
    node: Node, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, c: Any = None, y_scale: Any = None,
    y_zero: Any = None,
) -> Any:  # fmt: skip
    """alpha · A · B + C, whose int32 C has the scale of the product; floats where no scale for Y is given."""
    right = centred(b, b_zero, (-1, 1) if node["transB"] else None)
    total = ops.matmul(centred(a, a_zero), right, transpose_a=bool(node["transA"]), transpose_b=bool(node["transB"]))
    total = total if c is None else total + c
    factor = one(a_scale) * one(b_scale) * node["alpha"]
    if y_scale is None:
        return cast(total, dt.float32) * factor
    node.check(y_zero is not None, "y_scale needs y_zero_point")
    return requantised(total, factor / one(y_scale), one(y_zero))


@operator(
    "DynamicQuantizeLSTM", domain=DOMAIN,
    attributes={
        "hidden_size": int, "direction": "forward", "clip": None, "input_forget": 0, "activations": [str],
        "activation_alpha": [float], "activation_beta": [float],
    },
    optional=("b", "lengths", "h0", "c0", "p"),
)  # fmt: skip
def dynamic_quantize_lstm(
    node: Node, x: Any, w: Any, r: Any, b: Any, lengths: Any, h0: Any, c0: Any, p: Any,
    w_scale: Any, w_zero: Any, r_scale: Any, r_zero: Any,
) -> Any:  # fmt: skip
    """An LSTM with integer weights [directions, input, 4·hidden]; X and each step's state are quantised as they come."""
    n = node["hidden_size"]
    node.check(len(r.shape) == 3 and r.shape[1:] == (n, 4 * n), f"R of shape {tuple(r.shape)} does not fit hidden_size {n}")
    layout, directions = Layout.of(node), range(r.shape[0])
    x, h0, c0 = layout.inputs(x, h0, c0)
    entering = [(w[d], w_scale[d], w_zero[d]) for d in directions]
    recurrent = [(r[d], r_scale[d], r_zero[d]) for d in directions]
    results = ops.lstm_by_products(
        x, lambda rows, d: _dynamic_product(rows, *entering[d]), lambda h, d: _dynamic_product(h, *recurrent[d]), n, b,
        initial_h=h0, initial_c=c0, peepholes=p, lengths=lengths, direction=node["direction"], clip=node.get("clip"),
        input_forget=bool(node["input_forget"]), activations=activations(node, ("Sigmoid", "Tanh", "Tanh")),
    )  # fmt: skip
    return layout.results(*results)


@operator("QLinearConv", domain=DOMAIN, attributes={**CONV, "channels_last": 0})
def qlinear_convolution(
    node: Node, x: Any, x_scale: Any, x_zero: Any, w: Any, w_scale: Any, w_zero: Any, y_scale: Any, y_zero: Any,
    bias: Any = None,
) -> Any:  # fmt: skip
    """QLinearConv of ONNX, or of channels-last pictures (weights lie the same)."""
    last = bool(node["channels_last"])
    x = ops.to_channels_first(x) if last else x
    made = qlinear_conv(node, x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias)
    return ops.to_channels_last(made) if last else made


# -- float functions between two quantisations ---------------------------------------------------------------------------------


def _real(x: Any, scale: Any, zero: Any) -> Any:
    return cast(centred(x, zero), dt.float32) * one(as_float(scale))


def _quantised(y: Any, scale: Any, zero: Any, kind: DType) -> Any:
    rounded = apply("round", y / one(scale))
    return saturate(rounded if zero is None else rounded + cast(one(zero), dt.float32), kind)


@operator("QLinearAdd", "QLinearMul", domain=DOMAIN, attributes={}, optional=("a_zero", "b_zero"))
def qlinear_binary(
    node: Node, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, c_scale: Any, c_zero: Any = None
) -> Any:
    left, right = _real(a, a_scale, a_zero), _real(b, b_scale, b_zero)
    return _quantised(left + right if node.op_type == "QLinearAdd" else left * right, c_scale, c_zero, a.dtype)


def _unary(name: str, attributes: dict[str, Any], function: Callable[[Node, Any], Any]) -> None:
    """Register an operator that is a float function of one array between its quantisations."""

    def run(node: Node, x: Any, x_scale: Any, x_zero: Any, y_scale: Any, y_zero: Any = None) -> Any:
        return _quantised(function(node, _real(x, x_scale, x_zero)), y_scale, y_zero, x.dtype)

    operator(name, domain=DOMAIN, attributes=attributes, optional=("x_zero",))(run)


def _channels_last(function: Callable[[Node, Any], Any]) -> Callable[[Node, Any], Any]:
    """A function of channels-first pictures for nodes that may have them last."""

    def run(node: Node, x: Any) -> Any:
        return ops.to_channels_last(function(node, ops.to_channels_first(x))) if node["channels_last"] else function(node, x)

    return run


def _softmax(node: Node, x: Any) -> Any:
    return over_axes(node, x, lambda a, axis: ops.softmax(a, axis=axis), node["opset"])


def _mean(node: Node, x: Any) -> Any:
    axes = node.axes(node["axes"], len(x.shape)) or tuple(range(len(x.shape)))
    return ops.mean(x, axis=axes, keepdims=bool(node["keepdims"]))


_unary("QLinearSigmoid", {}, lambda node, x: ops.sigmoid(x))
_unary("QLinearLeakyRelu", {"alpha": 0.01}, lambda node, x: ops.leaky_relu(x, alpha=node["alpha"]))
_unary("QLinearAveragePool", {**POOL, "channels_last": 0}, _channels_last(average_pool))
_unary("QLinearGlobalAveragePool", {"channels_last": 0}, _channels_last(lambda node, x: ops.global_avg_pool(x)))
_unary("QLinearSoftmax", {"axis": -1, "opset": int}, _softmax)
_unary("QLinearReduceMean", {"axes": [int], "keepdims": int}, _mean)


@operator("QLinearConcat", domain=DOMAIN, attributes={"axis": int})
def qlinear_concat(node: Node, y_scale: Any, y_zero: Any, *inputs: Any) -> Any:
    """Inputs come in threes: values, scale, zero point. Those that have Y's are concatenated as they are."""
    node.check(len(inputs) % 3 == 0 and len(inputs) > 0, f"inputs come in threes, got {len(inputs)}")
    threes: list[Sequence[Any]] = [inputs[i : i + 3] for i in range(0, len(inputs), 3)]
    axis = node.axis(node["axis"], len(threes[0][0].shape))
    return ops.concat([_quantised(_real(*three), y_scale, y_zero, y_zero.dtype) for three in threes], axis=axis)


@operator("QLinearWhere", domain=DOMAIN, attributes={})
def qlinear_where(
    node: Node, condition: Any, x: Any, x_scale: Any, x_zero: Any, y: Any, y_scale: Any, y_zero: Any, z_scale: Any, z_zero: Any
) -> Any:
    chosen = ops.where(condition, _real(x, x_scale, x_zero), _real(y, y_scale, y_zero))
    return _quantised(chosen, z_scale, z_zero, z_zero.dtype)


@operator("ReduceSumInteger", domain=DOMAIN, attributes={"axes": [int], "keepdims": int})
def reduce_sum_integer(node: Node, x: Any) -> Any:
    wide = cast(x, dt.int32 if x.dtype.kind == "i" else dt.uint32)
    axes = node.axes(node["axes"], len(x.shape)) or tuple(range(len(x.shape)))
    return ops.sum(wide, axis=axes, keepdims=bool(node["keepdims"]), dtype=wide.dtype)


@operator(
    "QEmbedLayerNormalization", domain=DOMAIN, attributes={"epsilon": 1e-12},
    optional=("segments", "segment_table", "mask", "segment_scale", "segment_zero"),
)  # fmt: skip
def quantized_embed_layer_normalization(
    node: Node, words: Any, segments: Any, word_table: Any, position_table: Any, segment_table: Any, gamma: Any, beta: Any,
    mask: Any, word_scale: Any, position_scale: Any, segment_scale: Any, gamma_scale: Any, beta_scale: Any, word_zero: Any,
    position_zero: Any, segment_zero: Any, gamma_zero: Any, beta_zero: Any,
) -> Any:  # fmt: skip
    """EmbedLayerNormalization with 8-bit tables, of which only what is looked up becomes floats."""
    batch, length = words.shape
    node.check(length <= position_table.shape[0], f"{length} words exceed {position_table.shape[0]} positions")
    total = _real(ops.take(word_table, words, axis=0), word_scale, word_zero)
    total = total + _real(position_table[:length], position_scale, position_zero)
    if segments is not None:
        total = total + _real(ops.take(segment_table, segments, axis=0), segment_scale, segment_zero)
    affine = _real(gamma, gamma_scale, gamma_zero), _real(beta, beta_scale, beta_zero)
    return ops.layer_norm(total, *affine, epsilon=node["epsilon"]), mask_length(mask, words, batch)
