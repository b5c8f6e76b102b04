"""Which axes of a weight are its output channels: a question that only the nodes that read it can answer.

Formats order the axes of weights differently (ONNX convolutions have outputs first, Keras' last), but importers bring all of
them to the one layout that the primitives read, by transposes and reshapes that are nodes of the Graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..graph.core import Node, Value


def channel_axes(node: Node, i: int) -> tuple[int, ...] | None:
    """The axes of a weight of which each index makes elements of the result of its own: what can be scaled behind the product.
    None where there are none."""
    rank, p = node.operands[i].abstract.rank, node.params
    match node.primitive.name:
        case "matmul":
            inner = rank - 1 if (p["transpose_a"] if i == 0 else not p["transpose_b"]) else rank - 2
            return (*range(rank - 2), inner)
        case "conv" if i == 1:
            return (0,)
        case "conv_transpose" if i == 1:
            return (1,) if p["groups"] == 1 else None
        case "take" if i == 0:
            return (p["axis"],)
    return None


def output_axes(users: Mapping[Value, Sequence[Node]], value: Value) -> tuple[int, ...] | None:
    """The output channels of a weight, in its own layout; None unless all products that read it agree on them.

    Args:
        users: the nodes that read each value of a Graph (`Graph.users`).
        value: the weight. Transposes and reshapes between it and the products are seen through.
    """
    found = set()
    for node in users.get(value, ()):
        for i, operand in enumerate(node.operands):
            if operand is value:
                found.add(_through(users, node) if node.primitive.name in ("transpose", "reshape") else channel_axes(node, i))
    return found.pop() if len(found) == 1 else None


def _through(users: Mapping[Value, Sequence[Node]], node: Node) -> tuple[int, ...] | None:
    axes = output_axes(users, node.results[0])
    if axes is None:
        return None
    if node.primitive.name == "transpose":
        return tuple(sorted(node.params["permutation"][axis] for axis in axes))
    return _before_reshape(node.operands[0].shape, node.results[0].shape, axes)


def _before_reshape(before: Sequence[int], after: Sequence[int], axes: Sequence[int]) -> tuple[int, ...] | None:
    """What axes of a reshaped array are before it is reshaped; None where one is part of an axis."""
    found: list[int] = []
    i = j = 0
    while i < len(before) or j < len(after):  # the shortest runs of axes that hold the same elements
        first, start, left, right = i, j, 1, 1
        while i == first or j == start or left != right:
            if i < len(before) and (left <= right or j == len(after)):
                left, i = left * before[i], i + 1
            elif j < len(after):
                right, j = right * after[j], j + 1
            else:
                break
        chosen = {k in axes for k in range(start, j) if after[k] > 1}
        if len(chosen) == 2:
            return None
        if True in chosen:
            found += range(first, i)
    return tuple(found)


__all__ = ["channel_axes", "output_axes"]
