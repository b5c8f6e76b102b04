"""Gradients of the op table's rows on every compiled target, against the NumPy evaluator in float64.

The evaluator's gradients are held to finite differences in tests/test_primitives.py. If a test here fails, training on that
target follows another slope than the function has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.graph.core import abstract_of, evaluate
from hither.graph.primitive import REGISTRY
from hither.graph.pullback import pullback
from hither.graph.trace import trace_function

from .op_case import Op, check, flat_results
from .op_table import FAMILIES
from .targets import on_target

# These round positions: in float64 a picture's element on the edge between two falls to the other side.
IN_FLOAT32 = {"crop_and_resize_nearest"}
ROWS = {family: [r for r in rows if r.gradient and "float32" in r.dtypes] for family, rows in FAMILIES.items()}


def slopes(row: Op, operands: list[Any]) -> list[Any]:
    """Gradients with respect to the row's float operands of a weighted sum of its float results."""
    graph, _ = trace_function(lambda *xs: flat_results(row.function(*xs)), [abstract_of(x) for x in operands])
    rng = np.random.default_rng(len(row.name))
    weights = [
        rng.standard_normal(v.shape).astype(np.float32).astype(v.dtype.numpy) if v.dtype.kind == "f" else None
        for v in graph.outputs
    ]
    made = pullback(graph, operands, weights)
    return [
        ht.zeros(x.shape, dtype=x.dtype) if g is None else g
        for g, x in zip(made, operands, strict=True)
        if ht.dtype(x.dtype).kind == "f"
    ]


def oracle(row: Op, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The same on NumPy, with everything float in float64."""
    wide = [a.astype(np.float64) if a.dtype.kind == "f" and row.name not in IN_FLOAT32 else a for a in arrays]
    graph, _ = trace_function(lambda *xs: slopes(row, list(xs)), [abstract_of(a) for a in wide])
    with np.errstate(all="ignore"):
        return list(evaluate(graph, *wide))


def check_family(device: str, family: str, threads: int = 1) -> None:
    """All rows of a family as one program; every row that differs is named."""
    rows = ROWS[family]
    operands = [row.arrays("float32", seed=3) for row in rows]
    starts = np.cumsum([0, *map(len, operands)])

    def function(*given: Any) -> list[Any]:
        return [g for row, at, o in zip(rows, starts, operands) for g in slopes(row, list(given[at : at + len(o)]))]

    results = iter(on_target(device, function, [a for arrays in operands for a in arrays], threads))
    wrong = []
    for row, arrays in zip(rows, operands, strict=True):
        for expected in oracle(row, arrays):
            got = next(results)
            try:
                assert got.dtype == np.float32
                check(got, expected, "sums")
            except AssertionError as error:
                wrong.append(f"{row.name}: {error}")
    assert not wrong, "\n".join(wrong)
    assert next(results, None) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_native(family: str) -> None:
    check_family("cpu", family)


@pytest.mark.node
@pytest.mark.parametrize("family", FAMILIES)
def test_webassembly(family: str) -> None:
    check_family("wasm", family, threads=2)


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_webgpu(family: str) -> None:
    check_family("webgpu", family)


def test_products_that_hold_zeros() -> None:
    """A factor's slope is the product of the others also where factors are 0; equal extremes share theirs."""
    x, u, at = np.array([2.0, 0.0, 3.0, 0.0]), np.array([5.0, 0.0, 7.0, 0.0, 0.0]), np.array([[0], [0], [1], [2], [2]])
    of_x, of_u = ht.grad(lambda x, u: ht.sum(ht.scatter_nd(x, at, u, combine="mul")), argnums=(0, 1))(x, u)
    np.testing.assert_array_equal(of_x.numpy(), [0, 7, 0, 1])
    np.testing.assert_array_equal(of_u.numpy(), [0, 10, 0, 0, 0])
    of_x, of_u = ht.grad(lambda x, u: ht.sum(ht.scatter_nd(x, at, u, combine="max")), argnums=(0, 1))(np.full(4, 5.0), u)
    np.testing.assert_array_equal(of_x.numpy(), [0.5, 0, 1, 1])
    np.testing.assert_array_equal(of_u.numpy(), [0.5, 0, 1, 0, 0])


# What has no gradient, and why: results that are whole numbers or truth values, bits read as another dtype, or how
# numbers are stored.
WITHOUT = {
    "comparisons": {"eq", "ne", "lt", "le", "is_nan", "is_inf"},
    "bits": {
        "bitwise_not",
        "bit_and",
        "bit_or",
        "bit_xor",
        "shift_left",
        "shift_right",
        "bitcast",
        "round_to_bytes",
    },
    "storage": {"narrow"},  # chosen once gradients are there
    "positions": {"argmax", "argmin", "nonzero", "nms"},
}
ON_NUMPY = {"conj", "real", "imag", "complex"}  # in tests/test_transforms.py; targets compute with their parts


def test_every_primitive_has_a_checked_gradient_or_a_reason() -> None:
    reasons = set().union(*WITHOUT.values())
    assert {n for n, p in REGISTRY.items() if p.vjp is None} == reasons
    reached: set[str] = set()

    def visit(graph: Any) -> None:
        for node in graph.nodes:
            reached.add(node.primitive.name)
            for param in node.params.values():
                if hasattr(param, "nodes"):
                    visit(param)

    for rows in ROWS.values():
        for row in rows:
            abstracts = [abstract_of(a) for a in row.arrays("float32")]
            visit(trace_function(lambda *xs, f=row.function: flat_results(f(*xs)), abstracts)[0])
    assert set(REGISTRY) - reasons - ON_NUMPY - reached == set()
