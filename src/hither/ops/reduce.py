"""Reductions along axes: sums, means, extremes, truth, and running sums.

float16 is summed, averaged and normalised in float32. Integers narrower than 32 bits are summed as 32-bit integers.
"""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes as dt
from ..dtypes import DType
from . import elementwise as el
from .operands import Axis, Like, apply, asarray, axes_of, converted, one_axis, unaliased, wide_float
from .shape import concat, reshape, slice_axis


def _keep(x: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> Any:
    return reshape(x, [1 if a in axes else n for a, n in enumerate(shape)]) if keepdims else x


def _reduce(name: str, x: Any, axis: Axis, keepdims: bool) -> Any:
    axes = axes_of(axis, x.ndim)
    return _keep(apply(name, x, axes=axes) if axes else x, x.shape, axes, keepdims)


def _summable(x: Any, dtype: Any) -> Any:
    if dtype is not None:
        return converted(x, dt.dtype(dtype))
    if x.dtype.kind in "bi" and x.dtype.bits < 32:
        return converted(x, dt.int32)
    return converted(x, dt.uint32) if x.dtype.kind == "u" and x.dtype.bits < 32 else x


def sum(x: Like, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The sum along axes (all by default).

    Example:
        >>> import hither as ht
        >>> ht.sum(ht.asarray([[1, 2], [3, 4]]), axis=0)
        Array([4, 6], dtype=int32)
    """
    return _reduce("reduce_sum", _summable(asarray(x), dtype), axis, keepdims)


def prod(x: Like, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    """The product along axes."""
    return _reduce("reduce_prod", _summable(asarray(x), dtype), axis, keepdims)


def _extremum(name: str, x: Like, axis: Axis, keepdims: bool) -> Any:
    x = asarray(x)
    if x.dtype is dt.bool_:
        return converted(_reduce(name, converted(x, dt.int32), axis, keepdims), dt.bool_)
    return _reduce(name, x, axis, keepdims)


def max(x: Like, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest element along axes; NaN if there is one. Of nothing: -inf, or the lowest integer."""
    return _extremum("reduce_max", x, axis, keepdims)


def min(x: Like, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest element along axes; NaN if there is one. Of nothing: inf, or the highest integer."""
    return _extremum("reduce_min", x, axis, keepdims)


def any(x: Like, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether some element is true (not zero)."""
    made = _reduce("reduce_max", converted(el.truth(x), dt.int32), axis, keepdims)
    return el.greater(made, 0)  # of nothing the maximum is the lowest integer


def all(x: Like, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether every element is true (not zero)."""
    x = el.truth(x)
    made = _reduce("reduce_min", converted(x, dt.int32), axis, keepdims)
    return converted(made, dt.bool_)


def count_nonzero(x: Like, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """How many elements are not zero, int64."""
    return sum(el.truth(x), axis=axis, keepdims=keepdims, dtype=dt.int64)


def _count(x: Any, axis: Axis) -> int:
    return math.prod(x.shape[a] for a in axes_of(axis, x.ndim))


def mean(x: Like, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The arithmetic mean along axes."""
    x, back = wide_float(x)  # complex numbers stay as they are
    total = sum(x, axis=axis, keepdims=keepdims)
    count = _count(x, axis)
    return converted(el.multiply(total, 1 / count) if count else el.divide(total, 0.0), back)


def var(x: Like, /, *, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Any:
    """The variance along axes: mean squared distance from the mean, divided by count - correction."""
    x, back = wide_float(x)
    apart = el.subtract(x, mean(x, axis=axis, keepdims=True))
    total = sum(el.square(apart), axis=axis, keepdims=keepdims)
    return converted(el.divide(total, float(_count(x, axis) - correction)), back)


def std(x: Like, /, *, axis: Axis = None, correction: float = 0, keepdims: bool = False) -> Any:
    """The standard deviation along axes."""
    x, back = wide_float(x)
    return converted(el.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims)), back)


def logsumexp(x: Like, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """log Σ exp(x) along axes, without overflow."""
    x, back = wide_float(x)
    top = max(x, axis=axis, keepdims=True)
    top = el.where(el.isfinite(top), top, 0)
    total = el.log(sum(el.exp(el.subtract(x, top)), axis=axis, keepdims=True))
    made = el.add(total, top)
    axes = axes_of(axis, x.ndim)
    shape = x.shape if keepdims else [n for a, n in enumerate(x.shape) if a not in axes]
    return converted(made if keepdims else reshape(made, shape), back)


def moments(x: Like, axes: Axis = None, /, *, keepdims: bool = False) -> tuple[Any, Any]:
    """The mean and the variance (of the whole, not of a sample) over these axes.

    Example:
        >>> import hither as ht
        >>> ht.moments(ht.asarray([1.0, 3.0]))
        (Array(2., dtype=float32), Array(1., dtype=float32))
    """
    return mean(x, axis=axes, keepdims=keepdims), var(x, axis=axes, keepdims=keepdims)


def vector_norm(x: Like, /, *, axis: Axis = None, ord: float = 2, keepdims: bool = False) -> Any:
    """The ord-norm (Σ |x|^ord)^(1/ord) for any number; ord 0 counts what is not zero. Of complex numbers it is real."""
    x, back = wide_float(x)
    back = back.real
    size = el.abs(x)
    if ord == math.inf:
        made = max(size, axis=axis, keepdims=keepdims)
    elif ord == -math.inf:
        made = min(size, axis=axis, keepdims=keepdims)
    elif ord == 1:
        made = sum(size, axis=axis, keepdims=keepdims)
    elif ord == 0:
        made = sum(el.not_equal(x, 0), axis=axis, keepdims=keepdims)
    elif ord == 2:
        made = el.sqrt(sum(el.square(size if x.dtype.kind == "c" else x), axis=axis, keepdims=keepdims))
    else:
        made = el.pow(sum(el.pow(size, float(ord)), axis=axis, keepdims=keepdims), 1.0 / ord)
    return converted(made, back)


# -- argmax, argmin ------------------------------------------------------------------------------------------------------------


def _arg(name: str, x: Like, axis: int | None, keepdims: bool, last: bool, dtype: DType) -> Any:
    x = asarray(x)
    if x.dtype is dt.bool_:
        x = converted(x, dt.int32)
    if axis is None:
        made = apply(name, reshape(x, (x.size,)), axis=0, last=last, dtype=dtype)
        return reshape(made, (1,) * x.ndim) if keepdims else made
    axis = one_axis(axis, x.ndim)
    return _keep(apply(name, x, axis=axis, last=last, dtype=dtype), x.shape, (axis,), keepdims)


def argmax(x: Like, /, *, axis: int | None = None, keepdims: bool = False, last: bool = False, dtype: Any = dt.int64) -> Any:
    """The position of the largest element along an axis (of the flattened array for None): the first of equals, or the last."""
    return _arg("argmax", x, axis, keepdims, last, dt.dtype(dtype))


def argmin(x: Like, /, *, axis: int | None = None, keepdims: bool = False, last: bool = False, dtype: Any = dt.int64) -> Any:
    """The position of the smallest element along an axis (in the flattened array for None)."""
    return _arg("argmin", x, axis, keepdims, last, dt.dtype(dtype))


# -- running sums --------------------------------------------------------------------------------------------------------------


def diff(
    x: Like, /, *, axis: int = -1, n: int = 1, prepend: Like | None = None, append: Like | None = None
) -> Any:  # fmt: skip
    """Differences between neighbours along an axis, n times over.

    Args:
        prepend, append: put before and after x along the axis first.

    Example:
        >>> import hither as ht
        >>> ht.diff(ht.asarray([1, 4, 9, 16]))
        Array([3, 5, 7], dtype=int32)
    """
    made = asarray(x)
    axis = one_axis(axis, made.ndim)
    if n < 0:
        raise ValueError(f"diff: n is not negative, got {n}")
    parts = [asarray(p) for p in (prepend, made, append) if p is not None]
    made = concat(parts, axis=axis) if len(parts) > 1 and n else made
    for _ in range(n):
        extent = made.shape[axis]
        made = el.subtract(slice_axis(made, axis, 1, extent), slice_axis(made, axis, 0, extent - 1 if extent else 0))
    return unaliased(made, x)


def _cumulative(
    x: Like, combine: str, axis: int | None, dtype: Any, include_initial: bool, exclusive: bool, reverse: bool
) -> Any:
    x = _summable(asarray(x), dtype)
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"a cumulative {combine} of shape {x.shape} needs an axis")
        axis = 0
    axis = one_axis(axis, x.ndim)
    made = apply("cumulative", x, axis=axis, combine=combine, exclusive=exclusive, reverse=reverse)
    if include_initial:
        from .creation import full

        edge = full([1 if a == axis else n for a, n in enumerate(x.shape)], 1 if combine == "mul" else 0, dtype=x.dtype)
        made = concat([made, edge] if reverse else [edge, made], axis=axis)
    return made


def cumulative_sum(
    x: Like, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False, exclusive: bool = False,
    reverse: bool = False,
) -> Any:  # fmt: skip
    """Running sums along an axis.

    Args:
        include_initial: start with 0, one element longer; with `reverse` that is the last element.
        exclusive: leave each element out of its own sum.
        reverse: from the end.

    Example:
        >>> import hither as ht
        >>> ht.cumulative_sum(ht.asarray([1, 2, 3]), exclusive=True)
        Array([0, 1, 3], dtype=int32)
    """
    return _cumulative(x, "add", axis, dtype, include_initial, exclusive, reverse)


def cumulative_prod(
    x: Like, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False, exclusive: bool = False,
    reverse: bool = False,
) -> Any:  # fmt: skip
    """Running products along an axis."""
    return _cumulative(x, "mul", axis, dtype, include_initial, exclusive, reverse)


def cumulative_max(x: Like, /, *, axis: int = -1) -> Any:
    """Running maximum along an axis."""
    x = asarray(x)
    return apply("cumulative", x, axis=one_axis(axis, x.ndim), combine="max", exclusive=False, reverse=False)


def cumulative_min(x: Like, /, *, axis: int = -1) -> Any:
    """Running minimum along an axis."""
    x = asarray(x)
    return apply("cumulative", x, axis=one_axis(axis, x.ndim), combine="min", exclusive=False, reverse=False)


__all__ = [
    "all", "any", "argmax", "argmin", "count_nonzero", "cumulative_max", "cumulative_min", "cumulative_prod",
    "cumulative_sum", "diff", "logsumexp", "max", "mean", "min", "moments", "prod", "std", "sum", "var", "vector_norm",
]  # fmt: skip
