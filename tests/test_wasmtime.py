"""WebAssembly run from Python: device "wasm", what device "cpu" is without llvmlite, and bundles loaded back."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import hither as ht
from hither.cli import application
from hither.errors import DTypeMismatch, NameMismatch, OutOfMemory, ShapeMismatch, UnsupportedFeature
from hither.kernels.steps import Code, Copy, Ref
from hither.kernels.templates import tiling
from hither.program.program import DEVICES, Device
from hither.program.wasm import WasmSession
from hither.runtime import wasm
from hither.runtime.wasm import PAGE_BYTES, WasmError, WasmExecutable, WasmtimeMissing, wasm_machine
from hither.spec import Spec
from hither.targets.wasm.encoder import I32, OPCODES, Function, ModuleWriter
from hither.targets.wasm.printer import MEMORY
from hither.web.load import BundleModel
from hither.web.manifest import BundleError, seal
from tests.bundles import TABLE, affine_reference, edit_manifest, flip, make_large, make_picture
from tests.native import MACHINE

RNG = np.random.default_rng(7)
F32 = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def wasmtime_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Device "wasm" is wasmtime here, whatever other tests have registered under that name."""
    monkeypatch.setitem(DEVICES, "wasm", Device(wasm_machine, WasmSession))


def agrees(function: Any, **inputs: np.ndarray) -> None:
    """A function compiled for wasm gives what it gives when NumPy evaluates it."""
    specs = {n: Spec(a.shape, a.dtype) for n, a in inputs.items()}
    found = ht.compile(function, specs, device="wasm")(inputs)
    for name, expected in function(**{n: ht.asarray(a) for n, a in inputs.items()}).items():
        array = found[name].numpy()
        assert array.dtype == expected.numpy().dtype and array.shape == expected.shape
        np.testing.assert_allclose(array, expected.numpy(), rtol=2e-5, atol=2e-6, err_msg=name)


# -- device "wasm" -------------------------------------------------------------------------------------------------------


def test_programs_give_what_numpy_gives() -> None:
    w = RNG.normal(size=(17, 9)).astype(np.float32)
    agrees(
        lambda x, n: {
            "product": ht.tanh(x @ ht.asarray(w)),
            "softmax": ht.softmax(x, axis=-1),
            "where": ht.where(x > 0, x, ht.exp(x)),
            "positive": x > 0,
            "total": ht.sum(x),
            "whole": n * 3 + 1,
            "empty": x[:0],
        },
        x=RNG.normal(size=(5, 17)).astype(np.float32),
        n=np.array([2**40, -5, 7], np.int64),
    )


