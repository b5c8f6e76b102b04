"""Weights stored in small numbers: every way of reading them, on every target, against NumPy on the rounded weights.

What a test compares with is computed from the rounded weights in float32, so that tolerances are those of float32: an error of
the storage itself, of its layout or of its widening cannot hide behind float16's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import dtypes as dt
from hither.graph.core import evaluate
from hither.graph.primitives.rules import apply
from hither.kernels.builder import Builder
from hither.kernels.ir import Machine
from hither.passes.precision import Numbers, PrecisionWarning
from hither.program import Program
from hither.program import program as program_module
from hither.program.compile import CompileError, graphs_of, machine_for, reduce_numbers
from hither.program.program import Device, WebGpuSession
from hither.runtime.wasm import WasmExecutable
from hither.runtime.webgpu_device import webgpu_machine

from . import references as ref
from .browser import serving
from .op_case import check
from .wasm_session import in_node
from .wgsl_cases import of_kernel

DEVICES = ["cpu", pytest.param("wasm", marks=pytest.mark.node), pytest.param("webgpu", marks=pytest.mark.gpu)]
Rounding = Callable[[np.ndarray], np.ndarray]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def compiled(function: Callable[..., Any], device: str, precision: str, *arrays: np.ndarray) -> Program:
    specs = {f"x{i}": ht.Spec(a.shape, a.dtype) for i, a in enumerate(arrays)}
    with in_node() if device == "wasm" else nullcontext():
        return ht.compile(lambda **given: function(*given.values()), specs, device=device, precision=precision)


def run(program: Program, *arrays: np.ndarray) -> np.ndarray:
    (result,) = program({f"x{i}": a for i, a in enumerate(arrays)}).values()
    return result.numpy()


def float16(w: np.ndarray) -> np.ndarray:
    return w.astype(np.float16).astype(np.float32)


def int8(w: np.ndarray, kept: tuple[int, ...]) -> np.ndarray:
    """Symmetric: the largest magnitude of what each index of the kept axes selects becomes 127."""
    others = tuple(a for a in range(w.ndim) if a not in kept)
    scale = np.abs(w.astype(np.float64)).max(others, keepdims=True) / 127
    return np.rint(w / scale) * scale


def _lstm(x: np.ndarray, w: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Hochreiter and Schmidhuber's cell, gates in the order input, output, forget, cell; forward, no bias."""
    hidden = r.shape[2]
    h = c = np.zeros((x.shape[1], hidden), np.float64)
    rows = []
    for step in x.astype(np.float64):
        i, o, f, new = np.split(step @ w[0].T + h @ r[0].T, 4, axis=1)
        i, o, f = (1 / (1 + np.exp(-v)) for v in (i, o, f))
        c = f * c + i * np.tanh(new)
        h = o * np.tanh(c)
        rows.append(h)
    return np.stack(rows)[:, None]


