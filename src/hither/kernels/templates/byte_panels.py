"""Panels of bytes for products that take four steps at once (kernel IR, "dot")."""

from __future__ import annotations

import numpy as np

from ... import dtypes as dt
from ...graph.core import Node, Value
from ..emitter import Context
from .tile import Tile


def can_dot(context: Context, node: Node, tile: Tile, run: int) -> bool:
    """Whether a product of bytes by constant, signed bytes takes four steps at once. `run`: steps that lie side by side."""
    x, w = node.operands
    bytes_ = x.dtype in (dt.uint8, dt.int8) and w in context.constants and w.dtype is context.stored(w) is dt.int8
    known = x in context.constants  # packed, perhaps, or one number
    return (
        context.machine.dot and bytes_ and not known and node.results[0].dtype is dt.int32 and tile.width >= 4 and run % 4 == 0
    )


def words(context: Context, panels: Value) -> Value:
    """Panels of bytes [..., K, columns] with four steps of each column in one int32: [..., K / 4, columns]."""

    def make() -> np.ndarray:
        array = context.constants[panels]
        *outer, steps, columns = array.shape
        together = np.moveaxis(array.reshape(*outer, steps // 4, 4, columns), -2, -1)
        return np.ascontiguousarray(together).view(np.dtype("<i4"))[..., 0]

    return context.new_constant((panels, "words"), make, panels.name)


def byte_offsets(context: Context, panels: Value) -> Value:
    """What sums begin with where signed bytes of rows are taken as unsigned ones, 128 larger: -128 times a column's sum."""
    total = lambda: -128 * context.constants[panels].sum(-2, dtype=np.int32)  # noqa: E731
    return context.new_constant((panels, "byte offsets"), total, panels.name)
