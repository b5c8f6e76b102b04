"""What several operators are written with: broadcasting as ONNX does it, and passing data-dependent lengths through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ....dtypes import DType, dtype
from ....errors import UnsupportedFeature
from ....graph.primitives import apply
from ..registry import Bounded, Node


def constant(values: Any, like: DType | Any) -> Array:
    """Numbers as an Array of a dtype."""
    return Array(np.asarray(values).astype(dtype(like).numpy))


def broadcast(*xs: Any) -> list[Any]:
    """Arrays broadcast to one shape by NumPy's (and ONNX's multidirectional) rules."""
    shape = np.broadcast_shapes(*[x.shape for x in xs])
    return [x if tuple(x.shape) == shape else ops.broadcast_to(x, shape) for x in xs]


def elementwise(node: Node, function: Callable[..., Any], *xs: Any) -> Any:
    """`function` of arrays broadcast together; where one has a data-dependent length, so has the result."""
    bounded = [x for x in xs if isinstance(x, Bounded)]
    if not bounded:
        return function(*broadcast(*xs))
    rank = max(len(x.shape) for x in xs)
    first = bounded[0]
    axis = first.axis + rank - len(first.shape)
    for x in xs:
        own = axis - (rank - len(x.shape))
        if isinstance(x, Bounded):
            fits = x.length is first.length and x.axis == own
        else:
            fits = own < 0 or x.shape[own] == 1
        if not fits:
            raise UnsupportedFeature(f"{node.label}: combines arrays whose lengths, known only at run time, may differ")
    return first.map(function(*broadcast(*[x.data if isinstance(x, Bounded) else x for x in xs])), axis)


def primitive(name: str, **params: Any) -> Callable[..., Any]:
    """An elementwise primitive as a function of arrays of one shape and dtype."""
    return lambda *xs: apply(name, *xs, **params)


def cast(x: Any, to: Any) -> Any:
    """Convert to another dtype as C does: floats truncate, anything but zero is true."""
    to = dtype(to)
    if x.dtype == to:
        return x
    if to.kind == "b":
        return x != 0
    return ops.astype(x, to)


def along(vector: Any, axis: int, rank: int) -> Any:
    """A vector shaped to broadcast along one axis of an array of `rank` axes."""
    return ops.reshape(vector, tuple(vector.shape[0] if i == axis else 1 for i in range(rank)))


def as_float(x: Any) -> Any:
    """At least float32: halves and integers are computed with in float32."""
    return x if x.dtype.kind == "f" and x.dtype.bits >= 32 else cast(x, "float32")


def non_negative(indices: Any, extent: Any) -> Any:
    """Indices with negative ones counted from the end; `extent` is a number or broadcasts against them."""
    if indices.dtype.kind == "u":
        return indices
    if isinstance(indices, Array) and isinstance(extent, int):
        values = indices.numpy()
        if values.size and (values.min() < -extent or values.max() >= extent):
            raise IndexError(f"an index lies outside [-{extent}, {extent - 1}]")
        return Array(np.where(values < 0, values + extent, values).astype(values.dtype))
    return ops.where(indices < 0, indices + extent, indices)


def flatten_from(x: Any, axis: int) -> Any:
    """Axes before `axis` as one and the others as one."""
    lead = int(np.prod(x.shape[:axis], dtype=np.int64))
    return ops.reshape(x, (lead, int(np.prod(x.shape[axis:], dtype=np.int64))))


def same_dtypes(node: Node, xs: Sequence[Any]) -> None:
    """ONNX converts nothing by itself: operands must agree."""
    kinds = dict.fromkeys(str(x.dtype) for x in xs)
    node.check(len(kinds) <= 1, f"operands must have one dtype, got {', '.join(kinds)}")
