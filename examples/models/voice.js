// Where somebody speaks: voice.py, in JavaScript. Each step is given 64 samples of the one before and the network's state.
const FRAME = 512, CONTEXT = 64, THRESHOLD = 0.5, LEAST_SILENCE = 0.1;
export const rate = 16000;

/** (start, end) in seconds of where frames are speech. @param {ArrayLike<number>} speech */
export function spans(speech) {
  /** @type {{ start: number, end: number }[]} */
  const found = [];
  for (let i = 0; i < speech.length; i++) {
    if (speech[i] < THRESHOLD) continue;
    const start = (i * FRAME) / rate, end = ((i + 1) * FRAME) / rate, last = found.at(-1);
    if (last && start - last.end < LEAST_SILENCE) last.end = end;
    else found.push({ start, end });
  }
  return found;
}

/** @param {{ load: (folder: string) => Promise<any> }} given */
export async function open({ load }) {
  const program = await load("model");
  return async (/** @type {{ samples: Float32Array }} */ { samples }) => {
    let state = new Float32Array(2 * 128);
    const speech = new Float32Array(Math.ceil(samples.length / FRAME)), frame = new Float32Array(CONTEXT + FRAME);
    for (let i = 0; i < speech.length; i++) {
      frame.copyWithin(0, FRAME); // the end of the step before
      frame.fill(0, CONTEXT);
      frame.set(samples.subarray(i * FRAME, (i + 1) * FRAME), CONTEXT);
      const found = await program.run({ samples: { data: frame, shape: [1, CONTEXT + FRAME] }, state: { data: state, shape: [2, 1, 128] } });
      speech[i] = found.speech.data[0];
      state = found.next_state.data;
    }
    const found = spans(speech);
    return {
      rows: found.map(({ start, end }) => ({ text: `${start.toFixed(2)} s to ${end.toFixed(2)} s`, value: "speech" })),
      spans: found.map((s, row) => ({ ...s, row })),
      curve: speech,
      empty: "Nobody speaks.",
    };
  };
}
