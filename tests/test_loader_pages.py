"""The loader in a page: both devices in Chromium, workers, isolation, caches, pictures, the page that comes with a bundle.

What Node can show of it is in tests/test_loader.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hither as ht
from hither.web.builds import bundle
from hither.web.bundle import read_manifest

from .browser import BLANK, Site, in_page, serving
from .bundles import (
    COUNT,
    TABLE,
    affine_reference,
    edit_manifest,
    flip,
    make_picture,
)

X = np.arange(6, dtype=np.float32).reshape(2, 3)
RUN = "await program.run({ x: Float32Array.from([0, 1, 2, 3, 4, 5]), n: [3, -4] })"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, affine: Path, large: Path) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    shutil.copytree(affine, root / "affine")
    shutil.copytree(large, root / "large")
    make_picture(root / "picture")
    rows = ht.ones((1, 700))
    bundle(lambda x: {"y": (x[:, None] * rows) @ ht.Array(TABLE)}, root / "heavy", {"x": ht.Spec((8,), "float32")})
    bundle(lambda x: x.T, root / "moving", {"x": ht.Spec((512, 2048), "float32")})
    numbers = ht.asarray(np.array([10, 20, 30, 40], np.float32))
    bundle(lambda x: {"y": ht.take(numbers, x)}, root / "table", {"x": ht.Spec((8,), "int32")})
    (root / "blank.html").write_text(BLANK)
    with serving(root) as running:
        yield running


@pytest.mark.parametrize(
    "options",
    [
        "device: 'wasm'",
        "device: 'wasm', worker: true, threads: 1",
        "device: 'wasm', worker: true, threads: 2",
        "device: 'webgpu'",
        "device: 'webgpu', worker: true",
    ],
)
def test_pages_run_every_variant(page: Any, site: Site, options: str) -> None:
    body = f"""
      const program = await load(url, {{ {options} }}), first = {RUN};
      const second = await program.run({{ x: {{ data: new Float32Array(15).fill(1), shape: [5, 3] }}, n: [1, 2] }});
      const bytes = program.memory();
      program.close();
      return {{ first, second, bytes, device: program.info.device, threads: program.info.threads }};
    """
    got = in_page(page, site, body)["value"]
    np.testing.assert_allclose(got["first"]["y"]["data"], affine_reference(X).ravel(), rtol=1e-5)
    assert got["first"]["n"]["data"] == [6, -8]
    np.testing.assert_allclose(got["second"]["y"]["data"], affine_reference(np.ones((5, 3), np.float32)).ravel(), rtol=1e-5)
    assert f"'{got['device']}'" in options
    assert got["bytes"]["total"] >= got["bytes"]["weights"] > 0


def test_a_light_program_waits_for_no_worker(page: Any, site: Site) -> None:
    """The work of a run decides: a Worker takes longer to wake than a few products, not than millions, nor than a transposition
    of megabytes, which computes nothing. A program without a Worker says so, and if it has fewer threads than it was given."""
    body = """
      const heavy = (await import("/heavy/hither.js")).load, moving = (await import("/moving/hither.js")).load, made = [];
      globalThis.Worker = class extends Worker { constructor(...a) { super(...a); made.push(a[1].name); } };
      const about = async (load, url, options) => {
        const program = await load(url, { device: "wasm", threads: 2, ...options }), { worker, threads } = program.info;
        const x = url === "/heavy/" ? { x: [1, 2, 3, 4, 5, 6, 7, 8] } : { x: [0, 1, 2, 3, 4, 5], n: [3, -4] };
        const { y } = await program.run(x);
        program.close();
        return { worker, threads, why: program.info.why, sum: y.data.reduce((a, b) => a + b) };
      };
      return [await about(load, url), await about(load, url, { worker: true }), await about(heavy, "/heavy/"),
        await about(heavy, "/heavy/", { worker: false }), (await moving("/moving/", { device: "wasm" })).info];
    """
    light, forced, heavy, refused, moving = in_page(page, site, body)["value"]
    assert moving["worker"]
    assert light["sum"] == forced["sum"] == pytest.approx(affine_reference(X).sum(), rel=1e-5)
    assert heavy["sum"] == refused["sum"] == pytest.approx(36 * float(TABLE.sum(dtype=np.float64)), rel=1e-3)
    workers = [(one["worker"], one["threads"]) for one in (light, forced, heavy, refused)]
    assert workers == [(False, 1), (True, 2), (True, 2), (False, 1)]
    assert "no Worker: a run is too short" in light["why"] and "too short" not in refused["why"]
    assert all("one thread, not 2: no Worker" in one["why"] for one in (light, refused))
    assert all("one thread" not in one["why"] for one in (forced, heavy))


def test_a_page_asks_for_one_script_before_the_manifest(page: Any, site: Site) -> None:
    """Modules that import one another come one after the other, and for a Worker again: a cold start would wait for each."""
    page.goto(f"{site.origin}/blank.html")
    site.requests.clear()
    body = "return (await load(url, { device: 'wasm', worker: true, threads: 2 })).info.worker"
    assert in_page(page, site, body)["value"] is True
    asked = [r.removeprefix("/affine/") for r in site.requests]
    assert asked.index("manifest.json") <= 2 and {r for r in asked if r.endswith(".js")} == {"hither.js"}


def test_a_run_on_webgpu_allocates_nothing_and_submits_once(page: Any, site: Site) -> None:
    body = f"""
      const counts = {{ buffers: 0, submits: 0, groups: 0 }}, count = (type, method, key) => {{
        const old = type.prototype[method];
        type.prototype[method] = function (...a) {{ counts[key]++; return old.apply(this, a); }};
      }};
      count(GPUDevice, "createBuffer", "buffers");
      count(GPUDevice, "createBindGroup", "groups");
      count(GPUQueue, "submit", "submits");
      const program = await load(url, {{ device: "webgpu" }});
      Object.assign(counts, {{ buffers: 0, submits: 0, groups: 0 }});
      for (let i = 0; i < 5; i++) {RUN};
      return counts;
    """
    assert in_page(page, site, body)["value"] == {"buffers": 0, "submits": 5, "groups": 0}


def test_integers_that_a_gpu_cannot_carry_are_refused(page: Any, site: Site) -> None:
    body = "const p = await load(url, { device: 'webgpu' }); await p.run({ x: new Float32Array(6), n: [1, 2 ** 40] })"
    got = in_page(page, site, body)
    assert got["code"] == "input" and 'input "n": element 1 is 1099511627776, which does not fit int32' in got["error"]


def test_auto_prefers_wasm_to_a_software_gpu_and_says_so(page: Any, site: Site) -> None:
    got = in_page(page, site, "const p = await load(url); return [p.info.device, p.info.why]")["value"]
    assert got[0] == "wasm" and "not webgpu: the only adapter is software" in got[1]


def test_a_changed_byte_of_the_wgsl_is_refused(page: Any, copy: Path) -> None:
    (copy.parent / "blank.html").write_text(BLANK)
    flip(copy / "kernels.wgsl", 40)
    with serving(copy.parent) as own:
        got = in_page(page, own, "await load(url, { device: 'webgpu' })", "bundle")
    assert got["code"] == "integrity" and "kernels.wgsl" in got["error"]


def test_limits_too_small_are_named(page: Any, copy: Path) -> None:
    manifest = read_manifest(copy)
    for build in manifest["builds"]:
        build.get("limits", {})["maxStorageBufferBindingSize"] = 1 << 50
    edit_manifest(
        copy, builds=[{k: v for k, v in b.items() if k != "limits" or b["target"] == "webgpu"} for b in manifest["builds"]]
    )
    (copy.parent / "blank.html").write_text(BLANK)
    with serving(copy.parent) as own:
        got = in_page(page, own, "await load(url, { device: 'webgpu' })", "bundle")
    assert got["code"] == "device" and f"maxStorageBufferBindingSize {1 << 50} (it has" in got["error"]


def test_no_adapter_is_reported(page: Any, site: Site) -> None:
    body = "navigator.gpu.__proto__.requestAdapter = async () => null; await load(url, { device: 'webgpu' })"
    got = in_page(page, site, body)
    assert got["code"] == "device" and "no adapter" in got["error"]


def test_a_lost_device_is_reported_and_the_program_loads_again(page: Any, site: Site) -> None:
    body = f"""
      const gpu = await (await navigator.gpu.requestAdapter()).requestDevice();
      let program = await load(url, {{ device: "webgpu", gpu }});
      gpu.destroy();
      const reason = await program.lost;
      const error = await program.run({{ x: new Float32Array(6), n: [1, 1] }}).catch((e) => [e.code, e.message]);
      program = await load(url, {{ device: "webgpu" }});
      return {{ reason, error, again: ({RUN}).n.data[0] }};
    """
    got = in_page(page, site, body)["value"]
    assert "the GPU device was lost" in got["reason"]
    assert got["error"][0] == "lost" and "load it again" in got["error"][1]
    assert got["again"] == 6


def test_without_isolation_there_is_one_thread_and_a_reason(page: Any, affine: Path) -> None:
    with serving(affine.parent, isolated=False) as own:
        page.goto(f"{own.origin}/{affine.name}/package.json")
        body = "const p = await load(url, { device: 'wasm', worker: true, threads: 2 }); return [p.info.threads, p.info.why]"
        threads, why = in_page(page, own, body, affine.name)["value"]
    assert threads == 1 and "COOP and COEP" in why


def test_a_worker_that_cannot_start_is_reported(page: Any, affine: Path) -> None:
    """A policy of the page may forbid Workers. One that fails before it is asked for anything must not be waited for."""
    policy = "<meta http-equiv=Content-Security-Policy content=\"worker-src 'none'\">"
    (affine.parent / "shut.html").write_text(BLANK + policy)
    body = f"""
      const late = async (...asked) => {{ await new Promise((next) => setTimeout(next, 300)); return fetch(...asked); }};
      const stuck = new Promise((_, refuse) => setTimeout(() => refuse(Error("load waits for ever")), 20000));
      const loading = load(url, {{ device: "wasm", worker: true, fetch: late }});
      const failed = await Promise.race([loading, stuck]).catch((e) => e.message);
      const program = await load(url, {{ device: "wasm", worker: false }});
      return [failed, ({RUN}).y.data];
    """
    with serving(affine.parent) as own:
        page.goto(f"{own.origin}/shut.html")
        failed, values = in_page(page, own, body, affine.name)["value"]
    assert "a worker did not start" in failed and "Content-Security-Policy" in failed and "worker: false" in failed
    np.testing.assert_allclose(values, affine_reference(X).ravel(), rtol=1e-5)


@pytest.mark.parametrize("device", ["wasm", "webgpu"])
@pytest.mark.parametrize("where", ["its own page", "text in another"])
def test_sandboxed_frames_load_and_run(page: Any, affine: Path, where: str, device: str) -> None:
    """Their origin is opaque: they have no Cache Storage, and Workers only of data addresses."""
    with serving(affine.parent, isolated=False, shared=True) as own:
        bundle_at = f"{own.origin}/{affine.name}/"
        script = f"""<script type=module>
          try {{
            const {{ load }} = await import("{bundle_at}hither.js");
            const program = await load("{bundle_at}", {{ device: "{device}", worker: true }});
            parent.postMessage({{ worker: program.info.worker, y: Array.from(({RUN}).y.data) }}, "*");
          }} catch (e) {{ parent.postMessage({{ error: e.message }}, "*"); }}
        </script>"""
        (affine.parent / "blank.html").write_text(BLANK)
        (affine.parent / "frame.html").write_text(script)
        page.goto(f"{own.origin}/blank.html")
        show = """([attribute, value]) => new Promise((told) => {
          window.onmessage = (e) => told(e.data);
          const frame = document.createElement("iframe");
          frame.sandbox = "allow-scripts";
          frame[attribute] = value;
          document.body.append(frame);
        })"""
        got = page.evaluate(show, ["src", "/frame.html"] if where == "its own page" else ["srcdoc", script])
    assert "error" not in got, got
    assert got["worker"] is True
    np.testing.assert_allclose(got["y"], affine_reference(X).ravel(), rtol=1e-5)


def test_a_second_load_fetches_no_weights_or_kernels(page: Any, site: Site) -> None:
    body = "const p = await load(url, { device: 'wasm' }); return p.info.transfer"
    first = in_page(page, site, body, "large")["value"]
    site.requests.clear()
    second = in_page(page, site, body, "large")["value"]
    assert first["cached"] == 0 and second["cached"] == first["network"] - second["network"] > TABLE.nbytes
    assert not [r for r in site.requests if r.endswith((".bin", ".wasm", ".wgsl"))]


def test_pictures_become_tensors(page: Any, site: Site) -> None:
    body = """
      const canvas = new OffscreenCanvas(60, 40), context = canvas.getContext("2d");
      context.fillStyle = "rgb(255, 51, 102)";
      context.fillRect(0, 0, 60, 40);
      const fetched = () => performance.getEntriesByType("resource").length;
      const p = await load(url, { device: "wasm" }), before = fetched();
      const { pixels } = await p.run({ image: canvas });
      const bitmap = await p.run({ image: await createImageBitmap(canvas) });
      return { pixels, same: String(pixels.data) === String(bitmap.pixels.data), requests: fetched() - before };
    """
    got = in_page(page, site, body, "picture")["value"]
    planes = np.array(got["pixels"]["data"]).reshape(3, 24)
    expected = [(1 - 0.5) / 0.5, 51 / 255 - 0.25, 102 / 255 / 2]
    np.testing.assert_allclose(planes, np.repeat(np.array(expected)[:, None], 24, 1), atol=1e-6)
    assert got["same"] and got["requests"] == 0


def test_pictures_keep_their_turn_and_arrays_their_values(page: Any, site: Site) -> None:
    """Calls take place in the order in which they are made, though a picture takes long; an array is the caller's at once."""
    body = """
      const p = await load(url, { device: "wasm" }), order = [];
      const canvas = new OffscreenCanvas(6, 4), array = new Float32Array(72).fill(1);
      canvas.getContext("2d");
      const calls = [canvas, array].map((image, i) => p.run({ image }).then((r) => (order.push(i), r.pixels.data[0])));
      array.fill(2);
      return [await Promise.all(calls), order];
    """
    (_, kept), order = in_page(page, site, body, "picture")["value"]
    assert kept == 1 and order == [0, 1]


