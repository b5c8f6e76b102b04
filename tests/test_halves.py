"""activations="float16": what kernels store for each other is half as large, and results are those of the rounded Graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.graph.core import Graph, evaluate
from hither.kernels.halves import store_halves, stored_halves
from hither.passes import optimize
from hither.passes.precision import Numbers
from hither.program import Program
from hither.program import program as program_module
from hither.program.compile import CompileError, graphs_of
from hither.program.program import Device, WebGpuSession
from hither.runtime.webgpu_device import webgpu_machine

from . import references as ref
from .wasm_session import in_node

ROOT = Path(__file__).resolve().parent.parent
DEVICES = ["cpu", pytest.param("wasm", marks=pytest.mark.node), pytest.param("webgpu", marks=pytest.mark.gpu)]
HALVES = Numbers(activations="float16")
Net = Callable[..., Any]


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def weight(*shape: int, seed: int = 1) -> np.ndarray:
    """Such that what is multiplied keeps its magnitude."""
    depth = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
    return normal(*shape, seed=seed, scale=depth**-0.5)


def compiled(net: Net, device: str, activations: str, *inputs: np.ndarray, **more: Any) -> Program:
    specs = {f"x{i}": ht.Spec(a.shape, a.dtype) for i, a in enumerate(inputs)}
    with in_node() if device == "wasm" else nullcontext():
        return ht.compile(lambda **given: net(*given.values()), specs, device=device, activations=activations, **more)


def run(program: Program, *inputs: np.ndarray) -> list[np.ndarray]:
    return [a.numpy() for a in program({f"x{i}": a for i, a in enumerate(inputs)}).values()]


def graph_of(net: Net, *inputs: np.ndarray) -> Graph:
    specs = {f"x{i}": ht.Spec(a.shape, a.dtype) for i, a in enumerate(inputs)}
    (graph,) = graphs_of(lambda **given: net(*given.values()), specs).values()
    return optimize(graph)


# -- every way in which halves are stored and read ------------------------------------------------------------------------


def convolutions(x: Any) -> Any:
    """Windows that pad, stride and dilate; too large for Winograd and not."""
    x = ht.maximum(ht.conv(x, weight(24, 3, 3, 3), padding=1), 0)
    x = ht.maximum(ht.conv(x, weight(24, 24, 3, 3, seed=2), padding=1), 0)
    x = ht.maximum(ht.conv(x, weight(20, 24, 3, 3, seed=3), strides=2, padding=1), 0)
    return ht.conv(x, weight(16, 20, 3, 3, seed=4), dilation=2)


def groups(x: Any) -> Any:
    """Depthwise, grouped, and few pixels to a line."""
    x = ht.maximum(ht.conv(x, weight(24, 3, 1, 1)), 0)
    x = ht.maximum(ht.conv(x, weight(24, 1, 3, 3, seed=2), padding=1, groups=24), 0)
    x = ht.conv(x, weight(16, 6, 3, 3, seed=3), groups=4, strides=4)
    return ht.conv(ht.tanh(x), weight(12, 16, 1, 1, seed=4)) + 1


def residuals(x: Any) -> Any:
    """A value that several read, in sums; pools; joined halves."""
    x = ht.maximum(ht.conv(x, weight(16, 3, 3, 3), padding=1), 0)
    y = ht.conv(ht.silu(ht.conv(x, weight(16, 16, 1, 1, seed=2))), weight(16, 16, 1, 1, seed=3)) + x
    small = ht.max_pool(y, 2)
    wide = ht.concat([ht.conv(small, weight(8, 16, 1, 1, seed=4)), small, ht.avg_pool(y, 2)], axis=1)
    return ht.mean(ht.conv(wide, weight(10, 40, 1, 1, seed=5)), axis=(2, 3))


def upwards(x: Any) -> Any:
    """Transposed convolutions, and elements that only move on their way."""
    x = ht.maximum(ht.conv(x, weight(12, 3, 3, 3), strides=2, padding=1), 0)
    x = ht.conv_transpose(x, weight(12, 6, 4, 4, seed=2), strides=2, padding=1)
    x = ht.flip(ht.maximum(x, 0), axis=3)[:, :, 1:, :-2]
    return ht.conv(x, weight(4, 6, 5, 5, seed=3))


def attention(x: Any) -> Any:
    """Products of what is computed, transposed and not, softmax and a norm between them."""
    q, k, v = (ht.permute_dims(ht.reshape(x @ weight(48, 48, seed=s), (20, 4, 12)), (1, 0, 2)) for s in (1, 2, 3))
    scores = ht.softmax(ht.matmul(q, ht.matrix_transpose(k)) / 12**0.5, axis=-1)
    x = ht.reshape(ht.permute_dims(ht.matmul(scores, v), (1, 0, 2)), (20, 48)) @ weight(48, 48, seed=4) + x
    mean = ht.mean(x, axis=-1, keepdims=True)
    x = (x - mean) / ht.sqrt(ht.mean((x - mean) ** 2, axis=-1, keepdims=True) + 1e-5)
    return ht.gelu(x @ weight(48, 96, seed=5)) @ weight(96, 48, seed=6) + x


def loops(x: Any) -> Any:
    """Bodies store halves too; what they carry does not become one."""

    def step(carried: Any, each: Any) -> tuple[Any, Any]:
        hidden = ht.tanh(each @ weight(32, 64) + carried @ weight(32, 64, seed=2))
        after = hidden @ weight(64, 32, seed=3)
        return after, after * 2

    last, every = ht.scan(step, ht.zeros((9, 32)), x)
    return last, every


NETS: dict[str, tuple[Net, np.ndarray]] = {
    "convolutions": (convolutions, normal(1, 3, 26, 30)),
    "groups": (groups, normal(2, 3, 12, 13)),
    "residuals": (residuals, normal(1, 3, 16, 18)),
    "upwards": (upwards, normal(1, 3, 14, 12)),
    "attention": (attention, normal(20, 48)),
    "loops": (loops, normal(4, 9, 32)),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NETS)
def test_results_are_those_of_the_rounded_graph(name: str, device: str) -> None:
    """Closer to what NumPy makes of the Graph with its roundings than those lie from float32: the same values are rounded. Not
    equal, for what lies between two halves may go either way, and what a target never stores is not rounded."""
    net, x = NETS[name]
    exact, rounded = (evaluate(g, x) for g in (graph_of(net, x), store_halves(graph_of(net, x), HALVES)))
    found = run(compiled(net, device, "float16", x), x)
    for plain, expected, got in zip(exact, rounded, found, strict=True):
        scale = np.abs(plain).max()
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=0, atol=3e-3 * scale)
        error = np.abs(got - plain).mean()
        assert 0 < error < 1e-3 * scale and np.abs(got - expected).mean() < 1.2 * error


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["groups", "residuals"])
def test_what_lies_between_kernels_takes_half_the_memory(name: str, device: str) -> None:
    net, x = NETS[name]
    sizes = {a: compiled(net, device, a, x).plan.code.sizes["arena"] for a in ("float32", "float16")}
    assert sizes["float16"] <= 0.62 * sizes["float32"]  # the input's padding stays, and places are of 256 bytes


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETS)
def test_adapters_without_halves_have_two_to_a_word(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where WebGPU has no float16 type: the same results, and half the memory where rows are of whole words."""
    machine = replace(webgpu_machine(), float16=False)
    monkeypatch.setitem(program_module.DEVICES, "webgpu", Device(lambda: machine, WebGpuSession))
    test_results_are_those_of_the_rounded_graph(name, "webgpu")
    if name in ("groups", "residuals"):
        net, x = NETS[name]
        sizes = {a: compiled(net, "webgpu", a, x).plan.code.sizes["arena"] for a in ("float32", "float16")}
        assert sizes["float16"] <= 0.62 * sizes["float32"]


