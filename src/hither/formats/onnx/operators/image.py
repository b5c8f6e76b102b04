"""Rearranging image blocks back into an image."""

from __future__ import annotations

import math
from typing import Any

from .... import ops
from ..proto import check_shape
from ..registry import Node, operator
from .nn import pairs


@operator("Col2Im")
def col2im(node: Node, x: Any, image_shape: Any, block_shape: Any) -> Any:
    image, block = node.ints(image_shape, "the image shape"), node.ints(block_shape, "the block shape")
    rank = len(image)
    strides, dilation = tuple(node.get("strides") or (1,) * rank), tuple(node.get("dilations") or (1,) * rank)
    padding = pairs(node, rank)
    wide = [n + low + high for n, (low, high) in zip(image, padding)]
    check_shape((x.shape[0], x.shape[1] // max(math.prod(block), 1), *wide), x.dtype.itemsize, node.label)
    return ops.col2im(x, image, block, strides=strides, padding=padding, dilation=dilation)
