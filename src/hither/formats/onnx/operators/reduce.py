"""Reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .... import dtypes as dt
from .... import ops
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import as_float, cast


def _reduction(name: str, since: int) -> Callable[[Callable[[Any, tuple[int, ...], bool], Any]], None]:
    """Register `function(x, axes, keepdims)`; axes are an input from opset `since` on."""

    def register(function: Callable[[Any, tuple[int, ...], bool], Any]) -> None:
        def run(node: Node, x: Any, axes: Any = None) -> Any:
            rank = len(x.shape)
            if node.opset < since:
                given = node.get("axes", ())
            else:
                given = () if axes is None else node.ints(axes, "the axes")
            if not given:
                if node.get("noop_with_empty_axes", 0):
                    return function(x, (), True) if name in _POINTWISE else x
                given = tuple(range(rank))
            return function(x, node.axes(given, rank), bool(node["keepdims"]))

        operator(name)(run)

    return register


# What these do to each element is done also where no axis is reduced.
_POINTWISE = {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceSumSquare"}


@_reduction("ReduceSum", 13)
def reduce_sum(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return _reduce("reduce_sum", x, axes, keep)


@_reduction("ReduceProd", 18)
def reduce_prod(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return _reduce("reduce_prod", x, axes, keep)


@_reduction("ReduceMax", 18)
def reduce_max(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return _extremum("reduce_max", x, axes, keep)


@_reduction("ReduceMin", 18)
def reduce_min(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return _extremum("reduce_min", x, axes, keep)


@_reduction("ReduceMean", 18)
def reduce_mean(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    count = math.prod(x.shape[a] for a in axes)
    total = _reduce("reduce_sum", x, axes, keep)
    if x.dtype.kind == "f":
        return total * (1.0 / count) if count else total / 0.0
    return apply("div", total, ops.full(total.shape, count, dtype=x.dtype))


@_reduction("ReduceL1", 18)
def reduce_l1(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return _reduce("reduce_sum", x if x.dtype.kind == "u" else ops.abs(x), axes, keep)


@_reduction("ReduceL2", 18)
def reduce_l2(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    wide = as_float(x)
    return cast(ops.sqrt(_reduce("reduce_sum", wide * wide, axes, keep)), x.dtype)


@_reduction("ReduceSumSquare", 18)
def reduce_sum_square(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return _reduce("reduce_sum", x * x, axes, keep)


@_reduction("ReduceLogSum", 18)
def reduce_log_sum(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return cast(ops.log(as_float(_reduce("reduce_sum", x, axes, keep))), x.dtype)


@_reduction("ReduceLogSumExp", 18)
def reduce_log_sum_exp(x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    wide = as_float(x)
    largest = _reduce("reduce_max", wide, axes, True)
    largest = ops.where(apply("is_inf", largest), 0.0, largest)
    total = ops.log(_reduce("reduce_sum", ops.exp(wide - largest), axes, True)) + largest
    if not keep:
        total = ops.reshape(total, tuple(n for i, n in enumerate(x.shape) if i not in axes))
    return cast(total, x.dtype)


def _reduce(name: str, x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    result = apply(name, x, axes=tuple(sorted(axes))) if axes else x
    return ops.reshape(result, tuple(1 if i in axes else n for i, n in enumerate(x.shape))) if keep else result


def _extremum(name: str, x: Any, axes: tuple[int, ...], keep: bool) -> Any:
    if x.dtype.kind == "b":
        return cast(_reduce(name, cast(x, dt.uint8), axes, keep), dt.bool_)
    return _reduce(name, x, axes, keep)


@operator("ArgMax", "ArgMin")
def arg_extremum(node: Node, x: Any) -> Any:
    axis = node.axis(node["axis"], len(x.shape))
    node.check(x.shape[axis] > 0, f"axis {axis} of shape {tuple(x.shape)} is empty")
    last = bool(node.get("select_last_index", 0))
    index = apply(node.op_type.lower(), x, axis=axis, last=last, dtype=dt.int64)
    if not node["keepdims"]:
        return index
    return ops.reshape(index, tuple(1 if i == axis else n for i, n in enumerate(x.shape)))
