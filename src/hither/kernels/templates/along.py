"""Kernels that walk one axis in order: argmax and argmin, cumulative sums, stable sorting. Lines run in parallel; on a GPU a
workgroup shares a long one."""

from __future__ import annotations

import math

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ...graph.primitives.reduce import _CUMULATIVE
from ..cooperative import LONG_ROW, Team
from ..emitter import Context, Emitter, Lowered
from ..fusion import Group, flatten
from ..index import Index, Var, variable
from ..ir import INDEX, Buffer, Val
from ..reductions import combine
from . import template
from .lines import along, comes_before, is_nan, line_index, lines
from .merge_sort import merge_sort


@template("arg_reduce")
def arg_reduce(context: Context, group: Group) -> list[Lowered]:
    """The position of the first (or last) extreme; a NaN counts as more extreme than any number, as in NumPy."""
    node = group.root
    (x,), result = node.operands, node.results[0]
    axis, last = node.params["axis"], bool(node.params.get("last", False))
    largest = node.primitive.name == "argmax"
    e = Emitter(context, group)
    k = e.k
    extent = x.shape[axis]
    if e.machine.gpu and extent >= LONG_ROW:
        return [_team_arg_reduce(e, group, largest, last)]
    with lines(e, x.shape, axis) as at:
        best = e.read(x, at)
        with k.loop(1, extent, init=[best, k.const(0, INDEX)]) as loop:
            held, where = loop.carried
            with e.point():
                new = e.read(x, along(at, axis, k.var(loop, "i", 1, extent - 1)))
            beats = (held <= new if last else held < new) if largest else (new <= held if last else new < held)
            keep, better = is_nan(k, held), is_nan(k, new)
            beats = (beats & ~keep) | better if last else (beats | better) & ~keep
            loop.yield_(k.select(beats, new, held), k.select(beats, loop.index, where))
        flat = flatten(tuple(i for a, i in enumerate(at) if a != axis), result.shape)
        e.store_flat(result, flat, k.convert(loop.results[1], result.dtype))
    return [e.finish(f"{node.primitive.name}_{extent}")]


