"""Constants, dtypes, shapes as data, and operators that pass their input on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ....graph.trace import weight
from ...interpreter import stays_visible
from ..proto import check_shape, numpy_dtype
from ..registry import Node, operator
from .common import cast, elementwise

FOLDED_ELEMENTS = 1024  # larger arrays of one number stay a broadcast in the Graph


@operator("Constant")
def constant(node: Node) -> Any:
    for name, kind in (
        ("value_float", np.float32),
        ("value_int", np.int64),
        ("value_floats", np.float32),
        ("value_ints", np.int64),
    ):
        if name in node.attributes:
            return Array(np.array(node[name], kind))
    value = node.get("value", node.get("sparse_value"))
    if value is None:
        raise node.unsupported("a constant of strings, or one without a value,")
    node.check(isinstance(value, np.ndarray), "the value must be a tensor")
    return weight(value, node.outputs[0]) if stays_visible(value) else Array(value)


def filled(value: np.ndarray, shape: tuple[int, ...], where: str) -> Any:
    """An array of one number: computed at once when small, else left to be broadcast when the program runs."""
    size = check_shape(shape, value.itemsize, where)
    scalar = np.ascontiguousarray(value).reshape(())
    return apply("broadcast", Array(scalar) if size <= FOLDED_ELEMENTS else weight(scalar, ""), shape=shape, axes=())


@operator("ConstantOfShape")
def constant_of_shape(node: Node, shape: Any) -> Any:
    value = node.get("value", np.zeros(1, np.float32))
    node.check(isinstance(value, np.ndarray) and value.size == 1, "the value must be a tensor of one element")
    return filled(value, node.ints(shape, "the shape"), node.label)


@operator("Cast", bounded=True)
def cast_to(node: Node, x: Any) -> Any:
    to = dt.dtype(numpy_dtype(node["to"], node.label))
    return elementwise(node, lambda a: cast(a, to), x)


@operator("CastLike")
def cast_like(node: Node, x: Any, like: Any) -> Any:
    return cast(x, like.dtype)


@operator("Identity", bounded=True)
def identity(node: Node, x: Any) -> Any:
    return x


@operator("Shape")
def shape_of(node: Node, x: Any) -> Any:
    rank = len(x.shape)
    start, end = node.get("start", 0), node.get("end", rank)
    start = max(0, min(start + rank if start < 0 else start, rank))
    end = max(0, min(end + rank if end < 0 else end, rank))
    return Array(np.array(x.shape[start : max(start, end)], np.int64))


@operator("Size")
def size_of(node: Node, x: Any) -> Any:
    return Array(np.array(math.prod(x.shape), np.int64))


@operator("Range")
def range_of(node: Node, start: Any, limit: Any, delta: Any) -> Any:
    first, last, step = (node.scalar(v, f"the {w}") for v, w in ((start, "start"), (limit, "limit"), (delta, "step")))
    node.check(step != 0, "the step is zero")
    node.check(all(math.isfinite(v) for v in (first, last, step)), "start, limit and step must be finite")
    count = max(0, math.ceil((last - first) / step))
    kind = start.dtype.numpy
    check_shape((count,), kind.itemsize, node.label)
    return Array((np.arange(count) * step + first).astype(kind))


@operator("EyeLike")
def eye_like(node: Node, x: Any) -> Any:
    node.check(len(x.shape) == 2, f"takes a matrix, got shape {x.shape}")
    to = dt.dtype(numpy_dtype(node["dtype"], node.label)) if "dtype" in node.attributes else x.dtype
    check_shape(x.shape, 8, node.label)
    return Array(np.eye(x.shape[0], x.shape[1], k=node["k"], dtype=to.numpy))


@operator("Dropout")
def dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    if training is not None and node.opset >= 12:
        mode = bool(node.scalar(training, "training_mode"))
        rate = 0.5 if ratio is None else float(node.scalar(ratio, "the ratio"))
        if mode and rate != 0:
            from .random import uniform

            node.check(0 <= rate < 1, f"the ratio must be in [0, 1), got {rate}")
            draw: Any = uniform(node, x.shape, dt.float32)
            kept = draw >= rate
            return ops.where(kept, x * (1.0 / (1.0 - rate)), 0.0), kept
    if not node.wants(1):
        return x
    # Opset 7 to 9 give the mask in the input's dtype.
    mask = filled(np.array(True), tuple(x.shape), node.label)
    return x, mask if node.opset >= 10 else cast(mask, x.dtype)
