"""Operators that move elements about. They take quantised numbers as they are stored; zero is then the zero point."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ... import tensorflow as tf
from ..registry import Node, operator


@operator("RESHAPE", stored=True)
def reshape(node: Node, x: Any, shape: Any = None) -> Any:
    """The shape is an operand; in old files, an option."""
    if shape is not None:
        wanted = node.known_ints(shape, "the shape")
    else:
        option = node.get("new_shape")
        wanted = () if option is None else tuple(int(n) for n in option)
        wanted = () if wanted == (0,) else wanted  # how old files say "scalar"
    return node.moved(ops.reshape(x, wanted))


@operator("SQUEEZE", stored=True)
def squeeze(node: Node, x: Any) -> Any:
    option, rank = node.get("squeeze_dims"), len(x.shape)
    given = () if option is None else tuple(option.tolist())
    axes = node.axes(given, rank) if given else tuple(a for a in range(rank) if x.shape[a] == 1)
    node.check(all(x.shape[a] == 1 for a in axes), f"axes {axes} of shape {tuple(x.shape)} are not all 1")
    return node.moved(ops.reshape(x, tuple(n for a, n in enumerate(x.shape) if a not in axes)))


@operator("EXPAND_DIMS", stored=True)
def expand_dims(node: Node, x: Any, axis: Any) -> Any:
    at = node.axis(node.scalar(axis, "the axis"), len(x.shape) + 1)
    return node.moved(ops.reshape(x, (*x.shape[:at], 1, *x.shape[at:])))


@operator("TRANSPOSE", stored=True)
def transpose(node: Node, x: Any, order: Any) -> Any:
    return node.moved(ops.permute_dims(x, node.axes(node.ints(order, "the permutation"), len(x.shape))))


def _pairs(node: Node, paddings: Any, rank: int) -> list[tuple[int, int]]:
    known = node.static(paddings, "the paddings")
    node.check(known.shape == (rank, 2) and known.dtype.kind in "iu", f"paddings of shape {known.shape} for {rank} axes")
    node.check(not known.size or int(known.min()) >= 0, "paddings must not be negative")
    return [(int(a), int(b)) for a, b in known]


@operator("PAD", stored=True)
def pad(node: Node, x: Any, paddings: Any) -> Any:
    return node.moved(ops.pad(x, _pairs(node, paddings, len(x.shape)), value=node.padding_value()))


@operator("PADV2", stored=True)
def pad_v2(node: Node, x: Any, paddings: Any, value: Any) -> Any:
    return node.moved(ops.pad(x, _pairs(node, paddings, len(x.shape)), value=node.scalar(value, "the padding's value")))


@operator("MIRROR_PAD", stored=True)
def mirror_pad(node: Node, x: Any, paddings: Any) -> Any:
    mode = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}[node.named("mode", "MirrorPadMode", "REFLECT")]
    return node.moved(ops.pad(x, _pairs(node, paddings, len(x.shape)), mode=mode))


@operator("CONCATENATION", stored=True)
def concatenation(node: Node, *xs: Any) -> Any:
    node.require_all(xs)
    axis = node.axis(int(node.get("axis", 0)), len(xs[0].shape))
    made = ops.concat([node.moved(x, i) for i, x in enumerate(xs)], axis=axis)
    if node.activation == "NONE":
        return made
    limits = node.stored_clip()
    if limits is None:
        return node.activated(made)
    return ops.minimum(ops.maximum(made, limits[0]), limits[1])


@operator("PACK", stored=True)
def pack(node: Node, *xs: Any) -> Any:
    node.require_all(xs)
    axis = node.axis(int(node.get("axis", 0)), len(xs[0].shape) + 1)
    return ops.stack([node.moved(x, i) for i, x in enumerate(xs)], axis=axis)


@operator("UNPACK", stored=True)
def unpack(node: Node, x: Any) -> Any:
    axis = node.axis(int(node.get("axis", 0)), len(x.shape))
    node.check(x.shape[axis] == node.get("num", x.shape[axis]), f"{node.get('num')} parts of an axis of {x.shape[axis]}")
    return ops.unstack(x, axis=axis)


@operator("SPLIT", stored=True)
def split(node: Node, axis: Any, x: Any) -> Any:
    count, at = int(node.get("num_splits", 0)), node.axis(node.scalar(axis, "the axis"), len(x.shape))
    node.check(count > 0 and x.shape[at] % count == 0, f"{count} equal parts of an axis of {x.shape[at]}")
    return ops.split(x, count, axis=at)


@operator("SPLIT_V", stored=True)
def split_v(node: Node, x: Any, sizes: Any, axis: Any) -> Any:
    parts, at = list(node.ints(sizes, "the sizes")), node.axis(node.scalar(axis, "the axis"), len(x.shape))
    unknown = [i for i, n in enumerate(parts) if n == -1]
    if len(unknown) == 1:
        parts[unknown[0]] = x.shape[at] - sum(n for n in parts if n != -1)
    node.check(min(parts, default=0) >= 0 and sum(parts) == x.shape[at], f"parts {parts} of an axis of {x.shape[at]}")
    ends = np.cumsum(parts).tolist()
    return [ops.slice_axis(x, at, end - n, end) for n, end in zip(parts, ends)]


@operator("SLICE", stored=True)
def slice_(node: Node, x: Any, begin: Any, size: Any) -> Any:
    extents = node.ints(size, "the sizes")
    known = node.known(begin)
    node.check(len(extents) == len(x.shape), f"{len(extents)} sizes for {len(x.shape)} axes")
    if known is None:
        node.check(min(extents, default=0) >= 0, "a size of -1 with a begin that is known only at run time")
        return node.moved(ops.dynamic_slice(x, ops.astype(begin, dt.int32), extents))
    starts = node.ints(begin, "the begin")
    stops = [n if e == -1 else s + e for s, e, n in zip(starts, extents, x.shape, strict=True)]
    node.check(
        all(0 <= s <= e <= n for s, e, n in zip(starts, stops, x.shape)), f"slice {starts} to {stops} of {tuple(x.shape)}"
    )
    return node.moved(ops.getitem(x, tuple(slice(s, e) for s, e in zip(starts, stops))))


@operator("STRIDED_SLICE", stored=True)
def strided_slice(node: Node, x: Any, begin: Any, end: Any, strides: Any) -> Any:
    masks = {
        name: int(node.get(name, 0))
        for name in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    }
    steps = node.ints(strides, "the strides")
    one = _all_shrink(masks, len(steps)) and not masks["ellipsis_mask"] and not masks["new_axis_mask"]
    if one and node.known(begin) is None:
        return _moving_slice(node, x, begin, len(steps))
    first = node.ints(begin, "where the slice begins")
    last = first if one else node.ints(end, "where the slice ends")
    return node.moved(tf.strided_slice(x, first, last, steps, **masks))


def _all_shrink(masks: dict[str, int], count: int) -> bool:
    return masks["shrink_axis_mask"] == (1 << count) - 1


def _moving_slice(node: Node, x: Any, begin: Any, count: int) -> Any:
    """x[i, j, …] at indices that are known only at run time: the one such slice whose shape is known."""
    node.check(tuple(begin.shape) == (count,) and count <= len(x.shape), f"{count} indices of {tuple(x.shape)}")
    at = ops.astype(begin, dt.int32)
    extents = np.array(x.shape[:count], np.int32)
    at = ops.where(at < 0, at + extents, at)
    starts = ops.concat([at, ops.zeros((len(x.shape) - count,), dtype=dt.int32)], axis=0)
    return node.moved(ops.reshape(ops.dynamic_slice(x, starts, (*(1,) * count, *x.shape[count:])), x.shape[count:]))


@operator("DYNAMIC_UPDATE_SLICE", stored=True)
def dynamic_update_slice(node: Node, x: Any, update: Any, starts: Any) -> Any:
    return ops.dynamic_update_slice(x, update, ops.astype(starts, dt.int32))


@operator("TILE", stored=True)
def tile(node: Node, x: Any, multiples: Any) -> Any:
    return node.moved(ops.tile(x, node.ints(multiples, "the multiples")))


@operator("BROADCAST_TO", stored=True)
def broadcast_to(node: Node, x: Any, shape: Any) -> Any:
    return node.moved(ops.broadcast_to(x, node.shape(shape)))


@operator("BROADCAST_ARGS", stored=True)
def broadcast_args(node: Node, a: Any, b: Any) -> Any:
    shape = np.broadcast_shapes(node.ints(a, "a shape"), node.ints(b, "a shape"))
    return Array(np.array(shape, a.dtype.numpy))


@operator("REVERSE_V2", stored=True)
def reverse_v2(node: Node, x: Any, axes: Any) -> Any:
    return node.moved(ops.flip(x, axis=node.axes(node.known_ints(axes, "axes"), len(x.shape))))


@operator("REVERSE_SEQUENCE", stored=True)
def reverse_sequence(node: Node, x: Any, lengths: Any) -> Any:
    time, batch = int(node.get("seq_dim", 0)), int(node.get("batch_dim", 0))
    return node.moved(ops.reverse_sequences(x, lengths, time_axis=time, batch_axis=batch))


@operator("SPACE_TO_DEPTH", stored=True)
def space_to_depth(node: Node, x: Any) -> Any:
    return node.moved(ops.space_to_depth(x, int(node.get("block_size", 0)), layout="channels_last"))


@operator("DEPTH_TO_SPACE", stored=True)
def depth_to_space(node: Node, x: Any) -> Any:
    return node.moved(ops.depth_to_space(x, int(node.get("block_size", 0)), layout="channels_last"))


@operator("SPACE_TO_BATCH_ND", stored=True)
def space_to_batch_nd(node: Node, x: Any, block: Any, paddings: Any) -> Any:
    blocks = node.ints(block, "the block")
    pairs = _pairs(node, paddings, len(blocks))
    node.check(len(blocks) < len(x.shape), f"{len(blocks)} blocks for {len(x.shape)} axes")
    rest = [(0, 0)] * (len(x.shape) - 1 - len(blocks))
    padded = ops.pad(x, [(0, 0), *pairs, *rest], value=node.padding_value())
    return node.moved(ops.space_to_batch(padded, blocks, [(0, 0)] * len(blocks)))


@operator("BATCH_TO_SPACE_ND", stored=True)
def batch_to_space_nd(node: Node, x: Any, block: Any, crops: Any) -> Any:
    blocks = node.ints(block, "the block")
    return node.moved(ops.batch_to_space(x, blocks, _pairs(node, crops, len(blocks))))


@operator("MATRIX_DIAG", stored=True)
def matrix_diag(node: Node, x: Any) -> Any:
    node.check(len(x.shape) > 0, "a scalar has no diagonal")
    count = x.shape[-1]
    return ops.where(np.eye(count, dtype=bool), ops.expand_dims(x, axis=-1), ops.zeros((), dtype=x.dtype))


@operator("MATRIX_SET_DIAG", stored=True)
def matrix_set_diag(node: Node, x: Any, diagonal: Any) -> Any:
    rows, columns = x.shape[-2:]
    count = min(rows, columns)
    node.check(tuple(diagonal.shape) == (*x.shape[:-2], count), f"a diagonal {tuple(diagonal.shape)} of {tuple(x.shape)}")
    spread = [(0, 0)] * (len(x.shape) - 2)
    column = ops.expand_dims(ops.pad(diagonal, [*spread, (0, rows - count)]), axis=-1)
    return ops.where(np.eye(rows, columns, dtype=bool), column, x)


# -- shapes and counters ---------------------------------------------------------------------------------------------------


@operator("SHAPE", stored=True)
def shape_(node: Node, x: Any) -> Any:
    return Array(np.array(x.shape, node.outputs[0].element.numpy))


@operator("RANK", stored=True)
def rank(node: Node, x: Any) -> Any:
    return Array(np.array(len(x.shape), np.int32))


@operator("FILL", stored=True)
def fill(node: Node, shape: Any, value: Any) -> Any:
    return ops.broadcast_to(ops.reshape(value, ()), node.shape(shape))


@operator("ZEROS_LIKE", stored=True)
def zeros_like(node: Node, x: Any) -> Any:
    return ops.zeros(x.shape, dtype=x.dtype)


@operator("RANGE", stored=True)
def range_(node: Node, start: Any, limit: Any, delta: Any) -> Any:
    first, last, step = (node.static(v, "a range's bound").reshape(()) for v in (start, limit, delta))
    node.check(bool(step != 0), "a step of 0")
    count = max(0, int(np.ceil((last - first) / step)))
    node.check(count < 1 << 28, f"a range of {count} numbers")
    return Array((first + step * np.arange(count, dtype=first.dtype)).astype(first.dtype))
