"""TF.js graph models: loops, conditionals, calls, lists and tables, in TensorFlow 1's operators and in TensorFlow 2's.

If one fails, a model with control flow computes something else than in TF.js, or is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht

from .tfjs_build import GraphModel, frame_loop, function, node

RNG = np.random.default_rng(3)


# -- control flow of TensorFlow 1 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [3, 40])
def test_a_frame_that_counts(turns: int, tmp_path: Path) -> None:
    """Short loops are written out, long ones become loops; both add x to a total that many times."""
    model = GraphModel()
    x = model.input("x", (4,))
    limit = model.const("limit", np.array(turns))
    out = frame_loop(
        model, {"i": model.const("zero", np.array(0)), "total": model.const("nothing", np.zeros(4, np.float32))},
        {"limit": limit, "x": x},
        lambda v: model.op("Less", v["i"], v["limit"]),
        lambda v: {"i": model.op("Add", v["i"], np.array(1)), "total": model.op("AddV2", v["total"], v["x"])},
    )  # fmt: skip
    model.output("total", out["total"])
    model.output("i", out["i"], "int32")
    loaded = ht.load(model.save(tmp_path), device="cpu")
    value = RNG.standard_normal(4).astype(np.float32)
    got = loaded(value)
    np.testing.assert_allclose(got["total"].numpy(), value * turns, rtol=1e-4)
    assert int(got["i"].numpy()) == turns
    kinds = {n.primitive.name for n in loaded.graph({"x": ht.Spec((4,))}).nodes}
    assert ("while_loop" in kinds) == (turns > 16)


def test_a_frame_that_data_decides(tmp_path: Path) -> None:
    model = GraphModel()
    x = model.input("x", ())
    out = frame_loop(
        model, {"x": x, "n": model.const("zero", np.array(0))}, {},
        lambda v: model.op("Less", v["x"], np.float32(100)),
        lambda v: {"x": model.op("Mul", v["x"], np.float32(2)), "n": model.op("Add", v["n"], np.array(1))},
    )  # fmt: skip
    model.output("x", out["x"])
    model.output("n", out["n"], "int32")
    loaded = ht.load(model.save(tmp_path), device="cpu")
    for start, want, turns in ((3.0, 192.0, 6), (100.0, 100.0, 0)):
        got = loaded(np.float32(start))
        assert (float(got["x"].numpy()), int(got["n"].numpy())) == (want, turns)


@pytest.mark.parametrize("rows", [3, 30])
def test_a_map_over_arrays_of_a_frame(rows: int, tmp_path: Path) -> None:
    """tf.map_fn: a TensorArray is read, another is written whose arrays' shape the loop shows only."""
    model = GraphModel()
    x = model.input("x", (rows, 2))
    count = model.op("StridedSlice", model.op("Shape", x), np.array([0]), np.array([1]), np.array([1]), shrink_axis_mask=1)
    source = model.op("TensorArrayV3", count, dtype=("type", "float32"), element_shape=("shape", None), name="source")
    made = model.op("TensorArrayV3", count, dtype=("type", "float32"), element_shape=("shape", None), name="made")
    places = model.op("Range", np.array(0), count, np.array(1))
    filled = model.op("TensorArrayScatterV3", source, places, x, f"{source}:1")
    out = frame_loop(
        model, {"i": model.const("zero", np.array(0)), "flow": f"{made}:1"},
        {"count": count, "source": source, "filled": filled, "made": made},
        lambda v: model.op("Less", v["i"], v["count"]),
        lambda v: {
            "i": model.op("Add", v["i"], np.array(1)),
            "flow": model.op(
                "TensorArrayWriteV3", v["made"], v["i"],
                model.op("Square", model.op("TensorArrayReadV3", v["source"], v["i"], v["filled"])), v["flow"],
            ),
        },
    )  # fmt: skip
    size = model.op("TensorArraySizeV3", made, out["flow"])
    every = model.op("Range", np.array(0), size, np.array(1))
    model.output("y", model.op("TensorArrayGatherV3", made, every, out["flow"]))
    value = RNG.standard_normal((rows, 2)).astype(np.float32)
    np.testing.assert_allclose(ht.load(model.save(tmp_path), device="cpu")(value)["y"].numpy(), value**2, rtol=1e-5)


