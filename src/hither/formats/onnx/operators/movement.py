"""Operators that move elements without changing them: reshapes, transposes, slices, joins, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....graph.primitives import apply
from ..proto import check_shape
from ..registry import Bounded, Node, operator
from .common import same_dtypes


@operator("Reshape")
def reshape(node: Node, x: Any, shape: Any) -> Any:
    wanted = list(node.ints(shape, "the shape"))
    node.check(all(n >= -1 for n in wanted) and wanted.count(-1) <= 1, f"{wanted} is no shape to reshape to")
    if not node.get("allowzero", 0):
        for i, n in enumerate(wanted):
            if n == 0:
                node.check(i < len(x.shape), f"shape {wanted} copies axis {i} of an array of shape {x.shape}")
                wanted[i] = x.shape[i]
    if -1 in wanted:
        rest = math.prod(n for n in wanted if n != -1)
        total = math.prod(x.shape)
        node.check(rest > 0 and total % rest == 0, f"cannot reshape {tuple(x.shape)} to {wanted}")
        wanted[wanted.index(-1)] = total // rest
    node.check(math.prod(wanted) == math.prod(x.shape), f"cannot reshape {tuple(x.shape)} to {wanted}")
    return ops.reshape(x, tuple(wanted))


@operator("Flatten")
def flatten(node: Node, x: Any) -> Any:
    axis = node["axis"]
    rank = len(x.shape)
    node.check(-rank <= axis <= rank, f"axis {axis} is out of range for {rank} axes")
    axis = axis + rank if axis < 0 else axis
    return ops.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _axes_argument(node: Node, axes: Any, since: int) -> tuple[int, ...] | None:
    """Axes, an attribute before opset `since` and an input from then on."""
    if node.opset < since:
        return node.get("axes")
    return None if axes is None else node.ints(axes, "the axes")


@operator("Squeeze", bounded=True)
def squeeze(node: Node, x: Any, axes: Any = None) -> Any:
    rank = len(x.shape)
    given = _axes_argument(node, axes, 13)
    if given is None:
        if isinstance(x, Bounded):
            raise node.unsupported("squeezing every axis of extent 1 of an array of data-dependent length")
        given = tuple(i for i, n in enumerate(x.shape) if n == 1)
    dropped = set(node.axes(given, rank))
    node.check(all(x.shape[i] == 1 for i in dropped), f"axes {sorted(dropped)} of shape {tuple(x.shape)} are not all 1")
    shape = tuple(n for i, n in enumerate(x.shape) if i not in dropped)
    if isinstance(x, Bounded):
        if x.axis in dropped:
            raise node.unsupported("squeezing the axis of data-dependent length")
        return x.map(ops.reshape(x.data, shape), x.axis - sum(i < x.axis for i in dropped))
    return ops.reshape(x, shape)


@operator("Unsqueeze", bounded=True)
def unsqueeze(node: Node, x: Any, axes: Any = None) -> Any:
    given = _axes_argument(node, axes, 13)
    node.check(given is not None, "the axes are missing")
    rank = len(x.shape) + len(given or ())
    added = set(node.axes(given or (), rank))
    old = iter(x.shape)
    shape = tuple(1 if i in added else next(old) for i in range(rank))
    if isinstance(x, Bounded):
        kept = [i for i in range(rank) if i not in added]
        return x.map(ops.reshape(x.data, shape), kept[x.axis])
    return ops.reshape(x, shape)


@operator("Transpose", bounded=True)
def transpose(node: Node, x: Any) -> Any:
    rank = len(x.shape)
    order = node.axes(node.get("perm", tuple(reversed(range(rank)))), rank)
    node.check(len(order) == rank, f"perm {order} does not name all {rank} axes")
    if isinstance(x, Bounded):
        return x.map(ops.permute_dims(x.data, order), order.index(x.axis))
    return ops.permute_dims(x, order)


@operator("Concat", bounded=True)
def concat(node: Node, *xs: Any) -> Any:
    same_dtypes(node, xs)
    axis = node.axis(node["axis"], len(xs[0].shape))
    bounded = [x for x in xs if isinstance(x, Bounded)]
    if not bounded:
        return xs[0] if len(xs) == 1 else ops.concat(xs, axis=axis)
    first = bounded[0]
    if first.axis == axis or any(not isinstance(x, Bounded) or (x.length, x.axis) != (first.length, first.axis) for x in xs):
        raise node.unsupported("joining arrays of data-dependent length along that axis, or with others")
    return first.map(ops.concat([x.data for x in xs], axis=axis))


@operator("Split")
def split(node: Node, x: Any, sizes: Any = None) -> Any:
    axis = node.axis(node["axis"], len(x.shape))
    extent = x.shape[axis]
    if node.opset < 13:
        parts = node.get("split")
    else:
        parts = None if sizes is None else node.ints(sizes, "the sizes")
    if parts is None:
        count = node.get("num_outputs", len(node.outputs))
        node.check(0 < count <= max(extent, 1), f"cannot split {extent} into {count} parts")
        size = -(-extent // count)
        parts = tuple(max(0, min(size, extent - i * size)) for i in range(count))
    node.check(all(p >= 0 for p in parts) and sum(parts) == extent, f"parts {list(parts)} do not add up to {extent}")
    starts = np.cumsum([0, *parts])
    return [_cut(x, axis, int(s), p) for s, p in zip(starts, parts)]


def _cut(x: Any, axis: int, start: int, size: int) -> Any:
    """A range along one axis."""
    if size == x.shape[axis]:
        return x
    starts = tuple(start if i == axis else 0 for i in range(len(x.shape)))
    sizes = tuple(size if i == axis else n for i, n in enumerate(x.shape))
    return apply("slice", x, starts=starts, sizes=sizes, steps=(1,) * len(sizes))


@operator("Slice", bounded=True)
def slice_of(node: Node, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None) -> Any:
    if node.opset < 10:
        first, last, where, step = node["starts"], node["ends"], node.get("axes"), None
    else:
        first, last = node.ints(starts, "the starts"), node.ints(ends, "the ends")
        where = None if axes is None else node.ints(axes, "the axes")
        step = None if steps is None else node.ints(steps, "the steps")
    rank = len(x.shape)
    where = node.axes(tuple(range(len(first))) if where is None else where, rank)
    step = (1,) * len(first) if step is None else step
    node.check(len(first) == len(last) == len(where) == len(step), "starts, ends, axes and steps differ in length")
    node.check(all(s != 0 for s in step), "a step is zero")
    if isinstance(x, Bounded):
        if x.axis in where:
            raise node.unsupported("slicing the axis of data-dependent length")
        return x.map(_sliced(x.data, first, last, where, step))
    return _sliced(x, first, last, where, step)


def _sliced(x: Any, first: Any, last: Any, where: Any, step: Any) -> Any:
    begins, sizes, strides = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
    for s, e, axis, k in zip(first, last, where, step):
        n = x.shape[axis]
        if k < 0:  # a start before the first element is the first, where Python has none
            s = max(s, -n)
        span = range(*slice(s, e, k).indices(n))
        begins[axis], sizes[axis], strides[axis] = (span.start if len(span) else 0), len(span), (k if len(span) > 1 else 1)
    if tuple(sizes) == tuple(x.shape) and all(k == 1 for k in strides):
        return x
    return apply("slice", x, starts=tuple(begins), sizes=tuple(sizes), steps=tuple(strides))


@operator("Expand")
def expand(node: Node, x: Any, shape: Any) -> Any:
    target = np.broadcast_shapes(tuple(x.shape), node.ints(shape, "the shape"))
    check_shape(target, x.dtype.itemsize, node.label)
    return x if target == tuple(x.shape) else ops.broadcast_to(x, target)


@operator("Tile")
def tile(node: Node, x: Any, repeats: Any) -> Any:
    times = node.ints(repeats, "the repeats")
    node.check(len(times) == len(x.shape) and all(n >= 0 for n in times), f"repeats {times} do not fit shape {tuple(x.shape)}")
    check_shape([n * t for n, t in zip(x.shape, times)], x.dtype.itemsize, node.label)
    return x if all(t == 1 for t in times) else ops.tile(x, times)


@operator("Pad")
def pad(node: Node, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    rank = len(x.shape)
    mode = node.get("mode", "constant")
    if node.opset < 11:
        amounts, fill = node["pads"], node["value"]
    else:
        amounts = node.ints(pads, "the pads")
        fill = 0 if value is None else node.scalar(value, "the value")
    where = tuple(range(rank)) if axes is None else node.axes(node.ints(axes, "the axes"), rank)
    node.check(len(amounts) == 2 * len(where), f"{len(amounts)} pads do not fit {len(where)} axes")
    low, high = [0] * rank, [0] * rank
    for i, axis in enumerate(where):
        low[axis], high[axis] = amounts[i], amounts[i + len(where)]
    return padded(node, x, low, high, mode, fill)


def padded(node: Node, x: Any, low: Sequence[int], high: Sequence[int], mode: str, fill: Any = 0) -> Any:
    """Pad by amounts that may be negative (which crops), in any of ONNX's modes."""
    shape = [n + a + b for n, a, b in zip(x.shape, low, high)]
    cropped = [n + min(a, 0) + min(b, 0) for n, a, b in zip(x.shape, low, high)]
    node.check(min(shape + cropped, default=0) >= 0, f"pads {low} and {high} crop more than shape {tuple(x.shape)} has")
    node.check(mode in ("constant", "reflect", "edge", "wrap"), f"mode must be constant, reflect, edge or wrap, got {mode!r}")
    check_shape(shape, x.dtype.itemsize, node.label)
    return ops.pad(x, list(zip(low, high)), mode=mode, value=_number(fill, x.dtype))


