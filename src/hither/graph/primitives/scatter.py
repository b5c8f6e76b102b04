"""Primitives that write at run-time indices. Indices are non-negative integers; one that lies outside is clamped.

Updates at equal indices are applied in row-major order of the indices; for "set" the last one wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dtypes import dtype
from ..core import Abstract
from ..primitive import Template, primitive
from .batch_rules import all_batched, batch_scatter_nd
from .rules import apply, counter, full, require_axis, require_indices, require_kind, wide

COMBINES = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


def _require_updates(name: str, x: Abstract, updates: Abstract, shape: tuple[int, ...], combine: str) -> None:
    if combine not in (*COMBINES, "set"):
        raise ValueError(f"{name}: combine is one of set, add, mul, min, max, got {combine!r}")
    if updates.dtype != x.dtype:
        raise TypeError(f"{name} takes one dtype, got {x} and updates {updates}; convert them first")
    if combine != "set":
        require_kind(name, x, "iufc" if combine == "add" else "iuf")
    if updates.shape != shape:
        raise ValueError(f"{name} into {x} takes updates of shape {list(shape)}, got {updates}")


def _combined(x: np.ndarray, key: tuple[np.ndarray, ...], updates: np.ndarray, combine: str) -> np.ndarray:
    made = wide(x).copy()
    if combine == "set":
        made[key] = updates  # NumPy assigns in order: the last of equal indices wins
    else:
        COMBINES[combine].at(made, key, updates.astype(made.dtype))
    return made.astype(x.dtype, copy=False)


# -- scatter_nd ------------------------------------------------------------------------------------------------------------


def _scatter_nd_abstract(x: Abstract, indices: Abstract, updates: Abstract, combine: str) -> Abstract:
    require_indices("scatter_nd", indices)
    depth = indices.shape[-1] if indices.rank else 0
    if not indices.rank or depth > x.rank:
        raise ValueError(f"scatter_nd: the last extent of indices {indices} is at most the number of axes of {x}")
    _require_updates("scatter_nd", x, updates, (*indices.shape[:-1], *x.shape[depth:]), combine)
    if updates.size and 0 in x.shape[:depth]:
        raise ValueError(f"scatter_nd: nowhere to write in {x}")
    return x


def _scatter_nd(x: np.ndarray, indices: np.ndarray, updates: np.ndarray, combine: str) -> np.ndarray:
    depth = indices.shape[-1]
    rows = indices.reshape(-1, depth).astype(np.int64)
    flat_updates = updates.reshape(len(rows), *x.shape[depth:])
    if not len(rows):
        return x.copy()
    if depth == 0:
        key: tuple[Any, ...] = (np.zeros(len(rows), np.int64),)
        return _combined(x[None], key, flat_updates, combine)[0]
    return _combined(x, tuple(np.clip(rows[:, d], 0, x.shape[d] - 1) for d in range(depth)), flat_updates, combine)


def _last_write(name: str, x: Any, indices: Any, updates: Any, **params: Any) -> Any:
    """1 for the update that "set" leaves standing, 0 for those overwritten at an equal index."""
    count = 1
    for n in updates.shape:
        count *= n
    order = apply("reshape", counter((count,), 0, indices.dtype, indices), shape=tuple(updates.shape))
    zeros = full(0, updates, shape=tuple(x.shape), dtype=order.dtype)
    winner = apply(name, zeros, indices, order, combine="set", **params)
    if name == "scatter_nd":
        seen = apply("gather_nd", winner, indices, batch_dims=0)
    else:
        seen = apply("take_along", winner, indices, **params)
    return apply("convert", apply("eq", seen, order), dtype=updates.dtype)


def _scatter_vjp(
    name: str, gather: Any, cotangents: Any, operands: Any, results: Any, combine: str, **params: Any
) -> tuple[Any, ...]:
    g, (x, indices, updates) = cotangents[0], operands
    if combine == "add":
        return g, None, gather(g)
    if combine == "mul":
        return _product_vjp(name, gather, g, operands, **params)
    if combine in ("min", "max"):
        return _extreme_vjp(name, gather, g, operands, results[0], **params)
    zeros = full(0, g, shape=tuple(updates.shape))
    kept = apply(name, g, indices, zeros, combine="set", **params)
    return kept, None, apply("mul", gather(g), _last_write(name, x, indices, updates, **params))


def _product_vjp(name: str, gather: Any, g: Any, operands: Any, **params: Any) -> tuple[Any, ...]:
    """Each factor's cotangent is the product of the others: of all that are not 0 by that one, unless another one is 0."""
    x, indices, updates = operands

    def parts(factors: Any) -> tuple[Any, Any]:
        zero = apply("eq", factors, full(0, factors))
        return apply("convert", zero, dtype=dtype(factors.dtype)), apply("select", zero, full(1, factors), factors)

    scaled = apply(name, full(1, x), indices, updates, combine="mul", **params)
    update_zero, update_rest = parts(updates)
    x_zero, x_rest = parts(x)
    count = apply(name, x_zero, indices, update_zero, combine="add", **params)
    product = apply(name, x_rest, indices, update_rest, combine="mul", **params)
    sole = apply("eq", apply("sub", gather(count), update_zero), full(0, updates))
    others = apply("select", sole, apply("div", gather(product), update_rest), full(0, updates))
    return apply("mul", g, scaled), None, apply("mul", gather(g), others)


