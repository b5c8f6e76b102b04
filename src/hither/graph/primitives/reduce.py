"""Reductions, index reductions and cumulative sums along axes.

float16 accumulates in float32; integers wrap at their width. The maximum and minimum of anything with a NaN is NaN, and
the argmax of it is the first NaN's position.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import dtypes as dt
from ...dtypes import DType
from ..core import Abstract
from ..primitive import Reduction, Template, primitive
from .batch_rules import all_batched
from .rules import apply, counter, full, highest, lowest, require_axis, require_kind, wide

Axes = tuple[int, ...]


def _require_axes(name: str, x: Abstract, axes: Axes) -> None:
    for axis in axes:
        require_axis(name, x, axis)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name}: axes {list(axes)} of {x} repeat")


def restore(x: Any, shape: tuple[int, ...], axes: Axes) -> Any:
    """Broadcast a reduced array back to the shape it was reduced from."""
    kept = tuple(a for a in range(len(shape)) if a not in axes)
    return apply("broadcast", x, shape=tuple(shape), axes=kept)


def _reduction(
    name: str, combine: str, fold: np.ufunc, initial: Callable[[DType], Any], vjp: Callable[..., Any], kinds: str
) -> None:
    def abstract(x: Abstract, axes: Axes) -> Abstract:
        require_kind(name, x, kinds)
        _require_axes(name, x, axes)
        return Abstract(tuple(n for a, n in enumerate(x.shape) if a not in axes), x.dtype)

    def evaluate(x: np.ndarray, axes: Axes) -> np.ndarray:
        source = wide(x)
        start = np.asarray(initial(dt.dtype(source.dtype))).astype(source.dtype)
        folded = fold.reduce(source, axis=tuple(axes), dtype=source.dtype, initial=start)
        return np.asarray(folded).astype(x.dtype, copy=False)

    def pull(cotangents: Any, operands: Any, results: Any, axes: Axes) -> tuple[Any]:
        return (vjp(cotangents[0], operands[0], results[0], axes),)

    primitive(
        name, abstract=abstract, evaluate=evaluate, lowering=Reduction(combine, initial), vjp=pull,
        flops=lambda operands, results, params: operands[0].size,
    )  # fmt: skip


def _sum_vjp(g: Any, x: Any, y: Any, axes: Axes) -> Any:
    return restore(g, tuple(x.shape), axes)


def _extremum_vjp(g: Any, x: Any, y: Any, axes: Axes) -> Any:
    """Equal extremes share the cotangent evenly."""
    shape = tuple(x.shape)
    mask = apply("convert", apply("eq", x, restore(y, shape, axes)), dtype=x.dtype)
    count = apply("reduce_sum", mask, axes=axes)
    return apply("mul", mask, restore(apply("div", g, count), shape, axes))


def _prod_vjp(g: Any, x: Any, y: Any, axes: Axes) -> Any:
    """Each element's cotangent is the product of all the others: exclusive products from both sides (zeros are exact)."""
    shape = tuple(x.shape)
    kept = tuple(a for a in range(len(shape)) if a not in axes)
    order = (*kept, *axes)
    moved = apply("transpose", x, permutation=order)
    spread = tuple(moved.shape)
    flat = apply("reshape", moved, shape=(*(shape[a] for a in kept), math.prod(shape[a] for a in axes)))
    axis = len(kept)
    before = apply("cumulative", flat, axis=axis, combine="mul", exclusive=True, reverse=False)
    after = apply("cumulative", flat, axis=axis, combine="mul", exclusive=True, reverse=True)
    others = apply("reshape", apply("mul", before, after), shape=spread)
    back = tuple(sorted(range(len(order)), key=order.__getitem__))
    return apply("mul", restore(g, shape, axes), apply("transpose", others, permutation=back))


_reduction("reduce_sum", "add", np.add, lambda d: 0, _sum_vjp, "iufc")
_reduction("reduce_prod", "mul", np.multiply, lambda d: 1, _prod_vjp, "iufc")
_reduction("reduce_max", "max", np.maximum, lowest, _extremum_vjp, "iuf")
_reduction("reduce_min", "min", np.minimum, highest, _extremum_vjp, "iuf")


# -- argmax, argmin ----------------------------------------------------------------------------------------------------------


def _arg_reduction(name: str, function: Callable[..., np.ndarray]) -> None:
    def abstract(x: Abstract, axis: int, last: bool = False, dtype: DType = dt.int64) -> Abstract:
        require_kind(name, x, "iuf")
        require_axis(name, x, axis)
        if x.shape[axis] == 0:
            raise ValueError(f"{name}: axis {axis} of {x} is empty")
        if not dtype.is_integer:
            raise TypeError(f"{name} gives integers, asked for {dtype}")
        return Abstract((*x.shape[:axis], *x.shape[axis + 1 :]), dtype)

    def evaluate(x: np.ndarray, axis: int, last: bool = False, dtype: DType = dt.int64) -> np.ndarray:
        if last:
            return np.asarray(x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis)).astype(dtype.numpy)
        return np.asarray(function(x, axis=axis)).astype(dtype.numpy)

    primitive(
        name, abstract=abstract, evaluate=evaluate, batch=all_batched(name, axis="axis"), lowering=Template("arg_reduce"),
        flops=lambda operands, results, params: operands[0].size,
    )  # fmt: skip