def _number(value: Any, kind: dt.DType) -> Any:
    return float(value) if kind.kind == "f" else bool(value) if kind.kind == "b" else int(value)


@operator("CenterCropPad")
def center_crop_pad(node: Node, x: Any, shape: Any) -> Any:
    rank = len(x.shape)
    axes = node.axes(node.get("axes", tuple(range(rank))), rank)
    wanted = node.ints(shape, "the shape")
    node.check(len(wanted) == len(axes) and all(n >= 0 for n in wanted), f"shape {wanted} does not fit axes {axes}")
    low, high = [0] * rank, [0] * rank
    for axis, n in zip(axes, wanted):
        extra = n - x.shape[axis]
        if extra >= 0:
            low[axis], high[axis] = extra // 2, extra - extra // 2
        else:
            low[axis] = -(-extra // 2)
            high[axis] = extra - low[axis]
    return padded(node, x, low, high, "constant")


@operator("DepthToSpace")
def depth_to_space(node: Node, x: Any) -> Any:
    b, mode = node["blocksize"], node.get("mode", "DCR")
    node.check(len(x.shape) == 4 and b > 0 and x.shape[1] % (b * b) == 0, f"shape {tuple(x.shape)} does not fit blocks of {b}")
    node.check(mode in ("DCR", "CRD"), f"mode must be DCR or CRD, got {mode!r}")
    return ops.depth_to_space(x, b, mode=mode)


@operator("SpaceToDepth")
def space_to_depth(node: Node, x: Any) -> Any:
    b, mode = node["blocksize"], node.get("mode", "DCR")
    node.check(mode in ("DCR", "CRD"), f"mode must be DCR or CRD, got {mode!r}")
    fits = len(x.shape) == 4 and b > 0 and x.shape[2] % b == 0 and x.shape[3] % b == 0
    node.check(fits, f"shape {tuple(x.shape)} does not split into blocks of {b}")
    return ops.space_to_depth(x, b, mode=mode)


@operator("Trilu")
def trilu(node: Node, x: Any, k: Any = None) -> Any:
    node.check(len(x.shape) >= 2, f"takes matrices, got shape {tuple(x.shape)}")
    offset = 0 if k is None else int(node.scalar(k, "k"))
    offset = max(-x.shape[-2] - 1, min(offset, x.shape[-1] + 1))
    return (ops.triu if node["upper"] else ops.tril)(x, k=offset)


@operator("ReverseSequence")
def reverse_sequence(node: Node, x: Any, lengths: Any) -> Any:
    time, batch = node["time_axis"], node["batch_axis"]
    node.check({time, batch} == {0, 1} and len(x.shape) >= 2, "time_axis and batch_axis must be 0 and 1")
    return ops.reverse_sequences(x, lengths, time_axis=time, batch_axis=batch)
