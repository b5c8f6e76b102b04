"""Transposed convolution, channels last, as one product per output phase.

Output pixels whose positions agree modulo the stride are fed by the same taps, so each phase is an ordinary convolution of
the input with those taps: no zeros are inserted and nothing is accumulated in memory. Each phase is a kernel that writes
its own pixels; phases of few channels that read the same pixels are one kernel, side by side in its columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..emitter import Context, Emitter, Lowered, lane
from ..fusion import Group, flatten, unflatten
from ..index import Index
from ..ir import Val
from ..nests import write_nest
from . import template
from .byte_panels import byte_offsets, can_dot, moved, words
from .product import Product
from .tile import pack_panels, tile_for
from .tiling import tiles


@dataclass(frozen=True)
class Axis:
    """One spatial axis of one phase: which outputs (start, start + stride, …), taps (first, step, count), and the input
    position of output 0 at the first tap, which falls by `fall` from tap to tap. `phases` that follow read the same pixels,
    each with taps one further on."""

    start: int
    outputs: int
    stride: int
    first: int
    step: int
    taps: int
    position: int
    fall: int
    phases: int = 1


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """Neighbouring phases that read the same pixels as one."""
    found: list[Axis] = []
    for axis in axes:
        last = found[-1] if found else None
        if last is not None and axis == replace(last, start=axis.start, first=last.first + last.phases, phases=1):
            found[-1] = replace(last, phases=last.phases + 1)
        else:
            found.append(axis)
    return found


def phases(extent: int, kernel: int, stride: int, dilation: int, low: int) -> list[Axis]:
    """The phases of one axis with `extent` outputs: output o takes tap k where (o + low - k·dilation) % stride == 0."""
    found = []
    for start in range(min(stride, extent)):
        fitting = [t for t in range(kernel) if (start + low - t * dilation) % stride == 0]
        outputs = len(range(start, extent, stride))
        if fitting:
            step = fitting[1] - fitting[0] if len(fitting) > 1 else 1
            position = (start + low - fitting[0] * dilation) // stride
            found.append(Axis(start, outputs, stride, fitting[0], step, len(fitting), position, step * dilation // stride))
        else:
            found.append(Axis(start, outputs, stride, 0, 1, 0, 0, 0))
    return found


@template("conv_transpose", epilogue=True)
def conv_transpose(context: Context, group: Group) -> list[Lowered]:
    """x [N, *S, C], w [C, O/groups, *K] → [N, *T, O]."""
    node = group.anchor
    assert node is not None
    x, w = node.operands
    result = node.results[0]
    p = node.params
    if p["layout"] != "channels_last":
        raise AssertionError("convolutions reach the template channels last: the layout pass has not run")
    window, out, spatial = w.shape[2:], result.shape[1:-1], x.shape[1:-1]
    per_axis = [
        phases(n, kernel, stride, dilation, low)
        for n, kernel, stride, dilation, (low, _) in zip(out, window, p["strides"], p["dilation"], p["padding"], strict=True)
    ]
    low, high = [], []
    for axes, extent in zip(per_axis, spatial, strict=True):
        ends = [(a.position - (a.taps - 1) * a.fall, a.position + a.outputs - 1) for a in axes if a.taps]
        low.append(max([0, *(-first for first, _ in ends)]))
        high.append(max([0, *(last - extent + 1 for _, last in ends)]))
    together = [merged(axes) for axes in per_axis]
    most = math.prod(max(a.phases for a in axes) for axes in together)
    if most * w.shape[1] <= context.machine.lanes(max(32, result.dtype.bits)) and p["groups"] == 1:
        per_axis = together
    lowered: list[Lowered] = []
    if any(low) or any(high):
        padded = Value(Abstract((x.shape[0], *(a + n + b for a, n, b in zip(low, spatial, high)), x.shape[-1]), x.dtype))
        lowered.append(_pad(context, group, x, padded, low))
        if x in context.seven_bits:
            context.seven_bits.add(padded)
        x = padded
    for choice in itertools.product(*per_axis):
        lowered += _phase(context, group, x, w, choice, tuple(low))
    return lowered


def _pad(context: Context, group: Group, x: Value, padded: Value, low: list[int]) -> Lowered:
    e = Emitter(context, Group(group.anchor or group.root, []))

    def store(e: Emitter, index: tuple[Index, ...]) -> None:
        k = e.k
        source = [index[0], *(i - at for i, at in zip(index[1:-1], low, strict=True)), index[-1]]
        inside = None
        for i, extent in zip(source[1:-1], x.shape[1:-1], strict=True):
            here = k.inside(i, 0, extent)
            inside = here if inside is None else inside & here
        element = e.read(x, tuple(k.clamp(i, n) for i, n in zip(source, x.shape, strict=True)))
        assert inside is not None
        e.store_flat(padded, flatten(index, padded.shape), k.select(inside, element, k.const(0, element.dtype)))

    write_nest(e, padded.shape, store)
    return e.finish("pad")


def _phase(context: Context, group: Group, x: Value, w: Value, axes: tuple[Axis, ...], low: tuple[int, ...]) -> list[Lowered]:
    node = group.anchor
    assert node is not None
    result, groups = node.results[0], int(node.params["groups"])
    channels, outputs = x.shape[-1] // groups, w.shape[1]
    counts = tuple(a.outputs for a in axes)
    taps = tuple(a.taps for a in axes)
    if not math.prod(counts):
        return []
    side = tuple(a.phases for a in axes)
    m, n = result.shape[0] * math.prod(counts), math.prod(side) * outputs
    tile = tile_for(context, node, m, n)
    panels = -(-n // tile.columns)
    depth = math.prod(taps) * channels
    lowered: list[Lowered] = []
    packed = x
    if depth and w in context.constants:
        packed = context.pack(w, f"phase {axes} {groups} {tile.columns}", lambda a: _packed(a, axes, groups, tile.columns))
    elif depth:
        packed = Value(Abstract((groups, panels, *taps, channels, tile.columns), w.dtype), f"{w.name}_phase")
        lowered.append(_pack(context, group, w, packed, axes, channels, outputs, tile.columns))
    e = Emitter(context, group)
    k = e.k
    sums: Value | None = None
    right_dtype, several = w.dtype, 1
    dots = depth > 0 and can_dot(context, node, tile, channels)
    if dots:
        sums = byte_offsets(context, packed, moved(context, x))
        packed, right_dtype, several = words(context, packed), dt.int32, 4
    pitches: list[int] = []
    pitch = x.shape[-1]
    for extent in reversed(x.shape[1:-1]):
        pitches.insert(0, pitch)
        pitch *= extent
    nest = [
        (a.taps, -a.fall * step, math.prod(taps[i + 1 :]) * channels // several)
        for i, (a, step) in enumerate(zip(axes, pitches, strict=True))
    ]
    product = Product(
        e, e.buffer(x), x.dtype, e.buffer(packed), right_dtype, result.dtype, tile, nest, channels // several if depth else 0,
        several, tile.columns, panels=panels, depth=depth // several, dots=dots, turned=moved(context, x) != 0,
        seven_bits=x in context.seven_bits,
    )  # fmt: skip
    length = counts[-1]

    def tile_at(instance: Index, line: Index, first: Index, height: int, panel: Index, columns: int) -> None:
        at = unflatten(line * length + first, (result.shape[0], *counts))
        base = at[0] * pitch + instance * channels
        for position, a, step, offset in zip(at[1:], axes, pitches, low, strict=True):
            base = base + (position + (a.position + offset)) * step
        start = k.index(base)
        rows = [(start, r * pitches[-1]) for r in range(height)]

        def store(r: Index | int, column: int, size: int, values: Val) -> None:
            here = unflatten(line * length + first + r, (result.shape[0], *counts))
            with e.point(size):
                *phase, output = unflatten(panel * tile.columns + column + lane(size), (*side, outputs))
                pixel = [i * a.stride + a.start + p for i, a, p in zip(here[1:], axes, phase, strict=True)]
                e.finish_element((here[0], *pixel, instance * outputs + output), values)

        product.compute(rows, product.panel(instance, panel), columns, store, product.offsets(sums, instance, panel))

    tiles(product, groups, m // length, length, n, max(1, depth * tile.rows * tile.columns), tile_at)
    return [*lowered, e.finish(f"conv_transpose_{m}x{n}x{depth}")]


def _packed(w: np.ndarray, axes: tuple[Axis, ...], groups: int, columns: int) -> np.ndarray:
    """[C, O/groups, *K] → panels [group, panel, taps · channels, column]; columns are [*phases, output]."""
    channels, outputs = w.shape[0] // groups, w.shape[1]
    beside = []
    for phase in itertools.product(*(range(a.phases) for a in axes)):
        taken = w.reshape(groups, channels, outputs, *w.shape[2:])
        for axis, (a, p) in enumerate(zip(axes, phase, strict=True), 3):
            taken = taken.take([a.first + p + t * a.step for t in range(a.taps)], axis)
        beside.append(np.moveaxis(taken, (1, 2), (-2, -1)).reshape(groups, -1, outputs))
    return pack_panels(np.concatenate(beside, axis=-1), columns)


def _pack(
    context: Context, group: Group, w: Value, packed: Value, axes: tuple[Axis, ...], channels: int, outputs: int, columns: int
) -> Lowered:
    """The same panels of weights that are computed at run time. What lies beyond the last column is never used."""
    e = Emitter(context, Group(group.anchor or group.root, []))
    groups = packed.shape[0]
    side = tuple(a.phases for a in axes)
    for number, phase in enumerate(itertools.product(*map(range, side))):

        def store(e: Emitter, index: tuple[Index, ...], number: int = number, phase: tuple[int, ...] = phase) -> None:
            instance, *taps, channel, output = index
            window = [t * a.step + a.first + p for t, a, p in zip(taps, axes, phase, strict=True)]
            element = e.read(w, (instance * channels + channel, output, *window))
            column = output + number * outputs
            there = (instance, column // columns, *taps, channel, column % columns)
            e.store_flat(packed, flatten(there, packed.shape), element)

        write_nest(e, (groups, *(a.taps for a in axes), channels, outputs), store)
    return e.finish("pack_conv_transpose")
