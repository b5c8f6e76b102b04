// The page that tries a bundle by hand: inputs from pictures, sounds or raw numbers; results as labels, boxes, curves or tables;
// and a strip that says what it cost.
import { load } from "./hither.js";
/** @typedef {import("./hither.js").TensorSpec} Spec */
/** @typedef {import("./hither.js").Program} Program */
/** @typedef {import("./hither.js").Tensor} Tensor */
/** @typedef {{ spec: Spec, value: () => any, canvas?: HTMLCanvasElement, stop?: () => void }} Input */

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {Record<string, any>} [properties] @param {(Node | string)[]} children */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const size = (/** @type {number} */ bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} KB` : `${(bytes / 1e6).toFixed(1)} MB`);
const time = (/** @type {number} */ ms) => (ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`);
const number = (/** @type {any} */ x) => (typeof x === "number" && !Number.isInteger(x) ? x.toPrecision(5) : String(x));
const describe = (/** @type {Spec} */ s) => `${s.dtype} [${s.shape.join(", ")}]`;

/** @type {Program | null} */
let program = null;
/** @type {Input[]} */
let inputs = [];
/** @type {number[]} */
let times = [];
let variant = 0, requests = 0, since = 0, busy = false, again = false;
let loading = new AbortController();

new PerformanceObserver((list) => {
  if (!program) return;
  requests += list.getEntries().filter((e) => e.startTime > since && e.name.startsWith("http")).length; // they are told late
  $("requests").textContent = requests;
}).observe({ type: "resource" });

const report = (/** @type {any} */ error) => {
  $("message").textContent = error ? error.message ?? String(error) : "";
};

/** Load the bundle for the device and in the precision that are chosen, and show it. */
async function open() {
  loading.abort();
  const mine = (loading = new AbortController());
  const old = program;
  program = null;
  old?.close();
  report(null);
  $("run").disabled = true;
  $("progress").hidden = false;
  try {
    const made = await load(new URL(".", location.href), {
      device: $("device").value, precision: $("numbers").value || undefined, signal: mine.signal, variant,
      onProgress: ({ bytesLoaded, bytesTotal, pipelinesReady, pipelinesTotal }) => {
        $("progress").value = 0.8 * (bytesLoaded / (bytesTotal || 1)) + 0.2 * (pipelinesReady / (pipelinesTotal || 1));
      },
    });
    if (mine.signal.aborted) return made.close();
    program = made;
  } catch (error) {
    if (!mine.signal.aborted) report(error);
    return;
  } finally {
    $("progress").hidden = true;
  }
  requests = 0;
  since = performance.now();
  times = [];
  const { info } = program, loaded = performance.getEntriesByType("resource");
  const fetched = (/** @type {RegExp} */ kind) => loaded.filter((e) => kind.test(e.name)).reduce((n, e) => n + /** @type {PerformanceResourceTiming} */ (e).encodedBodySize, 0);
  const parts = [fetched(/hither[-\w]*\.js/), fetched(/kernels[-\w]*\.(wasm|wgsl)/), fetched(/weights-\w+\.bin/)];
  $("downloaded").textContent = size(parts.reduce((a, b) => a + b));
  $("parts").textContent = `loader ${size(parts[0])}, kernels ${size(parts[1])}, weights ${size(parts[2])}`;
  if (info.transfer.cached) $("parts").textContent += `; ${size(info.transfer.cached)} from the cache`;
  $("name").textContent = document.title = info.name;
  $("resident").textContent = size(info.bytes);
  $("precision").textContent = `${info.precision}, ${Object.keys(info.variants[0].entries).join(", ")}`;
  $("requests").textContent = 0;
  $("why").textContent = `${info.device}${info.threads > 1 ? `, ${info.threads} threads` : ""} (${info.adapter}): ${info.why}`;
  program.lost.then((reason) => program?.info === info && report(reason));
  $("run").disabled = false;
  if (!inputs.length) showInputs();
  await run();
}

