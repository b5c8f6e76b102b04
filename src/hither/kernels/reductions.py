"""Reductions where each result is computed by one thread or lane: along rows, or across them with vectors along what is kept.

Long ones that a workgroup shares are in hither.kernels.cooperative.
"""

from __future__ import annotations

import math

from .. import dtypes as dt
from ..graph.core import Node, Value
from ..graph.primitive import Elementwise, Reduction
from .builder import Builder
from .emitter import GRAIN, Context, Emitter, Lowered, cost, describe, lane, pieces, widest
from .fusion import Group, sorted_nodes, unflatten
from .index import Index, Var, constant, variable
from .ir import Val


def trailing(group: Group) -> bool:
    """Whether what is reduced lies together in memory, behind everything that is kept."""
    assert group.rows is not None
    axes, rank = group.rows.axes, len(group.rows.domain)
    kept = [i for i in range(rank) if i not in axes and group.rows.domain[i] != 1]
    return not kept or not axes or max(kept) < min((a for a in axes if group.rows.domain[a] != 1), default=rank)


def combine(k: Builder, how: str, total: Val, x: Val) -> Val:
    """One step of a reduction; max and min keep a NaN from either side."""
    if how == "add":
        return total + x
    if how == "mul":
        return total * x
    best = k.max(total, x) if how == "max" else k.min(total, x)
    return k.select(x.ne(x), x, best) if x.dtype.is_float else best


def across_lanes(k: Builder, how: str, vector: Val) -> Val:
    """A vector of partial results combined into one."""
    if vector.width == 1:
        return vector
    if how == "add" or not vector.dtype.is_float:
        return k.reduce(how, vector)
    total = k.extract(vector, 0)
    for i in range(1, vector.width):
        total = combine(k, how, total, k.extract(vector, i))
    return total