@pytest.mark.parametrize("device", ["wasm", "webgpu"])
def test_numbers_beyond_a_table_are_clamped(page: Any, site: Site, device: str) -> None:
    """As everywhere (see take): nothing is raised, and nothing else's memory read."""
    body = f"""
      const program = await load(url, {{ device: "{device}" }});
      return (await program.run({{ x: [0, 3, 4, 1000, -1, -4, -5, -1000] }})).y.data;
    """
    assert in_page(page, site, body, "table")["value"] == [10, 40, 40, 40, 40, 10, 10, 10]


def test_the_page_shows_a_result_and_works_offline(page: Any, affine: Path) -> None:
    with serving(affine) as own:
        page.goto(own.origin + "/")
        page.wait_for_function("document.getElementById('first').textContent !== '–'", timeout=20000)
        assert page.inner_text("#requests") == "0"
        assert page.inner_text("#outputs").count("float32 [2, 4]") == 1
        page.check("#offline")
        page.evaluate("navigator.serviceWorker.ready.then(() => new Promise((done) => setTimeout(done, 300)))")
        page.context.set_offline(True)
        page.reload()
        page.wait_for_function("document.getElementById('first').textContent !== '–'", timeout=20000)
        assert page.inner_text("#message") == ""
        page.context.set_offline(False)


@pytest.mark.parametrize("device", ["wasm", "webgpu"])
def test_an_aborted_step_leaves_the_state(page: Any, counter: Path, device: str) -> None:
    (counter.parent / "blank.html").write_text(BLANK)
    body = f"""
      const add = {COUNT}, p = await load(url, {{ device: "{device}" }}), stop = new AbortController();
      const seen = [await add(p, 1)];
      const aborted = add(p, 100, {{ signal: stop.signal }}).catch((e) => e.name);
      setTimeout(() => stop.abort());
      await p.save("counter");
      seen.push(await aborted, await add(p, 2));
      await p.restore("counter");
      return [...seen, await add(p, 4)];
    """
    with serving(counter.parent) as own:
        first, aborted, second, third = in_page(page, own, body, counter.name)["value"]
    lost = 0 if aborted == "AbortError" else 101  # the step may have ended before it could be aborted
    assert [first, second, third] == [12, 15 + lost, 17 + lost]
