"""Rearranging image blocks back into an image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .... import ops
from ....array import Array
from ....graph.primitives import apply
from ..proto import check_shape
from ..registry import Node, operator


@operator("Col2Im")
def col2im(node: Node, x: Any, image_shape: Any, block_shape: Any) -> Any:
    """Each column's block is added at its place: one scatter-add into the padded image, then the padding is cut off."""
    image, block = node.ints(image_shape, "the image shape"), node.ints(block_shape, "the block shape")
    rank = len(image)
    strides = tuple(node.get("strides") or (1,) * rank)
    dilation = tuple(node.get("dilations") or (1,) * rank)
    pads = tuple(node.get("pads") or (0,) * 2 * rank)
    node.check(
        len(block) == len(strides) == len(dilation) == rank and len(pads) == 2 * rank and len(x.shape) == 3,
        f"image {image}, block {block}, strides, dilations or pads do not fit shape {tuple(x.shape)}",
    )
    node.check(
        min((*block, *strides, *dilation)) > 0 and min((*image, *pads)) >= 0, "extents must be positive, pads not negative"
    )
    wide = tuple(n + pads[i] + pads[i + rank] for i, n in enumerate(image))
    count = tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(wide, block, strides, dilation))
    taps, places = math.prod(block), math.prod(count)
    n, rows, columns = x.shape
    node.check(
        min(count) > 0 and places == columns and rows % taps == 0, f"{count} blocks of {block} do not fit shape {x.shape}"
    )
    check_shape((n, rows // taps, *wide), x.dtype.itemsize, node.label)
    target = np.zeros((taps, places), np.int64)
    tap, place = np.indices(block).reshape(rank, -1), np.indices(count).reshape(rank, -1)
    for axis in range(rank):
        at = tap[axis][:, None] * dilation[axis] + place[axis][None] * strides[axis]
        target = target * wide[axis] + at
    values = ops.reshape(x, (n * rows // taps, taps * places))
    canvas = ops.zeros((math.prod(wide), n * rows // taps), dtype=x.dtype)
    index = Array(target.reshape(-1, 1))
    summed = apply("scatter_nd", canvas, index, ops.permute_dims(values, (1, 0)), combine="add")
    result = ops.reshape(ops.permute_dims(summed, (1, 0)), (n, rows // taps, *wide))
    starts = (0, 0, *pads[:rank])
    return apply("slice", result, starts=starts, sizes=(n, rows // taps, *image), steps=(1,) * (rank + 2))
