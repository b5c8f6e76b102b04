// The WebAssembly backend: one memory, one instance per thread. With more threads than one it runs where waiting is allowed: a Worker, or Node.
import { barred, fail, fitting, node, tooLarge } from "./hither-tensors.js";
import { host, spawn } from "./hither-worker.js";
/** @typedef {{ module: WebAssembly.Module, memory: WebAssembly.Memory, at: Record<string, number>, thread: number }} Team */

const PAGE = 65536, shareable = node || globalThis.crossOriginIsolated;

/** What the module exports, over the team's memory. @param {Team} team @returns {Promise<any>} */
async function instantiate({ module, memory }) {
  const [from] = WebAssembly.Module.imports(module);
  return (await WebAssembly.instantiate(module, { [from.module]: { [from.name]: memory } })).exports;
}

/** A helper: from then on it claims work out of the shared memory, until its Worker ends. @param {Team} team */
async function join(team) {
  const { at, thread } = team, exports = await instantiate(team);
  return () => exports["@help"](at.sync, at.scratch + thread * at.each);
}

/** What a build takes: threads, and where each region lies in one memory. @type {import("./types.d.ts").Room} */
async function room(build, { layouts, snapshot, threads: wanted }) {
  const { weights, state } = layouts[build.layout], { sync, arena, io, scratch: each } = build;
  const cores = globalThis.navigator?.hardwareConcurrency ?? (await import("node:os")).availableParallelism();
  const threads = shareable ? Math.floor(Math.max(1, wanted ?? Math.min(8, cores > 4 ? cores >> 1 : cores))) : 1;
  if (!threads) fail("option", `threads is ${wanted}, not a number`);
  const sizes = { sync, weights, state, arena, io, kept: snapshot ? state : 0, scratch: each * threads };
  /** @type {Record<string, number>} */
  const at = { each };
  let end = 256; // so that no region lies at address 0
  for (const [name, bytes] of Object.entries(sizes)) {
    at[name] = end;
    end += Math.ceil(bytes / 256) * 256;
  }
  const bytes = { weights, state: state + sizes.kept, arena: arena + sizes.scratch, io, total: Math.ceil(end / PAGE) * PAGE };
  return { threads, state, at, bytes };
}

/** @param {import("./types.d.ts").CreateOptions} options @param {import("./types.d.ts").Emit} emit @returns {Promise<import("./types.d.ts").Backend>} */
async function create(options, emit) {
  const { builds } = options, index = fitting(builds), build = builds[index];
  if (!build) fail("device", `this engine lacks ${builds.map((b) => b.requires)}`);
  const { threads, state, at, bytes: held } = await room(build, options), pages = held.total / PAGE;
  const why = shareable || options.threads === 1 ? "" : "one thread: threads need COOP and COEP headers";
  let memory = /** @type {any} */ (null);
  try {
    memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: shareable });
  } catch (e) {
    throw tooLarge("WebAssembly", held.total, /** @type {Error} */ (e).message, index);
  }
  const bytes = new Uint8Array(memory.buffer);
  const pool = Array.from({ length: threads - 1 }, () => spawn("wasm", wasm.url)); // they start while kernels and weights come
  /** @type {any} */
  let exports;
  let broken = "";

  const enter = (/** @type {string} */ call, cuts = threads) => exports[call](at.weights, at.state, at.arena, at.io, cuts, at.sync, at.scratch);
  const rollback = async () => {
    bytes.copyWithin(at.state, at.kept, at.kept + state);
  };
  return {
    info: {
      build: index, device: "wasm", threads, shared: shareable && { bytes, at }, why, adapter: build.requires.join() || "simd128",
      bytes: held,
    },
    async prepare(kernels, variant, rehearse) {
      kernels[build.shared_flag_offset] = shareable ? 3 : 1; // memory limits: a maximum, and whether shared
      const module = await WebAssembly.compile(/** @type {BufferSource} */ (kernels)).catch(barred), team = { module, memory, at, thread: 0 };
      exports = await instantiate(team);
      await Promise.all(pool.map((p, i) => p.call("join", [{ ...team, thread: i + 1 }]))); // a Worker starts only while its maker does not wait
      if (rehearse) enter(build.variants[variant][rehearse].call, 16); // in small chunks: optimised code takes over between them
      emit({ pipelines: [1, 1] });
    },
    async ready() {},
    async place(pieces, lent) {
      for (const [space, offset, data] of pieces) bytes.set(data, at[space] + offset);
      return lent;
    },
    refine: async (pieces) => (await import("./hither-refine.js")).add(bytes, at, pieces),
    async run(variant, entry, inputs, outputs, keep) {
      if (broken) fail("lost", broken);
      for (const x of inputs) bytes.set(x.bytes, at.io + x.offset);
      if (keep) bytes.copyWithin(at.kept, at.state, at.state + state);
      const { call } = variant < 0 ? /** @type {any} */ (build.init) : build.variants[variant][entry];
      try {
        enter(call);
      } catch (e) {
        if (keep) await rollback();
        if (pool.length) broken = `a kernel failed (${e}); load the program again`;
        throw e;
      }
      return { outputs: outputs.map((r) => bytes.slice(at.io + r.offset, at.io + r.offset + r.bytes)), dispatches: 1, roundTrips: 0 };
    },
    rollback,
    async read(space, offset, length) {
      return bytes.slice(at[space] + offset, at[space] + offset + length);
    },
    close() {
      for (const p of pool) p.close();
      broken = "the program is closed";
    },
  };
}

/** What this file is to a loader and to the Workers that it makes; `url` is the file in which this code is. */
export const wasm = { create, join, room, url: import.meta.url };
host("wasm", wasm);
