"""Operators that move elements: reshaping, padding, joining, repeating."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import ops
from ....graph.trace import static_value
from ..registry import Node, operator
from ..sizes import Bounded, Dim, Sizes, as_dim, bounded, extents, sizes
from .common import cast, elementwise, plain
from .creation import checked


@operator("Cast", bounded=True, sizes=True)
def cast_(node: Node, x: Any) -> Any:
    to = node.dtype("DstT")
    if isinstance(x, Sizes):
        if to == "int32":
            return x
        x = plain(x)
    return elementwise(node, lambda v: cast(v, to), x)


@operator("Reshape", bounded=True, sizes=True)
def reshape(node: Node, x: Any, shape: Any) -> Any:
    if isinstance(x, Sizes):
        if isinstance(shape, Sizes):
            x = plain(x)
        else:
            return Sizes(x.dims.reshape(node.ints(shape, "the shape")))
    if not isinstance(x, Bounded) and not isinstance(shape, Sizes):
        known = node.ints(shape, "the shape")
        node.check(len(known) <= 32, f"shape {known} has too many axes")
        return ops.reshape(x, known)
    wanted = [as_dim(d) for d in (shape.dims.reshape(-1) if isinstance(shape, Sizes) else node.ints(shape, "the shape"))]
    if not isinstance(x, Bounded):
        return _reshape_plain(node, x, wanted)
    return _reshape_bounded(node, x, wanted)


def _reshape_plain(node: Node, x: Any, wanted: list[Dim]) -> Any:
    """Known data in a shape with one extent that is not: it can only be what is left."""
    unknown = [i for i, d in enumerate(wanted) if d.known is None]
    known = [d.constant for d in wanted]
    if len(unknown) == 1 and -1 not in [n for i, n in enumerate(known) if i not in unknown]:
        known[unknown[0]] = -1
        return ops.reshape(x, known)
    raise node.unsupported("a shape with several extents that are known only at run time")


def _reshape_bounded(node: Node, x: Bounded, wanted: list[Dim]) -> Any:
    """The axis of unknown length must stay one: what is before it stays before it, and what is after may be joined to it."""
    before, after = math.prod(x.shape[: x.axis]), math.prod(x.shape[x.axis + 1 :])
    for axis, dim in enumerate(wanted):
        lead, rest = wanted[:axis], wanted[axis + 1 :]
        if any(d.known is None or d.known < 0 for d in (*lead, *rest)):
            continue
        head, tail = math.prod(d.constant for d in lead), math.prod(d.constant for d in rest)
        if dim.known is not None and dim.known != -1:
            continue
        if head != before or tail == 0 or after % tail:
            continue
        length = x.length.times(after // tail)
        if dim.known is None and not dim.same(length):
            continue
        room = x.shape[x.axis] * (after // tail)
        data = ops.reshape(x.data, (*(d.constant for d in lead), room, *(d.constant for d in rest)))
        return Bounded(data, length, axis)
    raise node.unsupported("this reshape of data whose length is known only at run time")


@operator("Squeeze", bounded=True, sizes=True)
def squeeze(node: Node, x: Any) -> Any:
    rank = len(x.shape)
    given = node.integers("squeeze_dims") or node.integers("axis")
    axes = node.axes(given, rank) if given else tuple(
        a for a, n in enumerate(x.shape) if n == 1 and not (isinstance(x, Bounded) and x.axis == a)
    )  # fmt: skip
    if isinstance(x, Sizes):
        return Sizes(np.squeeze(x.dims, axes))
    if not isinstance(x, Bounded):
        return ops.squeeze(x, axes)
    node.check(x.axis not in axes, "an axis of a length known only at run time has no extent 1")
    return x.map(ops.squeeze(x.data, axes), x.axis - sum(a < x.axis for a in axes))


@operator("ExpandDims", bounded=True, sizes=True)
def expand_dims(node: Node, x: Any, axis: Any) -> Any:
    at = node.axis(int(node.scalar(axis, "the axis")), len(x.shape) + 1)
    if isinstance(x, Sizes):
        return Sizes(np.expand_dims(x.dims, at))
    if isinstance(x, Bounded):
        return x.map(ops.expand_dims(x.data, axis=at), x.axis + (at <= x.axis))
    return ops.expand_dims(x, axis=at)


# -- padding -------------------------------------------------------------------------------------------------------------------


@operator("Pad", "PadV2", bounded=True, sizes=True)
def pad(node: Node, x: Any, paddings: Any, value: Any = 0) -> Any:
    x, value = plain(x), plain(value)
    if not isinstance(x, Bounded) and not isinstance(paddings, Sizes):
        pairs = node.static(paddings, "the paddings").tolist()
        node.check(
            len(pairs) == len(x.shape) and min((n for p in pairs for n in p), default=0) >= 0, f"paddings {pairs} do not fit"
        )
        checked(node, tuple(a + n + b for n, (a, b) in zip(x.shape, pairs)))
        return ops.pad(x, pairs, value=value)
    given = paddings.dims if isinstance(paddings, Sizes) else node.static(paddings, "the paddings")
    node.check(given.shape == (len(x.shape), 2), f"paddings of shape {given.shape} do not fit shape {x.shape}")
    found: Any = x
    for axis, (low, high) in enumerate(given):
        found = _padded(node, found, axis, as_dim(low), as_dim(high), value)
    return found


def _padded(node: Node, x: Any, axis: int, low: Dim, high: Dim, value: Any) -> Any:
    """One axis padded by amounts, of which some, or the axis's length, are known only at run time."""
    own = extents(x)[axis]
    other = isinstance(x, Bounded) and x.axis != axis
    total = low + own + high
    if other:
        node.check(low.known is not None and high.known is not None, "two axes of lengths known only at run time")
        pairs = [(low.constant, high.constant) if a == axis else (0, 0) for a in range(len(x.shape))]
        return x.map(ops.pad(x.data, pairs, value=value))
    if low.known == 0 and high.known == 0:
        return x
    data = x.data if isinstance(x, Bounded) else x
    room = checked(node, (max(total.high, 0),))[0]
    if data.shape[axis] == 0:
        shape = [room if a == axis else n for a, n in enumerate(data.shape)]
        return bounded(ops.broadcast_to(ops.astype(ops.reshape(ops.asarray(value), ()), data.dtype), shape), total, axis)
    place = ops.asarray(np.arange(room, dtype=np.int32)) - low.traced
    inside = ops.logical_and(place >= 0, place < own.traced)
    taken = ops.take(data, ops.clip(place, 0, data.shape[axis] - 1), axis=axis)
    shape = [-1 if a == axis else 1 for a in range(len(data.shape))]
    made = ops.where(ops.reshape(inside, shape), taken, ops.reshape(value, ()) if hasattr(value, "shape") else value)
    return bounded(made, total, axis)


