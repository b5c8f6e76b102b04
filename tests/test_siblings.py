"""Siblings and results in place: fewer kernels and copies, and the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.kernels.steps import Copy, Launch
from hither.program import Program


def steps(program: Program, entry: str) -> tuple[int, int]:
    """(launches, copies) of an entry."""
    made = program.plan.code.entries[entry]
    return sum(isinstance(s, Launch) for s in made), sum(isinstance(s, Copy) for s in made)


def adam(state: dict[str, Any], g: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    w, m, v = state["w"], state["m"], state["v"]
    m = m + (g - m) * 0.1
    v = v + (g * g - v) * 0.001
    return {"size": ht.sum(ht.abs(g))}, {"w": w - 0.01 * m / (ht.sqrt(v) + 1e-7), "m": m, "v": v}


@pytest.mark.parametrize("device", ["cpu", pytest.param("wasm", marks=pytest.mark.slow)])
def test_an_update_is_one_kernel_that_works_in_place(device: str) -> None:
    """Weights and both moments are read and written once: no room in the arena, no copies when the step is done."""
    rng = np.random.default_rng(0)
    state = {name: rng.uniform(0.1, 1, (6, 37)).astype(np.float32) for name in "wmv"}
    program = ht.compile({"step": adam}, {"g": ht.Spec((6, 37), "float32")}, device=device, state=state)
    assert steps(program, "step") == (2, 0)  # the update, and the sum
    assert program.plan.code.sizes["arena"] == 0
    w, m, v = (state[name].astype(np.float64) for name in "wmv")
    for _ in range(3):
        g = rng.normal(size=(6, 37)).astype(np.float32)
        found = program.run("step", g=g)
        np.testing.assert_allclose(found["size"].numpy(), np.abs(g).sum(), rtol=1e-5)
        m, v = m + (g - m) * 0.1, v + (g.astype(np.float64) ** 2 - v) * 0.001
        w = w - 0.01 * m / (np.sqrt(v) + 1e-7)
        for name, expected in (("w", w), ("m", m), ("v", v)):
            np.testing.assert_allclose(program.state[name].numpy(), expected, rtol=1e-5, atol=1e-6)


def exchange(state: dict[str, Any], x: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values that others still read, or that are read elsewhere than they are written."""
    a, b, c, d = (state[name] for name in "abcd")
    after = {"a": b * 2 + x, "b": a - x, "c": c[::-1] + x, "d": ht.reshape(ht.reshape(d, (4, 5)) + 1, (20,))}
    return {"y": a + ht.sum(d)}, after


@pytest.mark.parametrize("device", ["cpu", pytest.param("wasm", marks=pytest.mark.slow)])
def test_what_is_still_read_is_not_replaced(device: str) -> None:
    state = {name: np.arange(20, dtype=np.float32) * (i + 1) for i, name in enumerate("abcd")}
    program = ht.compile({"step": exchange}, {"x": ht.Spec((20,), "float32")}, device=device, state=state)
    a, b, c, d = (state[name].copy() for name in "abcd")
    x = np.linspace(-1, 1, 20).astype(np.float32)
    for _ in range(3):
        y = program.run("step", x=x)["y"].numpy()
        np.testing.assert_allclose(y, a + d.sum(), rtol=1e-6)
        a, b, c, d = b * 2 + x, a - x, c[::-1] + x, d + 1
        for name, expected in zip("abcd", (a, b, c, d), strict=True):
            np.testing.assert_allclose(program.state[name].numpy(), expected, rtol=1e-5, atol=1e-5)


def norms(x: Any, g: Any) -> list[Any]:
    """Sums over the same rows of two arrays, one finished; and a result that the next kernel needs before it is whole."""
    total, product = ht.sum(x, axis=(0, 1)), ht.sum(x * g, axis=(0, 1))
    return [total, product / 7, ht.max(g, axis=(0, 1)), x * 2 - g, (x - g) * total, ht.sum(x - total, axis=(0, 1))]


@pytest.mark.parametrize("device", ["cpu", pytest.param("wasm", marks=pytest.mark.slow)])
def test_sums_over_the_same_pixels(device: str) -> None:
    """Reductions that read an array together read it once; what depends on one of them waits for it."""
    rng = np.random.default_rng(1)
    x, g = (rng.normal(size=(9, 7, 22)).astype(np.float32) for _ in range(2))
    total = x.sum((0, 1), dtype=np.float64)
    expected = [
        total, (x * g).sum((0, 1), dtype=np.float64) / 7, g.max((0, 1)), x * 2 - g, (x - g) * total, (x - total).sum((0, 1)),
    ]  # fmt: skip
    program = ht.compile(norms, {"x": ht.Spec(x.shape, "float32"), "g": ht.Spec(g.shape, "float32")}, device=device)
    for found, wanted in zip(program(x=x, g=g).values(), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-4)
    assert steps(program, "predict")[0] <= 4  # three reductions together, two maps, one reduction of its own


def counts(state: dict[str, Any], y: Any, p: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a metric counts of a batch, as two sums over its rows."""
    wrong, missed = state["wrong"] + ht.sum((1 - y) * p, axis=0), state["missed"] + ht.sum(y * (1 - p), axis=0)
    return {"all": wrong + missed}, {"wrong": wrong, "missed": missed}


@pytest.mark.parametrize("device", ["cpu", "wasm"])
@pytest.mark.parametrize("rows", [1, 3])
def test_sums_over_one_row_are_all_stored(device: str, rows: int) -> None:
    """Rows of one element might as well be columns: whichever they are taken for, all siblings are stored."""
    y, p = (np.random.default_rng(i).uniform(size=(rows, 5)).astype(np.float32) for i in range(2))
    state = {name: np.zeros(5, np.float32) for name in ("wrong", "missed")}
    program = ht.compile({"step": counts}, {"y": ht.Spec(y.shape), "p": ht.Spec(p.shape)}, device=device, state=state)
    for turn in (1, 2):
        found = program.run("step", y=y, p=p)["all"].numpy()
        wrong, missed = turn * ((1 - y) * p).sum(0), turn * (y * (1 - p)).sum(0)
        np.testing.assert_allclose(found, wrong + missed, rtol=1e-6)
        np.testing.assert_allclose(program.state["wrong"].numpy(), wrong, rtol=1e-6)
        np.testing.assert_allclose(program.state["missed"].numpy(), missed, rtol=1e-6)
