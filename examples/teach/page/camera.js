// Pictures: from the camera, one after another, or from files. Each is the square in the middle, as large as the network takes it.
import { make } from "./dom.js";
/** @typedef {import("./lesson.js").Shot} Shot */

const THUMB = 96; // pixels of a side of what is kept to look at

export class Camera {
  every = 125; // ms between samples while a button is held
  accept = "image/*";
  /** @type {MediaStream | null} */
  #stream = null;
  #canvas; #context;
  video = make("video", { muted: true, playsInline: true, "aria-label": "What the camera sees" });
  element = this.video;

  /** @param {number} side pixels */
  constructor(side) {
    this.#canvas = make("canvas", { width: side, height: side });
    this.#context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d", { willReadFrequently: true }));
  }

  async ready() {}

  get live() {
    return this.#stream !== null;
  }

  async start() {
    if (!navigator.mediaDevices) throw Error("Browsers lend the camera to https pages and localhost only.");
    this.#stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" } });
    const { facingMode } = this.#stream.getVideoTracks()[0].getSettings();
    this.video.classList.toggle("mirrored", facingMode !== "environment"); // as people know themselves; the network sees it unmirrored
    this.video.srcObject = this.#stream;
    await this.video.play();
  }

  stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = this.#stream = null;
  }

  close() {
    this.stop();
  }

  /** What is seen now. @returns {Promise<Shot>} */
  async shot() {
    const { videoWidth: width, videoHeight: height } = this.video;
    return this.#cut(this.video, width, height);
  }

  /** @param {Blob} file @returns {Promise<Shot[]>} */
  async open(file) {
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" }); // the numbers that are in the file, as Python reads them
    } catch {
      throw Error("is no picture that the browser can open");
    }
    const shot = this.#cut(bitmap, bitmap.width, bitmap.height);
    bitmap.close();
    return [shot];
  }

  /** @param {CanvasImageSource} source @param {number} width @param {number} height @returns {Shot} good until the next one is taken */
  #cut(source, width, height) {
    const canvas = this.#canvas, side = Math.min(width, height);
    this.#context.imageSmoothingQuality = "high";
    this.#context.fillStyle = "#fff"; // behind what is transparent
    this.#context.fillRect(0, 0, canvas.width, canvas.height);
    this.#context.drawImage(source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, canvas.width, canvas.height);
    return { input: { image: canvas }, preview: () => thumbnail(canvas) };
  }
}

/** @param {HTMLCanvasElement} canvas @returns {Promise<Blob>} */
async function thumbnail(canvas) {
  const small = new OffscreenCanvas(THUMB, THUMB), context = /** @type {OffscreenCanvasRenderingContext2D} */ (small.getContext("2d"));
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, THUMB, THUMB);
  return small.convertToBlob({ type: "image/jpeg", quality: 0.8 });
}
