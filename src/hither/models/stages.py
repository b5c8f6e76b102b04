"""The second stage of a pipeline: a network run on each thing that the first one found, as often as there are such things."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import ops
from ..model import BoundedOutput
from ..spec import Spec


def each(
    one: Callable[[Any], tuple[Any, Mapping[str, Any]]], count: Any, most: int, results: Mapping[str, Spec],
    threshold: float = 0.0,
) -> dict[str, BoundedOutput]:  # fmt: skip
    """The results of `one(i)` for i = 0 … count-1, below each other.

    Args:
        one: an int32 → (score [1], or None to keep it anyway; {name: [1, …]}).
        count: int32, at most `most`.
        results: what there is of each thing: {name: Spec [n, …]}.
        threshold: a result whose score is lower is left out.

    Returns:
        {name: [n, …]} with room for `most`.
    """
    names = list(results)
    room = tuple(ops.zeros((most, *(int(e or 0) for e in (s.shape or ())[1:])), dtype=s.dtype) for s in results.values())

    def turn(i: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        kept, *buffers = state
        score, made = one(i)
        # What is left out is written too; the next result takes its place.
        filled = [
            ops.dynamic_update_slice(buffer, made[name], [kept, *(0,) * (buffer.ndim - 1)])
            for name, buffer in zip(names, buffers)
        ]
        more = 1 if score is None else ops.astype(ops.reshape(ops.greater_equal(score, threshold), ()), "int32")
        return ops.add(kept, more), *filled

    kept, *filled = ops.fori_loop(0, count, turn, (ops.asarray(0), *room))
    return {name: BoundedOutput(buffer, kept, 0) for name, buffer in zip(names, filled)}
