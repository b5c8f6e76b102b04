"""Progressive bundles: a program starts after half the download, accurate enough, and is exact once the rest came."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import hither as ht
from hither.program.accuracy import AccuracyError
from hither.web.bundle import read_manifest
from hither.web.contents import read_tensors
from hither.web.manifest import BundleError
from hither.web.segments import can_be_halved, halves, joined, rounded

from .browser import in_page, serving
from .bundles import edit_manifest, flip, in_node

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(0)
FIRST, SECOND = (RNG.standard_normal((700, 700)).astype(np.float32) / 26 for _ in range(2))  # 2 MB each: several segments
BIAS = RNG.standard_normal(700).astype(np.float32)
X = RNG.standard_normal((1, 700)).astype(np.float32)
SPECS = {"x": ht.Spec((1, 700)), "n": ht.Spec((1,), "int32")}
TABLE = np.arange(12, dtype=np.int32) * 1_000_001
INPUT = "{ x: Float32Array.from(x), n: [3] }"
PAGE = f"const x = {X[0].tolist()}, folder = new URL('p/', location), other = new URL('full/', location);"


def network(x: Any, n: Any) -> dict[str, Any]:
    """Weights that are halved, and integers, which must not be."""
    hidden = ht.maximum(x @ FIRST + BIAS, 0)
    return {"y": hidden @ SECOND, "row": ht.take(ht.asarray(TABLE), n, axis=0)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The progressive bundle, and the ordinary one."""
    root = tmp_path_factory.mktemp("progressive")
    ht.bundle(network, root / "p", SPECS, progressive=True)
    ht.bundle(network, root / "full", SPECS)
    return root / "p", root / "full"


def nbytes(manifest: dict[str, Any], part: str) -> int:
    return sum(s["bytes"] for s in manifest["weights"].get(part, ()))


def test_the_first_stage_is_half_and_nothing_is_added(folders: tuple[Path, Path]) -> None:
    manifest, full = map(read_manifest, folders)
    jsonschema.validate(manifest, json.loads((ROOT / "docs" / "manifest.schema.json").read_text()))
    assert manifest["extensions_required"] == ["refinement"]
    assert nbytes(manifest, "segments") <= 0.55 * nbytes(full, "segments")
    assert nbytes(manifest, "segments") + nbytes(manifest, "refinement") <= 1.05 * nbytes(full, "segments")
    accuracy = manifest["accuracy"]
    assert accuracy["precision"] == "bfloat16" and 0 < accuracy["outputs"]["y"]["relative"] < 0.01
    assert accuracy["outputs"]["row"]["relative"] == 0


def test_python_reads_exact_weights(folders: tuple[Path, Path]) -> None:
    mine, full = (read_tensors(folder) for folder in folders)
    assert mine.keys() == full.keys()
    for name, array in full.items():
        np.testing.assert_array_equal(mine[name], array)
    inputs = {"x": X, "n": np.array([3], np.int32)}
    got, wanted = (ht.load(folder)(inputs)["y"].numpy() for folder in folders)
    np.testing.assert_array_equal(got, wanted)


STAGES = f"""
  const options = {{ device, threads, refine: false }};
  const full = await load(other, options), program = await load(folder, options);
  const bits = async (p) => Array.from(new Uint32Array((await p.run({INPUT})).y.data.buffer));
  const before = program.info.refined, {{ y, row }} = await program.run({INPUT});
  await program.refine();
  const wanted = await bits(full), same = (await bits(program)).every((b, i) => b === wanted[i]);
  return {{ before, after: program.info.refined, always: full.info.refined, rough: y.data, same, row: row.data[0] }};
"""


def check_stages(got: Any) -> None:
    expected = np.maximum(X.astype(np.float64) @ FIRST + BIAS, 0) @ SECOND
    error = np.abs(np.array(got["rough"]) - expected[0]).max() / np.abs(expected).max()
    assert 1e-5 < error < 0.01  # rounded, and not too much
    assert (got["before"], got["after"], got["always"]) == (False, True, True)
    assert got["same"] and got["row"] == TABLE[3]


