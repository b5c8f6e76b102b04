"""Constants that branches and loops are given go into their bodies, where they are known: packed for products, stored small."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from ..graph.core import Graph, GraphBuilder, Node, Value

T = TypeVar("T")


def sink(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> tuple[tuple[Value, ...], dict[str, Any]]:
    """Operands and parameters of a branch or loop that is not given constants. What a loop carries stays: it changes from turn
    to turn."""
    bodies = {k: v for k, v in node.params.items() if isinstance(v, Graph)}
    unseen = len(operands) - len(next(iter(bodies.values())).inputs)  # operands that bodies do not get: a cond's flag
    first = max(unseen, node.params.get("carried", 0))
    known = [i for i, o in enumerate(operands) if i >= first and o in builder.constants]
    arrays = {i - unseen: (builder.constants[operands[i]], operands[i].name) for i in known}
    told = {k: _knowing(v, arrays) for k, v in bodies.items()} if known else {}
    return tuple(o for i, o in enumerate(operands) if i not in known), {**node.params, **told}


def _knowing(body: Graph, arrays: Mapping[int, tuple[np.ndarray, str]]) -> Graph:
    """A body with some of its inputs as constants: Values of its own, for the same body may be used elsewhere."""
    new = {body.inputs[i]: Value(body.inputs[i].abstract, name) for i, (_, name) in arrays.items()}
    constants = {new[body.inputs[i]]: array for i, (array, _) in arrays.items()}
    return replace(
        body,
        inputs=_without(body.inputs, arrays),
        input_names=_without(body.input_names, arrays),
        constants={**body.constants, **constants},
        nodes=tuple(replace(n, operands=tuple(new.get(o, o) for o in n.operands)) for n in body.nodes),
        outputs=tuple(new.get(o, o) for o in body.outputs),
    )


def _without(items: tuple[T, ...], places: Collection[int]) -> tuple[T, ...]:
    return tuple(item for i, item in enumerate(items) if i not in places)
