"""A tile's rows of halves, widened into scratch memory once for all panels that they are multiplied by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ... import dtypes as dt
from ..builder import Builder
from ..emitter import pieces
from ..ir import Buffer, Val

Row = tuple[Val, int]  # an element address, and a constant to add to it: rows that share the Val share a register
Tap = tuple[int, int, int]  # extent, elements of the left operand from tap to tap, k steps from tap to tap


@dataclass
class HeldRows:
    """Memory for `count` rows of `depth` steps, side by side, and for where they come from."""

    k: Builder
    count: int
    depth: int

    def __post_init__(self) -> None:
        self.held, self._origin = self.k.local(dt.float32, self.count * self.depth), self.k.local(dt.int32, 1)

    def begin(self) -> None:
        """Before the first tile: what is in memory is of another run."""
        self.k.store(self._origin, 0, self.k.const(-1, dt.int32))

    def hold(self, left: Buffer, rows: Sequence[Row], taps: Sequence[Tap], run: int) -> None:
        """Widen these rows, unless the tile before had them too."""
        k, depth = self.k, self.depth
        bases, fixed = {base for base, _ in rows}, [at for _, at in rows]
        first = k.convert(rows[0][0] + fixed[0], dt.int32)
        with k.if_(k.load(self._origin, 0).ne(first)):
            k.store(self._origin, 0, first)
            apart = fixed[1] - fixed[0] if len(rows) > 1 else 0
            if len(bases) == 1 and fixed == [fixed[0] + r * apart for r in range(len(rows))]:
                with k.loop(0, len(rows)) as loop:
                    self._widen(left, rows[0][0] + fixed[0] + loop.index * apart, loop.index * depth, taps, run)
            else:
                for r, (base, at) in enumerate(rows):
                    self._widen(left, base + at, k.as_index(r * depth), taps, run)

    def _widen(self, left: Buffer, source: Val, target: Val, taps: Sequence[Tap], run: int) -> None:
        """One row, from a place in the left operand, to a place in memory."""
        k = self.k
        if taps:
            (extent, elements, steps), *further = taps
            with k.loop(0, extent) as loop:
                self._widen(left, source + loop.index * elements, target + loop.index * steps, further, run)
            return
        for begin, end, width in pieces(run, k.machine.lanes(32), k.machine):
            with k.loop(begin, end, width) as loop:
                k.store(self.held, target + loop.index, k.load(left, source + loop.index, width, dt.float32))
