"""Programs that a page loads, uses and drops without closing them: what they hold, by the loader's books and the device's."""

from __future__ import annotations

from typing import Any

OPTIONS = {
    "webgpu": "{ device: 'webgpu' }",
    "webgpu in a worker": "{ device: 'webgpu', worker: true }",
    "wasm": "{ device: 'wasm', threads: 2 }",
}

# JavaScript: the body of an async function of `url`. `most` are the most bytes held at any time, `one` those of one program,
# `gpu` the most bytes in GPUBuffers made here, which the page counts itself.
CYCLES = """
  const gpu = { live: 0, most: 0 };
  if (globalThis.GPUDevice) {
    const { createBuffer } = GPUDevice.prototype, { destroy } = GPUBuffer.prototype;
    GPUDevice.prototype.createBuffer = function (what) {
      gpu.most = Math.max(gpu.most, gpu.live += what.size);
      return createBuffer.call(this, what);
    };
    GPUBuffer.prototype.destroy = function () {
      gpu.live -= this.size;
      return destroy.call(this);
    };
  }
  const { load, memory } = await import(url + "hither.js"), total = () => memory().webgpu + memory().wasm;
  let one = 0, most = 0;
  for (let i = 0; i < TIMES; i++) {
    const program = await load(url, OPTIONS);
    await program.run(INPUTS);
    one = program.memory().total;
    most = Math.max(most, total());
  }
  return { one, most, gpu: gpu.most, end: memory() };
"""


def cycles(page: Any, url: str, inputs: str, options: str, times: int, in_worker: bool = False) -> dict[str, Any]:
    """Load and drop a bundle so many times, on a page's main thread or in a Worker of the page."""
    body = CYCLES.replace("TIMES", str(times)).replace("OPTIONS", options).replace("INPUTS", inputs)
    function = f"async (url) => {{ {body} }}"
    found: dict[str, Any]
    if not in_worker:
        found = page.evaluate(f"(url) => ({function})(url)", url)
        return found
    code = f"onmessage = ({{ data }}) => ({function})(data).then(postMessage, (e) => postMessage({{ error: String(e) }}))"
    found = page.evaluate(
        """([code, url]) => new Promise((resolve, reject) => {
          const script = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
          const worker = new Worker(script, { type: "module" });
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = (e) => reject(Error(e.message));
          worker.postMessage(url);
        })""",
        [code, url],
    )
    assert "error" not in found, found
    return found
