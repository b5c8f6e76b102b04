"""Complex numbers and Fourier transforms, on pairs of real arrays: what computes on them is real products, on every target.

Transforms are products with constant matrices. A spectrum exists between the operators of this file only; models make real
numbers of it (a magnitude, a real part) before they go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .... import ops
from ..registry import Node, operator

MAX_LENGTH = 4096  # the matrix of a longer transform would be larger than what it transforms


@dataclass(frozen=True, eq=False)
class Complex:
    """real + i · imag."""

    real: Any
    imag: Any


def _pair(node: Node, x: Any) -> Complex:
    if isinstance(x, Complex):
        return x
    node.check(hasattr(x, "shape") and not isinstance(x, np.ndarray), "takes numbers")
    return Complex(x, ops.zeros_like(x))


@operator("Complex")
def make_complex(node: Node, real: Any, imag: Any) -> Any:
    return Complex(*ops.broadcast_arrays(real, imag))


@operator("ComplexAbs", handles=True)
def complex_abs(node: Node, x: Any) -> Any:
    x = _pair(node, x)
    return ops.sqrt(ops.square(x.real) + ops.square(x.imag))


@operator("Real", handles=True)
def real(node: Node, x: Any) -> Any:
    return _pair(node, x).real


@operator("Imag", handles=True)
def imag(node: Node, x: Any) -> Any:
    return _pair(node, x).imag


def _matrices(node: Node, n: int, length: int, used: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of sign · 2π · n · k / length, [n, used]."""
    node.check(length > 0, f"the length must be positive, got {length}")
    if length > MAX_LENGTH:
        raise node.unsupported(f"a Fourier transform of length {length} (at most {MAX_LENGTH})")
    turns = np.multiply.outer(np.arange(n), np.arange(used)) % length  # as integers: large products would lose digits
    angle = turns * (2 * np.pi / length) * sign
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _fitted(x: Any, n: int) -> Any:
    """The last axis cut or padded with zeros."""
    return ops.pad(x, [*((0, 0),) * (len(x.shape) - 1), (0, n - x.shape[-1])])


@operator("FFT", "IFFT", handles=True)
def fft(node: Node, x: Any) -> Any:
    x = _pair(node, x)
    n = x.real.shape[-1]
    inverse = node.op_type == "IFFT"
    cos, sin = _matrices(node, n, n, n, 1 if inverse else -1)
    if inverse:
        cos, sin = cos / np.float32(n), sin / np.float32(n)
    return Complex(
        ops.matmul(x.real, cos) - ops.matmul(x.imag, sin), ops.matmul(x.real, sin) + ops.matmul(x.imag, cos)
    )  # fmt: skip


@operator("RFFT")
def rfft(node: Node, x: Any, length: Any) -> Any:
    (n,) = node.ints(length, "the length")
    cos, sin = _matrices(node, n, n, n // 2 + 1, -1)
    x = _fitted(x, n)
    return Complex(ops.matmul(x, cos), ops.matmul(x, sin))


@operator("IRFFT", handles=True)
def irfft(node: Node, x: Any, length: Any) -> Any:
    """Each frequency but the first (and the middle one of an even length) counts for its mirror image too."""
    x = _pair(node, x)
    (n,) = node.ints(length, "the length")
    used = n // 2 + 1
    cos, sin = _matrices(node, used, n, n, 1)
    twice = np.full((used, 1), 2.0, np.float32)
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    real_part, imag_part = _fitted(x.real, used), _fitted(x.imag, used)
    return ops.matmul(real_part, cos * twice / np.float32(n)) - ops.matmul(imag_part, sin * twice / np.float32(n))
