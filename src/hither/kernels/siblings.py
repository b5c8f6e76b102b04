"""Siblings: groups that read the same arrays element by element, or one the other's result, become one kernel.

Fusion gives each group one result. What trains a network makes several of the same arrays: an optimizer's weights and moments,
the sums over pixels that batch normalisation and its gradient need. Side by side they read each array once, and results that
only siblings read are never stored. On a GPU a kernel can bind few arrays, and is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..graph.core import Graph, Node, Value
from ..graph.primitive import Elementwise
from .fusion import Group, reads_same_index
from .ir import Machine
from .reductions import trailing

MOST_RESULTS = 6  # of one kernel
MOST_NODES = 64  # computed in it: their values are in registers together
_VIEWS = ("reshape", "broadcast")


def side_by_side(groups: Sequence[Group], graph: Graph, machine: Machine) -> list[Group]:
    """The groups in an order in which they can run, siblings as one."""
    if machine.gpu:
        return list(groups)
    made: list[Group] = []
    kinds: dict[Group, object] = {}
    reads: dict[Group, set[Value]] = {}
    for group in groups:
        kind, wanted = _kind(group), _inputs(group)
        place: int | None = None
        late = False
        since: set[Value] = set()  # what is made after the candidate
        consumed: set[Value] = set()  # and what is read after it
        for i in range(len(made) - 1, -1, -1) if kind is not None else ():
            other = made[i]
            if kinds[other] == kind and _fit(other, group, wanted, reads[other]):
                late = not any(r in consumed for r in other.results)  # it may as well run later
                if late or not wanted & since:
                    place = i
                    break
            since |= set(other.results)
            consumed |= reads[other]
        if place is None:
            made.append(group)
        else:
            other = made.pop(place)
            group = _together(other, group)
            wanted = (wanted | reads[other]) - set(group.results)
            made.insert(len(made) if late else place, group)
        kinds[group], reads[group] = kind, wanted
    users, outputs = graph.users(), set(graph.outputs)
    for group in made:
        if group.parts:
            group.parts = _stored(group, users, outputs)
    return made


def _inputs(group: Group) -> set[Value]:
    """What must be there before a group runs, those that feed it included."""
    nodes = group.every_node()
    inside = {r for n in nodes for r in n.results}
    return {o for n in nodes for o in n.operands if o not in inside}


def _kind(group: Group) -> object:
    """What siblings have in common: how they walk memory. None: the group has none."""
    if group.placement is not None or group.placed or group.feeder is not None or not group.root.results[0].abstract.size:
        return None
    if group.rows is None and group.anchor is None:
        if all(isinstance(n.primitive.lowering, Elementwise) or n.primitive.name in _VIEWS for n in group.nodes):
            return (*_common(group), "elements") if group.root.primitive.name != "reshape" else None
    elif group.rows is not None and (group.anchor is not None or not trailing(group)):
        return (*_common(group), group.rows.domain, group.rows.axes)
    return None


def _common(group: Group) -> tuple[object, ...]:
    values = [v for n in group.nodes for v in (*n.operands, *n.results)]
    return group.root.results[0].shape, max(v.dtype.bits for v in values) > 32


def _fit(first: Group, second: Group, wanted: set[Value], others: set[Value]) -> bool:
    """Whether one kernel for both saves reading an array, and holds what both need."""
    parts = (*(first.parts or (first,)), second)
    if len(parts) > MOST_RESULTS or len(first.nodes) + len(second.nodes) > MOST_NODES:
        return False
    made = [p.root for p in parts[:-1] if p.root.results[0] in wanted]
    if first.rows is not None:
        size = _walked(first)
        return not made and any(v.abstract.size == size for v in wanted & others)
    if not all(reads_same_index(second, node) for node in made):
        return False
    size = first.root.results[0].abstract.size
    return bool(made) or any(v.abstract.size == size for v in wanted & others)


def _walked(group: Group) -> int:
    """Elements that a group of reductions reads of an array."""
    assert group.rows is not None
    total = 1
    for n in group.rows.domain:
        total *= n
    return total


def _together(first: Group, second: Group) -> Group:
    nodes = [*first.nodes, *(n for n in second.nodes if n not in set(first.nodes))]
    return Group(second.root, nodes, rows=first.rows, parts=(*(first.parts or (first,)), *(second.parts or (second,))))


def _stored(group: Group, users: Mapping[Value, Iterable[Node]], outputs: set[Value]) -> tuple[Group, ...]:
    """The parts whose results someone else reads."""
    inside = set(group.nodes)

    def leaves(part: Group) -> bool:
        value = part.root.results[0]
        return value in outputs or any(user not in inside for user in users.get(value, ()))

    return tuple(part for part in group.parts if leaves(part))
