"""The loader, as a page and a Node program use it: right answers on every device, nothing unverified, nothing silent."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.web.bundle import RUNTIME, read_manifest, runtime_file
from hither.web.contents import read_tensors
from hither.web.manifest import BundleError
from hither.web.squeeze import squeeze

from .bundles import (
    COUNT,
    TABLE,
    affine_reference,
    edit_manifest,
    flip,
    in_node,
    make_affine,
    make_large,
)

ROOT = Path(__file__).resolve().parent.parent
# what only some pages fetch
APART = ("hither-state.js", "hither-fit.js", "hither-refine.js", "hither-room.js")
RUNTIME_SOURCE = ROOT / "src" / "hither" / "web" / "runtime"
X = np.arange(6, dtype=np.float32).reshape(2, 3)
RUN = "await program.run({ x: Float32Array.from([0, 1, 2, 3, 4, 5]), n: [3, -4] })"


# -- the format ------------------------------------------------------------------------------------------------------


def test_manifests_follow_the_published_schema(affine: Path, large: Path) -> None:
    import jsonschema

    schema = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for folder in (affine, large):
        validator.validate(json.loads((folder / "manifest.json").read_text()))


def test_every_file_is_what_the_manifest_says(large: Path) -> None:
    manifest = read_manifest(large)
    for record in [*manifest["builds"], *manifest["weights"]["segments"]]:
        start = record.get("offset", 0)
        data = (large / record["file"]).read_bytes()[start : start + record["bytes"]]
        assert hashlib.sha256(data).hexdigest() == record["sha256"]
    assert len(manifest["weights"]["segments"]) >= 2


def test_python_reads_weights_back_and_refuses_damaged_ones(large: Path, tmp_path: Path) -> None:
    total = sum(t.size for t in read_tensors(large).values())
    assert total >= TABLE.size
    damaged = Path(shutil.copytree(large, tmp_path / "damaged"))
    flip(next(damaged.glob("weights-*.bin")), 5)
    with pytest.raises(BundleError, match=r"weight segment 0 .* is damaged"):
        read_tensors(damaged)


def test_rewriting_a_bundle_leaves_no_old_weights(tmp_path: Path) -> None:
    make_large(tmp_path)
    make_affine(tmp_path)
    used = {s["file"] for s in read_manifest(tmp_path)["weights"]["segments"]}
    assert {p.name for p in tmp_path.glob("weights-*")} == used


def test_only_entries_that_end_on_any_weights_are_rehearsed(tmp_path: Path) -> None:
    """A loader runs what is marked before the weights are there: on zeros `n + step < 10` would hold for ever."""
    step = np.ones(1, np.float32)

    def count(n: ht.Array) -> ht.Array:
        return ht.while_loop(lambda x: ht.sum(x) < 10, lambda x: x + step, n)

    specs = {"n": ht.Spec((1,), "float32")}
    for number, (function, expected) in enumerate(((count, False), (lambda n: n + step, True))):
        builds = ht.bundle(function, tmp_path / str(number), specs, targets=("wasm",))["builds"]
        assert [plan.get("rehearsable", False) for b in builds for v in b["variants"] for plan in v.values()] == [expected] * 2


def test_bundles_say_how_much_work_an_entry_is(tmp_path: Path) -> None:
    """Loaders make a Worker for what takes long; too small a number would have a page wait for a long run. What moves much and
    computes nothing, sorts, or goes round many times is work too; what a loop does is counted as often as it may go round."""
    weights = np.ones((16, 16), np.float32)
    cell = 2 * 3 * 16 * 16 + 3 * 16  # a product of 3 rows, and a tanh
    moved = 4 * (2 * 3 * 16 + 16 * 16)  # the rows, the weights, and the result

    def step(h: ht.Array, _: object) -> tuple[ht.Array, None]:
        return ht.tanh(h @ weights), None

    def count(x: ht.Array) -> ht.Array:
        return ht.while_loop(lambda h: ht.sum(h) < 10, lambda h: h + 1, x, bound=10**6)

    subjects: list[tuple[Any, tuple[int, ...], float | None, float]] = [
        (lambda x: step(x, None)[0], (3, 16), cell + moved, cell + moved + 10_000),
        (lambda x: ht.scan(step, x, None, length=20)[0], (3, 16), 20 * (cell + moved), 20 * (cell + moved + 20_000)),
        (lambda x: ht.while_loop(lambda h: ht.sum(h) < 10, lambda h: step(h, None)[0], x), (3, 16), None, 0),
        (count, (3, 16), 10**6 * 1000, np.inf),
        (lambda x: x.T, (8192, 4096), 2 * 8192 * 4096 * 4, np.inf),
        (lambda x: ht.sort(x), (2**22,), 2**22 * 22 + 2 * 2**22 * 4, np.inf),
    ]
    for number, (function, shape, least, most) in enumerate(subjects):
        manifest = ht.bundle(function, tmp_path / str(number), {"x": ht.Spec(shape, "float32")}, targets=("wasm",))
        work = [v["predict"].get("work") for b in manifest["builds"] for v in b["variants"]]
        assert work == [None, None] if least is None else all(least <= n <= most for n in work), (number, work)


def test_state_that_is_copied_aside_is_work(tmp_path: Path) -> None:
    """A loader copies the state before a run that changes it, in a page without a Worker on the page's thread."""

    def step(state: Any, x: ht.Array) -> Any:
        return {"y": x}, {**state, "n": state["n"] + 1}

    state = {"n": np.int32(0), "kept": np.zeros(100_000, np.float32)}
    build = ht.bundle(step, tmp_path, {"x": ht.Spec((1,), "float32")}, targets=("wasm",), state=state)["builds"][0]
    assert 2 * 400_000 < build["variants"][0]["predict"]["work"] < 4 * 400_000 + 20_000


