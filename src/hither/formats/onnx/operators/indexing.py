"""Gathers, scatters, one-hot, top-k."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ..proto import check_shape
from ..registry import Bounded, Node, operator
from .common import broadcast, cast, constant, non_negative

COMBINES = {"none": "set", "add": "add", "mul": "mul", "min": "min", "max": "max"}


@operator("Gather", bounded=True)
def gather(node: Node, x: Any, indices: Any) -> Any:
    axis = node.axis(node["axis"], len(x.shape))
    if isinstance(x, Bounded):
        if isinstance(indices, Bounded) or axis == x.axis:
            raise node.unsupported("gathering along the axis of data-dependent length")
        found = _take(x.data, indices, axis)
        return x.map(found, x.axis + (len(indices.shape) - 1 if axis < x.axis else 0))
    if isinstance(indices, Bounded):
        return indices.map(_take(x, indices.data, axis), axis + indices.axis)
    return _take(x, indices, axis)


def _take(x: Any, indices: Any, axis: int) -> Any:
    return apply("take", x, non_negative(indices, x.shape[axis]), axis=axis)


@operator("GatherElements")
def gather_elements(node: Node, x: Any, indices: Any) -> Any:
    axis = node.axis(node["axis"], len(x.shape))
    return apply("take_along", x, non_negative(indices, x.shape[axis]), axis=axis)


@operator("GatherND", bounded=True)
def gather_nd(node: Node, x: Any, indices: Any) -> Any:
    batch = node.get("batch_dims", 0)
    if isinstance(x, Bounded):
        raise node.unsupported("gathering from an array of data-dependent length")
    if isinstance(indices, Bounded):
        node.check(batch == 0 and indices.axis < len(indices.shape) - 1, "the number of index components must be known")
        return indices.map(apply("gather_nd", x, _components(indices.data, x.shape, 0), batch_dims=0))
    return apply("gather_nd", x, _components(indices, x.shape, batch), batch_dims=batch)


def _components(indices: Any, shape: tuple[int, ...], batch: int) -> Any:
    """Index vectors with negative components counted from the end of their axes."""
    depth = indices.shape[-1]
    extents = constant(np.array(shape[batch : batch + depth]), indices.dtype)
    if extents.shape[0] != depth:
        raise IndexError(f"indices have {depth} components, the array has {len(shape)} axes")
    return non_negative(indices, extents)


@operator("ScatterElements", "Scatter")
def scatter_elements(node: Node, x: Any, indices: Any, updates: Any) -> Any:
    axis = node.axis(node["axis"], len(x.shape))
    combine = COMBINES.get(node.get("reduction", "none"))
    node.check(combine is not None, f"reduction must be one of {', '.join(COMBINES)}, got {node.get('reduction')!r}")
    return apply("scatter_along", x, non_negative(indices, x.shape[axis]), updates, axis=axis, combine=combine)


@operator("ScatterND")
def scatter_nd(node: Node, x: Any, indices: Any, updates: Any) -> Any:
    combine = COMBINES.get(node.get("reduction", "none"))
    node.check(combine is not None, f"reduction must be one of {', '.join(COMBINES)}, got {node.get('reduction')!r}")
    return apply("scatter_nd", x, _components(indices, x.shape, 0), updates, combine=combine)


@operator("TensorScatter")
def tensor_scatter(node: Node, past: Any, update: Any, write: Any = None) -> Any:
    """A cache with `update` written at a position per batch entry along the sequence axis."""
    rank = len(past.shape)
    axis, mode = node.axis(node["axis"], rank), node["mode"]
    node.check(axis > 0, "axis 0 is the batch")
    node.check(mode in ("linear", "circular"), f"mode must be linear or circular, got {mode!r}")
    step = Array(np.arange(update.shape[axis], dtype=np.int32))
    step = ops.reshape(step, [-1 if i == axis else 1 for i in range(rank)])
    if write is not None:
        step = step + ops.reshape(cast(write, dt.int32), [-1 if i == 0 else 1 for i in range(rank)])
    if mode == "circular":
        step = ops.remainder(step, past.shape[axis])
    return apply("scatter_along", past, ops.broadcast_to(step, update.shape), update, axis=axis, combine="set")


@operator("OneHot")
def one_hot(node: Node, indices: Any, depth: Any, values: Any) -> Any:
    count = int(node.scalar(depth, "the depth"))
    node.check(count >= 0, f"the depth must not be negative, got {count}")
    rank = len(indices.shape) + 1
    axis = node.axis(node["axis"], rank)
    check_shape((*indices.shape, count), values.dtype.itemsize, node.label)
    index = cast(indices, dt.int64) if indices.dtype.kind == "f" else indices
    index = ops.where(index < 0, index + count, index) if index.dtype.kind == "i" else index
    entries = constant(np.arange(count), index.dtype)
    entries = ops.reshape(entries, [count if i == axis else 1 for i in range(rank)])
    hit = apply("eq", *broadcast(ops.expand_dims(index, axis=axis), entries))
    return ops.where(hit, values[1], values[0])


@operator("TopK")
def top_k(node: Node, x: Any, k: Any = None) -> Any:
    axis = node.axis(node["axis"], len(x.shape))
    count = node["k"] if node.opset < 10 else int(node.scalar(k, "k"))
    node.check(0 <= count <= x.shape[axis], f"k must be in [0, {x.shape[axis]}], got {count}")
    values, indices = apply("sort", x, axis=axis, descending=bool(node.get("largest", 1)))
    sizes = tuple(count if i == axis else n for i, n in enumerate(x.shape))
    cut = {"starts": (0,) * len(sizes), "sizes": sizes, "steps": (1,) * len(sizes)}
    return apply("slice", values, **cut), apply("slice", indices, **cut)