/** Make a panel for each input of the chosen variant. */
function showInputs() {
  if (!program) return;
  for (const i of inputs) i.stop?.();
  const { variants, entry } = program.info;
  $("variant").hidden = variants.length < 2;
  $("variant").replaceChildren(...variants.map((v, i) => make("option", { value: i, textContent: v.name, selected: i === variant })));
  $("inputs").replaceChildren();
  inputs = variants[variant].entries[entry].inputs.map((spec) => (spec.media === "image" ? picture(spec) : spec.media === "audio" ? sound(spec) : numbers(spec)));
}

/** @param {Spec} spec @param {string} note @param {Node[]} content */
function panel(spec, note, ...content) {
  const box = make("div", { className: "tensor" }, make("header", {}, make("h3", { textContent: spec.name }), make("small", { textContent: `${describe(spec)} ${note}` })), ...content);
  $("inputs").append(box);
  return box;
}

/** @param {Spec} spec @returns {Input} */
function picture(spec) {
  const canvas = make("canvas", { hidden: true }), video = make("video", { hidden: true, muted: true, playsInline: true });
  const hint = make("span", { className: "soft", textContent: "Drop, paste or choose a picture" });
  const file = make("input", { type: "file", accept: "image/*", hidden: true });
  const drop = make("div", { className: "drop", tabIndex: 0, role: "button", ariaLabel: "Choose a picture" }, hint, canvas, video);
  const camera = make("button", { textContent: "Camera" });
  /** @type {any} */
  let source = null;
  /** @type {MediaStream | null} */
  let stream = null;
  const show = (/** @type {CanvasImageSource} */ image, /** @type {number} */ width, /** @type {number} */ height) => {
    const scale = Math.min(1, 1024 / Math.max(width, height));
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.hidden = false;
    hint.hidden = true;
  };
  const take = async (/** @type {Blob | null | undefined} */ blob) => {
    if (!blob) return;
    try {
      source = await createImageBitmap(blob);
    } catch {
      return report(`${/** @type {File} */ (blob).name ?? "this"} is not a picture that the browser can read`);
    }
    show(source, source.width, source.height);
    await run();
  };
  const stop = () => {
    stream?.getTracks().forEach((t) => t.stop());
    stream = null;
    camera.textContent = "Camera";
  };
  camera.onclick = async () => {
    if (stream) return stop();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      return report(error);
    }
    camera.textContent = "Stop camera";
    video.srcObject = stream;
    await video.play();
    source = video;
    while (stream && program) {
      show(video, video.videoWidth, video.videoHeight);
      await run();
      await new Promise(requestAnimationFrame);
    }
  };
  file.onchange = () => take(file.files?.[0]);
  drop.onclick = () => file.click();
  drop.onkeydown = (e) => e.key === "Enter" && file.click();
  drop.ondragover = (e) => { e.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (e) => { e.preventDefault(); drop.classList.remove("over"); take(e.dataTransfer?.files[0]); };
  document.addEventListener("paste", (e) => take([...e.clipboardData?.files ?? []][0]));
  panel(spec, "picture", drop, file, make("div", { className: "buttons" }, camera));
  return { spec, canvas, stop, value: () => source };
}

/** @param {Spec} spec @returns {Input} */
function sound(spec) {
  const file = make("input", { type: "file", accept: "audio/*" }), record = make("button", { textContent: "Microphone" });
  const canvas = make("canvas", { className: "curve" });
  /** @type {AudioBuffer | null} */
  let buffer = null;
  /** @type {MediaRecorder | null} */
  let recorder = null;
  const take = async (/** @type {Blob | undefined} */ blob) => {
    if (!blob) return;
    const context = new AudioContext();
    try {
      buffer = await context.decodeAudioData(await blob.arrayBuffer());
    } catch {
      return report("this is not a sound that the browser can read");
    } finally {
      await context.close();
    }
    curve(canvas, buffer.getChannelData(0));
    await run();
  };
  record.onclick = async () => {
    if (recorder) return recorder.stop();
    try {
      recorder = new MediaRecorder(await navigator.mediaDevices.getUserMedia({ audio: true }));
    } catch (error) {
      return report(error);
    }
    record.textContent = "Stop";
    recorder.ondataavailable = (e) => take(e.data);
    recorder.onstop = () => {
      recorder?.stream.getTracks().forEach((t) => t.stop());
      recorder = null;
      record.textContent = "Microphone";
    };
    recorder.start();
  };
  file.onchange = () => take(file.files?.[0]);
  panel(spec, "sound", canvas, make("div", { className: "buttons" }, file, record));
  return { spec, value: () => buffer };
}

