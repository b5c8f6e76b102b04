"""x[key], and reading and writing at indices: take, take_along_axis, gather_nd, scatter.

Index arrays may hold negative numbers, which count from the end; numbers out of range are clamped. A bool mask picks a
number of elements that depends on its values, so it must be known while tracing; `where` and `nonzero` serve where it is not.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes as dt
from ..graph.trace import Tracer, static_value
from . import elementwise as el
from .operands import Like, apply, asarray, broadcasted, common_shape, one_axis, promoted, spread, unaliased, with_axes
from .shape import concat, expand_dims, moveaxis, permute_dims, reshape, slice_axis, stack


def wrapped(indices: Any, extent: int) -> Any:
    """Indices with negative ones counted from the end; unchanged where they are known not to be negative."""
    known = None if isinstance(indices, Tracer) else indices.numpy()
    if indices.dtype.kind == "u" or (known is not None and (known >= 0).all()):
        return indices
    if known is not None:
        return asarray(np.where(known < 0, known + extent, known).astype(known.dtype))
    if indices.dtype.bits < 32:
        indices = asarray(indices, dtype=dt.int32)
    return el.where(el.less(indices, 0), el.add(indices, extent), indices)


def _is_int(key: Any) -> bool:
    return isinstance(key, int | np.integer) and not isinstance(key, bool | np.bool_)


def getitem(x: Like, key: Any, /) -> Any:
    """x[key] by NumPy's rules: integers, slices, ..., None, index arrays and masks, in any combination.

    Example:
        >>> import hither as ht
        >>> x = ht.reshape(ht.arange(6), (2, 3))
        >>> ht.getitem(x, (slice(None), -1))
        Array([2, 5], dtype=int32)
    """
    given, x = x, asarray(x)
    keys = list(key) if isinstance(key, tuple) else [key]
    keys = [_as_key(k) for k in keys]
    if len(keys) == 1 and isinstance(keys[0], _Mask) and keys[0].values.ndim == 0:  # all of x along a new axis, or nothing
        return slice_axis(expand_dims(x, axis=0), 0, 0, int(keys[0].values))
    consumed = sum(_axes_taken(k) for k in keys)
    if consumed > x.ndim:
        raise IndexError(f"too many indices: {consumed} for an array of shape {x.shape}")
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    at = dots[0] if dots else len(keys)
    keys[at : at + len(dots)] = [slice(None)] * (x.ndim - consumed)
    keys = _expand_masks(keys, x)

    starts, sizes, steps, shape = [], [], [], []  # of the slice, and of the reshape after it
    advanced: list[tuple[int, Any]] = []  # (axis after that reshape, index array)
    positions: list[int] = []  # where in the key arrays stand, to tell adjacent from separated
    axis = 0
    for place, k in enumerate(keys):
        if k is None:
            shape.append(1)
            continue
        n = x.shape[axis]
        if isinstance(k, slice):
            picked = range(n)[_slice_of_ints(k)]
            starts.append(picked.start if len(picked) else 0)
            sizes.append(len(picked))
            steps.append(picked.step if len(picked) else 1)
            shape.append(len(picked))
        elif _is_int(k):
            if not -n <= k < n:
                raise IndexError(f"index {k} is out of range for axis {axis} of extent {n}")
            starts.append(int(k) % n)
            sizes.append(1)
            steps.append(1)
            if any(_is_array(other) for other in keys):  # beside index arrays, an integer is a 0-d index array
                advanced.append((len(shape), asarray(np.int32(0))))
                positions.append(place)
                shape.append(1)
        else:
            advanced.append((len(shape), k))
            positions.append(place)
            starts.append(0)
            sizes.append(n)
            steps.append(1)
            shape.append(n)
        axis += 1
    identity = tuple(sizes) == tuple(x.shape) and all(s == 1 for s in steps)
    made = x if identity else apply("slice", x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))
    made = reshape(made, shape)
    return _advanced(made, advanced, positions) if advanced else unaliased(made, given)


def _as_key(k: Any) -> Any:
    if k is None or k is Ellipsis or isinstance(k, slice) or _is_int(k):
        return k
    if isinstance(k, bool | np.bool_):
        raise IndexError("a bool is not an index; use where, or an array of bools as a mask")
    k = asarray(k)
    if k.dtype is dt.bool_:
        known = static_value(k)
        if known is None:
            raise IndexError("a mask selects a number of elements that is unknown while tracing; use hither.where or nonzero")
        return _Mask(known)
    if not k.dtype.is_integer:
        if k.size == 0:  # x[[]]
            return asarray(k, dtype=dt.int32)
        raise IndexError(f"indices are integers, slices, ..., None, integer arrays or masks; got {k.dtype} of shape {k.shape}")
    return int(k) if k.ndim == 0 and not isinstance(k, Tracer) else k


class _Mask:
    """A bool array in an index: it consumes as many axes as it has."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values