def _extreme_vjp(name: str, gather: Any, g: Any, operands: Any, y: Any, **params: Any) -> tuple[Any, ...]:
    """Equal extremes share the cotangent evenly, as in reductions."""
    x, indices, updates = operands
    of_x = apply("convert", apply("eq", x, y), dtype=dtype(x.dtype))
    of_updates = apply("convert", apply("eq", updates, gather(y)), dtype=dtype(x.dtype))
    share = apply("div", g, apply(name, of_x, indices, of_updates, combine="add", **params))
    return apply("mul", of_x, share), None, apply("mul", of_updates, gather(share))


primitive(
    "scatter_nd",
    abstract=_scatter_nd_abstract,
    evaluate=_scatter_nd,
    batch=batch_scatter_nd,
    lowering=Template("scatter"),
    vjp=lambda cotangents, operands, results, combine: _scatter_vjp(
        "scatter_nd", lambda g: apply("gather_nd", g, operands[1], batch_dims=0), cotangents, operands, results, combine
    ),
)


# -- scatter_along ---------------------------------------------------------------------------------------------------------


def _scatter_along_abstract(x: Abstract, indices: Abstract, updates: Abstract, axis: int, combine: str) -> Abstract:
    require_axis("scatter_along", x, axis)
    require_indices("scatter_along", indices)
    if indices.rank != x.rank or any(i > n for a, (i, n) in enumerate(zip(indices.shape, x.shape)) if a != axis):
        raise ValueError(f"scatter_along axis {axis}: indices {indices} do not fit {x}; other extents may be at most x's")
    _require_updates("scatter_along", x, updates, indices.shape, combine)
    if updates.size and x.shape[axis] == 0:
        raise ValueError(f"scatter_along: nowhere to write in {x}")
    return x


def _scatter_along(x: np.ndarray, indices: np.ndarray, updates: np.ndarray, axis: int, combine: str) -> np.ndarray:
    if not updates.size:
        return x.copy()
    key: list[np.ndarray] = list(np.indices(indices.shape))
    key[axis] = np.clip(indices.astype(np.int64), 0, x.shape[axis] - 1)
    return _combined(x, tuple(i.reshape(-1) for i in key), updates.reshape(-1), combine)


primitive(
    "scatter_along",
    abstract=_scatter_along_abstract,
    evaluate=_scatter_along,
    batch=all_batched("scatter_along", axis="axis"),
    lowering=Template("scatter"),
    vjp=lambda cotangents, operands, results, axis, combine: _scatter_vjp(
        "scatter_along",
        lambda g: apply("take_along", g, operands[1], axis=axis),
        cotangents,
        operands,
        results,
        combine,
        axis=axis,
    ),
)
