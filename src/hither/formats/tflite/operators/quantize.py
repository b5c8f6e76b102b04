"""Between real numbers and quantised ones, and sparse constants."""

from __future__ import annotations

from typing import Any

from .... import dtypes as dt
from .... import ops
from ....graph.primitives import apply
from ..quantization import dequantize, is_quantized, rescaled
from ..quantization import quantize as to_integers
from ..registry import Node, operator


@operator("DEQUANTIZE", stored=True)
def dequantize_(node: Node, x: Any) -> Any:
    if node.is_quantized(0):
        return dequantize(x, node.quantization(0))
    node.check(x.dtype.kind == "f", f"a tensor of {x.dtype} has no scale")
    return ops.astype(x, dt.float32)


@operator("QUANTIZE", stored=True)
def quantize(node: Node, x: Any) -> Any:
    target = node.outputs[0]
    node.check(is_quantized(target) and target.quantization is not None, "the output has no scale")
    assert target.quantization is not None
    if node.is_quantized(0):
        return rescaled(x, node.quantization(0), target.quantization, target.element)
    node.check(x.dtype.kind == "f", f"a tensor of {x.dtype} has no scale")
    return to_integers(ops.astype(x, dt.float32), target.quantization, target.element)


@operator("DENSIFY", stored=True)
def densify(node: Node, x: Any) -> Any:
    return x  # the reader has expanded it


@operator("FAKE_QUANT")
def fake_quant(node: Node, x: Any) -> Any:
    """x rounded to the steps of a quantisation whose range is nudged so that zero is one of them."""
    bits, narrow = node.get("num_bits", 8), bool(node.get("narrow_range", False))
    low, high = float(node.get("min", 0.0)), float(node.get("max", 0.0))
    node.check(2 <= bits <= 16 and low <= 0 <= high and low < high, f"range {low}…{high} of {bits} bits")
    least, most = int(narrow), (1 << bits) - 1
    scale = (high - low) / (most - least)
    exact = least - low / scale
    zero = min(max(int(exact + 0.5), least), most)
    start, end = (least - zero) * scale, (most - zero) * scale
    clipped = ops.minimum(ops.maximum(x, start), end)
    return apply("floor", (clipped - start) * (1 / scale) + 0.5) * scale + start
