// Models whose outputs say by their names how to show them, as hither/models/card.py has it: boxes, landmarks, confidence, mask, scores, label.
/** @typedef {import("./answers.js").Answer} Answer */
/** @typedef {{ data: any, shape: number[], dtype: string }} Tensor */

const SEEN = 0.2; // confidence of a landmark that is drawn
const LEAST = 0.2; // score of a box that is worth showing, where a model leaves the choice open
const percent = (/** @type {number} */ p) => `${(100 * p).toFixed(p > 0.1 ? 0 : 1)} %`;

/** @param {{ load: (folder: string) => Promise<any>, links?: [number, number][] }} given */
export async function openByNames({ load, links }) {
  const program = await load("model");
  const { inputs, outputs } = program.info.variants[0].entries[program.info.entry];
  const labels = Object.fromEntries(outputs.map((/** @type {any} */ o) => [o.name, o.labels]));
  return async (/** @type {any} */ input) => {
    const source = input.bitmap ?? input.samples ?? input.text ?? input.bytes;
    return answerOf(await program.run({ [inputs[0].name]: source }), labels, links);
  };
}

/** An answer made of named results. @param {Record<string, Tensor>} found @param {Record<string, string[] | undefined>} labels
 * @param {[number, number][]} [links] landmarks that lines join @returns {Answer} */
export function answerOf(found, labels, links = []) {
  /** @type {Answer} */
  const answer = { rows: [] };
  const { boxes, landmarks, confidence, mask, scores, label } = found;
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
    const corners = boxes && numbers(boxes), places = landmarks && numbers(landmarks), kinds = label && numbers(label), sure = confidence && numbers(confidence);
    const things = corners ? corners.length / 4 : count;
    Object.assign(answer, { shapes: [], points: [], lines: [] });
    for (let i = 0; i < things; i++) {
      const each = classes && likely.length === things * classes.length ? likely.slice(i * classes.length, (i + 1) * classes.length) : undefined;
      const score = each ? Math.max(...each) : likely?.length === things ? likely[i] : undefined;
      if (!each && score !== undefined && score < LEAST) continue;
      const name = each ? classes?.[each.indexOf(Number(score))] : kinds ? labels.label?.[kinds[i]] ?? `class ${kinds[i]}` : labels.boxes?.[i];
      const tag = name ?? `${i + 1}`;
      const row = answer.rows.push({ text: tag, value: score === undefined ? undefined : percent(score) }) - 1;
      if (corners) {
        const [x0, y0, x1, y1] = corners.slice(4 * i, 4 * i + 4);
        answer.shapes?.push({ row, tag, corners: [{ x: x0, y: y0 }, { x: x1, y: y0 }, { x: x1, y: y1 }, { x: x0, y: y1 }] });
      }
      if (!places || i >= count) continue;
      const seen = (/** @type {number} */ p) => !sure || sure[i * points + p] >= SEEN;
      const at = (/** @type {number} */ p) => ({ x: places[(i * points + p) * width], y: places[(i * points + p) * width + 1] });
      for (let p = 0; p < points; p++) if (seen(p)) answer.points?.push({ ...at(p), row, small: points > 100 });
      for (const [a, b] of links) if (seen(a) && seen(b)) answer.lines?.push({ from: at(a), to: at(b), row });
    }
    answer.says = `${answer.rows.length} found`;
  } else if (likely && classes && likely.length === classes.length) {
    const best = likely.map((_, i) => i).sort((a, b) => likely[b] - likely[a]).slice(0, 5);
    answer.rows.push(...best.map((i) => ({ text: classes[i], value: percent(likely[i]), share: likely[i] })));
    answer.headline = true;
  }
  const shown = ["boxes", "landmarks", "confidence", "mask", "scores", "label"];
  for (const [name, tensor] of Object.entries(found)) {
    if (shown.includes(name)) continue;
    const values = numbers(tensor), some = values.slice(0, 6).map((x) => (Number.isInteger(x) ? String(x) : x.toPrecision(4)));
    answer.rows.push({ text: name, value: some.join(", ") + (values.length > 6 ? ` … (${values.length})` : "") });
  }
  return answer;
}
