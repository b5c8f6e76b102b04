"""Model and Spec: how models are called, renamed and specialised, and what wrong calls say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hither import ops
from hither.errors import DTypeMismatch, NameMismatch, NeedsValue, ShapeMismatch, UnsupportedFeature
from hither.model import BoundedOutput, Model
from hither.spec import Spec


def two_inputs() -> Model:
    """sum = a + b, twice = 2a."""

    def build(arrays: Any) -> dict[str, Any]:
        return {"sum": arrays["a"] + arrays["b"], "twice": arrays["a"] * 2}

    inputs = {"a": Spec(("n", 2), "float32"), "b": Spec((None, 2), "float32")}
    return Model(build, inputs, {"sum": Spec(("n", 2)), "twice": Spec(("n", 2))}, device="numpy")


def relu() -> Model:
    return Model(
        lambda arrays: {"y": ops.maximum(arrays["x.1"], 0)}, {"x.1": Spec(("n", 3))}, {"y": Spec(("n", 3))}, device="numpy"
    )


def test_ways_to_call() -> None:
    x = np.array([[-1, 0, 2]], np.float32)
    for result in (relu()(x), relu()({"x.1": x}), relu()(**{"x.1": x}), relu()([[-1.0, 0.0, 2.0]])):
        np.testing.assert_array_equal(result["y"], [[0, 0, 2]])


def test_outputs_come_in_order_and_shapes_are_cached() -> None:
    model = two_inputs()
    for n in (1, 3, 1):
        a, b = np.ones((n, 2), np.float32), np.full((n, 2), 5, np.float32)
        result = model(a=a, b=b)
        assert list(result) == ["sum", "twice"]
        np.testing.assert_array_equal(result["sum"], a + b)
    assert len(model._programs) == 2


def test_rename() -> None:
    model = two_inputs().rename({"a": "left", "sum": "total"})
    assert list(model.inputs) == ["left", "b"]
    assert list(model.outputs) == ["total", "twice"]
    x = np.ones((2, 2), np.float32)
    assert list(model(left=x, b=x)) == ["total", "twice"]
    again = model.rename({"left": "first"})
    np.testing.assert_array_equal(again(first=x, b=x)["total"], x * 2)
    with pytest.raises(NameMismatch, match=r"'nothing'.*'left', 'b'.*'total', 'twice'"):
        model.rename({"nothing": "x"})
    with pytest.raises(NameMismatch, match="same name"):
        model.rename({"left": "b"})


def test_wrong_calls_say_what_was_expected() -> None:
    x = np.ones((2, 2), np.float32)
    with pytest.raises(NameMismatch, match="misses input 'b'"):
        two_inputs()(a=x)
    with pytest.raises(NameMismatch, match=r"no input 'c'.*'a', 'b'"):
        two_inputs()(a=x, b=x, c=x)
    with pytest.raises(NameMismatch, match="2 inputs"):
        two_inputs()(x)
    with pytest.raises(ShapeMismatch, match=r"'b' takes float32\[\?,2\], got float32\[2,3\]"):
        two_inputs()(a=x, b=np.ones((2, 3), np.float32))
    with pytest.raises(DTypeMismatch, match=r"'a' takes float32.*got float64.*astype\('float32'\)"):
        two_inputs()(a=x.astype(np.float64), b=x)


def test_graph_needs_every_extent() -> None:
    with pytest.raises(ShapeMismatch, match=r"'a'.*free extents"):
        two_inputs().graph()
    graph = two_inputs().graph({"a": Spec((3, 2)), "b": Spec((3, 2))})
    assert graph.input_names == ("a", "b")
    assert graph.output_names == ("sum", "twice")
    with pytest.raises(NameMismatch, match=r"no input 'c'"):
        two_inputs().graph({"c": Spec((3, 2))})


def test_a_value_in_a_spec_makes_the_input_a_constant() -> None:
    graph = two_inputs().graph({"a": Spec((3, 2)), "b": Spec((3, 2), value=np.ones((3, 2)))})
    assert graph.input_names == ("a",)
    graph = two_inputs().graph({"a": Spec((3, 2))}, static={"b": np.ones((3, 2), np.float32)})
    assert graph.input_names == ("a",)


def needs_size() -> Model:
    """The first `size` entries of x: the value of `size` decides the result's shape."""

    def build(arrays: Any) -> dict[str, Any]:
        from hither.graph.trace import static_value

        size = static_value(arrays["size"])
        if size is None:
            raise NeedsValue(["size"], "Cut", "the size")
        return {"y": arrays["x"][: int(size)]}

    return Model(build, {"x": Spec((None,)), "size": Spec((), "int64")}, {"y": Spec((None,))}, device="numpy")


def test_inputs_that_decide_shapes_are_compiled_in() -> None:
    model = needs_size()
    x = np.arange(5, dtype=np.float32)
    for size in (2, 4, 2):
        np.testing.assert_array_equal(model(x=x, size=size)["y"], x[:size])
    assert len(model._programs) == 2
    with pytest.raises(NeedsValue, match=r"Cut: the size.*'size'.*value="):
        needs_size().graph({"x": Spec((5,))})


def test_results_of_unknown_length_are_trimmed() -> None:
    def build(arrays: Any) -> dict[str, Any]:
        from hither.graph.primitives import apply

        positions, count = apply("nonzero", arrays["x"])
        return {"where": BoundedOutput(positions, count, 1), "negated": -arrays["x"]}

    model = Model(build, {"x": Spec((None,))}, {"where": Spec((1, None), "int64"), "negated": Spec((None,))}, device="numpy")
    result = model(np.array([0, 3, 0, 4], np.float32))
    assert list(result) == ["where", "negated"]
    np.testing.assert_array_equal(result["where"], [[1, 3]])
    graph = model.graph({"x": Spec((4,))})
    assert graph.output_names == ("where", "negated", "where.length")
    assert graph.output_lengths == {"where": (2, 1)}


def test_spec() -> None:
    spec = Spec((1, None, "w"), "float16", media="image", layout="NHWC", labels=["a", "b"])
    assert (spec.shape, str(spec), spec.labels) == ((1, None, "w"), "float16[1,?,w]", ("a", "b"))
    assert not spec.is_static
    assert Spec((2,), "int32", value=[1, 2]).value.dtype == np.int32
    assert Spec((2,), "int32") == Spec([2], "int32") != Spec((3,), "int32")
    with pytest.raises(ShapeMismatch):
        Spec((-1,))
    with pytest.raises(ShapeMismatch, match="value"):
        Spec((3,), "int32", value=[1, 2])


def test_specs_that_mean_nothing_are_refused() -> None:
    """A layout that is misspelt would have a page fill pictures in another order, without a word."""
    with pytest.raises(ShapeMismatch, match="a tuple of extents"):
        Spec(3)  # type: ignore[arg-type]
    with pytest.raises(ShapeMismatch, match="number ≥ 0"):
        Spec((-1,))
    with pytest.raises(UnsupportedFeature, match="'NCHW' or 'NHWC', got 'NCWH'"):
        Spec((1, 3, 2, 2), media="image", layout="NCWH")
    with pytest.raises(UnsupportedFeature, match="got 'picture'"):
        Spec((1, 3, 2, 2), media="picture")
