// The notes of a piece of music: pitch.py, in JavaScript.
/** @typedef {{ start: number, end: number, pitch: number, strength: number }} Note */

const HOP = 256, WINDOW = 43844, MARGIN = 15, STEP = WINDOW - 2 * MARGIN * HOP, PITCHES = 88, LOWEST = 21;
const ONSET = 0.5, SOUNDING = 0.3, LEAST_FRAMES = 11, GAP_FRAMES = 11;
const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
export const rate = 22050;

/** How many frames pass until it is silent for long. @param {(i: number) => number} level @param {number} count */
function lasts(level, count) {
  let quiet = 0;
  for (let i = 0; i < count; i++) {
    quiet = level(i) < SOUNDING ? quiet + 1 : 0;
    if (quiet === GAP_FRAMES) return i + 1 - quiet;
  }
  return count - quiet;
}

/** Onsets, and where a pitch gets much louder within two frames, scaled to the same maximum. @param {Float32Array} sounding @param {Float32Array} onsets */
function withRises(sounding, onsets) {
  const rise = new Float32Array(sounding.length);
  let most = 0, loudest = 0;
  for (let i = 0; i < sounding.length; i++) {
    if (i >= 2 * PITCHES) rise[i] = Math.max(0, sounding[i] - Math.max(sounding[i - PITCHES], sounding[i - 2 * PITCHES]));
    most = Math.max(most, rise[i]);
    loudest = Math.max(loudest, onsets[i]);
  }
  return onsets.map((x, i) => (most ? Math.max(x, rise[i] * (loudest / most)) : x));
}

/** @param {Float32Array} sounding @param {Float32Array} given onsets; both [frames, 88] @param {number[]} times seconds @returns {Note[]} by start and pitch */
export function notes(sounding, given, times) {
  const frames = times.length, left = sounding.slice(), /** @type {Note[]} */ found = [];
  if (frames < 3) return found;
  const onsets = withRises(sounding, given), at = (/** @type {number} */ frame, /** @type {number} */ pitch) => frame * PITCHES + pitch;
  const clear = (/** @type {number} */ start, /** @type {number} */ stop, /** @type {number} */ pitch) => {
    for (let f = start; f < stop; f++) for (let p = Math.max(0, pitch - 1); p < Math.min(PITCHES, pitch + 2); p++) left[at(f, p)] = 0;
  };
  const take = (/** @type {number} */ start, /** @type {number} */ stop, /** @type {number} */ pitch) => {
    let sum = 0;
    for (let f = start; f < stop; f++) sum += sounding[at(f, pitch)];
    found.push({ start: times[start], end: times[Math.min(stop, frames - 1)], pitch: pitch + LOWEST, strength: sum / (stop - start) });
  };
  // Backwards in time: a note ends where a later one of the same pitch has begun.
  for (let i = at(frames - 1, 0) - 1; i >= PITCHES; i--) {
    if (onsets[i] < ONSET || onsets[i] <= onsets[i - PITCHES] || onsets[i] <= onsets[i + PITCHES]) continue;
    const start = Math.floor(i / PITCHES), pitch = i % PITCHES;
    const stop = start + 1 + lasts((f) => left[at(start + 1 + f, pitch)], frames - start - 1);
    if (stop - start <= LEAST_FRAMES) continue;
    take(start, stop, pitch);
    clear(start, stop, pitch);
  }
  // What still sounds without an onset, loudest first, both ways from there.
  for (;;) {
    let most = 0;
    for (let i = 1; i < left.length; i++) if (left[i] > left[most]) most = i;
    if (left[most] <= SOUNDING) break;
    const middle = Math.floor(most / PITCHES), pitch = most % PITCHES;
    const start = middle - lasts((f) => left[at(middle - 1 - f, pitch)], middle);
    const stop = middle + 1 + lasts((f) => left[at(middle + 1 + f, pitch)], frames - middle - 1);
    clear(start, stop, pitch);
    if (stop - start > LEAST_FRAMES) take(start, stop, pitch);
  }
  return found.sort((a, b) => a.start - b.start || a.pitch - b.pitch);
}

/** @param {{ load: (folder: string) => Promise<any> }} given */
export async function open({ load }) {
  const program = await load("model");
  return async (/** @type {{ samples: Float32Array }} */ { samples }) => {
    /** @type {number[]} */
    const sounding = [], onsets = [], times = [];
    for (let i = 0; i * STEP < samples.length; i++) {
      const window = new Float32Array(WINDOW), from = i * STEP - MARGIN * HOP;
      window.set(samples.subarray(Math.max(0, from), from + WINDOW), Math.max(0, -from));
      const found = await program.run({ samples: { data: window, shape: [1, WINDOW] } }), frames = found.notes.shape[1];
      for (let f = MARGIN; f < frames - MARGIN; f++) {
        const time = (i * STEP + (f - MARGIN) * HOP) / rate;
        if (time >= samples.length / rate) break;
        times.push(time);
        for (let p = 0; p < PITCHES; p++) {
          sounding.push(found.notes.data[f * PITCHES + p]);
          onsets.push(found.onsets.data[f * PITCHES + p]);
        }
      }
    }
    const found = notes(Float32Array.from(sounding), Float32Array.from(onsets), times);
    return {
      rows: found.map((n) => ({ text: NAMES[n.pitch % 12] + (Math.floor(n.pitch / 12) - 1), value: `${n.start.toFixed(2)} s to ${n.end.toFixed(2)} s` })),
      notes: found.map((n, row) => ({ start: n.start, end: n.end, low: n.pitch, row })),
      says: `${found.length} notes`,
      empty: "No notes.",
    };
  };
}
