"""How layers say sizes of windows, strides, paddings and layouts: checked, and brought to one form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Pairs = tuple[tuple[int, int], ...]


def each(value: Any, rank: int, what: str, least: int = 1) -> tuple[int, ...]:
    """One number per spatial axis, given so or once for all.

    Raises:
        ValueError: if they are no such numbers, or one is below `least`.
    """
    made = (value,) * rank if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else ()
    if len(made) != rank or not all(isinstance(n, int) and n >= least for n in made):
        raise ValueError(f"{what} is a number of at least {least}, or {rank} of them, got {value!r}")
    return made


def pairs(value: Any, rank: int, what: str) -> Pairs:
    """(before, after) per spatial axis, given so, as one number per axis, or as one number.

    Raises:
        ValueError: if it is none of these.
    """
    if rank == 1 and isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(n, int) for n in value):
        value = [value]
    items = [value] * rank if isinstance(value, int) else value
    if isinstance(items, list | tuple) and len(items) == rank:
        made = tuple((n, n) if isinstance(n, int) else tuple(n) for n in items)
        if all(len(p) == 2 and all(isinstance(n, int) and n >= 0 for n in p) for p in made):
            return made
    raise ValueError(f"{what} is a number, or one or two for each of the {rank} spatial axes, got {value!r}")


def layout_of(data_format: str | None) -> str:
    """ "channels_last" unless given.

    Raises:
        ValueError: neither "channels_last" nor "channels_first".
    """
    return one_of("data_format", data_format or "channels_last", ("channels_last", "channels_first"))


def one_of(what: str, value: Any, allowed: Sequence[Any]) -> Any:
    """The value, if it is allowed; ValueError if not."""
    if value not in allowed:
        raise ValueError(f"{what} is one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value


def channel_axis(data_format: str, rank: int) -> int:
    """The channels' axis in an array of `rank` axes."""
    return rank - 1 if data_format == "channels_last" else 1


def spatial_axes(data_format: str, rank: int) -> tuple[int, ...]:
    """The spatial axes in an array of `rank` axes."""
    return tuple(range(1, rank - 1)) if data_format == "channels_last" else tuple(range(2, rank))