def rows(context: Context, group: Group) -> Lowered:
    """Row by row: each reduction in its own walk along the row, then what is stored."""
    e = Emitter(context, group)
    k, machine, rows = e.k, e.machine, group.rows
    assert rows is not None
    outer, inner = math.prod(rows.outer), math.prod(rows.inner)
    root = group.root.results[0]
    full = stores_rows(group)
    width = 1 if machine.gpu else widest(group, machine)
    nodes = sorted_nodes(group)
    by_row = row_values(nodes, outer, inner)
    with k.loop(0, outer, kind="parallel", grain=max(1, GRAIN // max(cost(group) * inner, 1))) as loop:
        row = k.var(loop, "row", 0, outer - 1) if outer > 1 else constant(0)
        for node in nodes:
            lowering = node.primitive.lowering
            if isinstance(lowering, Reduction):
                with e.point():
                    e.known[node.results[0]] = _reduce_row(e, node, row, inner, width)
            elif node in by_row and node.results[0] is not root:
                with e.point():
                    e.known[node.results[0]] = e.read(node.results[0], unflatten(row, node.results[0].shape))
        if not full:
            with e.point():
                e.store_root(row, e.read(root, unflatten(row, root.shape)))
        else:
            for start, stop, w in pieces(inner, width, machine):
                with k.loop(start, stop, w) as columns, e.point(w):
                    at = variable(Var("i", start, stop - w, math.gcd(start, w) or w, columns.index)) + lane(w)
                    flat = row * inner + at
                    e.store_root(flat, e.read(root, unflatten(flat, root.shape)))
    return e.finish(describe(group))


def stores_rows(group: Group) -> bool:
    """Whether a group of reductions along rows stores every element of each, or one value per row."""
    assert group.rows is not None
    outer, inner = math.prod(group.rows.outer), math.prod(group.rows.inner)
    alone = inner == 1 and isinstance(group.root.primitive.lowering, Reduction)
    return group.root.results[0].abstract.size == outer * inner and not alone


def row_values(nodes: list[Node], outer: int, inner: int) -> set[Node]:
    """Nodes that depend on a reduction of the group and have one value per row: computed once per row."""
    found: set[Node] = set()
    reduced: set[Value] = set()
    for node in nodes:
        plain = isinstance(node.primitive.lowering, Elementwise) or node.primitive.name in ("reshape", "broadcast")
        if isinstance(node.primitive.lowering, Reduction):
            reduced.add(node.results[0])
        elif plain and inner > 1 and node.results[0].abstract.size == outer and any(o in reduced for o in node.operands):
            reduced.add(node.results[0])
            found.add(node)
    return found


def _reduce_row(e: Emitter, node: Node, row: Index, inner: int, width: int) -> Val:
    """One reduction along one row, in vectors with several accumulators where the row is long."""
    k = e.k
    lowering, operand = node.primitive.lowering, node.operands[0]
    assert isinstance(lowering, Reduction)
    how = lowering.combine
    dtype = dt.float32 if operand.dtype is dt.float16 else operand.dtype
    first = k.const(lowering.initial(dtype), dtype)
    total: Val | None = None

    def element(at: Index, w: int) -> Val:
        flat = row * inner + at
        with e.point(w):
            return k.broadcast(e.read(operand, unflatten(flat, operand.shape)), w)

    for start, stop, w in pieces(inner, width, e.machine):
        count = 4 if w > 1 and (stop - start) >= 8 * w and len(e.group.nodes) < 12 else 1
        step = w * count
        bulk = start + (stop - start) // step * step
        sums: tuple[Val, ...] = tuple(k.broadcast(first, w) for _ in range(count))
        with k.loop(start, bulk, step, init=sums) as loop:
            base = variable(Var("i", start, max(bulk - step, start), math.gcd(start, w) or w, loop.index))
            loop.yield_(*(combine(k, how, s, element(base + u * w + lane(w), w)) for u, s in enumerate(loop.carried)))
        sums = loop.results
        vector = sums[0]
        for s in sums[1:]:
            vector = combine(k, how, vector, s)
        if bulk < stop:
            with k.loop(bulk, stop, w, init=[vector]) as loop:
                base = variable(Var("i", bulk, stop - w, math.gcd(bulk, w) or w, loop.index))
                loop.yield_(combine(k, how, loop.carried[0], element(base + lane(w), w)))
            (vector,) = loop.results
        scalar = across_lanes(k, how, vector)
        total = scalar if total is None else combine(k, how, total, scalar)
    return first if total is None else total


def _how(node: Node) -> str:
    assert isinstance(node.primitive.lowering, Reduction)
    return node.primitive.lowering.combine


def _neutral(k: Builder, node: Node) -> Val:
    """What a reduction's total begins with."""
    lowering, dtype = node.primitive.lowering, node.operands[0].dtype
    assert isinstance(lowering, Reduction)
    dtype = dt.float32 if dtype is dt.float16 else dtype
    return k.const(lowering.initial(dtype), dtype)


def column_index(group: Group, kept: tuple[Index, ...], r: Index) -> tuple[Index, ...]:
    """Where a reduction reads for result `kept`: the r-th of what it reduces over."""
    assert group.rows is not None
    domain, axes = group.rows.domain, group.rows.axes
    found = dict(zip(axes, unflatten(r, group.rows.inner), strict=True))
    found |= zip((d for d in range(len(domain)) if d not in axes), kept, strict=True)
    return tuple(found[d] for d in range(len(domain)))


def columns(context: Context, group: Group) -> Lowered:
    """A reduction whose last axis is kept: vectors along the kept axis, one loop over what is reduced."""
    e = Emitter(context, group)
    k, machine, rows = e.k, e.machine, group.rows
    assert rows is not None
    parts = group.parts or (group,)
    nodes = [part.anchor or part.root for part in parts]
    root = nodes[0].results[0]
    reduced = math.prod(rows.inner)
    inner = 1 if machine.gpu or not root.shape else root.shape[-1]
    outer = root.abstract.size // inner
    width = 1 if machine.gpu else widest(group, machine)

    def one(flat: Index, w: int) -> None:
        kept = unflatten(flat, root.shape)
        with k.loop(0, reduced, init=[k.broadcast(_neutral(k, node), w) for node in nodes]) as loop:
            r = k.var(loop, "r", 0, max(reduced - 1, 0))
            with e.point(w):
                elements = [k.broadcast(e.read(node.operands[0], column_index(group, kept, r)), w) for node in nodes]
            loop.yield_(*(combine(k, _how(n), total, x) for n, total, x in zip(nodes, loop.carried, elements, strict=True)))
        for part, total in zip(parts, loop.results, strict=True):
            with e.point(w):
                if part.anchor is None:
                    e.store_root(flat, total, part=part)
                else:
                    e.finish_element(kept, total, part=part)

    grain = max(1, GRAIN // max(cost(group) * inner * reduced, 1))
    if outer == 1 and inner > width:
        for start, stop, w in pieces(inner, width, machine):
            with k.loop(start, stop, w, kind="parallel", grain=max(1, GRAIN // (cost(group) * w * reduced))) as loop:
                one(variable(Var("i", start, stop - w, math.gcd(start, w) or w, loop.index)) + lane(w), w)
        return e.finish(describe(group))
    with k.loop(0, outer, kind="parallel", grain=grain) as outer_loop:
        row = k.var(outer_loop, "row", 0, outer - 1) if outer > 1 else constant(0)
        for start, stop, w in pieces(inner, width, machine):
            with k.loop(start, stop, w) as loop:
                i = variable(Var("i", start, stop - w, math.gcd(start, w) or w, loop.index)) + lane(w)
                one(row * inner + i, w)
    return e.finish(describe(group))
