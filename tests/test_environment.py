"""The tools the other tests rely on do what is relied on, so that a broken machine fails here, by name, and first."""

from __future__ import annotations

import subprocess
from typing import Any

ADAPTER_SCRIPT = """async () => {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter) return null;
    const device = await adapter.requestDevice();
    device.destroy();
    return [...adapter.features];
}"""


def test_wgpu_has_an_adapter(adapter: Any) -> None:
    device = adapter.request_device_sync()
    assert device.limits["max-compute-invocations-per-workgroup"] >= 128


def test_chromium_has_webgpu_and_shared_memory(page: Any) -> None:
    """A secure context with COOP and COEP, as `hither serve` gives it. Requests are answered here: no server needed."""
    headers = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
    page.route("**/*", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html", headers=headers))
    page.goto("http://localhost/")
    assert page.evaluate("crossOriginIsolated") is True
    assert page.evaluate("typeof SharedArrayBuffer") == "function"
    assert page.evaluate(ADAPTER_SCRIPT) is not None, "Chromium offers no WebGPU adapter"


def test_node_compiles_simd(node: str) -> None:
    """(module (func (result v128) i32.const 0 i8x16.splat)) validates: Node has the plain SIMD that bundles need."""
    module = "0,97,115,109,1,0,0,0,1,5,1,96,0,1,123,3,2,1,0,10,8,1,6,0,65,0,253,15,11"
    script = f"process.stdout.write(String(WebAssembly.validate(new Uint8Array([{module}]))))"
    run = subprocess.run([node, "-e", script], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "true"


def test_typescript_runs(tsc: list[str]) -> None:
    run = subprocess.run([*tsc, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.startswith("Version ")
