// hither: loads a bundle and runs it. What every page needs is shipped as one file (web/join.py); the other hither-*.js files are
// fetched when they are needed.
import { openStore } from "./hither-store.js";
import { arrayOf, convert, count, decode, encode, fail, fitting, given, HitherError, sizeOf } from "./hither-tensors.js";
import { wasm } from "./hither-wasm.js";
import { remote, spawn } from "./hither-worker.js";
/** @typedef {import("./types.d.ts").Manifest} Manifest */
/** @typedef {import("./types.d.ts").Build} Build */
/** @typedef {import("./types.d.ts").Backend} Backend */
/** @typedef {import("./hither-store.js").Store} Store */
/** @typedef {import("./types.d.ts").LoadOptions} LoadOptions */
/** @typedef {import("./types.d.ts").RunOptions} RunOptions */
/** @typedef {import("./types.d.ts").Tensor} Tensor */
/** @typedef {import("./types.d.ts").Placed} Placed */

const page = !!globalThis.document;
const LIGHT = 2 ** 22; // operations and bytes of a run (see most_work in kernels/steps.py): one to four milliseconds on a desktop's core; products, a tenth of one
/** @type {FinalizationRegistry<() => void>} */
const dropped = new FinalizationRegistry((close) => close());
/** What programs hold on devices until they are closed, or collected. @typedef {{ device: string, bytes: Record<string, number>, fresh: boolean }} Held @type {Set<Held>} */
const held = new Set();

/** What programs loaded here hold; see hither.d.ts. */
export function memory() {
  const [webgpu, wasm] = ["webgpu", "wasm"].map((device) => {
    const sum = { live: 0, weights: 0, state: 0, arena: 0, pooled: 0, programs: 0, total: 0 };
    for (const { device: where, bytes: { weights, state, total } } of held) {
      if (where !== device) continue;
      sum.weights += weights;
      sum.state += state;
      sum.arena += total - weights - state;
      sum.programs++;
      sum.total = sum.live += total;
    }
    return sum;
  });
  return { webgpu: webgpu.total, wasm: wasm.total, programs: held.size, devices: { webgpu, wasm } };
}

const rooms = () => import("./hither-room.js");
const worker = (/** @type {string} */ target) => spawn(target, target === "wasm" ? wasm.url : new URL("./hither-webgpu.js", import.meta.url).href);

/** Reports of progress, until they are stopped: what lives as long as a program must not hold its caller's functions.
 * @param {LoadOptions["onProgress"]} tell */
function reporter(tell) {
  const progress = { phase: "manifest", bytesLoaded: 0, bytesTotal: 0, pipelinesReady: 0, pipelinesTotal: 0 };
  return { report: (/** @type {object} */ change) => tell?.({ .../** @type {any} */ (Object.assign(progress, change)) }), stop: () => (tell = undefined) };
}

/** What a backend tells its events to; it holds no program either. @param {(change: object) => void} report */
function listener(report) {
  const gone = { why: "" };
  let lose = (/** @type {string} */ _) => {};
  const lost = new Promise((resolve) => (lose = resolve)).then((reason) => (gone.why = reason));
  /** @type {import("./types.d.ts").Emit} */
  const emit = ({ pipelines: p, lost: reason }) => (reason ? lose(reason) : p && report({ pipelinesReady: p[0], pipelinesTotal: p[1] }));
  return { gone, lost, emit };
}