def test_a_loop_in_a_loop(tmp_path: Path) -> None:
    """Σ over i < 20 of Σ over j < i of x: the inner loop's limit changes with the outer."""
    model = GraphModel()
    x = model.input("x", ())

    def named(prefix: str, start: dict[str, str], constants: dict[str, str], test: Any, step: Any) -> dict[str, str]:
        inner = GraphModel()
        inner.nodes, inner.weights = [], model.weights
        renamed = frame_loop(
            inner, {k: f"@{v}" for k, v in start.items()}, {k: f"@{v}" for k, v in constants.items()}, test(inner), step(inner)
        )
        for item in inner.nodes:
            item["name"] = f"{prefix}{item['name']}"
            item["input"] = [i[1:] if i.startswith("@") else f"{prefix}{i}" for i in item["input"]]
        for entry, _ in inner.weights:
            if any(n["name"] == f"{prefix}{entry['name']}" for n in inner.nodes):
                entry["name"] = f"{prefix}{entry['name']}"
        model.nodes += inner.nodes
        return {k: f"{prefix}{v}" for k, v in renamed.items()}

    def step(v: dict[str, str]) -> dict[str, str]:
        out = named(
            "inner/", {"j": model.const("zero_j", np.array(0)), "total": v["total"]}, {"limit": v["i"], "x": v["x"]},
            lambda m: lambda w: m.op("Less", w["j"], w["limit"]),
            lambda m: lambda w: {"j": m.op("Add", w["j"], np.array(1)), "total": m.op("Add", w["total"], w["x"])},
        )  # fmt: skip
        return {"i": model.op("Add", v["i"], np.array(1)), "total": out["total"]}

    out = frame_loop(
        model, {"i": model.const("zero", np.array(0)), "total": model.const("nothing", np.float32(0))}, {"x": x},
        lambda v: model.op("Less", v["i"], np.array(20)), step,
    )  # fmt: skip
    model.output("y", out["total"])
    assert float(ht.load(model.save(tmp_path), device="cpu")(np.float32(0.5))["y"].numpy()) == 0.5 * 190


def conditional(model: GraphModel, predicate: str, x: str, prefix: str = "") -> str:
    """relu-like: x² if the predicate holds, else -1 (a constant tied to its branch by a control input)."""
    switch = model.op("Switch", x, predicate, name=f"{prefix}switch")
    pivot = model.op("Identity", model.op("Switch", predicate, predicate, name=f"{prefix}pivot"), name=f"{prefix}switch_f")
    model.const(f"{prefix}minus_one", np.float32(-1))
    model.nodes[-1]["input"] = [f"^{pivot}"]
    squared = model.op("Square", f"{switch}:1")
    return model.op("Merge", f"{prefix}minus_one", squared, name=f"{prefix}merge")


def test_a_conditional_of_switches_and_merges(tmp_path: Path) -> None:
    model = GraphModel()
    x = model.input("x", ())
    outer = conditional(model, model.op("Greater", x, np.float32(0)), x)
    model.output("y", model.op("Add", outer, np.float32(1)))
    model.output("index", f"{outer}:1", "int32")
    again = conditional(model, model.op("Greater", outer, np.float32(4)), outer, "second/")
    model.output("z", again)
    loaded = ht.load(model.save(tmp_path), device="cpu")
    for value, y, index, z in ((3.0, 10.0, 1, 81.0), (1.0, 2.0, 1, -1.0), (-2.0, 0.0, 0, -1.0)):
        got = {k: v.numpy().item() for k, v in loaded(np.float32(value)).items()}
        assert got == {"y": y, "index": index, "z": z}
    known = GraphModel()
    known.output("y", conditional(known, known.const("no", np.array(False)), known.input("x", ())))
    assert float(ht.load(known.save(tmp_path / "known"), device="cpu")(np.float32(3))["y"].numpy()) == -1