def test_small_weights_and_halves_go_together() -> None:
    net, x = NETS["attention"]
    (exact,) = evaluate(graph_of(net, x), x)
    for precision, error in (("float16", 2e-3), ("int8", 2e-2), ("int4", 0.3)):
        program = compiled(net, "cpu", "float16", x, precision=precision)
        stored = {w.array.dtype.name for w in program.plan.weights if w.array.size >= 256}
        assert stored == {precision} or precision == "int4"
        assert np.abs(run(program, x)[0] - exact).max() <= error * np.abs(exact).max()


@pytest.mark.parametrize("device", [*DEVICES, pytest.param("webgpu in words", marks=pytest.mark.gpu)])
def test_a_cast_rounds_wherever_it_is_fused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and back within one kernel: every half, what lies half way to the next and beside that, and what is beyond them."""
    halves = np.arange(0x7C01, dtype=np.uint16).view(np.float16).astype(np.float32)  # 0 to infinity
    middles = (halves[:-2] + halves[1:-1]) / 2
    edges = np.array([65519.996, 65520, 65520.004, 1e9, np.nan, 2.0**-25, 3e-8], np.float32)
    x = np.concatenate([halves, middles, np.nextafter(middles, np.float32(9e9)), np.nextafter(middles, np.float32(0)), edges])
    x = np.concatenate([x, -x])
    if device == "webgpu in words":
        machine, device = replace(webgpu_machine(), float16=False), "webgpu"
        monkeypatch.setitem(program_module.DEVICES, "webgpu", Device(lambda: machine, WebGpuSession))
    program = compiled(lambda x: ht.astype(ht.astype(x * 0.5, "float16"), "float32") * 2, device, "float32", 2 * x)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(run(program, 2 * x)[0], x.astype(np.float16).astype(np.float32) * 2)


@pytest.mark.parametrize("device", [*DEVICES, pytest.param("webgpu in words", marks=pytest.mark.gpu)])
def test_infinities_stay_infinities(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask of minus infinity is stored as a half, in products of any kind; beyond float16's range there is nothing else."""
    x = normal(16, 32)
    mask = np.where(np.random.default_rng(1).random((16, 16)) < 0.3, -np.inf, 0).astype(np.float32)

    def net(x: Any) -> Any:
        scores = x @ ht.matrix_transpose(x) + mask
        return ht.softmax(scores, axis=-1) @ x, ht.softmax(ht.matrix_transpose(scores), axis=-1) @ x

    if device == "webgpu in words":
        machine, device = replace(webgpu_machine(), float16=False), "webgpu"
        monkeypatch.setitem(program_module.DEVICES, "webgpu", Device(lambda: machine, WebGpuSession))
    for found, expected in zip(run(compiled(net, device, "float16", x), x), evaluate(graph_of(net, x), x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("device", [*DEVICES, pytest.param("webgpu in words", marks=pytest.mark.gpu)])
def test_what_halves_do_not_reach_is_infinite(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `compile` says: 70000 is stored as infinity on every target, unless a tolerance is given, which random numbers try."""
    x, w = normal(16, 32), weight(32, 32, seed=2)
    loud = w * np.float32(1e5)

    def net(x: Any) -> Any:
        return ht.maximum(x @ loud, 0) @ np.abs(w) * 1e-5

    if device == "webgpu in words":
        machine, device = replace(webgpu_machine(), float16=False), "webgpu"
        monkeypatch.setitem(program_module.DEVICES, "webgpu", Device(lambda: machine, WebGpuSession))
    hidden = x.astype(np.float64) @ loud
    exact = np.maximum(hidden, 0) @ np.abs(w) * 1e-5
    (found,) = run(compiled(net, device, "float16", x), x)
    beyond = (hidden > 65520).any(-1)
    assert beyond.any() and np.isposinf(found[beyond]).all() and np.isfinite(found[~beyond]).all()
    (held,) = run(compiled(net, device, "float16", x, tolerance={"relative": 0.01}), x)
    assert np.abs(held - exact).max() <= 0.01 * np.abs(exact).max()


# -- what is never stored so ----------------------------------------------------------------------------------------------


def test_statistics_and_results_keep_float32() -> None:
    """Sums over axes and what is computed of them alone, outputs, whatever becomes an index, and what is only summed."""
    x, w = normal(512, 64), weight(64, 512)

    def net(x: Any) -> Any:
        h = x @ w
        mean = ht.mean(h, axis=1)  # 512 of them
        spread = ht.sqrt(ht.mean(h * h, axis=1) - mean * mean)
        best = ht.argmax(h * 2 @ weight(512, 300, seed=2), axis=1)
        return {"mean": mean / spread, "best": best, "y": (h - mean[:, None]) @ weight(512, 300, seed=3)}

    specs = {"x": ht.Spec(x.shape)}
    (graph,) = graphs_of(net, specs).values()
    graph = optimize(graph)
    producers = graph.producers()
    found = [producers[v] for v in stored_halves(graph)]
    assert all(v.shape in ((512, 512),) for n in found for v in n.results)
    program = ht.compile(net, specs, activations="float16")
    exact = dict(zip(graph.output_names, evaluate(graph, x), strict=True))
    results = program(x=x)
    assert results["mean"].numpy().dtype == np.float32
    assert np.mean(results["best"].numpy() == exact["best"]) >= 0.98


def test_state_keeps_float32() -> None:
    """What is added up from call to call is not rounded on its way."""
    w = weight(64, 64)

    def net(state: Any, x: Any) -> Any:
        total = state["total"] + ht.maximum(x @ w, 0) @ w
        return {"y": ht.mean(total)}, {"total": total}

    program = ht.compile(net, {"x": ht.Spec((8, 64))}, state={"total": np.zeros((8, 64), np.float32)}, activations="float16")
    x, total = normal(8, 64), np.zeros((8, 64))
    for _ in range(50):
        program(x=x)
        total += np.maximum(x @ w, 0) @ w
    found = program.state["total"].numpy()
    assert found.dtype == np.float32 and np.abs(found - total).max() <= 1e-3 * np.abs(total).max()


def test_a_network_trains_with_halves_between_its_kernels() -> None:
    """Gradients through convolutions and pools: the pool's looks for the element that was the largest, in the same digits."""
    x, y = normal(8, 1, 12, 12), np.arange(8) % 4

    def loss(weights: Any, x: Any) -> Any:
        h = ht.max_pool(ht.maximum(ht.conv(x, weights[0], padding=1), 0), 2)
        scores = ht.reshape(h, (8, -1)) @ weights[1]
        return -ht.mean(ht.log(ht.sum(ht.softmax(scores, axis=-1) * np.eye(4, dtype=np.float32)[y], axis=-1)))

    def step(state: Any, x: Any) -> Any:
        value, (first, second) = ht.value_and_grad(loss)((state["first"], state["second"]), x)
        return {"loss": value}, {"first": state["first"] - 0.3 * first, "second": state["second"] - 0.3 * second}

    state = {"first": weight(8, 1, 3, 3), "second": weight(288, 4)}
    losses = {}
    for activations in ("float32", "float16"):
        program = ht.compile(step, {"x": ht.Spec(x.shape)}, state=state, activations=activations)
        losses[activations] = [float(program(x=x)["loss"]) for _ in range(20)]
    np.testing.assert_allclose(losses["float16"], losses["float32"], rtol=2e-2, atol=2e-3)
    assert losses["float16"][-1] < 0.5 * losses["float16"][0]


def test_activations_that_there_are_not() -> None:
    with pytest.raises(CompileError, match="there are float32, float16, int8"):
        ht.compile(lambda x: x * 2, {"x": ht.Spec((3,))}, activations="bfloat16")


def test_a_convolution_of_halves_is_what_it_should_be() -> None:
    """Against a reference of its own, not the Graph's: rounded inputs, exact sums."""
    first, second = weight(32, 8, 3, 3), weight(16, 32, 3, 3, seed=2)
    x = normal(1, 8, 10, 11)
    program = compiled(lambda x: ht.conv(ht.conv(x, first), second, strides=2), "cpu", "float16", x)
    between = ref.conv(x, first).astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(run(program, x)[0], ref.conv(between, second, 2), rtol=0, atol=3e-4)