@operator("MirrorPad")
def mirror_pad(node: Node, x: Any, paddings: Any) -> Any:
    pairs = node.static(paddings, "the paddings").tolist()
    mode = node.text("mode", "REFLECT").lower()
    node.check(mode in ("reflect", "symmetric") and len(pairs) == len(x.shape), f"mode {mode!r} or paddings {pairs} do not fit")
    most = [n - (mode == "reflect") for n in x.shape]
    node.check(all(0 <= a <= m and 0 <= b <= m for (a, b), m in zip(pairs, most)), f"paddings {pairs} do not fit {x.shape}")
    return ops.pad(x, pairs, mode=mode)


# -- joining -------------------------------------------------------------------------------------------------------------------


@operator("ConcatV2", bounded=True, sizes=True)
def concat_v2(node: Node, *xs: Any) -> Any:
    return concat(node, xs[-1], *xs[:-1])


@operator("Concat", bounded=True, sizes=True)
def concat_(node: Node, axis: Any, *xs: Any) -> Any:
    return concat(node, axis, *xs)


def concat(node: Node, axis: Any, *xs: Any) -> Any:
    """Arrays joined along an axis."""
    node.check(bool(xs), "joins nothing")
    at = node.axis(int(node.scalar(axis, "the axis")), len(xs[0].shape))
    if any(isinstance(x, Sizes) for x in xs):
        made = [m for x in xs if (m := _as_sizes(x)) is not None]
        if len(made) == len(xs) and at == 0 and len(xs[0].shape) == 1:
            return sizes(np.concatenate(made))
        xs = tuple(plain(x) for x in xs)
    kinds = dict.fromkeys(str(x.dtype) for x in xs)
    node.check(len(kinds) == 1, f"operands must have one dtype, got {', '.join(kinds)}")
    found = [x for x in xs if isinstance(x, Bounded)]
    if not found:
        return ops.concat(xs, axis=at)
    if all(x.axis != at for x in found):
        first = found[0]
        same = all(isinstance(x, Bounded) and x.axis == first.axis and x.length.same(first.length) for x in xs)
        node.check(same, "joins data whose lengths, known only at run time, may differ")
        room = min(x.shape[first.axis] for x in xs)
        return first.map(ops.concat([ops.slice_axis(x.data, first.axis, 0, room) for x in xs], axis=at))
    node.check(all(x.axis == at for x in found), "joins data of two lengths that are known only at run time")
    return _joined(node, xs, at)


