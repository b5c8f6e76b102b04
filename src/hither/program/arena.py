"""Placing values in one arena so that those alive together do not overlap, in little more than their sum.

The best placement is hard to find (dynamic storage allocation is NP-hard), a good one is not: values take, one after the
other, the lowest place that is free throughout their life. What matters is the order. Several are tried, and in each the
values that end up on top are moved to the front a few times: for real networks that reaches the lower bound, the most bytes
alive at once, in a handful of tries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

TRIES = 16  # for each order
MANY = 1 << 12  # values; where there are more, tries are fewer, as each takes time by their square


@dataclass(frozen=True)
class Life:
    """A value's bytes, alive from `birth` to `death` (both included)."""

    nbytes: int
    birth: int
    death: int


def _area(life: Life) -> int:
    return life.nbytes * (life.death - life.birth + 1)


_ORDERS: tuple[Callable[[Life], tuple[int, int]], ...] = (
    lambda life: (-life.nbytes, life.birth),
    lambda life: (-_area(life), life.birth),
    lambda life: (life.birth - life.death, -life.nbytes),
    lambda life: (life.birth, -life.nbytes),
)


def most_alive(lives: Sequence[Life]) -> int:
    """The most bytes alive at one time: no arena can be smaller."""
    changes = sorted([(x.birth, x.nbytes) for x in lives] + [(x.death + 1, -x.nbytes) for x in lives])
    alive = most = 0
    for _, change in changes:  # at one time, what dies comes before what is born
        alive += change
        most = max(most, alive)
    return most


def place(lives: Sequence[Life]) -> tuple[list[int], int]:
    """An offset for each value, and the arena's size. Offsets are multiples of what all sizes are multiples of."""
    least = most_alive(lives)
    best, smallest = [0] * len(lives), -1
    tries = max(1, min(TRIES, TRIES * MANY // max(1, len(lives))))
    for key in _ORDERS:
        order = sorted((i for i, x in enumerate(lives) if x.nbytes), key=lambda i: key(lives[i]))
        for _ in range(tries):
            offsets = _in_order(lives, order)
            top = max((offsets[i] + lives[i].nbytes for i in order), default=0)
            if smallest < 0 or top < smallest:
                best, smallest = offsets, top
            if smallest <= least:
                return best, smallest
            order.sort(key=lambda i: offsets[i] + lives[i].nbytes != top)  # the highest first; the others keep their order
    return best, smallest


def _in_order(lives: Sequence[Life], order: Sequence[int]) -> list[int]:
    """Each value, in this order, at the lowest place free during its life."""
    offsets = [0] * len(lives)
    births, deaths, lows, highs = np.empty((4, len(order)), np.int64)  # of those that have a place
    for count, i in enumerate(order):
        life, offset = lives[i], 0
        neighbours = np.flatnonzero((births[:count] <= life.death) & (deaths[:count] >= life.birth))
        for low, high in sorted(zip(lows[neighbours].tolist(), highs[neighbours].tolist())):
            if offset + life.nbytes <= low:
                break
            offset = max(offset, high)
        offsets[i] = offset
        births[count], deaths[count], lows[count], highs[count] = life.birth, life.death, offset, offset + life.nbytes
    return offsets
