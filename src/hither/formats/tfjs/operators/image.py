"""Resampling of images."""

from __future__ import annotations

from typing import Any

from .... import ops
from ... import tensorflow as tf
from ..registry import Node, operator
from ..sizes import Bounded
from .creation import checked


def _resize(node: Node, x: Any, size: Any, function: Any) -> Any:
    height, width = node.ints(size, "the size")
    node.check(len(x.shape) == 4, f"takes [N, H, W, C], got shape {tuple(x.shape)}")
    checked(node, (x.shape[0], height, width, x.shape[3]))
    corners, centers = node.flag("align_corners"), node.flag("half_pixel_centers")
    return function(x, (height, width), align_corners=corners, half_pixel_centers=centers)


@operator("ResizeBilinear", rows=True)
def resize_bilinear(node: Node, x: Any, size: Any) -> Any:
    return _resize(node, x, size, tf.resize_bilinear)


@operator("ResizeNearestNeighbor", rows=True)
def resize_nearest(node: Node, x: Any, size: Any) -> Any:
    return _resize(node, x, size, tf.resize_nearest)


@operator("CropAndResize", bounded=True)
def crop_and_resize(node: Node, x: Any, boxes: Any, images: Any, size: Any) -> Any:
    height, width = node.ints(size, "the size")
    method = node.text("method", "bilinear")
    node.check(method in ("bilinear", "nearest"), f"method {method!r} is unknown")
    if isinstance(x, Bounded):
        raise node.unsupported("a number of images that is known only at run time")
    like = next((v for v in (boxes, images) if isinstance(v, Bounded)), None)
    boxes, images = (v.data if isinstance(v, Bounded) else v for v in (boxes, images))
    count = min(boxes.shape[0], images.shape[0])
    checked(node, (count, height, width, x.shape[-1]))
    made = ops.crop_and_resize(
        ops.astype(x, "float32"), boxes[:count], images[:count], (height, width),
        mode="linear" if method == "bilinear" else "nearest", extrapolation=node.number("extrapolation_value", 0.0),
        layout="channels_last",
    )  # fmt: skip
    return made if like is None else Bounded(made, like.length, 0)


@operator("ImageProjectiveTransformV2", "ImageProjectiveTransformV3")
def projective_transform(node: Node, x: Any, matrices: Any, size: Any, fill: Any = 0.0) -> Any:
    height, width = node.ints(size, "the size")
    method, mode = node.text("interpolation", "NEAREST").upper(), node.text("fill_mode", "CONSTANT").upper()
    paddings = {"CONSTANT": "zeros", "NEAREST": "border", "REFLECT": "reflection", "WRAP": "wrap"}
    node.check(method in ("NEAREST", "BILINEAR") and mode in paddings, f"interpolation {method} or fill_mode {mode} is unknown")
    checked(node, (x.shape[0], height, width, x.shape[-1]))
    fill = ops.reshape(fill, ()) if hasattr(fill, "shape") else fill
    return ops.projective_transform(
        x, matrices, (height, width), mode="linear" if method == "BILINEAR" else "nearest", padding=paddings[mode], fill=fill,
        layout="channels_last",
    )  # fmt: skip
