"""Networks that float16 activations break, and the guard that finds where.

Each trap gives finite and wrong numbers if all of it is float16 (as in onnxruntime#31626): a norm whose squares overflow.
NumPy in float16 shows that it does.
"""

from __future__ import annotations

import json
import warnings
from contextlib import nullcontext
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
from hither.model import Model
from hither.passes.precision import PrecisionWarning

from .browser import serving
from .onnx_build import build, info
from .test_halves import DEVICES, ROOT, normal, weight
from .wasm_session import in_node

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
