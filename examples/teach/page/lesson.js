// What is open: for pictures or for sounds the networks, what they are given, the classes and the samples.
import { Camera } from "./camera.js";
import { size } from "./dom.js";
import { Learner } from "./learner.js";
import { Microphone } from "./microphone.js";
import { projectOf, samplesOf } from "./store.js";
/** @typedef {{ input: any, preview: () => Promise<Blob | Int16Array> }} Shot what the backbone is given; it is good until the next shot */
/** @typedef {{ side: number, rate: number, snippet: string, config: any }} HeadFacts */
/** @typedef {{ licence: string, citation: string, packages: string[], head: HeadFacts }} Facts what page.json says of pictures or sounds */
/** @typedef {{ kind: string, facts: Facts, source: Camera | Microphone, backbone: any, head: Learner, project: import("./store.js").Project,
 *   samples: import("./store.js").Sample[], downloaded: number, lost: string, close(): void }} Lesson */

const PHASES = { manifest: "Loading", kernels: "Downloading kernels", weights: "Downloading weights", pipelines: "Building pipelines", warmup: "Warming up", ready: "Ready" };
export const BEGINNING = () => [{ slot: 0, name: "Class 1" }, { slot: 1, name: "Class 2" }];

/** @param {string} kind @param {Facts} facts @param {{ load: (folder: URL, options: object) => Promise<any>, fit: import("./learner.js").Fit }} loader
 * @param {(text: string, share: number) => void} progress @returns {Promise<Lesson>} */
export async function openLesson(kind, facts, { load, fit }, progress) {
  const source = kind === "pictures" ? new Camera(facts.head.side) : new Microphone(facts.head.rate);
  /** @type {Record<string, any>} */
  const parts = {};
  const bring = (/** @type {string} */ folder, /** @type {object} */ options) => load(new URL(`${folder}/`, location.href), { ...options, onProgress(/** @type {any} */ p) {
    parts[folder] = p;
    const sum = (/** @type {string} */ key) => Object.values(parts).reduce((n, q) => n + q[key], 0), total = sum("bytesTotal");
    progress(`${PHASES[/** @type {keyof PHASES} */ (p.phase)]} … ${size(sum("bytesLoaded"))} of ${size(total)}`, total ? sum("bytesLoaded") / total : 0);
  } });
  const loading = [bring(kind, {}), bring(`${kind}-head`, { device: "wasm" })]; // a head is too small for a GPU
  const close = () => {
    source.close();
    for (const program of loading) program.then((p) => p.close(), () => {}); // one that was not loaded holds nothing
  };
  try {
    const [backbone, program] = await Promise.all(loading), [project, samples] = await Promise.all([projectOf(kind), samplesOf(kind), source.ready()]);
    const head = new Learner(program, fit), downloaded = [backbone, program].reduce((n, p) => n + p.info.transfer.network + p.info.transfer.cached, 0);
    const lost = await head.begin(Boolean(project?.training)); // a newer page may have another head
    if (project && lost) project.training = null;
    return { kind, facts, source, backbone, head, samples, downloaded, lost, close, project: project ?? { kind, training: null, classes: BEGINNING() } };
  } catch (e) {
    close();
    throw e;
  }
}