/** Load a bundle; see hither.d.ts. @param {string | URL} source @param {LoadOptions} [options] @returns {Promise<Program>} */
export async function load(source, options = {}) {
  const { device = "auto", gpu, precision, memory } = options, { report, stop } = reporter(options.onProgress);
  report({});
  if ([...held].filter((h) => h.fresh).length > 1) await (await rooms()).collect(held);
  // a Worker is long in starting: where one is bound to be needed, it starts while the manifest comes
  let port = page && (options.worker ?? true) && (device === "wasm" || !(gpu || globalThis.navigator.gpu)) ? worker("wasm") : undefined;
  const spare = () => [port, (port = undefined)][0]; // it serves one attempt
  try {
    const store = await openStore(source, options), manifest = await store.manifest();
    const built = ["webgpu", "wasm"].filter((t) => manifest.builds.some((b) => b.target === t));
    const targets = built.filter((t) => device === "auto" || device === t), why = [];
    for (const target of targets) {
      const last = target === targets.at(-1);
      const once = (/** @type {Build[]} */ builds) => attempt(target, !last, builds, manifest, store, options, report, spare);
      const twice = (/** @type {Build[]} */ builds) => once(builds).catch(async (e) => {
        if (e.code !== "memory") throw e;
        await (await rooms()).collect(held);
        return once(builds);
      });
      try {
        const program = manifest.precisions || precision || memory !== undefined ? await (await rooms()).fit(manifest, target, options, twice)
          : await twice(manifest.builds.filter((b) => b.target === target));
        program.info.why = [why.join("; ") || (device === "auto" ? "it works" : "asked for"), program.info.why].filter(Boolean).join("; ");
        report({ phase: "ready" });
        stop();
        return program;
      } catch (/** @type {any} */ e) { // its class may be that of another copy of this file: "hither.js?v=2"
        if (last || !/^(device|memory)$/.test(e.code)) throw e;
        why.push(`not ${target}: ${e.message}`);
      }
    }
    return fail("device", `device is "${device}", the bundle has ${built.join(" and ")}`);
  } catch (e) {
    spare()?.close();
    throw e;
  }
}

/** Load for one target. @param {string} target @param {boolean} auto another target is left @param {Build[]} builds to choose from, in order
 * @param {Manifest} manifest @param {Store} store @param {LoadOptions} options @param {(change: object) => void} report
 * @param {() => import("./hither-worker.js").Port | undefined} spare a Worker for WASM that is starting */
