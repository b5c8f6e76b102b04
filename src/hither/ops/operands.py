"""How arguments of public functions become operands of primitives: conversion, promotion, broadcasting, axes.

Anything array-like is welcome: Arrays, traced values, NumPy arrays, nested lists and Python numbers. Python numbers are
weakly typed: they take the dtype of the arrays they meet, so `x * 2.0` keeps a float16 x in float16. NumPy's float64
scalars, which are Python floats, count as such.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from functools import reduce as fold
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..array import Array
from ..dtypes import DType, promote
from ..graph.primitive import REGISTRY
from ..graph.primitives import scalar
from ..graph.primitives.elementwise import convert_array
from ..graph.trace import Tracer, bind, weight

Like = Any  # Array | Tracer | np.ndarray | nested sequences of numbers | bool | int | float | complex
Axis = int | Sequence[int] | None


def apply(name: str, *operands: Any, **params: Any) -> Any:
    """Apply the primitive of this name to Arrays and traced values."""
    return bind(REGISTRY[name], *operands, **params)


def is_weak(x: Any) -> bool:
    """Whether x is a Python number, which has no dtype of its own."""
    return isinstance(x, bool | int | float | complex)


def is_traced(*xs: Any) -> bool:
    """Whether any of them is a traced value."""
    return any(isinstance(x, Tracer) for x in xs)


def weak_dtype(value: Any) -> DType:
    """The dtype of a Python number that meets no array."""
    if isinstance(value, bool):
        return dt.bool_
    if isinstance(value, int):
        return dt.int32 if -(2**31) <= value < 2**31 else dt.int64
    return dt.float32 if isinstance(value, float) else dt.complex64


def placed(x: Any, device: str | None) -> Any:
    """An array on a device; where it is for None. ValueError for a device that there is not."""
    return x if device is None else x.to_device(device)


def asarray(obj: Like, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    """An array of these values.

    Python floats become float32 and ints int32 (int64 where they do not fit); NumPy arrays keep their dtype.

    Args:
        obj: an array, a number, or nested sequences of numbers or arrays.
        dtype: convert to this dtype.
        device: "cpu" or "webgpu"; None for where it is, on the CPU if it is new.
        copy: True for a new array that later changes to `obj` do not reach; False to raise where one would be needed.

    Raises:
        TypeError: for objects that are not numbers.
        OverflowError: for Python integers that the dtype cannot hold; `astype` wraps.
        ValueError: with copy=False, for what cannot be used as it is; for a device that there is not.

    Example:
        >>> import hither as ht
        >>> ht.asarray([[1, 2], [3, 4]])
        Array([[1, 2],
               [3, 4]], dtype=int32)
    """
    if device is not None:
        return _on_device(obj, dtype, device, copy)
    wanted = None if dtype is None else dt.dtype(dtype)
    if isinstance(obj, Array | Tracer):
        made: Any = obj
    elif isinstance(obj, np.ndarray) or (isinstance(obj, np.generic) and not is_weak(obj)):
        made = Array(np.asarray(obj))
    elif copy is False and not hasattr(obj, "__array__"):
        raise ValueError(f"asarray: {type(obj).__name__} values are always copied, and copy=False forbids it")
    elif is_weak(obj):
        return number(obj, wanted or weak_dtype(obj))
    elif isinstance(obj, list | tuple) and _holds_arrays(obj):
        parts = promoted(*[asarray(part) for part in obj])
        rows = [apply("reshape", p, shape=(1, *p.shape)) for p in parts]
        made = apply("concat", *rows, axis=0)
    else:
        made = Array(_from_python(obj, wanted))
    if wanted is not None and made.dtype is not wanted:
        if copy is False:
            raise ValueError(f"asarray: {made.dtype} to {wanted} needs a copy, and copy=False forbids it")
        return converted(made, wanted)
    return duplicate(made) if copy else made


def _on_device(obj: Like, dtype: Any, device: str, copy: bool | None) -> Any:
    """`asarray` with a device."""
    made = asarray(obj, dtype=dtype, copy=copy)
    if copy is False and made.device != device:
        raise ValueError(f"asarray: {made.device!r} to {device!r} needs a copy, and copy=False forbids it")
    return placed(made, device)


def duplicate(x: Any) -> Any:
    """A new Array with a buffer of its own; traced values, which cannot change, as they are."""
    return x.alias(copy=True) if isinstance(x, Array) else x


def unaliased(x: Any, source: Any) -> Any:
    """x, or where it is the very Array `source` a second Array of the same elements: changing one leaves the other alone."""
    return source.alias() if x is source and isinstance(source, Array) else x


def _holds_arrays(obj: Any) -> bool:
    if isinstance(obj, list | tuple):
        return any(_holds_arrays(part) for part in obj)
    return isinstance(obj, Array | Tracer)


def _from_python(obj: Any, wanted: DType | None) -> np.ndarray:
    values = np.asarray(obj)
    if hasattr(obj, "__array__"):
        return values
    if values.dtype.kind in "SUO" and values.ndim == 0 and not isinstance(obj, int):
        hint = "; of an object give the arrays, in tuples, lists and dicts: of a Module its weights, and see its `swapped`"
        raise TypeError(f"an array is made of numbers, got a {type(obj).__name__}{hint if values.dtype == object else ''}")
    if values.dtype == object or (values.dtype == np.float64 and (values >= 2.0**63).any()):
        values = _large_integers(obj, values, wanted)
    if wanted is not None and wanted.is_integer and values.dtype.kind in "iu" and values.size:
        for value in (values.min(), values.max()):
            number(int(value), wanted)
    if wanted is not None and values.dtype.kind in "biufc":
        return convert_array(values.reshape(-1), wanted).reshape(values.shape)  # from all the digits that Python has
    if values.dtype == np.float64:
        return values.astype(np.float32)
    if values.dtype == np.complex128:
        return values.astype(np.complex64)
    if values.dtype == np.int64 and (not values.size or (values.min() >= -(2**31) and values.max() < 2**31)):
        return values.astype(np.int32)
    return values


def _large_integers(obj: Any, values: np.ndarray, wanted: DType | None) -> np.ndarray:
    """NumPy makes objects of integers beyond uint64, and floats of those beyond int64 among smaller ones. As uint64 they keep
    their digits."""
    exact = np.asarray(obj, dtype=object).ravel()
    if not exact.size or not all(isinstance(v, int | np.integer) for v in exact):
        return values
    if wanted is not None and not wanted.is_integer:
        return exact.astype(np.float64).reshape(values.shape)
    if min(exact) < 0 or max(exact) >= 2**64:
        raise OverflowError(
            f"no integer dtype holds {min(exact)} and {max(exact)}; give dtype='float64' for their nearest floats"
        )
    return np.array(exact, np.uint64).reshape(values.shape)


def converted(x: Any, dtype: DType) -> Any:
    """An Array or traced value in this dtype; itself where it has it."""
    return x if x.dtype == dtype else apply("convert", x, dtype=dtype)


def result_type(*xs: Any) -> DType:
    """What these arrays, dtypes and Python numbers combine to, by the array API standard's rules.

    Python numbers are weak: they only change the kind (bool, integer, float, complex) where the arrays' kind cannot hold them,
    and then to its default dtype. What the standard leaves open: integers with floats give the float.

    Raises:
        TypeError: for uint64 with a signed integer, or without an argument.

    Example:
        >>> import hither as ht
        >>> ht.result_type(ht.uint8, ht.int8), ht.result_type(ht.float16, 1.5)
        (hither.int16, hither.float16)
    """
    if not xs:
        raise TypeError("result_type takes arrays, dtypes or numbers, got none")
    arrays = [x if isinstance(x, DType) else dt.dtype(x.dtype) for x in xs if not is_weak(x)]
    numbers = [x for x in xs if is_weak(x)]
    if not arrays:
        return fold(promote, [weak_dtype(n) for n in numbers])
    dtype = fold(promote, sorted(arrays, key=lambda d: "cfuib".index(d.kind)))  # beside floats, uint64 meets int64
    for n in numbers:
        if isinstance(n, bool):
            continue
        if isinstance(n, complex) and not isinstance(n, float | int) and dtype.kind != "c":
            dtype = promote(dtype, dt.complex64)
        elif isinstance(n, float) and dtype.kind in "biu":
            dtype = dt.float32
        elif isinstance(n, int) and dtype.kind == "b":
            dtype = dt.int32
    return dtype


def number(value: Any, dtype: DType) -> Array:
    """A Python number as a 0-d array; OverflowError where an integer dtype cannot hold it."""
    if dtype.is_integer and isinstance(value, int) and not isinstance(value, bool):
        limits = np.iinfo(dtype.numpy)
        if not limits.min <= value <= limits.max:
            raise OverflowError(f"{value} does not fit into {dtype}; convert the array to a wider dtype first")
    return Array(scalar(value, dtype))


def promoted(*xs: Like, dtype: DType | None = None) -> list[Any]:
    """The arguments as operands of one dtype."""
    operands = [x if is_weak(x) else asarray(x) for x in xs]
    common = dtype or result_type(*operands)
    return [number(x, common) if is_weak(x) else converted(x, common) for x in operands]


def lifted(x: Any) -> Any:
    """A concrete array as a constant of the current trace, so that what follows is recorded instead of computed."""
    return weight(x.numpy(), "") if isinstance(x, Array) else x


def spread(x: Any, shape: Sequence[int]) -> Any:
    """Broadcast to a shape by NumPy's rules: axes are aligned at the end."""
    shape = tuple(shape)
    if tuple(x.shape) == shape:
        return x
    if len(x.shape) > len(shape) or any(n not in (1, m) for n, m in zip(x.shape, shape[len(shape) - len(x.shape) :])):
        raise ValueError(f"cannot broadcast shape {x.shape} to {shape}: extents are equal or 1, aligned at the last axis")
    return apply("broadcast", x, shape=shape, axes=tuple(range(len(shape) - len(x.shape), len(shape))))


