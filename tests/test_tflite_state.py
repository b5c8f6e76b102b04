"""What survives calls: variables of TensorFlow Lite files, in models, programs, bundles and programs from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hither as ht
from hither.errors import InvalidModel, NameMismatch, UnsupportedFeature
from hither.formats.tflite import load_bytes

from .test_tflite import agree, floats
from .tflite_build import File


def accumulator(initial: float = 1.0) -> bytes:
    """total = total + x on every call, in a resource variable that a subgraph initialises; gives the old and the new total."""
    file = File()
    main, start = file.graph(), file.graph("NoOp")
    x, handle = main.tensor((2,), name="x"), main.tensor((), "resource")
    old, new = main.tensor((2,), name="old"), main.tensor((2,), name="new")
    main.operator("CALL_ONCE", [], [], "CallOnceOptions", InitSubgraphIndex=1)
    main.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", SharedName="total")
    main.operator("READ_VARIABLE", [handle], [old])
    main.operator("ADD", [old, x], [new], "AddOptions")
    main.operator("ASSIGN_VARIABLE", [handle, new], [])
    main.inputs, main.outputs = [x], [old, new]
    own, value = start.tensor((), "resource"), start.constant(np.full(2, initial, np.float32))
    start.operator("VAR_HANDLE", [], [own], "VarHandleOptions", SharedName="total")
    start.operator("ASSIGN_VARIABLE", [own, value], [])
    return file.finish()


STEPS = [{"x": np.array([i, -i], np.float32)} for i in range(1, 5)]


@pytest.mark.parametrize("device", ["numpy", "cpu", "wasm"])
def test_variables_survive_calls(device: str) -> None:
    if device == "wasm":
        pytest.importorskip("wasmtime")
    agree(accumulator(), STEPS, device)


@pytest.mark.gpu
def test_variables_survive_calls_on_the_gpu(adapter: str) -> None:
    agree(accumulator(), STEPS, "webgpu")


def test_reset_and_reading_the_state() -> None:
    model = load_bytes(accumulator(), device="cpu")
    assert model.state["total"].tolist() == [1, 1]
    model(np.array([2, 3], np.float32))
    assert model.state["total"].tolist() == [3, 4]
    elsewhere = model.to("numpy")  # has a state of its own
    assert elsewhere(np.zeros(2, np.float32))["new"].tolist() == [1, 1]
    model.reset()
    assert model(np.zeros(2, np.float32))["old"].tolist() == [1, 1]


def test_one_state_for_all_shapes() -> None:
    """Programs for different shapes are different, but it is one model with one state."""
    file = File()
    main, start = file.graph(), file.graph("start")
    x, handle = main.tensor((1, 2), name="x", free=(-1, 2)), main.tensor((), "resource")
    old, part, new = main.tensor((2,)), main.tensor((2,)), main.tensor((2,), name="new")
    main.operator("CALL_ONCE", [], [], "CallOnceOptions", InitSubgraphIndex=1)
    main.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", SharedName="total")
    main.operator("READ_VARIABLE", [handle], [old])
    main.operator("SUM", [x, main.constant(np.array([0], np.int32))], [part], "ReducerOptions")
    main.operator("ADD", [old, part], [new], "AddOptions")
    main.operator("ASSIGN_VARIABLE", [handle, new], [])
    main.inputs, main.outputs = [x], [new]
    own = start.tensor((), "resource")
    start.operator("VAR_HANDLE", [], [own], "VarHandleOptions", SharedName="total")
    start.operator("ASSIGN_VARIABLE", [own, start.constant(np.zeros(2, np.float32))], [])
    model = load_bytes(file.finish(), device="cpu")
    assert model(np.ones((1, 2), np.float32))["new"].tolist() == [1, 1]
    assert model(np.ones((3, 2), np.float32))["new"].tolist() == [4, 4]
    assert model(np.ones((1, 2), np.float32))["new"].tolist() == [5, 5]


def test_a_compiled_program_keeps_state_of_its_own() -> None:
    program = ht.compile(load_bytes(accumulator()), device="cpu")
    assert program.memory()["state"] > 0
    program(np.array([2, 3], np.float32))
    other = program.fork()
    assert (program.state["total"].tolist(), other.state["total"].tolist()) == ([3, 4], [1, 1])
    other.load_state(program.state)
    assert other(np.array([1, 1], np.float32))["new"].tolist() == [4, 5]
    program.reset()
    assert program.state["total"].tolist() == [1, 1]
    with pytest.raises(NameMismatch, match="total"):
        program.load_state({"sum": np.zeros(2, np.float32)})


def test_a_bundle_keeps_state(tmp_path: Path) -> None:
    pytest.importorskip("wasmtime")
    manifest = ht.bundle(load_bytes(accumulator()), tmp_path / "bundle", targets=("wasm",))
    assert manifest["variants"][0]["entries"]["predict"]["updates_state"]
    model = ht.load(tmp_path / "bundle")
    totals = [model(feeds)["new"].tolist() for feeds in STEPS]
    assert totals == [[2, 0], [4, -2], [7, -5], [11, -9]]
    assert model.state["total"].tolist() == [11, -9]
    model.reset()
    assert model(STEPS[0])["new"].tolist() == [2, 0]


def test_a_stateful_program_comes_back_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HITHER_CACHE", "on")
    monkeypatch.setenv("HITHER_CACHE_DIR", str(tmp_path))
    data = accumulator(7.0)
    for _ in range(2):  # compiled, then read
        program = ht.compile(load_bytes(data), device="cpu")
        assert program(np.array([1, 2], np.float32))["old"].tolist() == [7, 7]
        assert program(np.array([1, 2], np.float32))["old"].tolist() == [8, 9]


def swap() -> bytes:
    """Two variables that exchange their values on every call."""
    file = File()
    main, start = file.graph(), file.graph("start")
    x = main.tensor((1,), name="x")
    handles, values = [], []
    main.operator("CALL_ONCE", [], [], "CallOnceOptions", InitSubgraphIndex=1)
    for i, name in enumerate("ab"):
        handles.append(main.tensor((), "resource"))
        values.append(main.tensor((1,), name=name))
        main.operator("VAR_HANDLE", [], [handles[i]], "VarHandleOptions", SharedName=name.upper())
        main.operator("READ_VARIABLE", [handles[i]], [values[i]])
        own = start.tensor((), "resource")
        start.operator("VAR_HANDLE", [], [own], "VarHandleOptions", SharedName=name.upper())
        start.operator("ASSIGN_VARIABLE", [own, start.constant(np.array([i + 1], np.float32))], [])
    for handle, value in zip(handles, reversed(values)):
        main.operator("ASSIGN_VARIABLE", [handle, value], [])
    total = main.tensor((1,), name="y")
    main.operator("ADD", [x, values[0]], [total], "AddOptions")
    main.inputs, main.outputs = [x], [*values, total]
    return file.finish()


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_values_that_change_places_do_not_overwrite_each_other(device: str) -> None:
    model = load_bytes(swap(), device=device)
    found = [[float(v.numpy()[0]) for v in model(np.zeros(1, np.float32)).values()] for _ in range(3)]
    assert found == [[1, 2, 1], [2, 1, 2], [1, 2, 1]]


def test_reading_what_nothing_assigned_is_an_error() -> None:
    file = File()
    graph = file.graph()
    x, handle = graph.tensor((2,), name="x"), graph.tensor((), "resource")
    old, y = graph.tensor((2,)), graph.tensor((2,))
    graph.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", SharedName="total")
    graph.operator("READ_VARIABLE", [handle], [old])
    graph.operator("ADD", [x, old], [y], "AddOptions")
    graph.inputs, graph.outputs = [x], [y]
    with pytest.raises(InvalidModel, match="'total' is read before"):
        load_bytes(file.finish(), device="numpy")(floats(2))


def test_a_stateful_model_is_not_part_of_a_traced_function() -> None:
    model = load_bytes(accumulator())
    with pytest.raises(UnsupportedFeature, match="keeps state"):
        ht.compile(lambda x: model(x)["new"], {"x": ht.Spec((2,), "float32")}, device="cpu")


def conditional() -> bytes:
    """count = count + 1 in one branch of an IF, unchanged in the other; gives the count."""
    file = File()
    main, yes, no, start = (file.graph(n) for n in ("main", "yes", "no", "start"))
    flag, y, handle = main.tensor((), "bool", name="flag"), main.tensor((1,)), main.tensor((), "resource")
    main.operator("CALL_ONCE", [], [], "CallOnceOptions", InitSubgraphIndex=3)
    main.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", SharedName="count")
    main.operator("IF", [flag], [y], "IfOptions", ThenSubgraphIndex=1, ElseSubgraphIndex=2)
    now = main.tensor((1,), name="count")
    main.operator("READ_VARIABLE", [handle], [now])
    main.inputs, main.outputs = [flag], [now]
    own, old, new = yes.tensor((), "resource"), yes.tensor((1,)), yes.tensor((1,))
    yes.operator("VAR_HANDLE", [], [own], "VarHandleOptions", SharedName="count")
    yes.operator("READ_VARIABLE", [own], [old])
    yes.operator("ADD", [old, yes.constant(np.ones(1, np.float32))], [new], "AddOptions")
    yes.operator("ASSIGN_VARIABLE", [own, new], [])
    yes.outputs = [new]
    no.outputs = [no.constant(np.zeros(1, np.float32))]
    own = start.tensor((), "resource")
    start.operator("VAR_HANDLE", [], [own], "VarHandleOptions", SharedName="count")
    start.operator("ASSIGN_VARIABLE", [own, start.constant(np.zeros(1, np.float32))], [])
    return file.finish()


@pytest.mark.parametrize("device", ["numpy", "cpu"])
def test_a_branch_changes_a_variable_only_when_it_is_taken(device: str) -> None:
    model = load_bytes(conditional(), device=device)
    counts = [float(model(flag=np.array(f))["count"].numpy()[0]) for f in (True, False, True, True)]
    assert counts == [1, 1, 2, 3]
