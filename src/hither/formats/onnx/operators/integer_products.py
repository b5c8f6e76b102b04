"""Products of integers less their zero points, in int32.

Where the right operand is known, 8-bit numbers are multiplied as they are, and what zero points add to a sum is taken off
behind it: Σ (x - a)(w - b) = Σ x·w - a · Σ (w - b) - b · Σ x. Taken off beforehand they would make int32 of all weights in
every run. Sums are the same, bit by bit, because int32 wraps around.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import dtypes as dt
from .... import ops
from ....array import Array
from ....graph.trace import Tracer, static_value, weight
from ..registry import Node
from .common import along, cast
from .nn import check_weights, convolution, window_arguments


def centred(x: Any, zero: Any, shape: tuple[int, ...] | None = None) -> Any:
    """x minus its zero point, as int32; `shape` is how a vector of zero points broadcasts."""
    value = cast(x, dt.int32)
    if zero is None:
        return value
    zero = cast(zero, dt.int32)
    return value - (
        ops.reshape(zero, shape) if shape is not None and len(zero.shape) == 1 and zero.shape[0] != 1 else one(zero)
    )


def one(x: Any) -> Any:
    """A vector of one element as a scalar."""
    return ops.reshape(x, ()) if len(x.shape) == 1 and x.shape[0] == 1 else x


def matmul(a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    """(a - a_zero) @ (b - b_zero): a zero point for all of a or each row, for all of b or each column."""
    known = _known(a, b, b_zero, -1) if len(b.shape) == 2 else None
    if known is None:
        return ops.matmul(centred(a, a_zero, (-1, 1)), centred(b, b_zero))
    numbers, zeros, right = known
    total = ops.matmul(a, right, dtype=dt.int32)
    sums = (numbers.astype(np.int32) - zeros).sum(0, dtype=np.int32)
    if a_zero is not None:
        a_zero = one(cast(a_zero, dt.int32))
        total = total - (ops.reshape(a_zero, (-1, 1)) if len(a_zero.shape) == 1 else a_zero) * Array(sums)
    if zeros.any():
        total = total - ops.sum(cast(a, dt.int32), axis=-1, keepdims=True) * Array(zeros)
    return total


def conv(node: Node, x: Any, w: Any, x_zero: Any = None, w_zero: Any = None, bias: Any = None) -> Any:
    """The convolution that a node describes of x - x_zero and w - w_zero: a zero point for all of w or each channel."""
    rank = len(x.shape)
    check_weights(node, x, w)
    known = _known(x, w, w_zero, 0) if node.get("group", 1) == 1 and (x_zero is None or x_zero.size == 1) else None
    if known is None:
        return convolution(node, centred(x, x_zero), centred(w, w_zero, (w.shape[0],) + (1,) * (rank - 1)), bias)
    numbers, zeros, right = known
    arguments = window_arguments(node, rank - 2)
    steps = {k: v for k, v in arguments.items() if k != "padding"}
    pairs = ops.resolve_padding(arguments["padding"], x.shape[2:], w.shape[2:], steps["strides"], steps["dilation"])
    x = _bordered(x, x_zero, pairs)
    total = ops.conv(x, right, dtype=dt.int32, **steps)
    sums = (numbers.astype(np.int32) - zeros).reshape(len(numbers), -1).sum(1, dtype=np.int32)
    if x_zero is not None:
        total = total - cast(one(x_zero), dt.int32) * along(Array(sums), 1, rank)
    if zeros.any():
        each = ops.conv(ops.sum(cast(x, dt.int32), axis=1, keepdims=True), np.ones((1, 1, *w.shape[2:]), np.int32), **steps)
        total = total - each * (along(Array(zeros.reshape(-1)), 1, rank) if zeros.size > 1 else int(zeros.reshape(-1)[0]))
    return total if bias is None else total + along(bias, 1, rank)


def _known(x: Any, w: Any, zero: Any, kept: int) -> tuple[np.ndarray, np.ndarray, Any] | None:
    """8-bit weights that are known, as int8: their numbers, zero points (that broadcast against them), and what to multiply by.
    None where an operand is of another kind, or zero points are of another form than one for all or for each of an axis."""
    if x.dtype.bits != 8 or w.dtype.bits != 8 or not w.size:
        return None
    numbers, zeros = static_value(w), np.zeros((), np.int32) if zero is None else static_value(zero)
    if numbers is None or zeros is None or zeros.size not in (1, numbers.shape[kept]):
        return None
    zeros = zeros.astype(np.int32).reshape([-1 if a == kept % numbers.ndim else 1 for a in range(numbers.ndim)])
    if numbers.dtype == np.int8:
        return numbers, _flat(zeros, kept), w
    numbers = (numbers ^ 128).view(np.int8)
    return numbers, _flat(zeros - 128, kept), weight(numbers, w.value.name if isinstance(w, Tracer) else "")


def _flat(zeros: np.ndarray, kept: int) -> np.ndarray:
    """Zero points of a matrix's columns as a vector."""
    return zeros.reshape(-1) if kept == -1 else zeros


def _bordered(x: Any, zero: Any, pairs: Any) -> Any:
    """x with a border of its zero point."""
    if not any(map(any, pairs)):
        return x
    padded = ops.pad(x, [(0, 0), (0, 0), *pairs])
    if zero is None:
        return padded
    inside = np.pad(np.ones(x.shape[2:], bool), pairs)[None, None]
    return ops.where(inside, padded, cast(one(zero), x.dtype))


__all__ = ["centred", "conv", "matmul", "one"]
