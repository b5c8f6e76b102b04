"""Primitives that read at run-time indices. Indices are non-negative integers; one that lies outside is clamped.

Clamping (not an error, not a wrap) is what every target can do inside a fused kernel; wrapping of negative indices is done
above, in hither.ops, where it is wanted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import Abstract
from ..primitive import Indexed, primitive
from .batch_rules import all_batched, batch_gather_nd, batch_take
from .rules import apply, counter, full, require_axis, require_indices


def _require_extent(name: str, extent: int, result: Abstract) -> None:
    if extent == 0 and result.size:
        raise ValueError(f"{name}: nothing to read along an axis of extent 0")


def _clip(indices: np.ndarray, extent: int) -> np.ndarray:
    return np.clip(indices.astype(np.int64), 0, max(extent - 1, 0))


# -- take ------------------------------------------------------------------------------------------------------------------


def _take_abstract(x: Abstract, indices: Abstract, axis: int) -> Abstract:
    require_axis("take", x, axis)
    require_indices("take", indices)
    made = Abstract((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    _require_extent("take", x.shape[axis], made)
    return made


def _emit_take(k: Any, index: Any, read: Any, operands: Any, result: Any, axis: int) -> Any:
    x, indices = operands
    where = read(1, tuple(index[axis : axis + indices.rank]))
    at = k.run_time_index(where, x.shape[axis])
    return read(0, (*index[:axis], at, *index[axis + indices.rank :]))


def _take_vjp(cotangents: Any, operands: Any, results: Any, axis: int) -> tuple[Any, None]:
    """Bring the indexed axis to the front, where scatter_nd adds whole slices."""
    g, (x, indices) = cotangents[0], operands
    shape, rank = tuple(x.shape), len(indices.shape)
    front = (*range(axis, axis + rank), *range(axis), *range(axis + rank, len(g.shape)))
    moved = apply("transpose", g, permutation=front)
    rest = (*shape[:axis], *shape[axis + 1 :])
    zeros = full(0, g, shape=(shape[axis], *rest))
    summed = apply("scatter_nd", zeros, apply("reshape", indices, shape=(*indices.shape, 1)), moved, combine="add")
    back = tuple(0 if a == axis else a + 1 if a < axis else a for a in range(len(shape)))
    return apply("transpose", summed, permutation=back), None


primitive(
    "take",
    abstract=_take_abstract,
    evaluate=lambda x, indices, axis: np.take(x, _clip(indices, x.shape[axis]), axis=axis),
    batch=batch_take,
    lowering=Indexed(_emit_take),
    vjp=_take_vjp,
)


# -- take_along ------------------------------------------------------------------------------------------------------------


def _take_along_abstract(x: Abstract, indices: Abstract, axis: int) -> Abstract:
    require_axis("take_along", x, axis)
    require_indices("take_along", indices)
    if indices.rank != x.rank or any(i > n for a, (i, n) in enumerate(zip(indices.shape, x.shape)) if a != axis):
        raise ValueError(f"take_along axis {axis}: indices {indices} do not fit {x}; other extents may be at most x's")
    made = Abstract(indices.shape, x.dtype)
    _require_extent("take_along", x.shape[axis], made)
    return made


def _take_along(x: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    part = x[tuple(slice(None) if a == axis else slice(0, n) for a, n in enumerate(indices.shape))]
    return np.take_along_axis(part, _clip(indices, x.shape[axis]), axis)


def _emit_take_along(k: Any, index: Any, read: Any, operands: Any, result: Any, axis: int) -> Any:
    at = k.run_time_index(read(1, index), operands[0].shape[axis])
    return read(0, (*index[:axis], at, *index[axis + 1 :]))


primitive(
    "take_along",
    abstract=_take_along_abstract,
    evaluate=_take_along,
    batch=all_batched("take_along", axis="axis"), lowering=Indexed(_emit_take_along),
    vjp=lambda cotangents, operands, results, axis: (
        apply(
            "scatter_along", full(0, cotangents[0], shape=tuple(operands[0].shape)), operands[1], cotangents[0],
            axis=axis, combine="add",
        ),
        None,
    ),
)  # fmt: skip


# -- gather_nd -------------------------------------------------------------------------------------------------------------


def _gather_nd_abstract(x: Abstract, indices: Abstract, batch_dims: int) -> Abstract:
    require_indices("gather_nd", indices)
    depth = indices.shape[-1] if indices.rank else 0
    if not 0 <= batch_dims < indices.rank or batch_dims + depth > x.rank or x.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise ValueError(
            f"gather_nd batch_dims={batch_dims}: indices {indices} do not fit {x}; the first {batch_dims} extents must be "
            "equal and the last extent of indices at most the number of remaining axes"
        )
    made = Abstract((*indices.shape[:-1], *x.shape[batch_dims + depth :]), x.dtype)
    _require_extent("gather_nd", math.prod(x.shape[batch_dims : batch_dims + depth]), made)
    return made


def _gather_nd(x: np.ndarray, indices: np.ndarray, batch_dims: int) -> np.ndarray:
    depth = indices.shape[-1]
    batch = np.ix_(*[np.arange(n) for n in indices.shape[:batch_dims]]) if batch_dims else ()
    inner = indices.ndim - 1 - batch_dims
    key = [b.reshape(b.shape + (1,) * inner) for b in batch]
    key += [_clip(indices[..., d], x.shape[batch_dims + d]) for d in range(depth)]
    if not key:
        return np.broadcast_to(x, (*indices.shape[:-1], *x.shape)).copy()
    return x[tuple(key)]


def _emit_gather_nd(k: Any, index: Any, read: Any, operands: Any, result: Any, batch_dims: int) -> Any:
    x, indices = operands
    outer = indices.rank - 1
    zero = k.constant_index(0)
    at = []
    for d in range(indices.shape[-1]):
        component = read(1, (*index[:outer], zero + d))
        at.append(k.run_time_index(component, x.shape[batch_dims + d], f"gathered_{d}"))
    return read(0, (*index[:batch_dims], *at, *index[outer:]))


def _gather_nd_vjp(cotangents: Any, operands: Any, results: Any, batch_dims: int) -> tuple[Any, None]:
    """Scatter-add; batch axes become explicit leading index components."""
    g, (x, indices) = cotangents[0], operands
    outer = tuple(indices.shape[:-1])
    parts = []
    for axis in range(batch_dims):
        count = counter((*outer, 1), axis, indices.dtype, indices)
        parts.append(count)
    whole = apply("concat", *parts, indices, axis=len(outer)) if parts else indices
    return apply("scatter_nd", full(0, g, shape=tuple(x.shape)), whole, g, combine="add"), None


primitive(
    "gather_nd",
    abstract=_gather_nd_abstract,
    evaluate=_gather_nd,
    batch=batch_gather_nd,
    lowering=Indexed(_emit_gather_nd),
    vjp=_gather_nd_vjp,
)
