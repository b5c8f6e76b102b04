"""State of compiled functions: nested arrays that entries share, by path, on every device and in bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.errors import NameMismatch, ShapeMismatch
from hither.program.compile import CompileError

from .bundles import in_node

SPECS = {
    "predict": {"x": ht.Spec((4, 3), "float32")},
    "train_step": {"x": ht.Spec((4, 3), "float32"), "y": ht.Spec((4, 2), "float32")},
}


def first() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "dense": {"kernel": rng.normal(size=(3, 2)).astype(np.float32), "bias": np.zeros(2, np.float32)},
        "steps": [np.array(0, np.int32), ht.asarray([1.0])],
    }


def predict(state: Any, x: Any) -> dict[str, Any]:
    return {"y": x @ state["dense"]["kernel"] + state["dense"]["bias"]}


def train_step(state: Any, x: Any, y: Any) -> Any:
    def loss(dense: Any) -> Any:
        return ht.mean((predict({"dense": dense}, x)["y"] - y) ** 2)

    value, gradients = ht.value_and_grad(loss)(state["dense"])
    dense = {k: state["dense"][k] - 0.1 * gradients[k] for k in ("bias", "kernel")}  # another order is the same structure
    return {"loss": value}, {"steps": [state["steps"][0] + 1, state["steps"][1]], "dense": dense}


ENTRIES = {"predict": predict, "train_step": train_step}


def by_hand(steps: int, x: np.ndarray, y: np.ndarray) -> tuple[list[float], np.ndarray, np.ndarray]:
    w, b = first()["dense"]["kernel"].astype(np.float64), np.zeros(2)
    losses = []
    for _ in range(steps):
        e = x @ w + b - y
        losses.append(float((e * e).mean()))
        w, b = w - 0.1 * 2 * x.T @ e / e.size, b - 0.1 * 2 * e.sum(0) / e.size
    return losses, w, b


def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)


def check(device: str) -> None:
    x, y = arrays()
    losses, w, b = by_hand(3, x, y)
    program = ht.compile(ENTRIES, SPECS, device=device, state=first())
    assert [program.entries[e].updates_state for e in ENTRIES] == [False, True]
    got = [float(program.run("train_step", x=x, y=y)["loss"]) for _ in range(3)]
    np.testing.assert_allclose(got, losses, rtol=1e-5)
    state = program.state
    assert list(state) == ["dense.kernel", "dense.bias", "steps.0", "steps.1"]
    assert int(state["steps.0"]) == 3
    np.testing.assert_allclose(state["dense.kernel"].numpy(), w, atol=1e-6)
    np.testing.assert_allclose(program(x=x)["y"].numpy(), x @ w + b, atol=1e-5)
    other = program.fork()
    assert int(other.state["steps.0"]) == 0
    other.load_state(state)
    np.testing.assert_array_equal(other(x=x)["y"].numpy(), program(x=x)["y"].numpy())
    program.reset()
    np.testing.assert_allclose(float(program.run("train_step", x=x, y=y)["loss"]), losses[0], rtol=1e-5)


def test_state_on_the_cpu() -> None:
    """A training step's losses and weights are those computed by hand, and the other entry sees them."""
    check("cpu")


def test_state_in_wasm() -> None:
    pytest.importorskip("wasmtime")
    check("wasm")


@pytest.mark.gpu
def test_state_on_the_gpu(adapter: str) -> None:
    check("webgpu")


def shared(device: str) -> None:
    x, y = arrays()
    whole = ht.compile(ENTRIES, SPECS, device=device, state=first())
    half = ht.compile(train_step, {"x": ht.Spec((2, 3)), "y": ht.Spec((2, 2))}, device=device, state=first())
    whole.run("train_step", x=x, y=y)
    assert half.share_state(whole)
    half(x=x[:2], y=y[:2])
    assert int(whole.state["steps.0"]) == 2 == int(half.state["steps.0"])
    np.testing.assert_array_equal(whole.state["dense.kernel"].numpy(), half.state["dense.kernel"].numpy())


def test_programs_share_a_state_on_the_cpu() -> None:
    shared("cpu")


@pytest.mark.gpu
def test_programs_share_a_state_on_the_gpu(adapter: str) -> None:
    shared("webgpu")


def test_states_that_differ_are_not_shared() -> None:
    program = ht.compile(ENTRIES, SPECS, device="cpu", state=first())
    other = first()
    other["dense"]["bias"] = np.zeros(3, np.float32)
    wider = ht.compile(lambda state, x: state["dense"]["bias"], {"x": ht.Spec((1,))}, device="cpu", state=other)
    with pytest.raises(ShapeMismatch, match=r"'dense\.bias'"):
        wider.share_state(program)
    less = ht.compile(lambda state, x: x, {"x": ht.Spec((1,))}, device="cpu", state={"more": np.zeros(1)})
    with pytest.raises(NameMismatch, match="'more'"):
        less.share_state(program)


