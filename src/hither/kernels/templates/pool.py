"""Pooling, channels last: vectors along the channels, the window walked tap by tap, padding never read."""

from __future__ import annotations

import math

from ...dtypes import bool_
from ...graph.primitives.conv import pool_identity
from ..emitter import GRAIN, Context, Emitter, Lowered, lane, pieces
from ..fusion import Group, flatten, unflatten
from ..index import Index, Var, constant, variable
from ..ir import Val
from ..reductions import combine
from . import template
from .tile import accumulator

UNROLL = 16  # taps written out rather than looped over


@template("pool", epilogue=True)
def pool(context: Context, group: Group) -> list[Lowered]:
    """x [N, *S, C] → [N, *T, C]: the largest, smallest or sum of each window."""
    node = group.anchor
    assert node is not None
    (x,) = node.operands
    result = node.results[0]
    p = node.params
    if p["layout"] != "channels_last":
        raise AssertionError("pools reach the template channels last: the layout pass has not run")
    channels, spatial, out = x.shape[-1], x.shape[1:-1], result.shape[1:-1]
    window, strides, dilation, padding = (tuple(p[n]) for n in ("window", "strides", "dilation", "padding"))
    e = Emitter(context, group)
    k, machine = e.k, e.machine
    dtype = accumulator(result.dtype)
    identity = k.const(pool_identity(p["combine"], dtype), dtype)
    taps = math.prod(window)

    def element(pixel: Index, channel: Index, w: int) -> None:
        at = unflatten(pixel, (result.shape[0], *out))

        def step(tap: Index, total: Val) -> Val:
            where = unflatten(tap, window)
            inside = k.const(True, bool_)
            place: list[Index] = [at[0]]
            for i, t, stride, spread, (low, _), extent in zip(at[1:], where, strides, dilation, padding, spatial, strict=True):
                position = i * stride + t * spread - low
                inside = inside & k.inside(position, 0, extent)
                place.append(k.clamp(position, extent))
            with e.point(w):
                loaded = e.load_flat(x, flatten((*place, channel + lane(w)), x.shape))
            loaded = k.broadcast(loaded, w)
            return combine(k, p["combine"], total, k.select(inside, loaded, k.broadcast(identity, w)))

        total = k.broadcast(identity, w)
        if taps <= UNROLL:
            for t in range(taps):
                total = step(constant(t), total)
        else:
            with k.loop(0, taps, init=[total]) as loop:
                loop.yield_(step(k.var(loop, "tap", 0, taps - 1), loop.carried[0]))
            (total,) = loop.results
        with e.point(w):
            e.finish_element((*at, channel + lane(w)), total)

    pixels = result.shape[0] * math.prod(out)
    if machine.gpu:
        with k.loop(0, pixels * channels, kind="parallel") as loop:
            pixel, channel = unflatten(k.var(loop, "i", 0, pixels * channels - 1), (pixels, channels))
            element(pixel, channel, 1)
        return [e.finish("pool")]
    width = machine.lanes(max(32, result.dtype.bits))
    with k.loop(0, pixels, kind="parallel", grain=max(1, GRAIN // (taps * channels))) as rows:
        pixel = k.var(rows, "pixel", 0, pixels - 1) if pixels > 1 else constant(0)
        for start, stop, w in pieces(channels, width, machine):
            with k.loop(start, stop, w) as loop:
                element(pixel, variable(Var("channel", start, stop - w, math.gcd(start, w) or w, loop.index)), w)
    return [e.finish(f"pool_{'x'.join(map(str, window))}_{pixels}x{channels}")]
