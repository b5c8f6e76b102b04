// The page's half of the benchmark: sets contestants up, checks what they compute, and times them in turns.
// `measure.alternate` is the same schedule natively; bench/browser.py drives this one through `globalThis.bench`.
import { openNet } from "./net.js";

/** @type {Map<string, { run: () => Promise<Record<string, ArrayLike<number | bigint>>>, about: object }>} */
const contestants = new Map();
/** @type {{ feeds: Record<string, any>, reference: Record<string, any> }} */
let net;

const GPU = { dispatches: 0, submits: 0, buffers: 0, groups: 0, pipelines: 0 };

/** Count calls of a method, whoever makes them. */
function count(type, method, key) {
  const original = type?.prototype[method];
  if (original) type.prototype[method] = function (...args) {
    GPU[key] += 1;
    return original.apply(this, args);
  };
}
for (const m of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) count(globalThis.GPUComputePassEncoder, m, "dispatches");
for (const m of ["createComputePipeline", "createComputePipelineAsync"]) count(globalThis.GPUDevice, m, "pipelines");
count(globalThis.GPUQueue, "submit", "submits");
count(globalThis.GPUDevice, "createBuffer", "buffers");
count(globalThis.GPUDevice, "createBindGroup", "groups");

/** The largest difference of any output, relative to that output's largest magnitude; measure.difference in JavaScript. */
function difference(found, floor) {
  let worst = 0;
  for (const [name, { data: expected }] of Object.entries(net.reference)) {
    if (!(name in found)) throw new Error(`no output ${name}; there are ${Object.keys(found)}`);
    const got = found[name];
    if (got.length !== expected.length) throw new Error(`output ${name} has ${got.length} elements, expected ${expected.length}`);
    let most = 0, scale = floor;
    for (let i = 0; i < expected.length; i++) {
      const off = Math.abs(Number(got[i]) - Number(expected[i]));
      if (!(off <= most)) most = off; // a NaN stays
      scale = Math.max(scale, Math.abs(Number(expected[i])));
    }
    if (!(most / scale <= worst)) worst = most / scale;
  }
  return worst;
}

async function timed(run) {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

/** Run until the best time stops falling: V8 compiles hot functions better in the background. @param {number} most ms */
async function settle(run, most) {
  const times = [], end = performance.now() + most;
  while (performance.now() < end) {
    times.push(await timed(run));
    if (times.length >= 20 && Math.min(...times.slice(-10)) > 0.97 * Math.min(...times.slice(0, -10))) return;
  }
}

globalThis.bench = {
  /** Start on another net. */
  async open(base) {
    for (const { close } of contestants.values()) close?.();
    contestants.clear();
    net = await openNet(base);
  },

  /** Set a contestant up and run it once. @returns what it cost and how wrong it was; throws if it cannot. */
  async add(name, engine, options, floor) {
    const { create } = await import(`./engines/${engine}.js`);
    const before = { ...GPU }, start = performance.now();
    const made = await create({ ...net, ...options });
    const ready = performance.now(), found = await made.run(), first = performance.now();
    const error = difference(found, floor);
    const setup = { pipelines: GPU.pipelines - before.pipelines };
    contestants.set(name, made);
    return { load_ms: ready - start, first_ms: first - ready, error, setup, about: made.about };
  },

  /** One run. */
  run: (name) => contestants.get(name).run(),

  /** Milliseconds of one run. */
  once: (name) => timed(contestants.get(name).run),

  /** Throw a contestant out. */
  remove(name) {
    contestants.get(name)?.close?.();
    contestants.delete(name);
  },

  /** GPU calls of one run after the first few. */
  async counts(name) {
    const before = { ...GPU };
    await contestants.get(name).run();
    return Object.fromEntries(Object.entries(GPU).map(([key, n]) => [key, n - before[key]]));
  },

  /** Milliseconds of single runs, contestants taking turns of about `share` ms in rotating order. */
  async alternate(rounds, share) {
    const names = [...contestants.keys()], times = Object.fromEntries(names.map((n) => [n, []]));
    for (const name of names) await settle(contestants.get(name).run, 25 * share);
    for (let turn = 0; turn < rounds; turn++) {
      const at = turn % names.length;
      for (const name of [...names.slice(at), ...names.slice(0, at)]) {
        const { run } = contestants.get(name), mine = times[name], start = performance.now();
        if (!mine.length || mine.at(-1) < share) {
          await run();
          while (performance.now() < start + share / 5) await run();
        }
        do mine.push(await timed(run)); while (performance.now() < start + share);
      }
    }
    return times;
  },
};
