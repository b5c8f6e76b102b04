"""The gradient of a convolution's filters, channels last: a product over pixels that reads picture and cotangent in place.

Its rows are taps and channels of the input, its columns output channels, and k runs over the pixels of all pictures: what a tap
sees of the picture is the left operand as it lies, the cotangent is the right one. The sum is long and the result small, so it
is cut into chunks of pictures (or of lines), small enough that a chunk stays in the second-level cache while all tiles read it;
a kernel of its own adds the chunks up. Depthwise filters have vectors along the channels and one sum per tap in registers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...graph.core import Abstract, Value
from ..emitter import GRAIN, Context, Emitter, Lowered, lane, pieces
from ..fusion import Group, flatten, unflatten
from ..index import Index, constant
from ..ir import Machine, Val
from ..nests import write_nest
from . import template
from .conv import row_major
from .held_rows import Tap
from .product import Product
from .tile import accumulator, tile_for
from .tiling import tiles

CHUNK = 1 << 18  # bytes of pictures and cotangents that all tiles go over before the next ones come
INVOCATIONS = 1 << 13  # of a GPU, that are worth cutting the sum for
MOST_TAPS = 9  # of a depthwise filter, whose sums and the vectors they are made of stay in registers


@dataclass(frozen=True)
class Chunks:
    """The sum over pixels cut up: so many times along the pictures, and along the first spatial axis."""

    pictures: int
    lines: int

    @property
    def count(self) -> int:
        return self.pictures * self.lines


def chunks_of(batch: int, lines: int, wanted: int) -> Chunks:
    """At least `wanted` equal chunks, or as many as there are lines."""
    if wanted <= batch:
        return Chunks(next(n for n in range(max(wanted, 1), batch + 1) if batch % n == 0) if batch else 1, 1)
    along = min(-(-wanted // max(batch, 1)), max(lines, 1))
    return Chunks(max(batch, 1), next(n for n in range(along, max(lines, 1) + 1) if lines % n == 0))


@template("conv_filter_gradient", epilogue=True)
def conv_filter_gradient(context: Context, group: Group) -> list[Lowered]:
    """x [N, *S, C], g [N, *T, O] → [*K, C/groups, O]."""
    node = group.anchor
    assert node is not None
    x, g = node.operands
    result, p = node.results[0], node.params
    if p["layout"] != "channels_last" or any(tuple(pair) != (0, 0) for pair in p["padding"]):
        raise AssertionError("filter gradients reach the template channels last and padded: the layout pass has not run")
    groups, window = int(p["groups"]), tuple(p["window"])
    if groups > 1 and result.shape[-2] == 1 and g.shape[-1] == groups:
        return _depthwise(context, group)
    m, n = math.prod(result.shape[:-1]), result.shape[-1] // groups
    tile = tile_for(context, node, m, n)
    shares = groups * -(-m // tile.rows) * -(-n // tile.columns)
    chunks = _chunks(context.machine, x, g, m * g.shape[-1], shares)
    sums = Value(Abstract((chunks.count, m, g.shape[-1]), accumulator(result.dtype)), "filter_sums")
    e = Emitter(context, group if chunks.count == 1 else Group(node, [node], anchor=node))
    k = e.k
    pitches, cotangent = row_major(x.shape), row_major(g.shape)
    each = (g.shape[0] // chunks.pictures, g.shape[1] // chunks.lines)
    steps = [s * pitch for s, pitch in zip(p["strides"], pitches[1:-1], strict=True)]
    extents = (*each, *g.shape[2:-1])
    taps, run, stride = _walk(extents, [pitches[0], *steps], [pitch // g.shape[-1] for pitch in cotangent[:-1]])
    product = Product(
        e, e.buffer(x), x.dtype, e.buffer(g), g.dtype, result.dtype, tile, taps, run, stride, g.shape[-1], packed=False,
        bare=chunks.count > 1,
    )  # fmt: skip
    reach = [d * pitch for d, pitch in zip(p["dilation"], pitches[1:-1], strict=True)]
    channels = result.shape[-2]
    side_by_side = groups == 1 and p["dilation"][-1] == 1  # a line of taps is one piece of memory: its rows share an address
    line_of_taps = window[:-1] if side_by_side else window
    length = m // math.prod(line_of_taps)
    apart = length < min(6, tile.rows)
    length = m if apart else length

    def reads(taps: tuple[Index, ...]) -> Index:
        """Where a tap sees the first pixel, from where the pixel lies."""
        total = constant(0)
        for t, elements in zip(taps, reach, strict=False):
            total = total + t * elements
        return total

    def tile_at(instance: Index, line: Index, first: Index, height: int, panel: Index, columns: int) -> None:
        picture, part, which = unflatten(instance, (chunks.pictures, chunks.lines, groups))
        base = picture * (each[0] * pitches[0]) + part * (each[1] * steps[0]) + which * channels
        if apart:
            rows = []
            for r in range(height):
                *tap, channel = unflatten(first + r, (*window, channels))
                rows.append((k.index(base + reads(tuple(tap)) + channel), 0))
        else:
            start = k.index(base + reads(unflatten(line, line_of_taps)) + first)
            rows = [(start, r) for r in range(height)]
        column_at = which * n + panel * tile.columns
        right = picture * (each[0] * cotangent[0]) + part * (each[1] * cotangent[1]) + column_at

        def store(r: Index | int, column: int, size: int, values: Val) -> None:
            with e.point(size):
                row, where = line * length + first + r, column_at + column + lane(size)
                if chunks.count == 1:
                    e.finish_element((*unflatten(row, result.shape[:-1]), where), values)
                else:
                    e.store_flat(sums, flatten((picture * chunks.lines + part, row, where), sums.shape), values)

        product.compute(rows, k.index(right), columns, store)

    work = max(1, math.prod(extents) * tile.rows * tile.columns)
    tiles(product, chunks.count * groups, m // length, length, n, work, tile_at)
    name = f"filter_gradient_{'x'.join(map(str, window))}_{m}x{n}x{math.prod(g.shape[:-1])}"
    return [e.finish(name), *([_added(context, group, sums)] if chunks.count > 1 else [])]


def _chunks(machine: Machine, x: Value, g: Value, sums: int, shares: int) -> Chunks:
    """How to cut the sum: by what stays in a cache (or, on a GPU, by what keeps it busy), and so that writing and adding up the
    chunks' sums costs no more than reading the operands once."""
    wanted = -(-INVOCATIONS // shares) if machine.gpu else -(-(x.abstract.nbytes + g.abstract.nbytes) // CHUNK)
    affordable = (x.abstract.size + g.abstract.size) // (2 * max(sums, 1))
    return chunks_of(g.shape[0], g.shape[1], max(1, min(wanted, affordable)))


def _walk(extents: tuple[int, ...], elements: list[int], steps: list[int]) -> tuple[list[Tap], int, int]:
    """The pixels of a chunk as loops around one run: (taps, run, elements between its steps). `elements`, `steps`: between
    neighbours along each axis, of the picture and in pixels of the cotangent. Axes that go on where the next ends are one."""
    taps: list[Tap] = []
    run, stride = extents[-1], elements[-1]
    for extent, apart, step in reversed(list(zip(extents[:-1], elements[:-1], steps[:-1], strict=True))):
        if not taps and apart == run * stride and step == run:
            run *= extent
        else:
            taps.insert(0, (extent, apart, step))
    return taps, run, stride


def _added(context: Context, group: Group, sums: Value) -> Lowered:
    """The sum of the chunks' sums [chunks, …], finished."""
    e = Emitter(context, group)
    node = group.anchor
    assert node is not None
    shape, size = node.results[0].shape, node.results[0].abstract.size

    def store(e: Emitter, index: tuple[Index, ...]) -> None:
        flat = flatten(index, shape)
        total = e.load_flat(sums, flat)
        with e.k.loop(1, sums.shape[0], init=[total]) as loop, e.point(e.k.width):
            chunk = e.k.var(loop, "chunk", 1, max(sums.shape[0] - 1, 1))
            loop.yield_(loop.carried[0] + e.load_flat(sums, chunk * size + flat))
        e.finish_element(index, loop.results[0])

    write_nest(e, shape, store)
    return e.finish("add_filter_gradients")


def _depthwise(context: Context, group: Group) -> list[Lowered]:
    """One input channel per output channel: x [N, *S, C], g [N, *T, C] → [*K, 1, C]. A line of taps is summed at a time."""
    node = group.anchor
    assert node is not None
    x, g = node.operands
    result, p = node.results[0], node.params
    window, strides, dilation = tuple(p["window"]), tuple(p["strides"]), tuple(p["dilation"])
    channels, machine = g.shape[-1], context.machine
    units = max(1, channels // machine.lanes(32))
    wanted = 1 if not g.abstract.size else -(-INVOCATIONS // channels) if machine.gpu else -(-16 // units)
    chunks = chunks_of(g.shape[0], g.shape[1], wanted)
    sums = Value(Abstract((chunks.count, *result.shape), accumulator(result.dtype)), "filter_sums")
    e = Emitter(context, Group(node, [node], anchor=node))
    k = e.k
    at_once = window[-1:] if math.prod(window) > MOST_TAPS else window  # taps whose sums are in registers together
    others = window[: len(window) - len(at_once)]
    each = (g.shape[0] // chunks.pictures, g.shape[1] // chunks.lines, *g.shape[2:-1])

    def unit(chunk: Index, before: Index, channel: Index, w: int) -> None:
        part = unflatten(chunk, (chunks.pictures, chunks.lines))
        fixed = unflatten(before, others) if others else ()
        inner = [(*fixed, *unflatten(constant(t), at_once)) for t in range(math.prod(at_once))]
        zeros = [k.broadcast(k.const(0, sums.dtype), w)] * len(inner)
        with k.loop(0, math.prod(each), init=zeros) as loop:
            inside = unflatten(k.var(loop, "pixel", 0, max(math.prod(each) - 1, 0)), each)
            image, line = part[0] * each[0] + inside[0], part[1] * each[1] + inside[1]
            with e.point(w):
                arrived = k.convert(e.load_flat(g, flatten((image, line, *inside[2:], channel + lane(w)), g.shape)), sums.dtype)
                totals = []
                for tap, total in zip(inner, loop.carried, strict=True):
                    place = [i * s + t * d for i, s, t, d in zip((line, *inside[2:]), strides, tap, dilation, strict=True)]
                    seen = e.load_flat(x, flatten((image, *place, channel + lane(w)), x.shape))
                    totals.append(k.fma(k.convert(k.broadcast(seen, w), sums.dtype), k.broadcast(arrived, w), total))
            loop.yield_(*totals)
        for tap, total in zip(inner, loop.results, strict=True):
            with e.point(w):
                e.store_flat(sums, flatten((chunk, *tap, constant(0), channel + lane(w)), sums.shape), total)

    width = 1 if machine.gpu else machine.lanes(max(32, result.dtype.bits))
    for start, stop, w in pieces(channels, width, machine):
        total = chunks.count * math.prod(others) * ((stop - start) // w)
        work = max(1, math.prod(each) * len(others) * w)
        with k.loop(0, total, kind="parallel", grain=max(1, GRAIN * 4 // work)) as loop:
            at = k.var(loop, "unit", 0, total - 1) if total > 1 else constant(0)
            chunk, before, block = unflatten(at, (chunks.count, math.prod(others), (stop - start) // w))
            unit(chunk, before, block * w + start, w)
    name = f"depthwise_filter_gradient_{'x'.join(map(str, window))}_{math.prod(g.shape[:-1])}x{channels}"
    return [e.finish(name), _added(context, group, sums)]
