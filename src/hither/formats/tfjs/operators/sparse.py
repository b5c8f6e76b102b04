"""Scattering: writing at indices into new and given arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import ops
from ....graph.trace import static_value
from ..registry import Node, operator
from ..sizes import Bounded
from .creation import checked


def _rows(node: Node, indices: Any, updates: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Index tuples and updates; what is behind a length known at run time goes to a place that does not exist."""
    like = next((v for v in (indices, updates) if isinstance(v, Bounded)), None)
    indices, updates = (v.data if isinstance(v, Bounded) else v for v in (indices, updates))
    if like is None:
        known = static_value(indices)
        node.check(
            known is None or known.size == 0 or bool(((known >= 0) & (known < np.array(shape[: known.shape[-1]]))).all()),
            f"indices lie outside shape {shape}",
        )
        return indices, updates
    node.check(like.axis == 0, "a length known at run time must be that of the first axis")
    n = min(indices.shape[0], updates.shape[0]) if updates.shape else indices.shape[0]
    return ops.where(like.mask()[:n], indices[:n], shape[0]), updates[:n] if updates.shape else updates


def _scatter(node: Node, base: Any, indices: Any, updates: Any, combine: str) -> Any:
    """Writes into a base with one more row, which takes what is to be dropped."""
    shape = tuple(base.shape)
    dropping = isinstance(indices, Bounded) or isinstance(updates, Bounded)
    indices, updates = _rows(node, indices, updates, shape)
    if not dropping:
        return ops.scatter_nd(base, indices, updates, combine=combine)
    wide = ops.pad(base, [(0, 1), *((0, 0),) * (len(shape) - 1)])
    return ops.scatter_nd(wide, indices, updates, combine=combine)[: shape[0]]


@operator("ScatterNd", bounded=True)
def scatter_nd(node: Node, indices: Any, updates: Any, shape: Any) -> Any:
    wanted = checked(node, node.ints(shape, "the shape"))
    return _scatter(node, ops.zeros(wanted, dtype=updates.dtype), indices, updates, "add")


@operator("TensorScatterUpdate", bounded=True)
def tensor_scatter_update(node: Node, x: Any, indices: Any, updates: Any) -> Any:
    return _scatter(node, x, indices, updates, "set")


@operator("TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin", bounded=True)
def tensor_scatter(node: Node, x: Any, indices: Any, updates: Any) -> Any:
    how = {"Add": "add", "Sub": "add", "Max": "max", "Min": "min"}[node.op_type[-3:]]
    if node.op_type == "TensorScatterSub":
        updates = updates.map(-updates.data) if isinstance(updates, Bounded) else -updates
    return _scatter(node, x, indices, updates, how)


@operator("SparseToDense", bounded=True)
def sparse_to_dense(node: Node, indices: Any, shape: Any, values: Any, default: Any) -> Any:
    wanted = checked(node, node.ints(shape, "the shape"))
    base = ops.broadcast_to(ops.reshape(default, ()), wanted)
    if len(indices.shape) < 2:
        data = ops.reshape(indices.data if isinstance(indices, Bounded) else indices, (-1, 1))
        indices = indices.map(data) if isinstance(indices, Bounded) else data
    if not values.shape:
        values = ops.broadcast_to(values, (indices.shape[0],))
    return _scatter(node, base, indices, values, "set")


@operator("SparseSegmentSum", "SparseSegmentMean")
def sparse_segment(node: Node, x: Any, indices: Any, segments: Any) -> Any:
    known = node.ints(segments, "the segments")
    node.check(min(known, default=0) >= 0, "segments must not be negative")
    count = max(known, default=-1) + 1
    checked(node, (count, *x.shape[1:]))
    total = ops.segment_sum(ops.take(x, indices, axis=0), segments, num_segments=count)
    if node.op_type == "SparseSegmentSum":
        return total
    each = np.maximum(np.bincount(np.asarray(known, np.int64), minlength=count), 1).astype(np.float32)
    return total / each.reshape(-1, *(1,) * (len(x.shape) - 1))


@operator("UnsortedSegmentSum")
def unsorted_segment_sum(node: Node, x: Any, segments: Any, count: Any) -> Any:
    n = int(node.scalar(count, "the number of segments"))
    checked(node, (n, *x.shape[len(segments.shape) :]))
    return ops.segment_sum(x, segments, num_segments=n)


@operator("SparseReshape")
def sparse_reshape(node: Node, indices: Any, shape: Any, wanted: Any) -> Any:
    old, new = list(node.ints(shape, "the shape")), list(node.ints(wanted, "the new shape"))
    total = int(np.prod(checked(node, tuple(old))))
    node.check(new.count(-1) <= 1 and min(new, default=0) >= -1, f"shape {new} is not one")
    if -1 in new:
        rest = int(np.prod([n for n in new if n != -1]))
        new[new.index(-1)] = total // max(rest, 1)
    node.check(int(np.prod(new)) == total, f"shape {old} does not become {new}")
    flat: Any = ops.zeros((indices.shape[0],), dtype="int32")
    for i, n in enumerate(old):
        flat = flat * n + indices[:, i]
    columns = []
    for n in reversed(new):
        columns.append(ops.remainder(flat, max(n, 1)))
        flat = ops.floor_divide(flat, max(n, 1))
    return ops.stack(columns[::-1], axis=1), ops.asarray(np.asarray(new, np.int32))
