"""Reductions. Quantised ones compute on real numbers and round once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .... import ops
from ..registry import Node, operator


def _axes(node: Node, x: Any, axes: Any) -> tuple[int, ...]:
    """The axes that a reduction is over; TensorFlow lets one be named twice."""
    return tuple(sorted({node.axis(a, len(x.shape)) for a in node.known_ints(axes, "axes")}))


def _reduction(name: str, function: Callable[..., Any], *, keeps_dtype: bool = True) -> None:
    @operator(name)
    def run(node: Node, x: Any, axes: Any) -> Any:
        made = function(x, axis=_axes(node, x, axes), keepdims=bool(node.get("keep_dims", False)))
        return ops.astype(made, x.dtype) if keeps_dtype and made.dtype != x.dtype else made


def _mean(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
    if x.dtype.kind == "f":
        return ops.mean(x, axis=axis, keepdims=keepdims)
    count = int(np.prod([x.shape[a] for a in axis], dtype=np.int64))
    return ops.truncated_divide(ops.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype), max(count, 1))


for _name, _function in (
    ("MEAN", _mean), ("SUM", ops.sum), ("REDUCE_PROD", ops.prod), ("REDUCE_MAX", ops.max), ("REDUCE_MIN", ops.min),
    ("REDUCE_ANY", ops.any), ("REDUCE_ALL", ops.all),
):  # fmt: skip
    _reduction(_name, _function)


@operator("ARG_MAX", stored=True)
def arg_max(node: Node, x: Any, axis: Any) -> Any:
    return ops.argmax(x, axis=node.axis(node.scalar(axis, "the axis"), len(x.shape)), dtype=node.outputs[0].element)


@operator("ARG_MIN", stored=True)
def arg_min(node: Node, x: Any, axis: Any) -> Any:
    return ops.argmin(x, axis=node.axis(node.scalar(axis, "the axis"), len(x.shape)), dtype=node.outputs[0].element)


@operator("CUMSUM")
def cumsum(node: Node, x: Any, axis: Any) -> Any:
    at = node.axis(node.scalar(axis, "the axis"), len(x.shape))
    backward, exclusive = bool(node.get("reverse", False)), bool(node.get("exclusive", False))
    source = ops.flip(x, axis=at) if backward else x
    total = ops.cumulative_sum(source, axis=at, dtype=x.dtype)
    total = total - source if exclusive and x.dtype.kind != "f" else total
    if exclusive and x.dtype.kind == "f":  # no subtraction: it would round
        first = [(1, 0) if a == at else (0, 0) for a in range(len(x.shape))]
        total = ops.slice_axis(ops.pad(total, first), at, 0, x.shape[at])
    return ops.flip(total, axis=at) if backward else total


@operator("SEGMENT_SUM")
def segment_sum(node: Node, x: Any, segments: Any) -> Any:
    known = node.static(segments, "the segments (they size the result)")
    node.check(known.ndim == 1 and bool((np.diff(known) >= 0).all()), "segments must be sorted")
    return ops.segment_sum(x, segments, num_segments=int(known[-1]) + 1 if known.size else 0)


@operator("UNSORTED_SEGMENT_SUM")
def unsorted_segment_sum(node: Node, x: Any, segments: Any, count: Any) -> Any:
    return ops.segment_sum(x, segments, num_segments=node.scalar(count, "the number of segments"))


def _unsorted(name: str, combine: str, start: Callable[[Any], Any]) -> None:
    @operator(name)
    def run(node: Node, x: Any, segments: Any, count: Any) -> Any:
        number, axes = node.scalar(count, "the number of segments"), len(segments.shape)
        node.check(tuple(x.shape[:axes]) == tuple(segments.shape) and number >= 0, "the segments do not fit the data")
        rows = ops.reshape(x, (int(np.prod(segments.shape, dtype=np.int64)), *x.shape[axes:]))
        at = ops.reshape(segments, (-1, 1))
        at = ops.where(ops.logical_and(at >= 0, at < number), at, number)  # one row more takes what is dropped
        empty = ops.full((number + 1, *rows.shape[1:]), start(x.dtype), dtype=x.dtype)
        return ops.scatter_nd(empty, at, rows, combine=combine)[:number]


def _lowest(dtype: Any) -> Any:
    return np.finfo(dtype.numpy).min if dtype.kind == "f" else np.iinfo(dtype.numpy).min


def _highest(dtype: Any) -> Any:
    return np.finfo(dtype.numpy).max if dtype.kind == "f" else np.iinfo(dtype.numpy).max


for _kind, _combine, _start in (
    ("MAX", "max", _lowest), ("MIN", "min", _highest), ("PROD", "mul", lambda dtype: 1),
):  # fmt: skip
    _unsorted(f"UNSORTED_SEGMENT_{_kind}", _combine, _start)
