"""How much a launch has to do: the arithmetic of its nodes, and the bytes it cannot avoid to move.

Both are properties of what is computed, not of how: a kernel that recomputes or rereads does not look better for it. They
are what profiles divide times by.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph.core import Node, Value
from ..graph.primitive import Control, Indexed
from ..kernels.emitter import Lowered
from ..kernels.fusion import Group
from ..kernels.ir import Machine
from ..kernels.steps import Work


def node_flops(node: Node) -> int:
    """Arithmetic operations of a node; a multiply-add is two, an element of anything else one, moving elements none.

    A function like exp counts as one, so that FLOPs do not depend on how a target computes it.
    """
    rule = node.primitive.flops
    if rule is not None:
        return rule([v.abstract for v in node.operands], [v.abstract for v in node.results], node.params)
    if isinstance(node.primitive.lowering, Indexed | Control):
        return 0
    return node.results[0].abstract.size


def works(group: Group, lowered: Sequence[Lowered], machine: Machine) -> list[Work]:
    """The Work of each kernel of a group. What comes before the last one only arranges its operands."""
    nodes = group.every_node()
    flops = sum(node_flops(node) for node in set(nodes))
    computing = [n for n in nodes if not (isinstance(n.primitive.lowering, Indexed) and n.primitive.lowering.view)]
    sources = tuple(dict.fromkeys(node.source for node in computing or nodes if node.source))
    made = []
    for position, one in enumerate(lowered, 1):
        read = written = 0
        for value, buffer in zip(one.args, one.kernel.buffers, strict=True):
            if buffer.access in ("read", "read_write"):
                read += _touched(value, group, buffer.dtype.itemsize)
            if buffer.access in ("write", "read_write"):
                written += _stored(value, group, buffer.dtype.itemsize, machine)
        made.append(Work(flops if position == len(lowered) else 0, read, written, sources))
    return made


def _nbytes(value: Value, machine: Machine) -> int:
    return value.abstract.size * machine.storage(value.dtype).itemsize


def _stored(value: Value, group: Group, itemsize: int, machine: Machine) -> int:
    """Bytes of a result that the group stores: not those which other groups place in it, or it in others' results."""
    if group.placement is not None and value is group.placement.target:
        value = group.results[0]
    if group.in_place:
        value = group.root.operands[1]  # the slice
    elsewhere = sum(_nbytes(group.root.operands[i], machine) for i in group.placed) if value in group.results else 0
    return max(value.abstract.size * itemsize - elsewhere, 0)


def _touched(value: Value, group: Group, itemsize: int) -> int:
    """Bytes of an operand that must be read: of one that is only sliced or gathered from, as many as that gives."""
    whole = value.abstract.size * itemsize
    readers = [node for node in group.nodes if value in node.operands]
    if not readers or not all(isinstance(node.primitive.lowering, Indexed) for node in readers):
        return whole
    return min(whole, sum(node.results[0].abstract.size * itemsize for node in readers))
