"""What a user holds: Array's operators, conversions and promotion, and indexing, against NumPy.

Hypothesis draws shapes and keys; a failure prints the smallest one that still fails.
"""

from __future__ import annotations

import operator
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

import hither as ht
from hither.graph.core import Abstract, abstract_of, evaluate
from hither.graph.trace import trace_function, weight
from hither.graph.tree import flatten, tree_map, unflatten

# -- making and reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_value", "dtype"),
    [
        (1, "int32"), (1.5, "float32"), (True, "bool"), (1j, "complex64"), ([1, 2], "int32"), ([[1.0], [2.0]], "float32"),
        ([True, False], "bool"), (2**40, "int64"), ([2**40], "int64"), (np.float64(2), "float32"), (np.int64(2), "int64"),
        (np.zeros(2), "float64"), (np.zeros(2, np.uint8), "uint8"), ([], "float32"),
    ],
)  # fmt: skip
def test_asarray_chooses_the_default_dtypes(given_value: Any, dtype: str) -> None:
    assert ht.asarray(given_value).dtype is ht.dtype(dtype)


def test_arrays_read_like_numpy_arrays() -> None:
    x = ht.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert (x.shape, x.ndim, x.size, len(x), x.nbytes, x.device) == ((2, 3), 2, 6, 2, 24, "cpu")
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]] and np.asarray(x).dtype == np.float32
    assert repr(x[0]) == "Array([1., 2., 3.], dtype=float32)"
    assert [row.shape for row in x] == [(3,), (3,)] and float(x[1, 2]) == 6 and int(x[0, 0]) == 1 and bool(x[0, 0])
    np.testing.assert_array_equal(x.T.numpy(), x.numpy().T)
    np.testing.assert_array_equal(x.reshape(3, -1).numpy(), x.numpy().reshape(3, 2))
    np.testing.assert_array_equal(x.transpose().numpy(), x.numpy().T)
    assert x.flatten().shape == (6,) and x.astype("int8").dtype is ht.int8
    assert list(range(4))[ht.asarray(2)] == 2


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda: ht.asarray("text"), TypeError), (lambda: ht.asarray(np.array([object()])), TypeError),
        (lambda: bool(ht.ones((2,))), ValueError), (lambda: len(ht.asarray(1)), TypeError),
        (lambda: ht.ones((2, 3)) + ht.ones((2, 4)), ValueError), (lambda: ht.asarray(np.uint8(1)) + 300, OverflowError),
        (lambda: ht.asarray([True]) + ht.asarray([True]), TypeError), (lambda: ht.ones((2,)).to_device("tpu"), ValueError),
        (lambda: operator.index(ht.asarray(1.5)), TypeError), (lambda: ht.ones((2, 3)).reshape(4, -1), ValueError),
        (lambda: ht.sum(ht.ones((2,)), axis=1), ValueError), (lambda: ht.ones((3,))[5], IndexError),
        (lambda: ht.ones((3,))[1.5], IndexError), (lambda: ht.ones((3,))[0, 0], IndexError),
        (lambda: ht.ones((3,))[True], IndexError), (lambda: ht.ones((3,))[ht.asarray([True])], IndexError),
        (lambda: ht.einsum("ij,jk", ht.ones((2, 3))), ValueError), (lambda: ht.einsum("ij->k", ht.ones((2, 3))), ValueError),
        (lambda: ht.conv(ht.ones((1, 3, 4, 4)), ht.ones((2, 3, 3, 3)), padding="some"), ValueError),
    ],
)  # fmt: skip
def test_mistakes_raise(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        wrong()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: ht.one_hot(ht.asarray([1, 2]), 3, axis=2), "axis 2 is out of range for an array of 2 axes"),
        (lambda: ht.flatten(ht.ones((2, 3)), 3), "axis 3 is out of range"),
        (lambda: ht.random.shuffle(ht.random.key(0), ht.ones((2, 3)), axis=2), "axis 2 is out of range"),
        (lambda: ht.nn.BatchNormalization(axis=4)(ht.ones((2, 3))), "axis 4 is out of range"),
        (lambda: ht.argmax(ht.ones((2, 3)), axis=(0, 1)), r"an axis is one integer here, got \(0, 1\)"),
        (lambda: ht.depth_to_space(ht.ones((4, 2, 2)), 2), r"depth_to_space takes \[N, C, H, W\], got .* \(4, 2, 2\)"),
        (lambda: ht.group_norm(ht.ones((4,)), 2), r"group_norm takes \[N, C, \*spatial\]"),
        (lambda: ht.group_norm(ht.ones((4, 4)), 0), "4 channels do not divide into 0 groups"),
        (lambda: ht.gather_nd(ht.ones((4,)), 1), r"gather_nd\(indices\) takes \[..., k\]"),
        (lambda: ht.nms(ht.ones((3, 4)), ht.ones((1, 1, 3)), 2), r"nms\(boxes\) takes \[B, N, 4\]"),
        (lambda: ht.tensordot(ht.ones((2,)), ht.ones((2,)), axes=2), "over 2 axes"),
        (lambda: ht.split(ht.ones((2,)), 0), "at least one section, got 0"),
        (lambda: ht.pad(ht.ones((2,)), [(1,)]), r"one \(before, after\) pair .* got \[\(1,\)\]"),
        (lambda: ht.max_pool(ht.ones((1, 1, 4)), 2, padding=[(1,)]), r"one amount or pair .* got \[\(1,\)\]"),
        (lambda: ht.einsum(ht.ones((2, 2)), "ij"), "einsum begins with its equation"),
    ],
)  # fmt: skip
def test_mistakes_are_named(wrong: Any, said: str) -> None:
    """Some gave a result for another axis, others Python's words for what went wrong inside."""
    with pytest.raises((ValueError, TypeError, IndexError), match=said):
        wrong()


