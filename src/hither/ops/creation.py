"""Arrays from nothing: constants, ranges, identity and triangular masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..array import Array
from ..dtypes import promote
from ..graph.primitives import counter
from . import elementwise as el
from .operands import Like, apply, asarray, is_traced, is_weak, lifted, number, one_axis, placed, promoted, weak_dtype


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)


def full(shape: int | Sequence[int], fill_value: Like, *, dtype: Any = None, device: Any = None) -> Any:
    """An array of one repeated value, which may be a number or a 0-d array.

    Example:
        >>> import hither as ht
        >>> ht.full((2,), 7)
        Array([7, 7], dtype=int32)
    """
    value = asarray(fill_value, dtype=dtype)
    made = apply("broadcast", value, shape=_shape(shape), axes=tuple(range(value.ndim))) if _shape(shape) else value
    return placed(made, device)


def zeros(shape: int | Sequence[int], *, dtype: Any = None, device: Any = None) -> Any:
    """All 0; float32 by default."""
    return full(shape, 0, dtype=dtype or dt.float32, device=device)


def ones(shape: int | Sequence[int], *, dtype: Any = None, device: Any = None) -> Any:
    """All 1; float32 by default."""
    return full(shape, 1, dtype=dtype or dt.float32, device=device)


def empty(shape: int | Sequence[int], *, dtype: Any = None, device: Any = None) -> Any:
    """An array of a shape whose values do not matter; they are 0."""
    return zeros(shape, dtype=dtype, device=device)


def full_like(x: Like, /, fill_value: Like, *, dtype: Any = None, device: Any = None) -> Any:
    """An array like x of one repeated value."""
    x = asarray(x)
    value = (
        number(fill_value, dt.dtype(dtype or x.dtype)) if is_weak(fill_value) else asarray(fill_value, dtype=dtype or x.dtype)
    )
    if is_traced(x):
        value = lifted(value)
    return full(x.shape, value, device=device)


def zeros_like(x: Like, /, *, dtype: Any = None, device: Any = None) -> Any:
    """All 0, like x."""
    return full_like(x, 0, dtype=dtype, device=device)


def ones_like(x: Like, /, *, dtype: Any = None, device: Any = None) -> Any:
    """All 1, like x."""
    return full_like(x, 1, dtype=dtype, device=device)


def empty_like(x: Like, /, *, dtype: Any = None, device: Any = None) -> Any:
    """An array like x whose values do not matter; they are 0."""
    return zeros_like(x, dtype=dtype, device=device)


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Any:
    """start, start + step, … up to but without stop. One argument means 0 … stop.

    Integers give int32 (int64 where they do not fit), floats float32, unless `dtype` says otherwise. Arguments must be known
    while tracing.
    """
    if stop is None:
        start, stop = 0, start
    first, last, by = (v.item() if hasattr(v, "item") else v for v in (start, stop, step))
    if by == 0:
        raise ValueError("arange: step is 0")
    whole = all(isinstance(v, int) for v in (first, last, by))
    wanted = dt.dtype(dtype) if dtype is not None else promote(weak_dtype(first), weak_dtype(last)) if whole else dt.float32
    if not whole or not wanted.is_integer:
        count = max(0, math.ceil((last - first) / by))
        return placed(Array((first + np.arange(count) * by).astype(wanted.numpy)), device)
    position = np.arange(len(range(first, last, by)), dtype=np.uint64)  # modulo 2^64, so that every integer dtype is exact
    return placed(Array((np.uint64(first % 2**64) + position * np.uint64(by % 2**64)).astype(wanted.numpy)), device)


def linspace(
    start: complex, stop: complex, /, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Any:  # fmt: skip
    """`num` evenly spaced values from start to stop (included unless endpoint=False); float32, or complex64 by default.

    The ends may be traced: numbers that something depends on.
    """
    if is_traced(start, stop):
        first, last = promoted(start, stop, dtype=None if dtype is None else dt.dtype(dtype))
        kind = dt.float64 if first.dtype in (dt.float64, dt.complex128) else dt.float32
        share = (np.arange(num) / max(num - 1 if endpoint else num, 1)).astype(kind.numpy)
        return el.add(el.multiply(first, 1 - share), el.multiply(last, share))
    usual = dt.complex64 if isinstance(start, complex) or isinstance(stop, complex) else dt.float32
    wanted = dt.dtype(dtype or usual)
    return placed(Array(np.linspace(start, stop, num, endpoint=endpoint, dtype=wanted.numpy)), device)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Any:
    """Ones on the k-th diagonal, else zeros."""
    columns = n_rows if n_cols is None else n_cols
    inside = min(max(k, -n_rows), columns)  # far diagonals are as empty as near ones, and may not fit into 64 bits
    return placed(Array(np.eye(n_rows, columns, k=inside, dtype=dt.dtype(dtype or dt.float32).numpy)), device)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Any:
    """An array of the elements of any object that speaks DLPack (NumPy, PyTorch, JAX…), without a copy unless asked for.

    Args:
        x: an object with `__dlpack__` and `__dlpack_device__`, on the CPU. Do not change it while its memory is shared.
        device: "cpu" (also for None), or "webgpu" to move it there.
        copy: True for memory of its own.

    Raises:
        BufferError: if x cannot be used as it is and copy=False.
        TypeError: if x does not speak DLPack, or holds a dtype that hither does not have.

    Example:
        >>> import hither as ht, numpy as np
        >>> ht.from_dlpack(np.arange(3))
        Array([0, 1, 2], dtype=int64)
    """
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack takes an object with __dlpack__, got {type(x).__name__}; asarray takes numbers and lists")
    return placed(Array(np.from_dlpack(x, copy=copy)), device)


def _triangle(x: Like, k: Like, keep_lower: bool) -> Any:
    """Compare row and column numbers: recorded as such while tracing, not as a mask constant."""
    x = asarray(x)
    if x.ndim < 2:
        raise ValueError(f"tril and triu take matrices, got shape {x.shape}")
    rows, columns = x.shape[-2:]
    like = k if is_traced(k) else x
    row, column = (counter((rows, columns), axis, dt.int32, like) for axis in (0, 1))
    edge = el.add(row, k if is_weak(k) else asarray(k, dtype=dt.int32))
    kept = el.less_equal(column, edge) if keep_lower else el.greater_equal(column, edge)
    return el.where(kept, x, full_like(x, False if x.dtype is dt.bool_ else 0))


def tril(x: Like, /, *, k: Like = 0) -> Any:
    """The lower triangle of each matrix: zero above the k-th diagonal."""
    return _triangle(x, k, True)


def triu(x: Like, /, *, k: Like = 0) -> Any:
    """The upper triangle of each matrix: zero below the k-th diagonal."""
    return _triangle(x, k, False)


def band_part(x: Like, num_lower: int, num_upper: int, /) -> Any:
    """Each matrix with zeros outside a band: `num_lower` diagonals below the main one and `num_upper` above are kept.

    Args:
        x: [..., m, n].
        num_lower, num_upper: how many; all for a negative number.

    Example:
        >>> import hither as ht
        >>> ht.band_part(ht.ones((3, 3)), 1, 0)
        Array([[1., 0., 0.],
               [1., 1., 0.],
               [0., 1., 1.]], dtype=float32)
    """
    made = asarray(x) if num_upper < 0 else tril(x, k=num_upper)
    return made if num_lower < 0 else triu(made, k=-num_lower)


def one_hot(indices: Like, depth: int, /, *, values: tuple[Any, Any] = (0.0, 1.0), axis: int = -1, dtype: Any = None) -> Any:
    """A new axis of extent `depth` that holds values[1] at each index and values[0] elsewhere.

    Negative indices count from the end; those out of range give no values[1] at all (as in ONNX).
    """
    indices = asarray(indices)
    if not indices.dtype.is_integer or indices.dtype.bits < 32:  # narrow ones could not count to `depth`
        indices = asarray(indices, dtype=dt.int32 if indices.dtype.is_integer else dt.int64)
    place = one_axis(axis, indices.ndim + 1)
    count = np.arange(depth).astype(indices.dtype.numpy).reshape([-1 if a == place else 1 for a in range(indices.ndim + 1)])
    wrapped = el.where(el.less(indices, 0), el.add(indices, depth), indices) if indices.dtype.kind == "i" else indices
    shape = [*indices.shape]
    shape.insert(place, 1)
    if len(values) != 2:
        raise ValueError(f"one_hot: values are (elsewhere, at the index), got {len(values)}")
    off, on = values
    made = el.where(el.equal(apply("reshape", wrapped, shape=tuple(shape)), count), on, off)
    return made if dtype is None else asarray(made, dtype=dtype)


__all__ = [
    "arange", "band_part", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like", "linspace", "one_hot", "ones",
    "ones_like", "tril", "triu", "zeros", "zeros_like",
]  # fmt: skip
