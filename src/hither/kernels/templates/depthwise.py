"""Depthwise convolution, channels last: vectors along the channels, several output pixels in registers.

Weights lie as [taps][channels]; the taps are unrolled where there are few, and each input vector of a row is loaded once for
all the output pixels of a strip that it touches.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...graph.core import Value
from ..emitter import GRAIN, Context, Emitter, Lowered, lane, pieces
from ..fusion import Group, unflatten
from ..index import Index, Var, constant, variable
from ..ir import Machine, Val
from .tile import accumulator
from .widen import widened

STRIP = 7  # output pixels along the last spatial axis held in registers


def depthwise(context: Context, group: Group) -> list[Lowered]:
    """x [N, *S, C], w [C, 1, *K] → [N, *T, C]."""
    node = group.anchor
    assert node is not None
    x, w = node.operands
    result = node.results[0]
    channels = x.shape[-1]
    window, out = w.shape[2:], result.shape[1:-1]
    strides, dilation = tuple(node.params["strides"]), tuple(node.params["dilation"])
    packed, lowered = widened(context, group, packed_taps(context, w))
    e = Emitter(context, group)
    k, machine = e.k, e.machine
    width = 4 if machine.gpu and channels % 4 == 0 else machine.lanes(max(32, result.dtype.bits))
    strip = strip_length(machine, out[-1])
    lines = result.shape[0] * math.prod(out[:-1])

    def element(line: Index, column: Index, count: int, channel: Index, w_: int) -> None:
        at = unflatten(line, (result.shape[0], *out[:-1]))

        def load(where: tuple[Index, ...], pixel: int) -> Val:
            line_of_input = [i * s + t * d for i, t, s, d in zip(at[1:], where, strides, dilation, strict=False)]
            return e.read(x, (at[0], *line_of_input, column * strides[-1] + pixel, channel + lane(w_)))

        strip_of(e, packed, (*at, column), count, channel, w_, load)

    def channel_loops(line: Index, column: Index, count: int) -> None:
        for start, stop, w_ in pieces(channels, width, machine):
            with k.loop(start, stop, w_) as loop:
                channel = variable(Var("channel", start, stop - w_, math.gcd(start, w_) or w_, loop.index))
                element(line, column, count, channel, w_)

    full, rest = divmod(out[-1], strip)
    work = max(1, math.prod(window) * channels * strip)
    for start, number, count in ((0, full, strip), (full * strip, 1 if rest else 0, rest)):
        total = lines * number
        if not total:
            continue
        with k.loop(0, total, kind="parallel", grain=max(1, GRAIN * 4 // work)) as loop:
            line, block = unflatten(k.var(loop, "strip", 0, total - 1) if total > 1 else constant(0), (lines, number))
            channel_loops(line, block * strip + start, count)
    return [*lowered, e.finish(f"depthwise_{'x'.join(map(str, window))}_{lines * out[-1]}x{channels}")]


def strip_length(machine: Machine, pixels: int) -> int:
    """Output pixels along a line that are computed together."""
    return min(pixels, 1 if machine.gpu else 4 if machine.name == "wasm" else STRIP)


def packed_taps(context: Context, w: Value) -> Value:
    """Constant weights as [taps][channels]."""
    return context.pack(w, "depthwise taps", lambda a: np.ascontiguousarray(a.reshape(len(a), -1).T))


def strip_of(
    e: Emitter, packed: Value, at: tuple[Index, ...], count: int, channel: Index, width: int,
    load: Callable[[tuple[Index, ...], int], Val],
) -> None:  # fmt: skip
    """`count` neighbouring output pixels from `at` (batch and spatial axes), at `width` channels.

    `load(tap of the leading axes, pixel)` reads the input, pixels counted from the strip's first.
    """
    node, k = e.group.anchor, e.k
    assert node is not None
    w, result = node.operands[1], node.results[0]
    window, channels = w.shape[2:], result.shape[-1]
    stride, dilation = node.params["strides"][-1], node.params["dilation"][-1]
    dtype = accumulator(result.dtype)
    leading = window[:-1]
    taps_before = math.prod(leading)
    sums: tuple[Val, ...] = (k.broadcast(k.const(0, dtype), width),) * count

    def taps(position: Index, sums: tuple[Val, ...]) -> tuple[Val, ...]:
        """One line of the window: each input vector is loaded once and used by every pixel it belongs to."""
        where = unflatten(position, leading) if leading else ()
        loaded: dict[int, Val] = {}
        totals = list(sums)
        for t in range(window[-1]):
            with e.point(width):
                weight = e.load_flat(packed, (position * window[-1] + t) * channels + channel + lane(width))
            for p in range(count):
                pixel = p * stride + t * dilation
                if pixel not in loaded:
                    with e.point(width):
                        loaded[pixel] = k.broadcast(k.convert(load(where, pixel), dtype), width)
                totals[p] = k.fma(loaded[pixel], k.convert(weight, dtype), totals[p])
        return tuple(totals)

    if taps_before * window[-1] <= 25:
        for t in range(taps_before):
            sums = taps(constant(t), sums)
    else:
        with k.loop(0, taps_before, init=sums) as loop:
            loop.yield_(*taps(k.var(loop, "tap", 0, taps_before - 1), loop.carried))
        sums = loop.results
    for p in range(count):
        with e.point(width):
            e.finish_element((*at[:-1], at[-1] + p, channel + lane(width)), k.late(sums[p]))