def common_shape(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that these broadcast to together."""
    try:
        return tuple(np.broadcast_shapes(*map(tuple, shapes)))
    except ValueError:
        listed = ", ".join(str(tuple(s)) for s in shapes)
        raise ValueError(f"shapes {listed} do not broadcast: extents are equal or 1, aligned at the last axis") from None


def broadcasted(*xs: Any) -> list[Any]:
    """Operands in one shape. Beside traced values, constants stay small: their broadcast is recorded, not computed."""
    shape = common_shape(*[x.shape for x in xs])
    if is_traced(*xs):
        xs = tuple(lifted(x) if tuple(x.shape) != shape else x for x in xs)
    return [spread(x, shape) for x in xs]


def combine(name: str, *xs: Like, dtype: DType | None = None) -> Any:
    """Promote, broadcast, apply."""
    return apply(name, *broadcasted(*promoted(*xs, dtype=dtype)))


def floating(x: Like) -> Any:
    """The argument as an array of a floating-point (or complex) dtype: integers and bools become float32."""
    x = asarray(x)
    return x if x.dtype.kind in "fc" else converted(x, dt.float32)


def wide_float(x: Like) -> tuple[Any, DType]:
    """The argument as floats of at least 32 bits to accumulate in, and the dtype to go back to."""
    x = floating(x)
    return (converted(x, dt.float32), x.dtype) if x.dtype is dt.float16 else (x, x.dtype)


class AxisError(ValueError, IndexError):
    """An axis that an array does not have: a wrong value, and a wrong index."""


def one_axis(axis: int, rank: int) -> int:
    """A non-negative axis; AxisError where there is none."""
    try:
        axis = operator.index(axis)
    except TypeError:
        raise TypeError(f"an axis is one integer here, got {axis!r}") from None
    if not -rank <= axis < rank:
        raise AxisError(f"axis {axis} is out of range for an array of {rank} axes")
    return axis % rank


def axes_of(axis: Axis, rank: int) -> tuple[int, ...]:
    """All axes for None; else the given ones, non-negative, each at most once, ascending."""
    if axis is None:
        return tuple(range(rank))
    listed: Iterable[int] = (axis,) if isinstance(axis, int | np.integer) else axis
    made = [one_axis(a, rank) for a in listed]
    if len(set(made)) != len(made):
        raise ValueError(f"axes {axis} repeat")
    return tuple(sorted(made))


def with_axes(function: str, x: Like, form: str) -> Any:
    """x as an array, if it has the axes of a form: all of "[N, C, H, W]", two or more for "[N, C, *spatial]".

    Raises:
        ValueError: it has others; says which it should have.
    """
    made, parts = asarray(x), form.strip("[]").split(", ")
    named = [p for p in parts if not p.startswith(("*", "..."))]
    if made.ndim < len(named) or (made.ndim > len(named) and named == parts):
        raise ValueError(f"{function} takes {form}, got an array of shape {tuple(made.shape)}")
    return made
