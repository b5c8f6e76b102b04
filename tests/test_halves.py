"""activations="float16": what kernels store for each other is half as large, results stay right, and what would not is found.

The traps are networks that, all in float16, give finite and wrong numbers (as in onnxruntime#31626): a norm whose squares
overflow. NumPy in float16 shows that they do.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from onnx import helper
from typer.testing import CliRunner

import hither as ht
from hither.cli import application
from hither.formats.onnx import load_bytes
from hither.graph.core import Graph, evaluate
from hither.kernels.halves import store_halves, stored_halves
from hither.model import Model
from hither.passes import optimize
from hither.passes.precision import Numbers, PrecisionWarning
from hither.program import Program
from hither.program import program as program_module
from hither.program.compile import CompileError, graphs_of
from hither.program.program import Device, WebGpuSession
from hither.runtime.webgpu_device import webgpu_machine

from . import references as ref
from .browser import serving
from .onnx_build import build, info
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


# -- traps ----------------------------------------------------------------------------------------------------------------

FEATURES = 64
IN, OUT = weight(FEATURES, FEATURES, seed=7), weight(FEATURES, 16, seed=8)
GAIN = 1 + normal(FEATURES, seed=9, scale=0.1)
LOUD = [normal(8, FEATURES, seed=s, scale=500) for s in range(3)]  # hundreds, squares of which float16 does not hold
TOLERANCE = 0.01


def norm_net(mean_of_squares: str) -> Model:
    return load_bytes(norm_file(mean_of_squares))


def norm_file(mean_of_squares: str) -> bytes:
    """A product, LayerNorm written out, a product; the mean of squares is a ReduceMean, a MatMul or a Conv."""
    node = helper.make_node
    middle = {
        "ReduceMean": [node("ReduceMean", ["squares"], ["variance"], "variance", axes=[-1])],
        "MatMul": [node("MatMul", ["squares", "share"], ["variance"], "variance")],
        "Conv": [
            node("Reshape", ["squares", "as_line"], ["line"], "line"),
            node("Conv", ["line", "window"], ["summed"], "sum"),
            node("Reshape", ["summed", "as_column"], ["variance"], "variance"),
        ],
    }[mean_of_squares]
    nodes = [
        node("MatMul", ["x", "in"], ["h"], "project"),
        node("ReduceMean", ["h"], ["mean"], "mean", axes=[-1]),
        node("Sub", ["h", "mean"], ["centred"], "centre"),
        node("Pow", ["centred", "two"], ["squares"], "square"),
        *middle,
        node("Add", ["variance", "epsilon"], ["positive"], "add_epsilon"),
        node("Sqrt", ["positive"], ["deviation"], "deviation"),
        node("Div", ["centred", "deviation"], ["normed"], "normalise"),
        node("Mul", ["normed", "gain"], ["scaled"], "scale"),
        node("Add", ["scaled", "gain"], ["shifted"], "shift"),
        node("MatMul", ["shifted", "out"], ["y"], "classify"),
    ]
    constants = {
        "in": IN, "out": OUT, "gain": GAIN, "two": np.float32(2), "epsilon": np.float32(1e-5),
        "share": np.full((FEATURES, 1), 1 / FEATURES, np.float32), "as_line": np.array([8, 1, FEATURES]),
        "as_column": np.array([8, 1]), "window": np.full((1, 1, FEATURES), 1 / FEATURES, np.float32),
    }  # fmt: skip
    return build(nodes, [info("x", np.float32, (8, FEATURES))], ["y"], constants)


def norm(x: np.ndarray, dtype: Any) -> np.ndarray:
    """The same in one dtype throughout, every step rounded to it."""
    with np.errstate(over="ignore"):
        h = x.astype(dtype) @ IN.astype(dtype)
        centred = h - h.mean(-1, keepdims=True, dtype=dtype)
        variance = (centred * centred).mean(-1, keepdims=True, dtype=dtype)
        normed = centred / np.sqrt(variance + dtype(1e-5))
        return (normed * GAIN.astype(dtype) + GAIN.astype(dtype)) @ OUT.astype(dtype)


def error(found: Any, x: np.ndarray) -> float:
    exact = norm(x, np.float64)
    return float(np.abs(np.asarray(found, np.float64) - exact).max() / np.abs(exact).max())


def test_the_trap_is_one() -> None:
    """All in float16, the squares are infinite and what is divided by them is nothing: numbers that look like numbers."""
    for x in LOUD:
        wrong = norm(x, np.float16)
        assert np.isfinite(wrong).all() and error(wrong, x) > 0.3


@pytest.mark.parametrize("device", DEVICES)
def test_a_norm_that_is_written_out_is_right_by_itself(device: str) -> None:
    with in_node() if device == "wasm" else nullcontext():
        program = ht.compile(norm_net("ReduceMean"), device=device, precision="float16", activations="float16")
    assert max(error(program(x=x)["y"].numpy(), x) for x in LOUD) < 3e-3


@pytest.mark.parametrize("way", ["MatMul", "Conv"])
def test_the_guard_finds_what_overflows(way: str) -> None:
    """Squares that a product or convolution adds up look like any result: as halves they overflow. The guard, which compares
    with float32 and does not ask whether numbers are finite, keeps those, names their operator, and nothing else."""
    model = norm_net(way)
    free = ht.compile(model, precision="float16", activations="float16")
    wrong = free(x=LOUD[0])["y"].numpy()
    assert np.isfinite(wrong).all() and error(wrong, LOUD[0]) > 0.3
    held = ht.compile(model, precision="float16", activations="float16", calibrate=LOUD, tolerance={"relative": TOLERANCE})
    report = held.accuracy
    assert report is not None
    assert [(kept.kind, kept.shape) for kept in report.kept] == [("result", (8, FEATURES))]
    assert "square" in report.kept[0].name and f"the result of {report.kept[0].name}" in str(report)
    assert max(error(held(x=x)["y"].numpy(), x) for x in LOUD) <= TOLERANCE
    assert report.everything["y"].relative > 0.3 and report.outputs["y"].relative <= TOLERANCE


def test_the_guard_finds_it_in_the_body_of_a_loop() -> None:
    share = np.full((FEATURES, 1), 1 / FEATURES, np.float32)

    def step(carried: Any, x: Any) -> tuple[Any, Any]:
        normed = x / ht.sqrt(ht.square(x) @ share + 1e-5)
        after = carried + ht.mean(normed @ OUT)
        return after, normed @ OUT

    def net(x: Any) -> Any:
        return ht.scan(step, ht.asarray(np.float32(0)), x)[1]

    x = np.stack(LOUD)
    exact = (x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True))) @ OUT
    found = {
        held: ht.compile(
            net, {"x": ht.Spec(x.shape)}, activations="float16", calibrate=[x], tolerance={"relative": TOLERANCE if held else 1}
        )
        for held in (True, False)
    }
    errors = {held: np.abs(p(x=x)["output"].numpy() - exact).max() / np.abs(exact).max() for held, p in found.items()}
    assert errors[False] > 0.3 and errors[True] <= TOLERANCE
    assert found[True].accuracy is not None and [k.kind for k in found[True].accuracy.kept] == ["result"]


@pytest.mark.browser
def test_a_bundle_keeps_what_the_guard_found(page: Any, tmp_path: Path) -> None:
    """On both devices of a page; the manifest names the operator. `info` says of an adapter without shader-f16 that
    halves are packed there."""
    manifest = ht.bundle(
        norm_net("MatMul"), tmp_path / "net", precision="float16", activations="float16", calibrate=LOUD,
        tolerance={"relative": TOLERANCE},
    )  # fmt: skip
    jsonschema.validate(manifest, json.loads((ROOT / "docs" / "manifest.schema.json").read_text()))
    (kept,) = manifest["accuracy"]["kept"]
    assert kept["kind"] == "result" and "square" in kept["name"]
    assert [b["requires"] for b in manifest["builds"] if b["target"] == "webgpu"] == [["shader-f16"], []]
    (tmp_path / "blank.html").write_text("<!doctype html><title>test</title><link rel=icon href=data:,>")
    with serving(tmp_path) as site:
        page.goto(f"{site.origin}/blank.html")
        for device in ("wasm", "webgpu"):
            found = page.evaluate(
                """async ([device, xs]) => {
                  const { load } = await import("/net/hither.js"), program = await load("/net/", { device }), ys = [];
                  for (const x of xs) ys.push(Array.from((await program.run({ x: Float32Array.from(x) })).y.data));
                  const { precision, why, accuracy } = program.info;
                  const half = (await navigator.gpu.requestAdapter()).features.has("shader-f16");
                  return { ys, precision, why, kept: accuracy.kept.map((k) => k.name), half };
                }""",
                [device, [x.ravel().tolist() for x in LOUD]],
            )
            assert max(error(np.reshape(y, (8, 16)), x) for y, x in zip(found["ys"], LOUD, strict=True)) <= TOLERANCE
            assert found["kept"] == [kept["name"]]
            assert found["precision"] == "float16/float16"
            assert (device == "webgpu" and not found["half"]) == ("shader-f16" in found["why"])
    assert max(error(ht.load(tmp_path / "net")(x=x)["y"].numpy(), x) for x in LOUD) <= TOLERANCE


def shaped(x: Any) -> Any:
    """The norm, whose squares overflow as halves, behind a gate that is traced for many rows only: it has squares too."""
    h = x @ IN
    if x.shape[0] > 8:
        h = h * ht.tanh(ht.square(x * 1e-3) @ np.abs(IN) + 20)
    squares = ht.square(h) @ np.full((FEATURES, 1), 1 / FEATURES, np.float32)
    return {"y": (h / ht.sqrt(squares + 1e-5)) @ OUT}


def shaped_exactly(x: np.ndarray) -> np.ndarray:
    h = x.astype(np.float64) @ IN  # tanh(20) is 1
    return h / np.sqrt((h**2).mean(-1, keepdims=True) + 1e-5) @ OUT


@pytest.mark.parametrize(
    "rows", [(8, 12), (12, 8), (2, 8)], ids=["more operators", "fewer operators", "too small to be judged"]
)
def test_variants_that_are_not_what_was_judged_keep_float32(rows: tuple[int, int], tmp_path: Path) -> None:
    """Where variants trace differently, the how manieth square is another one; where the judged one has small arrays,
    nothing is known of larger ones. Neither may overflow for that, and both are said."""
    specs = [{"x": ht.Spec((n, FEATURES))} for n in rows]
    judged = normal(rows[0], FEATURES, seed=5, scale=500)
    with pytest.warns(PrecisionWarning, match="variant 1 keep float32.*judged on the first"):
        ht.bundle(
            shaped, tmp_path, specs, targets=("wasm",), activations="float16", calibrate=[judged],
            tolerance={"relative": TOLERANCE},
        )  # fmt: skip
    model = ht.load(tmp_path)
    for n in rows:
        x = normal(n, FEATURES, seed=6, scale=500)
        exact = shaped_exactly(x)
        assert np.abs(model(x=x)["y"].numpy() - exact).max() <= TOLERANCE * np.abs(exact).max()


def test_variants_that_trace_alike_store_alike(tmp_path: Path) -> None:
    """What was judged holds for other shapes of the same operators: they keep what it keeps, no more, and nothing is said."""
    specs = [{"x": ht.Spec((n, FEATURES))} for n in (8, 7)]
    judged = normal(8, FEATURES, seed=5, scale=500)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrecisionWarning)
        ht.bundle(
            shaped, tmp_path, specs, targets=("wasm",), activations="float16", calibrate=[judged],
            tolerance={"relative": TOLERANCE},
        )  # fmt: skip
    x = normal(7, FEATURES, seed=6, scale=500)
    exact = shaped_exactly(x)
    found = ht.load(tmp_path)(x=x)["y"].numpy()
    assert 0 < np.abs(found - exact).max() <= TOLERANCE * np.abs(exact).max()


def test_the_commands_take_it(tmp_path: Path) -> None:
    """`hither bundle` judges results as well as weights, says what it kept, and `hither run` computes in halves."""
    (tmp_path / "net.onnx").write_bytes(norm_file("MatMul"))
    (tmp_path / "samples").mkdir()
    for i, x in enumerate(LOUD):
        np.save(tmp_path / "samples" / f"{i}.npy", x)
    halves = ["--precision", "float16", "--activations", "float16"]
    net, folder = str(tmp_path / "net.onnx"), str(tmp_path / "out")
    judged = ["--targets", "wasm", "--calibrate", str(tmp_path / "samples"), "--tolerance", f"relative={TOLERANCE}"]
    done = CliRunner().invoke(application(), ["bundle", net, "-o", folder, *halves, *judged])
    assert done.exit_code == 0, done.output
    assert "float32 result" in done.output and "square" in done.output
    result = str(tmp_path / "y.npz")
    done = CliRunner().invoke(
        application(), ["run", net, *halves, "--input", f"x={tmp_path / 'samples' / '0.npy'}", "-o", result]
    )
    assert done.exit_code == 0, done.output
    assert error(np.load(result)["y"], LOUD[0]) > 0.3  # not guarded


def test_a_convolution_of_halves_is_what_it_should_be() -> None:
    """Against a reference of its own, not the Graph's: rounded inputs, exact sums."""
    first, second = weight(32, 8, 3, 3), weight(16, 32, 3, 3, seed=2)
    x = normal(1, 8, 10, 11)
    program = compiled(lambda x: ht.conv(ht.conv(x, first), second, strides=2), "cpu", "float16", x)
    between = ref.conv(x, first).astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(run(program, x)[0], ref.conv(between, second, 2), rtol=0, atol=3e-4)
