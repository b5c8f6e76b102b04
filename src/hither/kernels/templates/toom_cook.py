"""The transforms of minimal filtering in kernels: small matrices of whole numbers and fractions, applied as short sequences of
additions and multiply-adds. passes/filtering.py has the matrices."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ...passes.filtering import Matrix
from ..builder import Builder
from ..ir import Val


def transform(k: Builder, matrices: Sequence[Matrix], values: Sequence[Val]) -> list[Val]:
    """A grid of values (row-major), each axis multiplied by its matrix; integers by whole numbers, modulo 2^bits."""
    grid = np.empty(len(values), object)
    grid[:] = values
    grid = grid.reshape([len(m[0]) for m in matrices])
    for axis, matrix in enumerate(matrices):
        lines = np.moveaxis(grid, axis, 0)
        made = np.empty((len(matrix), *lines.shape[1:]), object)
        for at in np.ndindex(lines.shape[1:]):
            made[(slice(None), *at)] = _multiply(k, matrix, list(lines[(slice(None), *at)]))
        grid = np.moveaxis(made, 0, axis)
    return list(grid.reshape(-1))


def _multiply(k: Builder, matrix: Matrix, x: list[Val]) -> list[Val]:
    """matrix @ x. Points come in pairs ±p, so that columns and rows do, but for signs: of a pair of columns the sum and the
    difference of their values are taken once, of a pair of rows the parts that agree and disagree in sign."""
    rows: list[list[tuple[Fraction, Val]]] = [[] for _ in matrix]
    columns = list(zip(*matrix, strict=True))
    for j, partner in _pairs(columns):
        if partner is None:
            for row, c in zip(rows, columns[j], strict=True):
                row.append((c, x[j]))
        else:
            both = {True: x[j] + x[partner], False: x[j] - x[partner]}
            for row, c, d in zip(rows, columns[j], columns[partner], strict=True):
                row.append((c, both[c == d]))
    made: dict[int, Val] = {}
    for i, partner in _pairs(matrix):
        if partner is None:
            made[i] = _sum(k, rows[i])
        else:
            agree = [c == d for (c, _), (d, _) in zip(rows[i], rows[partner], strict=True)]
            same = _sum(k, [t for t, a in zip(rows[i], agree, strict=True) if a])
            other = _sum(k, [t for t, a in zip(rows[i], agree, strict=True) if not a])
            made[i], made[partner] = same + other, same - other
    return [made[i] for i in range(len(matrix))]


def _pairs(lines: Sequence[Sequence[Fraction]]) -> list[tuple[int, int | None]]:
    """Each line, with another that differs from it in some signs only, if there is one."""
    found: list[tuple[int, int | None]] = []
    taken: set[int] = set()
    for i, line in enumerate(lines):
        if i in taken:
            continue
        alike = [j for j in range(i + 1, len(lines)) if [abs(c) for c in lines[j]] == [abs(c) for c in line]]
        taken.update(alike[:1])
        found.append((i, alike[0] if alike else None))
    return found


def _sum(k: Builder, terms: Sequence[tuple[Fraction, Val]]) -> Val:
    """Σ c · v without terms that are zero, beginning with one that needs no multiplication if there is one."""
    (c, v), *rest = sorted((t for t in terms if t[0]), key=lambda t: t[0] != 1)
    total = v if c == 1 else _times(v, c)
    for c, v in rest:
        if abs(c) == 1:
            total = total + v if c > 0 else total - v
        elif v.dtype.is_float:
            total = k.fma(v, k.const(float(c), v.dtype, v.width), total)
        else:
            total = total + _times(v, c) if c > 0 else total - _times(v, -c)
    return total


def _times(v: Val, c: Fraction) -> Val:
    """c · v; of integers by shifts, which take less than products of 32 bits where c has few digits."""
    if v.dtype.is_float:
        return v * float(c)
    digits = abs(int(c))
    powers = [v << at if at else v for at in range(digits.bit_length()) if digits >> at & 1]
    total = sum(powers[1:], start=powers[0])
    return total if c > 0 else 0 - total
