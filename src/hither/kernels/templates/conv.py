"""Convolution, channels last: a matrix product whose rows are output pixels and whose k runs over taps and channels.

Nothing is unfolded into memory: a row of the left operand is the input at the pixel's window, read in place. The layout pass
hands over channels-last, already padded inputs; weights are packed into panels [taps · channels][columns] at compile time.
"""

from __future__ import annotations

import math

import numpy as np

from ...graph.core import Value
from ..fusion import Group, unflatten
from ..index import Index
from ..ir import Val
from ..lowering import Context, Emitter, Lowered, lane
from . import template
from .gemm import tiles
from .tile import accumulate, accumulator, choose_tile, column_parts, pack_panels, part


@template("conv", epilogue=True)
def conv(context: Context, group: Group) -> list[Lowered]:
    """x [N, *S, C], w [O, C/groups, *K] → [N, *T, O]."""
    node = group.anchor
    assert node is not None
    x, w = node.operands
    result = node.results[0]
    groups = int(node.params["groups"])
    if node.params["layout"] != "channels_last" or any(p != (0, 0) for p in node.params["padding"]):
        raise AssertionError("convolutions reach the template channels last and padded: the layout pass has not run")
    if groups > 1 and groups == x.shape[-1] == result.shape[-1] and w in context.constants:
        from .depthwise import depthwise

        return depthwise(context, group)
    channels = x.shape[-1] // groups
    outputs = result.shape[-1] // groups
    window, spatial = w.shape[2:], x.shape[1:-1]
    strides, dilation = tuple(node.params["strides"]), tuple(node.params["dilation"])
    pixels = math.prod(result.shape[1:-1])
    m = result.shape[0] * pixels
    tile = choose_tile(context.machine, outputs, m, max(32, result.dtype.bits))
    depth = channels * math.prod(window)
    lowered: list[Lowered] = []
    if w in context.constants:
        packed = context.pack(w, f"conv panels {tile.columns} {groups}", lambda a: _pack(a, groups, tile.columns))
    else:
        packed, kernel = _pack_kernel(context, group, w, groups, tile.columns)
        lowered.append(kernel)
    panels = -(-outputs // tile.columns)
    e = Emitter(context, group)
    k = e.k
    dtype = accumulator(result.dtype)
    pixel_strides = _strides(spatial, x.shape[-1])
    taps, run = _taps(window, dilation, pixel_strides, channels, groups)

    def tile_at(instance: Index, first: Index, height: int, panel: Index, columns: int) -> None:
        vectors = -(-columns // tile.width)
        left, right = e.buffer(x), e.buffer(packed)
        starts: list[Val] = []
        for r in range(height):
            at = unflatten(first + r, (result.shape[0], *result.shape[1:-1]))
            base = at[0] * (math.prod(spatial) * x.shape[-1]) + instance * channels
            for i, stride, pitch in zip(at[1:], strides, pixel_strides, strict=True):
                base = base + i * (stride * pitch)
            starts.append(k.index(base))
        panel_start = k.index((instance * panels + panel) * (depth * tile.columns))
        zero = k.broadcast(k.const(0, dtype), tile.width)
        sums: tuple[Val, ...] = (zero,) * (height * vectors)

        def nest(level: int, offset: Val, position: Val, sums: tuple[Val, ...]) -> tuple[Val, ...]:
            """Loops over the taps that are not contiguous, then the run of contiguous channels."""
            if level < len(taps):
                extent, pitch, steps = taps[level]
                if extent == 1:
                    return nest(level + 1, offset, position, sums)
                with k.loop(0, extent, init=sums) as loop:
                    inner = nest(level + 1, offset + loop.index * pitch, position + loop.index * steps, loop.carried)
                    loop.yield_(*inner)
                return loop.results
            rows = [s + offset for s in starts]
            here = panel_start + position * tile.columns

            def row(r: int, step: Val) -> Val:
                return k.convert(k.load(left, rows[r] + step, 1, x.dtype), dtype)

            def across(v: int, step: Val) -> Val:
                return k.convert(k.load(right, here + step * tile.columns + v * tile.width, tile.width, w.dtype), dtype)

            return accumulate(k, run, sums, row, across, height, vectors)

        sums = nest(0, k.as_index(0), k.as_index(0), sums)
        for r in range(height):
            for v in range(vectors):
                for at, size in column_parts(min(columns - v * tile.width, tile.width), tile.width, context.machine):
                    with e.point(size):
                        column = instance * outputs + panel * tile.columns + (v * tile.width + at) + lane(size)
                        index = (*unflatten(first + r, (result.shape[0], *result.shape[1:-1])), column)
                        e.finish_element(index, part(k, sums[r * vectors + v], at, size))

    tiles(e, groups, m, outputs, tile, tile_at, max(1, depth * tile.rows * tile.columns))
    return [*lowered, e.finish(f"conv_{'x'.join(map(str, window))}_{m}x{outputs}x{depth}")]


def _strides(spatial: tuple[int, ...], channels: int) -> tuple[int, ...]:
    """Elements between neighbours along each spatial axis."""
    found = []
    pitch = channels
    for extent in reversed(spatial):
        found.append(pitch)
        pitch *= extent
    return tuple(reversed(found))


def _taps(
    window: tuple[int, ...], dilation: tuple[int, ...], pitches: tuple[int, ...], channels: int, groups: int
) -> tuple[list[tuple[int, int, int]], int]:
    """The window as loops (extent, elements between taps, k steps between taps) around one contiguous run of k."""
    run = channels
    taps: list[tuple[int, int, int]] = []
    for axis in reversed(range(len(window))):
        pitch = pitches[axis] * dilation[axis]
        if not taps and groups == 1 and pitch == run:
            run *= window[axis]  # neighbours along this axis lie side by side in memory too
        else:
            taps.append((window[axis], pitch, channels * math.prod(window[axis + 1 :])))
    return list(reversed(taps)), run


def _pack(w: np.ndarray, groups: int, columns: int) -> np.ndarray:
    """[O, C/g, *K] → [g, panels, taps · C/g, columns]."""
    outputs, channels = w.shape[:2]
    matrix = np.moveaxis(w.reshape(groups, outputs // groups, channels, -1), (1, 3, 2), (3, 1, 2))
    return pack_panels(np.ascontiguousarray(matrix.reshape(groups, -1, outputs // groups)), columns)


def _pack_kernel(context: Context, group: Group, w: Value, groups: int, columns: int) -> tuple[Value, Lowered]:
    """The same packing for weights that are computed at run time."""
    from ...graph.core import Abstract
    from ..fusion import flatten
    from ..lowering import write_nest

    outputs, channels, *window = w.shape
    per_group = outputs // groups
    panels = -(-per_group // columns)
    taps = math.prod(window)
    packed = Value(Abstract((groups, panels, taps, channels, columns), w.dtype), f"{w.name}_panels")
    e = Emitter(context, Group(group.root, []))

    def store(e: Emitter, index: tuple[Index, ...]) -> None:
        g, panel, tap, channel, column = index
        there = panel * columns + column
        clamped = e.k.clamp(there, per_group)
        element = e.read(w, (g * per_group + clamped, channel, *unflatten(tap, tuple(window))))
        element = e.k.select(e.k.inside(there, 0, per_group), element, e.k.const(0, element.dtype))
        e.store_flat(packed, flatten(index, packed.shape), element)

    write_nest(e, packed.shape, store)
    return packed, e.finish("pack_conv")