def test_both_stages_in_node(node: str, folders: tuple[Path, Path]) -> None:
    got = in_node(node, folders[0], STAGES, device="wasm", threads=1, other=str(folders[1]), x=X[0].tolist())
    check_stages(got["value"])


@pytest.mark.browser
@pytest.mark.parametrize(("device", "threads"), [("wasm", 1), ("wasm", 2), ("webgpu", 1)])
def test_both_stages_in_a_page(page: Any, folders: tuple[Path, Path], device: str, threads: int) -> None:
    body = f"const device = '{device}', threads = {threads};" + PAGE
    with serving(folders[0].parent) as site:
        check_stages(in_page(page, site, body + STAGES, bundle="p")["value"])


CHANGE = f"""
  let now = 0, hold = new Promise((resolve) => (now = resolve));
  const {{ weights }} = await (await fetch(new URL("manifest.json", folder))).json();
  const halves = new Set(weights.refinement.map((s) => s.file));
  const late = async (url, init) => (halves.has(String(url).split("/").pop()) && await hold, fetch(url, init));
  const program = await load(folder, {{ device: "wasm", threads, fetch: late }});
  const full = await load(other, {{ device: "wasm", threads }});
  const bits = async (p) => String(new Uint32Array((await p.run({INPUT})).y.data.buffer));
  const wanted = await bits(full), seen = new Set();
  let longest = 0, calls = 0, after = 0;
  for (; after < 5; calls++) {{
    if (calls === 10) now(0);
    const start = performance.now(), refined = program.info.refined, found = await bits(program);
    longest = Math.max(longest, performance.now() - start);
    seen.add(found);
    if (refined && found !== wanted) throw Error("refined, and not exact");
    after += refined;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }}
  return {{ kinds: seen.size, calls, longest, exact: seen.has(wanted) }};
"""


@pytest.mark.browser
def test_the_change_over_disturbs_no_call(page: Any, folders: tuple[Path, Path]) -> None:
    """Every call before, while and after weights come gives one of two results, never of a mixture."""
    body = "const threads = 2;" + PAGE
    with serving(folders[0].parent) as site:
        got = in_page(page, site, body + CHANGE, bundle="p")["value"]
    assert got["kinds"] == 2 and got["exact"] and got["calls"] > 15


def test_damage_leaves_the_program_as_it_was(node: str, folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[0], tmp_path / "p"))
    segment = read_manifest(folder)["weights"]["refinement"][1]
    flip(folder / segment["file"], segment["offset"] + 5)
    body = f"""
      const program = await load(folder, {{ device: "wasm", threads: 1, refine: false }});
      const one = String((await program.run({INPUT})).y.data);
      const error = await program.refine().catch((e) => e.code + ": " + e.message);
      return {{ error, refined: program.info.refined, same: String((await program.run({INPUT})).y.data) === one }};
    """
    got = in_node(node, folder, body, x=X[0].tolist())["value"]
    assert got["error"].startswith("integrity") and not got["refined"] and got["same"]
    with pytest.raises(BundleError, match="refinement of weight segment"):
        ht.load(folder)(x=X, n=np.array([3], np.int32))


def test_what_cannot_be_progressive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="float16"):
        ht.bundle(network, tmp_path, SPECS, precision="float16", progressive=True)
    with pytest.raises(AccuracyError, match="bfloat16"):
        ht.bundle(network, tmp_path, SPECS, progressive=True, tolerance={"relative": 1e-6})


def test_halves() -> None:
    bits = np.concatenate([RNG.integers(0, 2**32, 5000, np.uint32), np.array([0, 1 << 31, 0x8000, 0x7F7FFFFF], np.uint32)])
    upper, lower = halves(bits.tobytes())
    assert joined(upper, lower) == bits.tobytes()
    values = RNG.standard_normal(1000).astype(np.float32)
    # bfloat16 as NumPy rounds it, by way of an addition that leaves 8 bits of precision
    scale = np.ldexp(np.float64(1), np.frexp(values)[1] - 8)
    np.testing.assert_array_equal(rounded(values), np.where(True, np.rint(values / scale) * scale, 0).astype(np.float32))
    assert can_be_halved(values) and not can_be_halved(np.array([3.4e38], np.float32)) and not can_be_halved(np.arange(3))


