"""Gathering, scattering, one-hot and the largest of many. Quantised numbers are taken as they are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ... import tensorflow as tf
from ..registry import Node, operator


@operator("GATHER", stored=True)
def gather(node: Node, x: Any, indices: Any) -> Any:
    axis, batch = int(node.get("axis", 0)), int(node.get("batch_dims", 0))
    known = node.known(indices)
    if known is not None and known.size:
        at = node.axis(axis, len(x.shape))
        node.check(int(known.min()) >= 0 and int(known.max()) < x.shape[at], f"an index is not in 0…{x.shape[at] - 1}")
    return node.moved(tf.gather(x, indices, axis=axis, batch_dims=batch))


@operator("GATHER_ND", stored=True)
def gather_nd(node: Node, x: Any, indices: Any) -> Any:
    return node.moved(ops.gather_nd(x, indices))


@operator("SCATTER_ND", stored=True)
def scatter_nd(node: Node, indices: Any, updates: Any, shape: Any) -> Any:
    return tf.scatter_new(indices, updates, node.shape(shape))


@operator("SPARSE_TO_DENSE", stored=True)
def sparse_to_dense(node: Node, indices: Any, shape: Any, values: Any, default: Any) -> Any:
    wanted = node.shape(shape)
    at = ops.reshape(indices, (-1, len(wanted)))
    empty = ops.broadcast_to(ops.reshape(default, ()), wanted)
    return ops.scatter_nd(empty, at, ops.broadcast_to(values, (at.shape[0],)))


@operator("EMBEDDING_LOOKUP", stored=True)
def embedding_lookup(node: Node, indices: Any, table: Any) -> Any:
    rows = ops.take(table, indices, axis=0)
    if not node.is_quantized(1) or node.outputs[0].element.kind != "f":
        return rows
    quantization = node.quantization(1)
    node.check(not quantization.per_axis or quantization.axis == 0, "scales along the table's columns")
    scale: Any = quantization.scale.reshape(())
    zero: Any = quantization.zero_point.astype(np.int32).reshape(())
    if quantization.per_axis:
        lead = (*indices.shape, *(1,) * (len(table.shape) - 1))
        scale = ops.reshape(ops.take(quantization.scale, indices, axis=0), lead)
        zero = ops.reshape(ops.take(quantization.zero_point.astype(np.int32), indices, axis=0), lead)
    return ops.astype(ops.astype(rows, dt.int32) - zero, dt.float32) * scale


@operator("ONE_HOT", stored=True)
def one_hot(node: Node, indices: Any, depth: Any, on: Any, off: Any) -> Any:
    return tf.one_hot(
        indices, node.scalar(depth, "the depth"), ops.reshape(on, ()), ops.reshape(off, ()), axis=int(node.get("axis", -1))
    )


@operator("TOPK_V2", stored=True)
def topk_v2(node: Node, x: Any, k: Any) -> Any:
    values, indices = ops.top_k(x, node.scalar(k, "k"))
    return node.moved(values), ops.astype(indices, node.outputs[1].element if len(node.outputs) > 1 else dt.int32)


@operator("BUCKETIZE", stored=True)
def bucketize(node: Node, x: Any) -> Any:
    option = node.get("boundaries")
    bounds = np.zeros(0, np.float32) if option is None else option.astype(np.float32)
    node.check(not (np.diff(bounds) < 0).any(), "the boundaries are not sorted")
    value = ops.astype(x, dt.float32)
    return ops.astype(ops.searchsorted(bounds, value, side="right"), dt.int32)
