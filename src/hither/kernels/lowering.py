"""Lowering: one fused group becomes one or a few kernels, by the schedule that its anchor or its root asks for."""

from __future__ import annotations

import math

from ..graph.primitive import Reduction
from . import cooperative, nests, reductions
from .emitter import Context, Lowered
from .fusion import Group
from .templates import TEMPLATES


def lower_group(context: Context, group: Group) -> list[Lowered]:
    """The kernels of one group, in order."""
    if all(r.abstract.size == 0 for r in group.results):
        return []
    if group.anchor is not None and not isinstance(group.anchor.primitive.lowering, Reduction):
        name = group.anchor.primitive.lowering.name  # type: ignore[union-attr]
        return TEMPLATES[name](context, group)
    if group.rows is not None:
        by_row = group.anchor is None and not group.parts and reductions.trailing(group)  # siblings are columns
        length = math.prod(group.rows.inner)
        if context.machine.gpu and length >= (cooperative.LONG_ROW if by_row else cooperative.LONG_COLUMN):
            return [cooperative.rows(context, group) if by_row else cooperative.columns(context, group)]
        return [reductions.rows(context, group) if by_row else reductions.columns(context, group)]
    if group.in_place:
        return [nests.update(context, group)]
    if group.root.primitive.name == "concat":
        return [nests.concat(context, group)] if len(group.placed) < len(group.root.operands) else []
    if group.placed:
        return [nests.border(context, group)]
    return [nests.pointwise(context, group)]