def _is_array(k: Any) -> bool:
    return not (k is None or isinstance(k, slice) or _is_int(k) or k is Ellipsis)


def _axes_taken(k: Any) -> int:
    if k is None or k is Ellipsis:
        return 0
    return k.values.ndim if isinstance(k, _Mask) else 1


def _slice_of_ints(k: slice) -> slice:
    return slice(*(None if v is None else operator.index(v) for v in (k.start, k.stop, k.step)))


def _advanced(x: Any, advanced: list[tuple[int, Any]], positions: list[int]) -> Any:
    adjacent = positions == list(range(positions[0], positions[0] + len(positions)))
    axes = [axis for axis, _ in advanced]
    arrays = [wrapped(k, x.shape[axis]) for axis, k in advanced]
    if len(axes) == 1:
        return apply("take", x, arrays[0], axis=axes[0])
    together = broadcasted(*promoted(*arrays))
    rest = [a for a in range(x.ndim) if a not in axes]
    moved = permute_dims(x, (*axes, *rest))
    made = apply("gather_nd", moved, stack(together, axis=-1), batch_dims=0)
    if not adjacent or axes[0] == 0:
        return made
    count = together[0].ndim
    return moveaxis(made, list(range(count)), list(range(axes[0], axes[0] + count)))


def _expand_masks(keys: list[Any], x: Any) -> list[Any]:
    """Masks as the index arrays that np.nonzero gives for them."""
    made: list[Any] = []
    axis = 0
    for k in keys:
        if isinstance(k, _Mask):
            span = tuple(x.shape[axis : axis + k.values.ndim])
            if k.values.ndim == 0:
                raise IndexError("a 0-d mask stands alone in an index")
            if len(span) != k.values.ndim or any(m not in (0, n) for m, n in zip(k.values.shape, span)):
                raise IndexError(f"a mask of shape {k.values.shape} does not fit the axes of shape {span}")
            made += [asarray(p.astype(np.int64)) for p in np.nonzero(k.values)]
        else:
            made.append(k)
        axis += _axes_taken(k)
    return made


# -- take and gather ---------------------------------------------------------------------------------------------------------


def take(x: Like, indices: Like, /, *, axis: int | None = None) -> Any:
    """Whole slices of x at indices along an axis: the axis is replaced by the axes of `indices`.

    Negative indices count from the end. One that is out of range raises nothing, on any device or in a page: it is clamped,
    so it gives the first slice or the last one. Where that would be a mistake, check the indices before.

    Example:
        >>> import hither as ht
        >>> ht.take(ht.asarray([10, 20, 30]), ht.asarray([2, -1, 0]), axis=0)
        Array([30, 30, 10], dtype=int32)
        >>> ht.take(ht.asarray([10, 20, 30]), ht.asarray([3, -4]), axis=0)
        Array([30, 10], dtype=int32)
    """
    x, indices = asarray(x), asarray(indices)
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"take needs an axis for an array of shape {x.shape}")
        axis = 0
    axis = one_axis(axis, x.ndim)
    return apply("take", x, wrapped(indices, x.shape[axis]), axis=axis)


def take_along_axis(x: Like, indices: Like, /, *, axis: int = -1) -> Any:
    """x at indices along an axis, matched elementwise along the others, which broadcast (ONNX's GatherElements).

    Indices are taken as in `take`: negative ones from the end, those out of range clamped.
    """
    x, indices = asarray(x), asarray(indices)
    axis = one_axis(axis, x.ndim)
    if x.ndim != indices.ndim:
        raise ValueError(f"take_along_axis takes as many axes of indices as x has, got shapes {indices.shape} and {x.shape}")
    shapes = [tuple(1 if a == axis else n for a, n in enumerate(y.shape)) for y in (x, indices)]
    others = common_shape(*shapes)
    x, indices = (spread(y, (*others[:axis], y.shape[axis], *others[axis + 1 :])) for y in (x, indices))
    return apply("take_along", x, wrapped(indices, x.shape[axis]), axis=axis)


