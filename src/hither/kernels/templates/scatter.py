"""Scatter: a copy of the operand, then updates written or combined where run-time indices say.

Updates are applied in order, so that the last of equal indices wins and sums are the same everywhere; what lies beside the
indexed axes runs in parallel.
"""

from __future__ import annotations

import math

from ..emitter import GRAIN, Context, Emitter, Lowered
from ..fusion import Group, flatten, unflatten
from ..index import Index, constant
from ..ir import Val
from ..nests import write_nest
from ..reductions import combine
from . import template


@template("scatter")
def scatter(context: Context, group: Group) -> list[Lowered]:
    """scatter_nd and scatter_along."""
    node = group.root
    x, result = node.operands[0], node.results[0]
    copy = Emitter(context, Group(node, []))
    write_nest(copy, x.shape, lambda e, index: e.store_flat(result, flatten(index, x.shape), e.read(x, index)))
    made = [copy.finish("scatter_copy")]
    if node.operands[2].abstract.size:
        e = Emitter(context, group)
        (_along if node.primitive.name == "scatter_along" else _nd)(e, group)
        made.append(e.finish(node.primitive.name))
    return made


def _apply(e: Emitter, group: Group, flat: Index, update: Val) -> None:
    """Combine one update into the result."""
    k, node = e.k, group.root
    result, how = node.results[0], node.params["combine"]
    buffer = e.buffer(result, "read_write")
    if how == "set":
        k.store(buffer, flat, update)
        return
    old = k.load(buffer, flat, 1, result.dtype)
    k.store(buffer, flat, combine(k, how, old, update))


def _along(e: Emitter, group: Group) -> None:
    node = group.root
    x, indices, updates = node.operands
    axis = node.params["axis"]
    k = e.k
    others = tuple(n for a, n in enumerate(indices.shape) if a != axis)
    count, extent = math.prod(others), indices.shape[axis]
    with k.loop(0, count, kind="parallel", grain=max(1, GRAIN // extent)) as lines:
        at = list(unflatten(k.var(lines, "line", 0, count - 1) if count > 1 else constant(0), others))
        with k.loop(0, extent) as loop, e.point():
            index = tuple([*at[:axis], k.var(loop, "i", 0, extent - 1), *at[axis:]])
            where = k.run_time_index(e.read(indices, index), x.shape[axis])
            place = tuple(where if a == axis else i for a, i in enumerate(index))
            _apply(e, group, flatten(place, x.shape), e.read(updates, index))


def _nd(e: Emitter, group: Group) -> None:
    node = group.root
    x, indices, updates = node.operands
    k = e.k
    depth = indices.shape[-1]
    rows = math.prod(indices.shape[:-1])
    inner = x.shape[depth:]
    size = math.prod(inner)
    with k.loop(0, size, kind="parallel", grain=max(1, GRAIN // rows)) as elements:
        rest = unflatten(k.var(elements, "element", 0, size - 1) if size > 1 else constant(0), inner)
        with k.loop(0, rows) as loop, e.point():
            row = unflatten(k.var(loop, "row", 0, rows - 1), indices.shape[:-1])
            place = [k.run_time_index(e.read(indices, (*row, constant(d))), x.shape[d], f"index{d}") for d in range(depth)]
            _apply(e, group, flatten((*place, *rest), x.shape), e.read(updates, (*row, *rest)))