async function attempt(target, auto, builds, manifest, store, options, report, spare) {
  const { threads, signal, variant = 0, warmup = true, refine = true } = options, gpu = target === "wasm" ? undefined : options.gpu;
  const { layouts, variants, weights, default_entry: entry } = manifest;
  const first = find(variants, variant), snapshot = variants.some((v) => Object.values(v.entries).some((e) => e.updates_state));
  const light = builds.every((b) => b.variants.every((v) => Object.values(v).every((e) => /** @type {any} */ (e.work) < LIGHT)));
  // so that a page never blocks; but what takes less time than waking a Worker does not wait for one
  const blocking = page && target === "wasm", away = options.worker ?? (blocking && !light), alone = blocking && !away;
  if (away && gpu) fail("option", "gpu cannot be sent to a worker: leave out worker: true");
  if (alone) spare()?.close();
  const events = listener(report), { emit } = events, create = { builds, layouts, snapshot, threads: alone ? 1 : threads, gpu, auto };
  const halves = weights.refinement && import("./hither-refine.js");
  halves?.catch(() => {}); // it is awaited, but later
  /** @type {Promise<{ backend: Backend, created: Promise<Backend> | Backend }>} */
  const taking = away ? Promise.resolve(remote(target === "wasm" && spare() || worker(target), create, emit))
    : Promise.resolve(target === "wasm" ? wasm : import("./hither-webgpu.js")).then((code) => code.create(create, emit)).then((backend) => ({ backend, created: backend }));
  const creating = taking.then((t) => t.created);
  creating.catch(() => {}); // it is awaited, but later
  let close = /** @type {() => unknown} */ (() => taking.then((t) => t.backend.close(), () => {})), failed = /** @type {unknown} */ (null);
  try {
    // nothing is downloaded in vain: else than where only this will do, it comes once there is a device with room for it
    if (auto || builds.some((b) => b.precision !== builds[0].precision)) await creating;
    const build = builds[target === "wasm" ? fitting(builds) : builds.length > 1 ? -1 : 0] ?? builds[(await creating).info.build], { placements } = layouts[build.layout];
    let bytesLoaded = 0;
    /** Give segments to the backend as they come. @param {import("./types.d.ts").Segment[]} segments
     * @param {(backend: Backend, s: import("./types.d.ts").Segment, bytes: Uint8Array) => Promise<Uint8Array>} use gives the bytes back
     * @param {unknown} [gate] */
    const bring = (segments, use, gate) => {
      const brought = store.segments(segments, async (s, bytes) => {
        const { backend } = await taking;
        if (failed) throw failed; // stops the download; load throws why
        const back = await use(backend, s, bytes);
        report({ bytesLoaded: bytesLoaded += s.bytes });
        return back;
      }, gate);
      brought.catch(() => {}); // it is awaited, but later
      return brought;
    };
    const rehearse = warmup && !snapshot && build.variants[first][entry].rehearsable ? entry : ""; // it might change a state that came before it
    let hand = (/** @type {unknown} */ _) => {};
    const handed = new Promise((resolve) => (hand = resolve));
    const preparing = bring([{ ...build, offset: 0, start: 0 }], async (backend, _, bytes) => {
      const prepared = backend.prepare(bytes.slice(), first, rehearse); // a copy: the backend edits it
      hand(0);
      await prepared;
      return bytes;
    });
    preparing.catch(hand);
    const begun = Promise.all([creating, handed]);
    begun.catch(() => {}); // it is awaited, but later
    /** Where things in a part of the blob lie on the device. @param {number} start @param {number} length @returns {import("./types.d.ts").Part[]} */
    const within = (start, length) => placements.flatMap(([index, space, offset, dtype]) => {
      const tensor = weights.tensors[index], width = sizeOf([], tensor.dtype);
      const from = Math.max(tensor.offset, start), to = Math.min(tensor.offset + sizeOf(tensor.shape, tensor.dtype), start + length);
      return from < to ? [{ tensor, space, dtype, at: offset + (from - tensor.offset) / width * sizeOf([], dtype), from: from - start, to: to - start }] : [];
    });
    /** Store a part of the blob, whose memory it gives back. @param {Backend} backend @param {number} start @param {Uint8Array} bytes */
    const put = async (backend, start, bytes) => {
      /** @type {import("./types.d.ts").Piece[]} */
      const pieces = within(start, bytes.length).map(({ tensor: { name, dtype: own }, space, dtype, at, from, to }) => [space, at, convert(bytes.subarray(from, to), own, dtype, `weight "${name}"`)]);
      const lent = new Set([bytes.buffer, ...pieces.map((p) => p[2].buffer)]);
      return new Uint8Array((await backend.place(pieces, [...lent]))[0]);
    };
    const segments = weights.segments.filter((s) => within(s.start, s.bytes).length);
    const placing = bring(segments, async (backend, { start, half }, bytes) => {
      if (!half) return put(backend, start, bytes);
      await put(backend, start, (await /** @type {NonNullable<typeof halves>} */ (halves)).widen(bytes));
      return bytes;
    }, away && target === "wasm" && begun); // bytes that come quickly take the time in which a page could start a Worker and pass kernels on
    const backend = await creating;
    close = hold(target, backend);
    if (alone) backend.info.why = [backend.info.why, options.worker ?? "no Worker: a run is too short", /** @type {any} */ (threads) > 1 && `one thread, not ${threads}: no Worker`].filter(Boolean).join("; ");
    const program = new Program(manifest, build, backend, store, events, first, close);
    program.info.worker = away;
    report({ phase: "kernels", bytesTotal: segments.reduce((n, s) => n + s.bytes, build.bytes) });
    await preparing;
    report({ phase: "weights" });
    await placing;
    report({ phase: "pipelines" });
    await backend.ready(first);
    if (build.init) await backend.run(-1, "", [], [], false);
    if (warmup) {
      report({ phase: "warmup" });
      if (variants[first].entries[entry].inputs.some((s) => s.media)) await import("./hither-media.js"); // so that no run fetches anything
      if (!rehearse) await program.warmup({ signal });
    }
    signal?.throwIfAborted();
    store.signal = undefined; // it was to stop the loading
    const refiner = await halves;
    if (refiner) program.refines(() => refiner.rest(store, weights), (lower) => refiner.apply(backend, within, lower, events.gone), refine);
    return program;
  } catch (e) {
    failed = e;
    close();
    throw e;
  }
}

