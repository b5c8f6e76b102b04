"""Sums of products, tile by tile: what matmul, convolution and transposed convolution have in common.

A result of M rows and N columns is cut into tiles of rows × one panel of columns. The k dimension of a tile is a nest of loops
(a window's taps) around one run of steps; each step multiplies one scalar of every row with the panel's vectors. A tile of one
column has its vectors along the run instead. What the families add is where rows start, how the panel is laid out, and where a
finished element belongs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ... import dtypes as dt
from ...graph.core import Value
from ..emitter import Emitter, lane
from ..fusion import EXPENSIVE
from ..index import Index, constant
from ..ir import Buffer, Val
from .byte_words import COLUMNS, LANES, row_by_words
from .codes import CodePanels
from .half_pairs import HalfPairs, ScaledRow, in_pairs
from .held_rows import HeldRows, Row, Tap
from .tile import Tile, accumulator, column_parts, part

STRAIGHT = 16  # steps of k that are written out: the loop around them would cost as much as they do
CACHE_LINE = 64
SIGNS = -0x7F7F7F80  # 0x80808080: the highest bit of each byte of an int32
UNDER_WAY = 12  # sums that hide the latency of multiply-adds (8 would do) and leave registers for operands in WebAssembly
HELD_ROWS = 1 << 18  # bytes of rows, widened, that stay in the second-level cache beside panels
LEAST_GROUPS = 8  # of panels that tiles take side by side, so that threads find something to share

Store = Callable[[Index | int, int, int, Val], None]  # row, column, count, values
Start = Callable[[int, int], Val]  # column, width


@dataclass
class Product:
    """One tile's work. `run_stride`: elements between steps of the left operand; `pitch`: elements between steps of the
    right one (a panel's columns, or a row of an unpacked matrix). `element` computes what a row holds at a tap and step where
    it is not simply stored; the rows' addresses are not used then."""

    e: Emitter
    left: Buffer | None
    left_dtype: dt.DType
    right: Buffer
    right_dtype: dt.DType
    result: dt.DType
    tile: Tile
    taps: Sequence[Tap]
    run: int
    run_stride: int
    pitch: int
    packed: bool = True
    element: Callable[[int, tuple[Index, ...], Index], Val] | None = None  # row, taps, step: instead of a load
    alternate: bool = False  # tiles that follow each other have different panels
    ahead: tuple[Val, int] | None = None  # each step of a run prefetches so many lines of cache, from its row of this panel on
    bare: bool = False  # `store` takes the sums as they are: the group's epilogue comes later
    panels: int = 1  # of one instance of the product
    depth: int = 0  # steps of a panel
    codes: CodePanels | None = None  # what `right` is panels of, if not of numbers
    seven_bits: bool = False  # bytes of rows are at most 127
    turned: bool = False  # bytes of rows are taken with their highest bits turned: see `byte_panels.moved`
    dots: bool = False  # a step is four bytes of a row, and of each column of a panel: see `words`
    pairs: bool = False  # a step is two numbers of 16 bits of each
    digits: bool = False  # panels are of bytes, and none is -128
    _wide: tuple[Buffer, Index] | None = None  # panels in scratch memory, widened, and which of them is the first
    _scales_at: Val | None = None  # where the scales of the panel at hand begin
    _kept: Buffer | None = None  # where a tile's sums wait for being finished
    _memory: HeldRows | None = None  # of rows that are widened: see `_held`
    _scaled: ScaledRow | None = None

    def compute(self, rows: Sequence[Row], panel: Val, columns: int, store: Store, start: Start | None = None) -> None:
        """Compute `columns` columns of the panel at `panel` for these rows; `store(row, column, count, values)` ends each.

        `start(column, width)` gives what the sums of a vector of columns begin with, if not zero.
        """
        if not self._holds_rows():
            self._compute(rows, panel, columns, store, start)
            return
        with self._held(rows) as held:
            self._compute(held, panel, columns, store, start)

    def begin(self) -> None:
        """Before the first tile: rows in scratch memory are of another run."""
        if self._holds_rows():
            self._memory = HeldRows(self.e.k, self.tile.rows, self._depth())
            self._memory.begin()
        if self._scales_row():
            self._scaled = ScaledRow(self.e.k, self.run)
            self._scaled.begin()

    def _depth(self) -> int:
        return math.prod(extent for extent, _, _ in self.taps) * self.run

    def _holds_rows(self) -> bool:
        """Whether rows are halves that are widened into scratch memory, once for all panels: one by one, in the innermost loop,
        that takes longer than what is computed of them. A GPU loads halves as fast."""
        small = self.left_dtype is dt.float16 and accumulator(self.result) is dt.float32 and not self.e.machine.gpu
        dense = self.run_stride == 1 and self.depth > 0 and self.element is None and not self.dots
        return small and dense and 0 < 4 * self._depth() * self.tile.rows <= HELD_ROWS

    @contextmanager
    def _held(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows in scratch memory, side by side, each all of its steps."""
        assert self._memory is not None and self.left is not None, "rows that are held are stored, and `begin` has been called"
        depth = self._depth()
        self._memory.hold(self.left, rows, self.taps, self.run)
        before = self.left, self.left_dtype, self.taps, self.run
        self.left, self.left_dtype, self.taps, self.run = self._memory.held, dt.float32, (), depth
        yield [(self.e.k.as_index(0), r * depth) for r in range(len(rows))]
        self.left, self.left_dtype, self.taps, self.run = before

    def _compute(self, rows: Sequence[Row], panel: Val, columns: int, store: Store, start: Start | None) -> None:
        k = self.e.k
        widths = self.widths(columns)
        offsets = [sum(widths[:i]) for i in range(len(widths))]
        dtype = accumulator(self.result)
        if len(rows) == 1 and len(widths) % 2 == 0 and self._in_words():
            (base, fixed), left = rows[0], self.left
            assert left is not None, "rows that `element` computes are not multiplied by words"
            places = [panel + self._place(o) for o in offsets[::2]]
            row = lambda at: k.load(left, (base + at) + fixed, LANES, dt.float32)  # noqa: E731
            self._finish(0, row_by_words(k, row, self.right, places, self.run), columns, widths, store, start)
            return
        pairs = self._half_pairs(rows, widths)
        begin = start if pairs is None else None
        zeros = [k.broadcast(k.const(0, dtype) if begin is None else begin(o, w), w) for o, w in zip(offsets, widths)]
        lanes = self._lanes_along_run()

        coded = self.codes is not None and self._wide is None

        def run(taps: tuple[Index, ...], offset: Val, position: Val, sums: tuple[Val, ...]) -> tuple[Val, ...]:
            if coded:
                return self._run_codes(rows, taps, offset, panel, position, widths, offsets, sums)
            if lanes:
                return self._run_along(rows, offset, panel + position * self.pitch, lanes, sums)
            return self._run(rows, taps, offset, panel + position * self.pitch, widths, offsets, sums, pairs)

        def nest(taps: tuple[Index, ...], offset: Val, position: Val, sums: tuple[Val, ...]) -> tuple[Val, ...]:
            if len(taps) == len(self.taps):
                return run(taps, offset, position, sums)
            extent, elements, steps = self.taps[len(taps)]
            steps //= self.run if coded else 1  # codes are counted by runs
            if extent == 1:
                return nest((*taps, constant(0)), offset, position, sums)
            if self._straight(rows, len(taps)):
                for t in range(extent):
                    sums = nest((*taps, constant(t)), offset + t * elements, position + t * steps, sums)
                return sums
            with k.loop(0, extent, init=sums) as loop:
                further = offset + loop.index * elements
                tap = k.var(loop, "tap", 0, extent - 1)
                loop.yield_(*nest((*taps, tap), further, position + loop.index * steps, loop.carried))
            return loop.results

        sums = tuple(zeros) * len(rows)
        if lanes:
            partial = nest((), k.as_index(0), k.as_index(0), (k.const(0, dtype, lanes),) * len(rows) + sums)
            sums = tuple(k.reduce("add", v) + rest for v, rest in zip(partial, partial[len(rows) :]))
        elif self.run:
            sums = nest((), k.as_index(0), k.as_index(0), sums)

        def finish(row: Index | int, values: Sequence[Val]) -> None:
            total, rest = (values, None) if pairs is None else (pairs.sums(values), start)
            self._finish(row, total, columns, widths, store, rest)

        if len(rows) == 1 or not self._finishes_in_a_loop():
            for r in range(len(rows)):
                finish(r, sums[r * len(widths) : (r + 1) * len(widths)])
            return
        pitch = sum(widths)
        if self._kept is None:
            self._kept = k.local(dtype, self.tile.rows * self.tile.columns)
        for i, total in enumerate(sums):
            k.store(self._kept, i // len(widths) * pitch + offsets[i % len(widths)], total)
        with k.loop(0, len(rows)) as loop, self.e.point():
            kept = [k.load(self._kept, loop.index * pitch + o, w, dtype) for o, w in zip(offsets, widths, strict=True)]
            finish(k.var(loop, "row", 0, len(rows) - 1), kept)

    def _finish(
        self, row: Index | int, values: Sequence[Val], columns: int, widths: Sequence[int], store: Store, start: Start | None
    ) -> None:
        """Store a row's sums, and what they have not begun with."""
        offset = 0
        for value, width in zip(values, widths, strict=True):
            value = self.e.k.late(value)
            total = value if start is None else value + start(offset, width)
            for at, count in column_parts(min(columns - offset, width), width, self.e.machine):
                store(row, offset + at, count, part(self.e.k, total, at, count))
            offset += width

    def _in_words(self) -> bool:
        """Whether a single row is multiplied by words of bytes (`byte_words`)."""
        fits = self.run % LANES == 0 and self.tile.columns == COLUMNS and self.tile.width == LANES and self._wide is None
        return self.digits and fits and self._is_plain() and self.element is None and self.e.machine.name == "wasm"

    def _is_plain(self) -> bool:
        """Whether each row is one run of floats, and panels are packed."""
        one_run = self.run_stride == 1 and self.run > 0 and all(extent == 1 for extent, _, _ in self.taps)
        return one_run and self.packed and accumulator(self.result) is dt.float32

    def panel(self, instance: Index, panel: Index) -> Val:
        """Where a packed panel begins, in the weights or in scratch memory."""
        length = self.depth * self.tile.columns
        if self._wide is not None:
            return self.e.k.index((panel - self._wide[1]) * length)
        if self.codes is not None:
            self._scales_at = self.e.k.index(panel * self.codes.scale_length)
            length = self.codes.length
        return self.e.k.index((instance * self.panels + panel) * length)

    def _half_pairs(self, rows: Sequence[Row], widths: Sequence[int]) -> HalfPairs | None:
        """How panels of halves are widened two to a word, where they are."""
        if not self.packed or accumulator(self.result) is not dt.float32 or not in_pairs(self.e.machine, self.right, widths):
            return None
        k, left, (base, fixed) = self.e.k, self.left, rows[0]
        if self._scaled is None or left is None or self.element is not None or len(rows) > 1:
            return HalfPairs(k)
        origin = None if self._memory is not None else base + fixed  # rows in memory begin where others did
        return self._scaled.of(lambda at, width: k.load(left, (base + at) + fixed, width, dt.float32), origin)

    def _scales_row(self) -> bool:
        """Whether a single row is multiplied by what panels of halves lack when they are widened."""
        in_words = in_pairs(self.e.machine, self.right, [self.tile.width] * self.tile.vectors)
        return in_words and self._is_plain() and 4 * self.run <= HELD_ROWS

    def _place(self, column: int) -> int:
        """Where in a row of panels a column lies, of several panels that a tile takes side by side."""
        panel, within = divmod(column, self.tile.columns)
        return panel * self.depth * self.tile.columns + within

    def abreast(self, rows: int, panels: int) -> int:
        """How many of `panels` a tile of so few rows takes side by side: each element of a row is loaded once for all of them,
        and their sums are under way together."""
        plain = self.packed and self.depth and self.codes is None and self.element is None
        plain = plain and all(extent == 1 for extent, _, _ in self.taps)
        if self.e.machine.gpu or not plain:
            return 1
        each = LANES if rows == 1 and self._in_words() else rows * self.tile.vectors
        fitting = min(UNDER_WAY // each, panels // LEAST_GROUPS)
        return next((n for n in range(fitting, 1, -1) if panels % n == 0), 1)

    def is_small(self) -> bool:
        """Whether panels are stored in smaller numbers than they are multiplied in, on a CPU: a GPU widens as it loads."""
        return (
            not self.e.machine.gpu
            and self.packed
            and self.right.dtype.bits < 32
            and accumulator(self.result).is_float
            and self.depth > 0
        )

    def offsets(self, sums: Value | None, instance: Index, panel: Index) -> Callable[[int, int], Val] | None:
        """What the sums of a panel begin with, of `byte_offsets`."""
        if sums is None:
            return None
        first = self.e.k.index((instance * self.panels + panel) * self.tile.columns)
        return lambda column, width: self.e.k.load(self.e.buffer(sums), first + column, width)

    @contextmanager
    def widened(self, instance: Index, first: Index, count: int) -> Iterator[None]:
        """`count` panels from `first` on, widened into scratch memory: for what is used by so many tiles that widening it for
        each would take longer."""
        k, dtype, length = self.e.k, accumulator(self.result), self.depth * self.tile.columns
        width, stored = self.tile.width, self.right
        held = k.local(dtype, count * length)
        source = self.panel(instance, first)
        if self.codes is not None and self._scales_at is not None:
            self.codes.unpack(self.e, held, 0, source, self._scales_at, count, width)
            self.right, self._wide = held, (held, first)
            yield
            self.right, self._wide = stored, None
            return
        several = next(n for n in (4, 2, 1) if count * length % (width * n) == 0)
        with k.loop(0, count * length, width * several) as loop:
            for i in range(several):
                k.store(held, loop.index + i * width, k.load(stored, source + loop.index + i * width, width, dtype))
        self.right, self._wide = held, (held, first)
        yield
        self.right, self._wide = stored, None

    def prefetch(self, apart: int, number: Index, of: int) -> None:
        """While it computes, tile `number` of the `of` tiles of a panel fetches its share of the next panel, `apart` elements
        on: a few lines of every row. Else the first tile of each panel waits for it."""
        if of == 1 or self._wide is not None or self.codes is not None:
            return  # memory is what it waits for: there is no time in which more could come
        each_line = CACHE_LINE // self.right.dtype.itemsize
        lines = -(-self.tile.columns // each_line)
        share = -(-lines // max(1, of))
        self.ahead = (self.e.k.index(number % -(-lines // share) * (share * each_line) + apart), share)

    def _finishes_in_a_loop(self) -> bool:
        """Whether rows are finished in a loop of their own: as fast, and an epilogue with an exponential in it, written out for
        every vector of every tile, is most of a module's code."""
        group = self.e.group
        costly = any(n.primitive.name in EXPENSIVE for n in group.nodes if n is not group.anchor)
        return self.e.machine.name == "wasm" and costly and not self.bare

    def exact(self, n: int) -> bool:
        """Whether the vectors cover N columns without reaching past them."""
        full, rest = divmod(n, self.tile.columns)
        return (not full or sum(self.widths(self.tile.columns)) == self.tile.columns) and sum(self.widths(rest)) == rest

    def bias(self, n: int, rank: int, column: Callable[[int], Index]) -> Callable[[int, int], Val] | None:
        """What the sums begin with if the epilogue adds a value per column (see Emitter.take_bias)."""
        e = self.e
        value = e.take_bias() if self.exact(n) else None
        if value is None:
            return None

        zeros = (constant(0),) * (rank - 1)

        def start(offset: int, width: int) -> Val:
            with e.point(width):
                return e.k.convert(e.read(value, (*zeros, column(offset) + lane(width))), accumulator(self.result))

        return start

    def widths(self, columns: int) -> list[int]:
        """Vectors that cover `columns`: full ones, then narrower ones where the machine has them. A packed panel is filled
        with zeros, so its last vector may reach past the columns; a matrix read in place may not."""
        width, machine = self.tile.width, self.e.machine
        found = [width] * (columns // width)
        rest = columns % width
        if rest and not self.packed:
            return [*found, *(count for _, count in column_parts(rest, width, machine))]
        if rest:
            narrow = width
            while narrow // 2 >= rest and not ((machine.name == "wasm" or self.dots or self.pairs) and narrow <= 4):
                narrow //= 2
            found.append(narrow)
        return found

    def _run(
        self,
        rows: Sequence[Row],
        taps: tuple[Index, ...],
        offset: Val,
        panel: Val,
        widths: list[int],
        offsets: list[int],
        sums: tuple[Val, ...],
        pairs: HalfPairs | None,
    ) -> tuple[Val, ...]:
        k = self.e.k
        dtype = accumulator(self.result)
        bases = {} if self.element else {base: base + offset for base, _ in rows}

        def step(at: Index, sums: Sequence[Val]) -> list[Val]:
            here = panel + k.index(at * self.pitch)
            if pairs is not None:
                across: Iterable[Val] = pairs.vectors(self.right, [here + self._place(o) for o in offsets[::2]])
            else:
                across = (
                    k.convert(k.load(self.right, here + self._place(o), w, self.right_dtype), dtype)
                    for o, w in zip(offsets, widths, strict=True)
                )
            if len(rows) > 1:
                across = list(across)  # else each is loaded where it is multiplied: there are few registers
            if self.ahead is not None:
                for line in range(self.ahead[1]):
                    k.prefetch(self.right, here + self.ahead[0] + line * (CACHE_LINE // self.right.dtype.itemsize))
            following: list[Val] = []
            for r, (base, fixed) in enumerate(rows):
                if self.dots:
                    assert self.left is not None, "bytes are stored"
                    scalar = k.word(self.left, (bases[base] + k.index(at * self.run_stride)) + fixed)
                    if self.turned:
                        scalar = scalar ^ SIGNS
                elif pairs is not None and pairs.row is not None:
                    scalar = k.load(pairs.row, k.index(at))
                else:
                    scalar = self._of_row(r, bases.get(base), fixed, taps, at)
                scalar = k.convert(scalar, dtype)
                for v, vector in enumerate(across):
                    total = sums[r * len(widths) + v]
                    if self.dots:
                        following.append(k.dot(scalar, vector, total, self.seven_bits))
                    elif self.pairs:
                        following.append(k.dot_pairs(scalar, vector, total))
                    else:
                        following.append(k.fma(scalar, vector, total) if dtype.is_float else total + scalar * vector)
            return following

        if self._straight(rows, len(self.taps)):
            for i in range(self.run):
                with self.e.point():
                    sums = tuple(step(constant(i), sums))
            return sums
        chains, count = self._chains(len(sums)), len(sums)
        zeros = tuple(k.const(0, dtype, v.width) for v in sums) * (chains - 1)
        with k.loop(0, self.run, chains, init=(*sums, *zeros)) as loop, self.e.point():
            at = k.var(loop, "step", 0, self.run - chains)
            parts = [step(at + chain, loop.carried[chain * count : (chain + 1) * count]) for chain in range(chains)]
            loop.yield_(*(value for found in parts for value in found))
        found = loop.results
        return tuple(sum(found[i + count :: count], start=found[i]) for i in range(count))

    def _of_row(self, row: int, base: Val | None, fixed: int, taps: tuple[Index, ...], at: Index) -> Val:
        """What a row holds at a step of a run."""
        if self.element:
            return self.element(row, taps, at)
        assert self.left is not None and base is not None, "rows are either stored or computed by `element`"
        return self.e.k.load(self.left, (base + self.e.k.index(at * self.run_stride)) + fixed, 1, self.left_dtype)

    def _run_codes(
        self,
        rows: Sequence[Row],
        taps: tuple[Index, ...],
        offset: Val,
        panel: Val,
        number: Val,
        widths: list[int],
        offsets: list[int],
        sums: tuple[Val, ...],
    ) -> tuple[Val, ...]:
        """Run `number` over a panel of codes, block by block: sums of unscaled numbers, which are scaled when their block ends.
        Few sums are split by the steps of an element."""
        k, columns, count, codes, scales = self.e.k, self.tile.columns, len(sums), self.codes, self._scales_at
        assert codes is not None and scales is not None, "where a panel begins has been asked for"
        first, scales = panel + number * (codes.rows * columns), scales + number * codes.scale_pitch
        bases = {} if self.element else {base: base + offset for base, _ in rows}
        chains = codes.several if count * codes.several <= UNDER_WAY else 1

        def block(at: Index, steps: int, sums: Sequence[Val]) -> list[Val]:
            """A block that begins with step `at`."""
            scale, zeros = codes.parameters(self.e, scales + k.index(at // codes.block * columns), offsets, widths)

            def element(row: Index, some: int, parts: Sequence[Val]) -> list[Val]:
                made = list(parts)
                there = first + k.index((at // codes.several + row) * columns)
                for step, across in enumerate(codes.numbers(self.e, there, offsets, widths, zeros)[:some]):
                    for r, (base, fixed) in enumerate(rows):
                        scalar = self._of_row(r, bases.get(base), fixed, taps, at + row * codes.several + step)
                        scalar = k.convert(scalar, dt.float32)
                        for v, vector in enumerate(across):
                            place = step % chains * count + r * len(widths) + v
                            made[place] = k.fma(scalar, vector, made[place])
                return made

            parts = [k.const(0, dt.float32, v.width) for v in sums] * chains
            whole, rest = divmod(steps, codes.several)
            if whole:
                with k.loop(0, whole, init=parts) as loop, self.e.point():
                    loop.yield_(*element(k.var(loop, "element", 0, whole - 1), codes.several, loop.carried))
                parts = list(loop.results)
            if rest:
                parts = element(constant(whole), rest, parts)
            found = (sum(parts[i + count :: count], start=parts[i]) for i in range(count))
            return [k.fma(f, scale[i % len(widths)], total) for i, (f, total) in enumerate(zip(found, sums, strict=True))]

        full, rest = divmod(self.run, codes.block)
        if full:
            with k.loop(0, full, init=sums) as loop, self.e.point():
                loop.yield_(*block(k.var(loop, "block", 0, full - 1) * codes.block, codes.block, loop.carried))
            sums = loop.results
        return tuple(block(constant(full * codes.block), rest, sums)) if rest else sums

    def _chains(self, sums: int) -> int:
        """Into how many sums each of few sums is split, step by step in turn: one multiply-add waits for the last one of its
        sum, and a core has several under way."""
        if self.e.machine.gpu or self.element:
            return 1
        return next((n for n in (4, 2) if sums * n <= UNDER_WAY and self.run % n == 0), 1)

    def _lanes_along_run(self) -> int:
        """Lanes of the vectors that a tile of one column has along its runs; 0 where it has none."""
        dense = self.run_stride == 1 == self.pitch == self.tile.columns and self.element is None
        stored = self.codes is None or self._wide is not None
        plain = self.left_dtype is self.right_dtype is self.result is dt.float32 and stored
        lanes = self.e.machine.lanes(32)
        return lanes if dense and plain and 1 < lanes <= self.run else 0

    def _run_along(self, rows: Sequence[Row], offset: Val, panel: Val, lanes: int, sums: tuple[Val, ...]) -> tuple[Val, ...]:
        """A run of a tile of one column: sums of every row by lane, then those of the steps that fill no vector."""
        k = self.e.k
        left, bases = self.left, {base: base + offset for base, _ in rows}
        assert left is not None, "rows computed by `element` have no vectors along the run"
        by_lane, rest = sums[: len(rows)], sums[len(rows) :]
        whole = self.run // lanes * lanes

        def step(at: Val, width: int, totals: Sequence[Val]) -> list[Val]:
            weight = k.load(self.right, panel + at, width, self.right_dtype)
            loaded = (k.load(left, (bases[base] + at) + fixed, width, self.left_dtype) for base, fixed in rows)
            return [k.fma(x, weight, total) for x, total in zip(loaded, totals, strict=True)]

        with k.loop(0, whole, lanes, init=by_lane) as loop, self.e.point():
            loop.yield_(*step(loop.index, lanes, loop.carried))
        for at in range(whole, self.run):
            rest = tuple(step(k.as_index(at), 1, rest))
        return (*loop.results, *rest)

    def _straight(self, rows: Sequence[Row], level: int) -> bool:
        """Whether the taps from this level on, and the run, are so few steps that they are written out.

        Not where tiles that follow each other read the same panel, nor where rows overlap: compilers would then load all of
        the panel ahead of the loop over tiles, or each element of the rows once, and spill them. WebAssembly is downloaded:
        there length costs more than it gains.
        """
        nest = (*self.taps[level:], (self.run, self.run_stride, 1))
        apart = self.alternate or any(extent > 1 for extent, _, _ in self.taps[:level])
        if self.e.machine.name != "llvm" or not apart or math.prod(extent for extent, _, _ in nest) > STRAIGHT:
            return False
        reached = [0]
        for extent, elements, _ in nest:
            reached = [at + i * elements for at in reached for i in range(extent)]
        return len({(base, fixed + at) for base, fixed in rows for at in reached}) == len(rows) * len(reached)
