"""Precision: large weights are stored in small numbers and widened where they are read.

Only storage changes. A float32 weight becomes a smaller constant and a `convert` of it, which is no work of its own: whoever
reads the weight, a product's panels or a gather, loads small numbers and widens them in registers. Sums, norms and whatever
else a net computes stay float32.

Weights are what products multiply by and what gathers pick rows from. Constants that are added or compared (positions, anchors,
masks) keep all their digits, and so do small ones: together they are a few per cent of a model's bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from .. import dtypes as dt
from ..graph.core import Graph, GraphBuilder, Node, Value, rewrite
from ..graph.primitive import REGISTRY, Control

PRECISIONS = ("float32", "float16")
LEAST = 256  # elements of a weight that is worth storing small
LARGEST_ERROR = 2.0**-10  # of a weight's largest magnitude; half of a float16's last digit is 2^-11

# Where each primitive that takes weights has them.
_WEIGHTS = {"matmul": (0, 1), "conv": (1,), "conv_transpose": (1,), "take": (0,)}


class PrecisionWarning(UserWarning):
    """A weight keeps float32, because what was asked for cannot hold it."""


def store_weights(graph: Graph, precision: str) -> Graph:
    """The Graph with its weights stored in `precision`; branch and loop bodies too. Weights that it cannot hold stay as they
    are, with a PrecisionWarning that names them."""
    if precision == "float32":
        return graph
    chosen = set(_weights(graph))
    small: dict[Value, Value] = {}

    def widened(builder: GraphBuilder, value: Value) -> Value:
        if value not in chosen:
            return value
        if value not in small:
            half = as_float16(graph.constants[value], value.name)
            small[value] = value
            if half is not None:
                stored = builder.constant(half, value.name)
                (small[value],) = builder.add(REGISTRY["convert"], (stored,), {"dtype": dt.float32})
        return small[value]

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> list[Value]:
        params = node.params
        if isinstance(node.primitive.lowering, Control):
            params = {k: store_weights(v, precision) if isinstance(v, Graph) else v for k, v in params.items()}
        return list(builder.add(node.primitive, [widened(builder, o) for o in operands], params, node.source))

    return rewrite(graph, rule)


def widens(node: Node) -> bool:
    """Whether a node only makes small numbers float32: of a constant, that costs nothing but where it is read."""
    if node.primitive.name != "convert" or node.results[0].dtype is not dt.float32:
        return False
    return node.operands[0].dtype.bits < 32 and node.operands[0].dtype is not dt.bool_


def as_float16(weight: np.ndarray, name: str) -> np.ndarray | None:
    """A weight in float16; None, with a warning, where it overflows or is so small that its digits are lost."""
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    largest = float(np.abs(weight).max(initial=0))
    if np.isfinite(half).all() and float(np.abs(half - weight).max(initial=0)) <= LARGEST_ERROR * largest:
        return half
    warnings.warn(
        f"the weight {name or 'without a name'} {list(weight.shape)} keeps float32: its largest magnitude is {largest:g}, and "
        "float16 holds 6e-5 to 65504 with all digits",
        PrecisionWarning,
        stacklevel=2,
    )
    return None


def _weights(graph: Graph) -> Iterator[Value]:
    """Constants that are large, float32, and read as weights alone."""
    users = graph.users()
    for value, array in graph.constants.items():
        if value.dtype is not dt.float32 or array.dtype != np.float32 or array.size < LEAST or value in graph.outputs:
            continue
        if all(_reads_weight(node, value) for node in users.get(value, ())):
            yield value


def _reads_weight(node: Node, value: Value) -> bool:
    places = _WEIGHTS.get(node.primitive.name, ())
    return all(i in places for i, o in enumerate(node.operands) if o is value) and bool(places)


__all__ = ["PRECISIONS", "PrecisionWarning", "store_weights", "widens"]
