"""Operators of ONNX Runtime's own domain, com.microsoft, that its optimiser and quantiser leave in files."""

from __future__ import annotations

import math
from typing import Any

from .... import dtypes as dt
from .... import ops
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import along, as_float, cast
from .nn import convolution
from .quantize import centred, dynamic_parameters, saturate
from .rnn import initial, lstm_step, recurrence

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
    swap = (0, 2, 1)
    cell = recurrence(node, x, ops.permute_dims(w, swap), ops.permute_dims(r, swap), lengths, 4, ("Sigmoid", "Tanh", "Tanh"))
    t, batch, width = cell.x.shape
    outputs, hs, cs = [], [], []
    for d in range(cell.directions):
        inputs = _dynamic_product(ops.reshape(cell.x, (t * batch, width)), w[d], w_scale[d], w_zero[d])
        if b is not None:
            inputs = inputs + (b[d, : 4 * n] + b[d, 4 * n :])
        state = (initial(cell, h0, d), initial(cell, c0, d))

        def recur(h: Any, d: int = d) -> Any:
            return _dynamic_product(h, r[d], r_scale[d], r_zero[d])

        y, (h, c) = cell.run(d, ops.reshape(inputs, (t, batch, 4 * n)), state, lstm_step(cell, d, recur, p))
        outputs.append(y)
        hs.append(h)
        cs.append(c)
    return cell.results(outputs, hs, cs)


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
    result = convolution(node, x, w)
    if bias is not None:
        result = result + along(bias, 1, len(x.shape))
    if extra is not None:
        result = result + extra
    kind: str = node.get("activation", "")
    numbers: tuple[float, ...] = node.get("activation_params") or ()
    if kind == "":
        return result
    if kind == "Relu":
        return ops.maximum(result, 0.0)
    if kind in ("Sigmoid", "Tanh"):
        return apply(kind.lower(), result)
    if kind == "LeakyRelu":
        return ops.where(result < 0, result * numbers[0], result)
    if kind == "Clip":
        return ops.minimum(ops.maximum(result, numbers[0]), numbers[1])
    if kind == "HardSigmoid":
        return ops.minimum(ops.maximum(result * numbers[0] + numbers[1], 0.0), 1.0)
    raise node.unsupported(f"activation {kind!r}")


def _gelu(x: Any) -> Any:
    return x * 0.5 * (apply("erf", x * math.sqrt(0.5)) + 1.0)


@operator("Gelu", "BiasGelu", domain=DOMAIN)
def gelu(node: Node, x: Any, bias: Any = None) -> Any:
    return _gelu(x if bias is None else x + bias)


@operator("FastGelu", domain=DOMAIN)
def fast_gelu(node: Node, x: Any, bias: Any = None) -> Any:
    x = x if bias is None else x + bias
    return x * 0.5 * (apply("tanh", (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) + 1.0)


@operator("QuickGelu", domain=DOMAIN)
def quick_gelu(node: Node, x: Any) -> Any:
    return x * apply("sigmoid", x * node.get("alpha", 1.702))


@operator("SkipLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(node: Node, x: Any, skip: Any, gamma: Any, beta: Any = None, bias: Any = None) -> Any:
    total = x + skip if bias is None else x + skip + bias
    wide = as_float(total)
    mean = ops.mean(wide, axis=-1, keepdims=True)
    inverse = apply("rsqrt", ops.mean((wide - mean) * (wide - mean), axis=-1, keepdims=True) + node.get("epsilon", 1e-12))
    y = (wide - mean) * inverse * as_float(gamma)
    y = y if beta is None else y + as_float(beta)
    return cast(y, x.dtype), mean, inverse, total
