"""Constant folding: what depends on constants alone is computed now, by the oracle.

Values that folding would blow up (a broadcast of a scalar to an image) stay as they are: they cost nothing once fused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.core import Graph, GraphBuilder, Node, Value, rewrite
from ..graph.primitive import REGISTRY, Control, Reduction
from .sink import sink

CONVOLUTIONS = ("conv", "conv_transpose")  # sums of products, of no channels or samples sometimes
FREE = 1 << 12  # bytes: results up to here are folded however small their operands are


def fold(graph: Graph) -> Graph:
    """Evaluate nodes whose operands are all constants, and sums of nothing; fold inside branch and loop bodies too."""

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> list[Value] | None:
        if isinstance(node.primitive.lowering, Control):
            return _fold_bodies(builder, node, operands)
        if isinstance(node.primitive.lowering, Reduction) and not operands[0].abstract.size:
            return [_repeated(builder, node, node.primitive.lowering.initial(node.results[0].dtype))]
        if node.primitive.name in CONVOLUTIONS and not all(o.abstract.size for o in operands):
            return [_repeated(builder, node, 0)]
        if not all(o in builder.constants for o in operands):
            return None
        size = sum(r.abstract.nbytes for r in node.results)
        if size > max(FREE, 2 * sum(o.abstract.nbytes for o in operands)):
            return None
        arrays = node.primitive.run(*[builder.constants[o] for o in operands], **node.params)
        name = next((o.name for o in operands if o.name), "")
        return [builder.constant(a, name) for a in arrays]

    return rewrite(graph, rule)


def _repeated(builder: GraphBuilder, node: Node, value: Any) -> Value:
    """The same number for every element of the result: what a reduction of no elements gives."""
    result = node.results[0].abstract
    initial = builder.constant(np.asarray(value, result.dtype.numpy), "")
    if not result.rank:
        return initial
    (made,) = builder.add(REGISTRY["broadcast"], [initial], {"shape": result.shape, "axes": ()}, node.source)
    return made


def _fold_bodies(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> list[Value]:
    from . import optimize

    kept, params = sink(builder, node, operands)
    params = {k: optimize(v) if isinstance(v, Graph) else v for k, v in params.items()}
    return list(builder.add(node.primitive, kept, params, node.source))