# name: (function of the inputs and weights, reference of the same, inputs, weights, axes that have scales in int8)
CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], list[np.ndarray], list[np.ndarray], tuple[int, ...]]] = {
    "product": (ht.matmul, np.matmul, [normal(7, 40)], [normal(40, 50, seed=1)], (1,)),
    "product of a row": (ht.matmul, np.matmul, [normal(1, 96)], [normal(96, 33, seed=1)], (1,)),
    "product of a row by many panels": (ht.matmul, np.matmul, [normal(1, 70)], [normal(70, 1160, seed=1)], (1,)),
    "product of two rows by many panels": (ht.matmul, np.matmul, [normal(2, 32)], [normal(32, 1160, seed=1)], (1,)),
    "product of many rows": (ht.matmul, np.matmul, [normal(61, 24)], [normal(24, 48, seed=1)], (1,)),
    "product by a column": (ht.matmul, np.matmul, [normal(9, 300)], [normal(300, 1, seed=1)], (1,)),
    "stack of products": (ht.matmul, np.matmul, [normal(3, 5, 20)], [normal(3, 20, 18, seed=1)], (0, 2)),
    "product from the left": (
        lambda x, w: ht.matmul(w, x), lambda x, w: w @ x, [normal(20, 9)], [normal(31, 20, seed=1)], (0,),
    ),
    "product with the transpose": (
        lambda x, w: ht.matmul(x, ht.asarray(w).mT), lambda x, w: x @ w.T, [normal(4, 20)], [normal(31, 20, seed=1)], (0,),
    ),
    "convolution": (ht.conv, ref.conv, [normal(1, 8, 9, 7)], [normal(20, 8, 3, 3, seed=1)], (0,)),
    "pointwise convolution": (ht.conv, ref.conv, [normal(1, 24, 6, 7)], [normal(30, 24, 1, 1, seed=1)], (0,)),
    "convolution of a picture": (ht.conv, ref.conv, [normal(1, 3, 12, 11)], [normal(16, 3, 3, 3, seed=1)], (0,)),
    "convolution in groups": (
        lambda x, w: ht.conv(x, w, groups=2), lambda x, w: ref.conv(x, w, groups=2),
        [normal(1, 16, 6, 6)], [normal(12, 8, 3, 3, seed=1)], (0,),
    ),
    "depthwise convolution": (
        lambda x, w: ht.conv(x, w, groups=36), lambda x, w: ref.conv(x, w, groups=36),
        [normal(1, 36, 6, 9)], [normal(36, 1, 3, 3, seed=1)], (0,),
    ),
    "transposed convolution": (
        lambda x, w: ht.conv_transpose(x, w, strides=2), lambda x, w: ref.conv_transpose(x, w, strides=(2, 2)),
        [normal(1, 12, 5, 4)], [normal(12, 10, 3, 3, seed=1)], (1,),
    ),
    "Winograd's convolution": (
        lambda x, w: ht.conv(x, w, padding=[(1, 1), (1, 1)]),
        lambda x, w: ref.conv(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), w),
        [normal(1, 24, 16, 16)], [normal(32, 24, 3, 3, seed=1)], (0,),
    ),
    "rows of a table": (
        lambda i, w: ht.take(w, i, axis=0), lambda i, w: w[i], [np.array([3, 0, 40, 3], np.int32)], [normal(41, 12, seed=1)],
        (0,),
    ),
    "columns of a table": (
        lambda i, w: ht.take(w, i, axis=1), lambda i, w: w[:, i], [np.array([3, 0, 11], np.int32)], [normal(41, 12, seed=1)],
        (1,),
    ),
    "a table that is also a product's": (
        lambda i, w: ht.matmul(ht.take(w, i, axis=0), ht.asarray(w).mT), lambda i, w: w[i] @ w.T,
        [np.array([3, 0, 40, 3], np.int32)], [normal(41, 12, seed=1)], (0,),
    ),
    "recurrence written out": (
        lambda x, w, r: ht.lstm(x, w, r)[0], _lstm, [normal(4, 2, 10)], [normal(1, 48, 10, seed=1), normal(1, 48, 12, seed=2)],
        (0, 1),
    ),
    "recurrence in a loop": (
        lambda x, w, r: ht.lstm(x, w, r)[0], _lstm, [normal(20, 2, 10)], [normal(1, 48, 10, seed=1), normal(1, 48, 12, seed=2)],
        (0, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("name", CASES)
def test_weights_are_read_as_they_are_stored(name: str, precision: str, device: str) -> None:
    """Panels, pieces of panels, tables and loops hold small weights, and those alone."""
    function, reference, inputs, weights, kept = CASES[name]
    program = compiled(lambda *xs: function(*xs, *weights), device, precision, *inputs)
    stored = {w.array.dtype for w in program.plan.weights if w.array.size >= 256 and w.array.ndim > 1 and w.array.any()}
    assert stored == {np.dtype(precision)}
    rounded = [float16(w) if precision == "float16" else int8(w, kept) for w in weights]
    expected = reference(*inputs, *rounded)
    scale = np.abs(expected).max()  # Winograd's transforms round relative to the largest
    np.testing.assert_allclose(run(program, *inputs), expected, rtol=2e-5, atol=2e-5 * scale)


@pytest.mark.parametrize("device", DEVICES)
def test_memory_that_is_held(device: str) -> None:
    """The weights region is half or a quarter as large, up to scales and what aligning it costs."""
    w, columns = normal(256, 512), 512
    sizes = {
        p: compiled(lambda x: x @ w, device, p, normal(1, 256)).memory()["weights"] for p in ("float32", "float16", "int8")
    }
    assert sizes["float32"] >= w.nbytes
    assert sizes["float16"] <= w.nbytes // 2 + 256
    assert sizes["int8"] <= w.nbytes // 4 + 4 * columns + 512


@pytest.mark.parametrize("device", DEVICES)
def test_every_float16_is_widened_exactly(device: str) -> None:
    """All finite halves, the denormal ones too: the bit tricks of machines without conversions."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    table = every[np.isfinite(every)].astype(np.float32).reshape(-1, 2)
    rows = np.arange(len(table), dtype=np.int32)
    program = compiled(lambda i: ht.take(table, i, axis=0), device, "float16", rows)
    assert program.plan.weights[0].array.dtype == np.float16
    np.testing.assert_array_equal(run(program, rows), table)


@pytest.mark.parametrize("device", DEVICES)
def test_every_float16_is_multiplied_exactly(device: str) -> None:
    """All finite halves in the panels of a product, picked one row after the other."""
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    weights = every[np.isfinite(every)].astype(np.float32).reshape(8, -1)
    program = compiled(lambda x: ht.matmul(x, weights), device, "float16", normal(1, 8))
    for row, picking in zip(weights, np.eye(8, dtype=np.float32), strict=True):
        np.testing.assert_array_equal(run(program, picking[None] * 4).ravel(), row * 4)


@pytest.mark.parametrize("device", DEVICES[:2])
@pytest.mark.parametrize("largest", [1e-36, 1e-20, 1e20, 1e33])
@pytest.mark.parametrize("depth", [64, 67])
def test_rows_of_any_magnitude_times_halves(depth: int, largest: float, device: str) -> None:
    """Machines that cannot convert halves move the exponents of rows: that must neither overflow nor cost digits."""
    x, w = normal(1, depth) * np.float32(largest), normal(depth, 96, seed=1)
    program = compiled(lambda x: ht.matmul(x, w), device, "float16", x)
    expected = x.astype(np.float64) @ float16(w).astype(np.float64)
    np.testing.assert_allclose(run(program, x), expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max())


def test_numbers_that_were_small_stay_small() -> None:
    """Weights of a file in float16, or in int8 with scales, are float32 when they are compiled, and stored as they were."""
    x, half = normal(3, 64), float16(normal(64, 32, seed=1))
    numbers = np.random.default_rng(2).integers(-128, 128, (64, 32)).astype(np.int8)
    scales = np.abs(normal(32, seed=3)) / 50
    for w, stored in ((half, np.float16), (numbers * scales, np.int8), (normal(64, 32, seed=4), np.float32)):
        program = compiled(lambda x, w=w: x @ w, "cpu", "float32", x)
        assert {a.array.dtype for a in program.plan.weights if a.array.size >= 256} == {np.dtype(stored)}
        check(run(program, x), x @ w, "sums")


@pytest.mark.parametrize(("largest", "what"), [(1e5, "too large"), (1e-7, "too small")])
def test_weights_that_do_not_fit_keep_float32(largest: float, what: str) -> None:
    """A weight that float16 cannot hold is kept as it was, and that is said by name; else results would be wrong or inf."""
    w, x = normal(32, 32), normal(3, 32, seed=1)
    w *= largest / np.abs(w).max()
    with pytest.warns(PrecisionWarning, match="keeps float32"):
        program = compiled(lambda x: x @ w, "cpu", "float16", x)
    np.testing.assert_allclose(run(program, x), x @ w, rtol=1e-4, atol=1e-4 * largest)


def test_numbers_that_are_added_keep_their_digits() -> None:
    """Positions and masks are no weights: only what products and gathers read is rounded."""
    table, w, x = normal(16, 32), normal(32, 32, seed=1), normal(16, 32, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = compiled(lambda x: (x + table) @ w, "cpu", "float16", x)
    check(run(program, x), (x + table) @ float16(w), "sums")


def test_a_weight_that_is_also_a_result() -> None:
    """A constant that leaves the program leaves it as it was given."""
    w, x = normal(32, 32), normal(3, 32, seed=1)
    program = compiled(lambda x: {"y": x @ w, "w": ht.asarray(w)}, "cpu", "float16", x)
    results = program(x0=x)
    np.testing.assert_array_equal(results["w"].numpy(), w)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("name", ["product", "convolution", "depthwise convolution", "rows of a table", "stack of products"])
def test_adapters_without_halves(name: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where WebGPU has no float16 type, several numbers are read from a word."""
    made = replace(webgpu_machine(), float16=False)
    monkeypatch.setitem(program_module.DEVICES, "webgpu", Device(lambda: made, WebGpuSession))
    test_weights_are_read_as_they_are_stored(name, precision, "webgpu")


@pytest.mark.browser
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_bundles_hold_small_weights(precision: str, page: Any, tmp_path: Path) -> None:
    """Downloaded small and held small, by both devices of a page; Tint reads the shaders too."""
    table, w, rows = normal(99, 24), normal(24, 96, seed=1), np.array([3, 0, 40], np.int32)
    function = lambda i: ht.matmul(ht.take(table, i, axis=0), w)  # noqa: E731
    manifest = ht.bundle(function, tmp_path / "net", {"i": ht.Spec((3,), "int32")}, precision=precision)
    assert manifest["precision"] == precision
    assert {t["dtype"] for t in manifest["weights"]["tensors"] if np.prod(t["shape"]) >= 256} == {precision}
    assert len(manifest["layouts"]) == 1  # WASM and WebGPU read the same bytes
    (tmp_path / "blank.html").write_text("<!doctype html><title>test</title><link rel=icon href=data:,>")
    rounded = (float16(table), float16(w)) if precision == "float16" else (int8(table, (0,)), int8(w, (1,)))
    expected = rounded[0][rows] @ rounded[1]
    with serving(tmp_path) as site:
        page.goto(f"{site.origin}/blank.html")
        for device in ("wasm", "webgpu"):
            found = page.evaluate(
                """async (device) => {
                  const { load } = await import("/net/hither.js"), program = await load("/net/", { device });
                  const y = Object.values(await program.run({ i: Int32Array.of(3, 0, 40) }))[0];
                  return { data: Array.from(y.data), precision: program.info.precision, weights: program.memory().weights };
                }""",
                device,
            )
            np.testing.assert_allclose(found["data"], expected.ravel(), rtol=2e-5, atol=1e-4)
            assert found["precision"] == precision
            assert found["weights"] < 0.6 * (table.nbytes + w.nbytes)


# -- products of bytes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize(("m", "n", "depth"), [(1, 33, 64), (7, 40, 96), (61, 48, 20), (5, 9, 10)])
def test_products_of_bytes_are_exact(m: int, n: int, depth: int, kind: str, device: str) -> None:
    """Four to an operation, or one by one where the depth does not allow it: not one of the sums may be off."""
    rng, info = np.random.default_rng(0), np.iinfo(kind)
    x = rng.integers(info.min, info.max, (m, depth), kind, endpoint=True)
    w = rng.integers(-128, 127, (depth, n), np.int8, endpoint=True)
    x[0], w[:, 0] = info.max, -128
    program = compiled(lambda x: apply("matmul", ht.asarray(x), ht.asarray(w), dtype=dt.int32), device, "float32", x)
    np.testing.assert_array_equal(run(program, x), x.astype(np.int32) @ w.astype(np.int32))


@pytest.mark.parametrize("relaxed", [True, False])
def test_both_kinds_of_webassembly_convert_halves(relaxed: bool) -> None:
    """Every half to float32, and floats to the nearest half: midpoints between halves, what is beside them, and NaN."""
    halves = np.arange(65536, dtype=np.uint16)
    finite = halves[:0x7C00].view(np.float16).astype(np.float64)
    middle = np.append((finite[1:] + finite[:-1]) / 2, 65520).astype(np.float32)
    beside = [np.nextafter(middle, np.float32(s), dtype=np.float32) for s in (0, np.inf)]
    nan = np.array([0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0xFFC00001], np.uint32).view(np.float32)
    positive = np.concatenate([middle, *beside, np.array([0, 1e-45, 1e10, np.inf], np.float32), nan])
    floats = np.concatenate([positive, -positive])
    floats = np.pad(floats, (0, -len(floats) % 4))
    machine = Machine("wasm", fma=relaxed)
    k = Builder(machine)
    a, b = k.buffer("a", dt.float16, 65536), k.buffer("b", dt.float32, len(floats))
    wide, narrow = k.buffer("wide", dt.float32, 65536, "write"), k.buffer("narrow", dt.float16, len(floats), "write")
    for source, target in ((a, wide), (b, narrow)):
        with k.loop(0, source.size, 4) as loop:
            k.store(target, loop.index, k.load(source, loop.index, 4))
    case = of_kernel(k.finish("halves"), [halves.view(np.float16), floats], machine)
    executable = WasmExecutable.of_code(case.code, machine)
    executable.write("weights", 0, case.regions["weights"])
    sizes = {dt.float32: 65536, dt.float16: len(floats)}
    places = [(where.offset, dtype.numpy, (sizes[dtype],)) for where, dtype in case.results.values()]
    widened, narrowed = executable.run("main", [], places, executable.new_state())
    np.testing.assert_array_equal(widened, halves.view(np.float16).astype(np.float32))
    with np.errstate(over="ignore"):
        expected = floats.astype(np.float16)
    np.testing.assert_array_equal(narrowed, expected)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(narrowed.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])


@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize("largest", [127, 255])
def test_both_kinds_of_webassembly_add_bytes_exactly(relaxed: bool, largest: int) -> None:
    """The relaxed operation where bytes are at most 127, another where they are not, or where there is none."""
    rng = np.random.default_rng(0)
    machine = Machine("wasm", fma=relaxed, dot="unsigned")
    a, b = rng.integers(0, largest, 64, np.uint8, endpoint=True), rng.integers(-128, 127, 64, np.int8, endpoint=True)
    a[:16], b[:16] = largest, -128
    k = Builder(machine)
    left, right = k.buffer("a", dt.uint8, 64), k.buffer("b", dt.int32, 16)
    out = k.buffer("out", dt.int32, 16, "write")
    for i in range(4):
        row = k.pack([k.word(left, 16 * i + 4 * lane) for lane in range(4)])
        k.store(out, 4 * i, k.dot(row, k.load(right, 4 * i, 4), k.const(7, dt.int32, 4), largest <= 127))
    case = of_kernel(k.finish("dot"), [a, b.view(np.int32)], machine)
    ((where, _),) = case.results.values()
    executable = WasmExecutable.of_code(case.code, machine)
    executable.write("weights", 0, case.regions["weights"])
    (found,) = executable.run("main", [], [(where.offset, np.dtype(np.int32), (16,))], executable.new_state())
    np.testing.assert_array_equal(found, (a.astype(np.int32) * b).reshape(16, 4).sum(1) + 7)


def bytes_of(x: np.ndarray, axes: tuple[int, ...], most: int) -> np.ndarray:
    """x in whole multiples of its largest magnitude over some axes, which becomes `most`."""
    scale = np.abs(x).max(axes, keepdims=True) / most
    return np.rint(x / scale) * scale


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "name", ["product", "pointwise convolution", "pointwise convolution with strides", "strided convolution"]
)
def test_activations_in_bytes(name: str, device: str) -> None:
    """Products of int8 weights and of what is rounded to bytes on the way, each row, pixel or image by its own scale."""
    rows = name == "product"
    if device == "cpu" and not machine_for("cpu").dot:
        pytest.skip("this processor has no operation for products of bytes")
    x = normal(9, 64) if rows else normal(2, 32, 7, 8)
    x *= np.array([1e-3, 10] if not rows else [*range(1, 10)], np.float32).reshape(-1, *(1,) * (x.ndim - 1))
    x[0] *= 0.5
    w = normal(64, 24, seed=1) if rows else normal(24, 32, *((3, 3) if name.startswith("strided") else (1, 1)), seed=1)
    strides = 2 if "strid" in name else 1
    function = (lambda x: x @ w) if rows else (lambda x: ht.conv(x, w, strides=strides))
    with in_node() if device == "wasm" else nullcontext():
        spec = {"x0": ht.Spec(x.shape, x.dtype)}
        program = ht.compile(lambda x0: function(x0), spec, device=device, precision="int8", activations="int8")
    assert any(op.kind == "dot" for kernel in program.plan.code.kernels for op in kernel.walk())
    most = 63 if device == "wasm" else 127
    axes = (1,) if name in ("product", "pointwise convolution", "pointwise convolution with strides") else (1, 2, 3)
    rounded = bytes_of(x.astype(np.float64), axes, most)
    expected = rounded @ int8(w, (1,)) if rows else ref.conv(rounded, int8(w, (0,)), strides)
    found = run(program, x)
    for got, want in zip(found, expected, strict=True):  # a byte that lies between two may be either
        assert np.abs(got - want).max() <= 4e-3 * np.abs(want).max()
        assert np.median(np.abs(got - want)) <= 1e-5 * np.abs(want).max()


