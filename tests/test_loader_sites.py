"""Where bundles are put: under policies, at addresses with queries, beside other copies of the loader, on shared devices."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .browser import BLANK, Site, in_page, serving
from .bundles import affine_reference

EXPECTED = affine_reference(np.arange(6, dtype=np.float32).reshape(2, 3)).ravel()
RUN = "(await program.run({ x: Float32Array.from([0, 1, 2, 3, 4, 5]), n: [3, -4] })).y.data"
POLICY = '<meta http-equiv=Content-Security-Policy content="%s">'


@pytest.fixture(scope="module")
def site(affine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("sites")
    shutil.copytree(affine, root / "affine")
    (root / "blank.html").write_text(BLANK)
    allowed = "default-src 'none'; connect-src 'self'; script-src 'self' 'wasm-unsafe-eval'"
    for name, policy in (("strict", allowed), ("shut", "script-src 'self'")):
        (root / f"{name}.html").write_text(BLANK + POLICY % policy + "<script type=module src=app.js></script>")
    (root / "trusted.html").write_text(BLANK + POLICY % "require-trusted-types-for 'script'")
    app = """import { load } from "./affine/hither.js";
      globalThis.run = async (options) => {
        try {
          const program = await load("./affine/", options);
          return [program.info.worker, Array.from(RUN)];
        } catch (e) { return [e.code, e.message]; }
      };
    """
    (root / "app.js").write_text(app.replace("RUN", RUN))
    with serving(root) as running:
        yield running


def test_a_strict_policy_is_enough_or_what_it_lacks_is_said(page: Any, site: Site) -> None:
    """With Workers and without. Where WebAssembly may not compile, the error is the loader's, and says what to allow."""
    found = []
    for name in ("strict", "shut"):
        page.goto(f"{site.origin}/{name}.html")
        page.wait_for_function("globalThis.run")
        found += [page.evaluate(f"run({{ device: 'wasm', worker: {worker} }})") for worker in ("true", "false")]
    assert [worker for worker, _ in found] == [True, False, "device", "device"]
    for values in (found[0][1], found[1][1]):
        np.testing.assert_allclose(values, EXPECTED, rtol=1e-5)
    assert all("let the Content-Security-Policy allow 'wasm-unsafe-eval'" in message for _, message in found[2:])


@pytest.mark.parametrize("address", ["/affine?v=3", "/affine/?v=3", "affine#top", "/affine/manifest.json?v=3"])
def test_an_address_may_have_a_query(page: Any, site: Site, address: str) -> None:
    """It is the folder's, whether or not that ends in a stroke; files are asked for with it, as signed addresses need."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    got = in_page(page, site, f"""const program = await load("{address}", {{ device: "wasm" }}); return {RUN}""")
    assert "value" in got, got
    np.testing.assert_allclose(got["value"], EXPECTED, rtol=1e-5)
    files = [url for url in asked if any(name in url for name in ("manifest", "kernels", "weights"))]
    assert len(files) == 3 and all(url.endswith("?v=3") == ("v=3" in address) for url in files), asked


def test_without_a_worker_none_is_made(page: Any, site: Site) -> None:
    """A page may have a reason, such as a policy (trusted types) under which the attempt is an error."""
    page.goto(f"{site.origin}/trusted.html")
    body = f"""const program = await load(url, {{ device: "wasm", worker: false }}); return {RUN}"""
    got = in_page(page, site, body)
    assert "value" in got, got
    np.testing.assert_allclose(got["value"], EXPECTED, rtol=1e-5)


def test_a_query_of_the_script_makes_no_difference(page: Any, site: Site) -> None:
    """It makes the page's copy of the loader another one than that of its parts, whose errors are of another class."""
    body = f"""
      const other = await import(url + "hither.js?v=2"), program = await other.load(url);
      return [program.info.why, Array.from({RUN}), other.memory().programs];
    """
    got = in_page(page, site, body)
    assert "value" in got, got
    why, values, programs = got["value"]
    assert "not webgpu: the only adapter is software" in why and programs == 1
    np.testing.assert_allclose(values, EXPECTED, rtol=1e-5)


def test_a_device_given_is_no_obstacle_to_webassembly(page: Any, site: Site) -> None:
    """A page that shares its GPU among programs has one that runs in a Worker, or falls back to one."""
    body = f"""
      const gpu = await (await navigator.gpu.requestAdapter()).requestDevice();
      const program = await load(url, {{ gpu, device: "wasm", worker: true }}), values = Array.from({RUN});
      const refused = await load(url, {{ gpu, device: "webgpu", worker: true }}).catch((e) => [e.code, e.message]);
      return [values, refused];
    """
    got = in_page(page, site, body)
    assert "value" in got, got
    values, refused = got["value"]
    np.testing.assert_allclose(values, EXPECTED, rtol=1e-5)
    assert refused == ["option", "gpu cannot be sent to a worker: leave out worker: true"]
