"""Slices, lookups and splitting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import ops
from ....graph.trace import static_value
from ... import tensorflow as tf
from ..registry import Node, operator
from ..sizes import Bounded, Dim, Sizes, as_dim, bounded, extents
from .common import plain

MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def _vector(node: Node, x: Any, what: str) -> list[Dim] | None:
    """The Dims of a vector; None where it is only known at run time, without bounds."""
    if isinstance(x, Sizes):
        return [as_dim(d) for d in x.dims.reshape(-1)]
    known = static_value(x)
    if known is None:
        return None
    return [Dim(n) for n in node.ints(x, what)]


def _span(node: Node, x: Any, axis: int, start: Dim | Any, length: Dim) -> Any:
    """`length` entries from `start` along an axis, where some of it is known only at run time."""
    data = x.data if isinstance(x, Bounded) else x
    room = min(max(length.high, 0), data.shape[axis])
    first = start.traced if isinstance(start, Dim) else start
    if isinstance(start, Dim) and start.known is not None:
        taken = ops.slice_axis(data, axis, start.known, start.known + room)
        if taken.shape[axis] < room:
            room = taken.shape[axis]
    else:
        place = ops.asarray(np.arange(room, dtype=np.int32)) + first
        taken = ops.take(data, ops.clip(place, 0, max(data.shape[axis] - 1, 0)), axis=axis)
    if isinstance(x, Bounded) and x.axis != axis:
        node.check(length.known is not None, "two axes of lengths known only at run time")
        return x.map(taken)
    return bounded(taken, length, axis)


@operator("Slice", bounded=True, sizes=True)
def slice_(node: Node, x: Any, begin: Any, size: Any) -> Any:
    if isinstance(x, Sizes):
        first, count = node.ints(begin, "the begin"), node.ints(size, "the size")
        return _picked(x.dims[tuple(slice(b, None if n < 0 else b + n) for b, n in zip(first, count))])
    starts, lengths = _vector(node, begin, "the begin"), _vector(node, size, "the size")
    if lengths is None:
        node.importer.need(plain(size), node.label, "the size of a slice")
    assert lengths is not None
    rank = len(x.shape)
    node.check(len(lengths) == rank and (starts is None or len(starts) == rank), f"begin and size do not fit shape {x.shape}")
    found: Any = x
    for axis in range(rank):
        own = extents(found)[axis]
        start: Any = begin[axis] if starts is None else starts[axis]
        length = lengths[axis]
        if length.known == -1:
            node.check(isinstance(start, Dim), "the rest of an axis from a begin that is known only at run time")
            length = own - start
        elif length.low < 0:  # it may mean the rest
            node.check(isinstance(start, Dim), "a size and a begin that are known only at run time")
            rest = own - start
            size_of = ops.where(length.traced < 0, rest.traced, length.traced)
            length = Dim.of(size_of, 0, max(rest.high, length.high, 0))
        if isinstance(start, Dim) and start.known is not None and length.known is not None and own.known is not None:
            node.check(
                start.known >= 0 and length.known >= 0 and start.known + length.known <= own.known,
                f"slice {start.known} + {length.known} leaves axis {axis} of {own.known}",
            )
        if isinstance(start, Dim) and start.known == 0 and length.same(own):
            continue
        found = _span(node, found, axis, start, length)
    return found


def _picked(dims: Any) -> Any:
    made = np.empty((), object)
    if isinstance(dims, Dim):
        made[()] = dims
        dims = made
    result = Sizes(dims)
    return result.plain() if all(d.known is not None for d in dims.reshape(-1)) else result


@operator("StridedSlice", bounded=True, sizes=True)
def strided_slice(node: Node, x: Any, begin: Any, end: Any, strides: Any) -> Any:
    masks = {m: node.integer(m, 0) for m in MASKS}
    steps = node.ints(strides, "the strides")
    first, last = _vector(node, begin, "the begin"), _vector(node, end, "the end")
    if isinstance(x, Sizes):
        node.check(first is not None and last is not None, "the slice must be known")
        key = _key(node, [d.constant for d in first or ()], [d.constant for d in last or ()], steps, masks)
        return _picked(x.dims[key])
    plain_case = not isinstance(x, Bounded) and first is not None and last is not None
    if plain_case and all(_fixed(d, i, masks["begin_mask"]) for i, d in enumerate(first or ())) and all(
        _fixed(d, i, masks["end_mask"] | masks["shrink_axis_mask"]) for i, d in enumerate(last or ())
    ):  # fmt: skip
        return tf.strided_slice(x, [d.constant for d in first or ()], [d.constant for d in last or ()], steps, **masks)
    return _by_axis(node, x, begin, first, end, last, steps, masks)


def _fixed(d: Dim, i: int, mask: int) -> bool:
    return d.known is not None or bool(mask & (1 << i))


def _key(node: Node, begin: Sequence[int], end: Sequence[int], steps: Sequence[int], masks: dict[str, int]) -> tuple[Any, ...]:
    node.check(len(begin) == len(end) == len(steps), "begin, end and strides differ in length")
    key: list[Any] = []
    for i in range(len(steps)):
        bit = 1 << i
        if masks["ellipsis_mask"] & bit:
            key.append(Ellipsis)
        elif masks["new_axis_mask"] & bit:
            key.append(None)
        elif masks["shrink_axis_mask"] & bit:
            key.append(begin[i])
        else:
            key.append(
                slice(
                    None if masks["begin_mask"] & bit else begin[i],
                    None if masks["end_mask"] & bit else end[i],
                    steps[i] or None,
                )
            )
    return tuple(key)


def _by_axis(
    node: Node, x: Any, begin: Any, first: list[Dim] | None, end: Any, last: list[Dim] | None, steps: Sequence[int],
    masks: dict[str, int],
) -> Any:  # fmt: skip
    """One axis after another, where begins, ends or the length of x are known only at run time."""
    axes = tf.strided_slice_axes(
        len(steps), len(x.shape), ellipsis_mask=masks["ellipsis_mask"], new_axis_mask=masks["new_axis_mask"]
    )  # fmt: skip
    found, gone, new = x, [], []
    position = 0
    for i, axis in enumerate(axes):
        bit = 1 << i
        if masks["new_axis_mask"] & bit and not masks["ellipsis_mask"] & bit:
            new.append(position)
            position += 1
            continue
        if axis is None:
            position += len(x.shape) - sum(a is not None for a in axes)
            continue
        own = extents(found)[axis]
        start: Any = None if first is None else first[i]
        if masks["shrink_axis_mask"] & bit:
            found = _one(node, found, axis, plain(begin)[i] if start is None else start, own)
            gone.append(axis)
            continue
        position += 1
        low = Dim(0) if masks["begin_mask"] & bit else start
        high = own if masks["end_mask"] & bit else (None if last is None else last[i])
        if low is None or high is None:
            if not masks["begin_mask"] & bit and first is None:
                node.importer.need(plain(begin), node.label, "the begin of a slice")
            node.importer.need(plain(end), node.label, "the end of a slice")
            raise AssertionError("need raises")
        if steps[i] != 1:
            if low.known is None or high.known is None or own.known is None:
                raise node.unsupported(f"a stride of {steps[i]} along an axis whose length is known only at run time")
            data = found.data if isinstance(found, Bounded) else found
            first_at, last_at = (None if masks[m] & bit else d.known for m, d in (("begin_mask", low), ("end_mask", high)))
            data = ops.getitem(data, (*(slice(None),) * axis, slice(first_at, last_at, steps[i])))
            found = found.map(data) if isinstance(found, Bounded) else data
            continue
        low, high = _not_negative(_from_start(low, own)), _least(_from_start(high, own), own)
        length = high - low
        length = _not_negative(length)
        if low.known == 0 and length.same(own):
            continue
        found = _span(node, found, axis, low, length)
    made = found
    if gone:
        data = ops.squeeze(made.data if isinstance(made, Bounded) else made, gone)
        made = made.map(data, made.axis - sum(g < made.axis for g in gone)) if isinstance(made, Bounded) else data
    for at in new:
        data = ops.expand_dims(made.data if isinstance(made, Bounded) else made, axis=at)
        made = made.map(data, made.axis + (at <= made.axis)) if isinstance(made, Bounded) else data
    return made


def _from_start(d: Dim, own: Dim) -> Dim:
    """A negative place counts from the end."""
    return own + d if d.high < 0 else d


def _not_negative(d: Dim) -> Dim:
    return d if d.low >= 0 else Dim(0) if d.high <= 0 else Dim.of(ops.maximum(d.traced, 0), 0, d.high)


def _least(a: Dim, b: Dim) -> Dim:
    if (b - a).low >= 0:
        return a
    if (a - b).low >= 0:
        return b
    return Dim.of(ops.minimum(a.traced, b.traced), min(a.low, b.low), min(a.high, b.high))


def _one(node: Node, x: Any, axis: int, place: Any, own: Dim) -> Any:
    """One entry along an axis, which stays with extent 1."""
    data = x.data if isinstance(x, Bounded) else x
    if isinstance(place, Dim):
        place = _from_start(place, own)
        node.check(place.high >= 0 and place.low < max(own.high, 1), f"index {place.low} is outside an axis of {own.high}")
        place = place.traced
    else:
        place = ops.where(place < 0, place + own.traced, place)
    taken = ops.take(data, ops.reshape(ops.clip(place, 0, max(data.shape[axis] - 1, 0)), (1,)), axis=axis)
    return x.map(taken) if isinstance(x, Bounded) and x.axis != axis else taken


# -- lookups -------------------------------------------------------------------------------------------------------------------


@operator("Gather", bounded=True, sizes=True)
def gather(node: Node, x: Any, indices: Any) -> Any:
    return _gather(node, x, indices, 0, 0)


@operator("GatherV2", bounded=True, sizes=True)
def gather_v2(node: Node, x: Any, indices: Any, axis: Any) -> Any:
    at = node.axis(int(node.scalar(axis, "the axis")), len(x.shape))
    return _gather(node, x, indices, at, node.integer("batch_dims", 0))


def _gather(node: Node, x: Any, indices: Any, axis: int, batch: int) -> Any:
    indices = plain(indices)
    if isinstance(x, Sizes):
        known = None if isinstance(indices, Bounded) else static_value(indices)
        if known is not None and batch == 0:
            return _picked(np.take(x.dims, known, axis))
        x = plain(x)
    if not isinstance(indices, Bounded):
        known = static_value(indices)
        length = x.shape[axis] if not isinstance(x, Bounded) or x.axis != axis else extents(x)[axis].high
        node.check(
            known is None or known.size == 0 or bool((known.min() >= 0) & (known.max() < length)),
            f"indices lie outside axis {axis} of {length}",
        )
    data = x.data if isinstance(x, Bounded) else x
    places = indices.data if isinstance(indices, Bounded) else indices
    if data.shape[axis] == 0:
        node.check(0 in places.shape, "looks up in an empty axis")
        return ops.zeros((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]), dtype=x.dtype)
    made = tf.gather(data, places, axis=axis, batch_dims=batch)
    if isinstance(x, Bounded) and x.axis != axis:
        node.check(not isinstance(indices, Bounded), "two axes of lengths known only at run time")
        added = len(indices.shape) - batch - 1
        return x.map(made, x.axis + (added if x.axis > axis else 0))
    if isinstance(indices, Bounded):
        return indices.map(made, axis + indices.axis - batch)
    return made


@operator("GatherNd", bounded=True)
def gather_nd(node: Node, x: Any, indices: Any) -> Any:
    data, places = (v.data if isinstance(v, Bounded) else v for v in (x, indices))
    depth = places.shape[-1]
    node.check(depth <= len(data.shape), f"tuples of {depth} do not index shape {tuple(data.shape)}")
    node.check(not isinstance(x, Bounded) or x.axis < depth, "looks up slices whose length is known only at run time")
    made = ops.gather_nd(data, places)
    if isinstance(indices, Bounded):
        node.check(indices.axis < len(indices.shape) - 1, "tuples of a length known only at run time")
        return indices.map(made)
    return made


@operator("Reverse", bounded=True)
@operator("ReverseV2", bounded=True)
def reverse(node: Node, x: Any, axis: Any) -> Any:
    known = node.static(axis, "the axes")
    flags = known.dtype.kind == "b"
    axes = tuple(int(a) for a in np.flatnonzero(known)) if flags else node.axes(node.ints(axis, "the axes"), len(x.shape))
    if isinstance(x, Bounded):
        node.check(x.axis not in axes, "reverses an axis whose length is known only at run time")
        return x.map(ops.flip(x.data, axis=axes))
    return ops.flip(x, axis=axes) if axes else x


@operator("ReverseSequence")
def reverse_sequence(node: Node, x: Any, lengths: Any) -> Any:
    rank = len(x.shape)
    time, batch = node.axis(node.integer("seq_dim"), rank), node.axis(node.integer("batch_dim", 0), rank)
    return ops.reverse_sequences(x, lengths, time_axis=time, batch_axis=batch)


# -- splitting -----------------------------------------------------------------------------------------------------------------


def _pieces(node: Node, x: Any, axis: int, parts: Sequence[int]) -> Any:
    if isinstance(x, Bounded):
        node.check(x.axis != axis, "splits an axis whose length is known only at run time")
        return tuple(x.map(p) for p in ops.split(x.data, list(parts), axis=axis))
    return tuple(ops.split(x, list(parts), axis=axis))


@operator("Split", bounded=True)
def split(node: Node, axis: Any, x: Any) -> Any:
    at, count = node.axis(int(node.scalar(axis, "the axis")), len(x.shape)), node.integer("num_split", 1)
    node.check(0 < count <= max(x.shape[at], 1) and x.shape[at] % count == 0, f"{count} parts do not divide {x.shape[at]}")
    return _pieces(node, x, at, [x.shape[at] // count] * count)


@operator("SplitV", bounded=True)
def split_v(node: Node, x: Any, parts: Any, axis: Any) -> Any:
    at = node.axis(int(node.scalar(axis, "the axis")), len(x.shape))
    wanted = list(node.ints(parts, "the extents"))
    node.check(wanted.count(-1) <= 1 and min(wanted, default=0) >= -1, f"extents {wanted} do not fit")
    if -1 in wanted:
        wanted[wanted.index(-1)] = x.shape[at] - sum(n for n in wanted if n != -1)
    return _pieces(node, x, at, wanted)


@operator("Unpack", bounded=True, sizes=True)
def unpack(node: Node, x: Any) -> Any:
    axis = node.axis(node.integer("axis", 0), len(x.shape))
    if isinstance(x, Sizes):
        return tuple(_picked(d) for d in np.moveaxis(x.dims, axis, 0))
    count = node.integer("num", x.shape[axis])
    node.check(count == x.shape[axis], f"{count} parts of an axis of {x.shape[axis]}")
    if isinstance(x, Bounded):
        node.check(x.axis != axis, "splits an axis whose length is known only at run time")
        pieces = ops.split(x.data, [1] * count, axis=axis)
        return tuple(x.map(ops.squeeze(p, axis), x.axis - (axis < x.axis)) for p in pieces)
    return ops.unstack(x, axis=axis)


@operator("LowerBound", "UpperBound")
def search_sorted(node: Node, table: Any, x: Any) -> Any:
    """Row by row where values would go into sorted rows."""
    before = ops.less if node.op_type == "LowerBound" else ops.less_equal
    node.check(len(table.shape) == len(x.shape) == 2 and table.shape[0] == x.shape[0], "takes rows of equal number")
    hits = before(ops.expand_dims(table, axis=1), ops.expand_dims(x, axis=2))
    return ops.sum(hits, axis=2, dtype="int32")