def _team_arg_reduce(e: Emitter, group: Group, largest: bool, last: bool) -> Lowered:
    """A workgroup for each line."""
    node, k = group.root, e.k
    (x,), result, axis = node.operands, node.results[0], node.params["axis"]
    extent = x.shape[axis]

    def beats(v: Val, i: Val, w: Val, j: Val) -> Val:
        """v at i is to be taken rather than w at j."""
        nan, other = is_nan(k, v), is_nan(k, w)
        more = ((w < v) if largest else (v < w)) & ~other
        same = v.eq(w) | (nan & other)
        return (nan & ~other) | more | (same & ((j < i) if last else (i < j)))

    team = Team(e, x.abstract.size // extent, extent)
    at = line_index(x.shape, axis, team.row)
    held = (team.shared(dt.float32 if x.dtype is dt.float16 else x.dtype), team.shared(dt.int32))
    own = variable(Var("own", 0, team.size - 1, value=team.local))
    init = [e.read(x, along(at, axis, own)), team.local]
    with k.loop(team.local, extent, team.size, init=init) as loop, e.point():
        i = variable(Var("i", 0, extent - 1, value=loop.index))
        new = e.read(x, along(at, axis, i))
        better = beats(new, loop.index, *loop.carried)
        loop.yield_(k.select(better, new, loop.carried[0]), k.select(better, loop.index, loop.carried[1]))
    where = team.best(held, loop.results[0], loop.results[1], beats)
    with k.if_(team.first):
        e.store_flat(result, team.row, k.convert(where, result.dtype))
    return team.finish(group, f"{node.primitive.name}_{extent}")


@template("cumulative")
def cumulative(context: Context, group: Group) -> list[Lowered]:
    """Running sums, products, extremes; exclusive ones start from the neutral element."""
    node = group.root
    (x,), result = node.operands, node.results[0]
    axis, how = node.params["axis"], node.params["combine"]
    exclusive, reverse = bool(node.params.get("exclusive")), bool(node.params.get("reverse"))
    e = Emitter(context, group)
    k = e.k
    extent = x.shape[axis]
    dtype = dt.float32 if x.dtype is dt.float16 else x.dtype
    neutral = k.const(_CUMULATIVE[how][1](dtype), dtype)

    def walk(at: tuple[Index, ...], start: Val | int, stop: Val | int, initial: Val, store: bool) -> Val:
        with k.loop(start, stop, init=[initial]) as loop, e.point():
            i = k.var(loop, "i", 0, extent - 1)
            place = along(at, axis, (extent - 1) - i if reverse else i)
            total = combine(k, how, loop.carried[0], e.read(x, place))
            if store:
                e.store_flat(result, flatten(place, result.shape), loop.carried[0] if exclusive else total)
            loop.yield_(total)
        return loop.results[0]

    if e.machine.gpu and extent >= LONG_ROW:  # each invocation sums a piece; then, knowing what lies before it, writes it
        team = Team(e, x.abstract.size // extent, extent)
        at, (start, stop) = line_index(x.shape, axis, team.row), team.piece(extent)
        shared = team.shared(dtype)
        earlier, _ = team.before(shared, walk(at, start, stop, neutral, store=False), how, neutral)
        walk(at, start, stop, earlier, store=True)
        return [team.finish(group, f"cumulative_{how}_{extent}")]
    with lines(e, x.shape, axis) as at:
        walk(at, 0, extent, neutral, store=True)
    return [e.finish(f"cumulative_{how}_{extent}")]


@template("sort")
def sort(context: Context, group: Group) -> list[Lowered]:
    """A stable merge sort of positions, doubling the runs; NaN is greater than every number."""
    node = group.root
    (x,), (values, positions) = node.operands, node.results
    axis, descending = node.params["axis"], bool(node.params.get("descending"))
    extent = x.shape[axis]
    if context.machine.gpu:
        return merge_sort(context, group)
    e = Emitter(context, group)
    k = e.k
    others = x.abstract.size // extent
    here = Value(Abstract((others, extent), dt.int32), "order")
    there = Value(Abstract((others, extent), dt.int32), "merged")

    def order_buffer(value: Value) -> Buffer:
        return e.buffer(value, "read_write")

    def element(at: tuple[Index, ...], position: Val) -> Val:
        with e.point():
            return e.read(x, along(at, axis, k.run_time_index(position, extent)))

    passes = max(0, math.ceil(math.log2(extent))) if extent > 1 else 0
    with lines(e, x.shape, axis, max(1, passes) * 8) as at:
        line = flatten(tuple(i for a, i in enumerate(at) if a != axis), tuple(n for a, n in enumerate(x.shape) if a != axis))
        row = k.index(line * extent)
        source, target = here, there
        with k.loop(0, extent) as loop:
            k.store(order_buffer(source), row + loop.index, k.convert(loop.index, dt.int32))
        for step in range(passes):
            run = 1 << step
            left_buffer, right_buffer = order_buffer(source), order_buffer(target)
            with k.loop(0, extent, 2 * run) as blocks:
                middle = k.min(blocks.index + run, extent)
                end = k.min(blocks.index + 2 * run, extent)
                with k.loop(blocks.index, end, init=[blocks.index, middle]) as merge:
                    i, j = merge.carried
                    a_at = k.load(left_buffer, row + k.min(i, extent - 1))
                    b_at = k.load(left_buffer, row + k.min(j, extent - 1))
                    right = comes_before(k, element(at, b_at), element(at, a_at), descending)
                    take_right = (j < end) & (~(i < middle) | right)
                    k.store(right_buffer, row + merge.index, k.select(take_right, b_at, a_at))
                    one, zero = k.const(1, INDEX), k.const(0, INDEX)
                    merge.yield_(i + k.select(take_right, zero, one), j + k.select(take_right, one, zero))
            source, target = target, source
        final = order_buffer(source)
        with k.loop(0, extent) as loop:
            where = k.load(final, row + loop.index)
            flat = flatten(along(at, axis, k.var(loop, "i", 0, extent - 1)), x.shape)
            with e.point():
                e.store_flat(values, flat, element(at, where))
                e.store_flat(positions, flat, k.convert(where, positions.dtype))
    return [e.finish(f"sort_{extent}")]
