"""The command line: what users type, run in this process on small models, and what it prints when they are wrong."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
import wave
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner, Result

from hither.cli import application
from hither.cli.arguments import ArgumentError, one_variant, pairs, shapes, variants
from hither.errors import HitherError


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = relu(x @ w), x: float32[batch, 3], y: float32[batch, 2]."""
    w = np.array([[1, -1], [2, 0], [0, 3]], np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Relu", ["z"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.tobytes(), raw=True)],
    )
    return _save(graph, tmp_path_factory.mktemp("models") / "linear.onnx")


@pytest.fixture(scope="module")
def picture_mean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mean of each channel of a picture, x: float32[1, 3, H, W]."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    return _save(graph, tmp_path_factory.mktemp("models") / "mean.onnx")


def _save(graph: onnx.GraphProto, path: Path) -> Path:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def hither(*arguments: object) -> Result:
    return CliRunner().invoke(application(), [str(a) for a in arguments])


def refused(result: Result) -> str:
    """The message of a command that failed with one of hither's own errors."""
    assert result.exit_code == 1 and result.exception is not None, result.output
    return str(result.exception)


@pytest.mark.parametrize("device", ["cpu", "numpy"])
def test_run_writes_the_outputs(linear: Path, tmp_path: Path, device: str) -> None:
    x = np.array([[1, 2, 3], [-1, -2, 4]], np.float32)
    np.save(tmp_path / "x.npy", x)
    result = hither("run", linear, "--input", f"x={tmp_path / 'x.npy'}", "--device", device, "-o", tmp_path / "out.npz")
    assert result.exit_code == 0, result.output
    expected = np.maximum(x @ np.array([[1, -1], [2, 0], [0, 3]], np.float32), 0)
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["y"], expected, rtol=1e-6)
    assert "2,2" in result.output and "float32" in result.output


def test_run_takes_numbers_archives_and_the_only_inputs_name_from_the_model(linear: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=np.ones((1, 3), np.float32), other=np.zeros(4))
    from_archive = hither("run", linear, "-i", tmp_path / "all.npz", "-o", tmp_path / "a.npz")
    from_numbers = hither("run", linear, "-i", "x=[[1, 1, 1]]", "-o", tmp_path / "b.npz")
    assert from_archive.exit_code == 0 and from_numbers.exit_code == 0, from_archive.output + from_numbers.output
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["y"], np.load(tmp_path / "b.npz")["y"])


def test_run_takes_pictures_and_says_how_it_reads_them(picture_mean: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (4, 2), (255, 51, 0)).save(tmp_path / "p.png")
    result = hither("run", picture_mean, "-i", tmp_path / "p.png", "-o", tmp_path / "out.npz")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["y"], [[1, 0.2, 0]], atol=1e-6)
    assert "divided by 255" in result.output
    resized = hither("run", picture_mean, "-i", tmp_path / "p.png", "--shape", "x=1,3,8,8")
    assert resized.exit_code == 0 and "resized from 4x2 to 8x8" in resized.output


def test_run_takes_sounds(linear: Path, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "s.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.array([[16384, 0], [8192, 8192]], "<i2").tobytes())
    result = hither("run", linear, "-i", tmp_path / "s.wav", "--shape", "x=1,3", "-o", tmp_path / "out.npz")
    assert result.exit_code == 0, result.output
    assert "2 samples at 8000 Hz" in result.output and "padded with silence to 3" in result.output
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["y"], [[0.75, 0]], atol=1e-6)


