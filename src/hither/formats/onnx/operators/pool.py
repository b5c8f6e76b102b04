"""Pooling, windowed and global, and its inverse."""

from __future__ import annotations

from typing import Any

from .... import ops
from ..registry import Node, operator
from .nn import pairs, window_arguments


def _pool_arguments(node: Node, x: Any) -> dict[str, Any]:
    node.check(len(x.shape) >= 3, f"takes [N, C, …], got shape {tuple(x.shape)}")
    return {"ceil_mode": bool(node.get("ceil_mode", 0)), **window_arguments(node, len(x.shape) - 2)}


def _window(node: Node, x: Any) -> tuple[int, ...]:
    window = tuple(node["kernel_shape"])
    node.check(
        len(window) == len(x.shape) - 2 and min(window) > 0, f"kernel_shape {window} does not fit shape {tuple(x.shape)}"
    )
    return window


@operator("MaxPool")
def max_pool(node: Node, x: Any) -> Any:
    arguments = _pool_arguments(node, x)
    if not node.wants(1):
        return ops.max_pool(x, _window(node, x), **arguments)
    return ops.max_pool_with_indices(x, _window(node, x), **arguments, column_major=bool(node.get("storage_order", 0)))


@operator("AveragePool")
def average_pool(node: Node, x: Any) -> Any:
    arguments = _pool_arguments(node, x)
    return ops.avg_pool(x, _window(node, x), **arguments, count_include_pad=bool(node.get("count_include_pad", 0)))


@operator("LpPool")
def lp_pool(node: Node, x: Any) -> Any:
    return ops.lp_pool(x, _window(node, x), p=node["p"], **_pool_arguments(node, x))


@operator("GlobalAveragePool")
def global_average_pool(node: Node, x: Any) -> Any:
    return ops.global_avg_pool(x)


@operator("GlobalMaxPool")
def global_max_pool(node: Node, x: Any) -> Any:
    return ops.global_max_pool(x)


@operator("GlobalLpPool")
def global_lp_pool(node: Node, x: Any) -> Any:
    return ops.global_lp_pool(x, p=node["p"])


@operator("MaxUnpool")
def max_unpool(node: Node, x: Any, indices: Any, output_shape: Any = None) -> Any:
    window, rank = _window(node, x), len(x.shape) - 2
    strides, padding = tuple(node.get("strides") or (1,) * rank), pairs(node, rank)
    node.check(len(strides) == rank, f"strides {strides} do not fit {rank} spatial axes")
    spatial = [(n - 1) * s - low - high + k for n, s, k, (low, high) in zip(x.shape[2:], strides, window, padding)]
    inferred = (*x.shape[:2], *spatial)
    node.check(min(inferred) >= 0, f"pads {padding} leave nothing")
    wanted = inferred if output_shape is None else node.ints(output_shape, "the output shape")
    node.check(len(wanted) == len(inferred), f"output shape {wanted} does not fit {rank} spatial axes")
    return ops.max_unpool(x, indices, wanted)


@operator("LRN")
def local_response_normalization(node: Node, x: Any) -> Any:
    size = node["size"]
    node.check(size > 0 and len(x.shape) >= 2, f"size {size} does not fit shape {tuple(x.shape)}")
    return ops.local_response_norm(x, size, alpha=node["alpha"], beta=node["beta"], bias=node["bias"])
