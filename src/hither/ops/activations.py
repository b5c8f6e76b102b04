"""Activation functions: those of ONNX and of Keras 3, with their defaults where the two agree.

Where they differ the parameters say so; every function here is elementwise but glu, which names its axis.
"""

from __future__ import annotations

import math
from typing import Any

from . import elementwise as el
from .operands import Like, asarray, floating
from .shape import split


def relu(x: Like, /, *, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """max(x, 0), with Keras's options: slope below the threshold, and an upper limit.

    Example:
        >>> import hither as ht
        >>> ht.relu(ht.asarray([-1.0, 2.0]))
        Array([0., 2.], dtype=float32)
    """
    x = asarray(x)
    if negative_slope == 0 and threshold == 0:
        made = el.maximum(x, 0)
    else:
        made = el.where(el.less(x, threshold), el.multiply(el.subtract(x, threshold), negative_slope), x)
    return made if max_value is None else el.minimum(made, max_value)


def relu6(x: Like, /) -> Any:
    """min(max(x, 0), 6)."""
    return el.clip(x, 0, 6)


def leaky_relu(x: Like, /, *, alpha: float = 0.01) -> Any:
    """x, or alpha·x where x is negative."""
    x = floating(x)
    return el.where(el.less(x, 0), el.multiply(x, alpha), x)


def prelu(x: Like, slope: Like, /) -> Any:
    """x, or slope·x where x is negative; the slope broadcasts to x."""
    x = asarray(x)
    return el.where(el.less(x, 0), el.multiply(x, slope), x)


def thresholded_relu(x: Like, /, *, alpha: float = 1.0) -> Any:
    """x where it exceeds alpha, else 0."""
    x = floating(x)
    return el.where(el.greater(x, alpha), x, 0)


def elu(x: Like, /, *, alpha: float = 1.0) -> Any:
    """x, or alpha·(exp(x) - 1) where x is negative."""
    x = floating(x)
    return el.where(el.less(x, 0), el.multiply(el.expm1(el.minimum(x, 0)), alpha), x)


def selu(x: Like, /, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Any:
    """gamma·x, or gamma·alpha·(exp(x) - 1) where x is negative. Klambauer et al., 2017."""
    return el.multiply(elu(x, alpha=alpha), gamma)


def celu(x: Like, /, *, alpha: float = 1.0) -> Any:
    """max(0, x) + min(0, alpha·(exp(x/alpha) - 1))."""
    x = floating(x)
    return el.add(el.maximum(x, 0), el.minimum(el.multiply(el.expm1(el.divide(el.minimum(x, 0), alpha)), alpha), 0))


def gelu(x: Like, /, *, approximate: bool = False) -> Any:
    """x·Φ(x), with the normal distribution's Φ; by tanh if `approximate`. Hendrycks, Gimpel, 2016."""
    x = floating(x)
    if approximate:
        inner = el.multiply(el.add(x, el.multiply(el.pow(x, 3), 0.044715)), math.sqrt(2 / math.pi))
        return el.multiply(el.multiply(x, 0.5), el.add(el.tanh(inner), 1))
    return el.multiply(el.multiply(x, 0.5), el.add(el.erf(el.multiply(x, math.sqrt(0.5))), 1))


def silu(x: Like, /) -> Any:
    """x·sigmoid(x), also called swish."""
    x = floating(x)
    return el.multiply(x, el.sigmoid(x))


def swish(x: Like, /, *, alpha: float = 1.0) -> Any:
    """x·sigmoid(alpha·x)."""
    x = floating(x)
    return el.multiply(x, el.sigmoid(el.multiply(x, alpha) if alpha != 1 else x))


def softplus(x: Like, /) -> Any:
    """log(1 + exp(x)), without overflow."""
    x = floating(x)
    return el.add(el.maximum(x, 0), el.log1p(el.exp(el.negative(el.abs(x)))))


def log_sigmoid(x: Like, /) -> Any:
    """log(sigmoid(x)), without underflow."""
    return el.negative(softplus(el.negative(floating(x))))


def mish(x: Like, /) -> Any:
    """x·tanh(softplus(x)). Misra, 2019."""
    x = floating(x)
    return el.multiply(x, el.tanh(softplus(x)))


def softsign(x: Like, /) -> Any:
    """x / (1 + |x|)."""
    x = floating(x)
    return el.divide(x, el.add(el.abs(x), 1))


def hard_sigmoid(x: Like, /, *, alpha: float = 1 / 6, beta: float = 0.5) -> Any:
    """alpha·x + beta limited to 0 … 1. The defaults are Keras 3's; ONNX's alpha is 0.2."""
    return el.clip(el.add(el.multiply(floating(x), alpha), beta), 0, 1)


def hard_swish(x: Like, /) -> Any:
    """x·hard_sigmoid(x)."""
    x = floating(x)
    return el.multiply(x, hard_sigmoid(x))


hard_silu = hard_swish


def hard_tanh(x: Like, /, *, low: float = -1.0, high: float = 1.0) -> Any:
    """x limited to low … high."""
    return el.clip(floating(x), low, high)


def tanh_shrink(x: Like, /) -> Any:
    """x - tanh(x)."""
    x = floating(x)
    return el.subtract(x, el.tanh(x))


def soft_shrink(x: Like, /, *, threshold: float = 0.5, bias: float | None = None) -> Any:
    """x moved toward 0 by `bias` (the threshold by default) where |x| exceeds the threshold, else 0."""
    x = floating(x)
    by = threshold if bias is None else bias
    return el.where(el.greater(x, threshold), el.subtract(x, by), el.where(el.less(x, -threshold), el.add(x, by), 0))


def hard_shrink(x: Like, /, *, threshold: float = 0.5) -> Any:
    """x where |x| exceeds the threshold, else 0."""
    x = floating(x)
    return el.where(el.greater(el.abs(x), threshold), x, 0)


def squareplus(x: Like, /, *, b: float = 4.0) -> Any:
    """(x + √(x² + b)) / 2."""
    x = floating(x)
    return el.multiply(el.add(x, el.sqrt(el.add(el.square(x), b))), 0.5)


def sparse_plus(x: Like, /) -> Any:
    """0 up to -1, (x + 1)²/4 up to 1, then x."""
    x = floating(x)
    return el.where(el.less_equal(x, -1), 0, el.where(el.less(x, 1), el.multiply(el.square(el.add(x, 1)), 0.25), x))


def sparse_sigmoid(x: Like, /) -> Any:
    """0 up to -1, (x + 1)/2 up to 1, then 1."""
    return el.clip(el.multiply(el.add(floating(x), 1), 0.5), 0, 1)


def glu(x: Like, /, *, axis: int = -1) -> Any:
    """The first half along the axis times the sigmoid of the second."""
    first, second = split(floating(x), 2, axis=axis)
    return el.multiply(first, el.sigmoid(second))


def shrink(x: Like, /, *, lambd: float = 0.5, bias: float = 0.0) -> Any:
    """ONNX's Shrink: x + bias below -lambd, x - bias above lambd, else 0. Keeps integer dtypes."""
    x = asarray(x)
    low, high = el.where(el.less(x, -lambd), el.add(x, bias), 0), el.where(el.greater(x, lambd), el.subtract(x, bias), 0)
    return el.add(low, high).astype(x.dtype)


def linear(x: Like, /) -> Any:
    """x itself."""
    return asarray(x)


def exponential(x: Like, /) -> Any:
    """exp(x)."""
    return el.exp(x)


__all__ = [
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "mish", "prelu", "relu", "relu6", "selu", "shrink", "silu", "soft_shrink",
    "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh_shrink", "thresholded_relu",
]  # fmt: skip
