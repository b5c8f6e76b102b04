"""The loops over all tiles of a product, which threads share.

Panels of small numbers that many tiles use are widened into scratch memory first, a block of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..builder import Builder
from ..emitter import GRAIN
from ..fusion import unflatten
from ..index import Index, Var, constant, variable
from ..sharing import CHUNKS_PER_THREAD
from .product import Product
from .tile import row_tiles

PANEL_BLOCK = 3 << 17  # bytes of panels that stay in the second-level cache beside what else is read (1 MB here, 512 KB often)
WORTH_WIDENING = 3  # tiles that share a panel of small numbers: for fewer it is widened in registers
WIDE_BLOCK = 3 << 17  # bytes of panels that are widened at a time
LEAST_SHARE = 12  # tiles of rows for which panels are widened anew, so that threads find UNITS to share
UNITS = 8
FEW_PANELS = 32  # columns for each row, up to which threads share rows

TileAt = Callable[[Index, Index, Index, int, Index, int], None]


def tiles(product: Product, count: int, lines: int, length: int, n: int, work: int, tile_at: TileAt) -> None:
    """Parallel loops over all tiles of `count` products of (lines · length) × N; a tile's rows lie in one line.

    Calls `tile_at(instance, line, first row, height, panel, columns)`. Rows are the outer order where there are more of them
    than columns, so that threads share rows; else panels are, natively for the rows of a thread (_Turns). In WebAssembly rows
    are, within blocks of panels that stay in the second-level cache: a row of tiles is read from the first-level cache then,
    and panels come as one stream.
    """
    e, tile = product.e, product.tile
    k = e.k
    full, rest = divmod(n, tile.columns)
    by_rows, blocks = lines * length >= n, 1
    if e.machine.name == "wasm":
        by_rows, needed = True, max(1, -(-full * 4 * work // (tile.rows * PANEL_BLOCK)))
        blocks = next(n for n in range(min(needed, full or 1), full + 2) if full % n == 0)
    cut = row_tiles(length, tile.rows)
    number = sum(several for _, several, _ in cut)

    def of_its_height(instance: Index, line: Index, row: Index, panel: Index, columns: int) -> None:
        """Tiles have two heights; in one loop, so that a panel is read while it is cached."""
        before = 0
        for first, several, height in cut:
            with k.if_(k.inside(row, before, before + several)):
                at = row
                if several < number:
                    at = variable(Var("row", before, before + several - 1, value=k.index(row)))
                tile_at(instance, line, (at + -before) * height + first, height, panel, columns)
            before += several

    product.begin()
    small = product.is_small() and lines * number >= (2 if product.codes is not None else WORTH_WIDENING)
    for panel_from, panel_count, columns in ((0, full, tile.columns), (full, 1 if rest else 0, rest)):
        total = count * lines * number * panel_count
        if total == 0:
            continue
        if small:
            several = _Widening(product, count, lines, number, panel_from, panel_count, columns, work, by_rows)
            several.write(of_its_height)
            continue
        abreast = product.abreast(length, panel_count) if lines * number == 1 and panel_from == 0 else 1
        if abreast > 1:
            groups = panel_count // abreast
            with k.loop(0, count * groups, kind="parallel", grain=max(1, GRAIN * 4 // (work * abreast))) as loop:
                instance, group = unflatten(k.var(loop, "group", 0, count * groups - 1), (count, groups))
                tile_at(instance, constant(0), constant(0), length, group * abreast, columns * abreast)
            continue
        rows = lines * number
        few = not by_rows and count == 1 < min(rows, panel_count) and n <= FEW_PANELS * lines * length
        turns = _Turns(k, rows) if few and e.machine.name == "llvm" else None
        with k.loop(0, total, kind="parallel", grain=max(1, GRAIN * 4 // work)) as loop:
            flat = k.var(loop, "tile", 0, total - 1) if total > 1 else constant(0)
            if turns is not None:
                row, panel = turns.at(flat, panel_count)
                instance, (line, row) = constant(0), unflatten(row, (lines, number))
            elif by_rows:
                block_count = blocks if panel_from == 0 else 1
                inside = panel_count // block_count
                instance, block, line, row, panel = unflatten(flat, (count, block_count, lines, number, inside))
                panel = block * inside + panel
            else:
                instance, panel, line, row = unflatten(flat, (count, panel_count, lines, number))
            of_its_height(instance, line, row, panel + panel_from, columns)


class _Turns:
    """Panels outside rows, for the rows of one thread after those of another.

    What one thread has written another may read at the speed of its cache. What two have read, nobody writes again so fast
    (targets/llvm/sharing.py). So all columns of a row belong to one thread, unless panels are so many that reading them in
    every thread would take longer.
    """

    def __init__(self, k: Builder, rows: int) -> None:
        self.k, self.rows = k, rows
        threads = k.min((k.special("threads") + (CHUNKS_PER_THREAD - 1)) / CHUNKS_PER_THREAD, rows)
        self.share = (threads + (rows - 1)) / threads  # rows of a thread

    def at(self, flat: Index, panels: int) -> tuple[Index, Index]:
        """Row and panel of the tile that is number `flat`."""
        k, at = self.k, self.k.index(flat)
        first = at / (self.share * panels) * self.share
        here = k.min(self.share, self.rows - first)
        at = at - first * panels
        row, panel = first + k.rem(at, here), at / here
        return variable(Var("row", 0, self.rows - 1, value=row)), variable(Var("panel", 0, panels - 1, value=panel))


@dataclass
class _Widening:
    """The tiles of some panels that are stored small. A unit of work widens a block of panels and computes a share of their
    rows."""

    product: Product
    count: int
    lines: int
    number: int  # tiles in a line
    panel_from: int
    panel_count: int
    columns: int
    work: int  # of a tile
    by_rows: bool

    def write(self, tile: Callable[[Index, Index, Index, Index, int], None]) -> None:
        k, rows = self.product.e.k, self.lines * self.number
        length = self.product.depth * self.product.tile.columns
        fitting = [n for n in range(2, self.panel_count + 1) if self.panel_count % n == 0 and n * length * 4 <= WIDE_BLOCK]
        inside = max(fitting, default=1)
        blocks = self.panel_count // inside
        shares = max(1, min(rows // LEAST_SHARE, -(-UNITS // (self.count * blocks))))
        share = -(-rows // shares)
        each = share * inside * self.work
        total = self.count * blocks * shares
        with k.loop(0, total, kind="parallel", grain=max(1, 4 * GRAIN // each), worth=max(1, each // (4 * GRAIN))) as loop:
            flat = k.var(loop, "unit", 0, total - 1) if total > 1 else constant(0)
            instance, block, part = unflatten(flat, (self.count, blocks, shares))
            first = block * inside + self.panel_from
            start = k.index(part * share)
            stop = k.min(start + share, rows)
            with self.product.widened(instance, first, inside):
                bounds = [(0, inside, "panel", inside), (start, stop, "row", rows)]
                (a, b, outer, high), (c, d, inner, low) = reversed(bounds) if self.by_rows else bounds
                with k.loop(a, b) as outside, k.loop(c, d) as within:
                    at = {outer: k.var(outside, outer, 0, high - 1), inner: k.var(within, inner, 0, low - 1)}
                    line, row = unflatten(at["row"], (self.lines, self.number))
                    tile(instance, line, row, first + at["panel"], self.columns)
