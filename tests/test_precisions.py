"""Bundles of several precisions: one folder, of which every loader brings what its device has room for, and says why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import hither as ht
from hither.errors import UnsupportedFeature
from hither.program.compile import CompileError
from hither.web.bundle import read_manifest
from hither.web.contents import read_tensors, weights_of
from hither.web.manifest import BundleError, seal

from .browser import in_page, serving
from .bundles import edit_manifest, in_node

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("float32", "float16", "int8")
RNG = np.random.default_rng(0)
FIRST, SECOND = (RNG.standard_normal((700, 700)).astype(np.float32) / 26 for _ in range(2))
BIAS = RNG.standard_normal(700).astype(np.float32)
TABLE = np.arange(4096, dtype=np.int32) * 1_000_001 % 65_537  # what every precision holds in the same bytes
X = RNG.standard_normal((1, 700)).astype(np.float32)
SPECS = {"x": ht.Spec((1, 700)), "n": ht.Spec((1,), "int32")}
INPUT = "{ x: Float32Array.from(x), n: [3] }"
TOLERANCE = {"float32": 1e-6, "float16": 2e-3, "int8": 3e-2}
WANTED = np.maximum(X.astype(np.float64) @ FIRST + BIAS, 0) @ SECOND
MB = 1e6
SIZES = {"float32": 3.92 * MB, "float16": 1.96 * MB, "int8": 0.98 * MB}  # of both matrices, as each precision has them


def network(x: Any, n: Any) -> dict[str, Any]:
    hidden = ht.maximum(x @ FIRST + BIAS, 0)
    return {"y": hidden @ SECOND, "row": ht.take(ht.asarray(TABLE), n, axis=0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("precisions") / "net"
    ht.bundle(network, path, SPECS, precision=NAMES)
    return path


def error(found: Any) -> float:
    return float(np.abs(np.asarray(found) - WANTED).max() / np.abs(WANTED).max())


# -- the folder ------------------------------------------------------------------------------------------------------------


def test_the_manifest_says_what_there_is(folder: Path) -> None:
    manifest = read_manifest(folder)
    jsonschema.validate(manifest, json.loads((ROOT / "docs" / "manifest.schema.json").read_text()))
    assert manifest["precision"] == "float32" and [p["name"] for p in manifest["precisions"]] == list(NAMES)
    assert manifest["extensions_used"] == ["precisions"] and manifest["extensions_required"] == []
    assert [(b["target"], b["precision"]) for b in manifest["builds"]] == [
        *(("webgpu", name) for name in NAMES),
        *(("wasm", name) for name in NAMES for _ in ("relaxed", "plain")),
    ]


def test_nothing_is_stored_twice_and_nothing_needless_downloaded(folder: Path) -> None:
    manifest = read_manifest(folder)
    segments = manifest["weights"]["segments"]
    assert len({s["sha256"] for s in segments}) == len(segments)
    shared = BIAS.nbytes + TABLE.nbytes
    assert sum(s["bytes"] for s in segments) <= 1.01 * (sum(SIZES.values()) + shared)
    for name in NAMES:
        needed = weights_of(manifest, name)[1]
        assert SIZES[name] + shared <= sum(s.nbytes for s in needed) <= 1.02 * (SIZES[name] + shared)
        files = {s.file for s in needed}
        others = {s["file"] for s in segments} - files
        assert sum((folder / f).stat().st_size for f in files) == sum(s.nbytes for s in needed) and len(others) >= 2


def test_a_loader_that_knows_one_precision_finds_the_first(folder: Path, tmp_path: Path) -> None:
    """As it was before there were several: no list of them, builds in order."""
    copy = Path(shutil.copytree(folder, tmp_path / "old"))
    manifest = read_manifest(copy)
    for build in manifest["builds"]:
        del build["precision"]
    del manifest["precisions"]
    (copy / "manifest.json").write_bytes(seal(manifest))
    model = ht.load(copy)
    assert model.precision == "float32"
    assert error(model(x=X, n=np.array([3], np.int32))["y"].numpy()) < TOLERANCE["float32"]


def test_equal_arrays_of_several_names_lie_at_one_place(tmp_path: Path) -> None:
    def two(x: Any) -> Any:
        return x @ ht.asarray(FIRST) @ ht.asarray(FIRST.copy())

    manifest = ht.bundle(two, tmp_path, {"x": ht.Spec((1, 700))}, targets=("wasm",), precision=("float32", "float16"))
    assert manifest["weights"]["bytes"] <= 1.01 * (FIRST.nbytes + FIRST.nbytes / 2)


# -- from Python -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_python_loads_the_one_that_is_asked_for(folder: Path, name: str) -> None:
    model = ht.load(folder, precision=name)
    results = model(x=X, n=np.array([3], np.int32))
    assert model.precision == name and error(results["y"].numpy()) < TOLERANCE[name]
    assert results["row"].numpy() == TABLE[3]
    largest = max(model.weights.values(), key=lambda a: a.size)
    assert largest.dtype == {"float32": np.float32, "float16": np.float16, "int8": np.int8}[name]
    assert len(model.weights) == len(weights_of(read_manifest(folder), name)[0])


def test_python_takes_the_first_and_changes_to_another(folder: Path) -> None:
    model = ht.load(folder)
    other = model.to(precision="float16")
    given = {"x": X, "n": np.array([3], np.int32)}
    assert (model.precision, other.precision) == ("float32", "float16")
    assert error(model(given)["y"].numpy()) < TOLERANCE["float32"] < error(other(given)["y"].numpy()) < TOLERANCE["float16"]
    for wrong in (lambda: ht.load(folder, precision="int4"), lambda: model.to(precision="int4")):
        with pytest.raises(UnsupportedFeature, match="float32 or float16 or int8; for precision='int4'"):
            wrong()
    with pytest.raises(UnsupportedFeature, match="float32 and float16 and int8, not in 'int4'"):
        read_tensors(folder, precision="int4")


def test_a_manifest_that_does_not_add_up_is_refused(node: str, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    edit_manifest(copy, precisions=[{"name": "float32"}, {"name": "float16"}])
    with pytest.raises(BundleError, match="lists the precisions float32, float16, and has builds in"):
        ht.load(copy)
    got = in_node(node, copy, "await load(folder, { device: 'wasm' })")
    assert got["code"] == "format" and "a build has int8" in got["error"]


def test_what_cannot_be_bundled_is_refused(tmp_path: Path) -> None:
    def bundle(**options: Any) -> None:
        ht.bundle(network, tmp_path, SPECS, **options)

    with pytest.raises(BundleError, match="float32, int8: choose one"):
        bundle(precision=("float32", "int8"), progressive=True)
    with pytest.raises(BundleError, match="each once"):
        bundle(precision=("float32", "float32"))
    with pytest.raises(BundleError, match="at least one"):
        bundle(precision=())
    with pytest.raises(BundleError, match="say which of them"):
        bundle(precision=("float32", "int8"), activations="int8")
    with pytest.raises(CompileError, match="no precision 'int7'"):
        bundle(precision=("float32", "int7"))
    with pytest.raises(CompileError, match='give precision="int8" too'):
        bundle(precision=("float16/int8",))
    with pytest.raises(BundleError, match="the preferred one first; got a set"):
        bundle(precision={"float32", "int8"})


def test_each_precision_is_judged(node: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"targets": ("wasm",), "calibrate": [{"x": X, "n": np.array([3], np.int32)}]}
    ht.bundle(network, tmp_path, SPECS, precision=("float32", "float16", "int8"), tolerance={"relative": 0.03}, **options)
    manifest = read_manifest(tmp_path)
    jsonschema.validate(manifest, json.loads((ROOT / "docs" / "manifest.schema.json").read_text()))
    found = {p["name"]: p["accuracy"]["outputs"]["y"]["relative"] for p in manifest["precisions"]}
    assert found["float32"] == 0 < found["float16"] < 2e-3 < found["int8"] < 0.03
    body = "return (await load(folder, { device: 'wasm', precision: 'int8' })).info.accuracy"
    assert in_node(node, tmp_path, body)["value"]["outputs"]["y"]["relative"] == found["int8"]
    ht.bundle(network, tmp_path, SPECS, precision=("float16", "int8"), tolerance={"relative": 2e-3}, **options)
    kept = {p["name"]: [k["shape"] for k in p["accuracy"]["kept"]] for p in read_manifest(tmp_path)["precisions"]}
    assert kept["float16"] == [] and [700, 700] in kept["int8"]


def test_bytes_for_activations_have_a_name(node: str, tmp_path: Path) -> None:
    """The name "int8/int8" is a precision of a bundle like others, by which one loads it."""
    ht.bundle(network, tmp_path / "two", SPECS, precision=("float16", "int8/int8"))
    body = f"return load(folder, options).then(async (p) => [p.info.precision, (await p.run({INPUT})).y.data])"
    options = {"device": "wasm", "threads": 1, "precision": "int8/int8"}
    name, found = in_node(node, tmp_path / "two", body, options=options, x=X[0].tolist())["value"]
    assert name == "int8/int8" and TOLERANCE["float16"] < error(found) < TOLERANCE["int8"]
    ht.bundle(network, tmp_path / "one", SPECS, precision="int8", activations="int8", targets=("wasm",))
    assert read_manifest(tmp_path / "one")["precision"] == "int8/int8"
    assert ht.load(tmp_path / "one").precision == "int8/int8"


# -- the loader ------------------------------------------------------------------------------------------------------------

FETCHED = """
  const files = new Set(), { readFile } = await import("node:fs/promises");
  const fetch = async (url) => {
    files.add(new URL(url).pathname.slice(1));
    return new Response(await readFile(folder + new URL(url).pathname));
  };
  const program = await load("http://bundle/", { device: "wasm", threads: 1, fetch, ...options });
  const { y, row } = await program.run(INPUT), { info } = program;
  return { y: y.data, row: row.data[0], precision: info.precision, why: info.why, files: [...files], all: info.precisions,
           weights: program.memory().weights, network: info.transfer.network };