@pytest.mark.parametrize("columns", [80, 84, 8])
def test_products_in_blocks_of_panels_with_long_epilogues(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of tiles within and across blocks, a last panel that is cut, rows finished in a loop of their own."""
    monkeypatch.setattr(tiling, "PANEL_BLOCK", 2048)  # four of ten panels of 16 steps: five blocks of two
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 13, 16), (16, columns)))
    program = ht.compile(lambda x: {"y": ht.sigmoid(x @ w)}, {"x": ht.Spec(x.shape, "float32")}, device="wasm")
    np.testing.assert_allclose(program(x=x)["y"].numpy(), 1 / (1 + np.exp(-(x @ w))), rtol=2e-5)


def test_branches_and_loops_run_in_the_module() -> None:
    def function(x: Any, flag: Any) -> dict[str, Any]:
        chosen = ht.cond(flag, lambda v: v * 2, lambda v: v - 1, x)
        start = (x, ht.asarray(0, dtype="int32"))
        doubled, trips = ht.while_loop(lambda v: ht.max(v[0]) < 100, lambda v: (v[0] * 2, v[1] + 1), start)
        return {"chosen": chosen, "doubled": doubled, "trips": trips}

    program = ht.compile(function, {"x": Spec((3,), "float32"), "flag": Spec((), "bool")}, device="wasm")
    x = np.array([1, 2, 3], np.float32)
    for flag, chosen in ((True, x * 2), (False, x - 1)):
        found = program(x=x, flag=flag)
        np.testing.assert_array_equal(found["chosen"].numpy(), chosen)
        np.testing.assert_array_equal(found["doubled"].numpy(), x * 64)
        assert int(found["trips"]) == 6


def test_a_program_for_wasm_says_so_and_counts_its_memory() -> None:
    program = ht.compile(lambda x: x + 1, {"x": Spec((1000,), "float32")}, device="wasm")
    held = program.memory()
    assert "wasm" in repr(program) and held["arena"] >= 8000 and held["total"] == sum(held.values()) - held["total"]
    x = np.ones(1000, np.float32)
    first = program(x)["output"].numpy()
    program(x * 5)
    np.testing.assert_array_equal(first, x + 1)  # results are the caller's, no views of the memory


# -- the executable ------------------------------------------------------------------------------------------------------


def counter(state_bytes: int = 256) -> WasmExecutable:
    """ "swap" gives the state, and makes the input the state."""
    here, there = Ref("io", 0, 4), Ref("io", 256, 4)
    steps = (Copy(Ref("state", 0, 4), there), Copy(here, Ref("state", 0, 4)))
    sizes = {"weights": 0, "state": state_bytes, "arena": 0, "io": 512}
    return WasmExecutable.of_code(Code([], {"swap": steps}, sizes), wasm_machine())


def swap(executable: WasmExecutable, state: Any, value: float) -> float:
    """Give a state a value; returns the one before."""
    (found,) = executable.run("swap", [(0, np.array([value], np.float32))], [(256, F32, (1,))], state)
    return float(found[0])


def test_states_are_kept_apart_over_one_memory() -> None:
    """A fork has another state region, which makes the memory grow; a state that is dropped is used again, zeroed."""
    executable = counter(3 * PAGE_BYTES)
    one, two = executable.new_state(), executable.new_state()
    assert [swap(executable, one, 1), swap(executable, one, 2)] == [0, 1]
    assert [swap(executable, two, 5), swap(executable, one, 3)] == [0, 2]
    assert executable.read("state", 0, F32, (1,), two).tolist() == [5]
    addresses = {one.address, two.address}
    assert len(addresses) == 2
    del two
    gc.collect()
    again = executable.new_state()
    assert again.address in addresses - {one.address}
    assert swap(executable, again, 7) == 0
    executable.write("state", 0, np.array([9], np.float32), again)
    assert swap(executable, again, 0) == 9


def trapping() -> bytes:
    """A module whose entry "train" writes to its state and fails."""
    module = ModuleWriter(MEMORY)
    code = OPCODES["local.get"] + b"\1" + OPCODES["i32.const"] + b"\7" + OPCODES["i32.store"] + b"\2\0" + OPCODES["unreachable"]
    module.add(Function("train", (I32,) * 7, (), (), code), export="train")
    return module.finish()[0]


def test_a_failing_entry_says_which_and_can_leave_the_state_alone() -> None:
    executable = WasmExecutable(trapping(), {"state": 256}, scratch=0, sync=64)
    state = executable.new_state()
    with pytest.raises(WasmError, match=r"entry 'train' failed: wasm trap: .*unreachable"):
        executable.run("train", [], [], state, keep=True)
    assert executable.read("state", 0, np.dtype(np.int32), (1,), state).tolist() == [0]
    with pytest.raises(WasmError):
        executable.run("train", [], [], state)
    assert executable.read("state", 0, np.dtype(np.int32), (1,), state).tolist() == [7]


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(WasmError, match="cannot load the module"):
        WasmExecutable(b"\0asm\1\0\0\0nonsense", {}, 0, 0)
    with pytest.raises(WasmError, match="imports"):
        WasmExecutable(b"\0asm\1\0\0\0", {}, 0, 0)
    with pytest.raises(OutOfMemory, match=r"8589\d+ bytes.*WebAssembly addresses 4294967296.*smaller batch"):
        WasmExecutable(trapping(), {"arena": 1 << 33}, 0, 0)
    executable = counter()
    state = executable.new_state()
    with pytest.raises(WasmError, match=r"no entry 'nope'; it has 'swap'"):
        executable.run("nope", [], [], state)
    with pytest.raises(WasmError, match="not in region 'io' of 512 bytes"):
        executable.run("swap", [(512, np.zeros(1, np.float32))], [], state)
    with pytest.raises(ValueError, match="wasm"):
        WasmExecutable.of_code(Code([], {}, {}), MACHINE)


def test_without_wasmtime_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, affine: Path) -> None:
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    wasm._wasmtime.cache_clear()
    with pytest.raises(WasmtimeMissing, match=r"pip install 'hither\[wasmtime\]'"):
        ht.compile(lambda x: x, {"x": Spec((1,), "float32")}, device="wasm")
    with pytest.raises(WasmtimeMissing):
        ht.load(affine)


# -- without llvmlite ----------------------------------------------------------------------------------------------------

WITHOUT_LLVMLITE = """
import sys, warnings
sys.modules["llvmlite"] = None
import numpy as np, hither as ht
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    programs = [ht.compile(lambda x: {"y": ht.exp(x) @ x}, {"x": ht.Spec((n, n), "float32")}) for n in (2, 3)]
    step = ht.jit(lambda x: x + 1)
    x = np.eye(3, dtype=np.float32)
    y = programs[1](x)["y"].numpy()
    z = step(x).numpy()
assert [(w.category, "llvmlite is not installed" in str(w.message)) for w in said] == [(RuntimeWarning, True)], said
assert "cpu as WebAssembly" in repr(programs[0]), programs[0]
assert programs[0].plan.machine.name == "wasm"
np.testing.assert_allclose(y, np.exp(x) @ x, rtol=1e-6)
np.testing.assert_array_equal(z, x + 1)
"""


def test_cpu_is_wasm_where_llvmlite_does_not_exist() -> None:
    """The same kernels, said once by name; nothing on the way imports llvmlite."""
    run = subprocess.run([sys.executable, "-c", WITHOUT_LLVMLITE], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


# -- bundles -------------------------------------------------------------------------------------------------------------


def test_a_bundle_is_a_model(affine: Path) -> None:
    model = ht.load(affine)
    assert isinstance(model, BundleModel) and model.device == "wasm" and model.name == "affine"
    assert [str(s) for s in model.inputs.values()] == ["float32[?,3]", "int64[2]"]
    assert list(model.outputs) == ["y", "n"]
    assert len(model.weights) == len(list(model.weights)) and all(model.weights[n].size for n in model.weights)
    for rows in (2, 5, 2):
        x = RNG.normal(size=(rows, 3)).astype(np.float32)
        found = model(x=x, n=np.array([3, -(2**33)]))
        np.testing.assert_allclose(found["y"].numpy(), affine_reference(x), rtol=1e-5, atol=1e-6)
        assert found["n"].numpy().tolist() == [6, -(2**34)] and found["n"].dtype == ht.int64
    renamed = model.rename({"x": "rows", "y": "scores"})
    assert list(renamed({"rows": np.zeros((2, 3), np.float32), "n": np.array([1, 1])})) == ["scores", "n"]
    assert type(ht.load(affine / "manifest.json")) is BundleModel


def test_wrong_arguments_list_what_the_bundle_takes(affine: Path) -> None:
    model = ht.load(affine)
    x, n = np.zeros((4, 3), np.float32), np.array([1, 1])
    both = r"compiled for x: float32\[2, 3\], n: int64\[2\] or x: float32\[5, 3\], n: int64\[2\]"
    with pytest.raises(ShapeMismatch, match=rf"no variant of affine takes x: float32\[4, 3\].*{both}"):
        model(x=x, n=n)
    with pytest.raises(ShapeMismatch, match=both):
        model(x=np.zeros((2, 4), np.float32), n=n)
    with pytest.raises(DTypeMismatch, match="float64"):
        model(x=x.astype(np.float64), n=n)
    with pytest.raises(NameMismatch, match="misses input 'n'"):
        model(x=x)
    with pytest.raises(UnsupportedFeature, match="holds no graph"):
        ht.compile(model, {"x": Spec((2, 3), "float32")})
    with pytest.raises(UnsupportedFeature, match="'webgpu'"):
        ht.load(affine, device="webgpu")
    with pytest.raises(UnsupportedFeature, match="float16"):
        model.to(precision="float16")


def test_a_bundle_of_segments_media_and_entries(tmp_path: Path) -> None:
    manifest = make_large(tmp_path / "large")
    assert len(manifest["weights"]["segments"]) > 1
    x = RNG.normal(size=(1, 700)).astype(np.float32)
    large = ht.load(tmp_path / "large", integrity=manifest["digest"])
    (table,) = (a for a in large.weights.values() if a.ndim >= 2)
    assert table.size >= 700 * 700
    np.testing.assert_allclose(large(x)["y"].numpy(), x @ TABLE, rtol=1e-3, atol=1e-3)
    make_picture(tmp_path / "picture")
    picture = ht.load(tmp_path / "picture").inputs["image"]
    assert (picture.media, picture.layout, picture.mean) == ("image", "NCHW", [0.5, 0.25, 0])
    two = {"double": lambda x: {"y": x * 2}, "sum": lambda x: {"s": ht.sum(x)}}
    ht.bundle(two, tmp_path / "two", {"x": Spec((3,), "float32")}, targets="wasm")
    model = ht.load(tmp_path / "two")
    x = np.array([1, 2, 3], np.float32)
    assert isinstance(model, BundleModel) and model.entries == ("double", "sum")
    assert model(x)["y"].numpy().tolist() == [2, 4, 6] and float(model.run("sum", x)["s"]) == 6
    with pytest.raises(NameMismatch, match="it has 'double', 'sum'"):
        model.run("train", x)


@pytest.mark.parametrize("pattern", ["manifest.json", "weights-*.bin", "kernels.wasm"])
def test_a_changed_byte_is_refused(copy: Path, pattern: str) -> None:
    (path,) = copy.glob(pattern)
    flip(path, path.stat().st_size // 2)
    with pytest.raises(BundleError, match=r"damaged.*copy the bundle again"):
        ht.load(copy)


@pytest.mark.parametrize("pattern", ["weights-*.bin", "kernels.wasm"])
def test_a_truncated_or_missing_file_is_refused(copy: Path, pattern: str) -> None:
    (path,) = copy.glob(pattern)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="truncated"):
        ht.load(copy)
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        ht.load(copy)


def _without(key: str) -> Any:
    return lambda m: m.pop(key)


MALFORMED = {
    "no builds": (_without("builds"), BundleError, "malformed: KeyError"),
    "no default entry": (lambda m: m.update(default_entry="x"), BundleError, "no default entry"),
    "a segment elsewhere": (
        lambda m: m["weights"]["segments"][0].update(file="../manifest.json"), BundleError, "no file beside the manifest"
    ),
    "a gap between segments": (lambda m: m["weights"]["segments"][0].update(start=256), BundleError, "starts at 256"),
    "a weight outside": (lambda m: m["weights"]["tensors"][0].update(offset=1 << 40), BundleError, "is not in the"),
    "a negative size": (lambda m: [b.update(arena=-1) for b in m["builds"]], BundleError, "-1 stands where"),
    "a placement outside": (
        lambda m: [x["placements"][0].__setitem__(2, 1 << 30) for x in m["layouts"]], WasmError, "not in region 'weights'"
    ),
    "an endless arena": (lambda m: [b.update(arena=1 << 62) for b in m["builds"]], OutOfMemory, "WebAssembly addresses"),
    "a tensor without number": (
        lambda m: [x["placements"][0].__setitem__(0, 99) for x in m["layouts"]], BundleError, "tensor 99"
    ),
    "a plan missing": (lambda m: [b["variants"].pop() for b in m["builds"]], BundleError, "plans for 1 of 2"),
    "a shape of words": (
        lambda m: m["variants"][0]["entries"]["predict"]["inputs"][0].update(shape=["two"]), BundleError, "'two' stands"
    ),
    "a placement of three parts": (
        lambda m: [x["placements"][0].pop() for x in m["layouts"]], BundleError, "malformed: ValueError"
    ),
    "an input without a name": (
        lambda m: m["variants"][0]["entries"]["predict"]["inputs"][0].update(name=[]), BundleError, r"inputs is called \[\]"
    ),
    "labels that are no list": (
        lambda m: m["variants"][0]["entries"]["predict"]["outputs"][0].update(labels=5), BundleError, "the labels of 'y' are 5"
    ),
    "no name": (_without("name"), BundleError, "malformed: KeyError"),
    "extensions that are no list": (lambda m: m.update(extensions_required=7), BundleError, "does not know: 7"),
    "no build that runs here": (
        lambda m: m.update(builds=[b for b in m["builds"] if b["target"] == "webgpu"]), UnsupportedFeature, "builds for webgpu"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_manifest_that_does_not_add_up_is_refused(copy: Path, name: str) -> None:
    """Its digest fits: whoever writes a bundle can seal anything."""
    change, error, says = MALFORMED[name]
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_bytes(seal(manifest))
    with pytest.raises(error, match=says):
        ht.load(copy)


def test_a_manifest_that_is_nested_without_end_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_bytes(b'{"format": "hither-bundle", "x": ' + b"[" * 200_000)
    with pytest.raises(BundleError, match="nested too deep"):
        ht.load(copy)


def test_what_a_later_version_says_of_an_input_beside_the_rest_is_passed_over(copy: Path) -> None:
    """As the JavaScript loader does: extensions that are not required may add to what is there."""
    manifest = json.loads((copy / "manifest.json").read_text())
    for variant in manifest["variants"]:
        variant["entries"]["predict"]["inputs"][0]["unit"] = "metres"
    (copy / "manifest.json").write_bytes(seal(manifest))
    assert list(ht.load(copy).inputs) == ["x", "n"]


def test_integrity_pins_a_bundle(affine: Path) -> None:
    with pytest.raises(BundleError, match="told to accept only sha256-0"):
        ht.load(affine, integrity="sha256-" + "0" * 64)


def test_the_plain_build_is_used_where_the_first_does_not_run(copy: Path) -> None:
    """Builds stand in order of preference; one that requires what this runtime lacks is passed over."""
    manifest = json.loads((copy / "manifest.json").read_text())
    first = next(b for b in manifest["builds"] if b["target"] == "wasm")
    first["requires"] = ["memory64"]
    edit_manifest(copy, builds=manifest["builds"])
    (copy / first["file"]).unlink()
    x = np.ones((2, 3), np.float32)
    found = ht.load(copy)(x=x, n=np.array([1, 2]))["y"].numpy()
    np.testing.assert_allclose(found, affine_reference(x), rtol=1e-5)


def test_the_command_line_runs_and_inspects_bundles(affine: Path, tmp_path: Path) -> None:
    def hither(*arguments: object) -> Any:
        return CliRunner().invoke(application(), [str(a) for a in arguments])

    out = tmp_path / "out.npz"
    run = hither("run", affine, "-i", "x=random", "-i", "n=[1, 2]", "--shape", "x=5,3", "-o", out)
    assert run.exit_code == 0, run.output
    assert np.load(out)["y"].shape == (5, 4) and "on wasm" in run.output
    shown = hither("inspect", affine)
    assert shown.exit_code == 0 and "relaxed-simd" in shown.output, shown.output
    refused = hither("run", affine, "-i", "x=random", "-i", "n=[1, 2]", "--shape", "x=4,3")
    assert refused.exit_code == 1 and "compiled for" in str(refused.exception)
