"""Results in place: whether what a state becomes, or what a loop carries, can be computed where it lies.

A training step changes weights and moments element by element. Computed straight into their places, they need neither room in
the arena nor a copy when the step is done. A scan replaces one row of what it collects in each turn: only that is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..graph.core import Graph, Value
from ..graph.primitive import Elementwise
from ..kernels.fusion import Group


def may_replace(groups: Sequence[Group], graph: Graph, alias: Mapping[Value, Value], new: Value, old: Value | None) -> bool:
    """Whether `new` may be stored over `old`, an input of the Graph: the group that computes it goes through both element by
    element, and no other reads `old` at that time or later.

    Args:
        groups: in the order in which they run.
        alias: values that are another's memory under another shape.
    """
    if old is None:
        return True
    names = {old, *(v for v, holder in alias.items() if holder is old)}
    place = next((i for i, g in enumerate(groups) if new in g.results), None)
    if place is None or new.shape != old.shape or names & set(graph.outputs):
        return False
    group = groups[place]
    if any(names & set(_reads(g)) for g in groups[place + 1 :]) or (names - {old}) & set(_reads(group)):
        return False
    if group.anchor is not None or group.rows is not None or group.placement is not None or group.placed:
        return False
    depending = {old}
    for node in group.nodes:
        if depending & set(node.operands):
            if not isinstance(node.primitive.lowering, Elementwise):
                return False
            depending.update(node.results)
    return True


def may_update(groups: Sequence[Group], graph: Graph, alias: Mapping[Value, Value], new: Value, old: Value | None) -> bool:
    """Whether `new`, an input of the Graph with a slice replaced, can be made by storing that slice over `old`, the input: no
    other reads `old` at that time or later.

    Args:
        groups, alias: as for `may_replace`.
    """
    place = next((i for i, g in enumerate(groups) if new in g.results), None)
    if old is None or place is None:
        return False
    names = {old, *(v for v, holder in alias.items() if holder is old)}
    group = groups[place]
    root = group.root
    if root.primitive.name != "dynamic_update_slice" or root.operands[0] is not old or names & set(graph.outputs):
        return False
    reads = [o for g in groups[place:] for o in _reads(g)]
    alone = group.anchor is None and group.rows is None and group.placement is None and not group.placed
    return alone and sum(v in names for v in reads) == 1


def _reads(group: Group) -> list[Value]:
    return [o for n in group.every_node() for o in n.operands]