def test_a_precision_is_named_alike_everywhere(tmp_path: Path) -> None:
    """What a bundle calls "int8/int8" compiles, and runs in a Model, as precision="int8", activations="int8" does; names that
    there are not are refused when a model is loaded, not when it first runs."""
    x, specs = normal(3, 512), {"x": ht.Spec((3, 512), "float32")}
    w = normal(512, 64, seed=1)
    apart = ht.compile(lambda x: x @ w, specs, precision="int8", activations="int8")(x)["output"].numpy()
    assert (ht.compile(lambda x: x @ w, specs, precision="int8/int8")(x)["output"].numpy() == apart).all()
    net = ht.nn.Sequential([ht.nn.Input((512,)), ht.nn.Dense(64)])
    ht.save(net, tmp_path / "net.onnx", specs)
    found = [ht.load(tmp_path / "net.onnx", **chosen)(x) for chosen in (
        {"precision": "int8/int8"}, {"precision": "int8", "activations": "int8"}, {},
    )]  # fmt: skip
    one, two, plain = (next(iter(each.values())).numpy() for each in found)
    assert (one == two).all() and not (one == plain).all()
    for wrong in ({"precision": "fp16"}, {"activations": "int8"}, {"precision": "int8/int7"}):
        with pytest.raises(CompileError):
            ht.load(tmp_path / "net.onnx", **wrong)
    with pytest.raises(CompileError, match="names activations, and so does"):
        ht.compile(lambda x: x @ w, specs, precision="int8/int8", activations="int8")
    with pytest.raises(CompileError, match="got a set"):
        ht.compile(lambda x: x @ w, specs, precision={"int8"})  # type: ignore[arg-type]