# -- operators and promotion -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq", "ne", "lt", "le", "gt", "ge"])
@pytest.mark.parametrize("other", [2, 3.0, np.array([1, 2, 3], np.float32), np.float32(2)])
def test_operators_work_from_both_sides(name: str, other: Any) -> None:
    function, x = getattr(operator, name), np.array([1.5, 2.0, 3.0], np.float32)
    for got, expected in (
        (function(ht.asarray(x), other), function(x, np.asarray(other, np.float32))),
        (function(other, ht.asarray(x)), function(np.asarray(other, np.float32), x)),
    ):
        assert isinstance(got, ht.Array)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)
        assert got.numpy().dtype == expected.dtype


def test_python_numbers_are_weak() -> None:
    half = ht.ones((2,), dtype="float16")
    assert (half * 2.0).dtype is ht.float16 and (half + 1).dtype is ht.float16 and (half * np.float64(2)).dtype is ht.float16
    counts = ht.asarray([1, 2])
    assert (counts * 2).dtype is ht.int32 and (counts * 2.0).dtype is ht.float32 and (counts / 2).dtype is ht.float32
    assert (ht.asarray([True]) + 1).dtype is ht.int32 and (ht.asarray(np.uint8([3])) + 1).dtype is ht.uint8
    assert (ht.asarray([True]) * 0.5).dtype is ht.float32


DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64")


@given(st.sampled_from(DTYPES), st.sampled_from(DTYPES))
def test_promotion_is_symmetric_and_like_the_standard(a: str, b: str) -> None:
    got = ht.result_type(ht.dtype(a), ht.dtype(b))
    assert got is ht.result_type(ht.dtype(b), ht.dtype(a))
    kinds = {ht.dtype(a).kind, ht.dtype(b).kind}
    if kinds <= {"i", "u", "b"} or kinds == {"f"}:  # what the standard defines is what NumPy does
        assert got.numpy == np.promote_types(a, b)
    else:  # an integer and a float: the float
        assert got.name == (a if ht.dtype(a).is_float else b)


# -- indexing ----------------------------------------------------------------------------------------------------------------


@st.composite
def shapes_and_keys(draw: Any) -> tuple[tuple[int, ...], Any]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    return shape, draw(hnp.basic_indices(shape, allow_newaxis=True, max_dims=6))


