"""Comparisons, bools and choices."""

from __future__ import annotations

from typing import Any

from .... import ops
from ....array import Array
from ... import tensorflow as tf
from ..registry import Node, operator
from ..sizes import Bounded, Sizes, chosen, compare
from .common import elementwise, plain, same_dtypes

COMPARISONS = {
    "Equal": ops.equal, "NotEqual": ops.not_equal, "Greater": ops.greater, "GreaterEqual": ops.greater_equal,
    "Less": ops.less, "LessEqual": ops.less_equal,
}  # fmt: skip
BOOLS = {"LogicalAnd": ops.logical_and, "LogicalOr": ops.logical_or, "LogicalXor": ops.logical_xor}
BITS = {"BitwiseAnd": ops.bitwise_and, "BitwiseOr": ops.bitwise_or, "BitwiseXor": ops.bitwise_xor}


def _comparison(node: Node, a: Any, b: Any) -> Any:
    same_dtypes(node, a, b)
    if isinstance(a, Sizes) or isinstance(b, Sizes):
        made = compare(node.op_type, (a, b))
        if made is not None:
            return made
    return elementwise(node, COMPARISONS[node.op_type], plain(a), plain(b))


def _bools(node: Node, a: Any, b: Any) -> Any:
    return elementwise(node, BOOLS[node.op_type], a, b)


def _bits(node: Node, a: Any, b: Any) -> Any:
    same_dtypes(node, a, b)
    return elementwise(node, BITS[node.op_type], a, b)


operator(*COMPARISONS, bounded=True, sizes=True)(_comparison)
operator(*BOOLS, bounded=True)(_bools)
operator(*BITS, bounded=True)(_bits)


def _is_small(x: Any) -> bool:
    """Whether a known array may be sizes."""
    return isinstance(x, Array) and x.dtype.is_integer and x.size <= 32


@operator("LogicalNot", bounded=True)
def logical_not(node: Node, x: Any) -> Any:
    return elementwise(node, ops.logical_not, x)


@operator("Select", "SelectV2", bounded=True, sizes=True)
def select(node: Node, condition: Any, x: Any, y: Any) -> Any:
    same_dtypes(node, x, y)
    choose = tf.select if node.op_type == "Select" else ops.where

    def run() -> Any:
        return choose(condition, plain(x), plain(y))

    if all(isinstance(v, Sizes) or _is_small(v) for v in (x, y)):
        made = None if isinstance(condition, (Bounded, Array)) else chosen(condition, x, y, run)
        if made is not None:
            return made
    if any(isinstance(v, Bounded) for v in (condition, x, y)):
        if node.op_type == "Select" and len(condition.shape) == 1 < len(x.shape):
            rows = (condition.shape[0], *(1,) * (len(x.shape) - 1))
            data = ops.reshape(condition.data if isinstance(condition, Bounded) else condition, rows)
            condition = condition.map(data) if isinstance(condition, Bounded) else data
        return elementwise(node, ops.where, condition, plain(x), plain(y))
    return run()
