// The WebGPU backend: all pipelines start compiling at once, bind groups are made once, a run is one submit, and nothing is
// allocated on the device per run.
import { fail, tooLarge } from "./hither-tensors.js";
import { host } from "./hither-worker.js";
/** @typedef {import("./types.d.ts").Step} Step */
/** @typedef {[buffer: GPUBuffer, offset: number, bytes: number]} Piece */

const words = (/** @type {number} */ n) => (n + 3) & ~3;

/** What a build takes: what results are read through, and all. @type {import("./types.d.ts").Room} */
export function room({ buffers, io, layout }, { layouts, snapshot }) {
  const most = words(Math.max(io, 4, +snapshot && Math.min(layouts[layout].state, 2 ** 20))); // a state is read in few pieces
  /** @type {Record<string, number>} */
  const bytes = { weights: 0, state: 0, arena: 0, io: most, total: most };
  for (const [space, , size] of buffers) for (const sum of [space, "total"]) bytes[sum] += words(size) * (snapshot && space === "state" ? 2 : 1);
  return { most, bytes };
}

/** @param {import("./types.d.ts").CreateOptions} options @param {import("./types.d.ts").Emit} emit @returns {Promise<import("./types.d.ts").Backend>} */
export async function create({ builds, layouts, snapshot, gpu, auto }, emit) {
  const api = globalThis.navigator?.gpu, adapter = gpu ?? await api?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) return fail("device", api ? "WebGPU has no adapter here" : "no WebGPU: it needs https or localhost, and a browser that has it");
  const about = /** @type {any} */ (adapter).info ?? /** @type {any} */ (adapter).adapterInfo ?? {}, name = `${about.vendor} ${about.architecture} ${about.description}`.trim();
  if (auto && (about.isFallbackAdapter || /swiftshader|llvmpipe/i.test(name))) fail("device", `the only adapter is software (${name}), slower than WASM`);
  const has = /** @type {any} */ (adapter.limits), lacks = builds.map((b) => [...b.requires.filter((f) => !adapter.features.has(f)),
    ...Object.entries(b.limits).flatMap(([k, least]) => (has[k] >= least ? [] : `${k} ${least} (it has ${has[k]})`))].join(", "));
  const index = lacks.indexOf(""), build = builds[index] ?? fail("device", `the adapter (${name}) lacks ${lacks.at(-1)}`);
  const why = builds.slice(0, index).map((b, i) => `${b.precision === build.precision ? "halves lie two to a word" : `not ${b.precision}`}: the adapter lacks ${lacks[i]}`).join("; ");
  const subgroups = adapter.features.has("subgroups") ? build.subgroups : undefined; // modules that take the places of others
  const dots = api?.wgslLanguageFeatures?.has("packed_4x8_integer_dot_product") ? build.packed_dot : undefined;
  const features = /** @type {GPUFeatureName[]} */ (subgroups ? [...build.requires, "subgroups"] : build.requires);
  const device = gpu ?? await /** @type {GPUAdapter} */ (adapter).requestDevice({ requiredFeatures: features, requiredLimits: build.limits });
  let lost = "";
  device.lost.then(({ message, reason }) => emit({ lost: (lost = `the GPU device was lost (${message || reason})`) }));

  /** Errors arrive later: this waits for them. @template T @param {GPUErrorFilter} filter @param {() => T} act */
  async function guarded(filter, act) {
    device.pushErrorScope(filter);
    const result = act(), error = await device.popErrorScope();
    if (error) fail(filter === "validation" ? "device" : "memory", `the GPU refused: ${error.message}`);
    return result;
  }

  const { most, bytes } = room(build, { layouts, snapshot });
  /** @type {GPUBuffer[]} */
  const made = [];
  const close = () => {
    for (const b of made) b.destroy();
    if (!gpu) device.destroy();
  };
  const { buffers, staging, kept } = await guarded("out-of-memory", () => {
    const make = (/** @type {number} */ size, usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC) => {
      made.push(device.createBuffer({ size: words(size), usage: usage | GPUBufferUsage.COPY_DST }));
      return /** @type {GPUBuffer} */ (made.at(-1));
    };
    return {
      buffers: build.buffers.map(([, , size]) => make(size)),
      staging: make(most, GPUBufferUsage.MAP_READ),
      kept: build.buffers.map(([space, , size]) => (snapshot && space === "state" ? make(size) : null)),
    };
  }).catch((e) => {
    close();
    throw e.code === "memory" ? tooLarge("the GPU", bytes.total, e.message, index) : e;
  });
  const only = (/** @type {string} */ space) => buffers[build.buffers.findIndex((b) => b[0] === space)]; // weights alone may lie in several

  /** Where bytes of a region lie: [buffer, offset there, from, to]. @param {string} space @param {number} offset @param {number} length */
  const within = (space, offset, length) => build.buffers.flatMap(([s, start, size], i) => {
    const from = Math.max(0, start - offset), to = Math.min(length, start + size - offset);
    return s === space && from < to ? [{ buffer: buffers[i], at: offset + from - start, from, to }] : [];
  });

  /** @param {string} space @param {number} offset @param {Uint8Array} data */
  function write(space, offset, data) {
    for (const { buffer, at, from, to } of within(space, offset, data.length)) {
      let piece = data.subarray(from, to);
      if (piece.length & 3) { // writes are in words
        const padded = new Uint8Array(words(piece.length));
        padded.set(piece);
        piece = padded;
      }
      device.queue.writeBuffer(buffer, at, /** @type {BufferSource} */ (piece));
    }
  }

  /** Submit, and read these pieces. @param {GPUCommandEncoder} encoder @param {Piece[]} pieces @returns {Promise<Uint8Array[]>} */
  async function submit(encoder, pieces) {
    let end = 0;
    for (const [buffer, offset, size] of pieces) {
      encoder.copyBufferToBuffer(buffer, offset, staging, end, words(size));
      end += words(size);
    }
    const checked = guarded("validation", () => device.queue.submit([encoder.finish()]));
    await Promise.all([checked, pieces.length && staging.mapAsync(GPUMapMode.READ).catch((/** @type {Error} */ e) => fail("lost", `${lost || e.message}; load the program again`))]);
    if (!pieces.length) return [];
    const all = new Uint8Array(staging.getMappedRange());
    end = 0;
    const out = pieces.map(([, , size]) => all.slice(end, (end += words(size)) - words(size) + size));
    staging.unmap();
    return out;
  }

  /** @type {Map<string, GPUBindGroupLayout>} */
  const groupLayouts = new Map();
  /** @type {GPUComputePipeline[]} */
  const pipelines = [];
  /** @type {Promise<void>[]} */
  const compiling = [];
  /** @type {Map<Step | string, GPUBindGroup>} by step, and by what it binds */
  const groups = new Map();
  /** @type {string[]} */
  let codes = [];
  /** @type {Promise<unknown>[]} */
  const started = [];
  let compiled = 0, placed = 0;

  /** @param {string} access a letter per binding: r, or w for read_write */
  function layoutOf(access) {
    const layout = groupLayouts.get(access) ?? device.createBindGroupLayout({
      entries: [...access].map((x, binding) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type: x === "r" ? "read-only-storage" : "storage" } })),
    });
    groupLayouts.set(access, layout);
    return layout;
  }

  /** Start compiling every pipeline that the steps need, and make their bind groups. @param {Step[]} steps @returns {Promise<any>} */
  const start = (steps) => Promise.all(steps.map((step) => {
    const { run, bind } = step;
    if (run === undefined) return start([step.then, step.else, step.do].flatMap((x) => x ?? []));
    const layout = layoutOf(build.pipelines[run]), key = run + String(bind);
    const group = groups.get(key) ?? device.createBindGroup({ layout, entries: bind.map(([b, offset, size], binding) => ({ binding, resource: { buffer: buffers[b], offset, size } })) });
    groups.set(key, group).set(step, group);
    return compiling[run] ??= device.createComputePipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }), compute: { module: device.createShaderModule({ code: codes[dots?.[run] ?? subgroups?.[run] ?? run] }) },
    }).then((pipeline) => {
      pipelines[run] = pipeline;
      emit({ pipelines: [++compiled, compiling.filter(Boolean).length] });
    }, (e) => fail("device", `${build.file}: kernel ${run} was refused: ${e.message}`));
  }));

  const ready = async (/** @type {number} */ variant) => {
    await (started[variant] ??= start([build.init ?? [], Object.values(build.variants[variant])].flat().flatMap((p) => p.steps)));
  };

  /** Encode steps into one encoder until a flag must be read. @param {Step[]} all @param {GPUCommandEncoder} encoder */
  async function encode(all, encoder) {
    let dispatches = 0, roundTrips = 0, pass = /** @type {GPUComputePassEncoder | null} */ (null);
    /** @param {import("./types.d.ts").Binding} flag */
    async function read([buffer, offset]) {
      pass?.end();
      pass = null;
      roundTrips++;
      const [value] = await submit(encoder, [[buffers[buffer], offset, 4]]);
      encoder = device.createCommandEncoder();
      return value.some(Boolean);
    }
    async function walk(/** @type {Step[]} */ steps = []) {
      for (const step of steps) {
        if (step.if) await walk(await read(step.if) ? step.then : step.else);
        else if (step.while) for (let n = 0; n < (step.bound ?? Infinity) && await read(step.while); n++) await walk(step.do);
        else {
          const { run = 0, groups: [x, y, z] } = step;
          pass ??= encoder.beginComputePass();
          pass.setPipeline(pipelines[run]);
          pass.setBindGroup(0, groups.get(step));
          pass.dispatchWorkgroups(x, y, z);
          dispatches++;
        }
      }
    }
    await walk(all);
    pass?.end();
    return { encoder, dispatches, roundTrips };
  }

  /** @param {(GPUBuffer | null)[]} from @param {(GPUBuffer | null)[]} to */
  function copyState(from, to, encoder = device.createCommandEncoder()) {
    kept.forEach((k, i) => k && encoder.copyBufferToBuffer(/** @type {GPUBuffer} */ (from[i]), 0, /** @type {GPUBuffer} */ (to[i]), 0, k.size));
    return encoder;
  }
  const rollback = async () => {
    await submit(copyState(kept, buffers), []);
  };

  return {
    info: { build: index, device: "webgpu", why, threads: 0, adapter: name, bytes, subgroups: !!subgroups, packedDot: !!dots },
    async prepare(text, variant) {
      codes = new TextDecoder().decode(text).split(/^\/\/---- kernel \d+\n/m).slice(1);
      ready(variant).catch(() => {}); // whoever awaits it next gets the error
    },
    ready,
    async place(pieces, lent) {
      for (const [space, offset, data] of pieces) {
        write(space, offset, data);
        placed += data.length;
      }
      if (placed > 2 ** 24) { // writes wait in host memory until the queue drains
        placed = 0;
        await device.queue.onSubmittedWorkDone();
      }
      return lent;
    },
    refine: async (pieces) => (await import("./hither-refine.js")).addOn(device, pieces.flatMap(([space, offset, lower]) =>
      within(space, offset, 2 * lower.length).map(({ buffer, at, from, to }) => ({ buffer, at, lower: lower.subarray(from / 2, to / 2) })))),
    async run(variant, entry, inputs, outputs, keep) {
      for (const x of inputs) write("io", x.offset, x.bytes);
      const first = keep ? copyState(buffers, kept) : device.createCommandEncoder();
      try {
        const { encoder, ...counts } = await encode((variant < 0 ? /** @type {any} */ (build.init) : build.variants[variant][entry]).steps, first);
        return { outputs: await submit(encoder, outputs.map((r) => [only("io"), r.offset, r.bytes])), ...counts };
      } catch (e) {
        if (keep && !lost) await rollback();
        throw e;
      }
    },
    rollback,
    async read(space, offset, size) {
      const out = new Uint8Array(size);
      for (let at = 0; at < size; at += staging.size) {
        out.set((await submit(device.createCommandEncoder(), [[only(space), offset + at, Math.min(staging.size, size - at)]]))[0], at);
      }
      return out;
    },
    close,
  };
}

host("webgpu", { create });
