"""com.microsoft's own versions of array operators: padding, ranges, triangles, crops, inverses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..... import ops
from .....array import Array
from .....graph.primitives import apply
from ...registry import Node, operator
from ..common import constant
from ..conversion import range_of
from ..indexing import gather_nd
from ..movement import padded, trilu
from ..sampling import grid_sample
from .domain import DOMAIN


@operator("Trilu", domain=DOMAIN, attributes={"upper": 1})
def triangle(node: Node, x: Any, k: Any = None) -> Any:
    return trilu(node, x, k)


@operator("Range", domain=DOMAIN, attributes={})
def numbers(node: Node, start: Any, limit: Any, delta: Any = None) -> Any:
    return range_of(node, start, limit, constant(1, start.dtype) if delta is None else delta)


@operator("Pad", domain=DOMAIN, attributes={"mode": "constant"})
def pad(node: Node, x: Any, pads: Any, value: Any = None) -> Any:
    rank = len(x.shape)
    amounts = node.ints(ops.reshape(pads, (-1,)), "the pads")
    node.check(len(amounts) == 2 * rank, f"{len(amounts)} pads do not fit {rank} axes")
    fill = 0 if value is None else node.scalar(value, "the value")
    return padded(node, x, list(amounts[:rank]), list(amounts[rank:]), node["mode"], fill)


@operator("ExpandDims", domain=DOMAIN, attributes={})
def expand_dims(node: Node, x: Any, axis: Any) -> Any:
    where = node.axis(int(node.scalar(axis, "the axis")), len(x.shape) + 1)
    return ops.expand_dims(x, axis=where)


@operator("UnfoldTensor", domain=DOMAIN, attributes={"dim": -1, "size": int, "step": 1})
def unfold(node: Node, x: Any) -> Any:
    """All windows of one axis, `step` apart, as a last axis."""
    axis, size, step = node.axis(node["dim"], len(x.shape)), node["size"], node["step"]
    extent = x.shape[axis]
    node.check(0 < size <= extent and step > 0, f"windows of {size}, {step} apart, do not fit {extent}")
    index = np.arange(0, extent - size + 1, step)[:, None] + np.arange(size)
    return ops.moveaxis(apply("take", x, Array(index.astype(np.int32)), axis=axis), axis + 1, -1)


@operator("GatherND", domain=DOMAIN, attributes={})
def gather(node: Node, x: Any, indices: Any) -> Any:
    return gather_nd(node, x, indices)


@operator("TorchEmbedding", domain=DOMAIN, attributes={})
def embedding(node: Node, table: Any, indices: Any, padding: Any = None, by_frequency: Any = None) -> Any:
    """The further inputs change gradients only."""
    return ops.take(table, indices, axis=0)


@operator("GridSample", domain=DOMAIN, attributes={"mode": "bilinear", "padding_mode": "zeros", "align_corners": 0})
def sample(node: Node, x: Any, grid: Any) -> Any:
    return grid_sample(node, x, grid)


@operator("CropAndResize", domain=DOMAIN, attributes={"mode": "bilinear", "extrapolation_value": 0.0})
def crop_and_resize(node: Node, x: Any, boxes: Any, images: Any, size: Any) -> Any:
    rows, columns = node.ints(size, "the crop size")
    node.check(node["mode"] in ("bilinear", "nearest"), f"mode must be bilinear or nearest, got {node['mode']!r}")
    mode = "linear" if node["mode"] == "bilinear" else "nearest"
    return ops.crop_and_resize(x, boxes, images, (rows, columns), mode=mode, extrapolation=node["extrapolation_value"])


@operator("CDist", domain=DOMAIN, attributes={"metric": "sqeuclidean"})
def distances(node: Node, a: Any, b: Any) -> Any:
    """The distance of each row of a from each row of b."""
    if node["metric"] not in ("euclidean", "sqeuclidean"):
        raise node.unsupported(f"metric {node['metric']!r}")
    squares = ops.sum(ops.square(ops.expand_dims(a, axis=1) - ops.expand_dims(b, axis=0)), axis=-1)
    return ops.sqrt(squares) if node["metric"] == "euclidean" else squares


@operator("Inverse", domain=DOMAIN, attributes={})
def inverse(node: Node, x: Any) -> Any:
    node.check(len(x.shape) >= 2 and x.shape[-1] == x.shape[-2], f"takes square matrices, got shape {tuple(x.shape)}")
    return ops.linalg.inv(x)


@operator("GatedRelativePositionBias", domain=DOMAIN, attributes={"num_heads": int})
def gated_relative_position_bias(
    node: Node, query: Any, query_bias: Any, positions: Any, weight: Any, bias: Any, factor: Any, offsets: Any = None
) -> Any:
    """Relative position biases [1, heads, steps, steps] times a gate that each query computes (WavLM)."""
    if offsets is not None:
        raise node.unsupported("token_offset (packed batches)")
    batch, length, width = query.shape
    heads = node["num_heads"]
    apart = ops.permute_dims(ops.reshape(query + query_bias, (batch, length, heads, width // heads)), (0, 2, 1, 3))
    gates = ops.reshape(ops.matmul(apart, weight) + bias, (batch, heads, length, 2, -1))
    gates = ops.sigmoid(ops.sum(gates, axis=-1))
    update, reset = gates[..., :1], gates[..., 1:]
    return (update * (reset * factor - 1.0) + 2.0) * positions
