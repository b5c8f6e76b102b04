"""Kernels that walk one axis in order: argmax and argmin, cumulative sums, stable sorting. Lines run in parallel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ...graph.primitives.reduce import _CUMULATIVE
from ..builder import Builder
from ..emitter import GRAIN, Context, Emitter, Lowered
from ..fusion import Group, flatten, unflatten
from ..index import Index, constant
from ..ir import INDEX, Buffer, Val
from ..reductions import combine
from . import template


@contextmanager
def lines(e: Emitter, shape: tuple[int, ...], axis: int, work: int = 1) -> Iterator[tuple[Index, ...]]:
    """A parallel loop over the lines along `axis`; gives the index of a line with 0 along it."""
    others = tuple(n for a, n in enumerate(shape) if a != axis)
    count = math.prod(others)
    with e.k.loop(0, count, kind="parallel", grain=max(1, GRAIN // max(1, shape[axis] * work))) as loop, e.point():
        flat = e.k.var(loop, "line", 0, count - 1) if count > 1 else constant(0)
        at = list(unflatten(flat, others))
        at.insert(axis, constant(0))
        yield tuple(at)


def along(at: tuple[Index, ...], axis: int, position: Index) -> tuple[Index, ...]:
    """The index of a line, at a position along it."""
    return tuple(position if a == axis else i for a, i in enumerate(at))


def is_nan(k: Builder, x: Val) -> Val:
    """x is NaN; constant false for integers."""
    return x.ne(x) if x.dtype.is_float else k.const(False, dt.bool_)


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
    with lines(e, x.shape, axis) as at, k.loop(0, extent, init=[k.const(_CUMULATIVE[how][1](dtype), dtype)]) as loop:
        i = k.var(loop, "i", 0, extent - 1)
        place = along(at, axis, (extent - 1) - i if reverse else i)
        with e.point():
            total = combine(k, how, loop.carried[0], e.read(x, place))
            e.store_flat(result, flatten(place, result.shape), loop.carried[0] if exclusive else total)
        loop.yield_(total)
    return [e.finish(f"cumulative_{how}_{extent}")]


@template("sort")
def sort(context: Context, group: Group) -> list[Lowered]:
    """A stable merge sort of positions, doubling the runs; NaN is greater than every number."""
    node = group.root
    (x,), (values, positions) = node.operands, node.results
    axis, descending = node.params["axis"], bool(node.params.get("descending"))
    extent = x.shape[axis]
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

    def comes_before(b: Val, a: Val) -> Val:
        """b goes strictly before a."""
        if descending:
            return (a < b) | (is_nan(k, b) & ~is_nan(k, a))
        return (b < a) | (is_nan(k, a) & ~is_nan(k, b))

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
                    right = comes_before(element(at, b_at), element(at, a_at))
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
