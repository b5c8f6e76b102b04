// Sounds: from the microphone, the last second at any time, or from files, cut into seconds.
import { make } from "./dom.js";
/** @typedef {import("./lesson.js").Shot} Shot */

const QUIET = 0.1; // a second of a long file that is so much quieter than its loudest one says nothing
const SHOWN = 2; // seconds of the wave on the page

export class Microphone {
  every = 1000; // ms between samples while a button is held: they do not overlap
  accept = "audio/*";
  element = make("canvas", { width: 900, height: 420, className: "wave", role: "img", "aria-label": "What the microphone hears" });
  #rate;
  #context = new AudioContext();
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  #heard = new Float32Array(); // the last seconds, at the device's rate

  /** @param {number} rate Hz of the sounds that the network takes, a second each */
  constructor(rate) {
    this.#rate = rate;
    this.#heard = new Float32Array(SHOWN * this.#context.sampleRate);
  }

  /** Fetch what runs in the audio thread, so that nothing is fetched later. */
  async ready() {
    await this.#context.audioWorklet.addModule(new URL("listener.js", import.meta.url));
  }

  get live() {
    return this.#source !== null;
  }

  async start() {
    if (!navigator.mediaDevices) throw Error("Browsers lend the microphone to https pages and localhost only.");
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    await this.#context.resume();
    const listener = new AudioWorkletNode(this.#context, "listener", { numberOfOutputs: 0 });
    this.#heard.fill(0);
    listener.port.onmessage = ({ data }) => {
      this.#heard.copyWithin(0, data.length);
      this.#heard.set(data, this.#heard.length - data.length);
    };
    this.#source = this.#context.createMediaStreamSource(stream);
    this.#source.connect(listener);
    const show = () => {
      if (!this.#source) return;
      drawWave(this.element, this.#heard);
      requestAnimationFrame(show);
    };
    show();
  }

  stop() {
    for (const track of this.#source?.mediaStream.getTracks() ?? []) track.stop();
    this.#source?.disconnect();
    this.#source = null;
    this.#context.suspend();
  }

  close() {
    this.stop();
    this.#context.close();
  }

  /** The last second. @returns {Promise<Shot>} */
  async shot() {
    const { sampleRate } = this.#context;
    const buffer = new AudioBuffer({ length: sampleRate, sampleRate, numberOfChannels: 1 });
    buffer.copyToChannel(this.#heard.slice(-sampleRate), 0);
    const offline = new OfflineAudioContext(1, this.#rate, this.#rate), player = new AudioBufferSourceNode(offline, { buffer });
    player.connect(offline.destination);
    player.start();
    return clip((await offline.startRendering()).getChannelData(0));
  }

  /** A short sound's loudest second, the seconds of a long one. @param {Blob} file @returns {Promise<Shot[]>} */
  async open(file) {
    let decoded;
    try {
      decoded = await new OfflineAudioContext(1, 1, this.#rate).decodeAudioData(await file.arrayBuffer()); // resampled to the context's rate
    } catch {
      throw Error("is no sound that the browser can open");
    }
    const samples = new Float32Array(decoded.length);
    for (let c = 0; c < decoded.numberOfChannels; c++) decoded.getChannelData(c).forEach((x, i) => (samples[i] += x / decoded.numberOfChannels));
    return seconds(samples, this.#rate).map(clip);
  }
}

/** @param {Float32Array} samples @param {number} rate @returns {Float32Array[]} of a second each */
export function seconds(samples, rate) {
  const power = (/** @type {Float32Array} */ part) => part.reduce((sum, x) => sum + x * x, 0);
  if (samples.length < 2 * rate) {
    const step = Math.round(rate / 20);
    let best = 0, most = -1;
    for (let start = 0; start + rate <= samples.length || start === 0; start += step) {
      const found = power(samples.subarray(start, start + rate));
      if (found > 1.001 * most) [best, most] = [start, found];
    }
    const made = new Float32Array(rate);
    made.set(samples.subarray(best, best + rate));
    return [made];
  }
  const parts = Array.from({ length: Math.floor(samples.length / rate) }, (_, i) => samples.slice(i * rate, (i + 1) * rate));
  const loudest = Math.max(...parts.map(power));
  return parts.filter((part) => power(part) >= QUIET ** 2 * loudest);
}

/** @param {Float32Array} sound @returns {Shot} */
const clip = (sound) => ({ input: { sound }, preview: async () => Int16Array.from(sound, (x) => 32767 * Math.max(-1, Math.min(1, x))) });

/** @type {AudioContext | undefined} */
let speaker;

/** @param {Int16Array} sound @param {number} rate */
export function play(sound, rate) {
  speaker ??= new AudioContext();
  const buffer = new AudioBuffer({ length: sound.length, sampleRate: rate, numberOfChannels: 1 });
  buffer.copyToChannel(Float32Array.from(sound, (x) => x / 32767), 0);
  const player = new AudioBufferSourceNode(speaker, { buffer });
  player.connect(speaker.destination);
  player.start();
}

/** @param {HTMLCanvasElement} canvas @param {Float32Array | Int16Array} samples */
export function drawWave(canvas, samples) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")), { width, height } = canvas;
  const bar = Math.max(2, Math.round(width / 150)), step = samples.length / (width / (1.5 * bar));
  const full = samples instanceof Int16Array ? Math.max(3000, samples.reduce((m, x) => Math.max(m, Math.abs(x)), 0)) : 0.35;
  context.clearRect(0, 0, width, height);
  context.fillStyle = getComputedStyle(canvas).color;
  for (let x = 0, at = 0; at < samples.length; x += 1.5 * bar, at += step) {
    let most = 0;
    for (let i = Math.floor(at); i < at + step && i < samples.length; i++) most = Math.max(most, Math.abs(samples[i]));
    const tall = Math.max(bar, Math.min(1, most / full) * height * 0.9);
    context.beginPath();
    context.roundRect(x, (height - tall) / 2, bar, tall, bar / 2);
    context.fill();
  }
}
