"""Programs on disk: a hit runs what was compiled, anything that could change the result misses, damage is mended."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import hither as ht
from hither.errors import InvalidModel, ShapeMismatch
from hither.program import stored
from hither.runtime import cpu, provenance
from hither.runtime.object_cache import ObjectCache

from .onnx_build import build, info

compiler = import_module("hither.program.compile")
X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
SPECS = {"x": ht.Spec((3, 4), "float32")}


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    """An empty cache, which trusts the sources even if somebody edits them while the tests run."""
    monkeypatch.setenv("HITHER_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("HITHER_CACHE", raising=False)
    monkeypatch.setattr(ht, "_IMPORTED", math.inf)
    monkeypatch.setattr(stored, "is_unchanged", lambda: True)
    provenance._digest_at_first.cache_clear()
    yield
    provenance._digest_at_first.cache_clear()


@pytest.fixture
def compiled(monkeypatch):
    """The calls that planned something."""
    calls = []
    original = compiler.plan_target
    monkeypatch.setattr(compiler, "plan_target", lambda *args: calls.append(args) or original(*args))
    return calls


def dense(path: Path, factor: float = 1.0) -> Path:
    """softmax(x @ w + b) for any number of rows; also a sum that takes its axis from an input."""
    weight = np.random.default_rng(0).standard_normal((4, 5), np.float32) * np.float32(factor)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=-1),
    ]
    constants = {"w": weight, "b": np.arange(5, dtype=np.float32)}
    path.write_bytes(build(nodes, [info("x", shape=("rows", 4))], ["y"], constants))
    return path


def files(directory: Path, suffix: str) -> list[Path]:
    return sorted(directory.rglob(f"*{suffix}"))


def test_a_hit_is_the_same_program(tmp_path, compiled):
    path = dense(tmp_path / "m.onnx")
    first = ht.compile(ht.load(path), SPECS, device="cpu")
    model = ht.load(path)
    second = ht.compile(model, SPECS, device="cpu")
    assert len(compiled) == 1
    assert second(X)["y"].numpy().tobytes() == first(X)["y"].numpy().tobytes()
    assert second.fork()(X)["y"].numpy().tobytes() == first(X)["y"].numpy().tobytes()
    for view in (lambda p: p.entries, lambda p: p.statistics(), lambda p: p.memory(), repr):
        assert view(second) == view(first)
    assert len(compiled) == 1, "none of that needs the plan"
    assert [k.key() for k in second.plan.code.kernels] == [k.key() for k in first.plan.code.kernels] and len(compiled) == 2
    assert second.plan is second.plan and len(compiled) == 2
    assert set(model.weights) == {"w", "b"} and np.array_equal(model.weights["w"], ht.load(path).weights["w"])
    with pytest.raises(ShapeMismatch):
        ht.compile(model, {"x": ht.Spec((3, 5), "float32")}, device="cpu")


SCRIPT = """
import hashlib, json, sys
import numpy as np, hither as ht
model = ht.load(sys.argv[1])
program = ht.compile(model, {"x": ht.Spec((3, 4), "float32")}, device="cpu")
y = program(np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4))["y"].numpy()
heavy = [m for m in ("onnx", "hither.program.plan", "hither.formats.onnx.reader", "hither.targets.wasm") if m in sys.modules]
print(json.dumps([hashlib.sha256(y.tobytes()).hexdigest(), heavy, str(model.outputs)]))
"""


def start(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> list:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(output)


def test_processes_that_write_at_once_and_one_that_comes_later(tmp_path):
    path = dense(tmp_path / "m.onnx")
    ht_result = ht.compile(ht.load(path), SPECS, device="cpu")(X)["y"].numpy()
    for file in files(tmp_path / "cache", ""):
        if file.is_file():
            file.unlink()
    writers = [result(p) for p in [start(path) for _ in range(3)]]
    reader = result(start(path))
    assert {r[0] for r in (*writers, reader)} == {hashlib.sha256(ht_result.tobytes()).hexdigest()}
    assert reader[2] == writers[0][2]
    if reader[1]:  # somebody edits hither while its tests run: the processes are right not to cache
        assert provenance.source_digest() != provenance.code_identity()
    assert not files(tmp_path / "cache", ".tmp")


def test_threads_that_compile_at_once(tmp_path):
    path = dense(tmp_path / "m.onnx")

    def run(_: int) -> bytes:
        return ht.compile(ht.load(path), SPECS, device="cpu")(X)["y"].numpy().tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(run, range(8)))) == 1


def test_whatever_could_change_the_result_misses(tmp_path, compiled, monkeypatch):
    path = dense(tmp_path / "m.onnx")

    def run(rows: int = 3, path: Path = path, **names: str) -> int:
        before = len(compiled)
        model = ht.load(path)
        model = model.rename(names) if names else model
        x = np.ones((rows, 4), np.float32)
        name = names.get("x", "x")
        values = ht.compile(model, {name: ht.Spec((rows, 4), "float32")}, device="cpu")({name: x})
        assert list(values) == [names.get("y", "y")]
        return len(compiled) - before

    assert run() == 1 and run() == 0
    assert run(rows=2) == 1 and run(rows=2) == 0
    stored_files = len(files(tmp_path / "cache", ".program"))
    assert run(x="image") == 1 and run(x="image") == 0 and run(y="scores") == 1 and run() == 0
    assert len(files(tmp_path / "cache", ".program")) == stored_files + 2, "two more programs over the same weights"
    other = dense(tmp_path / "other.onnx", 2.0)
    assert run(path=other) == 1
    path.write_bytes(other.read_bytes())
    assert run() == 0, "the content of a file counts, not its name"
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "compiler_identity", lambda: ("another processor",))
        assert run() == 1
    with monkeypatch.context() as patch:
        machine = replace(cpu.host_machine(), l2_bytes=1 << 18)
        patch.setattr(cpu, "host_machine", lambda: machine)
        assert run() == 1
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "_digest_at_first", lambda: "another hither")
        assert run() == 1
    assert run() == 0


def test_values_that_are_compiled_in_are_part_of_the_key(tmp_path, compiled):
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    path = tmp_path / "m.onnx"
    path.write_bytes(build(nodes, [info("x", shape=(3, 4)), info("axes", np.int64, (1,))], ["y"], opset=13))
    for axis in (0, 1, 0, 1):
        program = ht.compile(ht.load(path), {"axes": ht.Spec((1,), "int64", value=[axis])}, device="cpu")
        assert np.allclose(program(X)["y"].numpy(), X.sum(axis), atol=1e-6)
    assert len(compiled) == 2
    assert np.allclose(ht.load(path)(x=X, axes=np.array([1]))["y"].numpy(), X.sum(1), atol=1e-6), "learns what it needs"


def test_outputs_of_data_dependent_size(tmp_path, compiled):
    path = tmp_path / "m.onnx"
    path.write_bytes(build([helper.make_node("NonZero", ["x"], ["y"])], [info("x", shape=(3, 4))], ["y"]))
    x = np.where(X > 0, X, 0)
    for _ in range(2):
        assert np.array_equal(ht.compile(ht.load(path), device="cpu")(x)["y"].numpy(), np.array(np.nonzero(x)))
    assert len(compiled) == 1


def test_damage_is_mended(tmp_path, compiled):
    path = dense(tmp_path / "m.onnx")

    def run() -> bytes:
        return ht.compile(ht.load(path), SPECS, device="cpu")(X)["y"].numpy().tobytes()

    expected = run()
    for suffix in (".program", ".model", ".o"):
        for file in files(tmp_path / "cache", suffix):
            good = file.read_bytes()
            flipped = bytearray(good)
            flipped[len(good) // 2] ^= 1
            for bad in (good[:-1], bytes(flipped), b""):
                file.write_bytes(bad)
                assert run() == expected
            assert suffix == ".o" or file.read_bytes() == good
    assert len(compiled) == 1 + 2 * 3
    run()
    assert len(compiled) == 1 + 2 * 3


def test_the_least_recently_used_go_and_come_back(tmp_path, compiled, monkeypatch):
    cache = ObjectCache(tmp_path / "small", 1 << 20, ".program")
    monkeypatch.setattr(stored, "program_cache", lambda: cache)
    path = dense(tmp_path / "m.onnx")

    def run(rows: int) -> int:
        before = len(compiled)
        ht.compile(ht.load(path), {"x": ht.Spec((rows, 4), "float32")}, device="cpu")
        return len(compiled) - before

    assert run(1) == 1
    now = max(f.stat().st_mtime for f in files(cache.directory, ".program"))
    size = sum(f.stat().st_size for f in files(cache.directory, ".program"))
    for file in files(cache.directory, ".program"):
        os.utime(file, (now - 100, now - 100))
    cache.limit = size + 4000
    assert run(2) == 1 and run(2) == 0, "the weights were used again, so the first program went"
    cache.limit = 1 << 20
    assert run(1) == 1 and run(1) == 0
    weights = min(files(cache.directory, ".program"), key=lambda f: f.stat().st_size)
    weights.unlink()
    assert run(1) == 1 and run(1) == 0, "a program without its weights is none"
    cache.put("large", bytes(cache.limit))
    assert not cache.has("large") and run(1) == 0, "one object does not push out all others"


@pytest.mark.parametrize("word", ["off", "OFF", "0"])
def test_off(tmp_path, compiled, monkeypatch, word):
    monkeypatch.setenv("HITHER_CACHE", word)
    path = dense(tmp_path / "m.onnx")
    for _ in range(2):
        ht.compile(ht.load(path), SPECS, device="cpu")(X)
    assert len(compiled) == 2 and not (tmp_path / "cache").exists()


def test_what_is_no_file_is_not_stored(tmp_path, compiled):
    for _ in range(2):
        ht.compile(lambda x: x * 2, SPECS, device="cpu")
    assert len(compiled) == 2 and not files(tmp_path / "cache", ".program")


def test_sources_that_change_turn_the_cache_off(tmp_path, compiled, monkeypatch):
    path = dense(tmp_path / "m.onnx")
    monkeypatch.setattr(ht, "_IMPORTED", 0.0)
    provenance._digest_at_first.cache_clear()
    for _ in range(2):
        ht.compile(ht.load(path), SPECS, device="cpu")
    assert len(compiled) == 2 and not files(tmp_path / "cache", ".program") and not files(tmp_path / "cache", ".model")


def test_a_file_that_changes_after_it_was_loaded(tmp_path):
    path = dense(tmp_path / "m.onnx")
    ht.compile(ht.load(path), SPECS, device="cpu")
    model = ht.load(path)
    program = ht.compile(model, SPECS, device="cpu")
    dense(path, 3.0)
    program(X)
    for network in (lambda: program.plan, lambda: model.graph(SPECS), lambda: len(model.weights)):
        with pytest.raises(InvalidModel, match="changed since it was loaded"):
            network()


def test_external_data_is_part_of_the_model(tmp_path, compiled):
    folder = tmp_path / "model"
    folder.mkdir()
    proto = onnx.load_from_string(dense(tmp_path / "m.onnx").read_bytes())
    onnx.save(proto, folder / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)

    def run() -> np.ndarray:
        return ht.compile(ht.load(folder / "m.onnx"), SPECS, device="cpu")(X)["y"].numpy()

    before = run()
    assert np.array_equal(run(), before) and len(compiled) == 1
    weights = folder / "weights.bin"
    content = np.fromfile(weights, np.float32)
    (content * 2).tofile(weights)
    assert not np.array_equal(run(), before) and len(compiled) == 2
    content.tofile(weights)
    assert np.array_equal(run(), before) and len(compiled) == 2
    weights.unlink()
    with pytest.raises(InvalidModel, match="missing"):
        run()