/** @param {Spec} spec @returns {Input} */
function numbers(spec) {
  const total = spec.shape.reduce((a, b) => a * b, 1), integer = /int|bool/.test(spec.dtype), shown = 4096;
  const random = () => Array.from({ length: total }, () => (spec.dtype === "bool" ? Number(Math.random() < 0.5) : integer ? Math.floor(Math.random() * 10) : Number((Math.random() * 2 - 1).toFixed(4))));
  let values = random();
  const text = make("textarea", { spellcheck: false, ariaLabel: spec.name });
  const show = () => (text.value = values.slice(0, shown).join(", ") + (total > shown ? `, … (${total} in all)` : ""));
  const fill = (/** @type {string} */ label, /** @type {() => number[]} */ how) =>
    make("button", { textContent: label, onclick: () => { values = how(); show(); run(); } });
  text.onchange = () => {
    const found = text.value.split("…")[0].split(/[\s,;[\]]+/).filter(Boolean).map(Number);
    if (found.some(Number.isNaN)) return report(`${spec.name}: only numbers, separated by commas or spaces`);
    if (total <= shown && found.length !== total) return report(`${spec.name}: ${found.length} numbers given, ${total} expected`);
    found.forEach((x, i) => (values[i] = x));
    run();
  };
  show();
  panel(spec, "raw numbers: the bundle does not say what they mean", text,
    make("div", { className: "buttons" }, fill("Random", random), fill("Zeros", () => Array(total).fill(0)), fill("Ones", () => Array(total).fill(1))));
  return { spec, value: () => ({ data: integer ? values.map(Math.round) : values, shape: spec.shape }) };
}

/** Run once, or once more if already running. */
async function run() {
  if (!program || inputs.some((i) => !i.value())) return;
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  do {
    again = false;
    try {
      const given = Object.fromEntries(inputs.map((i) => [i.spec.name, i.value()])), start = performance.now();
      const results = await program.run(given, { variant });
      times = [...times, performance.now() - start].slice(-31);
      if ($("first").textContent === "–") $("first").textContent = time(performance.now());
      $("speed").textContent = time([...times].sort((a, b) => a - b)[times.length >> 1]);
      $("runs").textContent = `median of ${times.length}; ${program.info.dispatches} ${program.info.device === "webgpu" ? "dispatches" : "call"}${program.info.roundTrips ? `, ${program.info.roundTrips} round trips` : ""}`;
      report(null);
      showOutputs(results);
    } catch (error) {
      report(error);
    }
  } while (again && program);
  busy = false;
}

/** @param {Record<string, Tensor>} results */
function showOutputs(results) {
  if (!program) return;
  const specs = program.info.variants[variant].entries[program.info.entry].outputs;
  $("outputs").classList.remove("soft");
  $("outputs").replaceChildren(...specs.map((spec) => {
    const tensor = results[spec.name];
    return make("div", { className: "tensor" }, make("header", {}, make("h3", { textContent: spec.name }), make("small", { textContent: describe({ ...spec, shape: tensor.shape }) })), view(spec, tensor));
  }));
}

/** The fitting view of one result. @param {Spec} spec @param {Tensor} tensor @returns {Node} */
function view(spec, { data, shape, dtype }) {
  const values = Array.from(data, (/** @type {any} */ x) => (dtype === "float16" && typeof Float16Array === "undefined" ? x : Number(x)));
  const last = shape.at(-1) ?? 1, image = inputs.find((i) => i.canvas && i.value());
  if (!values.length) return make("small", { textContent: "empty" });
  if (spec.labels && last === spec.labels.length && values.length === last) return bars(spec.labels, values);
  if (image && last === 4 && /box/i.test(spec.name)) boxes(/** @type {any} */ (image), values);
  if (values.length > 16 && values.length === last) return curve(make("canvas", { className: "curve" }), values);
  return table(values, last);
}