def both_ways(shape: tuple[int, ...], function: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same function of an array counted upwards: NumPy's, eager, and traced."""
    x = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    graph, _ = trace_function(lambda t: [function(t)], [abstract_of(x)])
    return function(x), function(ht.asarray(x)).numpy(), evaluate(graph, x)[0]


@settings(max_examples=300)
@given(shapes_and_keys())
def test_basic_indexing_is_numpys(case: tuple[tuple[int, ...], Any]) -> None:
    shape, key = case
    expected, eager, traced = both_ways(shape, lambda x: x[key])
    np.testing.assert_array_equal(eager, expected)
    np.testing.assert_array_equal(traced, expected)


@st.composite
def shapes_and_array_keys(draw: Any) -> tuple[tuple[int, ...], Any]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    together = draw(hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=3))
    key: list[Any] = []
    for n in shape[: draw(st.integers(1, len(shape)))]:
        kind = draw(st.sampled_from(["array", "array", "slice", "int", "new", "mask"]))
        if kind == "array":
            key.append(draw(hnp.arrays(np.int64, together, elements=st.integers(-n, n - 1))))
        elif kind == "mask" and not any(isinstance(k, np.ndarray) for k in key):
            key.append(draw(hnp.arrays(bool, (n,))))
            break  # its number of elements need not broadcast with what follows
        elif kind == "int":
            key.append(draw(st.integers(-n, n - 1)))
        else:
            key += [None] if kind == "new" else []
            key.append(draw(st.slices(n)))
    return shape, tuple(key)


@settings(max_examples=300)
@given(shapes_and_array_keys())
def test_advanced_indexing_is_numpys(case: tuple[tuple[int, ...], Any]) -> None:
    shape, key = case
    expected, eager, traced = both_ways(shape, lambda x: x[key])
    np.testing.assert_array_equal(eager, expected)
    np.testing.assert_array_equal(traced, expected)


def test_traced_indices_and_masks() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    graph, _ = trace_function(lambda t, i: [t[i], t[:, i]], [abstract_of(x), Abstract((2,), ht.int32)])
    at = np.array([-1, 1], np.int32)
    for got, expected in zip(evaluate(graph, x, at), (x[at], x[:, at]), strict=True):
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(IndexError, match="unknown while tracing"):
        trace_function(lambda t: [t[t > 0]], [abstract_of(x)])


# -- tracing -----------------------------------------------------------------------------------------------------------------


def test_python_control_flow_on_traced_values_says_what_to_do() -> None:
    with pytest.raises(TypeError, match=r"hither\.where or hither\.cond"):
        trace_function(lambda x: [x if x > 0 else -x], [Abstract((), ht.float32)])


def test_arithmetic_on_constants_leaves_no_nodes_and_on_weights_does() -> None:
    table = np.ones((3,), np.float32)
    graph, _ = trace_function(lambda x: [x + ht.asarray(table) * 2.0], [Abstract((3,), ht.float32)])
    assert [n.primitive.name for n in graph.nodes] == ["add"]
    graph, _ = trace_function(lambda x: [x + weight(table, "table") * 2.0], [Abstract((3,), ht.float32)])
    assert [v.name for v in graph.constants if v.name] == ["table"]


def test_a_shared_literal_is_one_constant() -> None:
    graph, _ = trace_function(lambda x: [x * 2.0 + 2.0], [Abstract((3,), ht.float32)])
    assert len(graph.constants) == 1


def test_a_tracer_that_outlives_its_trace_is_named() -> None:
    kept: list[Any] = []
    trace_function(lambda x: kept.append(x) or [x], [Abstract((3,), ht.float32)])  # type: ignore[func-returns-value]
    with pytest.raises(RuntimeError, match="after its trace had ended"):
        kept[0] + 1
    with pytest.raises(RuntimeError, match="after its trace had ended"):
        ht.jit(lambda x: x * kept[0])(np.ones(3, np.float32))


