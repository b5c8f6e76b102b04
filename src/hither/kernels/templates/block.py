"""A convolution and the depthwise convolution that alone reads it, line by line: what lies between them never is in memory.

Networks for small machines widen a picture by a pointwise convolution, filter each channel, and narrow it again. The wide
picture is the largest array of all and is needed a few lines at a time. Here a unit of work is a panel of channels of a
segment of lines: it computes the convolution's next line into a ring of lines of its own, with the padding around it, and
from the ring each line of the depthwise convolution that has become possible. A segment begins by computing again
the few lines that it shares with the one before, unless the same thread has just done that one.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..emitter import Context, Emitter, Lowered, pieces
from ..fusion import Group, unflatten
from ..index import Index, Var, constant, variable
from ..ir import Buffer, Val
from .conv import Held, packed_weights, tiles_of
from .depthwise import packed_taps, strip_length, strip_of
from .tile import row_tiles, tile_for
from .widen import widened
from .winograd import MOST_SCRATCH

UNITS = 8  # units of work to aim at, so that threads can share them
TOGETHER = 48  # channels of a unit of work at most, where a panel has fewer
REPEATED = 12  # a segment has at least so many lines for one that is computed twice


class _Ring(Emitter):
    """Writes the feeding convolution into the kernel of another emitter; what it stores goes to a line of the ring."""

    def __init__(self, outer: Emitter, feeder: Group) -> None:
        super().__init__(outer.context, feeder)
        self.k, self.buffers = outer.k, outer.buffers
        self.ring: Value | None = None
        self.start: Index = constant(0)  # of the line, so that the first channel of the picture is there
        self.pitch = 0

    def store_root(
        self, flat: Index, element: Val, count: int | None = None, index: tuple[Index, ...] | None = None,
        part: Group | None = None,
    ) -> None:  # fmt: skip
        assert part is None, "a convolution that feeds another has one result"
        assert self.ring is not None and index is not None, "a tile stores elements by their index, into a line it was given"
        self.store_flat(self.ring, self.start + index[-2] * self.pitch + index[-1], element, count)


class _Window:
    """The lines of a padded channels-first picture that a line of its convolution needs, in memory of the thread's own:
    [channel][line][column]. That spares a padded copy of the picture."""

    def __init__(self, e: Emitter, feeder: Group) -> None:
        assert feeder.feeder is not None and feeder.anchor is not None
        pad, conv = feeder.feeder.root, feeder.anchor
        (self.picture,), (padded,) = pad.operands, pad.results
        self.e, self.above, self.beside, self.value = e, pad.params["low"][2], pad.params["low"][3], pad.params["value"]
        self.stride = conv.params["strides"][0]
        self.lines = (conv.operands[1].shape[2] - 1) * conv.params["dilation"][0] + 1
        self.channels, self.width = padded.shape[1], padded.shape[3]
        self.buffer = e.k.local(dt.float32, self.channels * self.lines * self.width)
        self.held: Held = self.buffer, (0, self.width, 1, self.lines * self.width)  # batch, lines, columns, channels

    def begin(self) -> None:
        """Padding on both sides, which no line changes."""
        after = self.beside + self.picture.shape[3]
        with self.e.k.loop(0, self.channels * self.lines) as loop:
            start = self.e.k.var(loop, "line", 0, self.channels * self.lines - 1) * self.width
            _fill(self.e, self.buffer, start, self.beside, self.value)
            _fill(self.e, self.buffer, start + after, self.width - after, self.value)

    def read(self, image: Index, line: Index) -> None:
        """What output line `line` needs."""
        e, k, (_, _, height, width) = self.e, self.e.k, self.picture.shape
        with k.loop(0, self.channels * self.lines) as loop:
            at = k.var(loop, "line", 0, self.channels * self.lines - 1)
            start = at * self.width + self.beside
            channel, tap = unflatten(at, (self.channels, self.lines))
            position = line * self.stride + tap + -self.above
            inside = k.inside(position, 0, height)
            with k.if_(inside):
                known = variable(Var("input_line", 0, height - 1, value=k.index(position)))
                source = k.index(((image * self.channels + channel) * height + known) * width)
                for begin, end, w in pieces(width, e.machine.lanes(32), e.machine):
                    with k.loop(begin, end, w) as columns:
                        there = k.index(start + k.var(columns, "column", begin, end - w))
                        k.store(self.buffer, there, k.load(e.buffer(self.picture), source + columns.index, w))
            with k.if_(~inside):
                _fill(e, self.buffer, start, width, self.value)


def _fill(e: Emitter, buffer: Buffer, start: Index, count: int, value: float) -> None:
    """One value, `count` times."""
    for begin, end, width in pieces(count, e.machine.lanes(32), e.machine):
        with e.k.loop(begin, end, width) as loop:
            e.k.store(buffer, start + e.k.var(loop, "i", begin, end - width), e.k.const(value, dt.float32, width))


def block(context: Context, group: Group) -> list[Lowered]:
    """x → conv, with its epilogue → pad → depthwise conv, with its epilogue; `group.feeder` is the first of them."""
    node, feeder = group.anchor, group.feeder
    assert node is not None and feeder is not None and feeder.anchor is not None and feeder.placement is not None
    wide, result = feeder.root.results[0], node.results[0]
    batch, height, width, channels = wide.shape
    padded, w = node.operands
    rows = w.shape[2]
    above, beside = feeder.placement.shift[1:3]
    (stride, stride_x), machine = node.params["strides"], context.machine
    lines, pixels = result.shape[1:3]
    tile = tile_for(context, feeder.anchor, batch * height * width, channels)
    # A unit has several narrow panels, which read a tile's rows from the first-level cache.
    narrow = -(-channels // tile.columns)
    together = -(-narrow // -(-channels // max(TOGETHER, tile.columns)))
    across = together * tile.columns
    panels = -(-channels // across)
    # segments of lines, natively two at least for two threads, and the ring of one unit
    native = machine.name == "llvm"
    halo = max(rows - stride, 0)
    shortest = max(1, -(-halo * REPEATED // stride))
    segments = max(1, min(lines // shortest, -(-UNITS // (panels * batch))))
    if native and batch * segments == 1 and lines >= shortest:
        segments = 2
    segment = -(-lines // segments)
    segments = -(-lines // segment)
    slots = 1 << (rows - 1).bit_length()
    pitch = padded.shape[2] * across
    units = panels * batch * segments

    e = Emitter(context, group)
    k = e.k
    inner = _Ring(e, feeder)
    room = min(machine.l2_bytes, MOST_SCRATCH) // 2
    private = 4 * slots * pitch <= room
    # A thread's own ring stays in its cache from chunk to chunk. One too large for that lies in the arena, where chunks that
    # run at the same time must not meet. With a ring for each panel, panels take turns segment by segment, and a thread reads
    # and writes lines that no other does (targets/llvm/sharing.py).
    turns = native and 4 * slots * pitch * panels <= room
    ring = Value(Abstract((1 if private else units, slots, padded.shape[2], across), dt.float32), f"{wide.name}_lines")
    if private:
        e.buffers[ring] = k.local(dt.float32, slots * pitch * (panels if turns else 1))
    buffer = e.buffer(ring, "scratch")
    inner.ring, inner.pitch = ring, across
    window = None if feeder.feeder is None else _Window(e, feeder)
    weights = packed_weights(context, feeder.anchor.operands[1], 1, tile)
    product, _, tile_at = tiles_of(inner, weights, tile, lines=True, held=None if window is None else window.held)
    taps, lowered = widened(context, group, packed_taps(context, w))
    lanes = machine.lanes(32)
    chunk = constant(0) if private else variable(Var("chunk", 0, units - 1, value=k.special("thread")))

    def fill(start: Index, count: int) -> None:
        """Padding into the ring."""
        _fill(e, buffer, start, count, 0)

    def line_of_conv(image: Index, line: Index, start: Index, panel: Index, count: int) -> None:
        inner.start = start + panel * -across + beside * across
        if window is not None:
            window.read(image, line)
        for first, number, tall in row_tiles(width, tile.rows):
            with k.loop(0, number) as loop:
                at = k.var(loop, "tile", 0, number - 1) if number > 1 else constant(0)
                whole, part = divmod(count, tile.columns)
                for begin, several, columns in ((0, whole, tile.columns), (whole, 1 if part else 0, part)):
                    if not several:
                        continue
                    with k.loop(0, several) as each, e.point():
                        beyond = k.var(each, "panel", 0, several - 1) if several > 1 else constant(0)
                        here = panel * together + beyond + begin
                        tile_at(constant(0), image * height + line, at * tall + first, tall, here, columns)

    def line_of_depthwise(image: Index, line: Index, top: Index, panel: Index, count: int, mine: Index) -> None:
        """An output line from the ring, where its first input line has the number `top`."""
        starts = [
            variable(Var("line", 0, (units * slots - 1) * pitch, value=k.index(mine + (top + t) % slots * pitch)))
            for t in range(rows)
        ]
        full, rest = divmod(pixels, strip := strip_length(machine, pixels))
        for first, number, size in ((0, full, strip), (full * strip, 1 if rest else 0, rest)):
            if not number:
                continue
            with k.loop(0, number) as strips:
                column = (k.var(strips, "strip", 0, number - 1) if number > 1 else constant(0)) * strip + first
                for begin, end, w_ in pieces(count, lanes, machine):
                    with k.loop(begin, end, w_) as loop:
                        channel = variable(Var("channel", begin, end - w_, math.gcd(begin, w_) or w_, loop.index))

                        def load(
                            where: tuple[Index, ...],
                            pixel: int,
                            column: Index = column,
                            channel: Index = channel,
                            n: int = w_,
                        ) -> Val:
                            at = (column * stride_x + pixel) * across + channel
                            return k.load(buffer, starts[where[0].const] + at, n)

                        there = panel * across + channel
                        strip_of(e, taps, (image, line, column), size, there, w_, load)

    last = k.local(dt.int32, panels) if segments > 1 and halo else None  # the segment after which each panel's ring is

    def unit(panel: Index, image: Index, piece: Index, count: int) -> None:
        first, known = piece * segment, k.as_index(0)  # lines that are there already
        mine = (panel if turns else chunk) * (slots * pitch)
        if last is not None:
            now, place = k.convert(k.index(image * segments + piece), dt.int32), k.index(panel)
            follows = k.load(last, place).eq(now) & ~k.index(piece).eq(0)
            known = k.select(follows, k.as_index(halo), known)
            k.store(last, place, now + 1)
        if window is not None:
            window.begin()
        product.begin()
        with k.loop(0, slots) as loop:
            line = mine + k.var(loop, "slot", 0, slots - 1) * pitch
            fill(line, beside * across)
            fill(line + (beside + width) * across, (padded.shape[2] - beside - width) * across)
        here = segment if lines % segment == 0 else k.min(k.as_index(segment), k.index(first * -1 + lines))
        steps = here * stride + (rows - stride)
        held = (
            product.widened(constant(0), panel * together, -(-count // tile.columns)) if product.is_small() else nullcontext()
        )
        with held, k.loop(known, steps) as loop:
            step = k.var(loop, "step", 0, segment * stride + rows - stride - 1)
            below = first * stride + step
            start = variable(Var("start", 0, (units * slots - 1) * pitch, value=k.index(mine + below % slots * pitch)))
            line = below + -above
            inside = k.inside(line, 0, height)
            with k.if_(inside):
                there = variable(Var("input_line", 0, height - 1, value=k.index(line)))
                line_of_conv(image, there, start, panel, count)
            with k.if_(~inside):
                fill(start, pitch)
            back = step + (1 - rows)
            ready = k.inside(back, 0, segment * stride)
            if stride > 1:
                ready = ready & k.index((back + stride * rows) % stride).eq(0)
            with k.if_(ready):
                top = variable(Var("top", 0, (lines - 1) * stride, stride, value=k.index(first * stride + back)))
                line_of_depthwise(image, top // stride, top, panel, count, mine)

    full, rest = divmod(channels, across)
    for panel_from, number, count in ((0, full, across), (full, 1 if rest else 0, rest)):
        total = number * batch * segments
        if not total:
            continue
        if last is not None:
            for panel in range(number):
                k.store(last, panel_from + panel, k.const(-1, dt.int32))
        with k.loop(0, total, kind="parallel") as loop:
            flat = k.var(loop, "unit", 0, total - 1) if total > 1 else constant(0)
            at, image, piece = unflatten(flat, (number, batch, segments))
            if turns:
                several = k.special("threads").ne(1)  # one thread has a ring in its first-level cache for all segments
                *across_lines, other = unflatten(flat, (batch, segments, number))
                pairs = zip(("panel", "image", "piece"), (other, *across_lines), (at, image, piece), strict=True)
                at, image, piece = (
                    variable(Var(name, 0, max(x.high, y.high), value=k.select(several, k.index(x), k.index(y))))
                    for name, x, y in pairs
                )
            unit(at + panel_from, image, piece, count)
    return [*lowered, e.finish(f"block_{'x'.join(map(str, w.shape[2:]))}_{lines * pixels}x{channels}")]
