"""Pooling, windowed and global, and its inverse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ....graph.primitives.rules import lowest
from ..registry import Node, operator
from .common import as_float, cast
from .nn import Pairs, cropped, window_geometry


def _geometry(node: Node, x: Any) -> tuple[tuple[int, ...], tuple[int, ...], Pairs, Pairs, tuple[int, ...]]:
    """Window, strides, padding as given, padding extended for ceil_mode, dilation."""
    window, spatial = tuple(node["kernel_shape"]), tuple(x.shape[2:])
    node.check(len(x.shape) >= 3, f"takes [N, C, …], got shape {tuple(x.shape)}")
    strides, padding, dilation = window_geometry(node, spatial, window)
    if not node.get("ceil_mode", 0):
        return window, strides, padding, padding, dilation
    extended = []
    for n, k, s, d, (low, high) in zip(spatial, window, strides, dilation, padding):
        reach = (k - 1) * d + 1
        count = -(-(n + low + high - reach) // s) + 1
        if (count - 1) * s >= n + low:  # the last window would begin in the padding
            count -= 1
        extended.append((low, max(high, (count - 1) * s + reach - n - low)))
    return window, strides, padding, tuple(extended), dilation


def _extents(x: Any, window: Any, strides: Any, padding: Any, dilation: Any) -> tuple[int, ...]:
    return tuple(
        (n + low + high - (k - 1) * d - 1) // s + 1
        for n, k, s, (low, high), d in zip(x.shape[2:], window, strides, padding, dilation)
    )


@operator("MaxPool")
def max_pool(node: Node, x: Any) -> Any:
    window, strides, _, padding, dilation = _geometry(node, x)
    if not node.wants(1):
        return apply("pool", x, combine="max", window=window, strides=strides, padding=padding, dilation=dilation)
    rank = len(window)
    extents = _extents(x, window, strides, padding, dilation)
    low, high = (0, 0, *(a for a, _ in padding)), (0, 0, *(b for _, b in padding))
    source = apply("pad", x, low=low, high=high, value=lowest(x.dtype))
    taps = []
    for tap in np.ndindex(*window):
        starts = (0, 0, *(t * d for t, d in zip(tap, dilation)))
        taps.append(apply("slice", source, starts=starts, sizes=(*x.shape[:2], *extents), steps=(1, 1, *strides)))
    stacked = ops.stack(taps, axis=0)
    values = apply("reduce_max", stacked, axes=(0,))
    winner = apply("argmax", stacked, axis=0, last=False, dtype=dt.int64)
    # Position of the winner in the whole array: row-major, or with the last two spatial axes exchanged.
    order = list(range(rank))
    if node.get("storage_order", 0):
        order.reverse()
    scale = 1
    index: Any = None
    for axis in reversed(order):
        inside = math.prod(window[axis + 1 :])
        tap = ops.remainder(apply("div", winner, ops.full(winner.shape, inside, dtype=dt.int64)), window[axis])
        begin = np.arange(extents[axis], dtype=np.int64) * strides[axis] - padding[axis][0]
        begin = begin.reshape([-1 if i == axis + 2 else 1 for i in range(rank + 2)])
        place = (tap * dilation[axis] + Array(begin)) * scale
        index = place if index is None else index + place
        scale *= x.shape[2 + axis]
    image = np.arange(x.shape[0] * x.shape[1], dtype=np.int64).reshape(x.shape[0], x.shape[1], *(1,) * rank) * scale
    return values, index + Array(image)


@operator("AveragePool")
def average_pool(node: Node, x: Any) -> Any:
    window, strides, given, padding, dilation = _geometry(node, x)
    x, padding = cropped(node, x, padding)
    total = apply("pool", x, combine="add", window=window, strides=strides, padding=padding, dilation=dilation)
    counts = np.ones((), np.int64)
    include = node.get("count_include_pad", 0)
    for axis, (k, s, d, (low, _)) in enumerate(zip(window, strides, dilation, padding)):
        n = x.shape[2 + axis]
        at = np.arange(total.shape[2 + axis])[:, None] * s - low + np.arange(k) * d
        first, last = (-given[axis][0], n + given[axis][1]) if include else (0, n)
        counts = np.multiply.outer(counts, ((at >= first) & (at < last)).sum(1))
    counts = counts.astype(np.float64).clip(1)
    if counts.size and (counts == counts.flat[0]).all():
        return total * float(1 / counts.flat[0])
    return total * Array((1 / counts).astype(x.dtype.numpy))


@operator("LpPool")
def lp_pool(node: Node, x: Any) -> Any:
    window, strides, _, padding, dilation = _geometry(node, x)
    p = node["p"]
    raised = _raised(x, p)
    total = apply("pool", raised, combine="add", window=window, strides=strides, padding=padding, dilation=dilation)
    return _root(total, p)


def _raised(x: Any, p: float) -> Any:
    return x * x if p == 2 else ops.abs(x) if p == 1 else ops.pow(ops.abs(x), float(p))


def _root(x: Any, p: float) -> Any:
    return ops.sqrt(x) if p == 2 else x if p == 1 else ops.pow(x, 1.0 / p)


def _spatial(x: Any) -> tuple[int, ...]:
    return tuple(range(2, len(x.shape)))


@operator("GlobalAveragePool")
def global_average_pool(node: Node, x: Any) -> Any:
    return ops.mean(x, axis=_spatial(x), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(node: Node, x: Any) -> Any:
    return ops.max(x, axis=_spatial(x), keepdims=True)


@operator("GlobalLpPool")
def global_lp_pool(node: Node, x: Any) -> Any:
    return _root(ops.sum(_raised(x, node["p"]), axis=_spatial(x), keepdims=True), node["p"])


@operator("MaxUnpool")
def max_unpool(node: Node, x: Any, indices: Any, output_shape: Any = None) -> Any:
    window, rank = tuple(node["kernel_shape"]), len(x.shape) - 2
    strides = tuple(node.get("strides") or (1,) * rank)
    pads = tuple(node.get("pads") or (0,) * 2 * rank)
    node.check(len(window) == len(strides) == rank and len(pads) == 2 * rank, f"kernel, strides or pads do not fit {rank} axes")
    spatial = [(n - 1) * s - pads[i] - pads[i + rank] + k for i, (n, s, k) in enumerate(zip(x.shape[2:], strides, window))]
    inferred = (*x.shape[:2], *spatial)
    node.check(min(inferred) >= 0, f"pads {pads} leave nothing")
    wanted = inferred if output_shape is None else node.ints(output_shape, "the output shape")
    node.check(len(wanted) == len(inferred), f"output shape {wanted} does not fit {rank} spatial axes")
    flat = ops.zeros((math.prod(wanted),), dtype=x.dtype)
    where = ops.reshape(indices, (math.prod(x.shape), 1))
    filled = apply("scatter_nd", flat, where, ops.reshape(x, (math.prod(x.shape),)), combine="set")
    return ops.reshape(filled, tuple(wanted))


@operator("LRN")
def local_response_normalization(node: Node, x: Any) -> Any:
    size = node["size"]
    node.check(size > 0 and len(x.shape) >= 2, f"size {size} does not fit shape {tuple(x.shape)}")
    n, c = x.shape[:2]
    squares = as_float(x)
    squares = ops.reshape(squares * squares, (n, 1, c, math.prod(x.shape[2:])))
    low = (size - 1) // 2
    total = apply(
        "pool",
        squares,
        combine="add",
        window=(size, 1),
        strides=(1, 1),
        padding=((low, size - 1 - low), (0, 0)),
        dilation=(1, 1),
    )
    scale = ops.reshape(total, x.shape) * (node["alpha"] / size) + node["bias"]
    return cast(as_float(x) / ops.pow(scale, node["beta"]), x.dtype)
