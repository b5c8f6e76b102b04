"""The register tile under every matrix product: MR rows by a panel of NV vectors, accumulated over k.

One microkernel serves matmul, convolution, their gradients and all three targets; what differs is where rows start, how the
panel is laid out, and the tile, chosen here from the machine's registers (figures: FACTS.md, "A whole net").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import dtypes as dt
from ...graph.core import Abstract, Node
from ..builder import Builder
from ..ir import Machine, Val

if TYPE_CHECKING:
    from ..emitter import Context


@dataclass(frozen=True)
class Tile:
    """`rows` rows by `vectors` vectors of `width` lanes."""

    rows: int
    vectors: int
    width: int

    @property
    def columns(self) -> int:
        return self.vectors * self.width


@dataclass(frozen=True)
class Problem:
    """A product as its template meets it: an operation, and M and N of the kernel that computes it (or a part of it)."""

    primitive: str
    operands: tuple[Abstract, ...]
    params: tuple[tuple[str, Any], ...]
    packed: bool  # whether the right operand is known, and so packed, at compile time
    m: int
    n: int
    bits: int  # of the sums, which a tile's registers hold


def tile_for(context: Context, node: Node, m: int, n: int) -> Tile:
    """The tile for an M×N product of a node: where every template asks. It is the rule's, unless this compilation has been
    given others (`Context.tiles`, see hither.program.tune)."""
    bits = max(32, node.results[0].dtype.bits)
    if context.tiles is not None:
        result = node.results[0].dtype
        operands = tuple(
            replace(v.abstract, dtype=result) if accumulator(v.dtype) is result else v.abstract for v in node.operands
        )
        params = tuple(sorted(node.params.items()))
        problem = Problem(node.primitive.name, operands, params, context.is_known(node.operands[1]), m, n, bits)
        return context.tiles(problem)
    return choose_tile(context.machine, n, m, bits)


def choose_tile(machine: Machine, n: int, m: int, bits: int = 32) -> Tile:
    """The tile for an M×N product: as many accumulators as fit beside a row of the panel and one broadcast."""
    if machine.gpu:
        return Tile(min(4, max(m, 1)), 2, 4)
    width = machine.lanes(bits)
    if machine.name == "wasm":
        if n == 1 and width > 1:
            return Tile(8, 1, 1)  # dot products, vectors along k: a panel of one column would leave most lanes idle
        rows = 6 if machine.fma else 5
        return Tile(rows, 8 // width if width > 1 else 4, width)
    needed = -(-n // width)
    if machine.vector_registers >= 32:
        if needed == 1:
            vectors, rows = 1, 24
        elif needed == 2:
            vectors, rows = 2, 12
        elif needed % 3 == 0:
            vectors, rows = 3, 8
        elif needed % 4 == 0:
            vectors, rows = 4, 6
        else:
            vectors, rows = 2, 14
    elif needed == 1:
        vectors, rows = 1, 12
    else:
        vectors, rows = 2, 6
    return Tile(rows, vectors, width)


def row_tiles(m: int, rows: int) -> list[tuple[int, int, int]]:
    """M rows cut into tiles of nearly equal height: (first row, number of tiles, height), at most two heights.

    49 rows by 14 become 13 + 12 + 12 + 12 rather than 14 + 14 + 14 + 7.
    """
    if m == 0:
        return []
    count = -(-m // rows)
    low, extra = divmod(m, count)
    cut = [(0, extra, low + 1)] if extra else []
    cut.append((extra * (low + 1), count - extra, low))
    return cut


def pack_panels(matrix: np.ndarray, columns: int) -> np.ndarray:
    """[..., K, N] → [..., panels, K, columns], the last panel filled with zeros."""
    *batch, k, n = matrix.shape
    panels = -(-n // columns)
    padded = np.zeros((*batch, k, panels * columns), matrix.dtype)
    padded[..., :n] = matrix
    return np.ascontiguousarray(np.moveaxis(padded.reshape(*batch, k, panels, columns), -2, -3))


def accumulator(dtype: dt.DType) -> dt.DType:
    """The dtype in which products of this result dtype are summed."""
    return dt.float32 if dtype is dt.float16 else dtype


def part(k: Builder, vector: Val, start: int, count: int) -> Val:
    """`count` neighbouring lanes of a vector, from lane `start`."""
    if start == 0 and count == vector.width:
        return vector
    return k.pack([k.extract(vector, start + i) for i in range(count)])


def interleaved(k: Builder, even: Val, odd: Val) -> tuple[Val, Val]:
    """Two vectors of every other element, as two of neighbours."""
    lanes = [k.extract(v, i) for i in range(even.width) for v in (even, odd)]
    return k.pack(lanes[: even.width]), k.pack(lanes[even.width :])


def column_parts(columns: int, width: int, machine: Machine) -> list[tuple[int, int]]:
    """How to store the first `columns` lanes of a vector of `width`: (start, count) pieces of widths the machine has."""
    if columns >= width:
        return [(0, width)]
    cut, start, piece = [], 0, width
    while start < columns:
        while piece > columns - start or (machine.name == "wasm" and 1 < piece < 4):
            piece //= 2
        cut.append((start, piece))
        start += piece
    return cut
