// The strip of measurements: what came over the network, how long things take, what stays in memory.
/** @typedef {import("./reader.js").Reader} Reader */
/** @typedef {import("./reader.js").Times} Times */
/** @typedef {import("./reader.js").Line} Line */

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const ms = (/** @type {number} */ t) => (t >= 1000 ? `${(t / 1000).toFixed(2)} s` : `${t < 10 ? t.toFixed(1) : Math.round(t)} ms`);
const kb = (/** @type {number} */ n) => (n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.round(n / 1e3)} KB`);

/** Everything the page has fetched so far. */
const fetched = () => /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByType("resource")).filter((r) => r.name.startsWith("http"));
/** Bytes of the files whose names fit, each once: starting a worker lists its script again. @param {RegExp} names */
const bytesOf = (names) => [...new Map(fetched().map((r) => [r.name, r.encodedBodySize]))].reduce((n, [name, bytes]) => n + (names.test(new URL(name).pathname) ? bytes : 0), 0);
const KINDS = { loader: /\/hither[^/]*\.js$/, kernels: /\/kernels[^/]*$/, weights: /\/weights-[^/]*\.bin$/ };

let loaded = 0, first = 0;
performance.setResourceTimingBufferSize(2000);

/** Results that scripts may read: the last reading, as the page shows it. @type {any} */
const state = { device: "", why: "", lines: null, times: null, downloaded: {}, resident: 0, firstResult: 0, requests: 0 };
/** @type {any} */ (globalThis).reading = state;

export const measure = {
  /** The networks are loaded. @param {Reader} reader */
  async ready(reader) {
    const { device, why, threads } = reader.detector.info;
    loaded = performance.now();
    state.device = device;
    state.why = device === "wasm" ? `${threads} thread${threads > 1 ? "s" : ""} of WebAssembly; ${why}` : `WebGPU, ${reader.detector.info.adapter}; ${why}`;
    state.resident = reader.detector.memory().total + reader.recogniser.memory().total;
    for (const [kind, names] of Object.entries(KINDS)) state.downloaded[kind] = bytesOf(names);
    show();
  },
  /** A picture was read. @param {Reader} reader @param {Times} times @param {Line[]} lines */
  ran(reader, times, lines) {
    first ||= performance.now();
    Object.assign(state, { times, lines: lines.map(({ text, score }) => ({ text, score })), firstResult: first });
    show();
  },
};

new PerformanceObserver(show).observe({ type: "resource" });

/** Bring the strip up to date. */
export function show() {
  if (!loaded) return;
  state.requests = fetched().filter((r) => r.startTime >= loaded).length;
  const { loader, kernels, weights } = state.downloaded;
  $("downloaded").textContent = kb(loader + kernels + weights);
  $("downloaded-parts").textContent = `loader ${kb(loader)} · kernels ${kb(kernels)} · weights ${kb(weights)}`;
  $("resident").textContent = kb(state.resident);
  $("requests").textContent = String(state.requests);
  $("why").textContent = state.why;
  for (const button of document.querySelectorAll("#devices button")) {
    button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.device === state.device));
  }
  if (!state.times) return;
  const { prepare, detect, boxes, recognise } = state.times;
  $("first").textContent = ms(state.firstResult);
  $("run").textContent = ms(prepare + detect + boxes + recognise);
  $("run-parts").textContent = `find ${ms(detect)} · read ${ms(recognise)} (${state.lines.length} line${state.lines.length === 1 ? "" : "s"}) · picture and boxes ${ms(prepare + boxes)}`;
}
