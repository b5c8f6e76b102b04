"""The op table: every public array function once. Suites expand it over what they test: the evaluator, the targets, gradients.

A row is `op(name, function, reference, *operands, dtypes=, gradient=, tolerance=)` in one of the op_rows files; op_case says
what each part means.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import (
    op_rows_arrays,
    op_rows_elementwise,
    op_rows_functions,
    op_rows_gradients,
    op_rows_linalg,
    op_rows_nets,
    op_rows_pictures,
)
from .op_case import Op, Operand, check, flat_results
from .tolerances import TOLERANCE

FAMILIES: dict[str, list[Op]] = {
    "elementwise": op_rows_elementwise.TABLE, "arrays": op_rows_arrays.TABLE, "nets": op_rows_nets.TABLE,
    "gradients": op_rows_gradients.TABLE, "pictures": op_rows_pictures.TABLE, "linalg": op_rows_linalg.TABLE,
    "functions": op_rows_functions.TABLE,
}  # fmt: skip
TABLE: list[Op] = [row for rows in FAMILIES.values() for row in rows]


def cases(dtypes: tuple[str, ...] | None = None) -> Iterator[tuple[str, Op, str]]:
    """(id, row, dtype) for every row and each of its dtypes, or those of them in `dtypes`."""
    for row in TABLE:
        for dtype in row.dtypes:
            if dtypes is None or dtype in dtypes:
                yield f"{row.name}-{dtype}", row, dtype


__all__ = ["FAMILIES", "TABLE", "TOLERANCE", "Op", "Operand", "cases", "check", "flat_results"]
