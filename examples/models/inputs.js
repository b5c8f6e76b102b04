// The input of a page: a picture or the camera, a sound or the microphone, a text, a file. Each comes with the card's example.
import { make } from "./answers.js";
/** @typedef {import("./model.js").Card} Card */
/** @typedef {{ rate?: number, give: (value: any) => Promise<void>, fail: (text: string) => void }} To */
/** @typedef {{ example: () => Promise<void> }} Input */

const LARGEST = 1600; // pixels of a side of a picture as it is shown; models are given the picture itself

/** @param {Card} card @param {HTMLElement} place @param {HTMLElement} controls @param {HTMLElement} stage @param {To} to @returns {Input} */
export function makeInput(card, place, controls, stage, to) {
  const kinds = { image: picture, audio: sound, text: writing, file: anyFile };
  return kinds[card.takes](card, place, controls, stage, to);
}

/** Buttons to choose a file and to take the example; files may be dropped and pasted too.
 * @param {HTMLElement} controls @param {HTMLElement} stage @param {string} label @param {string} accept @param {(file: Blob) => Promise<void>} take @param {() => Promise<void>} example */
function chooser(controls, stage, label, accept, take, example) {
  const file = make("input", { type: "file", accept, hidden: true });
  file.onchange = () => {
    if (file.files?.[0]) take(file.files[0]);
    file.value = "";
  };
  controls.append(make("button", { type: "button", className: "primary", textContent: label, onclick: () => file.click() }), file);
  controls.append(make("button", { type: "button", textContent: "Example", onclick: example }));
  addEventListener("dragover", (e) => {
    e.preventDefault();
    stage.classList.add("over");
  });
  addEventListener("dragleave", (e) => !e.relatedTarget && stage.classList.remove("over"));
  addEventListener("drop", (e) => {
    e.preventDefault();
    stage.classList.remove("over");
    if (e.dataTransfer?.files[0]) take(e.dataTransfer.files[0]);
  });
  addEventListener("paste", (e) => e.clipboardData?.files[0] && take(e.clipboardData.files[0]));
}

/** The example's file. @param {Card} card */
const exampleFile = async ({ example }) => {
  const name = example.file ?? "", answer = await fetch(name);
  if (!answer.ok) throw Error(`the example ${name} is not there (${answer.status})`);
  return new File([await answer.blob()], name);
};

/** @param {Card} card @param {HTMLElement} place @param {HTMLElement} controls @param {HTMLElement} stage @param {To} to @returns {Input} */
function picture(card, place, controls, stage, to) {
  const canvas = make("canvas", { role: "img", ariaLabel: "The picture" }), overlay = make("div"), frame = make("div", { className: "frame" }, canvas, overlay);
  const video = make("video", { muted: true, playsInline: true });
  place.append(frame, make("p", { className: "hint", textContent: "Drop a picture anywhere, or paste one." }));
  /** @type {MediaStream | null} */
  let stream = null;
  const show = (/** @type {ImageBitmap} */ bitmap) => {
    const scale = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height));
    canvas.width = Math.round(bitmap.width * scale);
    canvas.height = Math.round(bitmap.height * scale);
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    frame.style.setProperty("--w", String(canvas.width));
    frame.style.setProperty("--h", String(canvas.height));
  };
  const give = (/** @type {ImageBitmap} */ bitmap, live = false) => {
    show(bitmap);
    if (!live) overlay.replaceChildren();
    return to.give({ bitmap, overlay, live });
  };
  const stop = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    camera.textContent = "Camera";
  };
  const take = async (/** @type {Blob} */ file) => {
    stop();
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" }); // the numbers that are in the file, as Python reads them
    } catch {
      return to.fail("This is no picture that the browser can open.");
    }
    await give(bitmap);
  };
  const example = async () => take(await exampleFile(card));
  chooser(controls, stage, "Choose a picture", "image/*", take, example);
  const camera = make("button", { type: "button", textContent: "Camera" });
  controls.append(camera);
  camera.onclick = async () => {
    if (stream) return stop();
    try {
      video.srcObject = stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
    } catch (e) {
      return to.fail(navigator.mediaDevices ? `No camera: ${/** @type {Error} */ (e).message}` : "Browsers lend the camera to https pages and localhost only.");
    }
    camera.textContent = "Stop";
    await video.play();
    while (stream) {
      await give(await createImageBitmap(video), true);
      await new Promise(requestAnimationFrame);
    }
  };
  return { example };
}

