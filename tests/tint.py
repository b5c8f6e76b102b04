"""WGSL in Chromium: compiled by Tint, the compiler browsers use, and run by Dawn under the validation browsers do.

wgpu's compiler (naga) accepts texts that Tint refuses, and wgpu accepts bindings that Dawn refuses; so what runs natively is
shown to run in a page too.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hither.targets.wgsl.plan import Dispatch, Plan, steps_of
from hither.targets.wgsl.printer import ENTRY

_PAGE = "http://localhost/wgsl"  # WebGPU needs a secure context, which localhost is

_COMPILE = """
async ({texts, features}) => {
  const device = await window.device(features);
  const found = [];
  for (const code of texts) {
    const {messages} = await device.createShaderModule({code}).getCompilationInfo();
    found.push(messages.map((m) => `${m.type} ${m.lineNum}:${m.linePos} ${m.message}`));
  }
  return found;
}
"""

_RUN = """
async ({texts, access, entryPoint, buffers, dispatches, features}) => {
  const device = await window.device(features);
  device.pushErrorScope("validation");
  const layouts = access.map((of) => device.createBindGroupLayout({entries: of.map((a, binding) => ({
    binding, visibility: GPUShaderStage.COMPUTE, buffer: {type: a === "read" ? "read-only-storage" : "storage"}}))}));
  const pipelines = await Promise.all(texts.map((code, i) => device.createComputePipelineAsync({
    layout: device.createPipelineLayout({bindGroupLayouts: [layouts[i]]}),
    compute: {module: device.createShaderModule({code}), entryPoint}})));
  const made = buffers.map(({size, data}) => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = device.createBuffer({size, usage});
    device.queue.writeBuffer(buffer, 0, Uint8Array.from(atob(data), (c) => c.charCodeAt(0)));
    return buffer;
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const d of dispatches) {
    pass.setPipeline(pipelines[d.variant]);
    pass.setBindGroup(0, device.createBindGroup({layout: layouts[d.variant], entries: d.bindings.map((b, binding) => ({
      binding, resource: {buffer: made[b.buffer], offset: b.offset, size: b.size}}))}));
    pass.dispatchWorkgroups(...d.workgroups);
  }
  pass.end();
  const staging = buffers.map(({size}, i) => {
    const buffer = device.createBuffer({size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST});
    encoder.copyBufferToBuffer(made[i], 0, buffer, 0, size);
    return buffer;
  });
  device.queue.submit([encoder.finish()]);
  const error = await device.popErrorScope();
  if (error) throw new Error(error.message);
  const results = [];
  for (const buffer of staging) {
    await buffer.mapAsync(GPUMapMode.READ);
    let text = "";
    for (const byte of new Uint8Array(buffer.getMappedRange())) text += String.fromCharCode(byte);
    results.push(btoa(text));
    buffer.destroy();
  }
  for (const buffer of made) buffer.destroy();
  return results;
}
"""


def open_page(page: Any) -> Any:
    """Turn a fresh Playwright page into one that has WebGPU; returns it."""
    page.route(_PAGE, lambda route: route.fulfill(content_type="text/html", body="<!doctype html><title>wgsl</title>"))
    page.goto(_PAGE)
    page.evaluate("""() => { window.device = async (requiredFeatures) => {
      const adapter = await navigator.gpu.requestAdapter();
      if (!adapter) throw new Error("Chromium has no WebGPU adapter");
      const key = requiredFeatures.join();
      window.devices ??= {};
      return window.devices[key] ??= await adapter.requestDevice({requiredFeatures});
    }; }""")
    return page


def messages(page: Any, texts: Sequence[str], features: Sequence[str] = ()) -> list[list[str]]:
    """What Tint has to say about each text: nothing, if it is well."""
    return page.evaluate(_COMPILE, {"texts": list(texts), "features": list(features)})


def run(
    page: Any, plan: Plan, texts: Sequence[str], entry: str, regions: dict[str, np.ndarray], features: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Run an entry without control flow in the page; returns what the regions hold afterwards."""
    buffers = []
    for b in plan.buffers:
        data = regions[b.space][b.offset : b.offset + b.size].tobytes()
        buffers.append({"size": b.size, "data": base64.b64encode(data + bytes(-len(data) % 4)).decode()})
    steps = [asdict(s) for s in steps_of(plan.entries[entry]) if isinstance(s, Dispatch)]
    access = [list(v.access()) for v in plan.variants]
    arguments = {"texts": list(texts), "access": access, "entryPoint": ENTRY, "buffers": buffers, "dispatches": steps}
    arguments["features"] = list(features)
    after = {space: region.copy() for space, region in regions.items()}
    for b, text in zip(plan.buffers, page.evaluate(_RUN, arguments)):
        region = after[b.space][b.offset : b.offset + b.size]
        region[:] = np.frombuffer(base64.b64decode(text), np.uint8)[: region.size]
    return after
