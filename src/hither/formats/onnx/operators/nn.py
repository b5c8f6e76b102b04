"""Convolutions."""

from __future__ import annotations

from typing import Any

from .... import ops
from ....graph.primitives import apply
from ..registry import Node, operator
from .common import along
from .movement import padded

Pairs = tuple[tuple[int, int], ...]


def window_geometry(
    node: Node, spatial: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[tuple[int, ...], Pairs, tuple[int, ...]]:
    """Strides, padding and dilation of a convolution or pool, `auto_pad` resolved for these extents."""
    rank = len(spatial)
    strides = tuple(node.get("strides") or (1,) * rank)
    dilation = tuple(node.get("dilations") or (1,) * rank)
    pads = tuple(node.get("pads") or (0,) * 2 * rank)
    node.check(
        len(kernel) == len(strides) == len(dilation) == rank and len(pads) == 2 * rank,
        f"kernel {kernel}, strides {strides}, dilations {dilation} or pads {pads} do not fit {rank} spatial axes",
    )
    node.check(min((*kernel, *strides, *dilation), default=1) > 0, "kernel, strides and dilations must be positive")
    auto = node.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        padding = []
        for n, k, s, d in zip(spatial, kernel, strides, dilation):
            total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            small, large = total // 2, total - total // 2
            padding.append((small, large) if auto == "SAME_UPPER" else (large, small))
        return strides, tuple(padding), dilation
    node.check(auto in ("NOTSET", "VALID", ""), f"auto_pad {auto!r} is unknown")
    if auto == "VALID":
        return strides, ((0, 0),) * rank, dilation
    return strides, tuple((pads[i], pads[i + rank]) for i in range(rank)), dilation


def cropped(node: Node, x: Any, padding: Pairs) -> tuple[Any, Pairs]:
    """Negative padding done as a crop before the window operation."""
    if all(low >= 0 and high >= 0 for low, high in padding):
        return x, padding
    low = [0, 0, *(min(0, a) for a, _ in padding)]
    high = [0, 0, *(min(0, b) for _, b in padding)]
    return padded(node, x, low, high, "constant"), tuple((max(0, a), max(0, b)) for a, b in padding)


def convolution(node: Node, x: Any, w: Any, **extra: Any) -> Any:
    """The convolution that a node's attributes describe, without bias."""
    node.check(len(x.shape) == len(w.shape) >= 3, f"shapes {tuple(x.shape)} and {tuple(w.shape)} do not convolve")
    kernel = tuple(w.shape[2:])
    given = tuple(node.get("kernel_shape") or kernel)
    node.check(given == kernel, f"kernel_shape {given} is not that of the weights, {kernel}")
    strides, padding, dilation = window_geometry(node, tuple(x.shape[2:]), kernel)
    x, padding = cropped(node, x, padding)
    return apply("conv", x, w, strides=strides, padding=padding, dilation=dilation, groups=node.get("group", 1), **extra)


@operator("Conv")
def conv(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    result = convolution(node, x, w)
    return result if bias is None else result + along(bias, 1, len(x.shape))


@operator("ConvTranspose")
def conv_transpose(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    node.check(len(x.shape) == len(w.shape) >= 3, f"shapes {tuple(x.shape)} and {tuple(w.shape)} do not convolve")
    rank, kernel, spatial = len(x.shape) - 2, tuple(w.shape[2:]), tuple(x.shape[2:])
    strides = tuple(node.get("strides") or (1,) * rank)
    dilation = tuple(node.get("dilations") or (1,) * rank)
    extra = tuple(node.get("output_padding") or (0,) * rank)
    pads = tuple(node.get("pads") or (0,) * 2 * rank)
    wanted = tuple(node.get("output_shape") or ())[-rank:]
    auto = node.get("auto_pad", "NOTSET")
    node.check(
        len(strides) == len(dilation) == len(extra) == rank and len(pads) == 2 * rank and len(wanted) in (0, rank),
        f"strides, dilations, pads, output_padding or output_shape do not fit {rank} spatial axes",
    )
    node.check(tuple(node.get("kernel_shape") or kernel) == kernel, "kernel_shape is not that of the weights")
    node.check(
        min((*strides, *dilation), default=1) > 0 and min(extra, default=0) >= 0, "strides and dilations must be positive"
    )
    padding = tuple((pads[i], pads[i + rank]) for i in range(rank))
    if wanted or auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = wanted or tuple(n * s for n, s in zip(spatial, strides))
        padding = ()
        for n, k, s, d, e, out in zip(spatial, kernel, strides, dilation, extra, wanted):
            total = s * (n - 1) + e + (k - 1) * d + 1 - out
            half = (total // 2, total - total // 2)
            padding += (half if auto == "SAME_UPPER" else half[::-1],)
    elif auto == "VALID":
        padding = ((0, 0),) * rank
    # Padding crops the result here: what is negative adds zeros instead.
    low, high = [0, 0, *(max(0, -a) for a, _ in padding)], [0, 0, *(max(0, -b) for _, b in padding)]
    padding = tuple((max(0, a), max(0, b)) for a, b in padding)
    result = apply(
        "conv_transpose", x, w, strides=strides, padding=padding, output_padding=extra, dilation=dilation,
        groups=node.get("group", 1),
    )  # fmt: skip
    result = padded(node, result, low, high, "constant")
    return result if bias is None else result + along(bias, 1, len(x.shape))


@operator("DeformConv")
def deform_conv(node: Node, x: Any, w: Any, offset: Any, bias: Any = None, mask: Any = None) -> Any:
    """Every tap samples the image bilinearly at its own offset; then one matrix product over channels and taps."""
    from .sampling import bilinear_at

    node.check(len(x.shape) == 4 and len(w.shape) == 4, "takes images [N, C, H, W] only")
    n, c, h, width = x.shape
    kernel = tuple(w.shape[2:])
    strides, padding, dilation = window_geometry(node, (h, width), kernel)
    taps = kernel[0] * kernel[1]
    groups, parts = node["group"], node["offset_group"]
    out_h, out_w = offset.shape[2], offset.shape[3]
    offset = ops.reshape(offset, (n, parts, taps, 2, out_h, out_w))
    base = _tap_positions(kernel, strides, padding, dilation, (out_h, out_w))
    y = offset[:, :, :, 0] + base[0].astype(x.dtype)
    z = offset[:, :, :, 1] + base[1].astype(x.dtype)
    images = ops.reshape(x, (n * parts, c // parts, h, width))
    flat = (n * parts, taps * out_h * out_w)
    sampled = bilinear_at(images, ops.reshape(y, flat), ops.reshape(z, flat))
    sampled = ops.reshape(sampled, (n, parts, c // parts, taps, out_h, out_w))
    if mask is not None:
        sampled = sampled * ops.reshape(mask, (n, parts, 1, taps, out_h, out_w))
    columns = ops.reshape(sampled, (n, groups, c // groups * taps, out_h * out_w))
    weights = ops.reshape(w, (1, groups, w.shape[0] // groups, c // groups * taps))
    result = ops.reshape(ops.matmul(weights, columns), (n, w.shape[0], out_h, out_w))
    return result if bias is None else result + along(bias, 1, 4)


def _tap_positions(kernel: Any, strides: Any, padding: Any, dilation: Any, extents: Any) -> list[Any]:
    """Row and column that each tap reads for each result element, [taps, *extents], before offsets."""
    import numpy as np

    from ....array import Array

    found = []
    for axis in (0, 1):
        tap = np.arange(kernel[axis]) * dilation[axis]
        place = np.arange(extents[axis]) * strides[axis] - padding[axis][0]
        tap = np.broadcast_to(tap.reshape((-1, 1) if axis == 0 else (1, -1)), kernel).reshape(-1, 1, 1)
        place = place.reshape((1, -1, 1) if axis == 0 else (1, 1, -1))
        found.append(Array(np.broadcast_to(tap + place, (tap.shape[0], *extents)).astype(np.float32)))
    return found
