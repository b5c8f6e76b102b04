"""Comparisons, logic, and choosing by a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .... import ops
from ... import tensorflow as tf
from ..registry import Node, operator


def _binary(name: str, function: Callable[[Any, Any], Any]) -> None:
    @operator(name)
    def run(node: Node, a: Any, b: Any) -> Any:
        return function(a, b)


for _name, _function in (
    ("EQUAL", ops.equal), ("NOT_EQUAL", ops.not_equal), ("LESS", ops.less), ("LESS_EQUAL", ops.less_equal),
    ("GREATER", ops.greater), ("GREATER_EQUAL", ops.greater_equal), ("LOGICAL_AND", ops.logical_and),
    ("LOGICAL_OR", ops.logical_or),
):  # fmt: skip
    _binary(_name, _function)


@operator("LOGICAL_NOT")
def logical_not(node: Node, x: Any) -> Any:
    return ops.logical_not(x)


@operator("SELECT")
def select(node: Node, condition: Any, x: Any, y: Any) -> Any:
    return tf.select(condition, x, y)


@operator("SELECT_V2")
def select_v2(node: Node, condition: Any, x: Any, y: Any) -> Any:
    return ops.where(condition, x, y)
