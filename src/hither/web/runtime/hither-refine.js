// Weights that come in halves: float32 numbers rounded to their upper 16 bits, with which a program starts, and lower halves, which
// restore every bit while it runs already: signed 16-bit numbers to be added to the words on the device, modulo 2^32. So upper
// halves are kept nowhere but there, and lower ones in memory only from their arrival until all have come.
import { fail } from "./hither-tensors.js";
/** @typedef {import("./types.d.ts").Segment} Segment */

/** The rounded numbers of upper halves. @param {Uint8Array} upper @returns {Uint8Array} */
export function widen(upper) {
  const words = new Uint32Array(upper.length / 2);
  new Uint16Array(upper.buffer, upper.byteOffset, words.length).forEach((x, i) => (words[i] = x << 16));
  return new Uint8Array(words.buffer);
}

/** Bring all lower halves: by where they start in the blob. @param {import("./hither-store.js").Store} store
 * @param {{ segments: Segment[], refinement?: Segment[] }} weights */
export async function rest(store, { segments, refinement = [] }) {
  const stray = refinement.find((l) => !segments.some((s) => s.half && s.start === l.start && s.bytes === l.bytes));
  if (stray) fail("format", `the refinement at ${stray.start} belongs to no weights`);
  /** @type {Map<number, Uint8Array>} */
  const lower = new Map();
  await store.segments(refinement, async ({ start }, bytes) => {
    lower.set(start, bytes);
    return bytes;
  });
  return lower;
}

/** Let the page do what waits: additions may take place on its thread. Unlike timers, messages wait for nothing themselves. */
const task = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => resolve(port1.close());
  port2.postMessage(0);
});

/** Give them to the backend, segment by segment. @param {import("./types.d.ts").Backend} backend
 * @param {(start: number, length: number) => import("./types.d.ts").Part[]} within @param {Map<number, Uint8Array>} lower @param {{ why: string }} gone */
export async function apply(backend, within, lower, gone) {
  const { shared } = backend.info, refine = (/** @type {import("./types.d.ts").Piece[]} */ pieces) => shared ? add(shared.bytes, shared.at, pieces) : backend.refine(pieces);
  await refine([]); // whatever it needs is there from now on
  let added = false;
  try {
    for (const [start, bytes] of lower) {
      if (added) await task();
      await refine(within(start, 2 * bytes.length).map(({ space, at, from, to }) => [space, at, bytes.subarray(from / 2, to / 2)]));
      added = lower.delete(start);
    }
  } catch (e) { // rounded numbers among exact ones give no results; but what a GPU refuses, it refuses whole
    if (added || /** @type {any} */ (e).code !== "device") gone.why = `its weights are refined in part (${/** @type {Error} */ (e).message})`;
    throw e;
  }
}

/** Add halves to words in memory. @param {Uint8Array} memory @param {Record<string, number>} at where its regions begin
 * @param {import("./types.d.ts").Piece[]} pieces */
export function add(memory, at, pieces) {
  for (const [space, offset, lower] of pieces) {
    const words = new Int32Array(memory.buffer, memory.byteOffset + at[space] + offset, lower.length / 2), n = words.length;
    const halves = new Int16Array(lower.buffer, lower.byteOffset, n);
    for (let i = 0; i < n; i++) words[i] = (words[i] + halves[i]) | 0; // signed: engines compute it in integers
  }
}

const WGSL = `
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@group(0) @binding(1) var<storage> lower: array<i32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = 2 * id.x;
  if (i < arrayLength(&words)) { words[i] += u32((lower[id.x] << 16) >> 16); }
  if (i + 1 < arrayLength(&words)) { words[i + 1] += u32(lower[id.x] >> 16); }
}`;

/** @type {WeakMap<GPUDevice, GPUComputePipeline>} */
const pipelines = new WeakMap();

/** Add halves to words in buffers of a device. @param {GPUDevice} device @param {{ buffer: GPUBuffer, at: number, lower: Uint8Array }[]} parts */
export async function addOn(device, parts) {
  const pipeline = pipelines.get(device) ?? await device.createComputePipelineAsync({ layout: "auto", compute: { module: device.createShaderModule({ code: WGSL }) } });
  pipelines.set(device, pipeline);
  const ALIGN = 256, starts = /** @type {number[]} */ ([]), words = parts.map(({ lower }) => Math.ceil(lower.length / 4) * 4);
  const size = words.reduce((end, n) => (starts.push(end), Math.ceil((end + n) / ALIGN) * ALIGN), 0), data = new Uint8Array(size);
  if (!size) return;
  parts.forEach(({ lower }, i) => data.set(lower, starts[i]));
  device.pushErrorScope("validation"); // it tells of a buffer for which there was no room, too
  const added = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST }), encoder = device.createCommandEncoder();
  device.queue.writeBuffer(added, 0, data);
  const pass = encoder.beginComputePass(), layout = pipeline.getBindGroupLayout(0);
  pass.setPipeline(pipeline);
  parts.forEach(({ buffer, at, lower }, i) => {
    const bound = [{ buffer, offset: at, size: 2 * lower.length }, { buffer: added, offset: starts[i], size: words[i] }];
    pass.setBindGroup(0, device.createBindGroup({ layout, entries: bound.map((resource, binding) => ({ binding, resource })) }));
    pass.dispatchWorkgroups(Math.ceil(lower.length / 256)); // 64 pairs of halves each
  });
  pass.end();
  device.queue.submit([encoder.finish()]);
  added.destroy(); // once it is used
  const error = await device.popErrorScope();
  if (error) fail("device", `the GPU refused: ${error.message}`);
  await device.queue.onSubmittedWorkDone(); // so that not all halves wait there
}
