"""If, Loop, Scan, and results whose size depends on values, against ONNX Runtime; and values that shapes depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from hither.errors import HitherError, NeedsValue, UnsupportedFeature
from hither.model import Model
from hither.spec import Spec

from .onnx_build import build, check, helper, hither_model, info, untyped

node = helper.make_node
rng = np.random.default_rng(1)


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def subgraph(
    nodes: list[onnx.NodeProto], outputs: list[str], inputs: list[onnx.ValueInfoProto] | None = None
) -> onnx.GraphProto:
    return helper.make_graph(nodes, "body", inputs or [], untyped(*outputs))


def primitives(model: Model, **shapes: Any) -> set[str]:
    """The primitives in a model's Graph for these shapes."""
    specs = {n: Spec(s, model.inputs[n].dtype) for n, s in shapes.items()}
    return {n.primitive.name for n in model.graph(specs).nodes}


def if_model(condition: np.ndarray | None = None) -> bytes:
    """y = flag ? x + x : x·x, the branches closing over x."""
    nodes = [node("If", ["flag"], ["y"], then_branch=subgraph([node("Add", ["x", "x"], ["t"])], ["t"]),
                  else_branch=subgraph([node("Mul", ["x", "x"], ["e"])], ["e"]))]  # fmt: skip
    inputs = [info("x", np.float32, ["N"])] + ([info("flag", bool)] if condition is None else [])
    return build(nodes, inputs, ["y"], {} if condition is None else {"flag": condition})


def test_if_takes_the_branch_at_run_time() -> None:
    for flag in (True, False):
        check(if_model(), {"x": floats(4), "flag": np.array(flag)})
    assert "cond" in primitives(hither_model(if_model()), x=(4,), flag=())


def test_if_on_a_constant_leaves_one_branch() -> None:
    data = if_model(np.array(False))
    check(data, {"x": floats(4)})
    assert primitives(hither_model(data), x=(4,)) == {"mul"}


def test_if_with_branches_of_different_shapes_is_decided_by_value() -> None:
    branch = {"then_branch": subgraph([node("Add", ["x", "x"], ["t"])], ["t"]),
              "else_branch": subgraph([node("ReduceSum", ["x"], ["e"], keepdims=0)], ["e"])}  # fmt: skip
    data = build([node("If", ["flag"], ["y"], **branch)], [info("x", np.float32, [4]), info("flag", bool)], ["y"])
    for flag in (True, False):
        check(data, {"x": floats(4), "flag": np.array(flag)})
    with pytest.raises(NeedsValue, match=r"'flag'.*value="):
        hither_model(data).graph()
    graph = hither_model(data).graph({"flag": Spec((), "bool", value=True)})
    assert graph.input_names == ("x",)


def loop_body(collects: bool = False, until: float | None = None) -> onnx.GraphProto:
    """v ← v + i, to go on while sum(v) < until; collects v."""
    nodes = [node("Cast", ["i"], ["f"], to=1), node("Add", ["v", "f"], ["w"])]
    if until is None:
        nodes.append(node("Identity", ["going"], ["more"]))
    else:
        nodes += [node("ReduceSum", ["w"], ["total"], keepdims=0), node("Less", ["total", "limit"], ["more"])]
    if collects:
        nodes.append(node("Identity", ["w"], ["row"]))
    inputs = [info("i", np.int64), info("going", bool), info("v", np.float32, None)]
    return subgraph(nodes, ["more", "w", *(["row"] if collects else [])], inputs)


@pytest.mark.parametrize("turns", [0, 1, 5, 40])
@pytest.mark.parametrize("collects", [False, True])
def test_loop_with_a_known_number_of_turns(turns: int, collects: bool) -> None:
    outputs = ["last", "rows"] if collects else ["last"]
    nodes = [node("Loop", ["turns", "", "x"], outputs, body=loop_body(collects))]
    data = build(nodes, [info("x", np.float32, [3])], outputs, {"turns": np.int64(turns)})
    if turns or not collects:
        check(data, {"x": floats(3)})
    else:  # ONNX Runtime forgets the shape of rows that were never made
        assert hither_model(data)(x=floats(3))["rows"].shape == (0, 3)


def test_long_loops_are_not_written_out() -> None:
    data = build([node("Loop", ["turns", "", "x"], ["y"], body=loop_body())], [info("x", np.float32, [3])], ["y"],
                 {"turns": np.int64(40)})  # fmt: skip
    assert primitives(hither_model(data), x=(3,)) == {"while_loop"}


@pytest.mark.parametrize("collects", [False, True])
def test_loop_that_ends_on_a_value(collects: bool) -> None:
    outputs = ["last", "rows"] if collects else ["last"]
    nodes = [node("Loop", ["turns", "yes", "x"], outputs, body=loop_body(collects, until=1.0))]
    constants = {"turns": np.int64(50), "yes": np.array(True), "limit": np.float32(9)}
    data = build(nodes, [info("x", np.float32, [3])], outputs, constants)
    for scale in (0.0, 1.0, 5.0):
        check(data, {"x": np.full(3, scale, np.float32)})


def test_loop_whose_number_of_turns_is_an_input() -> None:
    inputs = [info("x", np.float32, [3]), info("turns", np.int64)]
    data = build([node("Loop", ["turns", "", "x"], ["y"], body=loop_body())], inputs, ["y"])
    model = hither_model(data)
    assert "while_loop" in primitives(model, x=(3,), turns=())
    check(data, {"x": floats(3), "turns": np.array(4)})


