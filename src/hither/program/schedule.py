"""In which order groups run. Any order that their operands allow is right; the one that keeps the least alive is taken.

Fusion gives groups in the order of their roots. That is late for an update of weights that is fused into the product which
computes the gradient: it comes at the end of a training step, and everything that the products read waits until then. So the
order of the anchors is tried too, where most of the work is, and it is where the function put it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from ..graph.core import Graph, Node, Value
from ..graph.primitive import Reduction
from ..kernels.fusion import Group
from .arena import Life, most_alive


def schedule(groups: Sequence[Group], graph: Graph, nbytes: Callable[[Value], int]) -> list[Group]:
    """The groups of a Graph in the order, of two, in which the fewest bytes are alive at once.

    Args:
        groups: as fusion gives them.
        nbytes: of a value in memory.
    """
    position = {node: i for i, node in enumerate(graph.nodes)}
    given = list(groups)
    early = _by_key(given, lambda group: position[_heart(group)])
    if early == given:
        return given
    return min((given, early), key=lambda order: _peak(order, graph, nbytes))


def _heart(group: Group) -> Node:
    """The node with most of a group's work."""
    if group.anchor is not None:
        return group.anchor
    return next((n for n in reversed(group.nodes) if isinstance(n.primitive.lowering, Reduction)), group.root)


def _reads(group: Group) -> set[Value]:
    nodes = group.every_node()
    inside = {r for n in nodes for r in n.results}
    return {o for n in nodes for o in n.operands if o not in inside}


def _by_key(groups: list[Group], key: Callable[[Group], int]) -> list[Group]:
    """Of the groups that can run, always the one with the least key next."""
    makers = {value: group for group in groups for value in group.results}
    readers: dict[Group, list[Group]] = {}
    missing: dict[Group, int] = {}
    for group in groups:
        needed = {makers[v] for v in _reads(group) if v in makers}
        missing[group] = len(needed)
        for maker in needed:
            readers.setdefault(maker, []).append(group)
    number = {group: (key(group), i) for i, group in enumerate(groups)}
    ready = [(number[g], g) for g in groups if not missing[g]]
    heapq.heapify(ready)
    order: list[Group] = []
    while ready:
        _, group = heapq.heappop(ready)
        order.append(group)
        for reader in readers.get(group, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, (number[reader], reader))
    return order


def _peak(order: Sequence[Group], graph: Graph, nbytes: Callable[[Value], int]) -> int:
    """The most bytes of results alive at once; outputs stay to the end, and what is stored inside a larger value lies there."""
    holder: dict[Value, Value] = {}
    for group in order:
        root = group.root
        if group.placement is not None:
            holder[root.results[0]] = group.placement.target
        elif root.primitive.name == "reshape" and len(group.nodes) == 1:
            holder[root.results[0]] = root.operands[0]

    def of(value: Value) -> Value:
        while value in holder:
            value = holder[value]
        return value

    birth: dict[Value, int] = {}
    death: dict[Value, int] = {}
    for time, group in enumerate(order):
        for value in map(of, group.results):
            birth.setdefault(value, time)
            death[value] = time
        for value in map(of, _reads(group)):
            if value in birth:
                death[value] = time
    for value in map(of, graph.outputs):
        if value in birth:
            death[value] = len(order)
    return most_alive([Life(nbytes(value), birth[value], death[value]) for value in birth])
