// Showing an answer: rows of text beside the input, and shapes, spans or notes on it. Rows light up with what they stand for.
/** @typedef {{ text: string, value?: string, share?: number }} Row */
/** @typedef {{ x: number, y: number, row?: number, small?: boolean }} Point in 0…1 of the picture */
/** @typedef {{ from: Point, to: Point, row?: number }} Line */
/** @typedef {{ corners: Point[], tag?: string, row?: number }} Shape */
/** @typedef {{ start: number, end: number, low?: number, row?: number }} Span seconds; `low` is a note's pitch */
/** @typedef {{ data: ArrayLike<number>, width: number, height: number }} Mask */
/** @typedef {{ rows: Row[], says?: string, headline?: boolean, empty?: string, shapes?: Shape[], points?: Point[], lines?: Line[], mask?: Mask, spans?: Span[],
 *   notes?: Span[], curve?: ArrayLike<number> }} Answer */

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2"]; // Okabe and Ito: apart for all eyes
const LIGHT = new Set([0, 1, 3, 5]); // what needs dark letters on it

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {Record<string, any>} [properties] @param {(Node | string)[]} children */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** @param {string} tag @param {Record<string, any>} attributes */
function draw(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** @param {HTMLElement} where @param {Answer} answer @param {any} input */
export function showAnswer(where, answer, input) {
  /** @type {Element[][]} */
  const linked = answer.rows.map(() => []);
  const items = answer.rows.map(({ text, value, share }, i) => {
    const item = make("li", { className: answer.headline && !i ? "first" : "" }, make("span", { textContent: text }));
    if (value !== undefined) item.append(make("small", { textContent: value }));
    if (share !== undefined) {
      const bar = make("i");
      bar.style.setProperty("--share", `${100 * Math.min(1, Math.max(0, share))}%`);
      item.append(bar);
    }
    linked[i].push(item);
    return item;
  });
  where.replaceChildren(items.length ? make("ol", { className: "rows" }, ...items) : make("p", { className: "quiet", textContent: answer.empty ?? "Nothing found." }));
  const link = (/** @type {Element} */ element, /** @type {number | undefined} */ row) => row !== undefined && linked[row]?.push(element);
  if (input.overlay) onPicture(input, answer, link);
  if (input.track) onSound(input, answer, link);
  for (const group of linked) {
    for (const element of group) {
      element.addEventListener("pointerenter", () => group.forEach((x) => x.classList.add("active")));
      element.addEventListener("pointerleave", () => group.forEach((x) => x.classList.remove("active")));
    }
  }
}

/** @param {{ overlay: HTMLElement, bitmap: { width: number, height: number } }} input @param {Answer} answer @param {(e: Element, row?: number) => void} link */
function onPicture({ overlay }, { shapes = [], points = [], lines = [], mask }, link) {
  overlay.replaceChildren();
  if (mask) overlay.append(cover(mask));
  const svg = draw("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
  const apart = shapes.every((s) => s.tag); // each thing in a colour of its own
  const colour = (/** @type {number | undefined} */ row) => (apart && row !== undefined ? `--mark: ${COLOURS[row % COLOURS.length]}` : "");
  const add = (/** @type {string} */ tag, /** @type {number | undefined} */ row, /** @type {Record<string, any>} */ attributes) => {
    const element = draw(tag, { style: colour(row), ...attributes });
    link(element, row);
    svg.append(element);
  };
  for (const { corners, row } of shapes) add("polygon", row, { class: "shape", points: corners.map((p) => `${p.x},${p.y}`).join(" ") });
  for (const { from, to, row } of lines) add("path", row, { class: "line", d: `M${from.x},${from.y}L${to.x},${to.y}` });
  for (const { x, y, row, small } of points) add("path", row, { class: small ? "point small" : "point", d: `M${x},${y}h0` }); // a round cap, whatever the scale
  overlay.append(svg);
  for (const { corners, tag, row = 0 } of shapes) {
    if (!tag) continue;
    const left = Math.max(0, Math.min(...corners.map((p) => p.x))), top = Math.max(0, Math.min(...corners.map((p) => p.y)));
    const label = make("span", { className: top < 0.06 ? "tag within" : "tag", textContent: tag });
    Object.assign(label.style, { left: `${100 * left}%`, top: `${100 * top}%`, color: LIGHT.has(row % COLOURS.length) ? "#000" : "#fff" });
    label.style.setProperty("--mark", COLOURS[row % COLOURS.length]);
    overlay.append(label);
  }
}

/** What is not foreground, veiled. @param {Mask} mask */
function cover({ data, width, height }) {
  const canvas = make("canvas", { className: "mask", width, height }), context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) pixels.data.set([12, 20, 24, 205 * (1 - Math.min(1, Math.max(0, Number(data[i]))))], 4 * i);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** @param {{ track: HTMLElement, seconds: number }} input @param {Answer} answer @param {(e: Element, row?: number) => void} link */
function onSound({ track, seconds }, answer, link) {
  const { spans = [], notes = [], curve } = answer;
  track.replaceChildren();
  const at = (/** @type {number} */ t) => `${(100 * t) / seconds}%`;
  for (const { start, end, row } of spans) {
    const span = make("div", { className: "span" });
    Object.assign(span.style, { left: at(start), width: at(end - start) });
    link(span, row);
    track.append(span);
  }
  track.parentElement?.classList.toggle("tall", notes.length > 0);
  const pitches = notes.map((n) => n.low ?? 0), low = Math.min(...pitches) - 2, high = Math.max(...pitches) + 3;
  for (const { start, end, low: pitch = 0, row } of notes) {
    const note = make("div", { className: "note" });
    Object.assign(note.style, { left: at(start), width: at(end - start), bottom: `${(100 * (pitch - low)) / (high - low)}%`, height: `${90 / (high - low)}%` });
    link(note, row);
    track.append(note);
  }
  let named = -Infinity;
  for (const pitch of [...new Set(pitches)].sort((a, b) => a - b)) {
    if (pitch - named < (high - low) / 14) continue; // names need room
    named = pitch;
    const key = make("span", { className: "key", textContent: answer.rows[notes.find((n) => n.low === pitch)?.row ?? -1]?.text ?? "" });
    key.style.bottom = `${(100 * (pitch - low + 0.45)) / (high - low)}%`;
    track.append(key);
  }
  if (curve?.length) {
    const svg = draw("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" });
    svg.append(draw("polyline", { points: Array.from(curve, (y, i) => `${(i + 0.5) / curve.length},${0.98 - 0.96 * y}`).join(" ") }));
    track.append(svg);
  }
}