def test_loop_that_grows_what_it_carries() -> None:
    nodes = [node("Concat", ["v", "v"], ["w"], axis=0), node("Identity", ["going"], ["more"])]
    body = subgraph(nodes, ["more", "w"], [info("i", np.int64), info("going", bool), info("v", np.float32, None)])
    data = build(
        [node("Loop", ["turns", "", "x"], ["y"], body=body)], [info("x", np.float32, [2]), info("turns", np.int64)], ["y"]
    )
    for turns in (2, 3):
        check(data, {"x": floats(2), "turns": np.array(turns)})


def test_scan_directions_and_axes() -> None:
    body = subgraph(
        [node("Add", ["state", "a"], ["next"]), node("Mul", ["next", "b"], ["row"])], ["next", "row"],
        [info("state", np.float32, [2]), info("a", np.float32, [2]), info("b", np.float32, [2])],
    )  # fmt: skip
    data = build(
        [node("Scan", ["s", "a", "b"], ["last", "rows"], body=body, num_scan_inputs=2, scan_input_axes=[0, 1],
              scan_input_directions=[0, 1], scan_output_axes=[1], scan_output_directions=[1])],
        [info("s", np.float32, [2]), info("a", np.float32, [6, 2]), info("b", np.float32, [2, 6])], ["last", "rows"],
    )  # fmt: skip
    check(data, {"s": floats(2), "a": floats(6, 2), "b": floats(2, 6)})


# -- sizes that depend on values -------------------------------------------------------------------------------------------


def test_lengths_pass_through_elementwise_nodes_gathers_and_transposes() -> None:
    nodes = [
        node("NonZero", ["x"], ["where"]),
        node("Transpose", ["where"], ["rows"]),
        node("GatherND", ["x", "rows"], ["found"]),
        node("Mul", ["found", "two"], ["twice"]),
        node("Cast", ["twice"], ["whole"], to=7),
        node("Add", ["whole", "whole"], ["y"]),
    ]
    data = build(nodes, [info("x", np.float32, [3, 4])], ["rows", "found", "y"], {"two": np.float32(2)})
    x = np.where(rng.random((3, 4)) < 0.5, 0, rng.standard_normal((3, 4))).astype(np.float32) * 5
    check(data, {"x": x})
    check(data, {"x": np.zeros((3, 4), np.float32)})
    graph = hither_model(data).graph()
    assert list(graph.output_lengths.items()) == [("rows", (3, 0)), ("found", (4, 0)), ("y", (5, 0))]


def test_boxes_after_suppression() -> None:
    nodes = [
        node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["picked"]),
        node("Gather", ["picked", "two"], ["index"], axis=1),
        node("Squeeze", ["index", "one"], ["flat"]),
        node("Gather", ["rows", "flat"], ["kept"], axis=0),
    ]
    constants = {
        "most": np.int64(5),
        "overlap": np.float32(0.3),
        "least": np.float32(0.2),
        "two": np.array([2]),
        "one": np.array([1]),
    }
    inputs = [info("boxes", np.float32, [1, 20, 4]), info("scores", np.float32, [1, 2, 20]), info("rows", np.float32, [20, 4])]
    corner = rng.random((1, 20, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + 0.3], -1)
    data = build(nodes, inputs, ["picked", "kept"], constants)
    check(data, {"boxes": boxes, "scores": rng.random((1, 2, 20)).astype(np.float32), "rows": boxes[0]})


def test_what_cannot_take_an_unknown_length_is_named() -> None:
    nodes = [node("NonZero", ["x"], ["where"]), node("MatMul", ["a", "where"], ["y"], name="product")]
    data = build(nodes, [info("x", np.float32, [3]), info("a", np.int64, [2, 1])], ["y"])
    with pytest.raises(UnsupportedFeature, match="MatMul 'product'"):
        hither_model(data).graph()


def test_nonzero_of_a_constant_is_exact() -> None:
    data = build([node("NonZero", ["c"], ["i"]), node("Gather", ["x", "i"], ["y"])], [info("x", np.float32, [4])], ["y"],
                 {"c": np.array([0, 1, 1, 0])})  # fmt: skip
    check(data, {"x": floats(4)})
    assert not hither_model(data).graph().output_lengths


# -- values that shapes depend on -------------------------------------------------------------------------------------------


def test_a_shape_given_as_an_input_is_compiled_in() -> None:
    data = build([node("Reshape", ["x", "shape"], ["y"])], [info("x", np.float32, [6]), info("shape", np.int64, [2])], ["y"])
    model = hither_model(data)
    for shape in ((2, 3), (3, 2), (2, 3)):
        assert model(x=floats(6), shape=np.array(shape))["y"].shape == shape
    assert len(model._programs) == 2
    with pytest.raises(NeedsValue, match=r"Reshape 'y'.*'shape'"):
        hither_model(data).graph()


def test_a_shape_computed_from_large_inputs_is_refused() -> None:
    nodes = [
        node("Cast", ["x"], ["i"], to=7),
        node("ReduceMax", ["i"], ["n"], keepdims=1),
        node("ConstantOfShape", ["n"], ["y"]),
    ]
    data = build(nodes, [info("x", np.float32, [5000])], ["y"])
    with pytest.raises(HitherError, match="too large"):
        hither_model(data)(x=floats(5000))


def test_model_local_functions_take_attributes() -> None:
    body = [helper.make_node("LeakyRelu", ["a"], ["b"]), helper.make_node("Add", ["b", "a"], ["c"])]
    body[0].attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    function = helper.make_function("local", "LeakyTwice", ["a"], ["c"], body, [helper.make_opsetid("", 17)], ["slope"])
    nodes = [node("LeakyTwice", ["x"], ["y"], domain="local", slope=0.3), node("LeakyTwice", ["y"], ["z"], domain="local")]
    data = build(nodes, [info("x", np.float32, [5])], ["y", "z"], domains={"local": 1}, functions=[function])
    check(data, {"x": floats(5)})
