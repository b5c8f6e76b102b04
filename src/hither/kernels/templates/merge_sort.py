"""Sorting on a GPU: stable, an invocation per element, one launch per doubling of the sorted runs.

An element's place among its neighbours is found by counting who goes before it. Then runs are merged pairwise: a place in the
merged run is the element's rank in its own run plus its rank in the other, found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..emitter import Context, Emitter, Lowered
from ..fusion import Group, flatten
from ..index import Index
from ..ir import INDEX, Val
from .lines import along, comes_before, line_index

RANKED = 64  # neighbours that a GPU orders by counting before it starts to merge


def merge_sort(context: Context, group: Group) -> list[Lowered]:
    """The kernels of a sort: ranks, merges, and what is stored."""
    node = group.root
    (x,), (values, positions) = node.operands, node.results
    axis, descending = node.params["axis"], bool(node.params.get("descending"))
    extent, size = x.shape[axis], x.abstract.size
    made: list[Lowered] = []
    order: Value | None = None
    run = RANKED
    while True:
        e = Emitter(context, group)
        k = e.k
        target = Value(Abstract((size,), dt.int32), "order")

        def element(at: tuple[Index, ...], position: Val, e: Emitter = e) -> Val:
            with e.point():
                return e.read(x, along(at, axis, e.k.run_time_index(position, extent)))

        with k.loop(0, size, kind="parallel") as loop, e.point():
            flat = k.var(loop, "i", 0, size - 1)
            i = flat % extent
            at, row = line_index(x.shape, axis, flat // extent), k.index(flat - i)
            if order is None:
                at_line = partial(element, at)
                place = _rank(e, at_line, k.index(i), k.index(i // RANKED * RANKED), extent, descending)
                k.store(e.buffer(target, "write"), row + place, k.convert(k.index(i), dt.int32))
            else:
                source = e.buffer(order)
                mine = k.load(source, flat)
                own = element(at, mine)
                start = k.index(i // (2 * run) * (2 * run))
                middle, end = k.min(start + run, extent), k.min(start + 2 * run, extent)
                left = k.index(i) < middle
                low, high = k.select(left, middle, start), k.select(left, end, middle)
                with k.loop(0, run.bit_length(), init=[low, high]) as bisection:
                    a, b = bisection.carried
                    half = (a + b) >> 1
                    other = element(at, k.load(source, row + k.min(half, extent - 1)))
                    earlier = k.select(left, comes_before(k, other, own, descending), ~comes_before(k, own, other, descending))
                    open_ = a < b
                    bisection.yield_(k.select(open_ & earlier, half + 1, a), k.select(open_ & ~earlier, half, b))
                rank = bisection.results[0] - low
                place = k.index(i) + rank - k.select(left, k.const(0, INDEX), middle - start)
                k.store(e.buffer(target, "write"), row + place, mine)
                run *= 2
        made.append(e.finish(f"sort_{extent}"))
        order = target
        if run >= extent:
            break
    e = Emitter(context, group)
    k = e.k
    with k.loop(0, size, kind="parallel") as loop, e.point():
        flat = k.var(loop, "i", 0, size - 1)
        at = line_index(x.shape, axis, flat // extent)
        where = k.load(e.buffer(order), flat)
        to = flatten(along(at, axis, flat % extent), x.shape)
        e.store_flat(values, to, e.read(x, along(at, axis, k.run_time_index(where, extent))))
        e.store_flat(positions, to, k.convert(where, positions.dtype))
    return [*made, e.finish(f"sorted_{extent}")]


def _rank(e: Emitter, element: Callable[[Val], Val], i: Val, start: Val, extent: int, descending: bool) -> Val:
    """Where element i goes among the RANKED elements from `start`, equal ones in the order they have."""
    k = e.k
    own = element(i)
    stop = k.min(start + RANKED, extent)
    with k.loop(start, stop, init=[start]) as loop:
        other = element(loop.index)
        earlier = comes_before(k, other, own, descending) | ((loop.index < i) & ~comes_before(k, own, other, descending))
        loop.yield_(loop.carried[0] + k.select(earlier, k.const(1, INDEX), k.const(0, INDEX)))
    return loop.results[0]
