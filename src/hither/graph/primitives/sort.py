"""Sorting: values and where they came from, stable in both directions, NaN last (first when descending, as largest)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import dtypes as dt
from ..core import Abstract
from ..primitive import Template, primitive
from .batch_rules import all_batched
from .rules import apply, full, require_axis, require_kind


def _sort_abstract(x: Abstract, axis: int, descending: bool = False) -> tuple[Abstract, Abstract]:
    require_kind("sort", x, "iuf")
    require_axis("sort", x, axis)
    return x, Abstract(x.shape, dt.int64)


def _sort(x: np.ndarray, axis: int, descending: bool = False) -> tuple[np.ndarray, np.ndarray]:
    if descending:  # reversing twice keeps equal elements in their order
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    return np.take_along_axis(x, order, axis), order.astype(np.int64, copy=False)


def _sort_vjp(cotangents: Any, operands: Any, results: Any, axis: int, descending: bool = False) -> tuple[Any]:
    g = cotangents[0]
    if g is None:
        return (None,)
    return (apply("scatter_along", full(0, g), results[1], g, axis=axis, combine="set"),)


def _sort_flops(operands: Sequence[Abstract], results: Sequence[Abstract], params: Mapping[str, Any]) -> int:
    """In each of log2 n passes an element is compared, selected and moved: about 8 operations."""
    return 8 * operands[0].size * max(1, (operands[0].shape[params["axis"]] - 1).bit_length())


primitive(
    "sort",
    abstract=_sort_abstract,
    evaluate=_sort,
    batch=all_batched("sort", axis="axis"),
    lowering=Template("sort"),
    vjp=_sort_vjp,
    flops=_sort_flops,
)