# -- control flow of TensorFlow 2 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["While", "StatelessWhile"])
@pytest.mark.parametrize("turns", [4, 50])
def test_while_with_a_list(op: str, turns: int, tmp_path: Path) -> None:
    """A loop whose limit and factor pass through it unchanged, and which fills a list of arrays of unknown shape."""
    model = GraphModel()
    x = model.input("x", (2,))
    model.functions += [
        function("test", ["n", "limit", "acc", "factor", "list"], [node("less", "Less", ["n", "limit"])], {"go": "less:z:0"}),
        function(
            "body", ["i", "most", "value", "by", "items"],
            [
                node("one", "Const", dtype=("type", "int32")), node("add", "AddV2", ["i", "one:output:0"]),
                node("mul", "Mul", ["value", "by"]), node("set", "TensorListSetItem", ["items", "i", "mul:z:0"]),
                node("same", "Identity", ["most"]),
            ],
            {"i": "add:z:0", "most": "same:output:0", "value": "mul:z:0", "by": "by", "items": "set:output_handle:0"},
        ),
    ]  # fmt: skip
    model.weights.append(({"name": "one", "shape": [], "dtype": "int32"}, np.int32(1).tobytes()))
    made = model.op("TensorListReserve", np.array(-1), np.array(turns), element_dtype=("type", "float32"))
    loop = model.op(
        op, np.array(0), np.array(turns), x, np.float32(1.01), made, name="loop", cond=("func", "test"), body=("func", "body")
    )
    model.output("last", f"{loop}:2")
    model.output("all", model.op("TensorListStack", f"{loop}:4", np.array([2]), element_dtype=("type", "float32")))
    value = RNG.standard_normal(2).astype(np.float32)
    got = ht.load(model.save(tmp_path), device="cpu")(value)
    want = value * np.float32(1.01) ** np.arange(1, turns + 1)[:, None]
    np.testing.assert_allclose(got["all"].numpy(), want, rtol=1e-4)
    np.testing.assert_allclose(got["last"].numpy(), want[-1], rtol=1e-4)


@pytest.mark.parametrize("op", ["If", "StatelessIf"])
def test_if_and_case_and_calls(op: str, tmp_path: Path) -> None:
    model = GraphModel()
    x = model.input("x", (3,))
    for name, what in (("a", "Square"), ("b", "Neg"), ("c", "Abs")):
        model.functions.append(function(name, ["v"], [node("y", what, ["v"])], {"out": "y:y:0"}))
    model.functions.append(
        function("nested", ["v"], [node("call", "PartitionedCall", ["v"], f=("func", "a"))], {"out": "call:output:0"})
    )
    mean = model.op("Mean", x, np.array([0]))
    positive = model.op("Greater", mean, np.float32(0))
    model.output("if", model.op(op, positive, x, then_branch=("func", "nested"), else_branch=("func", "b")))
    index = model.op("Cast", mean, DstT=("type", "int32"))
    model.output("case", model.op("Case", index, x, branches=[("func", n) for n in "abc"]))
    model.output("call", model.op("StatefulPartitionedCall", x, f=("func", "nested")))
    loaded = ht.load(model.save(tmp_path), device="cpu")
    for value in (np.float32([1, 2, -2.5]), np.float32([-1, -1, -2]), np.float32([1, 2, 2]), np.float32([5, 9, 9])):
        got = {k: v.numpy() for k, v in loaded(value).items()}
        np.testing.assert_allclose(got["if"], value**2 if value.mean() > 0 else -value, rtol=1e-6)
        at = int(value.mean())
        np.testing.assert_allclose(got["case"], [value**2, -value, np.abs(value)][at if at in (0, 1) else 2], rtol=1e-6)
        np.testing.assert_allclose(got["call"], value**2, rtol=1e-6)


