"""The op table on the NumPy evaluator: values, traced against eager, and gradients against finite differences.

If these fail, the oracle that every compiled target is compared with is wrong, or tracing changes what a function computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.graph.core import Abstract, abstract_of, evaluate
from hither.graph.primitive import REGISTRY
from hither.graph.pullback import pullback
from hither.graph.trace import trace_function

from .op_table import TABLE, Op, cases, check, flat_results

CASES = list(cases())


def traced(row: Op, arrays: list[np.ndarray]) -> Any:
    """The row's function as a Graph."""
    graph, captured = trace_function(lambda *xs: flat_results(row.function(*xs)), [abstract_of(a) for a in arrays])
    assert not captured
    return graph


@pytest.mark.parametrize(("row", "dtype"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_eager_agrees_with_reference(row: Op, dtype: str) -> None:
    arrays = row.arrays(dtype)
    got = flat_results(row.function(*map(ht.asarray, arrays)))
    expected = row.expected(arrays)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        check(one.numpy(), other, row.tolerance)


@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
def test_traced_equals_eager(row: Op) -> None:
    """Bit for bit: both are evaluated by the same primitives. Results have the shapes and dtypes the shape rules promised."""
    arrays = row.arrays(row.dtypes[0], seed=1)
    graph = traced(row, arrays)
    eager = flat_results(row.function(*map(ht.asarray, arrays)))
    for value, one, other in zip(graph.outputs, evaluate(graph, *arrays), eager, strict=True):
        assert abstract_of(one) == value.abstract
        np.testing.assert_array_equal(one, other.numpy())


DIFFERENTIABLE = [row for row in TABLE if row.gradient]


def _loss(row: Op, arrays: list[np.ndarray], weights: list[np.ndarray]) -> float:
    made = flat_results(row.function(*map(ht.asarray, arrays)))
    return float(sum((r.numpy() * w).sum() for r, w in zip(made, weights, strict=True)))


def _check_directional(function: Any, gradients: list[np.ndarray], arrays: list[np.ndarray], rng: Any) -> None:
    """The gradient's product with a random direction is the central difference along it."""
    directions = [rng.standard_normal(a.shape) if a.dtype == np.float64 else None for a in arrays]
    step = 1e-6

    def moved(sign: int) -> list[np.ndarray]:
        return [a if d is None else a + sign * step * d for a, d in zip(arrays, directions, strict=True)]

    numeric = (function(moved(1)) - function(moved(-1))) / (2 * step)
    exact = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if d is not None)
    np.testing.assert_allclose(exact, numeric, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("row", DIFFERENTIABLE, ids=[row.name for row in DIFFERENTIABLE])
def test_gradient_is_the_finite_difference_to_second_order(row: Op) -> None:
    rng = np.random.default_rng(0)
    arrays = row.arrays("float64")
    graph = traced(row, arrays)
    weights = [rng.standard_normal(v.shape) for v in graph.outputs]
    n = len(arrays)

    def first(*xs: Any) -> list[Any]:
        made = pullback(graph, xs, weights)
        return [ht.zeros(x.shape, dtype=x.dtype) if g is None else g for g, x in zip(made, xs, strict=True)]

    gradient, _ = trace_function(first, [abstract_of(a) for a in arrays])
    slopes = evaluate(gradient, *arrays)
    for slope, array in zip(slopes, arrays, strict=True):
        assert slope.shape == array.shape and slope.dtype == array.dtype
    _check_directional(lambda xs: _loss(row, xs, weights), list(slopes), arrays, rng)

    again = [rng.standard_normal(a.shape) if a.dtype == np.float64 else np.zeros(a.shape, a.dtype) for a in arrays]
    curvature = pullback(gradient, [ht.asarray(a) for a in arrays], again)
    second = [np.zeros(a.shape) if c is None else c.numpy() for c, a in zip(curvature, arrays, strict=True)]

    def slope_along(xs: list[np.ndarray]) -> float:
        return float(sum((g * w).sum() for g, w in zip(evaluate(gradient, *xs), again, strict=True) if g.dtype.kind == "f"))

    assert len(second) == n
    _check_directional(slope_along, second, arrays, rng)


def test_every_primitive_is_reached_by_the_table() -> None:
    """A primitive that no row's Graph contains is untested on every target."""
    seen: set[str] = set()

    def visit(graph: Any) -> None:
        for node in graph.nodes:
            seen.add(node.primitive.name)
            for param in node.params.values():
                if hasattr(param, "nodes"):
                    visit(param)

    for row in TABLE:
        visit(traced(row, row.arrays(row.dtypes[0])))
    assert set(REGISTRY) - seen == set()


@pytest.mark.parametrize(
    ("name", "operands", "params", "message"),
    [
        ("add", ["float32[2]", "float32[3]"], {}, "one shape"),
        ("add", ["float32[2]", "int32[2]"], {}, "one dtype"),
        ("exp", ["int32[2]"], {}, "floating-point"),
        ("reshape", ["float32[2,3]"], {"shape": (4,)}, "cannot reshape"),
        ("transpose", ["float32[2,3]"], {"permutation": (0, 0)}, "permutation"),
        ("broadcast", ["float32[2]"], {"shape": (3,), "axes": (0,)}, "cannot broadcast"),
        ("slice", ["float32[4]"], {"starts": (2,), "sizes": (3,), "steps": (1,)}, "leaves axis 0"),
        ("concat", ["float32[2,3]", "float32[3,2]"], {"axis": 0}, "other extents differ"),
        ("matmul", ["float32[2,3]", "float32[2,3]"], {}, "inner extents 3 and 2"),
        ("conv", ["float32[1,3,4,4]", "float32[2,2,3,3]"],
         {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}, "channels"),
        ("conv", ["float32[1,2,2,2]", "float32[2,2,3,3]"],
         {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}, "does not fit"),
        ("take", ["float32[3]", "float32[2]"], {"axis": 0}, "integers"),
        ("reduce_sum", ["bool[3]"], {"axes": (0,)}, "bool"),
        ("reduce_sum", ["float32[3]"], {"axes": (1,)}, "axis 1"),
        ("argmax", ["float32[0,3]"], {"axis": 0}, "empty"),
        ("bitcast", ["float32[3]"], {"dtype": ht.int64}, "width"),
    ],
)  # fmt: skip
def test_shape_rules_say_what_is_wrong(name: str, operands: list[str], params: dict[str, Any], message: str) -> None:
    def parse(text: str) -> Abstract:
        kind, _, rest = text.partition("[")
        return Abstract(tuple(int(n) for n in rest[:-1].split(",")), ht.dtype(kind))

    with pytest.raises((TypeError, ValueError), match=message):
        REGISTRY[name].abstract(*map(parse, operands), **params)


def test_a_repeated_value_is_recorded_as_a_scalar() -> None:
    """Otherwise zeros((1000, 1000)) in a traced function would be 4 MB of weights in a bundle."""
    graph, _ = trace_function(lambda x: [x + ht.zeros((50, 50)), x * 2.0], [Abstract((50, 50), ht.float32)])
    assert all(array.size == 1 for array in graph.constants.values())


def test_integer_division_by_zero_gives_zero_and_overflow_wraps() -> None:
    lowest = np.iinfo(np.int32).min
    got = ht.truncated_divide(np.array([7, lowest, -7], np.int32), np.array([0, -1, 2], np.int32))
    np.testing.assert_array_equal(got.numpy(), [0, lowest, -3])


def test_empty_reductions_give_the_identity() -> None:
    empty = ht.zeros((0, 3))
    np.testing.assert_array_equal(ht.sum(empty, axis=0).numpy(), [0, 0, 0])
    np.testing.assert_array_equal(ht.prod(empty, axis=0).numpy(), [1, 1, 1])
    np.testing.assert_array_equal(ht.max(empty, axis=0).numpy(), [-np.inf] * 3)
