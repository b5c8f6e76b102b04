"""Convolution of stride one by fewer multiplications: tiles of the input and the filters are transformed, multiplied, summed
over channels, and transformed back (toom_cook.py has the mathematics).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...graph.core import Abstract, Node, Value
from ..emitter import GRAIN, Context, Emitter, Lowered, lane, pieces
from ..fusion import Group, unflatten
from ..index import Index, Var, constant, variable
from ..ir import Buffer, Machine, Val
from .product import Product
from .tile import Tile, choose_tile, row_tiles
from .toom_cook import Filtering, filtering, transform


@dataclass(frozen=True)
class Scheme:
    """How one convolution is cut: `axes` have one F(m, r) each, `counts` says how many tiles lie along each."""

    axes: tuple[Filtering, ...]
    counts: tuple[int, ...]
    tile: Tile
    block: int  # tiles that are transformed and multiplied together, at most
    parts: int  # into how many parts a block's output channels are cut for threads; each transforms its input anew

    @property
    def positions(self) -> int:
        return math.prod(a.points for a in self.axes)


def scheme(context: Context, node: Node) -> Scheme | None:
    """How to compute a dense convolution this way; None where multiplying directly is faster or needed."""
    x, w = node.operands
    result, machine = node.results[0], context.machine
    simple = int(node.params["groups"]) == 1 and all(n == 1 for n in (*node.params["strides"], *node.params["dilation"]))
    if machine.gpu or not simple or w not in context.constants or {x.dtype.name, w.dtype.name} != {"float32"}:
        return None
    window, out, channels, outputs = w.shape[2:], result.shape[1:-1], x.shape[-1], result.shape[-1]
    if window != (3, 3) or min(out) < 4 or x.abstract.size == 0:
        return None
    import os
    if os.environ.get("WG") == "0": return None
    axes = (filtering(4, 3),) * 2
    counts = tuple(-(-n // a.outputs) for n, a in zip(out, axes, strict=True))
    tiles = result.shape[0] * math.prod(counts)
    tile = choose_tile(machine, outputs, tiles)
    positions = math.prod(a.points for a in axes)
    scratch = int(os.environ.get("WGS", 384)) << 10
    block = max(1, min(scratch // (4 * positions * (channels + tile.columns)), int(os.environ.get("WGB", 32))))
    blocks = -(-tiles // block)
    panels = -(-outputs // tile.columns)
    parts = 1
    if outputs % tile.columns == 0:
        parts = min((p for p in range(1, panels + 1) if panels % p == 0 and blocks * p >= 4), default=panels)
    return Scheme(axes, counts, tile, block, parts)


def transform_filters(context: Context, group: Group, packed: Value, scheme: Scheme, channels: int, outputs: int) -> tuple[Value, Lowered]:
    """Panels [panel][tap][channel][column] as [panel][position][channel][column]."""
    columns = scheme.tile.columns
    panels, taps = -(-outputs // columns), math.prod(a.taps for a in scheme.axes)
    made = Value(Abstract((panels, scheme.positions, channels, columns), packed.dtype), f"{packed.name}_transformed")
    e = Emitter(context, Group(group.anchor or group.root, []))
    k = e.k
    source, target = e.buffer(packed), e.buffer(made, "write")
    first, *further = [a.filter for a in scheme.axes]
    group_size = scheme.positions // len(first)
    for line, weights in enumerate(first):
        with k.loop(0, panels * channels, kind="parallel", grain=max(1, GRAIN // (30 * columns))) as loop:
            panel, channel = unflatten(k.var(loop, "row", 0, panels * channels - 1), (panels, channels))
            read = k.index(panel * (taps * channels * columns) + channel * columns)
            write = k.index((panel * scheme.positions + line * group_size) * (channels * columns) + channel * columns)
            for column in range(0, columns, scheme.tile.width):
                values = [k.load(source, read + (t * channels * columns + column), scheme.tile.width) for t in range(taps)]
                for p, v in enumerate(transform(k, [(weights,), *further], values)):
                    k.store(target, write + (p * channels * columns + column), v)
    return made, e.finish(f"transform_filters_{channels}x{outputs}")


def convolve(context: Context, group: Group, scheme: Scheme, packed: Value) -> list[Lowered]:
    """x [N, *S, C], w [O, C, *K] in the panels of the direct convolution → [N, *T, O]."""
    node = group.anchor
    assert node is not None
    x, result = node.operands[0], node.results[0]
    channels, outputs = x.shape[-1], result.shape[-1]
    filters, first_kernel = transform_filters(context, group, packed, scheme, channels, outputs)
    work = _Work(Emitter(context, group), scheme, x, result, filters)
    work.write()
    return [first_kernel, work.e.finish(f"winograd_{'x'.join(map(str, result.shape[1:-1]))}x{outputs}x{channels}")]


class _Work:
    def __init__(self, e: Emitter, scheme: Scheme, x: Value, result: Value, filters: Value) -> None:
        self.e, self.k, self.scheme, self.x, self.result = e, e.k, scheme, x, result
        self.channels, self.outputs = x.shape[-1], result.shape[-1]
        self.width = e.machine.lanes(32)
        self.columns = scheme.tile.columns
        # Tiles are a vector more apart than they are long, or powers of two would put them all into one set of the cache.
        self.pitch = scheme.positions * self.channels + self.width
        self.sum_pitch = scheme.positions * self.columns + self.width
        self.tiles = result.shape[0] * math.prod(scheme.counts)
        block = min(scheme.block, self.tiles)
        self.data = self.k.local(x.dtype, block * self.pitch)
        self.sums = self.k.local(x.dtype, block * self.sum_pitch)
        self.product = Product(
            e, self.data, x.dtype, e.buffer(filters), x.dtype, x.dtype, scheme.tile, (), self.channels, 1, self.columns
        )  # fmt: skip

    def write(self) -> None:
        k, parts = self.k, self.scheme.parts
        full, rest = divmod(self.outputs, self.columns)
        for first, number, height in row_tiles(self.tiles, self.scheme.block):
            total = number * parts
            if not total:
                continue
            with k.loop(0, total, kind="parallel") as loop:
                block, part = unflatten(k.var(loop, "block", 0, total - 1), (number, parts))
                start = block * height + first
                self.gather(start, height)
                if full:
                    with k.loop(0, full // parts) as panels:
                        panel = part * (full // parts) + k.var(panels, "panel", 0, full // parts - 1)
                        self.multiply(panel, height, self.columns)
                        self.finish(start, height, panel, self.columns)
                if rest:
                    self.multiply(constant(full), height, rest)
                    self.finish(start, height, constant(full), rest)

    def origin(self, tile: Index) -> tuple[list[Index], list[Index]]:
        at = unflatten(tile, (self.result.shape[0], *self.scheme.counts))
        out = self.result.shape[1:-1]
        starts = [
            self.k.clamp(i * a.outputs, n - a.outputs + 1) for i, a, n in zip(at[1:], self.scheme.axes, out, strict=True)
        ]
        return [at[0], *starts], list(at[1:])

    def gather(self, start: Index, height: int) -> None:
        k, e = self.k, self.e
        points = [a.points for a in self.scheme.axes]
        with k.loop(0, height) as loop:
            t = k.var(loop, "tile", 0, height - 1)
            (n, *corner), _ = self.origin(start + t)
            for begin, stop, w in pieces(self.channels, self.width, e.machine):
                with k.loop(begin, stop, w) as across, e.point(w):
                    channel = variable(Var("channel", begin, stop - w, math.gcd(begin, w) or w, across.index))
                    values = []
                    for p in range(self.scheme.positions):
                        at = [c + i for c, i in zip(corner, _unravel(p, points), strict=True)]
                        values.append(k.broadcast(e.read(self.x, (n, *at, channel + lane(w))), w))
                    there = k.index(t * self.pitch + channel)
                    for p, v in enumerate(transform(k, [a.data for a in self.scheme.axes], values)):
                        k.store(self.data, there + p * self.channels, v)

    def multiply(self, panel: Index, height: int, columns: int) -> None:
        k = self.k
        positions = self.scheme.positions
        with k.loop(0, positions) as loop:
            p = k.var(loop, "position", 0, positions - 1)
            right = k.index((panel * positions + p) * (self.channels * self.columns))
            for first, number, rows in row_tiles(height, self.scheme.tile.rows):
                if not number:
                    continue
                with k.loop(0, number) as inner:
                    row = k.var(inner, "rows", 0, number - 1) * rows + first
                    left = k.index(row * self.pitch + p * self.channels)
                    there = k.index(row * self.sum_pitch + p * self.columns)

                    def store(r: int, column: int, size: int, values: Val, there: Val = there) -> None:
                        k.store(self.sums, there + (r * self.sum_pitch + column), values)

                    self.product.compute([(left, r * self.pitch) for r in range(rows)], right, columns, store)

    def finish(self, start: Index, height: int, panel: Index, columns: int) -> None:
        k, e, axes = self.k, self.e, self.scheme.axes
        with k.loop(0, height) as loop:
            t = k.var(loop, "tile", 0, height - 1)
            (n, *corner), place = self.origin(start + t)
            skips = []
            for i, a, extent, count in zip(place, axes, self.result.shape[1:-1], self.scheme.counts, strict=True):
                over = count * a.outputs - extent
                skips.append(k.select(k.index(i).eq(count - 1), k.as_index(over), k.as_index(0)) if over else k.as_index(0))
            for begin, stop, w in pieces(columns, self.width, e.machine):
                with k.loop(begin, stop, w) as across, e.point(w):
                    column = variable(Var("column", begin, stop - w, math.gcd(begin, w) or w, across.index))
                    here = k.index(t * self.sum_pitch + column)
                    values = [k.load(self.sums, here + p * self.columns, w) for p in range(self.scheme.positions)]
                    made = transform(k, [a.result for a in axes], values)
                    for p, v in enumerate(made):
                        k.store(self.sums, here + p * self.columns, v)
                    m, l = axes[0].outputs, axes[1].outputs
                    with k.loop(skips[0], m) as li:
                        i = k.var(li, "i", 0, m - 1)
                        with k.loop(skips[1], l) as lj:
                            j = k.var(lj, "j", 0, l - 1)
                            with e.point(w):
                                v = k.load(self.sums, here + k.index((i * l + j) * self.columns), w)
                                channel = panel * self.columns + column + lane(w)
                                e.finish_element((n, corner[0] + i, corner[1] + j, channel), v)


def _unravel(position: int, extents: Sequence[int]) -> list[int]:
    at = []
    for extent in reversed(extents):
        position, i = divmod(position, extent)
        at.append(i)
    return at[::-1]
