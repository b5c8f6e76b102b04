// The page: a picture in, its text out, and what that costs. Everything else is in reader.js and the bundles.
import { corners } from "./boxes.js";
import { load } from "./detector/hither.js";
import { measure, show } from "./measurements.js";
import { pixelsOf } from "./picture.js";
import { Reader } from "./reader.js";

const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const SVG = "http://www.w3.org/2000/svg";
const PHASES = { manifest: "Loading", kernels: "Downloading kernels", weights: "Downloading weights", pipelines: "Building pipelines", warmup: "Warming up", ready: "Ready" };

/** @type {Reader | null} */
let reader = null;
/** @type {import("./picture.js").Picture | null} */
let picture = null;
let reading = new AbortController();

/** Load both networks for a device. @param {"auto" | "wasm" | "webgpu"} device */
async function open(device) {
  $("loading").hidden = false;
  $("phase").className = "";
  for (const button of document.querySelectorAll("#devices button")) /** @type {HTMLButtonElement} */ (button).disabled = true;
  /** @type {Record<string, any>} */
  const parts = {};
  const onProgress = (/** @type {string} */ name) => (/** @type {any} */ p) => {
    parts[name] = { ...p };
    const all = Object.values(parts), sum = (/** @type {string} */ key) => all.reduce((n, q) => n + q[key], 0);
    const total = sum("bytesTotal"), pipelines = sum("pipelinesTotal");
    $("progress").value = (total ? 0.8 * sum("bytesLoaded") / total : 0) + (pipelines ? 0.2 * sum("pipelinesReady") / pipelines : 0);
    $("phase").textContent = `${PHASES[/** @type {keyof PHASES} */ (p.phase)]} … ${(sum("bytesLoaded") / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`;
  };
  const previous = reader;
  try {
    const [detector, recogniser, characters] = await Promise.all([
      load(new URL("detector/", location.href), { device, onProgress: onProgress("detector") }),
      load(new URL("recogniser/", location.href), { device, onProgress: onProgress("recogniser") }),
      fetch("characters.json").then((r) => r.json()),
    ]);
    reader = new Reader(detector, recogniser, characters);
    previous?.detector.close();
    previous?.recogniser.close();
    $("loading").hidden = true;
    await measure.ready(reader);
  } catch (e) {
    $("phase").textContent = /** @type {Error} */ (e).message;
    $("phase").className = "error";
    if (previous) setTimeout(() => ($("loading").hidden = true), 6000); // what was loaded before still works
  } finally {
    for (const button of document.querySelectorAll("#devices button")) /** @type {HTMLButtonElement} */ (button).disabled = false;
  }
}

/** Show a picture and read it. @param {ImageBitmapSource} source */
async function use(source) {
  try {
    picture = await pixelsOf(source);
  } catch {
    $("status").textContent = "This is no picture that the browser can open.";
    return;
  }
  $("picture").width = picture.width;
  $("picture").height = picture.height;
  $("picture").getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(picture.data), picture.width, picture.height), 0, 0);
  $("boxes").setAttribute("viewBox", `0 0 ${picture.width} ${picture.height}`);
  $("frame").style.setProperty("--w", picture.width);
  $("frame").style.setProperty("--h", picture.height);
  await read();
}

async function read() {
  if (!reader || !picture) return;
  reading.abort();
  const { signal } = (reading = new AbortController());
  $("boxes").replaceChildren();
  $("lines").replaceChildren();
  $("empty").hidden = $("copy").disabled = true;
  $("status").textContent = "reading …";
  try {
    const { lines, times } = await reader.read(picture, (line, box, done, total) => {
      $("status").textContent = `line ${done} of ${total}`;
      if (line) add(line, box);
    }, signal);
    $("empty").hidden = lines.length > 0;
    $("copy").disabled = !lines.length;
    $("status").textContent = `${lines.length} line${lines.length === 1 ? "" : "s"}`;
    measure.ran(reader, times, lines);
  } catch (e) {
    if (signal.aborted) return;
    $("status").textContent = /** @type {Error} */ (e).message;
  }
}

/** One line: its box on the picture and its text beside it, which light up together. @param {import("./reader.js").Line} line @param {import("./boxes.js").Box} box */
function add(line, box) {
  const shape = document.createElementNS(SVG, "polygon"), item = document.createElement("li");
  shape.setAttribute("points", corners(box).map((p) => p.join(",")).join(" "));
  const text = document.createElement("span"), score = document.createElement("small");
  text.textContent = line.text;
  score.textContent = `${Math.round(100 * line.score)} %`;
  score.title = "mean probability of its characters";
  item.append(text, score);
  for (const part of [shape, item]) {
    part.addEventListener("pointerenter", () => [shape, item].forEach((x) => x.classList.add("active")));
    part.addEventListener("pointerleave", () => [shape, item].forEach((x) => x.classList.remove("active")));
  }
  $("boxes").append(shape);
  $("lines").append(item);
}

const images = (/** @type {DataTransfer | null} */ data) => [...(data?.files ?? [])].find((f) => f.type.startsWith("image/"));
$("choose").onclick = () => $("file").click();
$("file").onchange = () => {
  const [file] = $("file").files;
  if (file) use(file);
  $("file").value = "";
};
$("sample").onclick = () => use(sample);
$("copy").onclick = async () => {
  await navigator.clipboard.writeText([...$("lines").querySelectorAll("span")].map((s) => s.textContent).join("\n"));
  $("status").textContent = "copied";
};
for (const button of $("devices").querySelectorAll("button")) button.onclick = () => open(button.dataset.device).then(read);

addEventListener("paste", (e) => {
  const file = images(e.clipboardData);
  if (file) use(file);
});
addEventListener("dragover", (e) => {
  e.preventDefault();
  $("stage").classList.add("over");
});
addEventListener("dragleave", (e) => !e.relatedTarget && $("stage").classList.remove("over"));
addEventListener("drop", (e) => {
  e.preventDefault();
  $("stage").classList.remove("over");
  const file = images(e.dataTransfer);
  if (file) use(file);
});

$("camera").onclick = async () => {
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    $("viewfinder").showModal();
  } catch (e) {
    $("status").textContent = navigator.mediaDevices ? `No camera: ${/** @type {Error} */ (e).message}` : "Browsers lend the camera to https pages and localhost only.";
  }
};
const stop = () => {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("video").srcObject = null;
};
$("viewfinder").onclose = stop;
$("cancel").onclick = () => $("viewfinder").close();
$("take").onclick = async () => {
  const frame = await createImageBitmap($("video"));
  $("viewfinder").close();
  await use(frame);
};

const sample = await (await fetch("sample.png")).blob();
show();
const opened = open(/** @type {any} */ (new URLSearchParams(location.search).get("device") ?? "auto"));
use(sample); // shown at once, read when the networks are there
await opened;
await read();
