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
    wanted = node.results[0].dtype is dt.int32 and tile.width >= 4 and run % 4 == 0
    return bool(context.machine.dot) and bytes_ and not known and wanted


def words(context: Context, panels: Value) -> Value:
    """Panels of bytes [..., K, columns] with four steps of each column in one int32: [..., K / 4, columns]."""

    def make() -> np.ndarray:
        array = context.constants[panels]
        *outer, steps, columns = array.shape
        together = np.moveaxis(array.reshape(*outer, steps // 4, 4, columns), -2, -1)
        return np.ascontiguousarray(together).view(np.dtype("<i4"))[..., 0]

    return context.new_constant((panels, "words"), make, panels.name)


def moved(context: Context, x: Value) -> int:
    """By how much the bytes of rows are larger where the machine takes the other sign, and their highest bits are turned."""
    if x in context.seven_bits or (context.machine.dot == "signed") == (x.dtype is dt.int8):
        return 0
    return 128 if x.dtype is dt.int8 else -128


def byte_offsets(context: Context, panels: Value, by: int) -> Value | None:
    """What sums begin with where the bytes of rows are `by` larger: that many times a column's sum less."""
    if not by:
        return None
    total = lambda: -by * context.constants[panels].sum(-2, dtype=np.int32)  # noqa: E731
    return context.new_constant((panels, "byte offsets", by), total, panels.name)
