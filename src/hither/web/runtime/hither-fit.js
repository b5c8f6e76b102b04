// Epochs over a bundled Trainer: `fit`, `evaluate` and `predict`, for pages that have their samples in arrays. Fetched by those alone.
import { count, fail, given, HitherError } from "./hither-tensors.js";
/** @typedef {import("./hither-fit.d.ts").FitOptions} FitOptions */
/** @typedef {import("./hither-fit.d.ts").Samples} Samples */
/** @typedef {import("./hither-fit.d.ts").Logs} Logs */
/** @typedef {import("./hither.d.ts").Program} Program */
/** @typedef {import("./hither.d.ts").Tensor} Tensor */

/** Train for some epochs; see hither-fit.d.ts. @param {Program} program @param {Samples} samples @param {FitOptions} [options] @returns {Promise<Record<string, any[]>>} */
export async function fit(program, samples, { batchSize, epochs = 1, shuffle = true, seed = 0, validation, onBatch, onEpoch, signal } = {}) {
  const { rows, batches, step } = cut(program, "train_step", "train_partial", samples, batchSize), order = Uint32Array.from({ length: rows }, (_, i) => i), random = generator(seed);
  if (!(epochs >= 0)) fail("option", `epochs is ${epochs}, not a number`);
  const validating = validation && cut(program, "evaluate", "evaluate_partial", validation, batchSize);
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
    let logs = /** @type {Logs} */ ({}), total = 0;
    for (const [number, batch] of batches.entries()) {
      logs = numbers(await step(batch, (i) => order[i], { signal }));
      if (!Number.isFinite(logs.loss)) throw new HitherError("loss", `the loss of batch ${number} of epoch ${epoch} is ${logs.loss}; the weights are what they were before it`);
      total += logs.loss * batch.count;
      await onBatch?.(number, logs, epoch);
    }
    logs.loss = total / rows;
    if (validating) for (const [name, value] of Object.entries(await mean(program, validating, signal))) logs["val_" + name] = value;
    for (const [name, value] of Object.entries(logs)) (history[name] ??= []).push(value);
    if (await onEpoch?.(epoch, logs) === false) break;
  }
  if (program.info.variants[0].entries.take_averages) await program.run("take_averages", {}, { signal });
  return history;
}

/** Loss and metrics of all samples; see hither-fit.d.ts. @param {Program} program @param {Samples} samples @param {{ batchSize?: number, signal?: AbortSignal }} [options] @returns {Promise<Logs>} */
export async function evaluate(program, samples, { batchSize, signal } = {}) {
  return mean(program, cut(program, "evaluate", "evaluate_partial", samples, batchSize), signal);
}

/** Loss and metrics of what has been cut. @param {Program} program @param {ReturnType<typeof cut>} samples @param {AbortSignal} [signal] @returns {Promise<Logs>} */
async function mean(program, { batches, step }, signal) {
  await program.run("reset_metrics", {}, { signal });
  let logs = /** @type {Logs} */ ({});
  for (const batch of batches) logs = numbers(await step(batch, (i) => i, { signal }));
  return logs;
}

/** What the network makes of all samples; see hither-fit.d.ts. @param {Program} program @param {Samples} samples @param {{ batchSize?: number, signal?: AbortSignal }} [options] @returns {Promise<Record<string, Tensor>>} */
export async function predict(program, samples, { batchSize, signal } = {}) {
  const { rows, batches, step } = cut(program, "predict", "predict_partial", samples, batchSize);
  /** @type {Record<string, Tensor>} */
  const all = {};
  for (const batch of batches) {
    for (const [name, { data, shape, dtype }] of Object.entries(await step(batch, (i) => i, { signal }))) {
      const inner = shape.slice(1), stride = count(inner);
      if (shape[0] !== batch.size) fail("input", `the output "${name}" is [${shape}] of ${batch.size} samples, not a row for each; run the entry "predict"`);
      all[name] ??= { data: new /** @type {any} */ (data.constructor)(rows * stride), shape: [rows, ...inner], dtype };
      /** @type {any} */ (all[name].data).set(data.subarray(0, batch.count * stride), batch.at * stride);
    }
  }
  return all;
}

/** Samples to cut into batches of a size, the last one of what is left. @param {Program} program @param {string} entry @param {string} partial the entry for the
 * first rows of a batch, which "predict" needs none for where samples are not mixed @param {Samples} samples @param {number} [wanted] rows of a batch; the most that the bundle has */
