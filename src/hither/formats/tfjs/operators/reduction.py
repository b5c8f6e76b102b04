"""Reductions along axes, and running sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import ops
from ....graph.trace import static_value
from ..registry import Node, operator
from ..sizes import Bounded, Dim, Sizes, sizes
from .common import cast, plain
from .creation import checked

REDUCTIONS = {
    "Sum": ops.sum, "Mean": ops.mean, "Max": ops.max, "Min": ops.min, "Prod": ops.prod, "All": ops.all, "Any": ops.any,
    "EuclideanNorm": ops.vector_norm,
}  # fmt: skip


def _nothing(op: str, x: Any) -> Any:
    """What a reduction does not see."""
    if op in ("Sum", "Mean", "EuclideanNorm"):
        return 0
    if op in ("Prod", "All"):
        return True if op == "All" else 1
    if op == "Any":
        return False
    limits = (math.inf, -math.inf) if x.dtype.kind == "f" else (np.iinfo(x.dtype.numpy).max, np.iinfo(x.dtype.numpy).min)
    return limits[0] if op == "Min" else limits[1]


def _axes(node: Node, axis: Any, rank: int) -> tuple[int, ...]:
    return node.axes(node.ints(axis, "the axes"), rank)


def _reduction(node: Node, x: Any, axis: Any) -> Any:
    op, keep = node.op_type, node.flag("keep_dims") or node.flag("keepdims")
    axes = _axes(node, axis, len(x.shape))
    if isinstance(x, Sizes):
        if op == "Prod" and len(x.shape) == 1 and axes == (0,) and not keep:
            return _product(x)
        x = plain(x)
    if not axes:
        return x
    function = REDUCTIONS[op]
    options: dict[str, Any] = {"dtype": x.dtype} if op in ("Sum", "Prod") else {}
    if op == "Mean" and x.dtype.is_integer:
        count = math.prod(x.shape[a] for a in axes)
        return ops.floor_divide(ops.sum(x, axis=axes, keepdims=keep, dtype=x.dtype), max(count, 1))
    if not isinstance(x, Bounded):
        return _counted(node, x, axes, function(x, axis=axes, keepdims=keep, **options))
    if x.axis not in axes:
        made = function(x.data, axis=axes, keepdims=keep, **options)
        return x.map(made, x.axis if keep else x.axis - sum(a < x.axis for a in axes))
    data = x.filled(_nothing(op, x))
    if op != "Mean":
        return _counted(node, x, axes, function(data, axis=axes, keepdims=keep, **options))
    others = math.prod(x.shape[a] for a in axes if a != x.axis)
    count = ops.astype(x.length.traced, "float32") * float(others)
    return ops.divide(ops.sum(data, axis=axes, keepdims=keep), count)


def _counted(node: Node, x: Any, axes: tuple[int, ...], made: Any) -> Any:
    """How many of some bools are true is a size: models go on to slice by it."""
    if node.op_type != "Sum" or made.shape or str(made.dtype) != "int32" or static_value(made) is not None:
        return made
    graph = node.scope.graph
    source = graph.nodes.get(node.importer.flow(graph).origin(node.definition.inputs[0]).node)
    if source is None or source.op != "Cast" or source.attributes.get("SrcT") != "bool":
        return made
    return sizes([Dim.of(made, 0, math.prod(x.shape[a] for a in axes))], ())


def _product(x: Sizes) -> Any:
    total = Dim(1)
    for d in x.dims:
        if d.known is not None:
            total = total.times(d.known)
        elif total.known is not None:
            total = d.times(total.known)
        else:
            return ops.prod(x.plain())
    return sizes([total], ())


operator(*REDUCTIONS, bounded=True, sizes=True)(_reduction)


@operator("ArgMax", "ArgMin", bounded=True)
def arg_extreme(node: Node, x: Any, axis: Any = None) -> Any:
    along = 0 if axis is None else int(node.scalar(axis, "the axis"))
    along = node.axis(along, len(x.shape))
    function = ops.argmax if node.op_type == "ArgMax" else ops.argmin
    if not isinstance(x, Bounded):
        return function(x, axis=along, dtype="int32")
    if x.axis == along:
        return function(x.filled(_nothing("Max" if node.op_type == "ArgMax" else "Min", x)), axis=along, dtype="int32")
    return x.map(function(x.data, axis=along, dtype="int32"), x.axis - (along < x.axis))


@operator("Cumsum", "Cumprod", bounded=True)
def cumulative(node: Node, x: Any, axis: Any) -> Any:
    along = node.axis(int(node.scalar(axis, "the axis")), len(x.shape))
    function = ops.cumulative_sum if node.op_type == "Cumsum" else ops.cumulative_prod
    options = {"axis": along, "dtype": x.dtype, "exclusive": node.flag("exclusive"), "reverse": node.flag("reverse")}
    if isinstance(x, Bounded):
        data = x.filled(0 if node.op_type == "Cumsum" else 1) if x.axis == along else x.data
        return x.map(function(data, **options))
    return function(x, **options)


@operator("Bincount", "DenseBincount")
def bincount(node: Node, x: Any, size: Any, weights: Any) -> Any:
    n = int(node.scalar(size, "the size"))
    checked(node, (n,))
    rows = ops.reshape(x, (1, -1)) if len(x.shape) != 2 else x
    hits = ops.expand_dims(rows, axis=1) == np.arange(n, dtype=np.int32)[:, None]
    if node.flag("binary_output"):
        made = cast(ops.any(hits, axis=-1), "float32")
    elif weights.shape and 0 not in weights.shape:
        made = ops.sum(
            ops.where(hits, ops.expand_dims(ops.reshape(weights, rows.shape), axis=1), 0), axis=-1, dtype=weights.dtype
        )
    else:
        made = cast(ops.sum(hits, axis=-1), str(weights.dtype))
    return made if len(x.shape) == 2 else ops.reshape(made, (n,))
