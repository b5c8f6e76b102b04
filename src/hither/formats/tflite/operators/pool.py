"""Pooling."""

from __future__ import annotations

from typing import Any

from .... import ops
from ....errors import LimitExceeded
from ..registry import Node, operator
from .nn import window_padding

MAX_WINDOW = 1 << 20


def _window(node: Node, x: Any) -> tuple[tuple[int, int], dict[str, Any]]:
    node.check(len(x.shape) == 4, f"pools images [N, H, W, C], got {tuple(x.shape)}")
    window = (int(node["filter_height"]), int(node["filter_width"]))
    strides = (int(node.get("stride_h", 1)), int(node.get("stride_w", 1)))
    node.check(min(window + strides) >= 1, f"window {window} and strides {strides}")
    if window[0] * window[1] > MAX_WINDOW:
        raise LimitExceeded(f"{node.label}: a window of {window[0]} × {window[1]}; at most {MAX_WINDOW} elements")
    return window, {"strides": strides, "padding": window_padding(node, x, window, strides, (1, 1)), "layout": "channels_last"}


@operator("MAX_POOL_2D")
def max_pool_2d(node: Node, x: Any) -> Any:
    window, options = _window(node, x)
    return node.activated(ops.max_pool(x, window, **options))


@operator("AVERAGE_POOL_2D")
def average_pool_2d(node: Node, x: Any) -> Any:
    window, options = _window(node, x)
    return node.activated(ops.avg_pool(x, window, **options))


@operator("L2_POOL_2D")
def l2_pool_2d(node: Node, x: Any) -> Any:
    window, options = _window(node, x)
    return node.activated(ops.sqrt(ops.avg_pool(ops.square(x), window, **options)))
