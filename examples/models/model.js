// The page of one ready model: an input of the kind it takes, its answer, and what that costs. card.json says which model it is.
//
// What a model says is shown by the names of its outputs (shown.js). Where these do not say enough, the card names a script:
//     export const rate = 16000;                                     // of the sound that it is given, if it takes sound
//     export async function open({ load, data }) { … return answer } // load(folder) gives a program; data is the card's
//     async function answer(input) { … return { rows, … } }          // an Answer, as answers.js shows it
import { showAnswer } from "./answers.js";
import { makeInput } from "./inputs.js";
import { openByNames } from "./shown.js";
/** @typedef {import("./answers.js").Answer} Answer */
/** @typedef {{ name: string, task: string, summary: string, takes: "image" | "audio" | "text" | "file", licence: string, citation: string,
 *   packages: string[], folders: string[], script: string | null, data: any, links: [number, number][], example: { file?: string, text?: string } }} Card */
/** @typedef {(folder: string) => Promise<any>} Load */
/** @typedef {(input: any) => Promise<Answer>} Ask */

const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const size = (/** @type {number} */ n) => (n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.round(n / 1e3)} KB`);
const time = (/** @type {number} */ t) => (t >= 1000 ? `${(t / 1000).toFixed(2)} s` : `${t < 10 ? t.toFixed(1) : Math.round(t)} ms`);
const PHASES = { manifest: "Loading", kernels: "Downloading kernels", weights: "Downloading weights", pipelines: "Building pipelines", warmup: "Warming up", ready: "Ready" };

/** For scripts: the last answer. @type {{ device: string, answer: Answer | null, error: string }} */
const state = { device: "", answer: null, error: "" };
/** @type {any} */ (globalThis).answered = state;

/** @type {Card} */
const card = await fetch("card.json").then((r) => r.json());
const script = card.script ? await import(`./${card.script}`) : { open: openByNames };
const { load: loadBundle } = await import(`./${card.folders[0]}/hither.js`);

document.title = card.name;
$("name").textContent = card.name;
$("summary").textContent = card.summary;
$("licence").textContent = card.licence;
$("packages").textContent = card.packages.join(", ");
$("citation").textContent = card.citation;

/** @type {Ask | null} */
let ask = null;
/** @type {any[]} */
let programs = [];
/** @type {any} */
let given = null;
let busy = false, again = false;

/** Load the model for a device. @param {string} device */
async function open(device) {
  const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("#devices button"));
  for (const b of buttons) b.disabled = true;
  $("loading").hidden = false;
  $("phase").className = "";
  /** @type {any[]} */
  const fresh = [];
  /** @type {Record<string, any>} */
  const parts = {};
  const load = async (/** @type {string} */ folder) => {
    const onProgress = (/** @type {any} */ p) => {
      parts[folder] = { ...p };
      const sum = (/** @type {string} */ key) => Object.values(parts).reduce((n, q) => n + q[key], 0);
      const total = sum("bytesTotal"), pipelines = sum("pipelinesTotal");
      $("progress").value = (total ? (0.8 * sum("bytesLoaded")) / total : 0) + (pipelines ? (0.2 * sum("pipelinesReady")) / pipelines : 0);
      $("phase").textContent = `${PHASES[/** @type {keyof PHASES} */ (p.phase)]} … ${size(sum("bytesLoaded"))} of ${size(total)}`;
    };
    const program = await loadBundle(new URL(`${folder}/`, location.href), { device, onProgress });
    fresh.push(program);
    return program;
  };
  try {
    const made = await script.open({ load, data: card.data, links: card.links });
    for (const p of programs) p.close();
    [ask, programs] = [made, fresh];
    const { info } = programs[0];
    state.device = info.device;
    $("why").textContent = info.device === "wasm" ? `${info.threads} thread${info.threads > 1 ? "s" : ""} of WebAssembly` : `WebGPU, ${info.adapter}`;
    $("why").title = info.why;
    for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.device === info.device));
    $("downloaded").textContent = size(programs.reduce((n, p) => n + p.info.transfer.network + p.info.transfer.cached, 0));
    $("loading").hidden = true;
  } catch (e) {
    for (const p of fresh) p.close();
    state.error = $("phase").textContent = /** @type {Error} */ (e).message;
    $("phase").className = "error";
    if (ask) setTimeout(() => ($("loading").hidden = true), 6000); // what was loaded before still works
  } finally {
    for (const b of buttons) b.disabled = false;
  }
}

/** Ask about the input; while one is being answered, only the last of those that come is kept. */
async function answer() {
  if (!ask || given === null) return;
  if (busy) return void (again = true);
  busy = true;
  do {
    again = false;
    const input = given, start = performance.now();
    try {
      $("status").className = "";
      if (!input.live) $("status").textContent = "…";
      const found = await ask(input);
      $("took").textContent = time(performance.now() - start);
      $("status").textContent = found.says ?? "";
      showAnswer($("answer"), found, input);
      Object.assign(state, { answer: found, error: "" });
    } catch (e) {
      state.error = $("status").textContent = /** @type {Error} */ (e).message;
      $("status").className = "error";
    }
  } while (again);
  busy = false;
}

const input = makeInput(card, $("input"), $("controls"), $("stage"), {
  rate: script.rate,
  /** @param {any} value */
  async give(value) {
    given = value;
    await answer();
  },
  /** @param {string} text */
  fail(text) {
    $("status").textContent = text;
    $("status").className = "error";
  },
});
for (const b of $("devices").querySelectorAll("button")) b.onclick = () => open(b.dataset.device).then(answer);
const opened = open(new URLSearchParams(location.search).get("device") ?? "auto");
await input.example();
await opened;
await answer();