function cut(program, entry, partial, samples, wanted) {
  const { variants } = program.info, signatures = variants.map((v) => v.entries[entry]?.inputs ?? fail("input", `the bundle has no entry "${entry}": bundle a hither.Trainer`));
  const parts = signatures[0].map(({ name, shape: [, ...inner], ...spec }) => {
    const { data, shape } = given(samples[name]) ?? fail("input", `"${name}" of the samples is missing, or no array`);
    return { name, inner, data, shape, stride: count(inner), .../** @type {{ classes?: number, ignored?: number }} */ (spec) };
  });
  const other = Object.keys(samples).find((n) => !parts.some((p) => p.name === n));
  if (other) fail("input", `"${other}" of the samples is no input; "${entry}" takes ${parts.map((p) => p.name).join(", ")}`);
  const rows = Math.floor(parts[0].data.length / parts[0].stride), wrong = rows ? parts.find((p) => p.data.length !== rows * p.stride || p.shape && String(p.shape) !== String([rows, ...p.inner])) : parts[0];
  if (wrong) fail("input", `"${wrong.name}" has ${wrong.shape ? `the shape [${wrong.shape}]` : `${wrong.data.length} elements`}, not ${rows || "some"} rows of [${wrong.inner}]`);
  for (const { name, data, stride, classes = 0, ignored } of parts.filter((p) => p.classes)) {
    const weights = parts.find((p) => p.name === "sample_weight" + name.slice(1) || p.name === "sample_weight"), each = weights && rows * weights.stride;
    for (let i = 0; i < data.length; i++) {
      const label = Number(data[i]), counts = !each || Number(weights.data[Math.floor(i * each / data.length)]) !== 0;
      if (counts && label !== ignored && !(Number.isInteger(label) && label >= 0 && label < classes)) {
        fail("label", `sample ${Math.floor(i / stride)} has the label ${label} in "${name}", and the network has ${classes} classes, whose numbers are 0 to ${classes - 1}: count classes from 0, or bundle a network with as many outputs as there are classes`);
      }
    }
  }
  const fitting = signatures.filter((s) => s.every((spec, i) => String(spec.shape.slice(1)) === String(parts[i].inner)));
  const sizes = [...new Set(fitting.map((s) => s[0].shape[0]))].sort((a, b) => a - b), most = sizes[sizes.length - 1], batchSize = wanted ?? most;
  if (!(Number.isInteger(batchSize) && batchSize > 0 && batchSize <= most)) fail("option", `batchSize is a number from 1 to ${most}, the most samples that "${entry}" takes; got ${batchSize}`);
  const { entries } = variants[0], counts = !!entries[partial];
  /** Where a batch begins, how many samples it has, and of how many its program is. @type {{ at: number, count: number, size: number }[]} */
  const batches = [];
  for (let at = 0; at < rows; at += batchSize) {
    const count = Math.min(batchSize, rows - at), size = /** @type {number} */ (sizes.find((s) => s >= count));
    if (size !== count && !counts && !(entry === "predict" && entries.train_partial)) {
      fail("input", `a batch of ${count} of ${rows} samples is none of ${sizes.join(" and ")} that "${entry}" takes, and the network mixes samples, so the bundle has no entry "${partial}": bundle specs of ${count}, too`);
    }
    batches.push({ at, count, size });
  }
  /** What a program for so many samples is given, batch after batch: `run` has copied it when it resolves. @type {Record<number, Record<string, { data: any, shape: number[] }>>} */
  const made = {};
  /** Run an entry on a batch, the one before having ended; rows that are too many are its first one again. @param {{ at: number, count: number, size: number }} batch
   * @param {(i: number) => number} order @param {{ signal?: AbortSignal }} options */
  const step = ({ at, count, size }, order, options) => {
    const values = made[size] ??= Object.fromEntries(parts.map(({ name, inner, data, stride }) =>
      [name, { data: Array.isArray(data) ? Array(size * stride) : new data.constructor(size * stride), shape: [size, ...inner] }]));
    for (const { name, data, stride } of parts) {
      const to = values[name].data;
      for (let i = 0; i < size; i++) {
        const row = order(at + (i < count ? i : 0));
        for (let j = 0; j < stride; j++) to[i * stride + j] = data[row * stride + j];
      }
    }
    return size !== count && counts ? program.run(partial, { rows: count, ...values }, options) : program.run(entry, values, options);
  };
  return { rows, batches, step };
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
