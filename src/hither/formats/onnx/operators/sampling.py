"""Sampling images at computed places: GridSample, AffineGrid, RoiAlign, MaxRoiPool, DeformConv."""

from __future__ import annotations

from typing import Any

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ..registry import Node, operator
from .common import cast
from .nn import window_arguments


@operator("GridSample")
def grid_sample(node: Node, x: Any, grid: Any) -> Any:
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(node["mode"], node["mode"])
    if mode == "cubic" and len(x.shape) != 4:
        raise node.unsupported("cubic interpolation of volumes")
    return ops.grid_sample(x, grid, mode=mode, padding=node["padding_mode"], align_corners=bool(node["align_corners"]))


@operator("AffineGrid")
def affine_grid(node: Node, theta: Any, size: Any) -> Any:
    shape = node.ints(size, "the size")
    node.check(shape[:1] == tuple(theta.shape[:1]), f"theta {tuple(theta.shape)} does not fit {shape}")
    return ops.affine_grid(theta, shape[2:], align_corners=bool(node["align_corners"]))


@operator("RoiAlign")
def roi_align(node: Node, x: Any, rois: Any, batch: Any) -> Any:
    samples = node["sampling_ratio"]
    if samples == 0:  # takes ceil(bin size) samples, so the regions' sizes decide how many there are
        rois = Array(node.static(rois, "the number of samples (sampling_ratio is 0, which derives it from rois)"))
    return ops.roi_align(
        x, rois, batch, (node["output_height"], node["output_width"]), mode=node["mode"], scale=node["spatial_scale"],
        samples=samples, half_pixel=node.opset >= 16 and node["coordinate_transformation_mode"] == "half_pixel",
    )  # fmt: skip


@operator("MaxRoiPool")
def max_roi_pool(node: Node, x: Any, rois: Any) -> Any:
    pooled = tuple(node["pooled_shape"])
    node.check(len(pooled) == 2 and min(pooled) > 0, f"pooled_shape {pooled} must be two positive numbers")
    node.check(len(rois.shape) == 2 and rois.shape[1] == 5, f"rois must be [regions, 5], got {tuple(rois.shape)}")
    return ops.roi_max_pool(x, rois[:, 1:], cast(rois[:, 0], dt.int32), pooled, scale=node["spatial_scale"])


@operator("DeformConv")
def deform_conv(node: Node, x: Any, w: Any, offset: Any, bias: Any = None, mask: Any = None) -> Any:
    if len(x.shape) != 4:
        raise node.unsupported(f"a deformable convolution of shape {tuple(x.shape)} (only images, [N, C, H, W])")
    return ops.deform_conv(
        x, w, offset, bias, mask, **window_arguments(node, len(w.shape) - 2), groups=node["group"],
        offset_groups=node["offset_group"],
    )  # fmt: skip