def test_state_keeps_its_name_beside_weights(node: str, tmp_path: Path) -> None:
    """It is saved and restored by its name; a weight that has the same one gives way."""

    def step(state: Any, x: ht.Array) -> Any:
        total = state["constant_0"] + ht.sum(x @ ht.asarray(TABLE))
        return {"y": total}, {"constant_0": total}

    state = {"constant_0": np.float32(7)}
    ht.bundle(step, tmp_path, {"x": ht.Spec((1, 700))}, targets=("wasm",), precision=("float32", "float16"), state=state)
    names = [t["name"] for t in read_manifest(tmp_path)["weights"]["tensors"]]
    assert "constant_0" in names and len(set(names)) == len(names) == 3
    for precision in ("float32", "float16"):
        body = "const p = await load(folder, { device: 'wasm', precision }); return (await p.state()).constant_0.data[0]"
        assert in_node(node, tmp_path, body, precision=precision)["value"] == 7
        assert {k: v.item() for k, v in ht.load(tmp_path, precision=precision).state.items()} == {"constant_0": 7}


def test_the_loader_is_small() -> None:
    """DESIGN promises a few KB: 14⅜ KB gzip for all that runs models, 10½ for what a page needs on WebAssembly and 13¾
    on WebGPU, and little for what only some pages fetch: those that train or refine weights, or have little room."""
    shipped = {name: runtime_file(name) for name in RUNTIME if name.startswith("hither") and name.endswith(".js")}
    apart = {name: shipped.pop(name) for name in APART}
    assert len(gzip.compress(b"".join(shipped.values()), 9)) <= 14.375 * 1024
    assert len(gzip.compress(b"".join(apart.values()), 9)) <= 7 * 1024
    sizes = {name: len(gzip.compress(data, 9)) for name, data in shipped.items()}
    assert sizes["hither.js"] <= 10.5 * 1024
    assert sizes["hither.js"] + sizes["hither-webgpu.js"] <= 13.75 * 1024


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('// head\nconst a = "https://x/y  z"; // tail\n', 'let a="https://x/y  z";\n'),
        ("/** @type {A} */\nlet b = /** @type {any} */ (c)\nlet d", "let b=c\nlet d\n"),
        ("f(/** @type {A} */ (a.b), /** @type {B} */ (c[d])(), /** @type {C} */ (e?.f).g)", "f(a.b,c[d](),(e?.f).g)\n"),
        ("f(/[/ ]\\/ {2}/g, a / b / c);", "f(/[/ ]\\/ {2}/g,a/b/c);\n"),
        ("`a  ${b ? `c  ${ { d : 1 } }` : e}  // no`", "`a  ${b?`c  ${{d:1}}`:e}  // no`\n"),
        ("return a + +b - -c in d", "return a+ +b- -c in d\n"),
        ("a()\n(b)\n[c]\n++d", "a()\n(b)\n[c]\n++d\n"),
        ("{ a = { b, }; c; } while (d) ; { f(); }", "{a={b};c}while(d);{f()}\n"),
        ("{ if (a) ; } { for (;;) ; } { g((a), b()); }", "{if(a);}{for(;;);}{g((a),b())}\n"),
        ("let a = 1;\nconst { b } = c, d = () => { let e; f; let g; };\nlet h;", "let a=1,{b}=c,d=()=>{let e;f;let g},h;\n"),
        (
            "let a = 1; b; let c; for (let d = 0; ;) let_; let e\nf; let g",
            "let a=1;b;let c;for(let d=0;;)let_;let e\nf;let g\n",
        ),
        ("const f = async (x) => (y) => g(x)", "let f=async x=>y=>g(x)\n"),
        ("return (x) => x; (x, y) => x; ({ x }) => x; () => { x }", "return x=>x;(x,y)=>x;({x})=>x;()=>{x}\n"),
        ("for (const x of a.const) constant(`const ${x}`)", "for(let x of a.const)constant(`const ${x}`)\n"),
        ("[x, , ]", "[x,,]\n"),
    ],
)
def test_squeezing_keeps_the_program(source: str, expected: str) -> None:
    assert squeeze(source) == expected


