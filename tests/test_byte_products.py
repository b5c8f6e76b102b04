"""Products of bytes by scales that are known beforehand, and in pages: against NumPy on numbers rounded as they should be."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither import dtypes as dt
from hither.graph.primitives.rules import apply
from hither.passes.ranges import ANYTHING, Range, proven
from hither.program.compile import graphs_of, machine_for

from . import references as ref
from .browser import serving
from .test_precision import DEVICES, bytes_of, int8, normal
from .wasm_session import in_node


def in_steps(x: np.ndarray, low: float, high: float, levels: int) -> np.ndarray:
    """x in whole multiples of a step, 0 among them, of which `levels` reach from low to high; nothing lies further out."""
    zero = round(-low / (high - low) * levels)
    step = max(high / (levels - zero) if zero < levels else 0, -low / zero if zero else 0)
    return np.clip(np.rint(x / step), -zero, levels - zero) * step


def bottleneck(x: Any) -> Any:
    """Pointwise, depthwise and pointwise convolutions, and one with a window: what is between lies in a range that a clip
    proves, or not."""
    expand, middle, project = normal(64, 8, 1, 1, seed=1) / 3, normal(64, 1, 3, 3, seed=2) / 3, normal(24, 64, 1, 1, seed=3) / 8
    wide = ht.relu6(ht.conv(ht.relu6(ht.conv(x, expand)), middle, padding=1, groups=64))
    narrow = ht.conv(wide, project)
    return {"wide": wide, "narrow": narrow, "strided": ht.conv(narrow, normal(16, 24, 3, 3, seed=4) / 14, strides=2, padding=1)}


def bottleneck_in_steps(x: np.ndarray, levels: int, ends: dict[str, tuple[float, float]]) -> dict[str, np.ndarray]:
    """The same in float64, with what int8 weights multiply in steps."""
    expand, middle, project = normal(64, 8, 1, 1, seed=1) / 3, normal(64, 1, 3, 3, seed=2) / 3, normal(24, 64, 1, 1, seed=3) / 8
    last = normal(16, 24, 3, 3, seed=4) / 14
    wide = np.clip(ref.conv(x, int8(expand, (0,))), 0, 6)
    wide = np.clip(ref.conv(np.pad(wide, ((0, 0), (0, 0), (1, 1), (1, 1))), int8(middle, (0,)), groups=64), 0, 6)
    narrow = ref.conv(in_steps(wide, *ends["wide"], levels), int8(project, (0,)))
    steps = np.pad(in_steps(narrow, *ends["narrow"], levels), ((0, 0), (0, 0), (1, 1), (1, 1)))
    return {"wide": wide, "narrow": narrow, "strided": ref.conv(steps, int8(last, (0,)), 2)}


@pytest.mark.parametrize("device", DEVICES)
def test_scales_found_on_samples(device: str) -> None:
    """A clip's bounds and, where nothing is proven, those seen on samples make scales; what lies outside is the nearest byte.
    No pass looks for magnitudes any more."""
    if device == "cpu" and not machine_for("cpu").dot:
        pytest.skip("this processor has no operation for products of bytes")
    x, levels = normal(2, 8, 9, 10), 127 if device == "wasm" else 255
    sample = x[:1] * 0.9
    exact = {name: value.numpy() for name, value in bottleneck(ht.asarray(sample)).items()}
    ends = {name: (min(0.0, float(value.min())), float(value.max())) for name, value in exact.items()}
    spec = {"x": ht.Spec((1, *x.shape[1:]), "float32")}
    with in_node() if device == "wasm" else nullcontext():
        found_on = [{"x": sample}]
        program = ht.compile(bottleneck, spec, device=device, precision="int8", activations="int8", calibrate=found_on,
                             tolerance={"relative": 0.5})  # fmt: skip
    assert program.accuracy is not None and program.accuracy.calibrated == 2
    kernels = program.plan.code.kernels
    assert not any(op.kind in ("reduce", "workgroup_reduce") for kernel in kernels for op in kernel.walk())
    assert sum(op.kind == "dot" for kernel in kernels for op in kernel.walk()) > 0
    for one in x:
        got, want = program({"x": one[None]}), bottleneck_in_steps(one[None].astype(np.float64), levels, ends)
        for name, values in want.items():
            off = np.abs(got[name].numpy() - values)  # a byte that lies between two may be either
            assert off.max() <= 0.02 * np.abs(values).max(), name
            assert np.median(off) <= 2e-5 * np.abs(values).max(), name


@pytest.mark.parametrize("device", ["cpu", pytest.param("wasm", marks=pytest.mark.node)])
@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(("window", "strides", "padding"), [(2, 2, 0), (3, 2, 1), (5, 3, 2)])
def test_transposed_convolutions(window: int, strides: int, padding: int, calibrated: bool, device: str) -> None:
    """Each phase is a product of bytes, those that read beyond the picture too, where nothing is negative; else all stay in
    floats, for what zero is rounded to would be another sum in each phase."""
    if device == "cpu" and not machine_for("cpu").dot:
        pytest.skip("this processor has no operation for products of bytes")
    x, w = np.maximum(normal(1, 24, 6, 7), 0), normal(24, 12, window, window, seed=1) / 8
    options = {"calibrate": [{"x": x}], "tolerance": {"relative": 0.5}} if calibrated else {}
    for positive in (True, False):

        def function(x: Any, positive: bool = positive) -> Any:
            return ht.conv_transpose(ht.relu(x) if positive else x - 0.5, w, strides=strides, padding=padding)

        with in_node() if device == "wasm" else nullcontext():
            spec = {"x": ht.Spec(x.shape, "float32")}
            program = ht.compile(function, spec, device=device, precision="int8", activations="int8", **options)
        found = program({"x": x})["output"].numpy()
        dots = any(op.kind == "dot" for kernel in program.plan.code.kernels for op in kernel.walk())
        assert dots == positive
        rounded = in_steps(x, 0, x.max(), 127 if device == "wasm" else 255) if positive else x - 0.5
        expected = ref.conv_transpose(rounded.astype(np.float64), int8(w, (1,)), strides=strides, padding=padding)
        off = np.abs(found - expected)  # a byte that lies between two may be either
        assert off.max() <= 0.01 * np.abs(expected).max()
        assert np.median(off) <= 2e-5 * np.abs(expected).max()


def test_ranges_hold_for_other_shapes_of_a_network(tmp_path: Path) -> None:
    """They go by weights, so each variant of a bundle has them, though samples have one shape."""
    if not machine_for("cpu").dot:
        pytest.skip("this processor has no operation for products of bytes")
    shapes = [ht.Spec((1, 8, 9, 10), "float32"), ht.Spec((1, 8, 14, 12), "float32")]
    manifest = ht.bundle(
        bottleneck, tmp_path, [{"x": s} for s in shapes], targets=("wasm", "webgpu"), precision="int8", activations="int8",
        calibrate=[{"x": normal(1, 8, 9, 10)}], tolerance={"relative": 0.5},
    )  # fmt: skip
    assert manifest["accuracy"]["calibrated"] == 2
    (webgpu,) = (b for b in manifest["builds"] if b["target"] == "webgpu")
    assert len(webgpu["packed_dot"]) > 0
    runs = [len(v["predict"]["steps"]) for v in webgpu["variants"]]
    assert runs[0] == runs[1]


def test_proven_ranges() -> None:
    x, w = ht.Spec((1, 4, 6, 6), "float32"), normal(4, 4, 1, 1)

    def function(x: Any) -> dict[str, Any]:
        clipped = ht.relu6(ht.conv(x, w))
        return {
            "clipped": clipped,
            "half": ht.relu(ht.conv(x, w)),
            "open": ht.conv(x, w),
            "gate": ht.sigmoid(ht.conv(x, w)) * 2 - 3,
            "together": ht.concat([clipped, ht.tanh(x)], axis=1),
            "bordered": ht.pad(clipped + 1, [(0, 0), (0, 0), (1, 1), (1, 1)]),
        }

    graph = graphs_of(function, {"x": x})["predict"]
    found = proven(graph)
    bounds = {name: found.get(v, ANYTHING) for name, v in zip(graph.output_names, graph.outputs, strict=True)}
    assert bounds == {
        "clipped": Range(0, 6), "half": Range(0), "open": ANYTHING, "gate": Range(-3, -1), "together": Range(-1, 6),
        "bordered": Range(0, 7),
    }  # fmt: skip


_WITH_AND_WITHOUT = """
async (x) => {
  const {load} = await import("/hither.js"), found = [];
  for (const hidden of [false, true]) {
    if (hidden) Object.defineProperty(GPU.prototype, "wgslLanguageFeatures", {get: () => new Set()});
    const program = await load("/", {device: "webgpu"});
    const {output} = await program.run({x: Float32Array.from(x)});
    found.push([program.info.packedDot, [...new Uint32Array(output.data.buffer)]]);
    program.close();
  }
  return found;
}
"""


@pytest.mark.gpu
def test_pages_multiply_bytes_with_and_without_the_operation(page: Any, tmp_path: Path) -> None:
    """A loader takes the modules that suit the browser; every bit of the results is the same."""
    w, x = normal(64, 24, seed=1), normal(9, 64)
    ht.bundle(
        lambda x: x @ w, tmp_path, {"x": ht.Spec(x.shape, "float32")}, targets=["webgpu"], precision="int8", activations="int8"
    )
    with serving(tmp_path) as site:
        page.goto(f"{site.origin}/package.json")
        (first, bits), (second, again) = page.evaluate(_WITH_AND_WITHOUT, x.reshape(-1).tolist())
    assert (first, second) == (True, False) and bits == again
    got, want = (
        np.array(bits, np.uint32).view(np.float32).reshape(9, 24),
        bytes_of(x.astype(np.float64), (1,), 127) @ int8(w, (1,)),
    )
    assert np.abs(got - want).max() <= 4e-3 * np.abs(want).max()
    assert np.median(np.abs(got - want)) <= 1e-5 * np.abs(want).max()


_IN_A_PAGE = """
async (x) => {
  const {load} = await import("/hither.js");
  const program = await load("/", {device: "wasm", threads: 1});
  const {output} = await program.run({x: Float32Array.from(x)});
  const found = [program.info.adapter, [...output.data]];
  program.close();
  return found;
}
"""


def test_modules_for_both_kinds_of_engines_add_bytes_exactly(page: Any, tmp_path: Path) -> None:
    """One in which relaxed products of bytes are three operations, for engines that would make more of them (the browser here,
    on x86 processors without such a product), and one for all others, as wasmtime takes it."""
    rng = np.random.default_rng(2)
    x, w = rng.integers(-64, 63, (13, 96), endpoint=True), rng.integers(-128, 127, (96, 24), np.int8, endpoint=True)
    x[0], w[:, 0] = 63, -128

    def function(x: Any) -> Any:
        q = apply("round_to_bytes", x, ht.full(x.shape, 1.0), shift=64, bits=7, signed=False, low=None, high=None)
        return apply("matmul", q, ht.asarray(w), dtype=dt.int32)

    folder, floats = tmp_path / "bundle", x.astype(np.float32)
    manifest = ht.bundle(function, folder, {"x": ht.Spec(x.shape, "float32")}, targets=["wasm"])
    assert [b["requires"] for b in manifest["builds"]] == [["relaxed-simd", "dot-apart"], ["relaxed-simd"], []]
    files = [(folder / build["file"]).read_bytes() for build in manifest["builds"]]
    assert [b"\xfd\x92\x02" in f for f in files] == [True, False, False]  # i16x8.relaxed_dot_i8x16_i7x16_s
    assert [b"\xfd\x93\x02" in f for f in files] == [False, True, False]  # i32x4.relaxed_dot_i8x16_i7x16_add_s
    with serving(folder) as site:
        page.goto(f"{site.origin}/package.json")
        adapter, found = page.evaluate(_IN_A_PAGE, floats.reshape(-1).tolist())
    assert adapter in ("relaxed-simd,dot-apart", "relaxed-simd")
    expected = (x + 64) @ w.astype(np.int64)
    np.testing.assert_array_equal(np.reshape(found, expected.shape), expected)
    np.testing.assert_array_equal(ht.load(folder, device="wasm")(x=floats)["output"].numpy(), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_what_becomes_of_nan(device: str) -> None:
    """Bytes hold none, as `compile` says: by a scale that is known beforehand a NaN becomes a number within the bounds, and
    pixels that do not read it are as they were; scales found in every run hand it on to every result that reads it."""
    if device == "cpu" and not machine_for("cpu").dot:
        pytest.skip("this processor has no operation for products of bytes")
    x, w = normal(1, 64, 5, 6), normal(24, 64, 1, 1, seed=1)
    holed = x.copy()
    holed[0, 3, 2, 4] = np.nan
    spec = {"x": ht.Spec(x.shape, "float32")}

    def clipped(x: Any) -> Any:
        return ht.conv(ht.minimum(ht.maximum(x, 0), 6), w)

    def unbounded(x: Any) -> Any:
        return ht.conv(x, w)

    there = np.zeros((5, 6), np.bool_)
    there[2, 4] = True
    seen = {"calibrate": [x], "tolerance": {"relative": 0.5}}
    for net, bounded, more in ((clipped, True, {}), (unbounded, True, seen), (unbounded, False, {})):
        with in_node() if device == "wasm" else nullcontext():
            program = ht.compile(net, spec, device=device, precision="int8", activations="int8", **more)
        whole, got = (program(x=a)["output"].numpy()[0] for a in (x, holed))
        np.testing.assert_array_equal(got[:, ~there], whole[:, ~there])
        assert np.isfinite(got[:, there]).all() if bounded else np.isnan(got[:, there]).all()
        if bounded:  # one of 64 products is another, by no more than the bounds allow
            assert (np.abs(got - whole)[:, there].ravel() <= 6.1 * np.abs(w[:, 3, 0, 0])).all()
