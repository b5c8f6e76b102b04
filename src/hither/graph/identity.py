"""What tells Graphs and parameters apart, as keys of caches: what has equal keys computes the same, whoever traced it and when.

Names and sources are for readers and functions among the parameters are rules for gradients, so neither is part of a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from .core import Graph, Value


class GraphIdentity:
    """Equal for Graphs that compute the same by the same nodes. It is hashed once: a Graph may have thousands of them."""

    __slots__ = ("_hash", "_parts")

    def __init__(self, graph: Graph) -> None:
        self._parts = _parts(graph)
        self._hash = hash(self._parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GraphIdentity) and (self is other or self._parts == other._parts)


_of_graphs: WeakKeyDictionary[Graph, GraphIdentity] = WeakKeyDictionary()


def identity(value: Any) -> Hashable:
    """A key of a parameter, of nested ones, or of a Graph: numbers of different types and zeros of different signs differ."""
    match value:
        case Graph():
            found = _of_graphs.get(value)
            if found is None:
                found = _of_graphs[value] = GraphIdentity(value)
            return found
        case dict():
            return tuple((k, identity(v)) for k, v in sorted(value.items()) if not callable(v))
        case list() | tuple():
            return tuple(map(identity, value))
        case float() | complex():
            return type(value), repr(value)
        case np.ndarray():
            return value.dtype.str, value.shape, hashlib.sha256(np.ascontiguousarray(value).data).digest()
    return type(value), value


def _parts(graph: Graph) -> Hashable:
    """Values are known by when they are met first, constants by their numbers."""
    met: dict[Value, int] = {}

    def number(value: Value) -> int:
        return met.setdefault(value, len(met))

    inputs = tuple((number(v), v.shape, v.dtype.name) for v in graph.inputs)
    constants = tuple((number(v), identity(array)) for v, array in graph.constants.items())
    nodes = tuple(
        (n.primitive.name, tuple(map(number, n.operands)), identity(n.params), *map(number, n.results)) for n in graph.nodes
    )
    return inputs, constants, nodes, tuple(map(number, graph.outputs))