HEAP = """
  const { open, stat } = await import("node:fs/promises");
  const heap = async () => { // what is dropped is swept in the background
    let least = Infinity;
    for (let i = 0; i < 3; i++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 1));
      least = Math.min(least, process.memoryUsage().arrayBuffers);
    }
    return least;
  };
  let most = 0;
  const fetch = async (url) => { // in small pieces, so that what the loader holds is what is held
    const path = folder + new URL(url).pathname, file = await open(path), { size } = await stat(path);
    let at = 0;
    const pull = async (stream) => {
      const { bytesRead, buffer } = await file.read(new Uint8Array(Math.min(262144, size - at)), 0, undefined, at);
      most = Math.max(most, await heap());
      at += bytesRead;
      stream.enqueue(buffer);
      if (at === size) { stream.close(); await file.close(); }
    };
    return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
  };
  const options = { device: "wasm", threads: 1, worker: false, refine: false, fetch }, before = await heap();
  const program = await load("http://bundle/", options), { weights } = program.memory(), rough = await heap() - before;
  most = 0;
  await program.refine();
  return { weights, rough, most: Math.max(most, await heap()) - before, after: await heap() - before };
"""


def test_refining_holds_little(node: str, folders: tuple[Path, Path]) -> None:
    """The lower halves, half of the weights' bytes, until all have come; before and after that nothing but the program itself,
    of whose memory Node counts nothing here."""
    got = in_node(node, folders[0], HEAP, "--expose-gc")["value"]
    segment = 1 << 20
    assert got["rough"] < 0.1 * got["weights"] + segment > got["after"]
    assert got["most"] <= 0.6 * got["weights"] + 2 * segment


def test_a_failure_in_the_middle_is_no_mixture(node: str, folders: tuple[Path, Path]) -> None:
    """What is refined in part gives no results any more."""
    body = f"""
      const program = await load(folder, {{ device: "wasm", threads: 1, worker: false, refine: false }});
      const {{ Int32Array: Words }} = globalThis;
      let made = 0;
      globalThis.Int32Array = class extends Words {{
        constructor(...a) {{
          if (a.length === 3 && ++made > 1) throw Error("a defect");
          super(...a);
        }}
      }};
      const error = await program.refine().catch((e) => e.message);
      globalThis.Int32Array = Words;
      const then = await program.run({INPUT}).catch((e) => e.code + ": " + e.message);
      return {{ error, then, made }};
    """
    got = in_node(node, folders[0], body, x=X[0].tolist())["value"]
    assert got["error"] == "a defect" and got["made"] == 2
    assert got["then"].startswith("lost") and "refined in part (a defect)" in got["then"]


def test_additions_leave_the_thread_free_between_segments(node: str, folders: tuple[Path, Path]) -> None:
    """Where no Worker adds, a page would stand still until all of the weights are refined."""
    body = """
      const program = await load(folder, { device: "wasm", threads: 1, worker: false, refine: false });
      const { Int32Array: Words } = globalThis, turns = new Set(), words = [];
      let turn = 0, over = false;
      const next = () => over || (turn++, setImmediate(next));
      next();
      globalThis.Int32Array = class extends Words {
        constructor(...a) {
          super(...a);
          if (a.length === 3) turns.add(turn), words.push(a[2]);
        }
      };
      await program.refine();
      over = true;
      return { turns: turns.size, words };
    """
    got = in_node(node, folders[0], body)["value"]
    segments = len(read_manifest(folders[0])["weights"]["refinement"])
    assert segments >= 2 and got["turns"] == segments and sum(got["words"]) >= FIRST.size + SECOND.size


REFUSED = f"""
  const options = {{ device: "webgpu", refine: false }};
  const full = await load(other, options), program = await load(folder, options);
  const bits = async (p) => String(new Uint32Array((await p.run({INPUT})).y.data.buffer));
  const {{ createBuffer }} = GPUDevice.prototype, rough = await bits(program);
  let made = 0; // the buffers of halves that come after `whole` others cannot be used as such
  GPUDevice.prototype.createBuffer = function (d) {{
    return createBuffer.call(this, made++ < whole ? d : {{ ...d, usage: GPUBufferUsage.COPY_DST }});
  }};
  const error = await program.refine().catch((e) => e.code);
  GPUDevice.prototype.createBuffer = createBuffer;
  const told = async (act) => act().then((found) => found, (e) => e.code + ": " + e.message);
  const after = await told(() => bits(program)), again = await told(() => program.refine());
  return {{ error, same: after === rough, after, again, exact: await told(() => bits(program)) === await bits(full) }};
"""


