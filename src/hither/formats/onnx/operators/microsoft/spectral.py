"""Fourier transforms of real signals, and products of complex numbers whose parts are a last axis of two."""

from __future__ import annotations

from typing import Any

from ..... import ops
from ...registry import Node, operator
from ..signal import fourier, real_signal
from .domain import DOMAIN

SPECTRAL = {"onesided": 1, "normalized": 0, "signal_ndim": 1}


def _check(node: Node) -> None:
    if not node["onesided"] or node["normalized"] or node["signal_ndim"] != 1:
        raise node.unsupported("a transform that is two-sided, normalised or of several axes")


@operator("Rfft", domain=DOMAIN, attributes=SPECTRAL)
def rfft(node: Node, x: Any) -> Any:
    _check(node)
    return fourier(node, ops.expand_dims(x, axis=-1), x.shape[-1], False, True)


@operator("Irfft", domain=DOMAIN, attributes=SPECTRAL)
def irfft(node: Node, x: Any) -> Any:
    _check(node)
    return real_signal(node, x, 2 * (x.shape[-2] - 1))[..., 0]


@operator("ComplexMul", "ComplexMulConj", domain=DOMAIN, attributes={})
def complex_mul(node: Node, a: Any, b: Any) -> Any:
    node.check(a.shape[-1] == 2 == b.shape[-1], f"the last axis holds two parts, got {tuple(a.shape)} and {tuple(b.shape)}")
    c, d = b[..., 0], b[..., 1] if node.op_type == "ComplexMul" else -b[..., 1]
    return ops.stack([a[..., 0] * c - a[..., 1] * d, a[..., 0] * d + a[..., 1] * c], axis=-1)