/** The best labels. @param {string[]} labels @param {number[]} values */
function bars(labels, values) {
  const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a]).slice(0, 5), most = Math.max(...order.map((i) => Math.abs(values[i]))) || 1;
  return make("div", {}, ...order.map((i) => {
    const bar = make("i");
    bar.style.width = `${(100 * Math.max(0, values[i])) / most}%`;
    return make("div", { className: "bar" }, make("span", { textContent: labels[i], title: labels[i] }), make("span", {}, bar), make("span", { textContent: number(values[i]) }));
  }));
}

/** x0, y0, x1, y1 in pixels of the input, or in 0 to 1, drawn on the picture. @param {Input & { canvas: HTMLCanvasElement }} input @param {number[]} values */
function boxes({ canvas, spec }, values) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const [a, b, c] = spec.shape.slice(-3), [height, width] = spec.layout === "NHWC" ? [a, b] : [b, c];
  const unit = values.every((x) => x <= 1.5), x = canvas.width / (unit ? 1 : width), y = canvas.height / (unit ? 1 : height);
  context.lineWidth = 2;
  context.strokeStyle = "#14b8a6";
  for (let i = 0; i + 3 < values.length; i += 4) context.strokeRect(values[i] * x, values[i + 1] * y, (values[i + 2] - values[i]) * x, (values[i + 3] - values[i + 1]) * y);
}

/** @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} values */
function curve(canvas, values) {
  const width = (canvas.width = 800), height = (canvas.height = 200), context = canvas.getContext("2d");
  if (!context) return canvas;
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < values.length; i++) {
    low = Math.min(low, values[i]);
    high = Math.max(high, values[i]);
  }
  context.strokeStyle = "#14b8a6";
  context.lineWidth = 2;
  context.beginPath();
  const step = Math.max(1, Math.floor(values.length / 4000));
  for (let i = 0; i < values.length; i += step) {
    context.lineTo((i / Math.max(1, values.length - 1)) * width, height - 4 - ((values[i] - low) / (high - low || 1)) * (height - 8));
  }
  context.stroke();
  canvas.title = `${number(low)} to ${number(high)}`;
  return canvas;
}

/** @param {number[]} values @param {number} columns */
function table(values, columns) {
  const rows = [];
  for (let i = 0; i < values.length && rows.length < 64; i += columns) {
    const cells = values.slice(i, i + Math.min(columns, 32)).map((x) => make("td", { textContent: number(x) }));
    if (columns > 32) cells.push(make("td", { textContent: "…" }));
    rows.push(make("tr", {}, ...cells));
  }
  if (values.length > 64 * columns) rows.push(make("tr", {}, make("td", { textContent: "…" })));
  return make("div", { className: "scroll" }, make("table", {}, make("tbody", {}, ...rows)));
}

$("run").onclick = run;
$("variant").onchange = () => {
  variant = Number($("variant").value);
  inputs = [];
  showInputs();
  run();
};
$("device").onchange = $("numbers").onchange = open;
$("offline").onchange = async () => {
  try {
    if ($("offline").checked) await navigator.serviceWorker.register("sw.js");
    else for (const r of await navigator.serviceWorker.getRegistrations()) await r.unregister();
  } catch (error) {
    report(error);
  }
};
if (navigator.serviceWorker) $("offline").checked = !!navigator.serviceWorker.controller;
else $("offline").disabled = true; // not https, not localhost

const opening = open();
const { builds, precisions = [] } = await (await fetch("manifest.json")).json().catch(() => ({ builds: [] })); // `open` reports a bad manifest
for (const target of new Set(builds.map((/** @type {any} */ b) => b.target))) {
  $("device").append(make("option", { value: target, textContent: target === "wasm" ? "CPU (WebAssembly)" : "GPU (WebGPU)" }));
}
for (const { name } of precisions) $("numbers").append(make("option", { value: name, textContent: name }));
$("numbers").hidden = !precisions.length;
await opening;
