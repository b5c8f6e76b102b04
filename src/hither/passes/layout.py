"""Layout: convolutions and pools compute channels last; what lies between them follows.

Formats think channels first. A matrix product over pixels wants the channels of one pixel side by side. So every
channels-first convolution or pool becomes a channels-last one, and its result stays in that order through elementwise
operations, concatenations, padding, slices, resizing and reductions, until something needs the order it was written in.
Padding of convolutions becomes a pad of its own, so that no kernel tests borders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..graph.core import Graph, GraphBuilder, Node, Value, rewrite
from ..graph.primitive import REGISTRY, Elementwise

_WINDOWED = ("conv", "conv_transpose", "pool", "conv_filter_gradient", "pool_gradient")
_OF_PICTURES = ("conv_filter_gradient", "pool_gradient")  # all of whose operands have channels
FEW_CHANNELS = 4  # of a picture as formats store it


def channels_last(graph: Graph) -> Graph:
    """Rewrite convolutions and pools to channels last and carry that order as far as it goes."""
    if not any(n.primitive.name in _WINDOWED for n in graph.nodes):
        return graph
    last: dict[Value, Value] = {}  # a value of the new graph → the same array with the channels last
    homes: set[Value] = set()  # values whose channels-last twin is the one that is computed

    def rule(builder: GraphBuilder, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        change = _Change(builder, node, last, homes)
        name = node.primitive.name
        if name in _WINDOWED and node.params["layout"] == "channels_first":
            return [change.windowed(operands)]
        if name in _WINDOWED:
            return [change.pad_first(operands, node.params)]
        follow = any(o in homes for o in operands)
        if follow and isinstance(node.primitive.lowering, Elementwise):
            return [change.twin(change.add(node.primitive.name, [change.last(o) for o in operands], node.params))]
        if follow and name in _FOLLOW:
            return _FOLLOW[name](change, operands)
        return None

    return rewrite(graph, rule)


def to_last(rank: int) -> tuple[int, ...]:
    """The permutation from channels first to channels last."""
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> tuple[int, ...]:
    """The permutation from channels last to channels first."""
    return (0, rank - 1, *range(1, rank - 1))


class _Change:
    """The rewriting of one node."""

    def __init__(self, builder: GraphBuilder, node: Node, last: dict[Value, Value], homes: set[Value]) -> None:
        self.builder, self.node, self._last, self._homes = builder, node, last, homes

    def add(self, name: str, operands: Sequence[Value], params: object) -> Value:
        return self.builder.add(REGISTRY[name], operands, params, self.node.source)[0]  # type: ignore[arg-type]

    def last(self, value: Value) -> Value:
        """The value with its channels last; a transpose where it is not computed that way."""
        if value not in self._last:
            producer = next((n for n in reversed(self.builder.nodes) if value in n.results), None)
            rank = value.abstract.rank
            if producer is not None and producer.primitive.name == "broadcast":
                axes = tuple(to_last(rank).index(a) for a in producer.params["axes"])
                shape = tuple(value.shape[p] for p in to_last(rank))
                order = tuple(sorted(range(len(axes)), key=axes.__getitem__))  # a broadcast's axes ascend
                (source,) = producer.operands
                if order != tuple(range(len(axes))):
                    source = self.add("transpose", [source], {"permutation": order})
                self._last[value] = self.add("broadcast", [source], {"shape": shape, "axes": tuple(sorted(axes))})
            else:
                self._last[value] = self.add("transpose", [value], {"permutation": to_last(rank)})
        return self._last[value]

    def twin(self, value: Value) -> Value:
        """The channels-first face of a channels-last value: a transpose that vanishes if nobody looks at it."""
        face = self.add("transpose", [value], {"permutation": to_first(value.abstract.rank)})
        self._last[face] = value
        self._homes.add(face)
        return face

    def windowed(self, operands: tuple[Value, ...]) -> Value:
        x, params = operands[0], {**self.node.params, "layout": "channels_last"}
        if self.node.primitive.name == "conv" and params["groups"] == 1 and x not in self._last and x.shape[1] <= FEW_CHANNELS:
            # a picture: padding it as it is, and reading it through the transpose, beats turning it around in memory
            x, params = self.padded(x, params, slice(2, None))
            return self.twin(self.add("conv", [self.last(x), *operands[1:]], params))
        if self.node.primitive.name in _OF_PICTURES:
            made = self.pad_first(tuple(map(self.last, operands)), params)
            return made if self.node.primitive.name == "conv_filter_gradient" else self.twin(made)
        return self.twin(self.pad_first((self.last(x), *operands[1:]), params))

    def pad_first(self, operands: tuple[Value, ...], params: Mapping[str, Any]) -> Value:
        """A convolution's padding as a pad of its input (channels last)."""
        if self.node.primitive.name in ("conv", "conv_filter_gradient"):
            padded, params = self.padded(operands[0], params, slice(1, -1))
            operands = (padded, *operands[1:])
        return self.add(self.node.primitive.name, operands, params)

    def padded(self, x: Value, params: Mapping[str, Any], spatial: slice) -> tuple[Value, dict[str, Any]]:
        """A convolution's input with its padding, and what is then left to say of the convolution."""
        padding = [tuple(p) for p in params["padding"]]
        if any(p != (0, 0) for p in padding):
            low, high = [0] * x.abstract.rank, [0] * x.abstract.rank
            low[spatial], high[spatial] = [p[0] for p in padding], [p[1] for p in padding]
            x = self.add("pad", [x], {"low": tuple(low), "high": tuple(high), "value": 0})
        return x, {**params, "padding": ((0, 0),) * len(padding)}


