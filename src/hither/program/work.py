"""How much a launch has to do: the arithmetic of its nodes, and the bytes it cannot avoid to move.

Both are properties of what is computed, not of how: a kernel that recomputes or rereads does not look better for it. They
are what profiles divide times by. What a machine does at most depends on the numbers, and a kernel may know a way that takes
fewer operations (Winograd's convolutions); so profiles ask kernels of which kind their operations are, and how many.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Sequence

from ..graph.core import Node, Value
from ..graph.primitive import Control, Indexed
from ..kernels.emitter import Lowered
from ..kernels.fusion import Group
from ..kernels.ir import BINARY, INDEX, UNARY, Block, Kernel, Machine, Op, Val
from ..kernels.steps import Work

KINDS = {"float32": 1, "bytes": 4, "pairs": 2}  # multiply-adds of one operation in a lane of 32 bits; pairs are of 16 bits


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


def operations(kernel: Kernel, flops: int) -> dict[str, float]:
    """The operations among `flops` that a kernel carries out, by kind: as many as it has, or all of them, where it has more or
    how often its loops go round is not known before it runs. A loop whose length changes counts as long as it first is.
    """
    found: Counter[str] = Counter()
    counters: dict[Val, int] = {}
    known = True

    def visit(block: Block, times: int) -> None:
        nonlocal known
        for op in block.ops:
            turns = 1
            if op.kind == "loop":
                start, stop = (_number(v, counters) for v in op.args[:2])
                if start is not None:
                    counters[op.blocks[0].params[0]] = start
                if start is None or stop is None:
                    known = False
                else:
                    turns = max(-(-(stop - start) // op.attr.step), 0)
            for inner in op.blocks:
                visit(inner, times * turns)
            kind, count = _arithmetic(op)
            found[kind] += times * count

    visit(kernel.body, math.prod((*kernel.grid, *kernel.workgroup)) if kernel.grid else 1)
    total = found.total()
    if not total:
        return {"float32": float(flops)} if flops else {}
    share = min(1.0, flops / total) if known else flops / total
    return {kind: count * share for kind, count in found.items() if count and flops}


def _number(value: Val, counters: dict[Val, int]) -> int | None:
    """What an index is, by constants and the counters of loops around it."""
    op = value.op
    if op is None or op.kind not in ("const", *_INDICES):
        return counters.get(value)
    if op.kind == "const":
        return int(op.attr)
    a, b = (_number(v, counters) for v in op.args)
    return None if a is None or b is None else _INDICES[op.kind](a, b)


_INDICES: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "min": min,
    "max": max,
}


def _arithmetic(op: Op) -> tuple[str, int]:
    """The kind of an operation on numbers, and how many it counts for; addresses are none."""
    if op.kind == "dot":
        kind = "pairs" if op.attr == "pairs" else "bytes"
        return kind, 2 * KINDS[kind] * op.results[0].width
    if op.kind not in UNARY | BINARY | {"fma", "select", "convert", "reduce"} or op.results[0].dtype is INDEX:
        return "float32", 0
    return "float32", (2 if op.kind == "fma" else 1) * max(v.width for v in (*op.args, *op.results))


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