_arg_reduction("argmax", np.argmax)
_arg_reduction("argmin", np.argmin)


# -- cumulative ----------------------------------------------------------------------------------------------------------------

_CUMULATIVE: dict[str, tuple[np.ufunc, Callable[[DType], Any]]] = {
    "add": (np.add, lambda d: 0),
    "mul": (np.multiply, lambda d: 1),
    "max": (np.maximum, lowest),
    "min": (np.minimum, highest),
}


def _cumulative_abstract(x: Abstract, axis: int, combine: str, exclusive: bool = False, reverse: bool = False) -> Abstract:
    require_kind("cumulative", x, "iufc" if combine in ("add", "mul") else "iuf")
    require_axis("cumulative", x, axis)
    if combine not in _CUMULATIVE:
        raise ValueError(f"cumulative: combine is one of {', '.join(_CUMULATIVE)}, got {combine!r}")
    return x


def _cumulative(x: np.ndarray, axis: int, combine: str, exclusive: bool = False, reverse: bool = False) -> np.ndarray:
    fold, identity = _CUMULATIVE[combine]
    source = wide(np.flip(x, axis) if reverse else x)
    made = fold.accumulate(source, axis=axis, dtype=source.dtype)
    if exclusive and x.shape[axis]:
        head = np.full_like(np.take(source, [0], axis), identity(dt.dtype(source.dtype)))
        made = np.concatenate([head, np.delete(made, -1, axis)], axis)
    return (np.flip(made, axis) if reverse else made).astype(x.dtype, copy=False)


def _shifted(x: Any, axis: int, by: int, value: float) -> Any:
    """Element i becomes element i + by; `value` comes in at the end."""
    shape = tuple(x.shape)
    rank = len(shape)
    by = min(by, shape[axis])
    cut = apply(
        "slice", x, starts=tuple(by if a == axis else 0 for a in range(rank)),
        sizes=tuple(n - by if a == axis else n for a, n in enumerate(shape)), steps=(1,) * rank,
    )  # fmt: skip
    return apply("pad", cut, low=(0,) * rank, high=tuple(by if a == axis else 0 for a in range(rank)), value=value)


def _flipped(x: Any, axis: int) -> Any:
    shape = tuple(x.shape)
    starts = tuple(n - 1 if a == axis else 0 for a, n in enumerate(shape))
    return apply("slice", x, starts=starts, sizes=shape, steps=tuple(-1 if a == axis else 1 for a in range(len(shape))))


def _cumulative_mul_vjp(g: Any, x: Any, axis: int, exclusive: bool) -> Any:
    """With L the exclusive prefix products: dx_i = L_i·R_i, where R_i = g_i + x_{i+1}·R_{i+1} (inclusive case).

    The recurrence is a composition of affine maps r → a·r + b, folded in log2(n) doubling steps; nothing is divided, so
    zeros in x are exact.
    """
    if exclusive:  # y_i multiplies x_0 … x_{i-1}: the inclusive products shifted by one
        g = _shifted(g, axis, 1, 0.0)
    left = apply("cumulative", x, axis=axis, combine="mul", exclusive=True, reverse=False)
    a, b = _shifted(x, axis, 1, 0.0), g
    step = 1
    while step < x.shape[axis]:
        b = apply("add", b, apply("mul", a, _shifted(b, axis, step, 0.0)))
        a = apply("mul", a, _shifted(a, axis, step, 0.0))
        step *= 2
    return apply("mul", left, b)


def _cumulative_extremum_vjp(g: Any, x: Any, y: Any, axis: int, combine: str) -> Any:
    """Scatter each cotangent to the position of its running extremum: the last element that set or equalled it."""
    position = counter(tuple(x.shape), axis, dt.int32, x)
    here = apply("eq", x, y)
    marked = apply("select", here, position, full(0, x, dtype=dt.int32))
    source = apply("cumulative", marked, axis=axis, combine="max", exclusive=False, reverse=False)
    return apply("scatter_along", full(0, g), source, g, axis=axis, combine="add")


def _cumulative_vjp(
    cotangents: Any, operands: Any, results: Any, axis: int, combine: str, exclusive: bool = False, reverse: bool = False
) -> tuple[Any]:
    g, x, y = cotangents[0], operands[0], results[0]
    if combine == "add":
        return (apply("cumulative", g, axis=axis, combine="add", exclusive=exclusive, reverse=not reverse),)
    if combine != "mul" and exclusive:
        raise TypeError(f"cumulative {combine} with exclusive=True has no gradient; use exclusive=False and shift the result")
    if reverse:
        g, x, y = (_flipped(v, axis) for v in (g, x, y))
    if combine == "mul":
        made = _cumulative_mul_vjp(g, x, axis, exclusive)
    else:
        made = _cumulative_extremum_vjp(g, x, y, axis, combine)
    return (_flipped(made, axis) if reverse else made,)


primitive(
    "cumulative",
    abstract=_cumulative_abstract,
    evaluate=_cumulative,
    batch=all_batched("cumulative", axis="axis"),
    lowering=Template("cumulative"),
    vjp=_cumulative_vjp,
)
