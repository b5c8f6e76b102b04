"""Convolutions."""

from __future__ import annotations

from typing import Any

from .... import ops
from ..registry import Node, operator

Pairs = tuple[tuple[int, int], ...]


def pairs(node: Node, rank: int) -> Pairs:
    """The attribute `pads` as (before, after) for each spatial axis."""
    pads = tuple(node.get("pads") or (0,) * 2 * rank)
    node.check(len(pads) == 2 * rank, f"pads {pads} do not fit {rank} spatial axes")
    return tuple(zip(pads[:rank], pads[rank:]))


def window_arguments(node: Node, rank: int) -> dict[str, Any]:
    """strides, padding and dilation of a convolution or pool, as hither.ops takes them."""
    strides = tuple(node.get("strides") or (1,) * rank)
    dilation = tuple(node.get("dilations") or (1,) * rank)
    node.check(min((*strides, *dilation), default=1) > 0, f"strides {strides} and dilations {dilation} must be positive")
    named = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}
    auto = node.get("auto_pad", "NOTSET")
    node.check(auto in named or auto in ("NOTSET", ""), f"auto_pad {auto!r} is unknown")
    return {"strides": strides, "padding": named.get(auto) or pairs(node, rank), "dilation": dilation}


def check_weights(node: Node, x: Any, w: Any) -> None:
    node.check(len(x.shape) == len(w.shape) >= 3, f"shapes {tuple(x.shape)} and {tuple(w.shape)} do not convolve")
    kernel = tuple(w.shape[2:])
    given = tuple(node.get("kernel_shape") or kernel)
    node.check(given == kernel, f"kernel_shape {given} is not that of the weights, {kernel}")


def convolution(node: Node, x: Any, w: Any, bias: Any = None, dtype: Any = None) -> Any:
    """The convolution that a node's attributes describe."""
    check_weights(node, x, w)
    arguments = window_arguments(node, len(x.shape) - 2)
    return ops.conv(x, w, bias, **arguments, groups=node.get("group", 1), dtype=dtype)


@operator("Conv")
def conv(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    return convolution(node, x, w, bias)


@operator("ConvTranspose")
def conv_transpose(node: Node, x: Any, w: Any, bias: Any = None) -> Any:
    check_weights(node, x, w)
    rank = len(x.shape) - 2
    arguments = window_arguments(node, rank)
    extra = tuple(node.get("output_padding") or (0,) * rank)
    node.check(min(extra, default=0) >= 0, f"output_padding {extra} must not be negative")
    wanted = tuple(node.get("output_shape") or ())[-rank:] or None
    if wanted is not None and node.get("auto_pad", "NOTSET") != "SAME_UPPER":
        arguments["padding"] = "same_lower"  # ONNX takes an odd element off the start, unless told SAME_UPPER
    return ops.conv_transpose(
        x, w, bias, **arguments, output_padding=extra, groups=node.get("group", 1), output_shape=wanted
    )  # fmt: skip
