"""Panels of int8 that a single row of floats is multiplied by in WebAssembly: a word of four columns at a time.

To extend bytes to 16 and to 32 bits and convert them takes more operations than to multiply by them. Converted as it stands, a
word is its last byte, times 2^24, and what is before that; shifted left, so are the others. That surplus is the same multiple
of the sum of the column before, so it is taken off when the sums are done, and not each time. The word must be Σ byte · 256^i
for that, where bytes are signed: two operations make it so, if no byte is -128.

Words of two steps lie side by side in a vector, each step's for all columns of a panel. An infinity in the row makes NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from ... import dtypes as dt
from ...graph.core import Value
from ..builder import Builder
from ..emitter import Context
from ..ir import Buffer, Val

LANES, COLUMNS = 4, 8  # of a vector; of the panels, two words of each step
TOP = 24  # where the last byte of a word begins
SIGNS = 0x00808080  # of the other bytes


def are_digits(context: Context, panels: Value) -> bool:
    """Whether stored panels are bytes and none is -128."""
    array = context.constants.get(panels)
    return array is not None and array.dtype == np.int8 and array.size > 0 and int(array.min()) > -128


def row_by_words(k: Builder, row: Callable[[Val], Val], panels: Buffer, places: Sequence[Val], steps: int) -> list[Val]:
    """The sums of a row, by vectors of columns, of the panels at `places`: `row(step)` gives LANES elements of it."""
    with k.loop(0, steps, LANES, init=(k.const(0, dt.float32, LANES),) * (LANES * len(places))) as loop:
        x = row(loop.index) * 2.0**-TOP
        sums = list(loop.carried)
        for step in range(0, LANES, 2):
            both = k.pack([k.extract(x, step + i) for i in (0, 0, 1, 1)])
            for p, place in enumerate(places):
                words = k.word(panels, place + (loop.index + step) * COLUMNS, LANES)
                for i, vector in enumerate(columns_of(k, words), p * LANES):
                    sums[i] = k.fma(both, vector, sums[i])
        loop.yield_(*sums)
    return [v for p in range(len(places)) for v in in_order(k, loop.results[p * LANES : (p + 1) * LANES])]


def columns_of(k: Builder, words: Val) -> Iterator[Val]:
    """The columns of words, the first, second, third and last of each, times 2^24 and with the surplus."""
    digits = (words ^ SIGNS) - SIGNS
    for column in range(LANES):
        shift = TOP - 8 * column
        yield k.convert(digits << shift if shift else digits, dt.float32)


def in_order(k: Builder, found: Sequence[Val]) -> tuple[Val, Val]:
    """The sums of products by `columns_of` as sums of a panel's columns; where the row was multiplied by 2^-24."""
    exact = [found[0], *(v - before * 2.0**-8 for before, v in pairwise(found))]
    low, high = (
        k.pack([k.extract(v, word) for v in exact]) + k.pack([k.extract(v, word + 2) for v in exact]) for word in (0, 1)
    )
    return low, high
