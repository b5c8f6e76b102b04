// When a wake word is said: wakeword.py, in JavaScript. The program remembers what it heard; before each sound it forgets it.
const FRAME = 1280, THRESHOLD = 0.5, PAUSE = 1;
export const rate = 16000;

/** The seconds at which scores rise above the threshold, once per word. @param {ArrayLike<number>} scores */
export function onsets(scores) {
  /** @type {number[]} */
  const times = [];
  for (let i = 0; i < scores.length; i++) {
    const time = ((i + 1) * FRAME) / rate;
    if (scores[i] >= THRESHOLD && !(i && scores[i - 1] >= THRESHOLD) && !(times.length && time - times[times.length - 1] < PAUSE)) times.push(time);
  }
  return times;
}

/** @param {{ load: (folder: string) => Promise<any>, data: { phrase: string } }} given */
export async function open({ load, data }) {
  const program = await load("model");
  await program.save("silence");
  return async (/** @type {{ samples: Float32Array, seconds: number }} */ { samples, seconds }) => {
    await program.restore("silence");
    const count = Math.ceil((samples.length + rate) / FRAME), scores = new Float32Array(count); // a second of silence after the end
    for (let i = 0; i < count; i++) {
      const frame = new Float32Array(FRAME);
      frame.set(samples.subarray(i * FRAME, (i + 1) * FRAME));
      scores[i] = (await program.run({ samples: frame })).score.data[0];
    }
    const times = onsets(scores), best = scores.reduce((a, b) => Math.max(a, b), 0);
    return {
      rows: times.map((t) => ({ text: `“${data.phrase}”`, value: `by ${t.toFixed(2)} s` })),
      spans: times.map((t, row) => ({ start: Math.max(0, t - 0.8), end: Math.min(seconds, t), row })),
      curve: scores.subarray(0, Math.ceil(samples.length / FRAME)),
      says: `best score ${best.toFixed(3)}, of ${THRESHOLD} that it takes`,
      empty: `Nobody says “${data.phrase}”.`,
    };
  };
}
