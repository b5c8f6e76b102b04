"""The op table on every compiled target, against the NumPy evaluator.

Native code runs each row by itself, so that a failure names it. For WebAssembly (two threads, in Node) and WebGPU all rows of
a family are one program: fewer modules and pipelines, and many values alive in one arena at once.
"""

from __future__ import annotations

import numpy as np
import pytest

from .op_case import Op, check, flat_results
from .op_table import FAMILIES, cases
from .targets import check_target, on_target, oracle

CASES = [c for c in cases() if c[2] != "complex64"]  # which no target has
BATCHES = sorted({(family, d) for family, rows in FAMILIES.items() for row in rows for d in row.dtypes if d != "complex64"})


@pytest.mark.parametrize(("row", "dtype"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_native(row: Op, dtype: str) -> None:
    check_target("cpu", row.function, row.arrays(dtype), row.tolerance)


def check_family(device: str, family: str, dtype: str, threads: int = 1, every: int = 1) -> None:
    """All rows of a family, or every n-th, as one program; every row that differs is named."""
    rows = [row for row in FAMILIES[family] if dtype in row.dtypes][::every]
    operands = [row.arrays(dtype, seed=2) for row in rows]
    starts = np.cumsum([0, *map(len, operands)])

    def function(*given: object) -> list[object]:
        return [
            r for row, at, n in zip(rows, starts, map(len, operands)) for r in flat_results(row.function(*given[at : at + n]))
        ]

    results = iter(on_target(device, function, [a for arrays in operands for a in arrays], threads))
    wrong = []
    for row, arrays in zip(rows, operands, strict=True):
        for expected in oracle(row.function, arrays):
            got = next(results)
            try:
                assert got.dtype == expected.dtype
                check(got, expected, row.tolerance)
            except AssertionError as error:
                wrong.append(f"{row.name}: {error}")
    assert not wrong, "\n".join(wrong)
    assert next(results, None) is None


@pytest.mark.node
@pytest.mark.parametrize(("family", "dtype"), BATCHES)
def test_webassembly(family: str, dtype: str) -> None:
    check_family("wasm", family, dtype, threads=2)


@pytest.mark.gpu
@pytest.mark.parametrize(("family", "dtype"), [b for b in BATCHES if b[1] != "float64"])
def test_webgpu(family: str, dtype: str) -> None:
    # float16 is another load and store, and a software adapter takes 0.1 s for each of 170 pipelines
    check_family("webgpu", family, dtype, every=4 if (family, dtype) == ("nets", "float16") else 1)