""".replace("INPUT", INPUT)


@pytest.mark.parametrize(
    ("options", "name", "why"),
    [
        ({}, "float32", "asked for; float32 is the bundle's first choice"),
        ({"precision": "float16"}, "float16", "asked for; float16 as asked for"),
        ({"memory": 3e6}, "float16", "not float32: it takes 4.0 MB, and memory allows 3.0 MB; so float16"),
        ({"memory": 1.5e6}, "int8", "not float16: it takes 2.0 MB, and memory allows 1.5 MB; so int8"),
        ({"memory": 1e9}, "float32", "first choice"),
        ({"memory": 3e6, "precision": "int8"}, "int8", "as asked for"),
    ],
    ids=str,
)
def test_the_loader_brings_one_precision(node: str, folder: Path, options: Any, name: str, why: str) -> None:
    got = in_node(node, folder, FETCHED, options=options, x=X[0].tolist())["value"]
    assert got["precision"] == name and got["all"] == list(NAMES)
    assert why in got["why"]
    assert error(got["y"]) < TOLERANCE[name] and got["row"] == TABLE[3]
    assert SIZES[name] <= got["weights"] <= 1.02 * (SIZES[name] + BIAS.nbytes + TABLE.nbytes)
    weights = {f for f in got["files"] if f.startswith("weights")}
    assert weights == {s.file for s in weights_of(read_manifest(folder), name)[1]}
    assert sum(f.startswith("kernels") for f in got["files"]) == 1


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"precision": "int4"}, "option", 'the bundle has no precision "int4"; it has float32, float16, int8'),
        ({"memory": -1}, "option", "memory is -1"),
        ({"memory": "3e6"}, "option", 'memory is "3e6", not a number of bytes'),
        ({"memory": 5e5}, "memory", "at least, and memory allows 500000 bytes: allow more"),
        ({"memory": 3e6, "precision": "float32"}, "memory", "at least, and memory allows 3.0 MB"),
    ],
    ids=str,
)
def test_what_cannot_be_had_is_an_error(node: str, folder: Path, options: Any, code: str, message: str) -> None:
    got = in_node(node, folder, "await load(folder, { device: 'wasm', ...options })", options=options)
    assert got["code"] == code and message in got["error"]


def test_a_bundle_of_one_precision_knows_both_options(node: str, affine: Path) -> None:
    body = """
      const told = async (options) => load(folder, { device: "wasm", ...options }).then((p) => p.info.why, (e) => e.code);
      return [await told({ precision: "float32" }), await told({ precision: "float16" }), await told({ memory: 1 }),
              await told({ memory: 1e6 })];
    """
    told = in_node(node, affine, body)["value"]
    assert told == ["asked for; float32 as asked for", "option", "memory", "asked for"]


BOUND = """
  const one = await load(folder, options), { bytes, threads } = one.info, allowed = async (memory) =>
    load(folder, { ...options, threads, memory }).then((p) => p.info.bytes, (e) => e.code);
  return { same: bytes === one.memory().total, just: await allowed(bytes) - bytes, less: await allowed(bytes - 1) };
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_memory_bounds_what_is_held(node: str, counter: Path, threads: int) -> None:
    """All of it: with the copy of the state that a run may have to bring back, and what each thread works in."""
    options = {"device": "wasm", "threads": threads}
    assert in_node(node, counter, BOUND, options=options)["value"] == {"same": True, "just": 0, "less": "memory"}