@pytest.mark.browser
@pytest.mark.parametrize("whole", [0, 1])
def test_what_a_gpu_refuses_at_once_may_be_tried_again(page: Any, folders: tuple[Path, Path], whole: int) -> None:
    """When nothing has been added yet the program runs on with its rounded weights; in the middle it is no more."""
    with serving(folders[0].parent) as site:
        got = in_page(page, site, f"const whole = {whole};" + PAGE + REFUSED, bundle="p")["value"]
    assert got["error"] == "device"
    if whole:
        assert "refined in part" in got["after"] and got["again"].startswith("lost") and not got["exact"]
    else:
        assert got["same"] and got.get("again") is None and got["exact"]


def test_a_refinement_of_nothing_is_refused(node: str, folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[0], tmp_path / "p"))
    weights = read_manifest(folder)["weights"]
    weights["refinement"][0]["start"] += 256
    edit_manifest(folder, weights=weights)
    body = """
      const program = await load(folder, { device: "wasm", threads: 1, refine: false });
      return program.refine().then(() => "refined", (e) => e.code + ": " + e.message);
    """
    assert in_node(node, folder, body)["value"].startswith("format: the refinement at ")


def test_a_missing_refiner_leaves_nothing_behind(node: str, folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[0], tmp_path / "p"))
    (folder / "hither-refine.js").unlink()
    body = """
      const { memory } = await import(folder + "/hither.js");
      let memories = 0, stopped = 0;
      const { Worker } = await import("node:worker_threads"), { terminate } = Worker.prototype;
      Worker.prototype.terminate = function () { stopped++; return terminate.call(this); };
      const error = await load(folder, { device: "wasm", threads: 2, worker: true }).catch((e) => e.code ?? e.name);
      return { error, held: memory().programs, stopped };
    """
    got = in_node(node, folder, body)["value"]
    assert got["error"] == "ERR_MODULE_NOT_FOUND" and got["held"] == 0 and got["stopped"] >= 1


ADD = """
  const { addOn } = await import(folder + "hither-refine.js"), adapter = await navigator.gpu.requestAdapter();
  const gpu = await adapter.requestDevice();
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST, count = 1001, cut = 512;
  const words = Uint32Array.from({ length: count }, (_, i) => i * 2654435761), low = Int16Array.from(words, (w) => w * 7);
  const buffers = [cut, count - cut].map((n) => gpu.createBuffer({ size: 4 * n, usage })), bytes = new Uint8Array(low.buffer);
  gpu.queue.writeBuffer(buffers[0], 0, words, 0, cut);
  gpu.queue.writeBuffer(buffers[1], 0, words, cut);
  const lower = [bytes.subarray(0, 2 * cut), bytes.subarray(2 * cut)];
  await addOn(gpu, buffers.map((buffer, i) => ({ buffer, at: 0, lower: lower[i] })));
  const back = gpu.createBuffer({ size: 4 * count, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = gpu.createCommandEncoder();
  buffers.forEach((b, i) => encoder.copyBufferToBuffer(b, 0, back, 4 * cut * i, b.size));
  gpu.queue.submit([encoder.finish()]);
  await back.mapAsync(GPUMapMode.READ);
  const refused = await addOn(gpu, [{ buffer: back, at: 0, lower: bytes }]).catch((e) => e.code);
  return [new Uint32Array(back.getMappedRange()).every((w, i) => w === (words[i] + low[i]) >>> 0), refused];
"""


@pytest.mark.browser
def test_halves_are_added_on_the_gpu(page: Any, folders: tuple[Path, Path]) -> None:
    """An odd number of words over two buffers, as weights lie that are larger than one may be; all carries and signs."""
    with serving(folders[0].parent) as site:
        assert in_page(page, site, PAGE + ADD, bundle="p")["value"] == [True, "device"]
