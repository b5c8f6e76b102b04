"""Matrix products and convolutions with what ONNX Runtime's optimisers fuse into them, or in channels-last layout."""

from __future__ import annotations

from typing import Any

from ..... import ops
from ...registry import Node, operator
from ..arithmetic import gemm, scaled
from ..nn import convolution
from ..pool import max_pool
from .domain import DOMAIN, activated

MATMUL = {"transA": 0, "transB": 0, "transBatchA": 0, "transBatchB": 0, "alpha": 1.0}
ACTIVATION = {"activation": "", "activation_alpha": None, "activation_beta": None, "activation_gamma": None}
CONV = {"auto_pad": "NOTSET", "group": 1, "pads": [int], "strides": [int], "dilations": [int], "kernel_shape": [int]}
FUSED_CONV = {**CONV, "activation": "", "activation_params": [float]}


def _batch_last(x: Any, transposed: int) -> Any:
    """A stack of matrices; `transposed` ones have their rows in front of the batch: [rows, *batch, columns]."""
    return ops.moveaxis(x, 0, -2) if transposed and len(x.shape) > 2 else x


def _product(node: Node, a: Any, b: Any) -> Any:
    a, b = _batch_last(a, node["transBatchA"]), _batch_last(b, node["transBatchB"])
    transpose_a, transpose_b = (bool(node[n]) and len(x.shape) > 1 for n, x in (("transA", a), ("transB", b)))
    return scaled(ops.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b), node["alpha"])


@operator("FusedMatMul", "TransposeMatMul", domain=DOMAIN, attributes=MATMUL)
def fused_matmul(node: Node, a: Any, b: Any) -> Any:
    return _product(node, a, b)


@operator(
    "FusedMatMulActivation", domain=DOMAIN,
    attributes={**MATMUL, **ACTIVATION, "activation": str, "activation_axis": 0},
)  # fmt: skip
def fused_matmul_activation(node: Node, a: Any, b: Any) -> Any:
    return _activated(node, _product(node, a, b))


@operator("FusedGemm", domain=DOMAIN, attributes={"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0, **ACTIVATION})
def fused_gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    return _activated(node, gemm(node, a, b, c))


def _activated(node: Node, x: Any) -> Any:
    numbers = [node.get(f"activation_{letter}") for letter in ("alpha", "beta", "gamma")]
    return activated(node, x, node["activation"], numbers)


@operator("GemmFastGelu", domain=DOMAIN, attributes={})
def gemm_fast_gelu(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    made = ops.matmul(x, w)
    return ops.gelu(made if bias is None else made + bias, approximate=True)


@operator("FusedConv", domain=DOMAIN, attributes=FUSED_CONV)
def fused_conv(node: Node, x: Any, w: Any, bias: Any = None, extra: Any = None) -> Any:
    made = convolution(node, x, w, bias)
    made = made if extra is None else made + extra
    return activated(node, made, node["activation"], node.get("activation_params") or ())


@operator("NhwcConv", "NhwcFusedConv", domain=DOMAIN, attributes=FUSED_CONV)
def nhwc_fused_conv(node: Node, x: Any, w: Any, bias: Any = None, extra: Any = None) -> Any:
    """Channels-last pictures; weights lie as in Conv."""
    made = ops.to_channels_last(convolution(node, ops.to_channels_first(x), w, bias))
    made = made if extra is None else made + extra
    return activated(node, made, node["activation"], node.get("activation_params") or ())


@operator("NhwcMaxPool", domain=DOMAIN, attributes={**{n: v for n, v in CONV.items() if n != "group"}, "ceil_mode": 0})
def nhwc_max_pool(node: Node, x: Any) -> Any:
    return ops.to_channels_last(max_pool(node, ops.to_channels_first(x)))
