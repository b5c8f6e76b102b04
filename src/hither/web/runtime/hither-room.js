// Room on a device: which of a bundle's precisions it has room for, and having it freed of what nobody uses any more.
import { fail } from "./hither-tensors.js";
import { wasm } from "./hither-wasm.js";
/** @typedef {import("./types.d.ts").Manifest} Manifest */
/** @typedef {import("./types.d.ts").Build} Build */
/** @typedef {{ precision?: string, memory?: number, threads?: number }} Options */

const SHARE = 8; // a program may take one part in so many of a device's memory: others want some, and a tab that takes too much is ended

const size = (/** @type {number} */ bytes) => (bytes < 1e6 ? `${Math.round(bytes)} bytes` : `${(bytes / 1e6).toFixed(1)} MB`);

/** Bytes that each build of a target holds on its device, as its backend counts them; on a page without a Worker, at most.
 * @param {Manifest} manifest @param {string} target @param {Options} options @returns {Promise<(build: Build) => number>} */
async function measured({ builds, layouts, variants }, target, { threads }) {
  const { room } = target === "wasm" ? wasm : await import("./hither-webgpu.js"), snapshot = variants.some((v) => Object.values(v.entries).some((e) => e.updates_state));
  const found = await Promise.all(builds.map(async (b) => b.target === target ? (await room(b, { layouts, snapshot, threads })).bytes.total : 0));
  return (build) => found[builds.indexOf(build)];
}

/** The builds of a target that may be tried, in order, and why not those before them. @param {Manifest} manifest @param {string} target
 * @param {Options} options @param {(build: Build) => number} needs */
function choose(manifest, target, { precision: asked, memory }, needs) {
  const { builds, precision: only, precisions = [{ name: only }] } = manifest, names = precisions.map((p) => p.name);
  const of = (/** @type {Build} */ b) => b.precision ?? only, stray = builds.find((b) => !names.includes(of(b)));
  if (stray) fail("format", `the manifest lists the precisions ${names.join(", ")}, and a build has ${of(stray)}`);
  if (asked !== undefined && !names.includes(asked)) fail("option", `the bundle has no precision "${asked}"; it has ${names.join(", ")}`);
  if (memory !== undefined && !(typeof memory === "number" && memory > 0)) fail("option", `memory is ${JSON.stringify(memory)}, not a number of bytes`);
  const wanted = builds.filter((b) => b.target === target && of(b) === (asked ?? of(b)));
  if (!wanted.length) fail("device", `the bundle has no ${asked} for ${target}`);
  const least = Math.min(...wanted.map((b) => needs(b)));
  const share = asked === undefined ? /** @type {any} */ (globalThis.navigator)?.deviceMemory * 2 ** 30 / SHARE : Infinity;
  const limit = memory ?? (share || Infinity); // browsers that do not say how much there is have no limit
  const allowed = memory ? `memory allows ${size(memory)}` : `one part in ${SHARE} of this device's memory is ${size(limit)}`;
  if (memory && least > limit) fail("memory", `the bundle takes ${size(least)} on ${target} at least, and ${allowed}: allow more, or bundle it in smaller numbers`);
  const fit = wanted.filter((b) => needs(b) <= Math.max(limit, least)), passed = /** @type {string[]} */ ([]);
  for (const b of wanted.slice(0, wanted.indexOf(fit[0]))) {
    const why = `not ${of(b)}: it takes ${size(needs(b))}, and ${allowed}`;
    if (of(b) !== of(fit[0]) && !passed.includes(why)) passed.push(why);
  }
  if (least > limit) passed.push(`${of(fit[0])} takes ${size(least)}, and nothing takes less`);
  return { builds: fit, passed };
}

/** Load the first precision that the device has room for, and say why it is that one.
 * @template {{ info: { why: string, precision: string } }} P @param {Manifest} manifest @param {string} target
 * @param {Options} options @param {(builds: Build[]) => Promise<P>} attempt @returns {Promise<P>} */
export async function fit(manifest, target, options, attempt) {
  const needs = await measured(manifest, target, options);
  let { builds, passed } = choose(manifest, target, options, needs);
  for (;;) {
    try {
      const program = await attempt(builds), { info } = program, { precisions } = manifest;
      const last = options.precision ? `${info.precision} as asked for` : precisions && (info.precision === precisions[0].name ? `${info.precision} is the bundle's first choice` : `so ${info.precision}`);
      info.why = [info.why, ...passed, last].filter(Boolean).join("; ");
      return program;
    } catch (e) {
      const { code, build = 0, message } = /** @type {any} */ (e), failed = builds[build], left = builds.filter((b) => needs(b) < needs(failed));
      if (code !== "memory" || !left.length) throw e;
      passed.push(failed.precision === left[0].precision ? message : `not ${failed.precision}: ${message}`);
      builds = left;
    }
  }
}

/** Have programs collected that nobody holds any more: engines take their time, for they do not see what a program costs a device.
 * Unused memory that they do see moves them, the more so if some of it is held for a while. When the first piece of it is gone, which
 * was old enough to outlive quick collections, a whole one has taken place: who is still there is in use, and does not ask for
 * another try. @param {Set<{ fresh: boolean }>} held */
export async function collect(held) {
  const before = [...held], sweeps = new FinalizationRegistry(() => (swept = true));
  let swept = false, pieces = /** @type {ArrayBuffer[]} */ ([]);
  try {
    for (let i = 0; i < 32 && !swept && before.every((h) => held.has(h)); i++) {
      if (pieces.length > 3) pieces = [];
      pieces.push(new ArrayBuffer(2 ** 26)); // never touched
      if (!i) sweeps.register(pieces[0], 0);
      await new Promise((resolve) => setTimeout(resolve)); // finalizers run between tasks
    }
  } catch {} // not even that much is left
  for (const h of held) h.fresh = false;
}
