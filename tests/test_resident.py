"""Weights that are held small, counted by others than hither: by the operating system, and by what pages allocate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hither as ht

from . import resident
from .browser import serving
from .conftest import ROOT

MOST = {"float16": 0.52, "int8": 0.28, "int4": 0.17}  # of what float32 takes
# What a program takes besides, at any precision: arena, inputs and outputs, memory of kernels, code, and by how much the blocks
# of allocators (malloc's, wgpu's) exceed what is in them. Natively on WebGPU 1 to 5 MB, another amount in every process.
KERNELS = 6 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("device", ["cpu", "wasm", pytest.param("webgpu", marks=pytest.mark.gpu)])
def test_a_process_holds_weights_once_and_small(device: str) -> None:
    """What a process grows by is the weights as they are stored: no second copy on the host, no float32 kept beside them, not
    even what the program was compiled from."""
    found = {}
    for precision in ("float32", *MOST):  # each in a process of its own: allocators' blocks outlive what was in them
        command = [sys.executable, "-m", "tests.resident", device, precision]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        found |= json.loads(done.stdout.strip().splitlines()[-1])
    nbytes = found.pop("float32 weights")
    assert nbytes >= 64 << 20
    for precision, most in {"float32": 1.0, **MOST}.items():
        assert found[precision] <= most * nbytes + KERNELS, found  # a second copy of the smallest is twice as much


COUNT = """async ([url, device, inputs]) => {
  const held = { webgpu: 0, wasm: 0 }, Memory = WebAssembly.Memory;
  if (globalThis.GPUDevice) {
    const { createBuffer } = GPUDevice.prototype, { destroy } = GPUBuffer.prototype;
    GPUDevice.prototype.createBuffer = function (what) { held.webgpu += what.size; return createBuffer.call(this, what); };
    GPUBuffer.prototype.destroy = function () { held.webgpu -= this.size; return destroy.call(this); };
  }
  WebAssembly.Memory = class extends Memory {
    constructor(what) { super(what); held.wasm += this.buffer.byteLength; }
    grow(pages) { held.wasm += 65536 * pages; return super.grow(pages); }
  };
  const { load } = await import(url + "hither.js"), program = await load(url, { device, threads: 1 });
  const given = Object.fromEntries(Object.entries(inputs).map(([name, size]) => [name, new Float32Array(size).fill(1)]));
  await program.run(given);
  const found = { held: held[device], weights: program.memory().weights };
  program.close();
  return found;
}"""

# in a Worker of its own, where the loader makes a WebAssembly.Memory itself
IN_WORKER = """([code, given]) => new Promise((resolve, reject) => {
  const body = `onmessage = ({ data }) => (${code})(data).then(postMessage, (e) => postMessage({ error: String(e) }))`;
  const script = URL.createObjectURL(new Blob([body], { type: "text/javascript" }));
  const worker = new Worker(script, { type: "module" });
  worker.onmessage = ({ data }) => { worker.terminate(); data.error ? reject(Error(data.error)) : resolve(data); };
  worker.onerror = (e) => reject(Error(e.message));
  worker.postMessage(given);
})"""


@pytest.mark.browser
def test_pages_allocate_for_small_weights_only(page: Any, tmp_path: Path) -> None:
    """All GPUBuffers, and all WebAssembly.Memory, that a page makes for a program: arena, inputs and outputs included."""
    function, specs, nbytes = resident.model(2, 0)
    for precision in ("float32", *MOST):
        ht.bundle(function, tmp_path / precision, specs, precision=precision)
    sizes = {"x": resident.WIDTH, "image": resident.CHANNELS * 64}
    (tmp_path / "blank.html").write_text("<!doctype html><title>test</title><link rel=icon href=data:,>")
    with serving(tmp_path) as site:
        page.goto(f"{site.origin}/blank.html")
        for device in ("webgpu", "wasm"):
            found = {}
            for precision in ("float32", *MOST):
                given = [f"{site.origin}/{precision}/", device, sizes]
                found[precision] = page.evaluate(IN_WORKER, [COUNT, given])["held"]
            assert nbytes <= found["float32"] <= nbytes + KERNELS, found
            for precision, most in MOST.items():
                assert found[precision] <= most * found["float32"], (device, found)
