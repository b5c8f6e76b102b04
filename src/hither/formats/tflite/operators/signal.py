"""Fourier transforms, and what makes their complex numbers real."""

from __future__ import annotations

from typing import Any

from .... import ops
from ..registry import Node, operator


@operator("RFFT2D")
def rfft2d(node: Node, x: Any, lengths: Any) -> Any:
    """The transform of real [..., h, w] cut or padded to `lengths`: [..., h, w // 2 + 1]."""
    rows, columns = node.ints(lengths, "the lengths")
    node.check(len(x.shape) >= 2 and rows >= 1 and columns >= 1, f"a transform of {tuple(x.shape)} to {rows} x {columns}")
    return ops.fft.rfftn(x, s=(rows, columns), axes=(-2, -1))


@operator("REAL")
def real(node: Node, x: Any) -> Any:
    return ops.real(x)


@operator("IMAG")
def imag(node: Node, x: Any) -> Any:
    return ops.imag(x)


@operator("COMPLEX_ABS")
def complex_abs(node: Node, x: Any) -> Any:
    return ops.abs(x)
