"""Sequences and optionals, which exist while importing only: lists of arrays whose length is known, and None."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ..registry import Node, operator
from .movement import _cut


def _items(node: Node, sequence: Any) -> list[Any]:
    node.check(isinstance(sequence, list), "takes a sequence")
    return sequence


def _position(node: Node, sequence: list[Any], position: Any, extra: int = 0) -> int:
    """A possibly negative position, which must be known."""
    at = int(node.scalar(position, "the position in the sequence"))
    size = len(sequence) + extra
    node.check(-len(sequence) <= at < size, f"position {at} is outside a sequence of {len(sequence)}")
    return at + len(sequence) if at < 0 else at


@operator("SequenceEmpty")
def sequence_empty(node: Node) -> Any:
    return ([],)


@operator("SequenceConstruct")
def sequence_construct(node: Node, *xs: Any) -> Any:
    return (list(xs),)


@operator("SequenceAt")
def sequence_at(node: Node, sequence: Any, position: Any) -> Any:
    items = _items(node, sequence)
    return items[_position(node, items, position)]


@operator("SequenceInsert")
def sequence_insert(node: Node, sequence: Any, x: Any, position: Any = None) -> Any:
    items = _items(node, sequence)
    at = len(items) if position is None else _position(node, items, position, 1)
    return ([*items[:at], x, *items[at:]],)


@operator("SequenceErase")
def sequence_erase(node: Node, sequence: Any, position: Any = None) -> Any:
    items = _items(node, sequence)
    node.check(bool(items), "the sequence is empty")
    at = len(items) - 1 if position is None else _position(node, items, position)
    return ([*items[:at], *items[at + 1 :]],)


@operator("SequenceLength")
def sequence_length(node: Node, sequence: Any) -> Any:
    return Array(np.array(len(_items(node, sequence)), np.int64))


@operator("SplitToSequence")
def split_to_sequence(node: Node, x: Any, sizes: Any = None) -> Any:
    axis = node.axis(node["axis"], len(x.shape))
    extent = x.shape[axis]
    given = None if sizes is None else node.static(sizes, "the sizes")
    if given is not None and given.ndim:
        parts = [int(n) for n in given]
    else:
        size = 1 if given is None else int(given)
        node.check(size > 0, f"the size of parts must be positive, got {size}")
        parts = [min(size, extent - at) for at in range(0, extent, size)]
    node.check(all(n >= 0 for n in parts) and sum(parts) == extent, f"parts {parts} do not add up to {extent}")
    starts = np.cumsum([0, *parts])
    items = [_cut(x, axis, int(s), n) for s, n in zip(starts, parts)]
    if given is None and not node["keepdims"]:
        items = [ops.squeeze(i, axis=axis) for i in items]
    return (items,)


@operator("ConcatFromSequence")
def concat_from_sequence(node: Node, sequence: Any) -> Any:
    items = _items(node, sequence)
    node.check(bool(items), "the sequence is empty")
    rank = len(items[0].shape)
    if node["new_axis"]:
        return ops.stack(items, axis=node.axis(node["axis"], rank + 1))
    return ops.concat(items, axis=node.axis(node["axis"], rank))


@operator("SequenceMap")
def sequence_map(node: Node, sequence: Any, *others: Any) -> Any:
    items, importer = _items(node, sequence), node.importer
    columns = []
    for i, item in enumerate(items):
        arguments = [item, *(o[i] if isinstance(o, list) else o for o in others)]
        columns.append(importer.run_graph(node.graph("body"), arguments, importer.scope))
    return [list(c) for c in zip(*columns)] if columns else [[] for _ in node.outputs]


@operator("Optional")
def optional(node: Node, x: Any = None) -> Any:
    return (x,)


@operator("OptionalHasElement")
def optional_has_element(node: Node, x: Any = None) -> Any:
    return Array(np.array(x is not None))


@operator("OptionalGetElement")
def optional_get_element(node: Node, x: Any) -> Any:
    return (x,)
