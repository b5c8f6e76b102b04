"""Convolution of stride one with fewer multiplications (Winograd; Lavin and Gray 2015, arXiv 1509.09308), on CPUs.

The result is cut into tiles, 4×4 pixels for a 3×3 window. A tile's patch of the input and the filters are transformed into as
many positions as the patch has pixels, multiplied position by position, which sums over channels and is a matrix product, and
transformed back: 36 multiplications for 16 pixels instead of 144. passes/filtering.py has the transforms, and what they cost in
accuracy. An infinity or NaN in the input spreads to all pixels of the tiles that see it, as NaN.

* One step transforms the filters in every run, from the panels of the direct convolution into the arena: those of a network
  that is being trained, and constant ones too. Transformed ones are four times as large: kept, they would be downloaded and
  held in memory; made anew, they cost a few per cent of the layer where images are large. Where images are small it is the
  larger part, and smaller tiles or the direct convolution win.
* The next step does everything else, so that only the result leaves the caches: a thread takes a block of tiles, transforms it
  into scratch memory of its own, and then for each panel of output channels multiplies and transforms back.
* Bytes by bytes are transformed as whole numbers that fit 16 bits (`exact_in_pairs`), and multiplied two at a time (kernel IR,
  "dot" of pairs): these sums are exact, and a product takes half as many operations. Two numbers to a lane are transformed
  together, as high · 2^16 + low. The last transform is float32's, so this is for results that are floats in the same kernel.
* Tiles that would reach past the image are moved inwards until they fit. What they share with their neighbours is computed
  twice and stored once, by the neighbour: no pixel depends on which thread comes first.

Which way is faster is estimated in operations on vectors. The weights of the estimate were fitted to times measured with
AVX-512 and in Chromium; one set fits both.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ... import dtypes as dt
from ...graph.core import Abstract, Node, Value
from ...passes.filtering import Filtering, exact_in_pairs, filtering
from ..emitter import GRAIN, Context, Emitter, Lowered, lane, pieces
from ..fusion import Group, flatten, unflatten
from ..index import Index, Var, constant, variable
from ..ir import Machine, Val
from .product import Product
from .tile import Tile, accumulator, row_tiles, tile_for
from .toom_cook import transform

MOST_SCRATCH = 1 << 20  # a block's tiles, transformed, take a quarter of this or of the second-level cache, or half if need be
BLOCK, LEAST_BLOCK = 24, 8  # tiles: more do not use a panel that was loaded noticeably better, fewer do it badly
UNITS = 8  # that threads should find to share
POSITIONS = 36  # at most; they are unrolled in the transforms
OUTPUTS = {1: (1,), 3: (4, 2), 5: (2,)}  # tile extents that are tried, by the window's

# Costs of an operation on one vector, in multiply-adds of a product:
DATA_COST, RESULT_COST = 9.0, 9.0  # a position of an input tile, of a result tile: loads, transform, stores
FILTER_COST = 2.0  # a position of a filter, per lane: it is memory that is waited for
GAIN = 0.9  # of the direct convolution's cost; less is not worth the larger error
PAIR, BYTES = 0.5, 0.5  # a product of pairs; one of bytes in the direct convolution

LOW, HALF = 0x00FF00FF, 1 << 15  # the bytes of a word that become a lane's numbers; what makes the lower number positive


@dataclass(frozen=True)
class Scheme:
    """How a convolution is cut: F(m, r) along each axis, `counts` tiles along each, and the product's register tile.

    `block`: at most so many tiles are transformed and multiplied together. `parts`: into how many parts threads cut a block's
    output channels; each part transforms the input anew. `pairs`: of bytes, in numbers of 16 bits."""

    axes: tuple[Filtering, ...]
    counts: tuple[int, ...]
    tile: Tile
    block: int
    parts: int
    pairs: bool = False

    @property
    def positions(self) -> int:
        return math.prod(self.points)

    @property
    def points(self) -> tuple[int, ...]:
        return tuple(a.points for a in self.axes)


def scheme(context: Context, group: Group) -> Scheme | None:
    """The fastest way to compute a group's convolution by this template; None where it does not apply or the direct way is
    faster."""
    node = group.anchor
    assert node is not None
    (x, w, *_), result, machine = node.operands, node.results[0], context.machine
    dense = node.params["groups"] == 1 and all(n == 1 for n in (*node.params["strides"], *node.params["dilation"]))
    floats = w.dtype is result.dtype is accumulator(x.dtype) is dt.float32
    pairs = not floats and _are_bytes(context, node) and _become_floats(context, group)
    if machine.gpu or not dense or not (floats or pairs):
        return None
    if not result.abstract.size or not x.abstract.size or any(taps not in OUTPUTS for taps in w.shape[2:]):
        return None
    out, channels, outputs = result.shape[1:-1], x.shape[-1], result.shape[-1]
    best: tuple[float, tuple[Filtering, ...]] | None = None
    for extents in itertools.product(*(OUTPUTS[taps] for taps in w.shape[2:])):
        axes = tuple(filtering(m, taps, pairs) for m, taps in zip(extents, w.shape[2:], strict=True))
        fits = all(m <= n for m, n in zip(extents, out, strict=True))
        fits = fits and (not pairs or exact_in_pairs(axes, channels, 127 if x in context.seven_bits else 255))
        if fits and max(extents) > 1 and math.prod(a.points for a in axes) <= POSITIONS:
            cost = _cost(machine, axes, _counts(axes, out), channels, outputs, result.shape[0], pairs)
            best = min(best or (math.inf, axes), (cost, axes), key=lambda pair: pair[0])
    direct = math.prod(w.shape[2:]) * math.prod(result.shape[:-1]) * channels * _vectors(machine, outputs)
    if best is None or best[0] > GAIN * direct * (BYTES if pairs else 1):
        return None
    axes, counts = best[1], _counts(best[1], out)
    tiles = result.shape[0] * math.prod(counts)
    tile = tile_for(context, node, tiles, outputs)
    each = 4 * math.prod(a.points for a in axes) * (channels // (2 if pairs else 1) + tile.columns)
    room = min(machine.l2_bytes, MOST_SCRATCH)
    fitting = max(room // 4 // each, min(room // 2 // each, LEAST_BLOCK))
    if fitting < min(LEAST_BLOCK // 2, tiles):
        return None
    block = min(fitting, BLOCK, tiles)
    panels, rest = divmod(outputs, tile.columns)
    possible = [p for p in range(1, panels + 1) if panels % p == 0 and not rest] or [1]
    parts = next((p for p in possible if p * -(-tiles // block) >= UNITS), possible[-1])
    return Scheme(axes, counts, tile, block, parts, pairs)


def _are_bytes(context: Context, node: Node) -> bool:
    """Whether a convolution is one of unsigned bytes by constant signed ones, four channels to a word."""
    (x, w, *_), result = node.operands, node.results[0]
    bytes_ = x.dtype is dt.uint8 and w.dtype is dt.int8 and w in context.constants and context.stored(w) is dt.int8
    return bytes_ and context.machine.dot == "unsigned" and result.dtype is dt.int32 and x.shape[-1] % 4 == 0


def _become_floats(context: Context, group: Group) -> bool:
    """Whether sums of integers go on as float32 in the same kernel. The last transform, in float32, gives them within its
    digits; integers that somebody sees are exact."""
    e = Emitter(context, group)
    e.take_bias()
    return e.take_float()


def _counts(axes: tuple[Filtering, ...], out: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-(-n // a.outputs) for n, a in zip(out, axes, strict=True))


def _cost(
    machine: Machine, axes: tuple[Filtering, ...], counts: tuple[int, ...], channels: int, outputs: int, batch: int, pairs: bool
) -> float:
    across, tiles = _vectors(machine, outputs), batch * math.prod(counts)
    product = tiles * channels * across * (PAIR if pairs else 1)
    transforms = tiles * (DATA_COST * _vectors(machine, channels) * (PAIR if pairs else 1) + RESULT_COST * across)
    filters = FILTER_COST * machine.lanes(32) * channels * across
    return math.prod(a.points for a in axes) * (product + transforms + filters)


def _vectors(machine: Machine, extent: int) -> int:
    """Vectors, or scalars, that an axis is covered by."""
    return sum((stop - start) // width for start, stop, width in pieces(extent, machine.lanes(32), machine))


def convolve(context: Context, group: Group, scheme: Scheme, packed: Value) -> list[Lowered]:
    """x [N, *S, C], w as panels [panel][tap][channel][column] → [N, *T, O]."""
    assert group.anchor is not None
    x, result = group.anchor.operands[0], group.anchor.results[0]
    filters, first = _transform_filters(context, group, scheme, packed, x.shape[-1])
    work = _Tiles(Emitter(context, group), scheme, x, result, filters)
    work.write()
    return [first, work.e.finish(f"winograd_{'x'.join(map(str, (*result.shape[:-1], result.shape[-1], x.shape[-1])))}")]


def _transform_filters(context: Context, group: Group, scheme: Scheme, packed: Value, channels: int) -> tuple[Value, Lowered]:
    """Panels [panel][tap][channel][column] as [panel][position][channel][column].

    A loop for each line of positions: written all in one, more places are written at a time than a processor keeps track of."""
    columns, width, pairs = scheme.tile.columns, scheme.tile.width, scheme.pairs
    taps = math.prod(a.taps for a in scheme.axes)
    steps, dtype = (channels // 2, dt.int32) if pairs else (channels, dt.float32)
    run = steps * columns
    panels = packed.abstract.size // (taps * channels * columns)
    made = Value(Abstract((panels, scheme.positions, steps, columns), dtype), f"{packed.name}_transformed")
    e = Emitter(context, Group(group.anchor or group.root, []))
    k = e.k
    source, target = e.buffer(packed), e.buffer(made, "write")
    lines, *further = (a.filter for a in scheme.axes)
    along = scheme.positions // len(lines)
    for line, weights in enumerate(lines):
        with k.loop(0, panels * steps, kind="parallel", grain=max(1, GRAIN // (2 * along * columns))) as loop:
            panel, step = unflatten(k.var(loop, "row", 0, panels * steps - 1), (panels, steps))
            half, word = unflatten(step, (2, channels // 4)) if pairs else (constant(0), step)
            read = k.index(panel * (taps * channels * columns) + (word * 4 + half if pairs else step) * columns)
            write = k.index(panel * (scheme.positions * run) + step * columns + line * along * run)
            for column in range(0, columns, width):
                places = [read + (t * channels * columns + column) for t in range(taps)]
                values = [k.load(source, at, width, dtype) for at in places]
                if pairs:  # with the next channel but one: see `_Pairs`
                    values = [(k.load(source, at + 2 * columns, width, dtype) << 16) + v for at, v in zip(places, values)]
                for p, value in enumerate(transform(k, [(weights,), *further], values)):
                    k.store(target, write + (p * run + column), _apart(value) if pairs else value)
    return made, e.finish(f"transform_filters_{'x'.join(map(str, scheme.points))}_{panels * columns}x{channels}")


def _apart(pair: Val) -> Val:
    """The two numbers of a sum high · 2^16 + low, each in its half of the lane."""
    return (pair + HALF) ^ HALF


class _Tiles:
    """Writes the kernel that transforms, multiplies and transforms back, block by block."""

    def __init__(self, e: Emitter, scheme: Scheme, x: Value, result: Value, filters: Value) -> None:
        self.e, self.k, self.scheme, self.x, self.result = e, e.k, scheme, x, result
        self.channels, self.outputs, self.out = x.shape[-1], result.shape[-1], result.shape[1:-1]
        self.tiles = result.shape[0] * math.prod(scheme.counts)
        self.width, self.columns = e.machine.lanes(32), scheme.tile.columns
        # Tiles are a vector more apart than they are long: powers of two would lie in few sets of the cache.
        dtype = dt.int32 if scheme.pairs else dt.float32
        self.bias = e.take_bias() if scheme.pairs else None
        if scheme.pairs:
            e.take_float()  # which the last transform makes of sums
        self.steps = self.channels // 2 if scheme.pairs else self.channels
        self.pitch = scheme.positions * self.steps + self.width
        self.sum_pitch = scheme.positions * self.columns + self.width
        self.data = self.k.local(dtype, scheme.block * self.pitch)  # [tile][position][step]
        self.sums = self.k.local(dtype, scheme.block * self.sum_pitch)  # [tile][position][column], then [tile][pixel][column]
        self.product = Product(
            e, self.data, dtype, e.buffer(filters), dtype, dtype, scheme.tile, (), self.steps, 1, self.columns, bare=True,
            pairs=scheme.pairs,
        )  # fmt: skip

    def write(self) -> None:
        """One loop over all blocks, though they have two heights, so that threads find equal shares."""
        k, parts = self.k, self.scheme.parts
        heights = [cut for cut in row_tiles(self.tiles, self.scheme.block) if cut[1]]
        total = sum(number for _, number, _ in heights) * parts
        worth = self.tiles * self.scheme.positions * self.channels * self.outputs // (4 * GRAIN * total)
        with k.loop(0, total, kind="parallel", worth=max(1, worth)) as loop:
            block, part = unflatten(k.var(loop, "block", 0, total - 1), (total // parts, parts))
            blocks = 0
            for first, number, height in heights:
                with k.if_(k.inside(block, blocks, blocks + number)):
                    self.block((block - blocks) * height + first, height, part)
                blocks += number

    def block(self, start: Index, height: int, part: Index) -> None:
        """All of a block's result for a part of the output channels."""
        k = self.k
        full, rest = divmod(self.outputs, self.columns)
        share = full // self.scheme.parts
        self.transform_data(start, height)
        if share:
            with k.loop(0, share) as panels:
                panel = part * share + k.var(panels, "panel", 0, share - 1)
                self.multiply(panel, height, self.columns)
                self.transform_result(start, height, panel, self.columns)
        if rest:
            self.multiply(constant(full), height, rest)
            self.transform_result(start, height, constant(full), rest)

    def vectors(self, extent: int) -> Iterator[tuple[Index, int]]:
        """Loops that cover an axis by vectors: where they begin, and how long they are."""
        for start, stop, width in pieces(extent, self.width, self.e.machine):
            with self.k.loop(start, stop, width) as loop, self.e.point(width):
                yield variable(Var("lanes", start, stop - width, math.gcd(start, width) or width, loop.index)), width

    def place(self, tile: Index) -> tuple[Index, tuple[Index, ...], list[Index]]:
        """The image of a tile, its position among the image's tiles, and its first pixel."""
        image, *at = unflatten(tile, (self.result.shape[0], *self.scheme.counts))
        first = [self.k.clamp(i * a.outputs, n - a.outputs + 1) for i, a, n in zip(at, self.scheme.axes, self.out, strict=True)]
        return image, tuple(at), first

    def transform_data(self, start: Index, height: int) -> None:
        """A block's tiles of the input."""
        if self.scheme.pairs:
            self.transform_bytes(start, height)
            return
        k, e = self.k, self.e
        with k.loop(0, height) as loop:
            t = k.var(loop, "tile", 0, height - 1)
            image, _, first = self.place(start + t)
            for channel, width in self.vectors(self.channels):
                values = []
                for position in np.ndindex(self.scheme.points):
                    pixel = [f + p for f, p in zip(first, position, strict=True)]
                    values.append(k.broadcast(e.read(self.x, (image, *pixel, channel + lane(width))), width))
                there = k.index(t * self.pitch + channel)
                for p, value in enumerate(transform(k, [a.data for a in self.scheme.axes], values)):
                    k.store(self.data, there + p * self.channels, value)

    def transform_bytes(self, start: Index, height: int) -> None:
        """The same of bytes. Of four channels, which are a word, the first and third become a pair, and then the others: first
        the pairs of all even channels lie in memory, then those of odd ones."""
        k = self.k
        source, words = self.e.buffer(self.x), self.channels // 4
        with k.loop(0, height) as loop:
            t = k.var(loop, "tile", 0, height - 1)
            image, _, first = self.place(start + t)
            for word, width in self.vectors(words):
                for half in (0, 1):
                    values = []
                    for position in np.ndindex(self.scheme.points):
                        pixel = [f + p for f, p in zip(first, position, strict=True)]
                        loaded = k.word(source, k.index(flatten((image, *pixel, word * 4), self.x.shape)), width)
                        values.append((loaded >> 8 if half else loaded) & LOW)
                    there = k.index(t * self.pitch + word + half * words)
                    for p, value in enumerate(transform(k, [a.data for a in self.scheme.axes], values)):
                        k.store(self.data, there + p * self.steps, _apart(value))

    def multiply(self, panel: Index, height: int, columns: int) -> None:
        """A matrix product for each position: a block's tiles by a panel of filters."""
        k, positions = self.k, self.scheme.positions
        with k.loop(0, positions) as loop:
            position = k.var(loop, "position", 0, positions - 1)
            right = k.index((panel * positions + position) * (self.steps * self.columns))
            for first, number, rows in row_tiles(height, self.scheme.tile.rows):
                if not number:
                    continue
                with k.loop(0, number) as inner:
                    row = k.var(inner, "rows", 0, number - 1) * rows + first
                    left = k.index(row * self.pitch + position * self.steps)
                    there = k.index(row * self.sum_pitch + position * self.columns)

                    def store(r: Index | int, column: int, size: int, values: Val, there: Val = there) -> None:
                        assert isinstance(r, int), "bare sums are stored row by row"
                        k.store(self.sums, there + (r * self.sum_pitch + column), values)

                    self.product.compute([(left, r * self.pitch) for r in range(rows)], right, columns, store)

    def transform_result(self, start: Index, height: int, panel: Index, columns: int) -> None:
        """A block's tiles of the result, by way of scratch memory: the epilogue is written once, in loops over a tile's pixels,
        which leave out those that the neighbour before stores."""
        k, e, axes = self.k, self.e, self.scheme.axes
        with k.loop(0, height) as loop:
            t = k.var(loop, "tile", 0, height - 1)
            image, at, first = self.place(start + t)
            skipped = []
            for i, a, n, count in zip(at, axes, self.out, self.scheme.counts, strict=True):
                over = count * a.outputs - n
                skipped.append(k.select(k.index(i).eq(count - 1), k.as_index(over), k.as_index(0)) if over else k.as_index(0))
            for column, width in self.vectors(columns):
                here = k.index(t * self.sum_pitch + column)
                values = [k.load(self.sums, here + p * self.columns, width) for p in range(self.scheme.positions)]
                for p, value in enumerate(transform(k, [a.result for a in axes], [k.convert(v, dt.float32) for v in values])):
                    k.store(self.sums, here + p * self.columns, k.bitcast(value, self.sums.dtype))

                def store(offsets: tuple[Index, ...], here: Val = here, column: Index = column, width: int = width) -> None:
                    position = constant(0)
                    for offset, a in zip(offsets, axes, strict=True):
                        position = position * a.outputs + offset
                    with e.point(width):
                        element = k.bitcast(k.load(self.sums, here + k.index(position * self.columns), width), dt.float32)
                        index = (image, *(f + o for f, o in zip(first, offsets, strict=True)))
                        output = panel * self.columns + column + lane(width)
                        if self.bias is not None:
                            bias = e.read(self.bias, (*(constant(0) for _ in index), output))
                            element = element + k.convert(bias, dt.float32)
                        e.finish_element((*index, output), element)

                def nest(*offsets: Index) -> None:
                    if len(offsets) == len(axes):
                        store(offsets)
                        return
                    extent = axes[len(offsets)].outputs
                    with k.loop(skipped[len(offsets)], extent) as pixels:
                        nest(*offsets, k.var(pixels, "pixel", 0, extent - 1))

                nest()