def reverse_sequences(x: Like, lengths: Like, /, *, time_axis: int = 0, batch_axis: int = 1) -> Any:
    """The first lengths[b] elements along `time_axis` in reverse order, for each b along `batch_axis`; the rest stays."""
    x = asarray(x)
    time, batch = one_axis(time_axis, x.ndim), one_axis(batch_axis, x.ndim)
    position = np.arange(x.shape[time], dtype=np.int32).reshape([-1 if a == time else 1 for a in range(x.ndim)])
    length = reshape(asarray(lengths, dtype=dt.int32), [-1 if a == batch else 1 for a in range(x.ndim)])
    index = el.where(el.less(position, length), el.subtract(el.subtract(length, 1), position), position)
    return apply("take_along", x, spread(index, x.shape), axis=time)


def _wrapped_components(indices: Any, extents: Sequence[int]) -> Any:
    """Index tuples along the last axis, each component wrapped by its own extent."""
    known = None if isinstance(indices, Tracer) else indices.numpy()
    if indices.dtype.kind == "u" or (known is not None and (known >= 0).all()):
        return indices
    if indices.dtype.bits < 32:
        indices = asarray(indices, dtype=dt.int32)
    limits = np.asarray(extents, indices.dtype.numpy)
    return el.where(el.less(indices, 0), el.add(indices, limits), indices)


def gather_nd(x: Like, indices: Like, /, *, batch_dims: int = 0) -> Any:
    """Elements or slices of x at index tuples, which lie along the last axis of `indices` (ONNX's GatherND).

    Indices are taken as in `take`: negative ones from the end, those out of range clamped.
    """
    x, indices = asarray(x), with_axes("gather_nd(indices)", indices, "[..., k]")
    depth = indices.shape[-1]
    return apply("gather_nd", x, _wrapped_components(indices, x.shape[batch_dims : batch_dims + depth]), batch_dims=batch_dims)


# -- scatter -----------------------------------------------------------------------------------------------------------------


def scatter_nd(x: Like, indices: Like, updates: Like, /, *, combine: str = "set") -> Any:
    """x with updates written (or added, multiplied, min, max) at index tuples (ONNX's ScatterND).

    Args:
        indices: [..., k]: tuples that index the first k axes of x; as in `take`, those out of range are clamped.
        updates: [..., *x.shape[k:]].
        combine: "set", "add", "mul", "min" or "max"; with "set" the last of equal indices wins.
    """
    x, indices = asarray(x), with_axes("scatter_nd(indices)", indices, "[..., k]")
    updates = asarray(updates, dtype=x.dtype)
    return apply("scatter_nd", x, _wrapped_components(indices, x.shape[: indices.shape[-1]]), updates, combine=combine)


def scatter_along_axis(x: Like, indices: Like, updates: Like, /, *, axis: int = -1, combine: str = "set") -> Any:
    """x with updates written at indices along an axis, matched elementwise along the others (ONNX's ScatterElements).

    Indices are taken as in `take`: negative ones from the end, those out of range clamped.
    """
    x, indices = asarray(x), asarray(indices)
    updates = asarray(updates, dtype=x.dtype)
    axis = one_axis(axis, x.ndim)
    return apply("scatter_along", x, wrapped(indices, x.shape[axis]), updates, axis=axis, combine=combine)


def dynamic_slice(x: Like, starts: Like | Sequence[Like], sizes: Sequence[int], /) -> Any:
    """A slice of static sizes at run-time starts, which are clamped so that it lies inside x."""
    x = asarray(x)
    return apply("dynamic_slice", x, _starts(starts), sizes=tuple(int(s) for s in sizes)) if x.ndim else x


def dynamic_update_slice(x: Like, update: Like, starts: Like | Sequence[Like], /) -> Any:
    """x with `update` written at run-time starts, which are clamped so that it lies inside x."""
    x = asarray(x)
    update = asarray(update, dtype=x.dtype)
    return apply("dynamic_update_slice", x, update, _starts(starts)) if x.ndim else update


def _starts(starts: Any) -> Any:
    if isinstance(starts, list | tuple):
        parts = [asarray(s, dtype=dt.int32) for s in starts]
        return concat([expand_dims(p) for p in parts])
    return asarray(starts, dtype=dt.int32)


__all__ = [
    "dynamic_slice", "dynamic_update_slice", "gather_nd", "getitem", "reverse_sequences", "scatter_along_axis", "scatter_nd",
    "take", "take_along_axis",
]  # fmt: skip