def _as_sizes(x: Any) -> np.ndarray | None:
    if isinstance(x, Sizes):
        return x.dims
    known = static_value(x) if not isinstance(x, Bounded) else None
    if known is None or known.dtype.kind != "i":
        return None
    made = np.empty(known.size, object)
    made[:] = [Dim(int(v)) for v in known.reshape(-1)]
    return made.reshape(known.shape)


def _joined(node: Node, xs: tuple[Any, ...], axis: int) -> Any:
    """Pieces one after another along an axis, where each begins where the one before ends: each result takes from its piece."""
    lengths = [extents(x)[axis] for x in xs]
    total = Dim(0)
    for length in lengths:
        total = total + length
    data = [x.data if isinstance(x, Bounded) else x for x in xs]
    room = checked(node, (max(total.high, 0),))[0]
    number = np.arange(room, dtype=np.int32)
    column = [-1 if a == axis else 1 for a in range(len(data[0].shape))]
    made: Any = None
    start = Dim(0)
    for x, length in zip(data, lengths):
        if x.shape[axis]:
            place = ops.asarray(number) - start.traced
            taken = ops.take(x, ops.clip(place, 0, x.shape[axis] - 1), axis=axis)
            made = taken if made is None else ops.where(ops.reshape(place >= 0, column), taken, made)
        start = start + length
    return bounded(made if made is not None else data[0], total, axis)


@operator("Pack", bounded=True, sizes=True)
def pack(node: Node, *xs: Any) -> Any:
    node.check(bool(xs), "joins nothing")
    at = node.axis(node.integer("axis", 0), len(xs[0].shape) + 1)
    if any(isinstance(x, Sizes) for x in xs):
        made = [m for x in xs if (m := _as_sizes(x)) is not None]
        if len(made) == len(xs):
            stacked = np.stack(made, at)
            return sizes(stacked.reshape(-1), stacked.shape)
        xs = tuple(plain(x) for x in xs)
    found = [x for x in xs if isinstance(x, Bounded)]
    if not found:
        return ops.stack(xs, axis=at)
    first = found[0]
    same = all(isinstance(x, Bounded) and x.axis == first.axis and x.length.same(first.length) for x in xs)
    node.check(same, "joins data whose lengths, known only at run time, may differ")
    room = min(x.shape[first.axis] for x in xs)
    data = [ops.slice_axis(x.data, first.axis, 0, room) for x in xs]
    return first.map(ops.stack(data, axis=at), first.axis + (at <= first.axis))