def test_activations_that_cannot_be() -> None:
    x, specs = normal(3, 64), {"x": ht.Spec((3, 64), "float32")}
    w = normal(64, 32, seed=1)
    with pytest.raises(CompileError, match='give precision="int8" too'):
        ht.compile(lambda x: x @ w, specs, activations="int8")
    with pytest.raises(CompileError, match="no activations 'int4'; there are"):
        ht.compile(lambda x: x @ w, specs, precision="int8", activations="int4")
    assert x.size


def test_where_there_are_no_products_of_bytes_that_is_said() -> None:
    w, x = normal(64, 32), normal(3, 64, seed=1)
    graph = graphs_of(lambda x: x @ w, {"x": ht.Spec(x.shape, x.dtype)})["predict"]
    with pytest.warns(PrecisionWarning, match="no products of bytes"):
        made = reduce_numbers(graph, Machine("llvm"), Numbers("int8", "int8"))
    (found,) = evaluate(made, x)
    np.testing.assert_allclose(found, x @ int8(w, (1,)), rtol=1e-4, atol=1e-4)


@pytest.mark.node
@pytest.mark.parametrize("largest", [1.0, 2.0**-100, 2.0**70, 2.0**99, 3e38])
def test_what_a_row_loses_beside_its_largest_element(largest: float) -> None:
    """WebAssembly scales a single row by its largest magnitude when it widens halves (kernels.templates.half_pairs). Where that
    element meets weights of zero, the others keep all their digits down to 2^-78 of it, and lose no more than 2^-102 of it each
    further down."""
    depth = 256
    w, x = float16(normal(depth, 64)), 1 + np.abs(normal(1, depth, seed=1))
    w[0], x[0, 0] = 0, largest
    w[1:] = np.where(np.abs(w[1:]) < 2.0**-6, 2.0**-6, w[1:])
    program = compiled(lambda x: x @ w, "wasm", "float16", x)
    assert any(op.kind == "word" for kernel in program.plan.code.kernels for op in kernel.walk())
    found, exact = run(program, x), x.astype(np.float64) @ w.astype(np.float64)
    rounding = depth * 2.0**-24 * (np.abs(x[:, 1:]).astype(np.float64) @ np.abs(w[1:]).astype(np.float64))
    assert (np.abs(found - exact) <= rounding + (depth * 2.0**-102 * largest if largest > 2.0**72 else 0)).all()