/** @param {Card} card @param {HTMLElement} place @param {HTMLElement} controls @param {HTMLElement} stage @param {To} to @returns {Input} */
function sound(card, place, controls, stage, to) {
  const wave = make("canvas", { width: 1200, height: 200, role: "img", ariaLabel: "The sound's wave" }), track = make("div");
  const player = make("audio", { controls: true }), scale = make("div", { className: "scale" }, make("span", { textContent: "0 s" }), make("span"));
  place.append(make("div", { className: "sound" }, make("div", { className: "track" }, wave, track), scale, player));
  place.append(make("p", { className: "hint", textContent: "Drop a sound anywhere, or record one." }));
  const rate = to.rate ?? 16000;
  const take = async (/** @type {Blob} */ file) => {
    const context = new OfflineAudioContext(1, 1, rate); // decodes to its own rate
    /** @type {AudioBuffer} */
    let decoded;
    try {
      decoded = await context.decodeAudioData(await file.arrayBuffer());
    } catch {
      return to.fail("This is no sound that the browser can open.");
    }
    const samples = new Float32Array(decoded.length);
    for (let c = 0; c < decoded.numberOfChannels; c++) decoded.getChannelData(c).forEach((x, i) => (samples[i] += x / decoded.numberOfChannels));
    if (player.src) URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(file);
    track.replaceChildren();
    drawWave(wave, samples);
    /** @type {HTMLElement} */ (scale.lastChild).textContent = `${(samples.length / rate).toFixed(1)} s`;
    await to.give({ samples, rate, track, seconds: samples.length / rate });
  };
  const example = async () => take(await exampleFile(card));
  chooser(controls, stage, "Choose a sound", "audio/*", take, example);
  const record = make("button", { type: "button", textContent: "Record" });
  controls.append(record);
  /** @type {MediaRecorder | null} */
  let recorder = null;
  record.onclick = async () => {
    if (recorder) return recorder.stop();
    try {
      recorder = new MediaRecorder(await navigator.mediaDevices.getUserMedia({ audio: true }));
    } catch (e) {
      return to.fail(navigator.mediaDevices ? `No microphone: ${/** @type {Error} */ (e).message}` : "Browsers lend the microphone to https pages and localhost only.");
    }
    const mine = recorder;
    record.textContent = "Stop";
    mine.ondataavailable = (e) => take(e.data);
    mine.onstop = () => {
      for (const t of mine.stream.getTracks()) t.stop();
      recorder = null;
      record.textContent = "Record";
    };
    mine.start();
  };
  return { example };
}

/** @param {HTMLCanvasElement} canvas @param {Float32Array} samples */
function drawWave(canvas, samples) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), { width, height } = canvas, step = samples.length / width;
  context.clearRect(0, 0, width, height);
  context.fillStyle = getComputedStyle(canvas).getPropertyValue("color");
  context.globalAlpha = 0.55;
  const most = samples.reduce((m, x) => Math.max(m, Math.abs(x)), 1e-4);
  for (let i = 0; i < width; i++) {
    let low = 0, high = 0;
    for (let j = Math.floor(i * step); j < (i + 1) * step && j < samples.length; j++) {
      low = Math.min(low, samples[j]);
      high = Math.max(high, samples[j]);
    }
    const top = (0.5 - (0.46 * high) / most) * height, bottom = (0.5 - (0.46 * low) / most) * height;
    context.fillRect(i, top, 1, Math.max(1, bottom - top));
  }
}

/** @param {Card} card @param {HTMLElement} place @param {HTMLElement} controls @param {HTMLElement} stage @param {To} to @returns {Input} */
function writing(card, place, controls, stage, to) {
  const text = make("textarea", { ariaLabel: "Text", spellcheck: false });
  place.append(text);
  const run = () => to.give({ text: text.value });
  let waiting = 0;
  text.oninput = () => {
    clearTimeout(waiting);
    waiting = window.setTimeout(run, 300);
  };
  const example = async () => {
    text.value = card.example.text ?? "";
    await run();
  };
  controls.append(make("button", { type: "button", className: "primary", textContent: "Run", onclick: run }));
  controls.append(make("button", { type: "button", textContent: "Example", onclick: example }));
  return { example };
}

/** @param {Card} card @param {HTMLElement} place @param {HTMLElement} controls @param {HTMLElement} stage @param {To} to @returns {Input} */
function anyFile(card, place, controls, stage, to) {
  const name = make("b"), size = make("small");
  place.append(make("div", { className: "drop" }, name, size, make("span", { className: "hint", textContent: "Drop any file. It is read here and sent nowhere." })));
  const take = async (/** @type {Blob} */ file) => {
    name.textContent = /** @type {File} */ (file).name;
    size.textContent = `${file.size.toLocaleString("en")} bytes`;
    await to.give({ bytes: new Uint8Array(await file.arrayBuffer()) });
  };
  const example = async () => take(await exampleFile(card));
  chooser(controls, stage, "Choose a file", "", take, example);
  return { example };
}
