// The head: its training on embeddings, and what it says of them. It runs in a Worker of the loader's.
/** @typedef {import("./store.js").Sample} Sample */
/** @typedef {import("./store.js").Epoch} Epoch */
/** @typedef {(program: any, samples: Record<string, any>, options: object) => Promise<unknown>} Fit the loader's */

export const LEAST = 5; // samples of a class
const EPOCHS = 40, ROWS = 192; // at least so many samples in an epoch: few are shown several times
const TRAINED = "trained"; // the name under which the loader keeps the head

/** @template T, K @param {T[]} list @param {(x: T) => K} by @returns {Map<K, T[]>} */
function grouped(list, by) {
  const made = new Map();
  for (const x of list) made.get(by(x))?.push(x) ?? made.set(by(x), [x]);
  return made;
}

/** The samples to learn from, and those that are only for checking: a fifth of each class.
 *
 * Frames of one take resemble each other, so of long takes the last part is held out as a whole: to check on the neighbours of what was
 * learned would flatter. @param {Sample[]} samples @returns {{ learned: Sample[], held: Sample[] }} */
export function split(samples) {
  const learned = /** @type {Sample[]} */ ([]), held = /** @type {Sample[]} */ ([]);
  for (const own of grouped(samples, (s) => s.slot).values()) {
    let count = 0;
    for (const take of grouped(own, (s) => s.take).values()) {
      const long = take.length >= LEAST, kept = take.length - Math.floor(take.length / 5);
      take.forEach((s, i) => ((long ? i >= kept : ++count % 5 === 0) ? held : learned).push(s));
    }
  }
  return { learned, held };
}

/** Samples repeated until each class has as many as the largest, and all together are ROWS. @param {Sample[]} samples @returns {Sample[]} */
export function balanced(samples) {
  const classes = [...grouped(samples, (s) => s.slot).values()], most = Math.max(ROWS / classes.length, ...classes.map((own) => own.length));
  return classes.flatMap((own) => Array.from({ length: Math.ceil(most) }, (_, i) => own[i % own.length]));
}

export class Learner {
  #program; #fit; #classes;
  /** @type {Record<string, any>} the state before any training */
  #fresh = {};

  /** @param {any} program the bundle of the head @param {Fit} fit */
  constructor(program, fit) {
    this.#program = program;
    this.#fit = fit;
    this.#classes = program.info.variants[0].entries.predict.inputs.find((/** @type {any} */ s) => s.name === "used").shape[1];
  }

  /** @param {boolean} trained whether a head was kept, before this page was opened @returns {Promise<string>} why it cannot be used, if so */
  async begin(trained) {
    this.#fresh = await this.#program.state();
    if (!trained) return "";
    return this.#program.restore(TRAINED).then(() => "", (/** @type {Error} */ e) => e.message);
  }

  /** What the head is given: embeddings, and for each of them which classes there are. @param {Float32Array[]} embeddings @param {number[]} slots */
  #inputs(embeddings, slots) {
    const [{ length }] = embeddings, rows = embeddings.length;
    const embedding = new Float32Array(rows * length), used = new Float32Array(rows * this.#classes);
    embeddings.forEach((e, i) => embedding.set(e, i * length));
    for (let i = 0; i < rows; i++) for (const slot of slots) used[i * this.#classes + slot] = 1;
    return { embedding, used };
  }

  /** How likely each of these slots is. @param {Float32Array} embedding @param {number[]} slots @returns {Promise<number[]>} */
  async likely(embedding, slots) {
    const [{ data }] = Object.values(await this.#program.run("predict", this.#inputs([embedding], slots)));
    const raised = slots.map((s) => Math.exp(data[s] - Math.max(...data))), sum = raised.reduce((a, b) => a + b, 0);
    return raised.map((x) => x / sum);
  }

  /** Begin anew and learn. @param {Sample[]} samples @param {number[]} slots the classes that there are
   * @param {(epochs: Epoch[], of: number) => void} onEpoch @param {AbortSignal} signal ends it after an epoch; what was learned stays */
  async learn(samples, slots, onEpoch, signal) {
    const { learned, held } = split(samples);
    const arrays = (/** @type {Sample[]} */ some) => ({ ...this.#inputs(some.map((s) => s.embedding), slots), y: Int32Array.from(some, (s) => s.slot) });
    /** @type {Epoch[]} */
    const history = [];
    await this.#program.loadState(this.#fresh);
    await this.#fit(this.#program, arrays(balanced(learned)), {
      epochs: EPOCHS, seed: Date.now(), validation: arrays(held),
      onEpoch: (/** @type {number} */ _, /** @type {any} */ { loss, accuracy, val_loss: heldLoss, val_accuracy: heldAccuracy }) => {
        history.push({ loss, accuracy, heldLoss, heldAccuracy });
        onEpoch(history, EPOCHS);
        return !signal.aborted;
      },
    });
    const found = [];
    for (const { id, slot, embedding } of held) {
      const likely = await this.likely(embedding, slots);
      found.push({ id, slot, said: slots[likely.indexOf(Math.max(...likely))] });
    }
    await this.#program.save(TRAINED);
    return { history, held: found };
  }

  /** The head's arrays by name. @returns {Promise<Record<string, { shape: number[], data: Float32Array }>>} */
  async weights() {
    const state = Object.entries(await this.#program.state()).filter(([name]) => name.startsWith("weights."));
    return Object.fromEntries(state.map(([name, array]) => [name.slice("weights.".length), array]));
  }
}
