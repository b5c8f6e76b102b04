"""Complex numbers and Fourier transforms.

A spectrum exists between operators only: models make real numbers of it (a magnitude, a real part) before they give it.
"""

from __future__ import annotations

from typing import Any

from .... import ops
from ..registry import Node, operator


@operator("Complex")
def make_complex(node: Node, real: Any, imag: Any) -> Any:
    return ops.make_complex(real, imag)


@operator("ComplexAbs")
def complex_abs(node: Node, x: Any) -> Any:
    return ops.abs(x)


@operator("Real")
def real(node: Node, x: Any) -> Any:
    return ops.real(x)


@operator("Imag")
def imag(node: Node, x: Any) -> Any:
    return ops.imag(x)


@operator("FFT", "IFFT")
def fft(node: Node, x: Any) -> Any:
    return ops.fft.ifft(x) if node.op_type == "IFFT" else ops.fft.fft(x)


@operator("RFFT")
def rfft(node: Node, x: Any, length: Any) -> Any:
    (n,) = node.ints(length, "the length")
    node.check(n > 0, f"the length must be positive, got {n}")
    return ops.fft.rfft(x, n=n)


@operator("IRFFT")
def irfft(node: Node, x: Any, length: Any) -> Any:
    (n,) = node.ints(length, "the length")
    node.check(n > 0, f"the length must be positive, got {n}")
    return ops.fft.irfft(x, n=n)
