// Reading a picture with the two bundles: reader.py, in JavaScript. Which canvases and widths there are, the bundles say.
import { findBoxes, scaled } from "./boxes.js";
import { cut } from "./picture.js";
/** @typedef {import("./boxes.js").Box} Box */
/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {{ text: string, score: number, box: Box }} Line */
/** @typedef {{ prepare: number, detect: number, boxes: number, recognise: number }} Times */

const LEAST_SCORE = 0.5;

export class Reader {
  /** @param {any} detector @param {any} recogniser programs; without a recogniser it only finds @param {string[]} characters what the recogniser's classes stand for */
  constructor(detector, recogniser, characters) {
    this.detector = detector;
    this.recogniser = recogniser;
    this.characters = characters;
    const first = (/** @type {any} */ v) => v.entries.predict.inputs[0].shape;
    /** @type {[height: number, width: number, channels: number][]} */
    this.canvases = detector.info.variants.map(first);
    this.widths = recogniser?.info.variants.map((/** @type {any} */ v) => first(v)[1]) ?? [];
    this.lineHeight = recogniser && first(recogniser.info.variants[0])[0];
  }

  /** The smallest canvas that takes the picture without shrinking it; else the one that shrinks it least. @param {Picture} picture */
  canvasFor({ width, height }) {
    const scales = this.canvases.map(([h, w]) => Math.min(h / height, w / width)), fits = scales.findIndex((s) => s >= 1);
    const canvas = fits >= 0 ? fits : scales.indexOf(Math.max(...scales));
    return { canvas, scale: scales[canvas] };
  }

  /** The boxes of lines. @param {Picture} picture @param {(stage: "prepare" | "detect" | "boxes") => void} [clock] told when a stage ends @param {AbortSignal} [signal] */
  async find(picture, clock, signal) {
    const { width, height } = picture, { canvas, scale } = this.canvasFor(picture), [rows, columns] = this.canvases[canvas];
    const innerHeight = Math.max(1, Math.floor(height * scale + 0.5)), innerWidth = Math.max(1, Math.floor(width * scale + 0.5));
    const page = new Uint8Array(rows * columns * 3);
    cut(picture, { x: width / 2, y: height / 2, width, height, angle: 0, score: 1 }, innerWidth, innerHeight, page, columns);
    clock?.("prepare");
    const { text } = await this.detector.run({ picture: { data: page, shape: this.canvases[canvas] } }, { signal });
    clock?.("detect");
    const boxes = findBoxes(text.data, innerWidth, innerHeight, columns).map((b) => scaled(b, 1 / scale));
    clock?.("boxes");
    return boxes;
  }

  /** @param {Picture} picture @param {(line: Line | null, box: Box, done: number, total: number) => void} [onLine] null: nothing was legible
   * @param {AbortSignal} [signal] @returns {Promise<{ lines: Line[], times: Times }>} */
  async read(picture, onLine, signal) {
    const times = { prepare: 0, detect: 0, boxes: 0, recognise: 0 };
    let last = performance.now();
    const clock = (/** @type {keyof Times} */ stage) => {
      const now = performance.now();
      times[stage] += now - last;
      last = now;
    };
    const boxes = await this.find(picture, clock, signal);
    /** @type {Line[]} */
    const lines = [];
    for (const [i, box] of boxes.entries()) {
      const wanted = Math.min(this.widths.at(-1), Math.max(Math.floor(this.lineHeight / 3), Math.ceil((this.lineHeight * box.width) / box.height)));
      const size = this.widths.find((/** @type {number} */ w) => w >= wanted), line = new Uint8Array(this.lineHeight * size * 3);
      cut(picture, box, wanted, this.lineHeight, line, size);
      clock("prepare");
      const found = await this.recogniser.run({ line: { data: line, shape: [this.lineHeight, size, 3] }, columns: wanted }, { signal });
      clock("recognise");
      const read = { ...this.spell(found.classes.data, found.scores.data), box }, legible = read.text !== "" && read.score >= LEAST_SCORE;
      if (legible) lines.push(read);
      onLine?.(legible ? read : null, box, i + 1, boxes.length);
    }
    return { lines, times };
  }

  /** A recogniser's answer as text and its mean score over the characters. @param {Int32Array} classes @param {Float32Array} scores */
  spell(classes, scores) {
    let text = "", sum = 0, begun = 0;
    classes.forEach((c, i) => {
      if (!c) return;
      text += this.characters[c];
      sum += scores[i];
      begun++;
    });
    return { text: text.trim(), score: begun ? sum / begun : 0 };
  }
}
