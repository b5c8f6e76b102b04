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


# JavaScript: run a program TIMES times, and count what is made meanwhile; a tenth of the runs come before.
REPEATS = """
  const made = { buffers: 0, groups: 0, memories: 0, workers: 0 }, count = (type, method, key) => {
    const old = type?.prototype[method];
    if (old) type.prototype[method] = function (...a) { made[key]++; return old.apply(this, a); };
  };
  count(globalThis.GPUDevice, "createBuffer", "buffers");
  count(globalThis.GPUDevice, "createBindGroup", "groups");
  WebAssembly.Memory = class extends WebAssembly.Memory { constructor(...a) { super(...a); made.memories++; } };
  globalThis.Worker = class extends Worker { constructor(...a) { super(...a); made.workers++; } };
  const { load, memory } = await import(url + "hither.js"), program = await load(url, OPTIONS), inputs = INPUTS;
  const run = async (n) => { for (let i = 0; i < n; i++) await program.run(inputs); };
  await run(Math.ceil(TIMES / 10));
  const before = { ...made }, held = memory();
  await run(TIMES);
  const after = memory();
  program.close();
  return { before, after: { ...made }, held, then: after, closed: memory() };
"""


def repeats(page: Any, url: str, inputs: str, options: str, times: int) -> dict[str, Any]:
    """Run a bundle's default entry so many times on a page."""
    body = REPEATS.replace("TIMES", str(times)).replace("OPTIONS", options).replace("INPUTS", inputs)
    found: dict[str, Any] = page.evaluate(f"(url) => (async (url) => {{ {body} }})(url)", url)
    return found


def make_training(folder: Any) -> None:
    """A bundle whose default entry is a training step of flatness.py."""
    import hither as ht

    from .flatness import BATCH, WIDTH, network, weights

    def loss(layers: list[Any], x: Any) -> Any:
        return ht.mean((network(x, layers) - 0.5) ** 2)

    def step(state: Any, x: Any) -> Any:
        value, slopes = ht.value_and_grad(loss)(state["w"], x)
        return {"loss": value}, {"w": [w - 0.05 * g for w, g in zip(state["w"], slopes)]}

    ht.bundle({"train_step": step}, folder, {"x": ht.Spec((BATCH, WIDTH), "float32")}, state={"w": weights(2)})
