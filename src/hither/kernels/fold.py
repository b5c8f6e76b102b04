"""Folding at the level of single operations: what the Builder need not emit because it is known or neutral."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..dtypes import DType
from .ir import Val

if TYPE_CHECKING:
    from .builder import Builder


def fold(k: Builder, kind: str, args: tuple[Val, ...], dtype: DType) -> Val | None:
    """Constant operands and neutral elements, for integers and predicates (float arithmetic is left as written)."""
    values = [constant_of(a) for a in args]
    width = args[0].width
    kind_of = args[0].dtype.kind
    if kind_of in "iub" and all(v is not None for v in values):
        result = _EVALUATE[kind](*values) if kind in _EVALUATE else None
        if result is not None:
            return k.const(result, dtype, width)
    if len(args) != 2:
        return None
    a, b = values
    if kind_of in "iu":
        if kind == "add" and a == 0:
            return args[1]
        if kind in ("add", "sub", "shl", "shr", "or", "xor") and b == 0:
            return args[0]
        if kind in ("mul", "div") and b == 1:
            return args[0]
        if kind == "mul" and a == 1:
            return args[1]
        if kind == "mul" and 0 in (a, b):
            return k.const(0, dtype, width)
    if kind_of == "b" and kind in ("and", "or"):
        for mine, other in ((a, args[1]), (b, args[0])):
            if mine is not None:
                neutral = kind == "and"
                return other if mine is neutral else k.const(not neutral, dtype, width)
    return None


def constant_of(value: Val) -> Any:
    """The Python number a value is known to be, splats included; None otherwise."""
    op = value.op
    if op is not None and op.kind == "splat":
        op = op.args[0].op
    return op.attr if op is not None and op.kind == "const" else None


def _truncating_div(a: int, b: int) -> int | None:
    return None if b == 0 else int(math.copysign(1, a) * math.copysign(1, b)) * (abs(a) // abs(b))


_EVALUATE: dict[str, Any] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _truncating_div,
    "rem": lambda a, b: None if b == 0 else a - b * (_truncating_div(a, b) or 0),
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}