/** Count a backend's bytes until it is closed. @param {string} target @param {Backend} backend */
function hold(target, backend) {
  const h = { device: target, bytes: backend.info.bytes, fresh: true };
  held.add(h);
  return () => held.delete(h) && backend.close();
}

/** The number of the variant called so. @param {import("./types.d.ts").Variant[]} variants @param {string | number} wanted */
function find(variants, wanted) {
  const i = variants.findIndex((v, n) => v.name === wanted || n === wanted);
  return i >= 0 ? i : fail("input", `the bundle has no variant ${wanted}; it has ${variants.map((v) => v.name).join(", ")}`);
}

/** @param {{ name: string, dtype: string, shape: number[] }} tensor */
const text = ({ name, dtype, shape }) => `${name}: ${dtype}[${shape}]`;

/** A loaded bundle. Calls queue in order. */
class Program {
  #queue = /** @type {Promise<unknown>} */ (Promise.resolve());
  #spare = /** @type {Uint8Array[]} */ ([]); // memory that inputs lay in: the system takes a while to hand out more
  #manifest; #build; #backend; #store; #gone; #close;

  /** @param {Manifest} manifest @param {Build} build @param {Backend} backend @param {Store} store
   * @param {{ gone: { why: string }, lost: Promise<string> }} events @param {number} first @param {() => void} close */
  constructor(manifest, build, backend, store, { gone, lost }, first, close) {
    this.#manifest = manifest;
    this.#build = build;
    this.#backend = backend;
    this.#store = store;
    this.#gone = gone;
    this.#close = close;
    const { device, why, threads, adapter, subgroups, packedDot, bytes } = backend.info, { name, digest, variants, precisions, default_entry: entry } = manifest;
    const precision = build.precision ?? manifest.precision, { accuracy } = precisions?.find((p) => p.name === precision) ?? manifest;
    this.info = { name, device, why, precision, precisions: precisions?.map((p) => p.name) ?? [precision], accuracy, threads, worker: false, adapter, subgroups, packedDot, bytes: bytes.total, refined: true, dispatches: 0, roundTrips: 0, digest, entry, variants, get transfer() { return { network: store.network, cached: store.cached }; } };
    this.lost = lost;
    this.first = first;
    dropped.register(this, close);
  }

  /** For what came in halves: `put` what `bring` brings, between runs. @template T @param {() => Promise<T>} bring @param {(got: T) => Promise<void>} put @param {boolean} now */
  refines(bring, put, now) {
    /** @type {Promise<void> | undefined} */
    let refined;
    this.info.refined = false;
    this.refine = () => refined ??= bring().then((got) => this.#enqueue(() => put(got))).then(() => {
      this.info.refined = true;
      this.#store.keep();
    }, (e) => {
      refined = undefined; // another try may do
      throw e;
    });
    if (now) this.refine().catch((e) => this.#gone.why || console.warn(`hither: the weights stay rounded: ${e.message}`));
  }

  /** Have exact weights: at once, unless the bundle is progressive. @returns {Promise<void>} */
  async refine() {}

