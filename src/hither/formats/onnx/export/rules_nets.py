"""How products, convolutions and pools are written in ONNX, which keeps channels first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import dtypes as dt
from ....graph.primitives.conv import inverse_permutation, pool_identity, to_first
from .writer import Writer, rule


def _turned(w: Writer, x: str, rank: int, flag: bool) -> str:
    """A matrix whose last two axes are exchanged if the flag says so."""
    return w.transpose(x, [*range(rank - 2), rank - 1, rank - 2]) if flag else x


@rule("matmul")
def matmul(w: Writer, node: Any, a: str, b: str) -> str:
    ranks = [len(v.shape) for v in node.operands]
    a = _turned(w, a, ranks[0], bool(node.params["transpose_a"]))
    b = _turned(w, b, ranks[1], bool(node.params["transpose_b"]))
    return _product(w, node, a, b, lambda x, y: w.op("MatMul", x, y), lambda x, y: w.op("MatMulInteger", x, y))


def _product(w: Writer, node: Any, a: str, b: str, straight: Any, integers: Any) -> str:
    """Bytes have operators of their own; other integers are multiplied as float64, which holds 53 bits of their sums."""
    kinds, result = [v.dtype for v in node.operands], node.results[0].dtype
    if result.kind == "f" or all(k.bits >= 32 for k in kinds):
        return straight(a, b)
    if all(k.name in ("int8", "uint8") for k in kinds) and result is dt.int32:
        return integers(a, b)
    return w.cast(straight(w.cast(a, dt.float64), w.cast(b, dt.float64)), result)


def _first(w: Writer, x: str, rank: int, layout: str) -> str:
    return x if layout == "channels_first" else w.transpose(x, to_first(rank))


def _back(w: Writer, x: str, rank: int, layout: str) -> str:
    return x if layout == "channels_first" else w.transpose(x, inverse_permutation(to_first(rank)))


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
    return [*(low for low, _ in padding), *(high for _, high in padding)]


def _window(node: Any) -> dict[str, Any]:
    p = node.params
    return {"strides": list(p["strides"]), "dilations": list(p["dilation"])}


@rule("conv")
def conv(w: Writer, node: Any, x: str, kernel: str) -> str:
    p, rank = node.params, len(node.operands[0].shape)
    about = {
        **_window(node),
        "pads": _pads(p["padding"]),
        "group": p["groups"],
        "kernel_shape": list(node.operands[1].shape[2:]),
    }
    x = _first(w, x, rank, p["layout"])
    made = _product(
        w, node, x, kernel, lambda a, b: w.op("Conv", a, b, **about), lambda a, b: w.op("ConvInteger", a, b, **about)
    )
    return _back(w, made, rank, p["layout"])


@rule("conv_transpose")
def conv_transpose(w: Writer, node: Any, x: str, kernel: str) -> str:
    p, rank = node.params, len(node.operands[0].shape)
    about = {
        **_window(node), "pads": _pads(p["padding"]), "group": p["groups"], "kernel_shape": list(node.operands[1].shape[2:]),
        "output_padding": list(p["output_padding"]),
    }  # fmt: skip
    made = w.op("ConvTranspose", _first(w, x, rank, p["layout"]), kernel, **about)
    return _back(w, made, rank, p["layout"])


@rule("pool")
def pool(w: Writer, node: Any, x: str) -> str:
    """Sums are averages that count padding, times the window's size; minima are maxima of what is negated."""
    p, rank, kind = node.params, len(node.operands[0].shape), node.operands[0].dtype
    window, combine = list(p["window"]), p["combine"]
    x = _first(w, x, rank, p["layout"])
    if any(low or high for low, high in p["padding"]):
        pads = [0, 0, *(low for low, _ in p["padding"]), 0, 0, *(high for _, high in p["padding"])]
        x = w.op("Pad", x, w.const(pads), w.number(pool_identity(combine, kind), kind))
    about: dict[str, Any] = {"kernel_shape": window, "strides": list(p["strides"])}
    if combine == "add":
        if any(d != 1 for d in p["dilation"]) or kind.kind != "f":
            made = _window_sums(w, node, x)
        else:
            size = np.asarray(math.prod(window))
            made = w.op("Mul", w.op("AveragePool", x, **about), w.number(size, kind))
    else:
        about["dilations"] = list(p["dilation"])
        narrow = kind.kind != "f"
        value = w.cast(x, dt.float64) if narrow else x
        turned = value if combine == "max" else w.op("Neg", value)
        made = w.op("MaxPool", turned, **about)
        made = made if combine == "max" else w.op("Neg", made)
        made = w.cast(made, kind) if narrow else made
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
