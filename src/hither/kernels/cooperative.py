"""Reductions on a GPU, a workgroup for each: its invocations walk the elements with stride, then combine.

One invocation that walks a long row alone leaves the rest of the GPU idle, reads memory out of step with its neighbours, and
runs for so long that drivers kill it; some software drivers stop a loop after 65,535 turns without saying so. Short rows are
better off with an invocation each (hither.kernels.reductions), for there are usually many of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .. import dtypes as dt
from ..dtypes import DType
from ..graph.core import Node
from ..graph.primitive import Reduction
from .emitter import Context, Emitter, Lowered, describe
from .fusion import Group, sorted_nodes, unflatten
from .index import Index, Var, constant, variable
from .ir import INDEX, Buffer, Val
from .reductions import column_index, combine, row_values, stores_rows

LONG_ROW = 256  # elements from which a workgroup works on one row
LONG_COLUMN = 1024  # the same where neighbouring invocations would read neighbouring elements
MOST_INVOCATIONS = 256  # in a workgroup, by WebGPU's default limits
MOST_GROUPS = 65535  # per dimension of a dispatch


class Team:
    """A workgroup that computes one of `outer` results. `first` is true in the invocation that stores what is one value."""

    def __init__(self, e: Emitter, outer: int, length: int) -> None:
        self.e, self.outer = e, outer
        k = e.k
        self.size = min(MOST_INVOCATIONS, e.machine.workgroup * max(1, min(4, length // (16 * e.machine.workgroup))))
        self.grid = (min(outer, MOST_GROUPS), -(-outer // MOST_GROUPS), 1)
        self.local = k.special("local_id", 0)
        self.first = self.local.eq(0)
        group = k.special("workgroup_id", 0)
        if self.grid[1] > 1:  # the last row of workgroups may reach beyond the end: those repeat the last result
            group = k.min(group + k.special("workgroup_id", 1) * MOST_GROUPS, outer - 1)
        self.row: Index = variable(Var("row", 0, outer - 1, value=group)) if outer > 1 else constant(0)

    def piece(self, length: int) -> tuple[Val, Val]:
        """(start, stop) of this invocation's contiguous share of `length` elements."""
        k, share = self.e.k, -(-length // self.size)
        return k.min(self.local * share, length), k.min((self.local + 1) * share, length)

    def shared(self, dtype: DType) -> Buffer:
        """One element of workgroup memory per invocation."""
        return self.e.k.local(self.e.machine.storage(dtype), self.size, "workgroup")

    def tree(self, combine_with: Callable[[Val], None]) -> None:
        """`combine_with(partner)` in each invocation that has one: those left meet their upper half, until one is left."""
        k, left = self.e.k, self.size
        k.barrier()
        while left > 1:  # an odd one out waits for the next turn
            half = -(-left // 2)
            with k.if_(self.local < left - half):
                combine_with(self.local + half)
            k.barrier()
            left = half

    def reduce(self, node: Node, length: int, element: Callable[[Index], Val]) -> Val:
        """The reduction `node` over `length` elements, known to every invocation."""
        k, lowering, operand = self.e.k, node.primitive.lowering, node.operands[0]
        assert isinstance(lowering, Reduction)
        how = lowering.combine
        dtype = dt.float32 if operand.dtype is dt.float16 else operand.dtype
        with k.loop(self.local, length, self.size, init=[k.const(lowering.initial(dtype), dtype)]) as loop:
            at = variable(Var("i", 0, length - 1, value=loop.index))
            loop.yield_(combine(k, how, loop.carried[0], element(at)))
        return k.workgroup_reduce(how, loop.results[0], self.size)

    def best(self, shared: tuple[Buffer, Buffer], value: Val, at: Val, beats: Callable[[Val, Val, Val, Val], Val]) -> Val:
        """The position of the best of all invocations' (value, position), known to each of them.

        `beats(v, i, w, j)`: (v, i) goes before (w, j); a total order, so that it does not matter who meets whom.
        """
        k, (values, places) = self.e.k, shared
        k.store(values, self.local, value)
        k.store(places, self.local, at)

        def combine_with(partner: Val) -> None:
            v, w = (k.load(values, where, 1, value.dtype) for where in (self.local, partner))
            i, j = (k.load(places, where, 1, INDEX) for where in (self.local, partner))
            with k.if_(beats(w, j, v, i)):
                k.store(values, self.local, w)
                k.store(places, self.local, j)

        self.tree(combine_with)
        found = k.load(places, k.const(0, INDEX), 1, INDEX)
        k.barrier()  # before anyone fills the shared memory again
        return found

    def before(self, shared: Buffer, mine: Val, how: str, neutral: Val) -> tuple[Val, Val]:
        """(what the invocations before this one have, combined; what all have)."""
        k = self.e.k
        k.store(shared, self.local, mine)
        k.barrier()
        with k.loop(0, self.size, init=[neutral, neutral]) as loop:
            earlier, total = loop.carried
            one = k.load(shared, loop.index, 1, mine.dtype)
            joined = combine(k, how, earlier, one)
            loop.yield_(k.select(loop.index < self.local, joined, earlier), combine(k, how, total, one))
        k.barrier()
        return loop.results[0], loop.results[1]

    def finish(self, group: Group, name: str = "") -> Lowered:
        return self.e.finish(name or describe(group), grid=self.grid, workgroup=(self.size, 1, 1))


def rows(context: Context, group: Group) -> Lowered:
    """Reductions along trailing axes and what is computed from them, one row per workgroup."""
    e = Emitter(context, group)
    assert group.rows is not None
    k, outer, inner = e.k, math.prod(group.rows.outer), math.prod(group.rows.inner)
    team = Team(e, outer, inner)
    row, root, nodes = team.row, group.root.results[0], sorted_nodes(group)
    by_row = row_values(nodes, outer, inner)
    for node in nodes:
        result = node.results[0]
        if isinstance(node.primitive.lowering, Reduction):

            def element(at: Index, node: Node = node) -> Val:
                with e.point():
                    return e.read(node.operands[0], unflatten(row * inner + at, node.operands[0].shape))

            e.known[result] = team.reduce(node, inner, element)
        elif node in by_row and result is not root:
            with e.point():
                e.known[result] = e.read(result, unflatten(row, result.shape))
    if stores_rows(group):
        with k.loop(team.local, inner, team.size) as loop, e.point():
            flat = row * inner + variable(Var("i", 0, inner - 1, value=loop.index))
            e.store_root(flat, e.read(root, unflatten(flat, root.shape)))
    else:
        with k.if_(team.first), e.point():
            e.store_root(row, e.read(root, unflatten(row, root.shape)))
    return team.finish(group)


def columns(context: Context, group: Group) -> Lowered:
    """A reduction that keeps its last axis, one result per workgroup."""
    e = Emitter(context, group)
    node = group.anchor or group.root
    assert group.rows is not None
    result, operand, reduced = node.results[0], node.operands[0], math.prod(group.rows.inner)
    team = Team(e, result.abstract.size, reduced)
    kept = unflatten(team.row, result.shape)

    def element(at: Index) -> Val:
        with e.point():
            return e.read(operand, column_index(group, kept, at))

    total = team.reduce(node, reduced, element)
    with e.k.if_(team.first), e.point():
        if group.anchor is None:
            e.store_root(team.row, total)
        else:
            e.finish_element(kept, total)
    return team.finish(group)
