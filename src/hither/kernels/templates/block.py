"""A convolution and the depthwise convolution that alone reads it, line by line: what lies between them never is in memory.

Networks for small machines widen a picture by a pointwise convolution, filter each channel, and narrow it again. The wide
picture is the largest array of all and is needed a few lines at a time. Here a unit of work is a panel of channels of a
segment of lines: it computes the convolution's next line into a ring of lines of its own, with the padding around it, and
from the ring each line of the depthwise convolution that has become possible. A segment begins by computing again
the few lines that it shares with the one before, unless the same thread has just done that one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..emitter import Context, Emitter, Lowered, pieces
from ..fusion import Group, unflatten
from ..index import Index, Var, constant, variable
from ..ir import Buffer, Val
from .conv import Held, packed_weights, tiles_of
from .depthwise import packed_taps, strip_length, strip_of
from .product import CACHE_LINE
from .tile import Tile, row_tiles, tile_for
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
        self._fetch(image, line + 1)

    def _fetch(self, image: Index, line: Index) -> None:
        """Have what output line `line` will be the first to need fetched meanwhile: rows of some hundred bytes are over before
        the processor sees that they are read one after the other."""
        k, (_, _, height, width) = self.e.k, self.picture.shape
        if self.e.machine.name != "llvm":
            return
        fresh, each = min(self.stride, self.lines), CACHE_LINE // self.picture.dtype.itemsize
        with k.loop(0, self.channels * fresh) as loop:
            at = k.var(loop, "line", 0, self.channels * fresh - 1)
            channel, back = unflatten(at, (self.channels, fresh))
            position = line * self.stride + back + (self.lines - fresh - self.above)
            source = k.index(((image * self.channels + channel) * height + position) * width)
            with k.loop(0, width, each) as columns:
                k.prefetch(self.e.buffer(self.picture), source + columns.index)


def _fill(e: Emitter, buffer: Buffer, start: Index, count: int, value: float) -> None:
    """One value, `count` times."""
    for begin, end, width in pieces(count, e.machine.lanes(32), e.machine):
        with e.k.loop(begin, end, width) as loop:
            e.k.store(buffer, start + e.k.var(loop, "i", begin, end - width), e.k.const(value, dt.float32, width))


@dataclass(frozen=True)
class _Cut:
    """How the work is cut: panels of `across` channels, by segments of output lines, by images; and the rings."""

    picture: tuple[int, int, int, int]  # batch, lines, columns and channels of what lies between the convolutions
    result: tuple[int, int]  # lines and columns
    padded: int  # columns, with the padding
    before: tuple[int, ...]  # lines and columns of padding
    rows: int  # lines of the filter
    strides: tuple[int, int]
    tile: Tile
    together: int  # narrow panels of the tile that a unit has, which read its rows from the first-level cache
    segment: int  # lines
    segments: int
    private: bool  # a thread's own ring stays in its cache from chunk to chunk; one too large for that lies in the arena
    turns: bool  # a ring for each panel, which take turns segment by segment

    @staticmethod
    def of(context: Context, group: Group) -> _Cut:
        node, feeder, machine = group.anchor, group.feeder, context.machine
        assert node is not None and feeder is not None and feeder.anchor is not None and feeder.placement is not None
        batch, height, width, channels = feeder.root.results[0].shape
        (padded, w), result = node.operands, node.results[0].shape
        (stride, _), rows, lines = node.params["strides"], w.shape[2], result[1]
        tile = tile_for(context, feeder.anchor, batch * height * width, channels)
        narrow = -(-channels // tile.columns)
        together = -(-narrow // -(-channels // max(TOGETHER, tile.columns)))
        panels = -(-channels // (together * tile.columns))
        # segments of lines, natively two at least for two threads
        native, halo = machine.name == "llvm", max(rows - stride, 0)
        shortest = max(1, -(-halo * REPEATED // stride))
        segments = max(1, min(lines // shortest, -(-UNITS // (panels * batch))))
        if native and batch * segments == 1 and lines >= shortest:
            segments = 2
        segment = -(-lines // segments)
        ring, room = 4 * _slots(rows) * padded.shape[2] * together * tile.columns, min(machine.l2_bytes, MOST_SCRATCH) // 2
        return _Cut(
            (batch, height, width, channels), (lines, result[2]), padded.shape[2], feeder.placement.shift[1:3], rows,
            node.params["strides"], tile, together, segment, -(-lines // segment), ring <= room,
            native and ring * panels <= room,
        )  # fmt: skip

    @property
    def across(self) -> int:
        return self.together * self.tile.columns

    @property
    def panels(self) -> int:
        return -(-self.picture[3] // self.across)

    @property
    def units(self) -> int:
        return self.panels * self.picture[0] * self.segments

    @property
    def halo(self) -> int:
        """Lines that segments which follow each other have in common."""
        return max(self.rows - self.strides[0], 0)

    @property
    def slots(self) -> int:
        """Lines of a ring."""
        return _slots(self.rows)

    @property
    def pitch(self) -> int:
        """Elements from one line of a ring to the next."""
        return self.padded * self.across


def _slots(rows: int) -> int:
    return 1 << (rows - 1).bit_length()


class _Block:
    """Writes the kernel. Chunks that run at the same time must not meet in a ring; with one for each panel, a thread reads and
    writes lines that no other does (targets/llvm/sharing.py)."""

    def __init__(self, context: Context, group: Group, cut: _Cut) -> None:
        node, feeder = group.anchor, group.feeder
        assert node is not None and feeder is not None and feeder.anchor is not None
        self.cut = cut
        self.e = e = Emitter(context, group)
        self.k = k = e.k
        self.conv = _Ring(e, feeder)
        shape = (1 if cut.private else cut.units, cut.slots, cut.padded, cut.across)
        ring = Value(Abstract(shape, dt.float32), f"{feeder.root.results[0].name}_lines")
        if cut.private:
            e.buffers[ring] = k.local(dt.float32, cut.slots * cut.pitch * (cut.panels if cut.turns else 1))
        self.ring = e.buffer(ring, "scratch")
        self.conv.ring, self.conv.pitch = ring, cut.across
        self.window = None if feeder.feeder is None else _Window(e, feeder)
        weights = packed_weights(context, feeder.anchor.operands[1], 1, cut.tile)
        held = None if self.window is None else self.window.held
        self.product, _, self.tile_at = tiles_of(self.conv, weights, cut.tile, lines=True, held=held)
        self.taps, self.lowered = widened(context, group, packed_taps(context, node.operands[1]))
        self.chunk = constant(0) if cut.private else variable(Var("chunk", 0, cut.units - 1, value=k.special("thread")))
        # the segment after which each panel's ring is
        self.last = k.local(dt.int32, cut.panels) if cut.segments > 1 and cut.halo else None

    def write(self) -> None:
        k, cut = self.k, self.cut
        batch, _, _, channels = cut.picture
        full, rest = divmod(channels, cut.across)
        for panel_from, number, count in ((0, full, cut.across), (full, 1 if rest else 0, rest)):
            total = number * batch * cut.segments
            if not total:
                continue
            if self.last is not None:
                for panel in range(panel_from, panel_from + number):
                    k.store(self.last, panel, k.const(-1, dt.int32))
            with k.loop(0, total, kind="parallel") as loop:
                flat = k.var(loop, "unit", 0, total - 1) if total > 1 else constant(0)
                at, image, piece = self.place(flat, number)
                self.unit(at + panel_from, image, piece, count)

    def place(self, flat: Index, panels: int) -> tuple[Index, Index, Index]:
        """Panel, image and segment of a unit."""
        k, cut = self.k, self.cut
        at, image, piece = unflatten(flat, (panels, cut.picture[0], cut.segments))
        if not cut.turns:
            return at, image, piece
        several = k.special("threads").ne(1)  # one thread has a ring in its first-level cache for all segments
        *across_lines, other = unflatten(flat, (cut.picture[0], cut.segments, panels))
        pairs = zip(("panel", "image", "piece"), (other, *across_lines), (at, image, piece), strict=True)
        at, image, piece = (
            variable(Var(name, 0, max(x.high, y.high), value=k.select(several, k.index(x), k.index(y)))) for name, x, y in pairs
        )
        return at, image, piece

    def unit(self, panel: Index, image: Index, piece: Index, count: int) -> None:
        """`count` channels of a segment's lines."""
        k, cut, product = self.k, self.cut, self.product
        first = piece * cut.segment
        mine = (panel if cut.turns else self.chunk) * (cut.slots * cut.pitch)
        known = self.lines_known(panel, image, piece)
        if self.window is not None:
            self.window.begin()
        product.begin()
        with k.loop(0, cut.slots) as loop:
            self.pad_sides(mine + k.var(loop, "slot", 0, cut.slots - 1) * cut.pitch)
        stride, lines = cut.strides[0], cut.result[0]
        here = cut.segment if lines % cut.segment == 0 else k.min(k.as_index(cut.segment), k.index(first * -1 + lines))
        steps = here * stride + (cut.rows - stride)
        narrow = -(-count // cut.tile.columns)
        held = product.widened(constant(0), panel * cut.together, narrow) if product.is_small() else nullcontext()
        with held, k.loop(known, steps) as loop:
            step = k.var(loop, "step", 0, cut.segment * stride + cut.rows - stride - 1)
            self.line_of_ring(image, first * stride + step, panel, count, mine)
            back = step + (1 - cut.rows)
            ready = k.inside(back, 0, cut.segment * stride)
            if stride > 1:
                ready = ready & k.index((back + stride * cut.rows) % stride).eq(0)
            with k.if_(ready):
                top = variable(Var("top", 0, (lines - 1) * stride, stride, value=k.index(first * stride + back)))
                self.line_of_depthwise(image, top // stride, top, panel, count, mine)

    def lines_known(self, panel: Index, image: Index, piece: Index) -> Val:
        """How many lines are in the ring already: those that the segment before has in common, if it was the last one."""
        k, known = self.k, self.k.as_index(0)
        if self.last is None:
            return known
        now, place = k.convert(k.index(image * self.cut.segments + piece), dt.int32), k.index(panel)
        follows = k.load(self.last, place).eq(now) & ~k.index(piece).eq(0)
        known = k.select(follows, k.as_index(self.cut.halo), known)
        k.store(self.last, place, now + 1)
        return known

    def pad_sides(self, line: Index) -> None:
        """Padding on both sides of a line of the ring, which no line of the convolution changes."""
        (_, beside), width, across = self.cut.before, self.cut.picture[2], self.cut.across
        _fill(self.e, self.ring, line, beside * across, 0)
        _fill(self.e, self.ring, line + (beside + width) * across, (self.cut.padded - beside - width) * across, 0)

    def line_of_ring(self, image: Index, below: Index, panel: Index, count: int, mine: Index) -> None:
        """The line of the padded picture that has the number `below`: of the convolution, or padding."""
        k, cut, height = self.k, self.cut, self.cut.picture[1]
        most = (cut.units * cut.slots - 1) * cut.pitch
        start = variable(Var("start", 0, most, value=k.index(mine + below % cut.slots * cut.pitch)))
        line = below + -cut.before[0]
        inside = k.inside(line, 0, height)
        with k.if_(inside):
            there = variable(Var("input_line", 0, height - 1, value=k.index(line)))
            self.line_of_conv(image, there, start, panel, count)
        with k.if_(~inside):
            _fill(self.e, self.ring, start, cut.pitch, 0)

    def line_of_conv(self, image: Index, line: Index, start: Index, panel: Index, count: int) -> None:
        k, cut, columns = self.k, self.cut, self.cut.tile.columns
        _, height, width, _ = cut.picture
        self.conv.start = start + panel * -cut.across + cut.before[1] * cut.across
        if self.window is not None:
            self.window.read(image, line)
        for first, number, tall in row_tiles(width, cut.tile.rows):
            with k.loop(0, number) as loop:
                at = k.var(loop, "tile", 0, number - 1) if number > 1 else constant(0)
                whole, part = divmod(count, columns)
                for begin, several, size in ((0, whole, columns), (whole, 1 if part else 0, part)):
                    if not several:
                        continue
                    with k.loop(0, several) as each, self.e.point():
                        beyond = k.var(each, "panel", 0, several - 1) if several > 1 else constant(0)
                        here = panel * cut.together + beyond + begin
                        self.tile_at(constant(0), image * height + line, at * tall + first, tall, here, size)

    def line_of_depthwise(self, image: Index, line: Index, top: Index, panel: Index, count: int, mine: Index) -> None:
        """An output line from the ring, where its first input line has the number `top`."""
        k, cut, machine = self.k, self.cut, self.e.machine
        pixels, most = cut.result[1], (cut.units * cut.slots - 1) * cut.pitch
        starts = [
            variable(Var("line", 0, most, value=k.index(mine + (top + t) % cut.slots * cut.pitch))) for t in range(cut.rows)
        ]
        full, rest = divmod(pixels, strip := strip_length(machine, pixels))
        for first, number, size in ((0, full, strip), (full * strip, 1 if rest else 0, rest)):
            if not number:
                continue
            with k.loop(0, number) as strips:
                column = (k.var(strips, "strip", 0, number - 1) if number > 1 else constant(0)) * strip + first
                for begin, end, width in pieces(count, machine.lanes(32), machine):
                    with k.loop(begin, end, width) as loop:
                        channel = variable(Var("channel", begin, end - width, math.gcd(begin, width) or width, loop.index))
                        load = self.reader(starts, column, channel, width)
                        there = panel * cut.across + channel
                        strip_of(self.e, self.taps, (image, line, column), size, there, width, load)

    def reader(self, starts: list[Index], column: Index, channel: Index, width: int) -> Callable[[tuple[Index, ...], int], Val]:
        """Reads `width` channels of the ring's lines at `starts`, by tap and pixel."""

        def load(where: tuple[Index, ...], pixel: int) -> Val:
            at = (column * self.cut.strides[1] + pixel) * self.cut.across + channel
            return self.k.load(self.ring, starts[where[0].const] + at, width)

        return load


def block(context: Context, group: Group) -> list[Lowered]:
    """x → conv, with its epilogue → pad → depthwise conv, with its epilogue; `group.feeder` is the first of them."""
    assert group.anchor is not None
    cut = _Cut.of(context, group)
    written = _Block(context, group, cut)
    written.write()
    taps, (lines, pixels) = group.anchor.operands[1].shape[2:], cut.result
    return [*written.lowered, written.e.finish(f"block_{'x'.join(map(str, taps))}_{lines * pixels}x{cut.picture[3]}")]
