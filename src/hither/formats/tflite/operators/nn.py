"""Convolutions and products of matrices, of real numbers and of quantised ones.

Quantised: Σ (x - zero_x)(w - zero_w) = Σ x·w - zero_x · Σ (w - zero_w) - zero_w · Σ x, so 8-bit integers meet as they are
stored. What depends on weights alone is a constant; their zero point is 0 where they are int8. Weights in int8 for float
activations ("dynamic range") are dequantised: TensorFlow Lite rounds those to 8 bits there to save time, hither does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....errors import LimitExceeded
from ....graph.trace import Tracer, static_value, weight
from ... import tensorflow as tf
from ...interpreter import MAX_VALUE_BYTES
from ..quantization import along, requantize
from ..registry import Node, operator

Product = Callable[[Any, Any], Any]  # of two integer arrays, summed in int32


def _is_integer(node: Node, x: Any, w: Any) -> bool:
    """Whether both operands and the result are quantised to 8 bits, with an activation that is a clip."""
    out = node.outputs[0]
    return (
        node.is_quantized(0) and node.is_quantized(1) and x.dtype.bits == w.dtype.bits == 8
        and out.dtype in (dt.int8, dt.uint8, dt.int16) and node.stored_clip() is not None
    )  # fmt: skip


def _signed(x: Any, zero: int) -> tuple[Any, int]:
    """8-bit integers as int8, and their zero point."""
    if x.dtype == dt.int8:
        return x, zero
    return ops.astype(ops.astype(x, dt.int16) - 128, dt.int8), zero - 128


def _integers(node: Node, x: Any, w: Any, bias: Any, product: Product, pad: Callable[[Any, int], Any], kept: int | None) -> Any:
    """A quantised product.

    Args:
        product: of x, padded, and w: [..., channels].
        pad: x with a border of a number.
        kept: the axis of w that becomes the result's last, over whose other axes the product sums; None for a matrix
            product of two activations.
    """
    left, right, out = node.quantization(0), node.quantization(1), node.outputs[0].quantization
    assert out is not None
    zero_w = right.zero_point
    x, zero_x = _signed(x, int(left.zero_point[0]))
    x = pad(x, zero_x)
    known = static_value(w) if kept is not None else None
    dense = kept == 0 and x.shape[-1] == w.shape[-1]  # one sum of x for all channels
    if kept is not None and known is not None and (dense or (known.dtype == np.int8 and not zero_w.any())):
        zero_w = zero_w.astype(np.int32)
        if known.dtype == np.uint8:
            known, zero_w = (known ^ 128).view(np.int8), zero_w - 128
            w = weight(known, w.value.name if isinstance(w, Tracer) else "")
        total = product(x, w)
        if zero_x:
            axes = tuple(a for a in range(known.ndim) if a != kept)
            sums = (known.astype(np.int32) - along(zero_w, kept, known.ndim)).sum(axes, dtype=np.int32)
            total = total - zero_x * sums
        if zero_w.any():
            pixels = ops.sum(ops.astype(x, dt.int32), axis=-1, keepdims=True)
            total = total - product(pixels, np.ones((1, *known.shape[1:-1], 1), np.int32)) * along(zero_w, 0, 1)
    else:
        node.check(len(zero_w) == 1, "weights with one zero point per channel")
        w, first = _signed(w, int(zero_w[0]))
        total = product(ops.astype(x, dt.int32) - zero_x, ops.astype(w, dt.int32) - first)
    if bias is not None:
        total = total + ops.astype(bias, dt.int32)
    scales = left.scale.astype(np.float64) * right.scale / max(float(out.scale[0]), np.finfo(np.float32).tiny)
    node.check(len(scales) in (1, total.shape[-1]), f"{len(scales)} scales for {total.shape[-1]} channels")
    limits = node.stored_clip()
    assert limits is not None
    return requantize(total, scales, int(out.zero_point[0]), node.outputs[0].element, limits)


def _reals(node: Node, x: Any, w: Any, bias: Any) -> tuple[Any, Any, Any]:
    """The operands of a product as real numbers."""
    real_bias = None if bias is None else _bias(node, bias)
    return node.real(x, 0), node.real(w, 1), real_bias


def _bias(node: Node, bias: Any) -> Any:
    """The bias as real numbers. Without a scale of its own, an integer one has that of the products."""
    if bias.dtype.kind == "f":
        return bias
    if node.is_quantized(2):
        return node.real(bias, 2)
    node.check(node.is_quantized(0) and node.is_quantized(1), f"a bias of {bias.dtype} without scales")
    return ops.astype(bias, dt.float32) * (node.quantization(0).scale * node.quantization(1).scale)


def _steps(node: Node, *axes: str, dilated: bool = True) -> tuple[list[int], list[int]]:
    """Strides and dilations of the spatial axes."""
    strides = [int(node.get(f"stride_{a}", 1)) for a in axes]
    dilation = [int(node.get(f"dilation_{a}_factor", 1)) if dilated else 1 for a in axes]
    node.check(min(*strides, *dilation) >= 1, f"strides {strides} and dilations {dilation}")
    return strides, dilation


def padding_of(node: Node) -> str:
    """ "same" or "valid"."""
    return node.named("padding", "Padding", "SAME").lower()


def window_padding(
    node: Node, x: Any, window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """(before, after) for each spatial axis of x, channels last.

    Raises:
        LimitExceeded: with it, x would be larger than an untrusted file may make it.
    """
    pairs = ops.resolve_padding(padding_of(node), x.shape[1:-1], window, strides, dilation)
    nbytes = x.shape[0] * x.shape[-1] * max(x.dtype.itemsize, 4)
    for n, (low, high) in zip(x.shape[1:-1], pairs):
        nbytes *= n + low + high
    if nbytes > MAX_VALUE_BYTES:
        raise LimitExceeded(f"{node.label}: its padded input takes {nbytes} bytes; at most {MAX_VALUE_BYTES}")
    return pairs


def _bordered(x: Any, number: int, pairs: Sequence[tuple[int, int]]) -> Any:
    return ops.pad(x, [(0, 0), *pairs, (0, 0)], value=number) if any(map(any, pairs)) else x


@operator("CONV_2D", stored=True)
def conv_2d(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    node.check(len(x.shape) == len(w.shape) == 4 and w.shape[3] > 0, f"x {tuple(x.shape)} and filters {tuple(w.shape)}")
    node.check(x.shape[3] % w.shape[3] == 0, f"filters of depth {w.shape[3]} for {x.shape[3]} channels")
    return _convolution(node, x, w, bias, (0, 3, 1, 2), x.shape[3] // w.shape[3], 0)


@operator("DEPTHWISE_CONV_2D", stored=True)
def depthwise_conv_2d(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    node.check(
        len(x.shape) == len(w.shape) == 4 and w.shape[0] == 1 and x.shape[3] > 0 and w.shape[3] % x.shape[3] == 0,
        f"x {tuple(x.shape)} and depthwise filters {tuple(w.shape)}",
    )
    return _convolution(node, x, w, bias, (3, 0, 1, 2), x.shape[3], 3)


def _convolution(node: Node, x: Any, w: Any, bias: Any, order: tuple[int, ...], groups: int, kept: int) -> Any:
    """x convolved with filters whose axes, in `order`, are [O, C/groups, H, W]."""
    strides, dilation = _steps(node, "h", "w")
    window = (w.shape[order[2]], w.shape[order[3]])
    pairs = window_padding(node, x, window, strides, dilation)
    steps: dict[str, Any] = {"strides": strides, "dilation": dilation, "groups": groups, "layout": "channels_last"}
    if _is_integer(node, x, w):
        return _integers(
            node, x, w, bias,
            lambda a, b: ops.conv(a, ops.permute_dims(b, order), dtype=dt.int32, **steps),
            lambda a, zero: _bordered(a, zero, pairs), kept,
        )  # fmt: skip
    x, w, bias = _reals(node, x, w, bias)
    y = ops.conv(x, ops.permute_dims(w, order), bias, padding=pairs, **steps)
    return node.stored(node.activated(y))


@operator("FULLY_CONNECTED", stored=True)
def fully_connected(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    node.check(node.named("weights_format", "FullyConnectedOptionsWeightsFormat", "DEFAULT") == "DEFAULT", "shuffled weights")
    node.check(len(w.shape) == 2 and len(x.shape) > 0, f"x {tuple(x.shape)} and weights {tuple(w.shape)}")
    count, depth = w.shape
    lead = tuple(x.shape[:-1]) if node.get("keep_num_dims", False) else (-1,)
    x = ops.reshape(x, (-1, depth))
    if _is_integer(node, x, w):
        y = _integers(
            node, x, w, bias, lambda a, b: ops.matmul(a, ops.matrix_transpose(b), dtype=dt.int32), lambda a, _: a, 0
        )  # fmt: skip
    else:
        x, w, bias = _reals(node, x, w, bias)
        y = ops.matmul(x, ops.matrix_transpose(w))
        y = node.stored(node.activated(y if bias is None else y + bias))
    return ops.reshape(y, (*lead, count))


@operator("BATCH_MATMUL", stored=True)
def batch_matmul(node: Node, a: Any, b: Any) -> Any:
    turn_a, turn_b = bool(node.get("adj_x", False)), bool(node.get("adj_y", False))

    def product(a: Any, b: Any) -> Any:
        a, b = ops.matrix_transpose(a) if turn_a else a, ops.matrix_transpose(b) if turn_b else b
        return ops.matmul(a, b)

    if _is_integer(node, a, b) and not node.quantization(1).per_axis:
        return _integers(node, a, b, None, product, lambda x, _: x, None)
    return node.stored(product(node.real(a, 0), node.real(b, 1)))


@operator("TRANSPOSE_CONV")
def transpose_conv(node: Node, shape: Any, w: Any, x: Any, bias: Any = None) -> Any:
    """Quantised too: on real numbers. w: [O, H, W, I]."""
    if bias is not None and bias.dtype.kind != "f":
        bias = ops.astype(bias, dt.float32) * (node.quantization(2).scale * node.quantization(1).scale)
    return _transposed(node, w, x, node.ints(shape, "the output shape"), bias)


def _transposed(node: Node, w: Any, x: Any, shape: Sequence[int], bias: Any) -> Any:
    node.check(len(w.shape) == 4 and len(x.shape) == 4, f"x {tuple(x.shape)} and filters {tuple(w.shape)}")
    strides, _ = _steps(node, "h", "w", dilated=False)
    made = tf.conv_transpose(
        x, ops.permute_dims(w, (1, 2, 0, 3)), shape, bias, strides=strides, padding=padding_of(node)
    )  # fmt: skip
    return node.activated(made)


@operator("CONV_3D")
def conv_3d(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    strides, dilation = _steps(node, "d", "h", "w")
    node.check(len(x.shape) == len(w.shape) == 5, f"x {tuple(x.shape)} and filters {tuple(w.shape)}")
    pairs = window_padding(node, x, w.shape[:3], strides, dilation)
    return node.activated(tf.conv(x, w, bias, strides=strides, padding=pairs, dilation=dilation))


@operator("CONV_3D_TRANSPOSE")
def conv_3d_transpose(node: Node, shape: Any, w: Any, x: Any, bias: Any = None) -> Any:
    strides, dilation = _steps(node, "d", "h", "w")
    wanted = node.ints(shape, "the output shape")
    made = tf.conv_transpose(x, w, wanted, bias, strides=strides, padding=padding_of(node), dilation=dilation)
    return node.activated(made)


@operator("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(node: Node, x: Any) -> Any:
    radius = int(node.get("radius", 0))
    node.check(radius >= 0 and len(x.shape) > 0, f"radius {radius} on {tuple(x.shape)}")
    return tf.local_response_norm(
        x, min(radius, x.shape[-1]), bias=float(node.get("bias", 0)), alpha=float(node.get("alpha", 0)),
        beta=float(node.get("beta", 0)),
    )  # fmt: skip
