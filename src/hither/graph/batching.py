"""Vectorisation of one Graph: the loop that applies primitives' batching rules, and the rules that whole kinds share.

A batched value has one more axis, its first. A node none of whose operands are batched is applied as it is, so that only what
differs from row to row is computed for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..array import Array
from .core import Graph, Value
from .primitive import REGISTRY, Elementwise, Primitive, Reduction
from .trace import bind, source

Batched = tuple[Any, bool]


def run_batched(graph: Graph, operands: Sequence[Batched], size: int) -> list[Batched]:
    """A Graph's outputs for (operand, whether it is batched) for each input.

    Raises:
        TypeError: if a batched value reaches a primitive without a batching rule, naming where it came from.
    """
    env: dict[Value, Batched] = {v: (Array(a), False) for v, a in graph.constants.items()}
    env.update(zip(graph.inputs, operands, strict=True))
    for node in graph.nodes:
        given = [env[o] for o in node.operands]
        with source(node.source):
            made = apply_batched(node.primitive, given, size, node.params, node.source)
        env.update(zip(node.results, made, strict=True))
    return [env[v] for v in graph.outputs]


def apply_batched(
    primitive: Primitive, operands: Sequence[Batched], size: int, params: dict[str, Any] | Any, where: str = ""
) -> list[Batched]:
    """One primitive on batched operands."""
    flags = tuple(flag for _, flag in operands)
    arrays = [x for x, _ in operands]
    if not any(flags):
        made = bind(primitive, *arrays, **params)
        return [(r, False) for r in (made if isinstance(made, tuple) else (made,))]
    if primitive.batch is not None:
        made = primitive.batch(size, flags, *arrays, **params)
    elif isinstance(primitive.lowering, Elementwise):
        made = bind(primitive, *[spread(x, flag, size) for x, flag in operands], **params)
    elif isinstance(primitive.lowering, Reduction):
        made = bind(primitive, arrays[0], axes=tuple(a + 1 for a in params["axes"]))
    else:
        at = f" ({where})" if where else ""
        raise TypeError(f"{primitive.name}{at} has no batching rule: call it outside of vmap, or loop with hither.scan")
    results = made if isinstance(made, tuple | list) else (made,)
    return [r if isinstance(r, tuple) else (r, True) for r in results]


def spread(x: Any, flag: bool, size: int) -> Any:
    """A value with a batch axis: its own, or repeated along a new one."""
    if flag:
        return x
    shape = tuple(x.shape)
    x = Array(x) if isinstance(x, np.ndarray) else x
    return bind(REGISTRY["broadcast"], x, shape=(size, *shape), axes=tuple(range(1, len(shape) + 1)))
