// The same float16 files in TensorFlow.js and in hither, side by side in one tab: bytes of weights that stay in memory, all memory
// that each engine takes, what they compute, and how long they take. bench/beside.py drives it through `globalThis.beside`.
import { charge, counted } from "./counting.js"; // before any engine
import { openNet } from "./net.js";

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search), choice = { net: query.get("net"), device: query.get("device") ?? "wasm" };
const [ROUNDS, SHARE_MS] = choice.device === "wasm" ? [8, 120] : [2, 0]; // an emulated GPU takes seconds
const size = (bytes) => (bytes < 1e4 ? `${bytes} B` : `${(bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 2)} MB`);
const time = (ms) => `${ms < 10 ? ms.toFixed(2) : ms.toFixed(1)} ms`;
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** A figure: what each has of something, less is better, and how much of the other's ours is. */
function figure(title, note, theirs, ours, text) {
  const most = Math.max(theirs, ours), bar = (value, who) => [
    make("div", {}, make("i", { className: who, style: `width: ${(100 * value) / most}%`, title: who === "ours" ? "hither" : "TensorFlow.js" })),
    make("b", { textContent: text(value) }),
  ];
  $("figures").append(make("section", {},
    make("h2", { textContent: title }),
    make("div", { className: "bars" }, ...bar(theirs, "theirs"), ...bar(ours, "ours")),
    make("small", { textContent: note }),
    make("div", { className: "ratio" }, make("b", { textContent: `${(ours / theirs).toFixed(2)}×` }), make("small", { textContent: "of TensorFlow.js’s" }))));
}

/** The largest difference of any output, relative to that output's largest magnitude. */
function difference(found, expected) {
  let worst = 0;
  for (const [name, wanted] of Object.entries(expected)) {
    let most = 0, scale = 1e-3;
    if (found[name]?.length !== wanted.length) throw Error(`output ${name} has ${found[name]?.length} elements, not ${wanted.length}`);
    for (let i = 0; i < wanted.length; i++) {
      const off = Math.abs(Number(found[name][i]) - Number(wanted[i]));
      if (!(off <= most)) most = off; // a NaN stays
      scale = Math.max(scale, Math.abs(Number(wanted[i])));
    }
    if (!(most / scale <= worst)) worst = most / scale;
  }
  return worst;
}

/** Load an engine, run it once, and see what it holds. */
async function open(engine, who, net) {
  charge(who);
  $("state").textContent = `${who} loads…`;
  const start = performance.now(), { create } = await import(`./engines/${engine}.js`);
  const made = await create({ ...net, target: choice.device, threads: 1, bundle: "half/" }), ready = performance.now(), results = await made.run();
  return { run: made.run, results, memory: made.memory(), counted: counted(who), ready_ms: ready - start, about: made.about };
}

async function main() {
  const nets = await (await fetch("/nets/beside.json")).json(), base = `/nets/${choice.net ??= nets[0].name}/`, net = await openNet(base);
  const { about, file } = nets.find((n) => n.name === choice.net);
  $("net").append(...nets.map((n) => make("option", { value: n.name, textContent: n.name, selected: n.name === choice.net })));
  $("device").value = choice.device;
  for (const key of ["net", "device"]) $(key).onchange = () => (location.search = new URLSearchParams({ ...choice, [key]: $(key).value }));
  $("about").textContent = `${about}. Its weights are published in float16: ${size(file)}. Both read these files; both run in this tab, one thread, on ${choice.device === "wasm" ? "WebAssembly" : "WebGPU"}.`;

  const theirs = await open("tfjs_model", "TensorFlow.js", net), ours = await open("hither", "hither", net);
  $("state").textContent = "taking turns…";
  const times = { theirs: [], ours: [] };
  for (let round = 0; round < ROUNDS; round++) for (const [who, { run }] of Object.entries({ theirs, ours })) {
    await run();
    for (const end = performance.now() + SHARE_MS; ;) {
      const begin = performance.now();
      await run();
      const now = performance.now();
      times[who].push(now - begin);
      if (now > end) break;
    }
  }
  const error = difference(ours.results, theirs.results), all = (c) => c.wasm + c.gpu;
  const record = {
    error, file, about: ours.about,
    theirs: { memory: theirs.memory, counted: theirs.counted, ready_ms: theirs.ready_ms, times: times.theirs },
    ours: { memory: ours.memory, counted: ours.counted, ready_ms: ours.ready_ms, times: times.ours },
  };
  figure("Weights that stay in memory", "tf.memory().numBytes and program.memory().weights, once both have run.", theirs.memory.numBytes, ours.memory.weights, size);
  figure("All memory of the engine", "WebAssembly memories and GPU buffers, counted where they are made: weights, what runs compute in, inputs and outputs.", all(theirs.counted), all(ours.counted), size);
  figure("One run", "From arrays to arrays, median, in turns. The answers are compared, relative to the largest of each output.", median(times.theirs), median(times.ours), time);
  $("state").textContent = `answers differ by ${error.toExponential(1)}`;
  $("notes").textContent = `TensorFlow.js ${globalThis.tf.version_core}, which widens float16 weights to float32 when it loads them. hither: ${ours.about.precision}, ${ours.about.why}. `
    + `${navigator.userAgent.match(/Chrom\w+\/\d+|Firefox\/\d+|Version\/\d+/)?.[0] ?? ""}`;
  return record;
}

globalThis.beside = main().catch((error) => {
  $("state").className = "bad";
  $("state").textContent = error.message;
  throw error;
});
