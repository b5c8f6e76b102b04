"""Elementwise arithmetic, with NumPy's broadcasting. Quantised sums and products are computed on real numbers, rounded once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import ops
from ..registry import Node, operator


@operator("ADD")
def add(node: Node, a: Any, b: Any) -> Any:
    return node.activated(a + b)


@operator("SUB")
def sub(node: Node, a: Any, b: Any) -> Any:
    return node.activated(a - b)


@operator("MUL")
def mul(node: Node, a: Any, b: Any) -> Any:
    return node.activated(a * b)


@operator("DIV")
def div(node: Node, a: Any, b: Any) -> Any:
    return node.activated(a / b if a.dtype.kind == "f" else ops.truncated_divide(a, b))


@operator("ADD_N")
def add_n(node: Node, *xs: Any) -> Any:
    node.require_all(xs)
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


@operator("SQUARED_DIFFERENCE")
def squared_difference(node: Node, a: Any, b: Any) -> Any:
    return ops.square(a - b)


@operator("ABS")
def abs_(node: Node, x: Any) -> Any:
    return ops.abs(x)


@operator("RSQRT")
def rsqrt(node: Node, x: Any) -> Any:
    return 1 / ops.sqrt(x)


@operator("ROUND")
def round_(node: Node, x: Any) -> Any:
    return ops.round(x)  # half to even


@operator("RIGHT_SHIFT", stored=True)
def right_shift(node: Node, a: Any, b: Any) -> Any:
    return ops.bitwise_right_shift(a, b)


@operator("BITWISE_XOR", stored=True)
def bitwise_xor(node: Node, a: Any, b: Any) -> Any:
    return ops.bitwise_xor(a, b)


@operator("CAST", stored=True)
def cast(node: Node, x: Any) -> Any:
    """Between dtypes as C does; what quantised numbers stand for plays no role."""
    to = node.outputs[0].element
    if to.kind == "b":
        return x if x.dtype.kind == "b" else x != 0
    return ops.astype(x, to)


@operator("BITCAST", stored=True)
def bitcast(node: Node, x: Any) -> Any:
    to = node.outputs[0].element
    if to.itemsize == x.dtype.itemsize:
        return ops.bitcast(x, to)
    known = node.static(x, "what is reinterpreted in another width")
    return ops.asarray(np.ascontiguousarray(known).view(to.numpy).reshape(node.outputs[0].shape))


def _unary(name: str, function: Callable[[Any], Any]) -> None:
    @operator(name)
    def run(node: Node, x: Any) -> Any:
        return function(x)


def _binary(name: str, function: Callable[[Any, Any], Any]) -> None:
    @operator(name)
    def run(node: Node, a: Any, b: Any) -> Any:
        return function(a, b)


for _name, _function in (
    ("NEG", ops.negative), ("SQRT", ops.sqrt), ("SQUARE", ops.square), ("EXP", ops.exp), ("LOG", ops.log), ("SIN", ops.sin),
    ("COS", ops.cos), ("FLOOR", ops.floor), ("CEIL", ops.ceil), ("SIGN", ops.sign),
):  # fmt: skip
    _unary(_name, _function)

for _name, _function2 in (
    ("MAXIMUM", ops.maximum), ("MINIMUM", ops.minimum), ("POW", ops.pow), ("FLOOR_DIV", ops.floor_divide),
    ("FLOOR_MOD", ops.remainder), ("ATAN2", ops.atan2),
):  # fmt: skip
    _binary(_name, _function2)
