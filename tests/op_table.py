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

TABLE: list[Op] = [
    *op_rows_elementwise.TABLE, *op_rows_arrays.TABLE, *op_rows_nets.TABLE, *op_rows_gradients.TABLE, *op_rows_pictures.TABLE,
    *op_rows_linalg.TABLE, *op_rows_functions.TABLE,
]  # fmt: skip


def cases(dtypes: tuple[str, ...] | None = None) -> Iterator[tuple[str, Op, str]]:
    """(id, row, dtype) for every row and each of its dtypes, or those of them in `dtypes`."""
    for row in TABLE:
        for dtype in row.dtypes:
            if dtypes is None or dtype in dtypes:
                yield f"{row.name}-{dtype}", row, dtype


__all__ = ["TABLE", "TOLERANCE", "Op", "Operand", "cases", "check", "flat_results"]