  /** Run the default entry, or a named one. @param {any} first @param {any} [second] @param {RunOptions} [third] */
  async run(first, second, third) {
    const [entry, values, options = {}] = typeof first === "string" ? [first, second ?? {}, third] : [this.info.entry, first ?? {}, second];
    const { outputs = {}, signal, variant: wanted } = /** @type {RunOptions} */ (options);
    signal?.throwIfAborted();
    const { variant, specs, tensors } = this.#match(entry, values, wanted), plan = this.#build.variants[variant][entry];
    const hidden = plan.outputs.flatMap(({ lengths = [] }) => lengths.map((l) => l.output)); // the extent of another
    const gives = specs.outputs.filter((_, i) => !hidden.includes(i));
    for (const [name, mine] of Object.entries(outputs)) {
      const { dtype, shape } = gives.find((s) => s.name === name) ?? fail("input", `no output "${name}"; "${entry}" gives ${gives.map(text).join(", ")}`);
      const array = arrayOf(dtype).name, least = count(shape);
      if (mine && (mine[Symbol.toStringTag] !== array || mine.length < least)) fail("input", `outputs.${name} must be a ${array} of ${least} elements, got ${mine.constructor.name} of ${mine.length}`);
    }
    const encoded = specs.inputs.map((s, i) => {
      const { offset, dtype } = plan.inputs[i], put = (/** @type {any} */ t) => ({ offset, bytes: encode(t, s, dtype, this.#spare) });
      // arrays are copied at once, for the caller may change them; pictures are drawn while the call waits for its turn
      return tensors[i] ? put(tensors[i]) : import("./hither-media.js").then((code) => code.toTensor(values[s.name], s)).then(put);
    });
    const ran = await this.#call(variant, entry, encoded, signal);
    /** @type {Record<string, Tensor>} */
    const results = {};
    specs.outputs.forEach((spec, i) => {
      if (hidden.includes(i)) return;
      const { dtype, lengths = [] } = plan.outputs[i];
      const known = lengths.map(({ axis, output }) => ({ axis, length: Number(decode(ran[output], plan.outputs[output].dtype, specs.outputs[output], []).data[0]) }));
      const result = results[spec.name] = decode(ran[i], dtype, spec, known), mine = outputs[spec.name];
      if (!mine) return;
      mine.set(result.data);
      result.data = mine.subarray(0, result.data.length);
    });
    return results;
  }

  /** @param {number} variant @param {string} entry @param {(Placed | Promise<Placed>)[]} given @param {AbortSignal} [signal] @param {boolean} [dry] undo */
  #call(variant, entry, given, signal, dry) {
    const { outputs, updates_state: keep } = this.#signatures(entry)[variant], plan = this.#build.variants[variant][entry];
    const ranges = plan.outputs.map((p, i) => ({ offset: p.offset, bytes: sizeOf(outputs[i].shape, p.dtype) }));
    const giving = Promise.all(given);
    giving.catch(() => {}); // it is awaited, but later
    return this.#enqueue(async () => {
      await this.#backend.ready(variant);
      const inputs = await giving, { outputs: found, lent = inputs, ...counts } = await this.#backend.run(variant, entry, inputs, ranges, keep);
      this.#spare = lent.map((x) => x.bytes);
      if (keep && (dry || signal?.aborted)) await this.#backend.rollback();
      Object.assign(this.info, counts);
      if (!dry) this.#store.keep(); // nobody waits for it
      return found;
    }, signal);
  }

