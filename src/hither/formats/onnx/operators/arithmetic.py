"""Arithmetic and elementary functions, matrix products, cumulative sums."""

from __future__ import annotations

from functools import reduce as fold
from typing import Any

from .... import ops
from ....graph.primitives import apply
from ....graph.trace import static_value
from ..registry import Node, operator
from .common import as_float, broadcast, cast, elementwise, primitive, same_dtypes

UNARY = {
    "Neg": "neg", "Sign": "sign", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sqrt": "sqrt", "Exp": "exp",
    "Log": "log", "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan", "Sinh": "sinh",
    "Cosh": "cosh", "Tanh": "tanh", "Asinh": "asinh", "Acosh": "acosh", "Atanh": "atanh", "Erf": "erf", "Sigmoid": "sigmoid",
}  # fmt: skip
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}


def _unary(node: Node, x: Any) -> Any:
    return elementwise(node, primitive(UNARY[node.op_type]), x)


def _binary(node: Node, a: Any, b: Any) -> Any:
    same_dtypes(node, (a, b))
    return elementwise(node, primitive(BINARY[node.op_type]), a, b)


operator(*UNARY, bounded=True)(_unary)
operator(*BINARY, bounded=True)(_binary)


@operator("Abs", bounded=True)
def absolute(node: Node, x: Any) -> Any:
    return x if x.dtype.kind == "u" else elementwise(node, primitive("abs"), x)


@operator("Reciprocal", bounded=True)
def reciprocal(node: Node, x: Any) -> Any:
    return elementwise(node, lambda a: 1.0 / a, x)


@operator("Pow")
def power(node: Node, base: Any, exponent: Any) -> Any:
    if base.dtype == exponent.dtype:
        return apply("pow", *broadcast(base, exponent))
    if base.dtype.kind == "f" or exponent.dtype.kind != "f":
        return apply("pow", *broadcast(base, cast(exponent, base.dtype)))
    known = static_value(exponent)
    if known is not None and (known == known.round()).all() and (known >= 0).all():
        return apply("pow", *broadcast(base, cast(exponent, base.dtype)))
    return cast(apply("pow", *broadcast(cast(base, exponent.dtype), exponent)), base.dtype)


@operator("Mod")
def modulo(node: Node, a: Any, b: Any) -> Any:
    same_dtypes(node, (a, b))
    if node.get("fmod", 0):
        return apply("rem", *broadcast(a, b))
    node.check(a.dtype.kind != "f" or node.opset >= 28, "floats need fmod=1")
    return ops.remainder(a, b)


@operator("Max", "Min", bounded=True)
def extremum(node: Node, *xs: Any) -> Any:
    same_dtypes(node, xs)
    name = node.op_type.lower()
    return fold(lambda a, b: elementwise(node, primitive(name), a, b), xs)


@operator("Sum", "Mean")
def total(node: Node, *xs: Any) -> Any:
    same_dtypes(node, xs)
    result = fold(lambda a, b: apply("add", *broadcast(a, b)), xs)
    return result / float(len(xs)) if node.op_type == "Mean" else result


@operator("MatMul")
def matmul(node: Node, a: Any, b: Any) -> Any:
    same_dtypes(node, (a, b))
    return ops.matmul(a, b)


@operator("Gemm")
def gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    node.check(len(a.shape) == 2 and len(b.shape) == 2, f"takes matrices, got shapes {a.shape} and {b.shape}")
    a = ops.matrix_transpose(a) if node["transA"] else a
    b = ops.matrix_transpose(b) if node["transB"] else b
    product = ops.matmul(a, b)
    product = scaled(product, node["alpha"])
    if c is None or node["beta"] == 0:
        return product
    return product + ops.broadcast_to(scaled(c, node["beta"]), product.shape)


def scaled(x: Any, factor: float) -> Any:
    if factor == 1:
        return x
    return cast(cast(x, "float64") * factor, x.dtype) if x.dtype.kind in "iu" else x * factor


@operator("Einsum")
def einsum(node: Node, *xs: Any) -> Any:
    same_dtypes(node, xs)
    return ops.einsum(node["equation"], *xs)


@operator("CumSum", "CumProd")
def cumulative(node: Node, x: Any, axis: Any) -> Any:
    where = node.axis(int(node.scalar(axis, "the axis")), len(x.shape))
    return apply(
        "cumulative",
        x,
        axis=where,
        combine="add" if node.op_type == "CumSum" else "mul",
        exclusive=bool(node.get("exclusive", 0)),
        reverse=bool(node.get("reverse", 0)),
    )


@operator("Det")
def determinant(node: Node, x: Any) -> Any:
    node.check(len(x.shape) >= 2 and x.shape[-1] == x.shape[-2], f"takes square matrices, got shape {tuple(x.shape)}")
    return ops.linalg.det(x)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, x: Any) -> Any:
    axes = node.axes(node.get("axes", (0, 2, 3)), len(x.shape))
    wide = as_float(x)
    centred = wide - ops.mean(wide, axis=axes, keepdims=True)
    deviation = ops.sqrt(ops.mean(centred * centred, axis=axes, keepdims=True))
    return cast(centred / (deviation + 1e-9), x.dtype)
