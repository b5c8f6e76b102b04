// Pictures and sounds as tensors: stretched or resampled to the input's shape, then (value * scale - mean) / std.
import { count, fail } from "./hither-tensors.js";
/** @typedef {import("./types.d.ts").Spec} Spec */

/** @param {any} source @param {Spec} spec */
export async function toTensor(source, spec) {
  const { name, shape, dtype, layout, media, scale = 1, mean = 0, std = 1 } = spec;
  const at = (/** @type {number | number[]} */ x, /** @type {number} */ c) => (typeof x === "number" ? x : x[c]);
  const finish = (/** @type {number} */ x, c = 0) => {
    const y = (x * at(scale, c) - at(mean, c)) / at(std, c);
    return /int/.test(dtype) ? Math.round(y) : y;
  };
  try {
    if (media === "audio") return { data: (await samples(source, count(shape), spec.rate)).map((x) => finish(x)) };
    const dims = shape.slice(-3), first = layout ? layout === "NCHW" : dims[0] <= 4;
    const [height, width, channels] = first ? [dims[1], dims[2], dims[0]] : dims, area = width * height;
    if (count(shape) !== area * channels || ![1, 3, 4].includes(channels)) throw Error("it does not take one picture of 1, 3 or 4 channels");
    const pixels = await draw(source, width, height), size = area * channels, data = dtype === "float32" ? new Float32Array(size) : Array(size);
    const [step, next] = first ? [1, area] : [channels, 1]; // from pixel to pixel, from channel to channel
    for (let c = 0; c < channels; c++) {
      const made = Array.from({ length: 256 }, (_, x) => finish(x, c)); // a page asks for many pictures a second
      for (let i = 0, at = c * next; i < area; i++, at += step) data[at] = channels > 1 ? made[pixels[4 * i + c]] : finish(0.299 * pixels[4 * i] + 0.587 * pixels[4 * i + 1] + 0.114 * pixels[4 * i + 2]);
    }
    return { data };
  } catch (e) {
    return fail("input", `input "${name}" cannot be made from ${source?.constructor?.name ?? source}: ${/** @type {Error} */ (e).message}; or pass ${dtype}[${shape}]`);
  }
}

/** @param {ImageBitmapSource} source @param {number} resizeWidth @param {number} resizeHeight */
async function draw(source, resizeWidth, resizeHeight) {
  const bitmap = await createImageBitmap(source, { resizeWidth, resizeHeight, resizeQuality: "high" });
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(resizeWidth, resizeHeight).getContext("2d", { willReadFrequently: true }));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, resizeWidth, resizeHeight).data;
}

/** Mono, at the input's rate, cut or padded to its length. @param {any} source @param {number} length @param {number} [rate] */
async function samples(source, length, rate = source.sampleRate ?? 16000) {
  const context = new OfflineAudioContext(1, length, rate);
  const buffer = source instanceof Blob ? await context.decodeAudioData(await source.arrayBuffer()) : source;
  const player = new AudioBufferSourceNode(context, { buffer });
  player.connect(context.destination);
  player.start();
  return Array.from((await context.startRendering()).getChannelData(0));
}