  /** @template T @param {() => Promise<T>} task @param {AbortSignal} [signal] @returns {Promise<T>} */
  #enqueue(task, signal) {
    const turn = this.#queue.then(() => {
      if (this.#gone.why) fail("lost", `the program cannot run: ${this.#gone.why}; load it again`);
      signal?.throwIfAborted();
      return task();
    });
    this.#queue = turn.catch(() => {}); // the caller gets the error, the next call starts afresh
    return new Promise((resolve, reject) => {
      const abort = () => reject(signal?.reason);
      signal?.addEventListener("abort", abort);
      turn.then(resolve, reject).then(() => signal?.removeEventListener("abort", abort));
    });
  }

  /** What an entry takes and gives, by variant. @param {string} entry */
  #signatures(entry) {
    return this.#manifest.variants.map((v) => v.entries[entry] ?? fail("input", `the bundle has no entry "${entry}"; it has ${Object.keys(v.entries).join(", ")}`));
  }

  /** Find the variant whose shapes the values have. @param {string} entry @param {Record<string, any>} values @param {string | number} [wanted] */
  #match(entry, values, wanted) {
    const { variants } = this.#manifest, signatures = this.#signatures(entry);
    const takes = `"${entry}" takes ${signatures.map((s) => s.inputs.map(text).join(", ")).join(" or ")}`;
    const names = signatures[0].inputs.map((s) => s.name), tensors = names.map((n) => given(values[n]));
    for (const n of [...names, ...Object.keys(values)]) {
      if (!names.includes(n) || values[n] === undefined) fail("input", `input "${n}" ${values[n] === undefined ? "is missing" : "does not exist"}; ${takes}`);
    }
    const tried = wanted === undefined ? [this.first, ...variants.keys()] : [find(variants, wanted)];
    const variant = tried.find((v) => signatures[v].inputs.every(({ shape, media }, i) => {
      const t = tensors[i];
      return t ? t.data.length === count(shape) && String(t.shape ?? shape) === String(shape) : media;
    })) ?? fail("input", `no variant fits ${names.map((n, i) => `${n}: [${tensors[i]?.shape ?? tensors[i]?.data.length ?? values[n]?.constructor?.name}]`).join(", ")}; ${takes}`);
    return { variant, specs: signatures[variant], tensors };
  }

  /** Build a variant and run an entry of it once, on zeros, without a trace. @param {{ variant?: string | number, entry?: string, onProgress?: (change: any) => void, signal?: AbortSignal }} [options] */
  async warmup({ variant = this.first, entry = this.info.entry, onProgress, signal } = {}) {
    onProgress?.({ phase: "warmup" });
    const v = find(this.#manifest.variants, variant), { inputs } = this.#signatures(entry)[v];
    await this.#call(v, entry, this.#build.variants[v][entry].inputs.map((p, i) => ({ offset: p.offset, bytes: new Uint8Array(sizeOf(inputs[i].shape, p.dtype)) })), signal, true);
  }

  /** Bytes resident on the device. */
  memory() {
    return { ...this.#backend.info.bytes };
  }

  /** Call a function of hither-state.js with what it needs of this program. @param {"state" | "loadState" | "save" | "restore" | "pack" | "unpack"} act @param {any[]} args */
  #state(act, ...args) {
    const manifest = this.#manifest, { state, placements } = manifest.layouts[this.#build.layout];
    return this.#enqueue(async () => /** @type {any} */ (await import("./hither-state.js"))[act]({
      manifest,
      store: this.#store,
      places: placements.filter((p) => p[1] === "state").map(([i, , at, stored]) => ({ ...manifest.weights.tensors[i], at, stored })),
      read: () => this.#backend.read("state", 0, state),
      write: (/** @type {import("./types.d.ts").Piece[]} */ pieces) => this.#backend.place(pieces, []),
    }, ...args));
  }

  /** What survives calls, by name. */
  state() {
    return this.#state("state");
  }

  /** Change some of the state. @param {Record<string, any>} values */
  loadState(values) {
    return this.#state("loadState", values);
  }

  /** Keep the state under a name: in IndexedDB, or a file in Node. @param {string} name */
  save(name) {
    return this.#state("save", name);
  }

  /** Bring back a state that `save` kept. @param {string} name */
  restore(name) {
    return this.#state("restore", name);
  }

  /** A part of the state as a safetensors file. @param {string} [part] */
  export(part) {
    return this.#state("pack", part);
  }

  /** Take a part of the state from a safetensors file. @param {BlobPart} file @param {string} [part] */
  import(file, part) {
    return this.#state("unpack", file, part);
  }

  /** Free everything now. */
  close() {
    this.#gone.why ||= "it was closed";
    this.#close();
  }

  [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
    this.close();
  }
}

export { HitherError };
