"""Between which numbers the elements of a value lie: proven from the Graph, or seen on samples.

Bytes that a scale known beforehand makes need no pass over what they round: they are what its kernel stores. A clip, a sigmoid
or a relu proves bounds that hold whatever the inputs; `with_extremes` makes a Graph that finds the others on samples. Seen
ranges go by the digest of the weights that the values are multiplied by, which is the same in every trace of a network.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph.core import Graph, GraphBuilder, Node, Value
from ..graph.primitive import REGISTRY

FEW = 4096  # elements of a constant that is looked at
_SAME = {"reshape", "transpose", "broadcast", "slice", "reduce_max", "reduce_min"}
_WITHIN = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "erf": (-1.0, 1.0), "sin": (-1.0, 1.0), "cos": (-1.0, 1.0)}


@dataclass(frozen=True)
class Range:
    """The least and the largest element there can be, as far as is known. NaNs are not counted."""

    low: float = -math.inf
    high: float = math.inf

    def within(self, other: Range) -> Range:
        """What lies in both; `other` where nothing does."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Range(low, high) if low <= high else other

    def around(self, other: Range) -> Range:
        """What holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high))


ANYTHING = Range()


def proven(graph: Graph) -> dict[Value, Range]:
    """Bounds that no element of a value leaves; of values that have some."""
    found: dict[Value, Range] = {}
    for value, array in graph.constants.items():
        if value.dtype.is_float and 0 < array.size <= FEW and np.isfinite(array).all():
            found[value] = Range(float(array.min()), float(array.max()))
    for node in graph.nodes:
        if len(node.results) == 1 and node.results[0].dtype.is_float:
            bounds = _bounds(node, [found.get(o, ANYTHING) for o in node.operands])
            if bounds != ANYTHING:
                found[node.results[0]] = bounds
    return found


def _bounds(node: Node, operands: Sequence[Range]) -> Range:
    name = node.primitive.name
    if name in _SAME or (name == "convert" and node.operands[0].dtype.is_float):
        return operands[0]
    match name, operands:
        case "max" | "min", (a, b):
            choose = max if name == "max" else min
            return Range(choose(a.low, b.low), choose(a.high, b.high))
        case "add", (a, b):
            return Range(a.low + b.low, a.high + b.high)
        case "sub", (a, b):
            return Range(a.low - b.high, a.high - b.low)
        case "mul", (a, b):
            corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
            return ANYTHING if any(map(math.isnan, corners)) else Range(min(corners), max(corners))
        case "neg", (a,):
            return Range(-a.high, -a.low)
        case "abs", (a,):
            least = 0.0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
            return Range(least, max(abs(a.low), abs(a.high)))
        case "select", (_, a, b):
            return a.around(b)
        case "concat", (first, *others):
            for other in others:
                first = first.around(other)
            return first
        case "pad", (a,):
            return a.around(Range(float(node.params["value"]), float(node.params["value"])))
        case "exp", _:
            return Range(0.0)
    return Range(*_WITHIN[name]) if name in _WITHIN else ANYTHING


def digest_of(array: np.ndarray) -> str:
    """What identifies a weight, whatever Graph it is in."""
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def with_extremes(graph: Graph, wanted: Callable[[Node], bool]) -> tuple[Graph, list[Value]]:
    """The Graph with other results, and the weight that each two of them are about: the least and the largest element of what
    a wanted convolution multiplies by it."""
    builder, ends, about = GraphBuilder(), list[Value](), list[Value]()
    builder.inputs, builder.constants = list(graph.inputs), dict(graph.constants)
    for node in graph.nodes:
        builder.append(node)
    for node in graph.nodes:
        if node.primitive.name in ("conv", "conv_transpose") and wanted(node):
            x = node.operands[0]
            for end in ("reduce_min", "reduce_max"):
                ends += builder.add(REGISTRY[end], (x,), {"axes": tuple(range(x.abstract.rank))})
            about.append(node.operands[1])
    return builder.finish(ends, graph.input_names, [str(i) for i in range(len(ends))], graph.name), about


__all__ = ["ANYTHING", "Range", "digest_of", "proven", "with_extremes"]
