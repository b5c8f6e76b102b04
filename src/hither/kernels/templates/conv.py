"""Convolution, channels last: a matrix product whose rows are output pixels and whose k runs over taps and channels.

Nothing is unfolded into memory: a row of the left operand is the input at the pixel's window, read in place. The layout pass
hands over channels-last, already padded inputs; weights are packed into panels [taps · channels][columns] at compile time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ... import dtypes as dt
from ...graph.core import Abstract, Value
from ..emitter import Context, Emitter, Lowered, lane
from ..fusion import Group, flatten, unflatten
from ..index import Index
from ..ir import Buffer, Val
from ..nests import write_nest
from . import template
from .byte_panels import byte_offsets, can_dot, moved, words
from .codes import CodePanels, code_panels
from .product import Product
from .tile import Tile, pack_panels, tile_for
from .tiling import TileAt, tiles
from .widen import widened_panels
from .winograd import convolve, scheme

Held = tuple[Buffer, tuple[int, ...]]  # and the elements there between neighbours along the input's axes


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
        from .block import block
        from .depthwise import depthwise

        return depthwise(context, group) if group.feeder is None else block(context, group)
    outputs = result.shape[-1] // groups
    m = math.prod(result.shape[:-1])
    fewer = None if x in group.producers() else scheme(context, group)  # a picture read in place has no vectors of channels
    tile = tile_for(context, node, m, outputs) if fewer is None else fewer.tile
    lowered: list[Lowered] = []
    packed: Value | CodePanels
    if context.is_known(w):
        packed = packed_weights(context, w, groups, tile)
    else:
        packed, kernel = _pack_kernel(context, group, w, groups, tile.columns)
        lowered.append(kernel)
    if fewer is not None:
        if isinstance(packed, CodePanels):
            packed, lowered = widened_panels(context, group, packed, tile)
        return [*lowered, *convolve(context, group, fewer, packed)]
    e = Emitter(context, group)
    product, length, tile_at = tiles_of(e, packed, tile)
    depth = math.prod(w.shape[1:])
    tiles(product, groups, m // length, length, outputs, max(1, depth * tile.rows * tile.columns), tile_at)
    return [*lowered, e.finish(f"conv_{'x'.join(map(str, w.shape[2:]))}_{m}x{outputs}x{depth}")]


def packed_weights(context: Context, w: Value, groups: int, tile: Tile) -> Value | CodePanels:
    """The panels of constant weights."""
    if w in context.codes:
        return code_panels(context, w, tile.columns)
    return context.pack(w, f"conv panels {tile.columns} {groups}", lambda a: _pack(a, groups, tile.columns))


def tiles_of(
    e: Emitter, panels_of_w: Value | CodePanels, tile: Tile, lines: bool = False, held: Held | None = None
) -> tuple[Product, int, TileAt]:
    """The convolution that is the anchor of the emitter's group: its product, how many output pixels make a line from which a
    tile may take its rows, and how to compute any tile; `lines`: no more than a line of the picture. `held`: where the lines
    of the input that the next line of output needs lie."""
    k, group, node = e.k, e.group, e.group.anchor
    assert node is not None
    x, _ = node.operands
    result = node.results[0]
    groups = int(node.params["groups"])
    channels, outputs = x.shape[-1] // groups, result.shape[-1] // groups
    out = result.shape[1:-1]
    strides, dilation = tuple(node.params["strides"]), tuple(node.params["dilation"])
    if held is None:
        stored, (image, *pixel_strides, apart) = _picture(e, x)
        left = None if stored is None else e.buffer(stored)
        steps = pixel_strides
    else:
        left, (image, *pixel_strides, apart) = held
        steps = [0, *pixel_strides[1:]]
    computed = left is None
    product, sums = _product(e, panels_of_w, tile, left, pixel_strides, apart, lines)
    by_line, length = _lines(group, tile, apart, lines)
    total_tiles = math.prod(result.shape[:-1]) // length * -(-length // tile.rows)
    neighbour = pixel_strides[-1] * strides[-1]

    def address(pixel: Index, instance: Index) -> Val:
        at = unflatten(pixel, (result.shape[0], *out))
        base = at[0] * image + instance * (channels * apart)
        for i, stride, pitch in zip(at[1:], strides, steps, strict=True):
            base = base + i * (stride * pitch)
        return k.index(base)

    def tile_at(instance: Index, line: Index, first: Index, height: int, panel: Index, columns: int) -> None:
        pixel = line * length + first
        first_column = instance * outputs + panel * tile.columns
        if computed:
            rows = [(k.as_index(0), 0)] * height
        elif by_line:
            start = address(pixel, instance)
            rows = [(start, r * neighbour) for r in range(height)]
        else:
            rows = [(address(pixel + r, instance), 0) for r in range(height)]
        right = product.panel(instance, panel)

        def element(r: int, taps: tuple[Index, ...], step: Index) -> Val:
            at = unflatten(pixel + r, (result.shape[0], *out))
            place = [i * s + t * d for i, s, t, d in zip(at[1:], strides, taps, dilation, strict=True)]
            return e.read(x, (at[0], *place, instance * channels + step))

        if computed:
            product.element = element

        def store(r: Index | int, column: int, size: int, values: Val) -> None:
            with e.point(size):
                channel = first_column + column + lane(size)
                e.finish_element((*unflatten(pixel + r, (result.shape[0], *out)), channel), values)

        if lines or math.prod(result.shape[:-1]) < outputs:  # one panel after the other
            product.prefetch(product.depth * tile.columns, line if length <= tile.rows else first // tile.rows, total_tiles)
        bias = product.offsets(sums, instance, panel) or product.bias(
            outputs, result.abstract.rank, lambda column: first_column + column
        )
        product.compute(rows, right, columns, store, bias)

    return product, length, tile_at


def _product(
    e: Emitter, panels_of_w: Value | CodePanels, tile: Tile, left: Buffer | None, pixel_strides: Sequence[int], apart: int,
    lines: bool,
) -> tuple[Product, Value | None]:  # fmt: skip
    """The product of windows by filters, and of bytes what is taken off its sums.

    Args:
        left: what windows are read from; None: they are computed.
        pixel_strides, apart: elements there between pixels along each axis, and between channels.
        lines: as of `tiles_of`.
    """
    node = e.group.anchor
    assert node is not None
    (x, w), result = node.operands, node.results[0]
    groups = int(node.params["groups"])
    channels, outputs = x.shape[-1] // groups, result.shape[-1] // groups
    panels = -(-outputs // tile.columns)
    codes = panels_of_w if isinstance(panels_of_w, CodePanels) else None
    packed = panels_of_w.packed if isinstance(panels_of_w, CodePanels) else panels_of_w
    plain = apart == 1 and left is not None and codes is None
    merge = groups == 1 and plain  # with codes each tap has scales of its own
    taps, run = _taps(w.shape[2:], tuple(node.params["dilation"]), pixel_strides, channels, merge)
    if apart != 1:
        taps.reverse()  # neighbours of a line outermost: only they are read by several rows
    sums: Value | None = None
    right_dtype, depth = w.dtype, channels * math.prod(w.shape[2:])
    dots = plain and can_dot(e.context, node, tile, run)
    if dots:
        sums = byte_offsets(e.context, packed, moved(e.context, x))
        packed, right_dtype, depth, run = words(e.context, packed), dt.int32, depth // 4, run // 4
        taps = [(extent, elements, steps // 4) for extent, elements, steps in taps]
    product = Product(
        e, left, x.dtype, e.buffer(packed), right_dtype, result.dtype, tile, taps, run, 4 if dots else apart, tile.columns,
        alternate=panels > 1 and not lines, panels=panels, depth=depth, dots=dots,
        turned=moved(e.context, x) != 0, seven_bits=x in e.context.seven_bits, codes=codes,
    )  # fmt: skip
    return product, sums


def _lines(group: Group, tile: Tile, apart: int, lines: bool) -> tuple[bool, int]:
    """Whether a tile's rows lie in one line of output pixels, so that they are a constant apart and share one address; and the
    length of what rows are taken from. Where the whole image is one line (pointwise), or lines are too short to fill a tile,
    rows may be any pixels."""
    node = group.anchor
    assert node is not None
    pixels = node.results[0].shape[:-1]
    contiguous = math.prod(node.operands[1].shape[2:]) == 1 and all(s == 1 for s in node.params["strides"]) and apart == 1
    if group.placement is not None and pixels[-1] >= 2 * tile.rows:
        contiguous = False  # lines are apart where the result is stored
    by_line = contiguous or lines or pixels[-1] >= min(6, tile.rows)
    return by_line, pixels[-1] if lines or (by_line and not contiguous) else math.prod(pixels)


def _picture(e: Emitter, x: Value) -> tuple[Value | None, list[int]]:
    """What is stored of a convolution's input, and the elements between neighbours along x's axes there.

    That is x itself, or a channels-first picture that x is a transpose of; None where x is computed as it is read (padding
    that is tested there, on GPUs).
    """
    view = e.producers.get(x)
    stored, order = x, tuple(range(x.abstract.rank))
    if view is not None:
        if view.primitive.name != "transpose" or view.operands[0] in e.producers:
            return None, row_major(x.shape)
        (stored,), order = view.operands, view.params["permutation"]
    strides = row_major(stored.shape)
    return stored, [strides[axis] for axis in order]


def row_major(shape: tuple[int, ...]) -> list[int]:
    """Elements between neighbours along each axis of an array."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _taps(
    window: tuple[int, ...], dilation: tuple[int, ...], pitches: Sequence[int], channels: int, merge: bool
) -> tuple[list[tuple[int, int, int]], int]:
    """The window as loops (extent, elements between taps, k steps between taps) around one contiguous run of k."""
    run = channels
    taps: list[tuple[int, int, int]] = []
    for axis in reversed(range(len(window))):
        pitch = pitches[axis] * dilation[axis]
        if merge and not taps and pitch == run:
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
    outputs, channels, *window = w.shape
    per_group = outputs // groups
    panels = -(-per_group // columns)
    taps = math.prod(window)
    packed = Value(Abstract((groups, panels, taps, channels, columns), w.dtype), f"{w.name}_panels")
    e = Emitter(context, Group(group.anchor or group.root, []))

    def store(e: Emitter, index: tuple[Index, ...]) -> None:
        g, panel, tap, channel, column = index
        there = panel * columns + column
        clamped = e.k.clamp(there, per_group)
        element = e.read(w, (g * per_group + clamped, channel, *unflatten(tap, tuple(window))))
        element = e.k.select(e.k.inside(there, 0, per_group), element, e.k.const(0, element.dtype))
        e.store_flat(packed, flatten(index, packed.shape), element)

    write_nest(e, packed.shape, store)
    return packed, e.finish("pack_conv")
