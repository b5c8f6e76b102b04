"""Fourier transforms as products with matrices. Complex numbers are pairs of real arrays between these operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ..registry import Complex, Node, operator

MAX_LENGTH = 4096  # the matrix of a longer transform would be larger than what it transforms


def _matrices(node: Node, length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """cos and -sin [length, count] of a transform."""
    node.check(length >= 1, f"a transform of length {length}")
    if length > MAX_LENGTH:
        raise node.unsupported(f"a transform of length {length} (at most {MAX_LENGTH})")
    turns = np.multiply.outer(np.arange(length), np.arange(count)) % length  # as integers: large angles would lose digits
    angle = turns * (2 * np.pi / length)
    return np.cos(angle).astype(np.float32), (-np.sin(angle)).astype(np.float32)


@operator("RFFT2D")
def rfft2d(node: Node, x: Any, lengths: Any) -> Complex:
    """The transform of real [..., h, w] cut or padded to `lengths`: [..., h, w // 2 + 1]."""
    rows, columns = node.ints(lengths, "the lengths")
    node.check(len(x.shape) >= 2, f"transforms [..., h, w], got {tuple(x.shape)}")
    changes = [(0, n - have) for n, have in zip((rows, columns), x.shape[-2:])]
    x = ops.pad(x, [(0, 0)] * (len(x.shape) - 2) + changes)
    cos, sin = _matrices(node, columns, columns // 2 + 1)
    real, imaginary = ops.matmul(x, cos), ops.matmul(x, sin)
    if rows > 1:
        cos, sin = _matrices(node, rows, rows)
        real, imaginary = (
            ops.matmul(cos, real) - ops.matmul(sin, imaginary),
            ops.matmul(cos, imaginary) + ops.matmul(sin, real),
        )
    return Complex(real, imaginary)


@operator("REAL", accepts=(Complex,))
def real(node: Node, x: Any) -> Any:
    return x.real if isinstance(x, Complex) else x


@operator("IMAG", accepts=(Complex,))
def imag(node: Node, x: Any) -> Any:
    return x.imaginary if isinstance(x, Complex) else ops.zeros(x.shape, dtype=dt.float32)


@operator("COMPLEX_ABS", accepts=(Complex,))
def complex_abs(node: Node, x: Any) -> Any:
    return ops.hypot(x.real, x.imaginary) if isinstance(x, Complex) else ops.abs(x)