@operator("Tile", bounded=True, sizes=True)
def tile(node: Node, x: Any, multiples: Any) -> Any:
    x = plain(x)
    dims = [
        as_dim(d)
        for d in (multiples.dims.reshape(-1) if isinstance(multiples, Sizes) else node.ints(multiples, "the multiples"))
    ]
    node.check(len(dims) == len(x.shape) and min((d.low for d in dims), default=0) >= 0, "multiples do not fit the shape")
    unknown = [a for a, d in enumerate(dims) if d.known is None]
    times = [max(d.high, 0) for d in dims]
    checked(node, tuple(n * t for n, t in zip(x.shape, times)))
    if isinstance(x, Bounded):
        node.check(not unknown and times[x.axis] == 1, "repeats data whose length is known only at run time")
        return x.map(ops.tile(x.data, times))
    if not unknown:
        return ops.tile(x, times)
    node.check(len(unknown) == 1, "repeats along two axes by numbers that are known only at run time")
    axis = unknown[0]
    return bounded(ops.tile(x, times), dims[axis].times(x.shape[axis]), axis)


@operator("BroadcastTo", bounded=True, sizes=True)
def broadcast_to(node: Node, x: Any, shape: Any) -> Any:
    x = plain(x)
    if isinstance(shape, Sizes):
        from .creation import room

        full, free = room(node, shape, "the shape")
        if isinstance(x, Bounded):
            same = free is not None and free[1].same(x.length) and free[0] == x.axis + len(full) - len(x.shape)
            node.check(same, "data of one length, known only at run time, is broadcast to another")
            full = tuple(x.shape[x.axis] if a == free[0] else n for a, n in enumerate(full))  # type: ignore[index]
            return x.map(ops.broadcast_to(x.data, full), free[0])  # type: ignore[index]
        made = ops.broadcast_to(x, full)
        return made if free is None else bounded(made, free[1], free[0])
    node.check(not isinstance(x, Bounded), "data of a length known only at run time is broadcast to a known one")
    return ops.broadcast_to(x, checked(node, node.ints(shape, "the shape")))


# -- blocks --------------------------------------------------------------------------------------------------------------------


@operator("SpaceToBatchND")
def space_to_batch(node: Node, x: Any, block: Any, paddings: Any) -> Any:
    pairs = node.static(paddings, "the paddings").reshape(-1, 2).tolist()
    node.check(all(0 <= n < 1 << 24 for p in pairs for n in p), f"paddings {pairs} are out of range")
    return ops.space_to_batch(x, node.ints(block, "the blocks"), pairs)


@operator("BatchToSpaceND")
def batch_to_space(node: Node, x: Any, block: Any, crops: Any) -> Any:
    return ops.batch_to_space(x, node.ints(block, "the blocks"), node.static(crops, "the crops").reshape(-1, 2).tolist())


@operator("DepthToSpace", "SpaceToDepth", rows=True)
def depth_to_space(node: Node, x: Any) -> Any:
    block = node.integer("block_size")
    layout = "channels_first" if node.text("data_format", "NHWC") == "NCHW" else "channels_last"
    node.check(0 < block <= 4096 and len(x.shape) == 4, f"block_size {block} does not fit shape {tuple(x.shape)}")
    function = ops.depth_to_space if node.op_type == "DepthToSpace" else ops.space_to_depth
    return function(x, block, layout=layout)


@operator("FakeQuantWithMinMaxVars", bounded=True)
def fake_quant(node: Node, x: Any, low: Any, high: Any) -> Any:
    """Rounded to the steps of an integer range that is nudged so that 0 is one of them."""
    bits = node.integer("num_bits", 8)
    node.check(2 <= bits <= 16, f"num_bits {bits} is out of range")
    least, most = float(node.flag("narrow_range")), float((1 << bits) - 1)
    scale = (high - low) / (most - least)
    zero = ops.clip(ops.floor(least - low / scale + 0.5), least, most)
    first, last = (least - zero) * scale, (most - zero) * scale
    return elementwise(node, lambda v: ops.floor((ops.clip(v, first, last) - first) / scale + 0.5) * scale + first, x)