@given(
    st.recursive(st.integers(), lambda s: st.lists(s) | st.dictionaries(st.text(max_size=3), s) | st.tuples(s, s), max_leaves=8)
)
def test_structures_survive_flattening(value: Any) -> None:
    leaves, structure = flatten(value)
    assert unflatten(structure, leaves) == value and structure.leaves == len(leaves)
    assert flatten(tree_map(str, value))[0] == [str(leaf) for leaf in leaves]


def test_closures_of_branches_and_loops_become_operands() -> None:
    """A branch that uses a traced value from outside must get it as an operand, or the program would not be closed."""

    def function(x: Any, n: Any) -> list[Any]:
        y = ht.cond(ht.sum(x) > 0, lambda a: {"r": a + x}, lambda a: {"r": a - n}, x)["r"]
        z = ht.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * 1.5 + x), (0, x))[1]
        last, rows = ht.scan(lambda c, v: (c + v * ht.sum(x), c), ht.zeros(()), x, reverse=True)
        return [y, z, last, rows, ht.fori_loop(0, n, lambda i, c: c + i, 0)]

    for x in ([1.0, 2.0, -1.0], [-1.0, -2.0, 0.5]):
        arrays = np.array(x, np.float32), np.array(3, np.int32)
        graph, captured = trace_function(function, [abstract_of(a) for a in arrays])
        assert not captured
        for got, expected in zip(evaluate(graph, *arrays), function(*map(ht.asarray, arrays)), strict=True):
            np.testing.assert_allclose(got, expected.numpy())


def test_scalars_of_numpy_are_arrays_without_axes() -> None:
    """NumPy's arithmetic on a 0-d array gives a scalar, which has no flags to set: weights of models are made so."""
    x = ht.array.Array(np.float32(2) * np.ones((), np.float32))  # type: ignore[arg-type]
    assert x.numpy().shape == () and not x.numpy().flags.writeable


def test_numpys_functions_take_arrays() -> None:
    """numpy.sum(x) calls x.sum with arguments of NumPy's own."""
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = ht.asarray(values)
    for name in ("sum", "prod", "max", "min", "mean", "var", "std", "argmax", "argmin", "all", "any"):
        np.testing.assert_allclose(getattr(np, name)(x), getattr(np, name)(values), rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(getattr(np, name)(x, axis=1), getattr(np, name)(values, axis=1), rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(np.std(x, ddof=1), np.std(values, ddof=1), rtol=1e-6)
    with pytest.raises(TypeError, match="out"):
        np.sum(x, out=np.empty(()))


def test_numbers_are_formatted_and_empty_arrays_show_their_shape() -> None:
    assert f"loss {ht.asarray(1.25):.1f}, {ht.asarray([3]):>4}" == "loss 1.2,    3"
    assert repr(ht.zeros((0, 3))) == "Array([], shape=(0, 3), dtype=float32)"


@pytest.mark.parametrize("value", [300, [0, 300], [[-1]], np.array(0).tolist() - 1])
def test_python_integers_fit_or_raise(value: Any) -> None:
    """As in NumPy 2; before, they wrapped."""
    with pytest.raises(OverflowError):
        np.asarray(value, np.uint8)
    with pytest.raises(OverflowError, match="uint8"):
        ht.asarray(value, dtype=ht.uint8)


def test_what_is_no_array_is_named() -> None:
    with pytest.raises(TypeError, match=r"got a Dense.*swapped"):
        ht.grad(lambda net: ht.sum(net(np.ones((1, 2)))))(ht.nn.Dense(3))
    with pytest.raises(TypeError, match="got a Dense"):
        ht.jit(lambda net: net(np.ones((1, 2))))(ht.nn.Dense(3))


def test_branches_that_differ_raise() -> None:
    with pytest.raises(TypeError, match="branches"):
        trace_function(lambda x: [ht.cond(x > 0, lambda: x, lambda: ht.ones((2,)))], [Abstract((), ht.float32)])


def test_every_public_function_is_documented() -> None:
    undocumented = [
        name for name in ht.__all__ if callable(getattr(ht, name)) and not (getattr(ht, name).__doc__ or "").strip()
    ]
    assert undocumented == []