def test_lists_of_arrays(tmp_path: Path) -> None:
    """Pushing, popping, splitting, joining and gathering, in straight code."""
    model = GraphModel()
    x = model.input("x", (3, 2))
    kind = {"element_dtype": ("type", "float32")}
    empty = model.op("EmptyTensorList", np.array([2]), np.array(-1), **kind)
    pushed = model.op(
        "TensorListPushBack",
        model.op("TensorListPushBack", empty, model.op("GatherV2", x, np.array(0), np.array(0))),
        model.op("GatherV2", x, np.array(2), np.array(0)),
    )
    popped = model.op("TensorListPopBack", pushed, np.array([2]), **kind)
    model.output("popped", f"{popped}:1")
    model.output("left", model.op("TensorListStack", popped, np.array([2]), **kind))
    whole = model.op("TensorListFromTensor", x, np.array([2]), **kind)
    model.output("item", model.op("TensorListGetItem", whole, np.array(1), np.array([2]), **kind))
    model.output("gathered", model.op("TensorListGather", whole, np.array([2, 0]), np.array([2]), **kind))
    model.output("length", model.op("TensorListLength", model.op("TensorListResize", whole, np.array(5))), "int32")
    parts = model.op("TensorListSplit", x, np.array([-1, 2]), np.array([1, 2]), **kind)
    model.output("joined", model.op("TensorListConcatV2", parts, np.array([-1, 2]), np.array([0]), **kind))
    model.output(
        "scattered",
        model.op(
            "TensorListStack",
            model.op("TensorListScatterV2", x, np.array([2, 0, 1]), np.array([2]), np.array(3), **kind),
            np.array([2]),
            **kind,
        ),
    )
    value = RNG.standard_normal((3, 2)).astype(np.float32)
    got = {k: v.numpy() for k, v in ht.load(model.save(tmp_path), device="cpu")(value).items()}
    want = {
        "popped": value[2], "left": value[:1], "item": value[1], "gathered": value[[2, 0]], "length": np.array(5),
        "joined": value, "scattered": value[[1, 2, 0]],
    }  # fmt: skip
    for name, expected in want.items():
        np.testing.assert_array_equal(got[name], expected, err_msg=name)


# -- tables --------------------------------------------------------------------------------------------------------------------


def test_a_table_that_an_initializer_fills(tmp_path: Path) -> None:
    model = GraphModel()
    table = model.op("HashTableV2", name="table", shared_name="t")
    x = model.input("x", (4,), "int32")
    model.output("y", model.op("LookupTableFindV2", table, x, np.array(-1)), "int32")
    model.output("size", model.op("LookupTableSizeV2", table), "int32")
    path = model.save(tmp_path)
    filling = GraphModel()
    handle = filling.op("HashTableV2", name="other", shared_name="t")
    keys, values = filling.const("keys", np.array([10, 20, 30])), filling.const("values", np.array([1, 2, 3]))
    filling.op("LookupTableImportV2", handle, keys, values)
    document = json.loads(path.read_text())
    document["modelInitializer"] = {"node": filling.nodes}
    document["weightsManifest"].append({"paths": ["init.bin"], "weights": [w for w, _ in filling.weights]})
    (tmp_path / "init.bin").write_bytes(filling.data())
    path.write_text(json.dumps(document))
    got = ht.load(path, device="cpu")(np.array([20, 7, 30, 10], np.int32))
    np.testing.assert_array_equal(got["y"].numpy(), [2, -1, 3, 1])
    assert int(got["size"].numpy()) == 3


def test_a_table_handed_over_by_resource(tmp_path: Path) -> None:
    model = GraphModel()
    model.nodes.append(node("handle", "Placeholder", dtype=("type", "DT_RESOURCE"), shape=("shape", ())))
    model.inputs["unknown"] = {"name": "handle:0", "dtype": "DT_RESOURCE", "tensorShape": {}, "resourceId": 7}
    x = model.input("x", (2,), "int32")
    model.output("y", model.op("LookupTableFindV2", "handle", x, np.float32(0.5)))
    path = model.save(tmp_path)
    filling = GraphModel()
    handle = filling.op("HashTableV2", name="table")
    filling.op("InitializeTableV2", handle, filling.const("keys", np.array([3])), filling.const("values", np.float32([1.5])))
    document = json.loads(path.read_text())
    document["modelInitializer"] = {"node": filling.nodes}
    document["initializerSignature"] = {"outputs": {"t": {"name": "table:0", "dtype": "DT_RESOURCE", "resourceId": 7}}}
    document["weightsManifest"].append({"paths": ["init.bin"], "weights": [w for w, _ in filling.weights]})
    (tmp_path / "init.bin").write_bytes(filling.data())
    path.write_text(json.dumps(document))
    loaded = ht.load(path, device="cpu")
    assert list(loaded.inputs) == ["x"]
    np.testing.assert_array_equal(loaded(np.array([3, 4], np.int32))["y"].numpy(), [1.5, 0.5])
