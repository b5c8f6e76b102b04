"""The gradient of a max or min pool, channels last: each window gives its cotangent to its first extremum.

Windows that do not overlap own their part of the input, so one walk over windows stores every element once and can finish it.
Others add to what lies there: the windows of one picture and some channels are one thread's, whose sums are finished by a
kernel of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ...graph.primitives.conv import pool_identity
from ..emitter import GRAIN, Context, Emitter, Lowered, lane, pieces
from ..fusion import Group, flatten, unflatten
from ..index import Index, Var, constant, variable
from ..ir import Val
from ..nests import write_nest
from . import template
from .tile import accumulator

UNROLL = 16  # places of a window that are written out


@template("pool_gradient", epilogue=True)
def pool_gradient(context: Context, group: Group) -> list[Lowered]:
    """g and y [N, *T, C], x [N, *S, C] → [N, *S, C]."""
    node = group.anchor
    assert node is not None
    p = node.params
    if p["layout"] != "channels_last":
        raise AssertionError("pools reach the template channels last: the layout pass has not run")
    reach = [(k - 1) * d + 1 for k, d in zip(p["window"], p["dilation"], strict=True)]
    if all(r <= s for r, s in zip(reach, p["strides"], strict=True)) and math.prod(p["strides"]) <= UNROLL:
        return [_apart(context, group)]
    return _overlapping(context, group)


class _Windows:
    """What a window reads: its cotangent, its extremum, and the input at its taps."""

    def __init__(self, e: Emitter) -> None:
        node = e.group.anchor
        assert node is not None
        self.e, self.p = e, node.params
        self.g, self.x, self.y = node.operands
        self.window, self.spatial, self.out = tuple(self.p["window"]), self.x.shape[1:-1], self.y.shape[1:-1]
        self.dtype = accumulator(self.x.dtype)

    def load(self, value: Value, pixel: tuple[Index, ...], channel: Index, w: int) -> Val:
        with self.e.point(w):
            return self.e.k.broadcast(self.e.load_flat(value, flatten((*pixel, channel + lane(w)), value.shape)), w)

    def place(self, at: tuple[Index, ...], offset: tuple[Index | int, ...]) -> tuple[Index, ...]:
        """The pixel of the input at an offset from where the window of output pixel `at` begins."""
        where = zip(at[1:], self.p["strides"], offset, self.p["padding"], strict=True)
        return (at[0], *(i * s + o - low for i, s, o, (low, _) in where))

    def within(self, pixel: tuple[Index, ...]) -> Val:
        k = self.e.k
        found = k.const(True, dt.bool_)
        for i, extent in zip(pixel[1:], self.spatial, strict=True):
            found = found & k.inside(i, 0, extent)
        return found

    def seen(self, pixel: tuple[Index, ...], within: Val, channel: Index, w: int) -> Val:
        """The input at a pixel, padding included."""
        k = self.e.k
        clamped = (pixel[0], *(k.clamp(i, n) for i, n in zip(pixel[1:], self.spatial, strict=True)))
        identity = k.broadcast(k.const(pool_identity(self.p["combine"], self.dtype), self.dtype), w)
        return k.select(within, self.load(self.x, clamped, channel, w), identity)


def _apart(context: Context, group: Group) -> Lowered:
    """Windows at least a stride apart: the block of input from each window to the next is stored by it."""
    e = Emitter(context, group)
    k, windows, node = e.k, _Windows(e), group.anchor
    assert node is not None
    p, result = node.params, node.results[0]
    channels, strides = result.shape[-1], tuple(p["strides"])
    zero = k.const(0, windows.dtype)
    along = ({t * d for t in range(n)} for n, d in zip(p["window"], p["dilation"], strict=True))
    taps = set(itertools.product(*along))

    def finish(pixel: tuple[Index, ...], channel: Index, w: int, value: Val) -> None:
        with e.point(w):
            e.finish_element((*pixel, channel + lane(w)), k.broadcast(value, w))

    def block(number: Index, channel: Index, w: int) -> None:
        at = unflatten(number, (result.shape[0], *windows.out))
        cotangent, extremum = (windows.load(v, at, channel, w) for v in (windows.g, windows.y))
        free = k.broadcast(k.const(True, dt.bool_), w)
        for offset in itertools.product(*map(range, strides)):
            pixel = windows.place(at, offset)
            within, value = windows.within(pixel), k.broadcast(zero, w)
            if offset in taps:
                mine = windows.seen(pixel, within, channel, w).eq(extremum) & free
                free = free & ~mine
                value = k.select(mine, cotangent, value)
            if within.op is not None and within.op.kind == "const":
                if within.op.attr:
                    finish(pixel, channel, w, value)
            else:
                with k.if_(within):
                    finish(pixel, channel, w, value)

    _walk(e, result.shape[0] * math.prod(windows.out), channels, math.prod(strides), block)
    # What lies behind the last block along an axis is in no window.
    ends = [min(n * s - low, extent) for n, s, (low, _), extent in zip(windows.out, strides, p["padding"], windows.spatial)]
    for axis, (end, extent) in enumerate(zip(ends, windows.spatial, strict=True)):
        slab = (result.shape[0], *ends[:axis], extent - end, *windows.spatial[axis + 1 :], channels)

        def store(e: Emitter, index: tuple[Index, ...], axis: int = axis, end: int = end) -> None:
            there = tuple(i + end if a == axis + 1 else i for a, i in enumerate(index))
            e.finish_element(there, e.k.broadcast(e.k.const(0, windows.dtype), e.k.width))

        if math.prod(slab):
            write_nest(e, slab, store)
    return e.finish(f"pool_gradient_{'x'.join(map(str, windows.window))}_{math.prod(result.shape[:-1])}x{channels}")


def _walk(e: Emitter, count: int, channels: int, work: int, body: Callable[[Index, Index, int], None]) -> None:
    """`body(number, channel, lanes)` for each of `count` and all channels: neighbours in memory one after the other."""
    k, machine = e.k, e.machine
    if machine.gpu:
        with k.loop(0, count * channels, kind="parallel") as loop:
            number, channel = unflatten(k.var(loop, "i", 0, count * channels - 1), (count, channels))
            body(number, channel, 1)
        return
    width = machine.lanes(max(32, e.group.results[0].dtype.bits))
    with k.loop(0, count, kind="parallel", grain=max(1, GRAIN // (work * channels))) as rows:
        number = k.var(rows, "window", 0, count - 1) if count > 1 else constant(0)
        for start, stop, w in pieces(channels, width, machine):
            with k.loop(start, stop, w) as loop:
                body(number, variable(Var("channel", start, stop - w, math.gcd(start, w) or w, loop.index)), w)


def _overlapping(context: Context, group: Group) -> list[Lowered]:
    """Windows that share input: a thread adds up what all windows of a picture give to some channels."""
    node = group.anchor
    assert node is not None
    result, p = node.results[0], node.params
    sums = Value(Abstract(result.shape, accumulator(result.dtype)), "pool_sums")
    e = Emitter(context, Group(node, [node], anchor=node))
    k, machine, windows = e.k, e.machine, _Windows(e)
    batch, channels = result.shape[0], result.shape[-1]
    buffer = e.buffer(sums, "read_write")
    pixels, taps = math.prod(windows.spatial), math.prod(windows.window)

    def give(at: tuple[Index, ...], tap: Index, free: Val, given: tuple[Val, Val], channel: Index, w: int) -> Val:
        """One tap of a window: what is left to be given after it (1 or 0)."""
        cotangent, extremum = given
        offset = [t * d for t, d in zip(unflatten(tap, windows.window), p["dilation"], strict=True)]
        pixel = windows.place(at, tuple(offset))
        within = windows.within(pixel)
        mine = windows.seen(pixel, within, channel, w).eq(extremum) & free.ne(k.broadcast(k.const(0, dt.int32), w))
        clamped = (pixel[0], *(k.clamp(i, n) for i, n in zip(pixel[1:], windows.spatial, strict=True)), channel)
        with k.if_(within):
            flat = flatten(clamped, sums.shape)
            here = k.load(buffer, flat, w, sums.dtype)
            k.store(buffer, flat, here + k.select(mine, cotangent, k.broadcast(k.const(0, sums.dtype), w)))
        return k.select(mine, k.broadcast(k.const(0, dt.int32), w), free)

    def unit(image: Index, channel: Index, w: int) -> None:
        with k.loop(0, pixels) as loop:
            flat = flatten((image, k.var(loop, "pixel", 0, max(pixels - 1, 0)), channel), (batch, pixels, channels))
            k.store(buffer, flat, k.broadcast(k.const(0, sums.dtype), w))
        count = math.prod(windows.out)
        with k.loop(0, count) as loop:
            window = (image, *unflatten(k.var(loop, "window", 0, max(count - 1, 0)), windows.out))
            given = (windows.load(windows.g, window, channel, w), windows.load(windows.y, window, channel, w))
            free = k.broadcast(k.const(1, dt.int32), w)
            if taps <= UNROLL:
                for t in range(taps):
                    free = give(window, constant(t), free, given, channel, w)
            else:
                with k.loop(0, taps, init=[free]) as inner:
                    left = give(window, k.var(inner, "tap", 0, taps - 1), inner.carried[0], given, channel, w)
                    inner.yield_(left)

    width = 1 if machine.gpu else machine.lanes(max(32, result.dtype.bits))
    for start, stop, w in pieces(channels, width, machine):
        blocks = (stop - start) // w
        with k.loop(0, batch * blocks, kind="parallel") as loop:
            at = k.var(loop, "unit", 0, batch * blocks - 1) if batch * blocks > 1 else constant(0)
            image, block = unflatten(at, (batch, blocks))
            unit(image, block * w + start, w)
    name = f"pool_gradient_{'x'.join(map(str, windows.window))}_{batch * pixels}x{channels}"
    return [e.finish(name), _finished(context, group, sums)]


def _finished(context: Context, group: Group, sums: Value) -> Lowered:
    e = Emitter(context, group)
    write_nest(e, sums.shape, lambda e, index: e.finish_element(index, e.load_flat(sums, flatten(index, sums.shape))))
    return e.finish("finish_pool_gradient")
