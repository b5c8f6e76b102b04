// What kind of file some bytes are: filetype.py's features, in JavaScript; the rest is compiled in.
import { answerOf } from "./shown.js";

const ENDS = 1024, BLOCK = 4096, PADDING = 256;
const space = (/** @type {number} */ b) => b === 32 || (b >= 9 && b <= 13);

/** int32[2048]: the first and the last bytes, stripped of white space, padded with 256. @param {Uint8Array} bytes */
export function features(bytes) {
  let head = bytes.subarray(0, BLOCK), tail = bytes.subarray(Math.max(0, bytes.length - BLOCK));
  let from = 0, to = tail.length;
  while (from < head.length && space(head[from])) from++;
  while (to > 0 && space(tail[to - 1])) to--;
  head = head.subarray(from, from + ENDS);
  tail = tail.subarray(Math.max(0, to - ENDS), to);
  const made = new Int32Array(2 * ENDS).fill(PADDING);
  made.set(head);
  made.set(tail, 2 * ENDS - tail.length);
  return made;
}

/** @param {{ load: (folder: string) => Promise<any> }} given */
export async function open({ load }) {
  const program = await load("model");
  const { labels } = program.info.variants[0].entries[program.info.entry].outputs.find((/** @type {any} */ o) => o.name === "scores");
  return async (/** @type {{ bytes: Uint8Array }} */ { bytes }) => {
    const { scores } = await program.run({ bytes: { data: features(bytes), shape: [1, 2 * ENDS] } });
    return answerOf({ scores }, { scores: labels });
  };
}
