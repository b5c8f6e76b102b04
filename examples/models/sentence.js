// How near the first line of a text is to each other line: sentence.py, in JavaScript.
import { WordPiece } from "./wordpiece.js";

/** @param {{ load: (folder: string) => Promise<any>, data: { vocabulary: string[] } }} given */
export async function open({ load, data }) {
  const program = await load("model"), tokenizer = new WordPiece(data.vocabulary);
  const lengths = program.info.variants.map((/** @type {any} */ v) => v.entries.predict.inputs[0].shape[1]), most = Math.max(...lengths);
  /** @type {Map<string, Float32Array>} */
  const known = new Map();
  const embed = async (/** @type {string} */ text) => {
    let made = known.get(text);
    if (!made) {
      const tokens = tokenizer.encode(text, most), length = lengths.find((/** @type {number} */ n) => n >= tokens.length);
      const ids = new Int32Array(length), mask = new Int32Array(length).fill(1, 0, tokens.length);
      ids.set(tokens);
      const shape = [1, length];
      made = /** @type {Float32Array} */ ((await program.run({ ids: { data: ids, shape }, mask: { data: mask, shape } })).embedding.data);
      known.set(text, made);
    }
    return made;
  };
  return async (/** @type {{ text: string }} */ { text }) => {
    const [first, ...others] = text.split("\n").map((s) => s.trim()).filter(Boolean);
    if (first === undefined) return { rows: [], empty: "Write a sentence." };
    const begin = await embed(first);
    const near = [];
    for (const other of others) {
      const end = await embed(other);
      near.push({ other, nearness: begin.reduce((n, x, i) => n + x * end[i], 0) });
    }
    near.sort((a, b) => b.nearness - a.nearness);
    return {
      rows: near.map(({ other, nearness }) => ({ text: other, value: nearness.toFixed(3), share: nearness })),
      says: `nearest to “${first}”`,
      empty: "Write more sentences below the first: they are sorted by how near they are to it.",
    };
  };
}
