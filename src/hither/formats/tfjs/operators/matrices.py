"""Products of matrices, and operators on matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import ops
from ..registry import Node, operator
from ..sizes import Bounded
from .common import same_dtypes
from .convolution import finished


def _product(node: Node, a: Any, b: Any, left: bool, right: bool) -> Any:
    same_dtypes(node, a, b)
    node.check(min(len(a.shape), len(b.shape)) >= 2, f"takes matrices, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    return ops.matmul(a, b, transpose_a=left, transpose_b=right)


@operator("MatMul", rows=True)
def matmul(node: Node, a: Any, b: Any) -> Any:
    return _product(node, a, b, node.flag("transpose_a"), node.flag("transpose_b"))


@operator("_FusedMatMul", rows=True)
def fused_matmul(node: Node, a: Any, b: Any, *extra: Any) -> Any:
    return finished(node, _product(node, a, b, node.flag("transpose_a"), node.flag("transpose_b")), extra)


@operator("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", rows=True)
def batch_matmul(node: Node, a: Any, b: Any) -> Any:
    return _product(node, a, b, node.flag("adj_x"), node.flag("adj_y"))


@operator("Einsum")
def einsum(node: Node, *xs: Any) -> Any:
    same_dtypes(node, *xs)
    return ops.einsum(node.text("equation"), *xs)


@operator("Transpose", bounded=True)
def transpose(node: Node, x: Any, order: Any) -> Any:
    axes = node.axes(node.ints(order, "the permutation"), len(x.shape))
    node.check(len(axes) == len(x.shape), f"permutation {axes} does not fit shape {tuple(x.shape)}")
    if isinstance(x, Bounded):
        return x.map(ops.permute_dims(x.data, axes), axes.index(x.axis))
    return ops.permute_dims(x, axes)


@operator("MatrixBandPart", rows=True)
def matrix_band_part(node: Node, x: Any, lower: Any, upper: Any) -> Any:
    low, high = (int(node.scalar(v, "a number of diagonals")) for v in (lower, upper))
    rows, columns = x.shape[-2:]
    apart = np.arange(rows)[:, None] - np.arange(columns)[None]
    keep = ((low < 0) | (apart <= low)) & ((high < 0) | (-apart <= high))
    return ops.where(keep, x, False if x.dtype.kind == "b" else 0)