@pytest.mark.browser
@pytest.mark.parametrize("options", ["device: 'webgpu'", "device: 'wasm', worker: true", "device: 'wasm', worker: false"])
def test_memory_bounds_what_is_held_in_a_page(page: Any, counter: Path, options: str) -> None:
    body = f"const folder = url, options = {{ {options} }};" + BOUND
    with serving(counter.parent) as site:
        assert in_page(page, site, body, counter.name)["value"] == {"same": True, "just": 0, "less": "memory"}


def test_builds_of_one_precision_are_not_named_by_it(node: str, affine: Path) -> None:
    """Where a bundle has one precision its builds do not say which: why not the first must not speak of "undefined"."""
    body = """
      const { fit } = await import(folder + "/hither-room.js"), tried = [], [build] = manifest.builds;
      manifest.builds = [{ ...build, arena: 10 * 65536 }, build];
      const program = await fit(manifest, "wasm", { memory: 1e9 }, async (builds) => {
        if (tried.push(builds.length) === 1) throw new HitherError("memory", "no room for this one", 0);
        return { info: { why: "", precision: "float32" } };
      });
      return [program.info.why, tried];
    """
    manifest = read_manifest(affine)
    manifest["builds"] = [b for b in manifest["builds"] if b["target"] == "wasm"]
    assert in_node(node, affine, body, manifest=manifest)["value"] == ["no room for this one", [2, 1]]