@pytest.mark.node
def test_a_row_of_the_smallest_numbers_keeps_what_float32_has_of_them() -> None:
    w, x = float16(normal(64, 32)), normal(1, 64, seed=1) * np.float32(2.0**-126)
    found = run(compiled(lambda x: x @ w, "wasm", "float16", x), x)
    np.testing.assert_allclose(found, x.astype(np.float64) @ w.astype(np.float64), rtol=0, atol=64 * 2.0**-149)


@pytest.mark.node
@pytest.mark.parametrize("columns", [24, 20, 128])
def test_a_row_by_words_of_bytes(columns: int) -> None:
    """WebAssembly converts four bytes of a word as it stands and sorts the sums out (kernels.templates.byte_words): as exact as
    float32 is, with the largest bytes side by side too. Where a byte is -128 it cannot."""
    for least in (-127, -128):
        w, x = np.random.default_rng(0).integers(-127, 127, (64, columns), endpoint=True), normal(1, 64, seed=1)
        w[0], w[1], w[2, 0] = 127, -127, least
        w = (w * np.float32(0.5)).astype(np.float32)
        program = compiled(lambda x, w=w: x @ w, "wasm", "int8", x)
        assert any(op.kind == "word" for kernel in program.plan.code.kernels for op in kernel.walk()) == (least == -127)
        exact = x.astype(np.float64) @ w
        bound = 64 * 2.0**-23 * (np.abs(x).astype(np.float64) @ np.full_like(w, 64))
        assert (np.abs(run(program, x) - exact) <= bound).all()
