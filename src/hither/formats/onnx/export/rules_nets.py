"""How products, convolutions and pools are written in ONNX, which keeps channels first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import dtypes as dt
from ....errors import UnsupportedOperators
from ....graph.primitives.conv import inverse_permutation, pool_identity, to_first
from .writer import OPSET, Writer, rule


def _turned(w: Writer, x: str, rank: int, flag: bool) -> str:
    """A matrix whose last two axes are exchanged if the flag says so."""
    return w.transpose(x, [*range(rank - 2), rank - 1, rank - 2]) if flag else x


@rule("matmul")
def matmul(w: Writer, node: Any, a: str, b: str, zero_points: Sequence[str] = ()) -> str:
    """Bytes have an operator of their own; other integers are multiplied as float64, which holds 53 bits of their sums."""
    ranks = [len(v.shape) for v in node.operands]
    a = _turned(w, a, ranks[0], bool(node.params["transpose_a"]))
    b = _turned(w, b, ranks[1], bool(node.params["transpose_b"]))
    kinds, result = [v.dtype for v in node.operands], node.results[0].dtype
    if zero_points or (_bytes(node) and result is dt.int32):
        return w.op("MatMulInteger", a, b, *zero_points)
    if result.kind == "f" or all(k.bits >= 32 for k in kinds):
        return w.op("MatMul", a, b)
    made = w.op("MatMul", w.cast(a, dt.float64), w.cast(b, dt.float64))
    return w.cast(w.cast(made, dt.int64), result)  # integers wrap, floats beyond their range need not


def _bytes(node: Any) -> bool:
    return all(v.dtype.name in ("int8", "uint8") for v in node.operands)


def _first(w: Writer, x: str, rank: int, layout: str) -> str:
    return x if layout == "channels_first" else w.transpose(x, to_first(rank))


def _back(w: Writer, x: str, rank: int, layout: str) -> str:
    return x if layout == "channels_first" else w.transpose(x, inverse_permutation(to_first(rank)))


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    return [*(low for low, _ in padding), *(high for _, high in padding)]


def _window(node: Any) -> dict[str, Any]:
    p = node.params
    return {"strides": list(p["strides"]), "dilations": list(p["dilation"])}


@rule("conv", "conv_transpose")
def convolution(w: Writer, node: Any, x: str, kernel: str, *bias: str, zero_points: Sequence[str] = ()) -> str:
    """With a bias, one number per channel, or with the zero points of 8-bit operands, as composites have them.

    Raises:
        UnsupportedOperators: a convolution of other integers, which ONNX does not have.
    """
    p, rank, forward = node.params, len(node.operands[0].shape), node.primitive.name == "conv"
    about = {
        **_window(node),
        "pads": _pads(p["padding"]),
        "group": p["groups"],
        "kernel_shape": list(node.operands[1].shape[2:]),
    }
    if not forward:
        about["output_padding"] = list(p["output_padding"])
    op_type = "Conv" if forward else "ConvTranspose"
    x = _first(w, x, rank, p["layout"])
    if zero_points or (forward and _bytes(node) and node.results[0].dtype is dt.int32):
        made = w.op("ConvInteger", x, kernel, *zero_points, **about)
    elif node.results[0].dtype.kind == "f":
        made = w.op(op_type, x, kernel, *bias, **about)
    else:
        kinds = ", ".join(v.dtype.name for v in node.operands)
        raise UnsupportedOperators(f"{w.root.name} as ONNX", {("hither", f"{node.primitive.name} of {kinds}", OPSET)})
    return _back(w, made, rank, p["layout"])


@rule("pool")
def pool(w: Writer, node: Any, x: str) -> str:
    """Sums are averages that count padding, times the window's size; minima are maxima of what is negated."""
    p, rank, kind = node.params, len(node.operands[0].shape), node.operands[0].dtype
    window, combine = list(p["window"]), p["combine"]
    about: dict[str, Any] = {"kernel_shape": window, "strides": list(p["strides"])}
    if combine == "add" and kind.kind == "f" and all(d == 1 for d in p["dilation"]):
        return w.op("Mul", average_pool(w, node, x), w.number(math.prod(window), kind))
    x = _padded(w, node, _first(w, x, rank, p["layout"]))
    if combine == "add":
        made = _window_sums(w, node, x)
    else:
        about["dilations"] = list(p["dilation"])
        narrow = kind.kind != "f"
        value = w.cast(x, dt.float64) if narrow else x
        turned = value if combine == "max" else w.op("Neg", value)
        made = w.op("MaxPool", turned, **about)
        made = made if combine == "max" else w.op("Neg", made)
        made = w.cast(made, kind) if narrow else made
    return _back(w, made, rank, p["layout"])


def _padded(w: Writer, node: Any, x: str) -> str:
    """Padded with what changes no result, for a pool that counts everything."""
    p, kind = node.params, node.operands[0].dtype
    if not any(low or high for low, high in p["padding"]):
        return x
    pads = [0, 0, *(low for low, _ in p["padding"]), 0, 0, *(high for _, high in p["padding"])]
    return w.op("Pad", x, w.const(pads), w.number(pool_identity(p["combine"], kind), kind))


def average_pool(w: Writer, node: Any, x: str) -> str:
    """Sums over windows divided by the windows' size."""
    p, rank = node.params, len(node.operands[0].shape)
    x = _padded(w, node, _first(w, x, rank, p["layout"]))
    made = w.op("AveragePool", x, kernel_shape=list(p["window"]), strides=list(p["strides"]))
    return _back(w, made, rank, p["layout"])


def _window_sums(w: Writer, node: Any, x: str) -> str:
    """A depthwise convolution with ones, in floating point."""
    p, kind = node.params, node.operands[0].dtype
    shape = node.operands[0].shape
    channels = shape[1] if p["layout"] == "channels_first" else shape[-1]
    compute = kind if kind.kind == "f" else dt.float64
    ones = w.const(np.ones((channels, 1, *p["window"])), compute.numpy)
    made = w.op("Conv", x if compute is kind else w.cast(x, compute), ones, group=channels, **_window(node))
    return made if compute is kind else w.cast(made, kind)