def test_no_room_makes_it_a_smaller_one(node: str, folder: Path) -> None:
    """An engine that refuses large memories: the next smaller precision is loaded, nothing of the first downloaded."""
    body = """
      const { Memory } = WebAssembly;
      WebAssembly.Memory = class extends Memory {
        constructor(d) { if (d.initial * 65536 > most) throw RangeError("could not allocate memory"); super(d); }
      };
    """
    got = in_node(node, folder, body + FETCHED, options={}, most=2.5 * MB, x=X[0].tolist())["value"]
    assert got["precision"] == "float16" and error(got["y"]) < TOLERANCE["float16"]
    assert "not float32: WebAssembly has no room for the 39" in got["why"] and got["why"].endswith("so float16")
    assert got["network"] < 1.1 * (SIZES["float16"] + BIAS.nbytes + TABLE.nbytes) + 60_000
    got = in_node(node, folder, body + FETCHED, options={}, most=1e5, x=X[0].tolist())
    assert got["code"] == "memory" and "no room" in got["error"]


def test_a_state_goes_from_one_precision_to_another(node: str, tmp_path: Path) -> None:
    def count(state: Any, x: Any) -> Any:
        total = state["total"] + ht.sum(x @ ht.asarray(FIRST))
        return {"sum": total}, {"total": total}

    specs = {"x": ht.Spec((1, 700))}
    ht.bundle(count, tmp_path / "b", specs, precision=NAMES[:2], targets=("wasm",), state={"total": np.float32(0)})
    body = """
      const half = { device: "wasm", threads: 1, precision: "float16" }, x = new Float32Array(700).fill(1);
      const one = await load(folder, half), first = (await one.run({ x })).sum.data[0];
      await one.save(file);
      const other = await load(folder, { ...half, precision: "float32" });
      await other.restore(file);
      return [first, (await other.run({ x })).sum.data[0]];
    """
    first, second = in_node(node, tmp_path / "b", body, file=str(tmp_path / "saved"))["value"]
    assert first == pytest.approx(FIRST.sum(), abs=0.2) and second - first == pytest.approx(FIRST.sum(), abs=0.2)


