// Weights that come in halves: float32 numbers rounded to their upper 16 bits, with which a program starts, and the lower 16 bits,
// which restore them exactly while it runs already.

import { fail } from "./hither-tensors.js";

/** The numbers of halves: (upper << 16) + signed lower, modulo 2^32. @param {Uint8Array} upper @param {Uint8Array} [lower] @returns {Uint8Array} */
export function join(upper, lower) {
  const n = upper.length / 2, high = new Uint16Array(upper.buffer, upper.byteOffset, n), words = new Uint32Array(n);
  const low = lower && new Int16Array(lower.buffer, lower.byteOffset, n);
  if (low) for (let i = 0; i < n; i++) words[i] = (high[i] << 16) + low[i];
  else for (let i = 0; i < n; i++) words[i] = high[i] << 16;
  return new Uint8Array(words.buffer);
}

/** Upper halves as they come, until their lower ones do. */
export function refiner() {
  /** @type {Map<number, Uint8Array>} */
  const upper = new Map();
  return {
    /** The rounded numbers of a segment. @param {number} start @param {Uint8Array} bytes */
    first(start, bytes) {
      upper.set(start, bytes);
      return join(bytes);
    },
    /** The exact numbers of all segments, by where they start in the blob. @param {import("./hither-store.js").Store} store
     * @param {import("./types.d.ts").Segment[]} lower */
    async rest(store, lower) {
      /** @type {Map<number, Uint8Array>} */
      const exact = new Map();
      await store.segments(lower, async ({ start }, bytes) => {
        const first = upper.get(start);
        if (first?.length !== bytes.length) fail("format", `the refinement at ${start} belongs to no weights`);
        exact.set(start, join(/** @type {Uint8Array} */ (first), bytes));
        return bytes;
      });
      return exact;
    },
    /** Nothing is rounded any more. */
    done: () => upper.clear(),
  };
}
