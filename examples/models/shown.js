// Models whose outputs say by their names how to show them, as hither/models/card.py has it: boxes, landmarks, mask, scores, label.
/** @typedef {import("./answers.js").Answer} Answer */
/** @typedef {{ data: any, shape: number[], dtype: string }} Tensor */

const LEAST = 0.4; // score of a box that is worth showing, where a model leaves the choice open
const percent = (/** @type {number} */ p) => `${(100 * p).toFixed(p > 0.1 ? 0 : 1)} %`;

/** @param {{ load: (folder: string) => Promise<any> }} given */
export async function openByNames({ load }) {
  const program = await load("model");
  const { inputs, outputs } = program.info.variants[0].entries[program.info.entry];
  return async (/** @type {any} */ input) => {
    const source = input.bitmap ?? input.samples ?? input.text ?? input.bytes;
    return answerOf(await program.run({ [inputs[0].name]: source }), Object.fromEntries(outputs.map((/** @type {any} */ o) => [o.name, o.labels])));
  };
}

/** An answer made of named results. @param {Record<string, Tensor>} found @param {Record<string, string[] | undefined>} labels @returns {Answer} */
export function answerOf(found, labels) {
  /** @type {Answer} */
  const answer = { rows: [] };
  const { boxes, landmarks, mask, scores, label } = found;
  const numbers = (/** @type {Tensor} */ t) => Array.from(t.data, Number);
  const likely = scores && numbers(scores), classes = scores && labels.scores;
  if (mask) {
    const [height, width] = mask.shape.slice(-2);
    answer.mask = { data: mask.data, width, height };
    const share = numbers(mask).filter((p) => p > 0.5).length / (width * height);
    answer.rows.push({ text: "foreground", value: percent(share), share });
  }
  if (boxes || landmarks) {
    const [count, points, width] = !landmarks ? [0, 0, 0] : landmarks.shape.length > 2 ? landmarks.shape.slice(-3) : [1, ...landmarks.shape.slice(-2)];
    const corners = boxes && numbers(boxes), places = landmarks && numbers(landmarks), kinds = label && numbers(label);
    answer.shapes = [];
    answer.points = [];
    for (let i = 0; i < (boxes ? (corners?.length ?? 0) / 4 : count); i++) {
      if (likely && !(classes && likely.length !== count) && likely[i] < LEAST) continue;
      const name = (kinds && (labels.label?.[kinds[i]] ?? `class ${kinds[i]}`)) ?? labels.boxes?.[i] ?? "found";
      const row = answer.rows.push({ text: name, value: likely && percent(likely[i]) }) - 1;
      if (corners) {
        const [x0, y0, x1, y1] = corners.slice(4 * i, 4 * i + 4);
        answer.shapes.push({ row, tag: kinds ? name : undefined, corners: [{ x: x0, y: y0 }, { x: x1, y: y0 }, { x: x1, y: y1 }, { x: x0, y: y1 }] });
      }
      for (let p = 0; places && i < count && p < points; p++) {
        const at = (i * points + p) * width;
        answer.points.push({ x: places[at], y: places[at + 1] });
      }
    }
    answer.says = `${answer.rows.length} found`;
  } else if (likely && classes && likely.length === classes.length) {
    const best = likely.map((_, i) => i).sort((a, b) => likely[b] - likely[a]).slice(0, 5);
    answer.rows.push(...best.map((i) => ({ text: classes[i], value: percent(likely[i]), share: likely[i] })));
    answer.headline = true;
  }
  const shown = ["boxes", "landmarks", "mask", "scores", "label"];
  for (const [name, tensor] of Object.entries(found)) {
    if (shown.includes(name)) continue;
    const values = numbers(tensor), some = values.slice(0, 6).map((x) => (Number.isInteger(x) ? String(x) : x.toPrecision(4)));
    answer.rows.push({ text: name, value: some.join(", ") + (values.length > 6 ? ` … (${values.length})` : "") });
  }
  return answer;
}
