"""Comparisons, logic, bits, selection."""

from __future__ import annotations

from typing import Any

from .... import dtypes as dt
from .... import ops
from ....graph.primitives import apply
from ..proto import numpy_dtype
from ..registry import Node, operator
from .common import broadcast, cast, elementwise, primitive, same_dtypes

COMPARE = {"Equal": "eq", "Less": "lt", "LessOrEqual": "le"}
SWAPPED = {"Greater": "lt", "GreaterOrEqual": "le"}
BITS = {
    "And": "bit_and", "Or": "bit_or", "Xor": "bit_xor",
    "BitwiseAnd": "bit_and", "BitwiseOr": "bit_or", "BitwiseXor": "bit_xor",
}  # fmt: skip


@operator(*COMPARE, *SWAPPED, bounded=True)
def compare(node: Node, a: Any, b: Any) -> Any:
    same_dtypes(node, (a, b))
    if node.op_type in SWAPPED:
        return elementwise(node, primitive(SWAPPED[node.op_type]), b, a)
    return elementwise(node, primitive(COMPARE[node.op_type]), a, b)


@operator(*BITS, bounded=True)
def bits(node: Node, a: Any, b: Any) -> Any:
    same_dtypes(node, (a, b))
    return elementwise(node, primitive(BITS[node.op_type]), a, b)


@operator("Not", "BitwiseNot", bounded=True)
def invert(node: Node, x: Any) -> Any:
    return elementwise(node, primitive("bitwise_not"), x)


@operator("BitShift")
def bit_shift(node: Node, x: Any, amount: Any) -> Any:
    same_dtypes(node, (x, amount))
    direction = node["direction"]
    node.check(direction in ("LEFT", "RIGHT"), f"direction must be LEFT or RIGHT, got {direction!r}")
    return apply("shift_left" if direction == "LEFT" else "shift_right", *broadcast(x, amount))


@operator("IsNaN", bounded=True)
def is_nan(node: Node, x: Any) -> Any:
    return elementwise(node, primitive("is_nan"), x)


@operator("IsInf")
def is_inf(node: Node, x: Any) -> Any:
    positive, negative = node["detect_positive"], node["detect_negative"]
    found = apply("is_inf", x)
    if positive and negative:
        return found
    if not positive and not negative:
        return ops.zeros(x.shape, dtype=dt.bool_)
    return found & ((x > 0.0) if positive else (x < 0.0))


@operator("Where", bounded=True)
def where(node: Node, condition: Any, a: Any, b: Any) -> Any:
    same_dtypes(node, (a, b))
    return elementwise(node, primitive("select"), condition, a, b)


@operator("BitCast")
def bit_cast(node: Node, x: Any) -> Any:
    to = dt.dtype(numpy_dtype(node["to"], node.label))
    # A bool is a byte of 0 or 1.
    x = cast(x, dt.uint8) if x.dtype.kind == "b" else x
    if to.kind == "b":
        return apply("bitcast", x, dtype=dt.uint8) != 0
    return x if x.dtype == to else apply("bitcast", x, dtype=to)
