// What training looks like: two curves while it goes on, and afterwards what the samples that were held out were taken for.
import { draw, make, many, percent } from "./dom.js";
/** @typedef {import("./store.js").Epoch} Epoch */
/** @typedef {import("./store.js").Training} Training */

const WIDTH = 320, HEIGHT = 130;

/** @param {HTMLElement} place @param {Epoch[]} history @param {number} of how many epochs there will be */
export function showCurves(place, history, of) {
  const most = Math.max(0.1, ...history.map((e) => Math.max(e.loss, e.heldLoss)));
  place.replaceChildren(
    curve("Right answers", percent, history.map((e) => e.accuracy), history.map((e) => e.heldAccuracy), of, 1),
    curve("Loss", (x) => x.toFixed(2), history.map((e) => e.loss), history.map((e) => e.heldLoss), of, most),
  );
}

/** @param {string} title @param {(x: number) => string} said @param {number[]} learned @param {number[]} held @param {number} of @param {number} most */
function curve(title, said, learned, held, of, most) {
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${said(learned.at(-1) ?? 0)} learned, ${said(held.at(-1) ?? 0)} held out` });
  const x = (/** @type {number} */ i) => 4 + (i / Math.max(1, of - 1)) * (WIDTH - 8), y = (/** @type {number} */ v) => HEIGHT - 6 - (Math.min(v, most) / most) * (HEIGHT - 12);
  for (const part of [0, 0.5, 1]) svg.append(draw("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(part * most), y2: y(part * most) }));
  for (const [values, name] of /** @type {[number[], string][]} */ ([[learned, "learned"], [held, "held"]])) {
    svg.append(draw("polyline", { class: name, points: values.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" ") }));
    if (values.length) svg.append(draw("circle", { class: name, cx: x(values.length - 1), cy: y(values[values.length - 1]), r: 3.5 }));
  }
  const legend = make("figcaption", {}, make("b", { textContent: title }),
    make("span", { className: "learned", textContent: `learned ${said(learned.at(-1) ?? 0)}` }), make("span", { className: "held", textContent: `held out ${said(held.at(-1) ?? 0)}` }));
  return make("figure", {}, legend, svg);
}

/** @param {HTMLElement} score @param {HTMLElement} place @param {Training} training */
export function showOutcome(score, place, { held, slots, names, seconds }) {
  const right = held.filter((h) => h.said === h.slot).length;
  score.replaceChildren(make("b", { textContent: `${right} of ${held.length}` }),
    ` held-out ${held.length === 1 ? "sample" : "samples"} right (${percent(right / held.length)}), after ${seconds.toFixed(1)} s of training`);
  const count = (/** @type {number} */ slot, /** @type {number} */ said) => held.filter((h) => h.slot === slot && h.said === said).length;
  const head = make("tr", {}, make("td", { className: "corner", textContent: "was ↓  taken for →" }), ...names.map((name) => make("th", { scope: "col", textContent: name })));
  const rows = slots.map((slot, i) => {
    const all = held.filter((h) => h.slot === slot).length;
    return make("tr", {}, make("th", { scope: "row", textContent: names[i] }), ...slots.map((said) => {
      const n = count(slot, said), cell = make("td", { textContent: n ? String(n) : "·", className: n ? (slot === said ? "right" : "wrong") : "" });
      if (n) cell.style.setProperty("--share", `${Math.round(20 + (70 * n) / all)}%`);
      return cell;
    }));
  });
  place.replaceChildren(make("table", {}, make("caption", { className: "unseen", textContent: `What ${many(held.length, "held-out sample")} were taken for` }), make("thead", {}, head), make("tbody", {}, ...rows)));
}

/** Bars of the classes, in their order; `likely` is null for classes that the head does not know yet, undefined while nothing is asked.
 * @param {HTMLElement} place @param {{ slot: number, name: string, likely?: number | null }[]} classes */
export function showBars(place, classes) {
  if (place.children.length !== classes.length) {
    place.replaceChildren(...classes.map(() => make("li", {}, make("span"), make("small"), make("i"))));
  }
  const best = Math.max(...classes.map((c) => c.likely ?? -1));
  classes.forEach(({ slot, name, likely }, i) => {
    const item = /** @type {HTMLElement} */ (place.children[i]), [label, value] = item.children;
    item.className = `c${slot}${likely === best ? " best" : ""}`;
    item.style.setProperty("--share", `${100 * (likely ?? 0)}%`);
    label.textContent = name;
    value.textContent = likely === null ? "not learned yet" : likely === undefined ? "" : percent(likely);
  });
}
