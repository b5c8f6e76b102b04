"""Reverse-mode differentiation of one Graph: the loop that applies primitives' gradient rules from outputs to inputs.

It is written with `bind`, so that it computes at once on concrete arrays, records a Graph on traced ones, and can be
differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..array import Array
from .core import Graph, Value
from .primitive import REGISTRY
from .trace import bind, repeat, source


def linearize(graph: Graph, operands: Sequence[Any]) -> tuple[tuple[Any, ...], Callable[[Sequence[Any]], tuple[Any, ...]]]:
    """A Graph's outputs at these operands, and the function from cotangents of the outputs to those of the inputs.

    Cotangents are None where they are zero.

    Raises:
        TypeError: from that function, if a cotangent reaches a primitive without a gradient rule, naming where it came from.
    """
    env: dict[Value, Any] = {v: Array(a) for v, a in graph.constants.items()}
    arrays = [Array(o) if isinstance(o, np.ndarray) else o for o in operands]
    env.update(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        env.update(zip(node.results, repeat(node, [env[o] for o in node.operands]), strict=True))
    varying = _depends_on_inputs(graph)

    def pull(cotangents: Sequence[Any]) -> tuple[Any, ...]:
        found: dict[Value, Any] = {}

        def add(value: Value, cotangent: Any) -> None:
            if cotangent is None or value in graph.constants or value.dtype.kind not in "fc":
                return
            known = found.get(value)
            found[value] = cotangent if known is None else bind(REGISTRY["add"], known, cotangent)

        for value, cotangent in zip(graph.outputs, cotangents, strict=True):
            add(value, Array(cotangent) if isinstance(cotangent, np.ndarray) else cotangent)
        for node in reversed(graph.nodes):
            given = tuple(found.pop(r, None) for r in node.results)
            if all(g is None for g in given) or not any(o in varying for o in node.operands):
                continue
            if node.primitive.vjp is None:
                at = f" ({node.source})" if node.source else ""
                raise TypeError(f"{node.primitive.name}{at} has no gradient; give it one with custom_gradient")
            with source(node.source):
                made = node.primitive.vjp(
                    given, tuple(env[o] for o in node.operands), tuple(env[r] for r in node.results), **node.params
                )
            for operand, cotangent in zip(node.operands, made, strict=True):
                add(operand, cotangent)
        return tuple(found.get(value) for value in graph.inputs)

    return tuple(env[v] for v in graph.outputs), pull


def pullback(graph: Graph, operands: Sequence[Any], cotangents: Sequence[Any]) -> tuple[Any, ...]:
    """Cotangents of a Graph's inputs from those of its outputs, at these operands. See `linearize`."""
    return linearize(graph, operands)[1](cotangents)


def _depends_on_inputs(graph: Graph) -> set[Value]:
    """Float values that a change of some input changes."""
    made = {v for v in graph.inputs if v.dtype.kind in "fc"}
    for node in graph.nodes:
        if any(o in made for o in node.operands):
            made.update(r for r in node.results if r.dtype.kind in "fc")
    return made
