// Epochs over a bundled Trainer: `fit` and `evaluate`, for pages that have their samples in arrays. Fetched by those alone.
import { count, fail, given, HitherError } from "./hither-tensors.js";
/** @typedef {import("./hither-fit.d.ts").FitOptions} FitOptions */
/** @typedef {import("./hither-fit.d.ts").Samples} Samples */
/** @typedef {import("./hither-fit.d.ts").Logs} Logs */
/** @typedef {import("./hither.d.ts").Program} Program */
/** @typedef {import("./hither.d.ts").Tensor} Tensor */

/** Train for some epochs; see hither-fit.d.ts. @param {Program} program @param {Samples} samples @param {FitOptions} [options] @returns {Promise<Record<string, any[]>>} */
export async function fit(program, samples, { epochs = 1, shuffle = true, seed = 0, validation, onBatch, onEpoch, signal } = {}) {
  const { rows, sizes, take } = cut(program, "train_step", samples), order = Uint32Array.from({ length: rows }, (_, i) => i), random = generator(seed);
  /** @type {Record<string, any[]>} */
  const history = {};
  for (let epoch = 0; epoch < epochs; epoch++) {
    if (shuffle) {
      for (let i = rows - 1; i > 0; i--) { // Fisher and Yates
        const j = Math.floor(random() * (i + 1));
        [order[i], order[j]] = [order[j], order[i]];
      }
    }
    await program.run("reset_metrics", {}, { signal });
    let logs = /** @type {Logs} */ ({}), total = 0, seen = 0;
    for (const [batch, [at, size]] of batches(rows, sizes).entries()) {
      logs = numbers(await program.run("train_step", take(Array.from({ length: size }, (_, i) => order[(at + i) % rows])), { signal }));
      if (!Number.isFinite(logs.loss)) throw new HitherError("loss", `the loss of batch ${batch} of epoch ${epoch} is ${logs.loss}; the weights are what they were before it`);
      total += logs.loss * size;
      seen += size;
      await onBatch?.(batch, logs, epoch);
    }
    logs.loss = total / seen;
    if (validation) for (const [name, value] of Object.entries(await evaluate(program, validation, { signal }))) logs["val_" + name] = value;
    for (const [name, value] of Object.entries(logs)) (history[name] ??= []).push(value);
    if (await onEpoch?.(epoch, logs) === false) break;
  }
  return history;
}

/** Loss and metrics of all samples; see hither-fit.d.ts. @param {Program} program @param {Samples} samples @param {{ signal?: AbortSignal }} [options] @returns {Promise<Logs>} */
export async function evaluate(program, samples, { signal } = {}) {
  const { rows, sizes, take } = cut(program, "evaluate", samples), all = batches(rows, sizes);
  const [at, size] = all[all.length - 1];
  if (at + size > rows) fail("input", `${rows} samples are no sum of batches of ${sizes.join(" and ")}: bundle specs of 1 sample, too`);
  await program.run("reset_metrics", {}, { signal });
  let logs = /** @type {Logs} */ ({});
  for (const [at, size] of all) logs = numbers(await program.run("evaluate", take(Array.from({ length: size }, (_, i) => at + i)), { signal }));
  return logs;
}

/** Samples to cut into batches, and the sizes that the bundle has. @param {Program} program @param {string} entry @param {Samples} samples */
function cut(program, entry, samples) {
  const signatures = program.info.variants.map((v) => v.entries[entry]?.inputs ?? fail("input", `the bundle has no entry "${entry}": bundle a hither.Trainer`));
  const parts = signatures[0].map(({ name, shape: [, ...inner] }) => {
    const data = given(samples[name])?.data ?? fail("input", `"${name}" of the samples is missing, or no array`);
    return { name, inner, data, stride: count(inner) };
  });
  const other = Object.keys(samples).find((n) => !parts.some((p) => p.name === n));
  if (other) fail("input", `"${other}" of the samples is no input; "${entry}" takes ${parts.map((p) => p.name).join(", ")}`);
  const rows = Math.floor(parts[0].data.length / parts[0].stride), wrong = rows ? parts.find((p) => p.data.length !== rows * p.stride) : parts[0];
  if (wrong) fail("input", `"${wrong.name}" has ${wrong.data.length} elements, which are not ${rows || "some"} rows of [${wrong.inner}]`);
  const fitting = signatures.filter((s) => s.every((spec, i) => String(spec.shape.slice(1)) === String(parts[i].inner)));
  const sizes = [...new Set(fitting.map((s) => s[0].shape[0]))].sort((a, b) => b - a);
  /** The rows of these numbers. @param {number[]} numbers */
  const take = (numbers) => Object.fromEntries(parts.map(({ name, inner, data, stride }) => {
    const made = Array.isArray(data) ? Array(numbers.length * stride) : new data.constructor(numbers.length * stride);
    numbers.forEach((row, i) => {
      for (let j = 0; j < stride; j++) made[i * stride + j] = data[row * stride + j];
    });
    return [name, { data: made, shape: [numbers.length, ...inner] }];
  }));
  return { rows, sizes, take };
}

/** Where batches begin and how large they are, large ones first; what is left over is part of a smallest one. @param {number} rows @param {number[]} sizes */
function batches(rows, sizes) {
  const found = /** @type {[at: number, size: number][]} */ ([]);
  for (let at = 0, size; at < rows; at += size) {
    size = sizes.find((s) => s <= rows - at) ?? sizes[sizes.length - 1];
    found.push([at, size]);
  }
  return found;
}

/** @param {Record<string, Tensor>} results @returns {Logs} */
const numbers = (results) => Object.fromEntries(Object.entries(results).map(([name, { data, shape }]) => [name, shape.length ? data : data[0]]));

/** Numbers from 0 to 1: mulberry32 (T. Ettinger, 2017). @param {number} seed */
const generator = (seed) => () => {
  let t = (seed = (seed + 0x6d2b79f5) | 0);
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};
