"""Operators of ONNX Runtime's own domain, com.microsoft, that its optimiser and quantiser leave in files."""

from __future__ import annotations

from typing import Any

from .... import dtypes as dt
from .... import ops
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import cast
from .nn import convolution
from .norm import layer_norm_results
from .quantize import centred, dynamic_parameters, saturate
from .rnn import Layout, activations

DOMAIN = "com.microsoft"


@operator("DynamicQuantizeMatMul", domain=DOMAIN)
def dynamic_quantize_matmul(node: Node, a: Any, b: Any, b_scale: Any, b_zero: Any = None, bias: Any = None) -> Any:
    result = _dynamic_product(a, b, b_scale, b_zero)
    return result if bias is None else result + bias


@operator("MatMulIntegerToFloat", domain=DOMAIN)
def matmul_integer_to_float(
    node: Node, a: Any, b: Any, a_scale: Any, b_scale: Any, a_zero: Any = None, b_zero: Any = None, bias: Any = None
) -> Any:
    total = cast(ops.matmul(centred(a, a_zero), centred(b, b_zero)), dt.float32) * (a_scale * b_scale)
    return total if bias is None else total + bias


def _dynamic_product(a: Any, b: Any, b_scale: Any, b_zero: Any) -> Any:
    """A float matrix, quantised to uint8 by its own range, times an integer one."""
    scale, zero = dynamic_parameters(a)
    quantised = saturate(apply("round", a / scale) + cast(zero, a.dtype), dt.uint8)
    return cast(ops.matmul(centred(quantised, zero), centred(b, b_zero)), dt.float32) * (b_scale * scale)


@operator("DynamicQuantizeLSTM", domain=DOMAIN)
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
        input_forget=bool(node.get("input_forget", 0)), activations=activations(node, ("Sigmoid", "Tanh", "Tanh")),
    )  # fmt: skip
    return layout.results(*results)


@operator("QLinearAdd", "QLinearMul", domain=DOMAIN)
def qlinear_binary(
    node: Node, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, c_scale: Any, c_zero: Any
) -> Any:
    left = cast(centred(a, a_zero), dt.float32) * a_scale
    right = cast(centred(b, b_zero), dt.float32) * b_scale
    result = left + right if node.op_type == "QLinearAdd" else left * right
    return saturate(apply("round", result / c_scale) + cast(c_zero, dt.float32), c_zero.dtype)


@operator("FusedMatMul", domain=DOMAIN)
def fused_matmul(node: Node, a: Any, b: Any) -> Any:
    if node.get("transBatchA", 0) or node.get("transBatchB", 0):
        raise node.unsupported("transBatchA or transBatchB")
    a = ops.matrix_transpose(a) if node.get("transA", 0) else a
    b = ops.matrix_transpose(b) if node.get("transB", 0) else b
    result = ops.matmul(a, b)
    return result if node.get("alpha", 1.0) == 1 else result * node["alpha"]


@operator("FusedConv", domain=DOMAIN)
def fused_conv(node: Node, x: Any, w: Any, bias: Any = None, extra: Any = None) -> Any:
    result = convolution(node, x, w, bias)
    if extra is not None:
        result = result + extra
    kind: str = node.get("activation", "")
    numbers: tuple[float, ...] = node.get("activation_params") or ()
    match kind:
        case "":
            return result
        case "Relu":
            return ops.relu(result)
        case "Sigmoid":
            return ops.sigmoid(result)
        case "Tanh":
            return ops.tanh(result)
        case "LeakyRelu":
            return ops.leaky_relu(result, alpha=numbers[0])
        case "Clip":
            return ops.clip(result, numbers[0], numbers[1])
        case "HardSigmoid":
            return ops.hard_sigmoid(result, alpha=numbers[0], beta=numbers[1])
    raise node.unsupported(f"activation {kind!r}")


@operator("Gelu", "BiasGelu", domain=DOMAIN)
def gelu(node: Node, x: Any, bias: Any = None) -> Any:
    return ops.gelu(x if bias is None else x + bias)


@operator("FastGelu", domain=DOMAIN)
def fast_gelu(node: Node, x: Any, bias: Any = None) -> Any:
    return ops.gelu(x if bias is None else x + bias, approximate=True)


@operator("QuickGelu", domain=DOMAIN)
def quick_gelu(node: Node, x: Any) -> Any:
    return ops.swish(x, alpha=node.get("alpha", 1.702))


@operator("SkipLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(node: Node, x: Any, skip: Any, gamma: Any, beta: Any = None, bias: Any = None) -> Any:
    total = x + skip if bias is None else x + skip + bias
    y, mean, inverse = layer_norm_results(node, total, gamma, beta, (len(x.shape) - 1,), node.get("epsilon", 1e-12))
    return y, mean, inverse, total
