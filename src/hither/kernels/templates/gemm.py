"""Matrix product: batched, either operand transposed, packed or in place, with the group's epilogue.

A constant right operand is packed into panels at compile time. One that is computed is read in place where its rows are
contiguous, else packed by a kernel of its own first. Tiles of rows × panels are the units that threads share.
"""

from __future__ import annotations

import math

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..fusion import Group, unflatten
from ..index import Index, constant
from ..ir import Val
from ..lowering import GRAIN, Context, Emitter, Lowered, lane, write_nest
from . import template
from .tile import Tile, accumulate, accumulator, choose_tile, column_parts, pack_panels, part, row_tiles


@template("matmul", epilogue=True)
def matmul(context: Context, group: Group) -> list[Lowered]:
    """`a[..., M, K] @ b[..., K, N]`."""
    node = group.anchor
    assert node is not None
    a, b = node.operands
    result = node.results[0]
    transpose_a, transpose_b = bool(node.params["transpose_a"]), bool(node.params["transpose_b"])
    batch, m, n = result.shape[:-2], result.shape[-2], result.shape[-1]
    depth = a.shape[-2] if transpose_a else a.shape[-1]
    tile = choose_tile(context.machine, n, m, max(32, result.dtype.bits))
    lowered: list[Lowered] = []
    panels = -(-n // tile.columns)
    constant_b = context.constants.get(b)
    packed = None
    if constant_b is not None and constant_b.size > 1:
        matrix = constant_b.swapaxes(-1, -2) if transpose_b else constant_b
        packed = context.pack(b, f"panels {tile.columns} {transpose_b}", lambda _: pack_panels(matrix, tile.columns))
    elif transpose_b and depth:
        packed, kernel = _pack_kernel(context, group, b, n, depth, tile)
        lowered.append(kernel)
    e = Emitter(context, group)
    k = e.k
    dtype = accumulator(result.dtype)
    count = math.prod(batch)
    work = max(1, depth * tile.rows * tile.columns)

    def tile_at(instance: Index, first: Index, height: int, panel: Index, columns: int) -> None:
        """One tile: `height` rows from `first`, `columns` columns of a panel."""
        zero = k.broadcast(k.const(0, dtype), tile.width)
        vectors = -(-columns // tile.width)
        bases = [_row_base(instance, first + r, m, depth, transpose_a) for r in range(height)]
        stride = m if transpose_a else 1
        left = e.buffer(a)
        row_start = [k.index(base) for base in bases]

        def row(r: int, step: Val) -> Val:
            address = row_start[r] + (step * stride if stride != 1 else step)
            return k.convert(k.load(left, address, 1, a.dtype), dtype)

        if packed is not None:
            right = e.buffer(packed)
            start = k.index((instance * panels + panel) * (depth * tile.columns))

            def across(v: int, step: Val) -> Val:
                return k.convert(k.load(right, start + step * tile.columns + v * tile.width, tile.width, b.dtype), dtype)

            widths = [tile.width] * vectors
            sums = accumulate(k, depth, [zero] * (height * vectors), row, across, height, vectors)
        else:
            right = e.buffer(b)
            start = k.index(instance * (depth * n) + panel * tile.columns)
            widths = [c for v in range(vectors) for c in _widths(columns - v * tile.width, tile.width, context)]
            offsets = [sum(widths[:i]) for i in range(len(widths))]

            def across(v: int, step: Val) -> Val:
                return k.convert(k.load(right, start + step * n + offsets[v], widths[v], b.dtype), dtype)

            zeros = [k.broadcast(k.const(0, dtype), w) for w in widths]
            sums = accumulate(k, depth, zeros * height, row, across, height, len(widths))
        for r in range(height):
            column = 0
            for v, w in enumerate(widths):
                for at, size in column_parts(min(columns - column, w), w, context.machine):
                    with e.point(size):
                        where = panel * tile.columns + (column + at) + lane(size)
                        index = (*unflatten(instance, batch), first + r, where)
                        e.finish_element(index, part(k, sums[r * len(widths) + v], at, size))
                column += w

    tiles(e, count, m, n, tile, tile_at, work)
    return [*lowered, e.finish(f"matmul_{m}x{n}x{depth}")]


def _row_base(instance: Index, row: Index, m: int, depth: int, transposed: bool) -> Index:
    return instance * (m * depth) + (row if transposed else row * depth)


def _widths(columns: int, width: int, context: Context) -> list[int]:
    return [size for _, size in column_parts(columns, width, context.machine)]


def tiles(e: Emitter, count: int, m: int, n: int, tile: Tile, tile_at: object, work: int) -> None:
    """Parallel loops over all tiles of `count` M×N products. Rows are the outer order where there are more of them than
    columns, so that threads share rows; else panels are."""
    k = e.k
    full, rest = divmod(n, tile.columns)
    for first, number, height in row_tiles(m, tile.rows):
        for panel_from, panel_count, columns in ((0, full, tile.columns), (full, 1 if rest else 0, rest)):
            total = count * number * panel_count
            if total == 0:
                continue
            with k.loop(0, total, kind="parallel", grain=max(1, GRAIN * 4 // work)) as loop:
                flat = k.var(loop, "tile", 0, total - 1) if total > 1 else constant(0)
                if m >= n:
                    instance, row, panel = unflatten(flat, (count, number, panel_count))
                else:
                    instance, panel, row = unflatten(flat, (count, panel_count, number))
                tile_at(instance, row * height + first, height, panel + panel_from, columns)  # type: ignore[operator]


def _pack_kernel(context: Context, group: Group, b: Value, n: int, depth: int, tile: Tile) -> tuple[Value, Lowered]:
    """Panels of a computed, transposed right operand [..., N, K], written by a kernel of their own."""
    panels = -(-n // tile.columns)
    batch = b.shape[:-2]
    packed = Value(Abstract((*batch, panels, depth, tile.columns), b.dtype), f"{b.name}_panels")
    e = Emitter(context, Group(group.root, []))

    def store(e: Emitter, index: tuple[Index, ...]) -> None:
        *at, panel, step, column = index
        there = panel * tile.columns + column
        clamped = e.k.clamp(there, n)
        element = e.read(b, (*at, clamped, step))
        element = e.k.select(e.k.inside(there, 0, n), element, e.k.const(0, _computed(b)))
        flat = constant(0)
        for i, extent in zip(index, packed.shape, strict=True):
            flat = flat * extent + i
        e.store_flat(packed, flat, element)

    write_nest(e, packed.shape, store)
    return packed, e.finish(f"pack_{n}x{depth}")


def _computed(value: Value) -> dt.DType:
    return dt.float32 if value.dtype is dt.float16 else value.dtype


