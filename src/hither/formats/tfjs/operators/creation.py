"""Arrays made of shapes and numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ....errors import LimitExceeded
from ... import tensorflow as tf
from ...interpreter import MAX_VALUE_BYTES
from ..registry import Node, operator
from ..sizes import Bounded, Dim, Sizes, as_dim, bounded, extents, sizes
from .common import elementwise, int32


def checked(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that the file asks for, before anything of it is made."""
    node.check(min(shape, default=0) >= 0 and len(shape) <= 32, f"the result would have shape {shape}")
    if math.prod(shape) * 4 > MAX_VALUE_BYTES:
        raise LimitExceeded(f"{node.label}: a result of shape {shape} is larger than {MAX_VALUE_BYTES} bytes")
    return shape


def room(node: Node, dims: Any, what: str) -> tuple[tuple[int, ...], tuple[int, Dim] | None]:
    """The shape that holds Sizes (or a known vector), and (axis, length) of the one extent that is not known."""
    if not isinstance(dims, Sizes):
        return checked(node, node.ints(dims, what)), None
    found = [(a, d) for a, d in enumerate(dims.dims.reshape(-1)) if d.known is None]
    if len(found) > 1:
        raise node.unsupported(f"{what} with {len(found)} extents that are known only at run time")
    return checked(node, tuple(max(d.high, 0) for d in dims.dims.reshape(-1))), found[0]


@operator("Fill", sizes=True)
def fill(node: Node, dims: Any, value: Any) -> Any:
    shape, free = room(node, dims, "the shape")
    value = value.plain() if isinstance(value, Sizes) else value
    made = ops.broadcast_to(ops.reshape(value, ()), shape)
    return made if free is None else bounded(made, free[1], free[0])


@operator("Zeros", "Ones")
def constant_fill(node: Node, dims: Any) -> Any:
    value = 0 if node.op_type == "Zeros" else 1
    return ops.full(checked(node, node.ints(dims, "the shape")), value, dtype=node.dtype("T", node.dtype("dtype", "float32")))


@operator("ZerosLike", "OnesLike", bounded=True)
def like(node: Node, x: Any) -> Any:
    value = 0 if node.op_type == "ZerosLike" else 1
    return elementwise(node, lambda v: ops.full(tuple(v.shape), value, dtype=v.dtype), x)


@operator("Range", sizes=True)
def range_(node: Node, start: Any, limit: Any, delta: Any) -> Any:
    if isinstance(start, Sizes) or isinstance(limit, Sizes):
        first, last = (
            x.dims.reshape(()).item() if isinstance(x, Sizes) else as_dim(int(node.scalar(x, "a bound")))
            for x in (start, limit)
        )
        node.check(int(node.scalar(delta, "the step")) == 1, "a range of unknown length must have step 1")
        length = last - first
        if length.low < 0:
            length = Dim.of(ops.maximum(length.traced, 0), 0, max(length.high, 0))
        shape = checked(node, (max(length.high, 0),))
        return bounded(ops.arange(shape[0], dtype="int32") + first.traced, length, 0)
    first, last, step = (node.scalar(x, "a bound") for x in (start, limit, delta))
    node.check(step != 0, "the step is 0")
    checked(node, (max(math.ceil((last - first) / step), 0),))
    return Array(np.arange(first, last, step).astype(start.dtype.numpy))


@operator("LinSpace")
def linspace(node: Node, start: Any, stop: Any, count: Any) -> Any:
    n = int(node.scalar(count, "the count"))
    checked(node, (n,))
    node.check(n > 0, "the count must be positive")
    return start + (stop - start) * (np.arange(n, dtype=np.float32) / np.float32(max(n - 1, 1)))


@operator("OneHot", bounded=True)
def one_hot(node: Node, indices: Any, depth: Any, on: Any, off: Any) -> Any:
    n, axis = int(node.scalar(depth, "the depth")), node.integer("axis", -1)
    checked(node, (*indices.shape, n))
    if not isinstance(indices, Bounded):
        return tf.one_hot(indices, n, on, off, axis=axis)
    axis = node.axis(axis, len(indices.shape) + 1)
    made = tf.one_hot(indices.data, n, on, off, axis=axis)
    return indices.map(made, indices.axis + (axis <= indices.axis))


@operator("Shape", bounded=True, sizes=True)
def shape(node: Node, x: Any) -> Any:
    return sizes(extents(x))


@operator("ShapeN", bounded=True, sizes=True)
def shape_n(node: Node, *xs: Any) -> Any:
    return tuple(sizes(extents(x)) for x in xs)


@operator("Size", bounded=True, sizes=True)
def size(node: Node, x: Any) -> Any:
    total = Dim(1)
    for extent in extents(x):
        total = total.times(extent.constant) if extent.known is not None else extent.times(total.constant)
    return sizes([total], ())


@operator("Rank", bounded=True, sizes=True)
def rank(node: Node, x: Any) -> Any:
    return int32(len(x.shape))


@operator("BroadcastArgs")
def broadcast_args(node: Node, a: Any, b: Any) -> Any:
    shapes = (node.ints(x, "a shape") for x in (a, b))
    return int32(np.broadcast_shapes(*(checked(node, s) for s in shapes)))


@operator("MatrixDiag", "Diag")
def matrix_diag(node: Node, x: Any) -> Any:
    node.check(node.op_type == "MatrixDiag" or len(x.shape) == 1, f"takes a vector, got shape {tuple(x.shape)}")
    return ops.where(np.eye(x.shape[-1], dtype=bool), ops.expand_dims(x, axis=-2), 0)
