"""Matrix multiplication, batched, with either operand transposed and a wider accumulator where wanted."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import dtypes as dt
from ...dtypes import DType
from ..core import Abstract
from ..primitive import Template, primitive
from .batch_rules import batch_matmul
from .rules import apply, require_kind


def require_products(name: str, a: Abstract, b: Abstract, dtype: DType | None) -> DType:
    """The result dtype of sums of products, or TypeError. 8-bit operands may differ in sign when `dtype` is given."""
    require_kind(name, a, "iufc")
    mixed = dtype is not None and a.dtype.is_integer and b.dtype.is_integer and a.dtype.bits == b.dtype.bits == 8
    if a.dtype != b.dtype and not mixed:
        raise TypeError(f"{name} takes operands of one dtype, got {a} and {b}; convert them first")
    if dtype is not None and (dtype.kind not in "iufc" or (dtype.is_integer and not a.dtype.is_integer)):
        raise TypeError(f"{name} of {a} cannot accumulate in {dtype}")
    return dtype or a.dtype


def product_dtype(operand: DType, result: DType) -> np.dtype:
    """What to multiply and add in, so that BLAS is used where that is exact.

    Up to 16-bit integers: float64, whose 53 bits hold any sum of such products. Halves: float32. Else the result's dtype.
    """
    if operand.is_integer and operand.bits <= 16 and result.is_integer:
        return np.dtype(np.float64)
    return np.dtype(np.float32) if result is dt.float16 else result.numpy


def narrow(products: np.ndarray, result: DType) -> np.ndarray:
    """Sums of products as the result dtype; exact integers wrap."""
    if products.dtype == np.float64 and result.is_integer:
        products = products.astype(np.int64)
    return products.astype(result.numpy, copy=False)


def _matmul_abstract(
    a: Abstract, b: Abstract, transpose_a: bool = False, transpose_b: bool = False, dtype: DType | None = None
) -> Abstract:
    made = require_products("matmul", a, b, dtype)
    if a.rank < 2 or b.rank != a.rank or a.shape[:-2] != b.shape[:-2]:
        raise ValueError(f"matmul takes two stacks of matrices with equal batch axes, got {a} and {b}")
    m, k = reversed(a.shape[-2:]) if transpose_a else a.shape[-2:]
    other, n = reversed(b.shape[-2:]) if transpose_b else b.shape[-2:]
    if k != other:
        raise ValueError(
            f"matmul of {a}{' transposed' if transpose_a else ''} and {b}{' transposed' if transpose_b else ''}: "
            f"inner extents {k} and {other} differ"
        )
    return Abstract((*a.shape[:-2], m, n), made)


def _matmul(
    a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False, dtype: DType | None = None
) -> np.ndarray:
    result = dtype or dt.dtype(a.dtype)
    accumulate = product_dtype(dt.dtype(a.dtype), result)
    left = (np.swapaxes(a, -1, -2) if transpose_a else a).astype(accumulate, copy=False)
    right = (np.swapaxes(b, -1, -2) if transpose_b else b).astype(accumulate, copy=False)
    return narrow(np.matmul(left, right), result)


def _matmul_vjp(
    cotangents: Any, operands: Any, results: Any, transpose_a: bool = False, transpose_b: bool = False,
    dtype: DType | None = None,
) -> tuple[Any, Any]:  # fmt: skip
    """With C = A·B: dA = G·Bᵀ and dB = Aᵀ·G, written so that transposes stay flags."""
    a, b = operands
    if a.dtype.kind not in "fc":
        return None, None
    g = cotangents[0] if cotangents[0].dtype == a.dtype else apply("convert", cotangents[0], dtype=a.dtype)
    if transpose_a:
        da = apply("matmul", b, g, transpose_a=transpose_b, transpose_b=True)
    else:
        da = apply("matmul", g, b, transpose_a=False, transpose_b=not transpose_b)
    if transpose_b:
        db = apply("matmul", g, a, transpose_a=True, transpose_b=transpose_a)
    else:
        db = apply("matmul", a, g, transpose_a=not transpose_a, transpose_b=False)
    return da, db


primitive(
    "matmul",
    abstract=_matmul_abstract,
    evaluate=_matmul,
    batch=batch_matmul,
    lowering=Template("matmul"),
    vjp=_matmul_vjp,
    flops=lambda operands, results, params: 2 * results[0].size * operands[0].shape[-2 if params.get("transpose_a") else -1],
)
