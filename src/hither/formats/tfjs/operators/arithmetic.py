"""Arithmetic and elementary functions."""

from __future__ import annotations

import math
from functools import reduce as fold
from typing import Any

from .... import ops
from ... import tensorflow as tf
from ..registry import Node, operator
from ..sizes import Sizes, arithmetic
from .common import elementwise, plain, same_dtypes

UNARY = {
    "Abs": ops.abs, "Acos": ops.acos, "Acosh": ops.acosh, "Asin": ops.asin, "Asinh": ops.asinh, "Atan": ops.atan,
    "Atanh": ops.atanh, "Ceil": ops.ceil, "Cos": ops.cos, "Cosh": ops.cosh, "Elu": ops.elu, "Erf": ops.erf, "Exp": ops.exp,
    "Expm1": ops.expm1, "Floor": ops.floor, "IsFinite": ops.isfinite, "IsInf": ops.isinf, "IsNan": ops.isnan, "Log": ops.log,
    "Log1p": ops.log1p, "Reciprocal": ops.reciprocal, "Inv": ops.reciprocal, "Relu": ops.relu,
    "Relu6": ops.relu6, "Round": ops.round, "Rint": ops.round, "Rsqrt": ops.rsqrt, "Selu": ops.selu, "Sigmoid": ops.sigmoid,
    "Sign": ops.sign, "Sin": ops.sin, "Sinh": ops.sinh, "Softplus": ops.softplus, "Softsign": ops.softsign, "Sqrt": ops.sqrt,
    "Square": ops.square, "Tan": ops.tan, "Tanh": ops.tanh,
}  # fmt: skip
_INTEGERS = ("Abs", "Relu", "Relu6", "Sign", "Square", "Floor", "Ceil", "Round", "Rint", "IsFinite", "IsInf", "IsNan")


def _divide(a: Any, b: Any) -> Any:
    return ops.floor_divide(a, b) if a.dtype.is_integer else ops.divide(a, b)


BINARY = {
    "Add": ops.add, "AddV2": ops.add, "Sub": ops.subtract, "Mul": ops.multiply, "Maximum": ops.maximum, "Minimum": ops.minimum,
    "FloorDiv": ops.floor_divide, "FloorMod": ops.remainder, "Mod": ops.remainder, "RealDiv": ops.divide, "Div": _divide,
    "TruncateDiv": ops.truncated_divide, "TruncateMod": ops.fmod, "DivNoNan": ops.divide_no_nan, "Pow": ops.pow,
    "SquaredDifference": lambda a, b: ops.square(ops.subtract(a, b)), "Atan2": ops.atan2, "Xlogy": tf.x_log_y,
    "MulNoNan": lambda a, b: ops.where(b == 0, 0, ops.multiply(a, b)),
}  # fmt: skip


def _unary(node: Node, x: Any) -> Any:
    function = UNARY[node.op_type]
    node.check(x.dtype.kind in "fc" or node.op_type in _INTEGERS, f"takes floats, got {x.dtype}")
    if x.dtype.is_integer and node.op_type in ("Floor", "Ceil", "Round", "Rint"):
        return x
    return elementwise(node, function, x)


def _binary(node: Node, a: Any, b: Any) -> Any:
    same_dtypes(node, a, b)
    node.check(a.dtype.kind != "b", "takes numbers, got bools")

    def run() -> Any:
        return elementwise(node, BINARY[node.op_type], plain(a), plain(b))

    if isinstance(a, Sizes) or isinstance(b, Sizes):
        made = arithmetic(node.op_type, (a, b), run)
        if made is not None:
            return made
    return run()


operator(*UNARY, bounded=True)(_unary)
operator(*BINARY, bounded=True, sizes=True)(_binary)


@operator("Neg", bounded=True, sizes=True)
def negative(node: Node, x: Any) -> Any:
    if isinstance(x, Sizes):
        made = arithmetic("Mul", (x, ops.asarray(-1)), lambda: ops.negative(x.plain()))
        return made
    return elementwise(node, ops.negative, x)


@operator("AddN", bounded=True)
def add_n(node: Node, *xs: Any) -> Any:
    node.check(bool(xs), "adds nothing")
    same_dtypes(node, *xs)
    return fold(lambda a, b: elementwise(node, ops.add, a, b), xs)


@operator("BiasAdd", "BiasAddV1", bounded=True)
def bias_add(node: Node, x: Any, bias: Any) -> Any:
    node.check(len(bias.shape) == 1 and len(x.shape) > 1, f"a bias of shape {tuple(bias.shape)} does not fit {x.shape}")
    if node.text("data_format", "NHWC")[1:2] == "C":
        bias = ops.reshape(bias, (-1, *(1,) * (len(x.shape) - 2)))
    return elementwise(node, ops.add, x, bias)


@operator("ClipByValue", bounded=True)
def clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    if low is None or high is None:
        return elementwise(
            node, lambda v: ops.clip(v, node.number("clip_value_min", -math.inf), node.number("clip_value_max", math.inf)), x
        )
    return elementwise(node, lambda v, a, b: ops.minimum(ops.maximum(v, a), b), x, low, high)


@operator("LeakyRelu", bounded=True)
def leaky_relu(node: Node, x: Any) -> Any:
    alpha = node.number("alpha", 0.2)
    return elementwise(node, lambda v: ops.leaky_relu(v, alpha=alpha), x)


@operator("Prelu", bounded=True)
def prelu(node: Node, x: Any, slope: Any) -> Any:
    return elementwise(node, ops.prelu, x, slope)