def test_bundles_keep_the_state(tmp_path: Path) -> None:
    """A bundle read back trains as the program does; its manifest says which entry changes the state."""
    pytest.importorskip("wasmtime")
    x, y = arrays()
    manifest = ht.bundle(ENTRIES, tmp_path / "b", SPECS, targets=("wasm",), state=first())
    entries = manifest["variants"][0]["entries"]
    assert {e: entries[e]["updates_state"] for e in ENTRIES} == {"predict": False, "train_step": True}
    model = ht.load(tmp_path / "b")
    train = model.entry("train_step")
    losses, w, b = by_hand(3, x, y)
    np.testing.assert_allclose([float(train(x=x, y=y)["loss"]) for _ in range(3)], losses, rtol=1e-5)
    np.testing.assert_allclose(model(x=x)["y"].numpy(), x @ w + b, atol=1e-5)
    assert list(model.state) == ["dense.kernel", "dense.bias", "steps.0", "steps.1"]


def test_the_loader_trains_saves_and_restores(node: str, tmp_path: Path) -> None:
    """In JavaScript: steps change what the other entry computes, and a kept state comes back by its names."""
    x, y = arrays()
    ht.bundle(ENTRIES, tmp_path / "b", SPECS, targets=("wasm",), state=first())
    body = """
        const program = await load(folder, { device: "wasm" });
        const step = async () => (await program.run("train_step", { x, y })).loss.data[0];
        const losses = [await step(), await step()];
        await program.save(kept);
        losses.push(await step());
        const after = (await program.run({ x })).y.data;
        await program.restore(kept);
        losses.push(await step());
        return { losses, after };
    """
    made = in_node(node, tmp_path / "b", body, x=x.ravel().tolist(), y=y.ravel().tolist(), kept=str(tmp_path / "two"))
    assert "value" in made, made
    losses, w, b = by_hand(3, x, y)
    np.testing.assert_allclose(made["value"]["losses"], [*losses, losses[2]], rtol=1e-5)
    np.testing.assert_allclose(np.reshape(made["value"]["after"], (4, 2)), x @ w + b, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "state", "message"),
    [
        (lambda s, x: (x, {"a": s["a"], "b": x}), {"a": np.zeros(2)}, "'b' is new"),
        (lambda s, x: (x, {}), {"a": np.zeros(2)}, "'a' is missing"),
        (lambda s, x: (x, {"a": s["a"][:1]}), {"a": np.zeros(2, np.float32)}, r"'a' is float32\[2\] and becomes float32\[1\]"),
        (lambda s, x: (x, {"a": s["a"].astype("int32")}), {"a": np.zeros(2, np.float32)}, r"becomes int32\[2\]"),
        (lambda s, x: x, {"x": np.zeros(2)}, "the input 'x' has the name of a part of the state"),
        (lambda s, x: {"a": x}, {"a": np.zeros(2)}, "the output 'a' has the name of a part of the state"),
        (lambda s, x: x, {"a.b": np.zeros(2), "a": {"b": np.zeros(2)}}, "have the path 'a.b'"),
        (lambda s, x: x, {"a": "text"}, "the state 'a' is a str"),
        (lambda s, x: x, np.zeros(2), "a dict or list of arrays"),
    ],
)
def test_errors_name_the_part(function: Any, state: Any, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        ht.compile(function, {"x": ht.Spec((3,), "float32")}, device="cpu", state=state)
    with pytest.raises(CompileError, match="state= is for functions"):
        ht.compile(ht.nn.Sequential([ht.nn.Input((2,)), ht.nn.Dense(1)]), {"x": ht.Spec((1, 2))}, state={"a": np.zeros(1)})


def test_a_value_that_is_state_and_output_is_both() -> None:
    def count(state: Any, x: Any) -> Any:
        total = state["total"] + x
        return {"sum": total, "twice": total * 2}, {"total": total}

    program = ht.compile(count, {"x": ht.Spec((3,), "float32")}, state={"total": np.zeros(3, np.float32)})
    x = np.array([1, 2, 3], np.float32)
    for times in (1, 2, 3):
        found = program(x)
        np.testing.assert_array_equal(found["sum"].numpy(), times * x)
        np.testing.assert_array_equal(found["twice"].numpy(), 2 * times * x)
        np.testing.assert_array_equal(program.state["total"].numpy(), times * x)
