"""Quantised arithmetic: integers with a scale and a zero point. Products accumulate in int32."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....dtypes import DType
from ....graph.primitives import apply
from ....graph.primitives.codes import pack_codes
from ....graph.trace import Tracer, static_value, weight
from ..proto import numpy_dtype
from ..registry import Node, operator
from . import integer_products
from .common import along, as_float, cast
from .integer_products import one


def _spread(node: Node, x: Any, parameter: Any, axis: int, block: int) -> Any:
    """A scale or zero point shaped to broadcast against x: per tensor, per entry of an axis, or per block of it."""
    rank = len(x.shape)
    if tuple(parameter.shape) in ((), (1,)):
        return ops.reshape(parameter, ())
    if len(parameter.shape) == 1 and not block:
        axis = node.axis(axis, rank)
        node.check(
            parameter.shape[0] == x.shape[axis], f"{parameter.shape[0]} scales do not fit axis {axis} of {tuple(x.shape)}"
        )
        return along(parameter, axis, rank)
    axis = node.axis(axis, rank)
    node.check(
        len(parameter.shape) == rank and block > 0, f"scales of shape {tuple(parameter.shape)} do not fit {tuple(x.shape)}"
    )
    index = Array((np.arange(x.shape[axis]) // block).astype(np.int32))
    return apply("take", parameter, index, axis=axis)


def saturate(x: Any, to: DType) -> Any:
    """Rounded floats (or wider integers) as an integer dtype, clipped to its range."""
    limits = np.iinfo(to.numpy)
    if x.dtype.kind != "f":
        return cast(ops.minimum(ops.maximum(x, int(limits.min)), int(limits.max)), to)
    return cast(ops.minimum(ops.maximum(x, float(limits.min)), float(limits.max)), to)


@operator("QuantizeLinear")
def quantize_linear(node: Node, x: Any, scale: Any, zero: Any = None) -> Any:
    if zero is not None:
        to = zero.dtype
    else:
        to = dt.dtype(numpy_dtype(node.get("output_dtype", 0) or 2, node.label))
    node.check(to.is_integer and to.bits <= 16, f"quantises to 8- and 16-bit integers, not {to}")
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    wide = as_float(x)
    rounded = apply("round", wide / as_float(_spread(node, x, scale, axis, block)))
    if zero is not None:
        rounded = rounded + cast(_spread(node, x, zero, axis, block), rounded.dtype)
    return saturate(rounded, to)


@operator("DequantizeLinear")
def dequantize_linear(node: Node, x: Any, scale: Any, zero: Any = None) -> Any:
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    to = dt.dtype(numpy_dtype(node["output_dtype"], node.label)) if node.get("output_dtype", 0) else scale.dtype
    if block:
        codes = _blocks(node, x, scale, zero, node.axis(axis, len(x.shape)), block, to)
        if codes is not None:
            return codes
    value = cast(x, dt.int32) if x.dtype.bits < 32 else x
    if zero is not None:
        value = value - cast(_spread(node, x, zero, axis, block), value.dtype)
    wide = cast(value, dt.float32) * as_float(_spread(node, x, scale, axis, block))
    known = static_value(wide) if isinstance(x, Tracer) and x.dtype.bits <= 8 else None
    if known is not None:  # floats like other weights: when they lie as products read them, they are found to be bytes
        wide = weight(known, x.value.name)
    return cast(wide, to)


def _blocks(node: Node, x: Any, scale: Any, zero: Any, axis: int, block: int, to: DType) -> Any:
    """Weights with a scale for each block of an axis, as codes that stay packed in memory: of 4 bits if they fit. None if these
    are no such weights (if they depend on inputs, or are wider than bytes)."""
    known = static_value(x) if isinstance(x, Tracer) and x.dtype.bits <= 8 else None
    zeros = None if zero is None else static_value(zero)
    if known is None or (zero is not None and zeros is None):
        return None
    extents = [-(-n // block) if a == axis else n for a, n in enumerate(x.shape)]
    for p in (scale, *([] if zero is None else [zero])):
        fits = list(p.shape) == extents
        node.check(fits, f"scales of shape {tuple(p.shape)} do not fit {tuple(x.shape)} in blocks of {block}")
    signed, every = known.dtype.kind == "i", [known, *([] if zeros is None else [zeros])]
    low, high = min(int(a.min(initial=0)) for a in every), max(int(a.max(initial=0)) for a in every)
    bits = 4 if (low >= -8 and high <= 7 if signed else high <= 15) else 8
    middle = 1 << bits - 1 if signed else 0

    def last(array: np.ndarray) -> np.ndarray:
        return np.moveaxis(array.astype(np.int16) + middle, axis, -1)

    if zeros is None and not signed:  # without zero points, codes are about the middle of their range
        zeros = np.zeros(extents, np.uint8)
    order = (*(a for a in range(len(extents)) if a != axis), axis)
    operands = [weight(pack_codes(last(known), bits), x.value.name), apply("transpose", scale, permutation=order)]
    if zeros is not None:
        operands.append(Array(np.ascontiguousarray(last(zeros), np.uint8)))
    return apply("dequantize", *operands, bits=bits, block=block, size=x.shape[axis], axis=axis, dtype=to)


def dynamic_parameters(x: Any) -> tuple[Any, Any]:
    """Scale and uint8 zero point of the range of x, widened to hold 0 (the definition of DynamicQuantizeLinear)."""
    low, high = ops.minimum(ops.min(x), 0.0), ops.maximum(ops.max(x), 0.0)
    scale = (high - low) / 255.0
    safe = ops.where(scale == 0, 1.0, scale)
    zero = saturate(apply("round", 0.0 - low / safe), dt.uint8)
    return ops.where(scale == 0, 1.0, scale), zero


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: Node, x: Any) -> Any:
    scale, zero = dynamic_parameters(x)
    return saturate(apply("round", x / scale) + cast(zero, x.dtype), dt.uint8), scale, zero


@operator("ConvInteger")
def conv_integer(node: Node, x: Any, w: Any, x_zero: Any = None, w_zero: Any = None) -> Any:
    return integer_products.conv(node, x, w, x_zero, w_zero)


@operator("MatMulInteger")
def matmul_integer(node: Node, a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    return integer_products.matmul(a, b, a_zero, b_zero)


def requantised(total: Any, factor: Any, zero: Any) -> Any:
    """int32 sums times a factor, rounded half to even, as the zero point's dtype."""
    scaled = apply("round", cast(total, dt.float32) * factor)
    return saturate(scaled + cast(zero, dt.float32), zero.dtype)


@operator("QLinearConv")
def qlinear_conv(
    node: Node,
    x: Any,
    x_scale: Any,
    x_zero: Any,
    w: Any,
    w_scale: Any,
    w_zero: Any,
    y_scale: Any,
    y_zero: Any,
    bias: Any = None,
) -> Any:
    rank = len(x.shape)
    total = integer_products.conv(node, x, w, x_zero, w_zero, bias)
    factor = one(x_scale) * w_scale / one(y_scale)
    per_channel = len(factor.shape) == 1 and factor.shape[0] > 1
    return requantised(total, along(factor, 1, rank) if per_channel else one(factor), one(y_zero))


@operator("QLinearMatMul")
def qlinear_matmul(
    node: Node, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any
) -> Any:
    total = integer_products.matmul(a, b, a_zero, b_zero)
    left, right, out = (as_float(one(s)) for s in (a_scale, b_scale, y_scale))
    left = ops.reshape(left, (-1, 1)) if len(left.shape) == 1 else left
    return requantised(total, left * right / out, one(y_zero))
