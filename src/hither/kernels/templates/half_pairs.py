"""Panels of halves on a machine that cannot convert them (WebAssembly): loaded two to a word, widened in two operations each.

A half's sign and fraction are moved to where float32 has them; with the exponent as it is that is 2^-112 of the number. Words
give the halves of even and those of odd columns, so a row's sums are sorted when they are done. What exponents lack is made
up for by a product: of the widened weights, or where there is a single row, of that, which is less. The row's factor is a
power of two by which its largest magnitude becomes some 2^64: nothing overflows then. A product whose magnitude is 2^-78 of
the row's largest one or more keeps all digits; a smaller one is rounded to a multiple of 2^-101 of that. So what is lost,
which shows where the largest elements meet weights of zero, is at most 2^-102 of the row's largest magnitude (of 2^-63, if
that is more) for each product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ... import dtypes as dt
from ..builder import Builder
from ..ir import Buffer, Machine, Val
from .tile import interleaved

LANES = 4
MISSING = 112  # between the exponents of halves and of float32
BIAS, MANTISSA = 127, 23  # of float32
EXPONENTS = 3  # bits by which float32's exponent is longer
KEPT = -0x70002000  # 0x8fffe000: the sign, and what a half has below it
LARGEST = 64  # the exponent that a row's largest magnitude is given


def in_pairs(machine: Machine, panels: Buffer, widths: Sequence[int]) -> bool:
    """Whether panels are halves that had better be loaded so, in vectors of columns of these widths."""
    halves = machine.name == "wasm" and panels.dtype is dt.float16 and panels.finite
    return halves and len(widths) % 2 == 0 and set(widths) == {LANES}


@dataclass(frozen=True)
class HalfPairs:
    """How one tile's panels are read. `row`: its single row, multiplied by the factor; `left` makes up for that."""

    k: Builder
    row: Buffer | None = None
    left: Val | None = None

    def vectors(self, buffer: Buffer, places: Sequence[Val]) -> Iterator[Val]:
        """The halves from each place on, two vectors of columns each: the even ones and the odd ones."""
        for at in places:
            words = self.k.word(buffer, at, LANES)
            for above in (16, 0):  # bits between a half's sign and the word's
                bits = (words << above) >> EXPONENTS
                half = self.k.bitcast(bits & KEPT, dt.float32)
                yield half if self.row is not None else half * 2.0**MISSING

    def sums(self, found: Sequence[Val]) -> list[Val]:
        """A row's sums in the order of the columns."""
        sorted_ = [v for pair in zip(found[::2], found[1::2], strict=True) for v in interleaved(self.k, *pair)]
        if self.left is None:
            return sorted_
        return [v * 2.0 ** (MISSING - LARGEST) * self.k.broadcast(self.left, LANES) for v in sorted_]


@dataclass
class ScaledRow:
    """A single row in scratch memory, multiplied by its factor: once for all panels that a thread multiplies it by."""

    k: Builder
    steps: int

    def __post_init__(self) -> None:
        self._row, self._left = self.k.local(dt.float32, self.steps), self.k.local(dt.float32, 1)
        self._origin = self.k.local(dt.int32, 1)

    def begin(self) -> None:
        """Before the first tile: what is in memory is of another run."""
        self.k.store(self._origin, 0, self.k.const(-1, dt.int32))

    def of(self, row: Callable[[Val, int], Val], origin: Val | None) -> HalfPairs:
        """For a tile whose row begins at `origin` and is still there if the tile before had it; without an origin, it never is.
        `row(step, width)` gives elements of it."""
        k = self.k
        if origin is None:
            self._scale(row)
        else:
            place = k.convert(origin, dt.int32)
            with k.if_(k.load(self._origin, 0).ne(place)):
                k.store(self._origin, 0, place)
                self._scale(row)
        return HalfPairs(k, self._row, k.load(self._left, 0))

    def _scale(self, row: Callable[[Val, int], Val]) -> None:
        k, whole = self.k, self.steps // LANES * LANES

        def magnitude(at: Val, width: int) -> Val:
            return k.bitcast(row(at, width), dt.int32) & 0x7FFFFFFF

        with k.loop(0, whole, LANES, init=[k.const(0, dt.int32, LANES)]) as loop:
            loop.yield_(k.max(loop.carried[0], magnitude(loop.index, LANES)))
        largest = k.reduce("max", loop.results[0])
        for at in range(whole, self.steps):
            largest = k.max(largest, magnitude(k.as_index(at), 1))
        exponent = k.max(k.min(largest >> MANTISSA, 2 * BIAS), LARGEST)  # the factor's is at most that of a number, too
        factor = k.bitcast((2 * BIAS + LARGEST - exponent) << MANTISSA, dt.float32)
        with k.loop(0, whole, LANES) as loop:
            k.store(self._row, loop.index, row(loop.index, LANES) * factor)
        for at in range(whole, self.steps):
            k.store(self._row, at, row(k.as_index(at), 1) * factor)
        k.store(self._left, 0, k.bitcast(exponent << MANTISSA, dt.float32))
