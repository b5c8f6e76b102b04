"""Matrix product: batched, either operand transposed, packed or in place, with the group's epilogue.

A constant right operand is packed into panels at compile time. One that is computed is read in place where its rows are
contiguous, else packed by a kernel of its own first. Tiles of rows × panels are the units that threads share.
"""

from __future__ import annotations

import math

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..emitter import Context, Emitter, Lowered, lane
from ..fusion import Group, unflatten
from ..index import Index, constant
from ..ir import Val
from ..nests import write_nest
from . import template
from .byte_panels import byte_offsets, can_dot, moved, words
from .byte_words import are_digits
from .codes import code_panels
from .product import Product
from .tile import Tile, pack_panels, tile_for
from .tiling import tiles

FAR = 8  # panels of a row, and tiles of rows, from which packing a computed right operand pays in WebAssembly


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
    tile = tile_for(context, node, m, n)
    lowered: list[Lowered] = []
    panels = -(-n // tile.columns)
    constant_b = context.constants.get(b)
    packed: Value | None = None
    codes = code_panels(context, b, tile.columns) if b in context.codes else None
    if codes is not None:
        packed = codes.packed
    elif constant_b is not None and constant_b.size > 1:
        matrix = constant_b.swapaxes(-1, -2) if transpose_b else constant_b
        packed = context.pack(b, f"panels {tile.columns} {transpose_b}", lambda _: pack_panels(matrix, tile.columns))
    elif depth and (transpose_b or _strides_far(context, m, n, tile) or _widens_slowly(context, b, m, tile)):
        packed, kernel = _pack_kernel(context, group, b, n, depth, tile, transpose_b)
        lowered.append(kernel)
    sums: Value | None = None
    steps, right_dtype = depth, _computed(b)
    dots = packed is not None and codes is None and not transpose_a and can_dot(context, node, tile, depth)
    if dots and packed is not None:
        sums = byte_offsets(context, packed, moved(context, a))
        packed, steps, right_dtype = words(context, packed), depth // 4, dt.int32
    e = Emitter(context, group)
    k = e.k
    product = Product(
        e, e.buffer(a), a.dtype, e.buffer(packed or b), right_dtype, result.dtype, tile, (), steps,
        m if transpose_a else depth // max(steps, 1), tile.columns if packed else n, packed is not None,
        panels=panels, depth=steps, dots=dots, turned=moved(context, a) != 0,
        seven_bits=a in context.seven_bits, codes=codes, digits=packed is not None and are_digits(context, packed),
    )  # fmt: skip

    def tile_at(instance: Index, line: Index, first: Index, height: int, panel: Index, columns: int) -> None:
        start = k.index(instance * (m * depth) + (first if transpose_a else first * depth))
        rows = [(start, r if transpose_a else r * depth) for r in range(height)]
        if packed is not None:
            right = product.panel(instance, panel)
        else:
            right = k.index(instance * (depth * n) + panel * tile.columns)

        def store(r: Index | int, column: int, size: int, values: Val) -> None:
            with e.point(size):
                where = panel * tile.columns + column + lane(size)
                e.finish_element((*unflatten(instance, batch), first + r, where), values)

        if packed is not None and m < n:
            product.prefetch(steps * tile.columns, first // tile.rows, -(-m // tile.rows))
        bias = product.offsets(sums, instance, panel) or product.bias(
            n, result.abstract.rank, lambda column: panel * tile.columns + column
        )
        product.compute(rows, right, columns, store, bias)

    work = max(1, depth * tile.rows * tile.columns)
    tiles(product, math.prod(batch), 1, m, n, work, tile_at)
    return [*lowered, e.finish(f"matmul_{m}x{n}x{depth}")]


def _strides_far(context: Context, m: int, n: int, tile: Tile) -> bool:
    """Whether a computed right operand had better be packed though its rows are contiguous: WebAssembly's panels are narrow,
    and what is read of long rows falls on few sets of a cache. It pays where many tiles of rows read a panel."""
    whole = n % tile.columns == 0 and n >= FAR * tile.columns
    return context.machine.name == "wasm" and whole and m >= FAR * tile.rows


def _widens_slowly(context: Context, b: Value, m: int, tile: Tile) -> bool:
    """Whether halves of a computed right operand had better be widened once, by a packing kernel, than by every tile of rows:
    where that takes several operations."""
    machine = context.machine
    return b.dtype is dt.float16 and not machine.float16 and not machine.gpu and m > tile.rows


def _pack_kernel(
    context: Context, group: Group, b: Value, n: int, depth: int, tile: Tile, transposed: bool
) -> tuple[Value, Lowered]:  # fmt: skip
    """Panels of a computed right operand, [..., N, K] if transposed, written by a kernel of their own."""
    panels = -(-n // tile.columns)
    batch = b.shape[:-2]
    dtype = b.dtype if context.machine.float16 else _computed(b)
    packed = Value(Abstract((*batch, panels, depth, tile.columns), dtype), f"{b.name}_panels")
    e = Emitter(context, Group(group.anchor or group.root, []))

    def store(e: Emitter, index: tuple[Index, ...]) -> None:
        *at, panel, step, column = index
        there = panel * tile.columns + column
        clamped = e.k.clamp(there, n)
        element = e.read(b, (*at, clamped, step) if transposed else (*at, step, clamped))
        element = e.k.select(e.k.inside(there, 0, n), element, e.k.const(0, _computed(b)))
        flat = constant(0)
        for i, extent in zip(index, packed.shape, strict=True):
            flat = flat * extent + i
        e.store_flat(packed, flat, element)

    write_nest(e, packed.shape, store)
    return packed, e.finish(f"pack_{n}x{depth}")


def _computed(value: Value) -> dt.DType:
    return dt.float32 if value.dtype is dt.float16 else value.dtype
