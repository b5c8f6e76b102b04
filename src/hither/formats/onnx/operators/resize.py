"""Resize and Upsample: their attributes brought to the arguments of hither.ops.resize."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import ops
from ..proto import check_shape
from ..registry import Node, operator


@operator("Upsample")
def upsample(node: Node, x: Any, scales: Any = None) -> Any:
    factors = node["scales"] if node.opset < 9 else tuple(float(v) for v in node.static(scales, "the scales").reshape(-1))
    node.check(len(factors) == len(x.shape), f"{len(factors)} scales do not fit shape {tuple(x.shape)}")
    node.check(all(f >= 1 and math.isfinite(f) for f in factors), f"scales must be at least 1, got {factors}")
    mode = node["mode"]
    node.check(mode in ("nearest", "linear", "bilinear"), f"mode must be nearest or linear, got {mode!r}")
    sizes = tuple(math.floor(n * f) for n, f in zip(x.shape, factors))
    check_shape(sizes, x.dtype.itemsize, node.label)
    mode = "nearest" if mode == "nearest" else "linear"
    return ops.resize(x, sizes, scales=factors, mode=mode, transform="asymmetric", nearest="floor")


@operator("Resize")
def resize(node: Node, x: Any, *operands: Any) -> Any:
    given = (*operands, None, None, None)
    roi, scales, sizes = (None, given[0], None) if node.opset < 11 else given[:3]
    rank = len(x.shape)
    axes = node.axes(node.get("axes") or tuple(range(rank)), rank)
    factor = _vector(node, scales, "the scales")
    wanted = _vector(node, sizes, "the sizes")
    node.check((factor is None) != (wanted is None), "needs either scales or sizes")
    node.check(len(factor if factor is not None else wanted or ()) == len(axes), f"scales or sizes do not fit axes {axes}")
    mode = node["mode"]
    if node.opset < 11:
        transform, rounding = "asymmetric", "floor"
        mode = "linear" if mode == "bilinear" else mode
    else:
        transform, rounding = node["coordinate_transformation_mode"], node["nearest_mode"]
    if mode not in ("nearest", "linear", "cubic"):
        raise node.unsupported(f"mode {mode!r}")
    regions = None
    if transform == "tf_crop_and_resize":
        node.check(roi is not None, "tf_crop_and_resize needs roi")
        given_roi = node.static(roi, "the roi").astype(np.float64).reshape(-1)
        node.check(len(given_roi) == 2 * len(axes), f"{len(given_roi)} roi numbers do not fit {len(axes)} axes")
        regions = list(zip(given_roi[: len(axes)].tolist(), given_roi[len(axes) :].tolist()))
    if wanted is not None:
        sizes = [int(w) for w in wanted]
        ratios = [w / max(x.shape[a], 1) for w, a in zip(sizes, axes)]
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        node.check(policy in ("stretch", "not_larger", "not_smaller"), f"keep_aspect_ratio_policy {policy!r} is unknown")
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(axes)
            sizes = [math.floor(ratio * x.shape[a] + 0.5) for a in axes]
    else:
        ratios = list(factor or ())
        node.check(all(f > 0 and math.isfinite(f) for f in ratios), f"scales must be positive, got {ratios}")
        spans = [1.0] * len(axes) if regions is None else [end - start for start, end in regions]
        sizes = [math.floor(x.shape[a] * span * f) for a, span, f in zip(axes, spans, ratios)]
    shape = list(x.shape)
    for axis, size in zip(axes, sizes):
        shape[axis] = size
    node.check(min(shape, default=0) >= 0, f"the result would have shape {shape}")
    check_shape(shape, x.dtype.itemsize, node.label)
    return ops.resize(
        x, sizes, scales=ratios, axes=axes, mode=mode, transform=transform, nearest=rounding,
        antialias=bool(node.get("antialias", 0)), exclude_outside=bool(node.get("exclude_outside", 0)),
        cubic=node.get("cubic_coeff_a", -0.75), region=regions, extrapolation=node.get("extrapolation_value", 0.0),
    )  # fmt: skip


def _vector(node: Node, x: Any, what: str) -> tuple[float, ...] | None:
    """A vector that is known, None where it is left out or empty (which older files write for "left out")."""
    if x is None or 0 in x.shape:
        return None
    return tuple(node.static(x, what).reshape(-1).tolist())