def _permuted(values: Sequence[object], rank: int) -> tuple[object, ...]:
    return tuple(values[p] for p in to_last(rank))


def _concat(change: _Change, operands: tuple[Value, ...]) -> Sequence[Value]:
    rank = operands[0].abstract.rank
    axis = to_last(rank).index(change.node.params["axis"])
    return [change.twin(change.add("concat", [change.last(o) for o in operands], {"axis": axis}))]


def _pad(change: _Change, operands: tuple[Value, ...]) -> Sequence[Value]:
    rank, p = operands[0].abstract.rank, change.node.params
    params = {**p, "low": _permuted(p["low"], rank), "high": _permuted(p["high"], rank)}
    return [change.twin(change.add("pad", [change.last(operands[0])], params))]


def _slice(change: _Change, operands: tuple[Value, ...]) -> Sequence[Value]:
    rank, p = operands[0].abstract.rank, change.node.params
    params = {k: _permuted(p[k], rank) for k in ("starts", "sizes", "steps")}
    return [change.twin(change.add("slice", [change.last(operands[0])], params))]


def _transpose(change: _Change, operands: tuple[Value, ...]) -> Sequence[Value]:
    rank = operands[0].abstract.rank
    permutation = tuple(to_last(rank).index(p) for p in change.node.params["permutation"])
    return [change.add("transpose", [change.last(operands[0])], {"permutation": permutation})]


def _reduce(change: _Change, operands: tuple[Value, ...]) -> Sequence[Value]:
    rank = operands[0].abstract.rank
    axes = tuple(change.node.params["axes"])
    kept = [a for a in to_last(rank) if a not in axes]  # the result's axes, in the order that they come out
    new = tuple(sorted(to_last(rank).index(a) for a in axes))
    result = change.add(change.node.primitive.name, [change.last(operands[0])], {**change.node.params, "axes": new})
    if kept == sorted(kept):
        return [result]
    order = tuple(kept.index(a) for a in sorted(kept))
    return [change.add("transpose", [result], {"permutation": order})]


def _take(change: _Change, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    """A gather along one axis with a vector of indices (resizing) keeps the rank, so it can follow."""
    if operands[1].abstract.rank != 1:
        return None
    rank = operands[0].abstract.rank
    axis = to_last(rank).index(change.node.params["axis"])
    return [change.twin(change.add("take", [change.last(operands[0]), operands[1]], {**change.node.params, "axis": axis}))]


def _reshape(change: _Change, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    """Batch and channels stay what they are: only the spatial axes are split or merged, each channel for itself."""
    shape = tuple(change.node.params["shape"])
    if len(shape) < 3 or shape[:2] != operands[0].shape[:2]:
        return None
    return [change.twin(change.add("reshape", [change.last(operands[0])], {"shape": _permuted(shape, len(shape))}))]


def _broadcast(change: _Change, operands: tuple[Value, ...]) -> Sequence[Value] | None:
    """Spatial axes are repeated (resizing by whole factors)."""
    shape, axes = tuple(change.node.params["shape"]), tuple(change.node.params["axes"])
    if axes[:2] != (0, 1):
        return None
    rank = len(shape)
    moved = tuple(to_last(rank).index(axes[a]) for a in to_last(len(axes)))  # still ascending
    return [change.twin(change.add("broadcast", [change.last(operands[0])], {"shape": _permuted(shape, rank), "axes": moved}))]


_FOLLOW = {
    "concat": _concat, "pad": _pad, "slice": _slice, "transpose": _transpose, "take": _take,
    "reshape": _reshape, "broadcast": _broadcast,
    "reduce_sum": _reduce, "reduce_max": _reduce, "reduce_min": _reduce, "reduce_prod": _reduce,
}  # fmt: skip