# -- in a page -------------------------------------------------------------------------------------------------------------

LOADED = f"""
  const x = {X[0].tolist()}, program = await load(url, options), {{ y }} = await program.run({INPUT});
  return {{ y: y.data, precision: program.info.precision, why: program.info.why, held: program.memory().weights }};
"""


@pytest.mark.browser
@pytest.mark.parametrize("device", ["wasm", "webgpu"])
@pytest.mark.parametrize("gib", [None, 0.015625, 0.001])
def test_the_devices_memory_decides(page: Any, folder: Path, device: str, gib: float | None) -> None:
    said = "undefined" if gib is None else str(gib)
    set_it = f"Object.defineProperty(navigator, 'deviceMemory', {{ configurable: true, value: {said} }});"
    with serving(folder.parent) as site:
        got = in_page(page, site, f"{set_it} const options = {{ device: '{device}' }};" + LOADED, bundle="net")["value"]
    name = {None: "float32", 0.015625: "float16", 0.001: "int8"}[gib]
    assert got["precision"] == name and error(got["y"]) < TOLERANCE[name]
    if gib == 0.015625:
        assert "one part in 8 of this device's memory is 2.1 MB; so float16" in got["why"]
    if gib == 0.001:
        assert "and nothing takes less; so int8" in got["why"]


@pytest.mark.browser
@pytest.mark.parametrize("worker", ["false", "true"])
def test_the_adapters_limits_decide(page: Any, folder: Path, tmp_path: Path, worker: str) -> None:
    shutil.copytree(folder, tmp_path / "net")
    builds = read_manifest(folder)["builds"]
    builds[0]["limits"]["maxBufferSize"] = 1 << 50
    edit_manifest(tmp_path / "net", builds=builds)
    with serving(tmp_path) as site:
        body = f"const options = {{ device: 'webgpu', worker: {worker} }};"
        got = in_page(page, site, body + LOADED, bundle="net")["value"]
    assert got["precision"] == "float16" and error(got["y"]) < TOLERANCE["float16"]
    assert f"not float32: the adapter lacks maxBufferSize {1 << 50} (it has" in got["why"]
    assert got["why"].endswith("so float16")


@pytest.mark.browser
def test_a_gpu_without_room_gets_a_smaller_one(page: Any, folder: Path) -> None:
    """Error scopes tell of an allocation that failed: here as soon as buffers of more than 3 MB are made."""
    body = """
      const sizes = [], { createBuffer, popErrorScope } = GPUDevice.prototype;
      GPUDevice.prototype.createBuffer = function (d) { sizes.push(d.size); return createBuffer.call(this, d); };
      GPUDevice.prototype.popErrorScope = async function () {
        const found = await popErrorScope.call(this), made = sizes.splice(0).reduce((a, b) => a + b, 0);
        return made > 3e6 ? { message: "out of memory" } : found;
      };
      const options = { device: "webgpu" };
    """
    with serving(folder.parent) as site:
        got = in_page(page, site, body + LOADED, bundle="net")["value"]
    assert got["precision"] == "float16" and error(got["y"]) < TOLERANCE["float16"]
    assert "not float32: the GPU has no room for the" in got["why"] and got["why"].endswith("so float16")


@pytest.mark.browser
def test_the_page_that_tries_a_bundle_offers_them(page: Any, folder: Path) -> None:
    with serving(folder.parent) as site:
        page.goto(f"{site.origin}/net/")
        shown = "(name) => document.getElementById('precision').textContent.startsWith(name)"
        page.wait_for_function(shown, arg="float32")
        before = page.text_content("#resident")
        assert page.locator("#numbers option").all_text_contents() == ["the first that fits", *NAMES]
        page.select_option("#numbers", "int8")
        page.wait_for_function(shown, arg="int8")
        assert (before, page.text_content("#resident")) == ("4.0 MB", "1.0 MB")
        assert page.text_content("#why").endswith("int8 as asked for")
