// Pictures as bytes: a piece of one, turned and scaled. picture.py, in JavaScript.
import { scaled } from "./boxes.js";
/** @typedef {import("./boxes.js").Box} Box */
/** @typedef {{ data: Uint8ClampedArray | Uint8Array, width: number, height: number }} Picture RGBA */

const LARGEST = 4096; // pixels of the longer side; photos above it are shrunk when they are opened

/** The pixels of a file, video, canvas or image, as stored: no colour conversion. @param {ImageBitmapSource} source @returns {Promise<Picture>} */
export async function pixelsOf(source) {
  const bitmap = await createImageBitmap(source, { colorSpaceConversion: "none" });
  const shrink = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * shrink)), height = Math.max(1, Math.round(bitmap.height * shrink));
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true }));
  context.fillStyle = "white"; // behind what is transparent
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** The mean of each block of factor x factor pixels. @param {Picture} picture @param {number} factor @returns {Picture} */
function shrink(picture, factor) {
  if (factor < 2) return picture;
  const width = Math.floor(picture.width / factor), height = Math.floor(picture.height / factor), data = new Uint8Array(4 * width * height);
  const sums = new Uint32Array(4 * width);
  for (let y = 0; y < height; y++) {
    sums.fill(0);
    for (let dy = 0; dy < factor; dy++) {
      let from = 4 * (y * factor + dy) * picture.width;
      for (let x = 0; x < width; x++) for (let dx = 0; dx < factor; dx++) for (let c = 0; c < 4; c++) sums[4 * x + c] += picture.data[from++];
    }
    for (let i = 0; i < sums.length; i++) data[4 * y * width + i] = Math.floor(sums[i] / (factor * factor));
  }
  return { data, width, height };
}

/** The piece of a picture under `box`, width x height pixels, written as RGB rows into `out`, whose rows are `stride` pixels long.
 * @param {Picture} picture @param {Box} box @param {number} width @param {number} height @param {Uint8Array} out @param {number} stride */
export function cut(picture, box, width, height, out, stride) {
  const factor = Math.max(1, Math.floor(Math.min(box.width / width, box.height / height, picture.width, picture.height)));
  const { data, width: columns, height: rows } = shrink(picture, factor), { x: cx, y: cy, width: w, height: h, angle } = scaled(box, 1 / factor);
  const c = Math.cos(angle), s = Math.sin(angle), clip = (/** @type {number} */ n, /** @type {number} */ top) => Math.min(Math.max(n, 0), top);
  for (let j = 0; j < height; j++) {
    const v = ((j + 0.5) / height - 0.5) * h;
    for (let i = 0; i < width; i++) {
      const u = ((i + 0.5) / width - 0.5) * w;
      const x = clip(cx + u * c - v * s - 0.5, columns - 1), y = clip(cy + u * s + v * c - 0.5, rows - 1);
      const x0 = Math.floor(x), y0 = Math.floor(y), fx = x - x0, fy = y - y0;
      const right = x0 + 1 < columns ? 4 : 0, down = y0 + 1 < rows ? 4 * columns : 0, at = 4 * (y0 * columns + x0), to = 3 * (j * stride + i);
      for (let k = 0; k < 3; k++) {
        const top = data[at + k] * (1 - fx) + data[at + right + k] * fx;
        const bottom = data[at + down + k] * (1 - fx) + data[at + down + right + k] * fx;
        out[to + k] = Math.floor(top * (1 - fy) + bottom * fy + 0.5);
      }
    }
  }
}