def test_wrong_inputs_are_named(linear: Path, tmp_path: Path) -> None:
    assert "no --input for x: float32[batch,3]" in refused(hither("run", linear))
    assert "no input 'nope'" in refused(hither("run", linear, "-i", "x=random", "-i", "nope=1", "--shape", "x=1,3"))
    assert "--shape x=1,3" in refused(hither("run", linear, "-i", "x=random"))
    assert "no file" in refused(hither("run", linear, "-i", "x=missing.npy"))
    np.savez(tmp_path / "whole.npz", x=np.ones((1, 3), np.float32))
    archive = (tmp_path / "whole.npz").read_bytes()
    bad = {
        "bad.npy": b"not an array", "cut.npz": archive[: len(archive) // 2], "latin.json": b"[1, 2, \xe9]",
        "deep.json": b"[" * 100_000,
    }  # fmt: skip
    for name, data in bad.items():
        (tmp_path / name).write_bytes(data)
        says = "is no value for input 'x'" if name.endswith(".json") else "no NumPy file"
        assert says in refused(hither("run", linear, "-i", f"x={tmp_path / name}"))
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    assert "no NumPy file of numbers" in refused(hither("run", linear, "-i", f"x={tmp_path / 'objects.npz'}"))
    assert "x takes" in refused(hither("run", linear, "-i", "x=[[1, 2]]")).replace("'", "")


def test_names_and_values_are_shown_as_they_are(tmp_path: Path) -> None:
    """What comes from a file or a run may look like the markup of whatever prints it."""
    graph = helper.make_graph(
        [helper.make_node("Log", ["[/x]"], ["[bold]"]), helper.make_node("IsNaN", ["[bold]"], ["nan [red]"])],
        "names",
        [helper.make_tensor_value_info("[/x]", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info(n, t, [2]) for n, t in (("[bold]", TensorProto.FLOAT), ("nan [red]", TensorProto.BOOL))],
    )
    path = str(_save(graph, tmp_path / "names [b].onnx"))
    found = hither("run", path, "--input", "[/x]=[-1, 0]")
    assert found.exit_code == 0, found.output
    for text in ("[bold]", "nan [red]", "[ nan, -inf]", "[ True, False]"):
        assert text in found.stdout
    found = hither("inspect", path, "--shape", "[/x]=2")
    assert found.exit_code == 0 and "names [b].onnx" in found.stdout and "[/x]" in found.stdout
    assert "no input '[/y]'" in refused(hither("run", path, "--input", "[/y]=[1, 2]"))


def test_inspect_a_model(linear: Path) -> None:
    free = hither("inspect", linear)
    assert free.exit_code == 0 and "batch,3" in free.output and '--shape "x=1,3"' in free.output
    fixed = hither("inspect", linear, "--shape", "x=5,3", "--graph", "--kernels", "--device", "cpu,webgpu")
    assert fixed.exit_code == 0, fixed.output
    assert "matmul" in fixed.output and "webgpu" in fixed.output
    assert "70 FLOP" in fixed.output  # 5 x 2 results: 3 multiply-adds and a max each


def test_bundle_then_inspect_it(linear: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    made = hither("bundle", linear, "-o", folder, "--shape", "x=1,3", "--shape", "x=4,3", "--rename", "y=scores")
    assert made.exit_code == 0, made.output
    assert (folder / "manifest.json").is_file() and "kernels" in made.output and "sha256-" in made.output
    seen = hither("inspect", folder)
    assert seen.exit_code == 0, seen.output
    for text in ("scores", "1,3", "4,3", "wasm", "webgpu"):
        assert text in seen.output
    assert "free" in refused(hither("bundle", linear, "-o", tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_bundle_in_several_precisions(linear: Path, tmp_path: Path) -> None:
    options = ("--shape", "x=1,3", "--targets", "wasm", "--tolerance", "relative=0.05")
    made = hither("bundle", linear, "-o", tmp_path / "b", "--precision", "float32,float16", *options)
    assert made.exit_code == 0, made.output
    assert "float32 against float32" in made.output and "float16 against float32" in made.output
    shown = hither("inspect", tmp_path / "b")
    assert "float32 or float16" in shown.output and "float16:" in shown.output and "to download" in shown.output


def test_a_bundle_is_inspected_by_its_manifest_too(linear: Path, tmp_path: Path) -> None:
    assert hither("bundle", linear, "-o", tmp_path / "b", "--shape", "x=1,3", "--targets", "wasm").exit_code == 0
    by_folder, by_file = (hither("inspect", tmp_path / "b" / name) for name in ("", "manifest.json"))
    assert by_file.exit_code == 0 and by_file.output == by_folder.output


def test_calibration_passes_over_what_begins_with_a_dot(linear: Path, tmp_path: Path) -> None:
    """Tools leave files of theirs in folders of samples."""
    (tmp_path / "samples").mkdir()
    np.save(tmp_path / "samples" / "a.npy", np.ones((1, 3), np.float32))
    (tmp_path / "samples" / ".DS_Store").write_bytes(b"x")
    options = ("--shape", "x=1,3", "--targets", "wasm", "--precision", "int8", "--calibrate", tmp_path / "samples")
    made = hither("bundle", linear, "-o", tmp_path / "b", *options)
    assert made.exit_code == 0, made.output


def test_a_missing_package_is_an_error_of_one_line(linear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever installed hither alone and opens an ONNX file must be told what to install."""
    monkeypatch.setenv("HITHER_CACHE", "off")
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = hither("inspect", linear)
    assert isinstance(result.exception, HitherError) and "pip install 'hither[onnx]'" in str(result.exception)


def test_serve_sends_what_threads_and_wasm_need(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>hello")
    (tmp_path / "kernels.wasm").write_bytes(b"\0asm")
    command = [sys.executable, "-u", "-m", "hither", "serve", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            for path, kind in (("", "text/html"), ("kernels.wasm", "application/wasm")):
                with urllib.request.urlopen(address + path, timeout=20) as response:
                    assert response.headers["content-type"].startswith(kind)
                    assert response.headers["cross-origin-opener-policy"] == "same-origin"
        finally:
            server.terminate()
    assert "is not a folder" in refused(hither("serve", tmp_path / "missing"))


def test_bench_compares_results_and_times(linear: Path) -> None:
    result = hither("bench", linear, "--shape", "x=2,3", "--against", "onnxruntime", "--seconds", "0.1")
    assert result.exit_code == 0 and "median" in result.output and "onnxruntime" in result.output, result.output
    assert "'abacus'" in refused(hither("bench", linear, "--against", "abacus"))


def test_shapes_and_pairs() -> None:
    assert shapes("x=1,3 y=scalar; z=2x2") == {"x": (1, 3), "y": (), "z": (2, 2)}
    assert variants(["x=1,3", "y=2"]) == variants(["x=1,3 y=2"]) == [{"x": (1, 3), "y": (2,)}] and variants([]) == [{}]
    assert variants(["x=1 y=2", "x=3 y=4"]) == variants(["x=1", "y=2", "x=3", "y=4"]) == [
        {"x": (1,), "y": (2,)}, {"x": (3,), "y": (4,)}
    ]  # fmt: skip
    with pytest.raises(ArgumentError, match="'x' twice"):
        one_variant(["x=1", "x=2"])
    assert pairs("--rename", ["a=b=c"]) == {"a": "b=c"}
    for wrong in ("x", "x=", "x=1,n", "x=-1", "x=1 x=2"):
        with pytest.raises(ArgumentError, match="--shape"):
            shapes(wrong)


def test_errors_are_one_line_and_exit_codes_differ(linear: Path) -> None:
    """As a process: hither's errors give one line and 1, wrong usage gives 2, and --debug brings the traceback back."""

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "hither", *arguments], capture_output=True, text=True, timeout=60)

    wrong = command("run", "missing.onnx")
    assert wrong.returncode == 1
    assert wrong.stderr.strip().splitlines() == ["error: no model at 'missing.onnx'"]
    assert "Traceback" in command("--debug", "run", "missing.onnx").stderr
    assert command("run").returncode == 2
    assert command("--help").returncode == 0
