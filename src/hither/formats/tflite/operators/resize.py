"""Resampling of images [N, H, W, C]."""

from __future__ import annotations

from typing import Any

from ... import tensorflow as tf
from ..registry import Node, operator


def _options(node: Node) -> dict[str, bool]:
    return {
        "align_corners": bool(node.get("align_corners", False)),
        "half_pixel_centers": bool(node.get("half_pixel_centers", False)),
    }


@operator("RESIZE_BILINEAR")
def resize_bilinear(node: Node, x: Any, size: Any) -> Any:
    return tf.resize_bilinear(x, node.ints(size, "the size"), **_options(node))


@operator("RESIZE_NEAREST_NEIGHBOR", stored=True)
def resize_nearest_neighbor(node: Node, x: Any, size: Any) -> Any:
    return tf.resize_nearest(x, node.ints(size, "the size"), **_options(node))