def test_the_runtime_is_well_typed(tsc: list[str], tmp_path: Path) -> None:
    modules = ROOT / "tests" / "js" / "node_modules"
    options = {
        "checkJs": True, "allowJs": True, "strict": True, "noEmit": True, "target": "es2022", "module": "nodenext",
        "moduleResolution": "nodenext", "skipLibCheck": True, "types": ["node", "@webgpu/types"],
        "typeRoots": [str(modules / "@types"), str(modules)],
        "lib": ["esnext", "dom", "dom.iterable", "dom.asynciterable"],
    }  # fmt: skip
    page = [str(p) for p in RUNTIME_SOURCE.glob("*.js") if p.name != "sw.js"]
    declared = [str(RUNTIME_SOURCE / "hither.d.ts")]
    worker = {**options, "lib": ["esnext", "webworker"], "types": []}
    for number, (settings, files) in enumerate(((options, page + declared), (worker, [str(RUNTIME_SOURCE / "sw.js")]))):
        config = tmp_path / f"tsconfig{number}.json"
        config.write_text(json.dumps({"compilerOptions": settings, "files": files}))
        done = subprocess.run([*tsc, "-p", str(config)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("library", ["es2022", "esnext"])
def test_declarations_need_no_others(tsc: list[str], tmp_path: Path, library: str) -> None:
    """A project that checks its libraries has neither WebGPU's types nor, of an older target, `using`'s."""
    for name in ("hither.d.ts", "hither-fit.d.ts"):
        shutil.copy(RUNTIME_SOURCE / name, tmp_path)
    (tmp_path / "page.ts").write_text("""
      import { load, HitherError, type Program } from "./hither.js";
      import { fit } from "./hither-fit.js";
      using program: Program = await load("model/", { device: "auto" });
      const { scores } = await program.run({ image: new Image() }, { outputs: { scores: new Float32Array(3) } });
      const { loss } = await fit(program, { x: new Float32Array(4), y: [1, 2] }, { onEpoch: (n, logs) => logs.loss > n });
      if (scores.shape.length > loss.length) throw new HitherError("input");
    """)
    options = {"strict": True, "noEmit": True, "target": library, "lib": [library, "dom"], "types": [], "module": "esnext"}
    settings = {"compilerOptions": {**options, "moduleResolution": "bundler"}, "files": ["page.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings))
    done = subprocess.run([*tsc, "-p", str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-4000:]


def test_own_sha256_is_sha256(node: str) -> None:
    """Pages on plain http have no crypto.subtle."""
    program = """
      import { createHash } from "node:crypto";
      import { sha256 } from "MODULE";
      for (const n of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100003]) {
        const data = new Uint8Array(n + 3).map((_, i) => i * 7 + n).subarray(3);
        if (Buffer.from(sha256(data)).toString("hex") !== createHash("sha256").update(data).digest("hex")) throw n;
      }
    """.replace("MODULE", (RUNTIME_SOURCE / "hither-sha256.js").as_uri())
    subprocess.run([node, "--input-type=module", "--eval", program], check=True, timeout=60, capture_output=True)


def test_halves_convert_like_numpy(node: str) -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = every[np.isfinite(every)]
    between = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
    probes = np.concatenate([finite, between, np.nextafter(between, np.float32(np.inf)), [65519.0, 65520.0, 1e9, np.inf]])
    with np.errstate(over="ignore"):
        expected = probes.astype(np.float32).astype(np.float16).view(np.uint16)
    program = f"""
      import {{ toHalf, fromHalf }} from "{(RUNTIME_SOURCE / "hither-tensors.js").as_uri()}";
      import {{ readFileSync }} from "node:fs";
      const floats = new Float32Array(new Uint8Array(readFileSync(0)).buffer);
      const out = Uint16Array.from(floats, toHalf);
      process.stdout.write(new Uint8Array(out.buffer));
      process.stdout.write(new Uint8Array(Float32Array.from(out, fromHalf).buffer));
    """
    command = [node, "--input-type=module", "--eval", program]
    data = probes.astype(np.float32).tobytes()
    out = subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout
    halves = np.frombuffer(out[: 2 * probes.size], np.uint16)
    np.testing.assert_array_equal(halves, expected)
    np.testing.assert_array_equal(np.frombuffer(out[2 * probes.size :], np.float32), halves.view(np.float16).astype(np.float32))


# -- Node ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"threads": 1}, {"threads": 2}, {"threads": 2, "worker": True}, {}], ids=str)
def test_node_runs_every_variant(node: str, affine: Path, options: dict[str, Any]) -> None:
    body = f"""
      const phases = new Set(), program = await load(folder, {{ ...options, onProgress: (e) => phases.add(e.phase) }});
      const first = {RUN};
      const x = {{ data: new Float32Array(15).fill(1), shape: [5, 3] }};
      const second = await program.run({{ x, n: Int32Array.of(1, 2) }});
      program.close();
      return {{ first, second, phases: [...phases], info: program.info }};
    """
    got = in_node(node, affine, body, options=options)["value"]
    np.testing.assert_allclose(got["first"]["y"]["data"], affine_reference(X).ravel(), rtol=1e-6)
    assert got["first"]["n"] == {"data": [6, -8], "shape": [2], "dtype": "int64"}
    assert got["second"]["y"]["shape"] == [5, 4]
    np.testing.assert_allclose(got["second"]["y"]["data"], affine_reference(np.ones((5, 3), np.float32)).ravel(), rtol=1e-6)
    assert got["phases"] == ["manifest", "kernels", "weights", "pipelines", "warmup", "ready"]
    assert got["info"]["threads"] == options.get("threads", got["info"]["threads"])
    assert "not webgpu" in got["info"]["why"], "auto must say why it is not on the GPU"


def test_node_uses_relaxed_simd_where_it_is(node: str, affine: Path) -> None:
    body = "return (await load(folder, { device: 'wasm' })).info.adapter"
    assert in_node(node, affine, body)["value"] == "simd128"
    assert in_node(node, affine, body, "--experimental-wasm-relaxed-simd")["value"] == "relaxed-simd"


def test_results_belong_to_the_caller_and_calls_queue(node: str, affine: Path) -> None:
    body = """
      const program = await load(folder, { device: "wasm", threads: 1 });
      const calls = [1, 2, 3].map((v) => program.run({ x: new Float32Array(6).fill(v), n: [v, v] }));
      const all = await Promise.all(calls), mine = new Float32Array(8);
      const kept = await program.run({ x: new Float32Array(6).fill(1), n: [1, 1] }, { outputs: { y: mine } });
      return {
        n: all.map((r) => r.n.data[0]), distinct: all[0].y.data[0] !== all[1].y.data[0],
        same: kept.y.data.buffer === mine.buffer, equal: String(mine) === String(all[0].y.data),
      };
    """
    assert in_node(node, affine, body)["value"] == {"n": [2, 4, 6], "distinct": True, "same": True, "equal": True}


# -- nothing is used before it is verified ---------------------------------------------------------------------------


def test_a_changed_byte_in_any_weight_segment_is_refused(node: str, large: Path, tmp_path: Path) -> None:
    segments = read_manifest(large)["weights"]["segments"]
    assert len(segments) >= 2
    for i, segment in enumerate(segments):
        folder = Path(shutil.copytree(large, tmp_path / str(i)))
        flip(folder / segment["file"], segment["offset"] + segment["bytes"] - 1)
        got = in_node(node, folder, "await load(folder, { device: 'wasm', threads: 1 })")
        assert got["code"] == "integrity" and f"bytes {segment['offset']} to" in got["error"]


@pytest.mark.parametrize("pattern", ["weights-*.bin", "kernels-plain.wasm"])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_changed_byte_is_refused(node: str, copy: Path, pattern: str, place: float) -> None:
    path = next(copy.glob(pattern))
    flip(path, int(place * (path.stat().st_size - 1)))
    got = in_node(node, copy, "await load(folder, { device: 'wasm', threads: 1 })")
    assert got["code"] == "integrity" and path.name in got["error"]


def test_changed_bytes_all_over_the_manifest_are_refused(node: str, copy: Path) -> None:
    size = (copy / "manifest.json").stat().st_size
    body = """
      const { readFile } = await import("node:fs/promises"), good = await readFile(folder + "/manifest.json");
      const accepted = [];
      for (let at = 0; at < good.length; at += 1 + (at * 7919) % 13) {
        const bad = Uint8Array.from(good);
        bad[at] ^= 1 << (at % 8);
        await load("http://bundle/", { device: "wasm", fetch: async () => new Response(bad) })
          .then(() => accepted.push(at), (e) => /^(integrity|format)$/.test(e.code) || accepted.push(at + " " + e.message));
      }
      return accepted;
    """
    assert size > 1000
    assert in_node(node, copy, body)["value"] == []


def test_truncated_weights_are_refused(node: str, copy: Path) -> None:
    path = next(copy.glob("weights-*.bin"))
    path.write_bytes(path.read_bytes()[:-1])
    got = in_node(node, copy, "await load(folder, { device: 'wasm', threads: 1 })")
    assert got["code"] == "network" and "truncated" in got["error"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "the bundle has format version 2, this loader reads 1"),
        ({"format": "other"}, "is not a hither bundle"),
        (
            {"extensions_required": ["HI_sealed", "HI_delta"]},
            "requires extensions that this loader does not know: HI_sealed, HI_delta",
        ),
    ],
)
def test_unknown_formats_and_extensions_are_refused_by_name(node: str, copy: Path, changes: Any, message: str) -> None:
    edit_manifest(copy, **changes)
    got = in_node(node, copy, "await load(folder, { device: 'wasm' })")
    assert got["code"] == "format" and message in got["error"]
    with pytest.raises(BundleError):
        read_manifest(copy)


def test_unknown_extensions_that_are_only_used_are_no_obstacle(node: str, copy: Path) -> None:
    edit_manifest(copy, extensions_used=["HI_warmup"])
    assert in_node(node, copy, "return (await load(folder, { device: 'wasm' })).info.device")["value"] == "wasm"


def test_integrity_pins_the_manifest(node: str, affine: Path) -> None:
    digest = read_manifest(affine)["digest"]
    body = "return (await load(folder, { device: 'wasm', integrity })).info.digest"
    assert in_node(node, affine, body, integrity=digest)["value"] == digest
    got = in_node(node, affine, body, integrity="sha256-" + "0" * 64)
    assert got["code"] == "integrity" and "was told to accept only" in got["error"]


@pytest.mark.parametrize("size", [100_000, 1 << 20, 1_500_000])
def test_chunks_of_any_size_are_read(node: str, large: Path, size: int) -> None:
    """A network's chunks, and those of a `fetch` of the caller's, end anywhere, and some are empty."""
    body = """
      const { readFile } = await import("node:fs/promises");
      const fetch = async (url) => {
        const data = await readFile(folder + url.pathname);
        return new Response(new ReadableStream({ start(c) {
          for (let at = 0; at < data.length; at += size) {
            c.enqueue(new Uint8Array());
            c.enqueue(data.subarray(at, at + size));
          }
          c.close();
        } }));
      };
      const program = await load("http://bundle/", { device: "wasm", threads: 1, fetch });
      return (await program.run({ x: new Float32Array(700).fill(1) })).y.data;
    """
    np.testing.assert_allclose(in_node(node, large, body, size=size)["value"], TABLE.sum(0), rtol=1e-4, atol=1e-3)


def test_downloads_resume_where_they_broke(node: str, large: Path) -> None:
    """The connection breaks twice; only a range that starts at the broken segment is asked for again."""
    body = """
      const { readFile } = await import("node:fs/promises"), asked = [];
      let breaks = 2;
      const fetch = async (url, { headers }) => {
        const data = await readFile(folder + url.pathname), start = Number(/\\d+/.exec(headers?.Range ?? "0")[0]);
        if (!url.pathname.includes("weights")) return new Response(data);
        asked.push(start);
        const end = breaks-- > 0 ? start + (start ? 100 : 1500000) : data.length;
        return new Response(data.subarray(start, end), { status: start ? 206 : 200 });
      };
      const program = await load("http://bundle/", { device: "wasm", threads: 1, fetch });
      return { asked, y: (await program.run({ x: new Float32Array(700).fill(1) })).y.data };
    """
    got = in_node(node, large, body)["value"]
    assert got["asked"] == [0, 1 << 20, 1 << 20]
    np.testing.assert_allclose(got["y"], TABLE.sum(0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("file", ["manifest.json", "kernels", "weights"])
def test_broken_downloads_are_named(node: str, large: Path, file: str) -> None:
    """A connection that breaks and breaks again is no damage: what was being fetched, and why it ended, is said."""
    body = """
      const { readFile } = await import("node:fs/promises");
      const fetch = async (url) => {
        const data = await readFile(folder + url.pathname);
        let sent = false;
        const pull = (to) => sent ? to.error(new TypeError("it broke off")) : (sent = true, to.enqueue(data.subarray(0, 100)));
        return new Response(url.pathname.includes(file) ? new ReadableStream({ pull }) : data);
      };
      await load("http://bundle/", { device: "wasm", threads: 1, fetch });
    """
    got = in_node(node, large, body, file=file)
    assert got["code"] == "network" and f"http://bundle/{file}" in got["error"] and "it broke off" in got["error"], got


# -- state -----------------------------------------------------------------------------------------------------------


def test_state_survives_runs_is_saved_and_restored(node: str, counter: Path, tmp_path: Path) -> None:
    """Warming up must not train, and a saved state must come back in another program."""
    body = f"""
      const add = {COUNT}, options = {{ device: "wasm", threads: 1 }};
      const p = await load(folder, options), seen = [await add(p, 1), await add(p, 2)];
      await p.save(file);
      seen.push(await add(p, 4));
      await p.restore(file);
      seen.push(await add(p, 8));
      const q = await load(folder, options);
      await q.restore(file);
      return [...seen, await add(q, 16), (await q.restore(file + "x").catch((e) => e)).code];
    """
    got = in_node(node, counter, body, file=str(tmp_path / "saved"))["value"]
    assert got == [12, 15, 20, 24, 32, "state"]


def test_a_rehearsal_leaves_state_that_came_before_the_kernels(node: str, counter: Path) -> None:
    """Warm-up runs before or after the state is there: neither may change it."""
    body = f"""
      const {{ readFile }} = await import("node:fs/promises");
      const fetch = async (url) => {{
        const name = new URL(url).pathname.slice(1);
        if (name.endsWith(".wasm")) await new Promise((resolve) => setTimeout(resolve, 200));
        return new Response(await readFile(folder + "/" + name));
      }};
      const add = {COUNT}, found = [];
      for (const worker of [false, true]) {{
        const p = await load("http://bundle/", {{ device: "wasm", threads: 1, worker, fetch }});
        found.push(await add(p, 1));
        p.close();
      }}
      return found;
    """
    assert in_node(node, counter, body)["value"] == [12, 12]
