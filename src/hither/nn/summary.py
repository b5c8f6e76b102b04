"""What a network consists of, as a table: its layers in order, the shapes they make, and how many numbers their weights are."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..graph.tree import unflatten

if TYPE_CHECKING:
    from .network import Network
    from .symbolic import Call

_HEAD = ("Layer (type)", "Output shape", "Params", "Connected to")


def summary(network: Network) -> str:
    """The table as text; `Network.summary` prints it.

    A layer that is used several times has a row for each use, and its weights count once. Where each layer is applied to what
    the row above made, the last column is left out.
    """
    calls = network.drawn()
    if not calls:
        raise ValueError(
            f"{network.name} does not know its input's shape yet: begin it with an Input, or call it on an array once"
        )
    rows, counted = [_HEAD], set[int]()
    for call in calls:
        layer = call.layer
        count = 0 if id(layer) in counted else layer.count_params()
        counted.add(id(layer))
        sources = ", ".join(_label(t.call, t.index) for t in call.inputs)
        rows.append((f"{layer.name} ({type(layer).__name__})", _shapes(call), f"{count:,}", sources))
    straight = all([t.call for t in call.inputs] == [before] for before, call in pairwise(calls))
    columns = 3 if straight else 4
    widths = [max(len(row[i]) for row in rows) for i in range(columns)]
    lines = [
        "  ".join(
            cell.rjust(width) if i == 2 else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(map(len, lines))
    total, trained = network.count_params(), sum(w.size for w in network.trainable_weights.values())
    return "\n".join([
        f"{type(network).__name__} {network.name}", rule, lines[0], rule, *lines[1:], rule,
        f"Params: {total:,} ({trained:,} trainable, {total - trained:,} not)",
    ])  # fmt: skip


def _label(call: Call, index: int) -> str:
    return f"{call.layer.name}[{index}]" if len(call.outputs) > 1 else call.layer.name


def _shapes(call: Call) -> str:
    """Of one result (None, 10); of several, their structure."""
    shapes = [str(t.shape) for t in call.outputs]
    if call.structure is None:
        return shapes[0]
    return _shown(unflatten(call.structure, shapes))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_shown(v)}" for k, v in value.items()) + "}"
    return f"[{', '.join(map(_shown, value))}]" if isinstance(value, list | tuple) else str(value)
