"""call: a Graph applied as one operation, for the sake of its gradient; and barrier, an operation that nothing sees through.

A call computes what its Graph does, and compilation inlines it. Until then its gradient can be something else than the Graph's
own: a rule that the user gave (custom_gradient), or the Graph's own computed anew from its operands instead of from what it
left in memory (checkpoint).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import Abstract, Graph, evaluate
from ..primitive import Control, Elementwise, primitive
from ..pullback import pullback
from .batch_rules import batch_call
from .rules import apply

Backward = Callable[[tuple[Any, ...], tuple[Any, ...]], tuple[Any, ...]]  # (cotangents, operands) → cotangents of the operands


def _call_abstract(*operands: Abstract, graph: Graph, backward: Backward | None = None) -> tuple[Abstract, ...]:
    inputs = tuple(v.abstract for v in graph.inputs)
    if inputs != operands:
        raise TypeError(f"call of {graph.name} takes {', '.join(map(str, inputs))}, got {', '.join(map(str, operands))}")
    return tuple(v.abstract for v in graph.outputs)


def _call(*operands: np.ndarray, graph: Graph, backward: Backward | None = None) -> tuple[np.ndarray, ...]:
    return evaluate(graph, *operands)


def _call_vjp(
    cotangents: tuple[Any, ...], operands: tuple[Any, ...], results: tuple[Any, ...], graph: Graph,
    backward: Backward | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    """By the rule that was given; else the Graph is computed again. Behind barriers, so that passes that share equal nodes do
    not find that all of it has been computed before."""
    if backward is not None:
        return backward(cotangents, operands)
    hidden = [apply("barrier", o) for o in operands]
    return pullback(graph, hidden, cotangents)


primitive("call", abstract=_call_abstract, evaluate=_call, batch=batch_call, lowering=Control("call"), vjp=_call_vjp)
primitive(
    "barrier",
    abstract=lambda x: x,
    evaluate=lambda x: x,
    lowering=Elementwise(lambda k, x: x),
    vjp=lambda cotangents, operands, results: cotangents,
)
