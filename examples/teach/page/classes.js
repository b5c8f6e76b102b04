// The list of classes: names, samples to look at or listen to, buttons to collect by holding them or from files.
import { make, many } from "./dom.js";
import { LEAST } from "./learner.js";
import { drawWave, play } from "./microphone.js";
/** @typedef {import("./store.js").Class} Class */
/** @typedef {import("./store.js").Sample} Sample */
/** @typedef {{ press(slot: number): void, release(slot: number): void, files(slot: number, files: File[]): void, rename(slot: number, name: string): void,
 *   remove(slot: number): void, discard(sample: Sample): void }} Actions */

export class ClassList {
  #place; #actions;
  /** @type {Map<number, { card: HTMLElement, strip: HTMLElement, count: HTMLElement, hold: HTMLButtonElement, choose: HTMLInputElement, name: HTMLInputElement }>} */
  #cards = new Map();
  /** @type {Map<number, HTMLElement>} thumbnails by sample */
  #thumbs = new Map();
  #urls = /** @type {string[]} */ ([]);
  rate = 16000; // of sounds

  /** @param {HTMLElement} place @param {Actions} actions */
  constructor(place, actions) {
    this.#place = place;
    this.#actions = actions;
  }

  clear() {
    this.#place.replaceChildren();
    this.#cards.clear();
    this.#thumbs.clear();
    for (const url of this.#urls.splice(0)) URL.revokeObjectURL(url);
  }

  /** @param {Class} own @param {string} accept which files @param {string} word for a file @param {number} key that collects for it */
  add({ slot, name }, accept, word, key) {
    const { press, release, files, rename, remove } = this.#actions;
    const field = make("input", { value: name, className: "name", "aria-label": "Name of the class", maxLength: 40, spellcheck: false });
    field.onchange = () => {
      rename(slot, (field.value = field.value.trim() || name));
      label(field.value);
    };
    field.onkeydown = (e) => e.key === "Enter" && field.blur();
    const hold = make("button", { type: "button", className: "hold" }, make("span", { textContent: "Hold to collect" }), make("kbd", { textContent: key < 10 ? String(key) : "", "aria-hidden": "true" }));
    hold.onpointerdown = (e) => {
      hold.setPointerCapture(e.pointerId);
      press(slot);
    };
    hold.onlostpointercapture = () => release(slot);
    hold.oncontextmenu = (e) => e.preventDefault(); // a long touch is no question
    hold.onkeydown = (e) => {
      if (e.key !== " " && e.key !== "Enter") return;
      e.preventDefault();
      if (!e.repeat) press(slot);
    };
    hold.onkeyup = (e) => {
      e.preventDefault(); // else it clicks, too
      release(slot);
    };
    hold.onblur = () => release(slot);
    hold.onclick = (e) => e.detail === 0 && (press(slot), release(slot)); // assistive technology clicks without pressing
    const choose = make("input", { type: "file", accept, multiple: true, hidden: true });
    choose.onchange = () => {
      files(slot, [...(choose.files ?? [])]);
      choose.value = "";
    };
    const count = make("span", { className: "count" }), strip = make("ul", { className: "strip" });
    const away = make("button", { type: "button", className: "icon", textContent: "×", title: "Remove this class", onclick: () => remove(slot) });
    const label = (/** @type {string} */ name) => {
      hold.setAttribute("aria-label", `Hold to collect: ${name}`);
      away.setAttribute("aria-label", `Remove the class ${name}`);
      strip.setAttribute("aria-label", `Samples of ${name}`);
    };
    label(name);
    const card = make("li", { className: `class c${slot}` },
      make("div", { className: "title" }, make("i"), field, count, away),
      make("div", { className: "actions" }, hold, make("button", { type: "button", textContent: `Choose ${word}s`, onclick: () => choose.click() }), choose),
      strip);
    card.ondragover = (e) => {
      e.preventDefault();
      card.classList.add("over");
    };
    card.ondragleave = (e) => !card.contains(/** @type {Node | null} */ (e.relatedTarget)) && card.classList.remove("over");
    card.ondrop = (e) => {
      e.preventDefault();
      card.classList.remove("over");
      files(slot, [...(e.dataTransfer?.files ?? [])]);
    };
    this.#cards.set(slot, { card, strip, count, hold, choose, name: field });
    this.#place.append(card);
    this.count(slot, 0);
    return field;
  }

  /** @param {number} slot */
  remove(slot) {
    this.#cards.get(slot)?.card.remove();
    this.#cards.delete(slot);
  }

  /** @param {number} slot @param {number} n */
  count(slot, n) {
    const count = this.#cards.get(slot)?.count;
    if (!count) return;
    count.textContent = n >= LEAST ? many(n, "sample") : n ? `${n} of at least ${LEAST}` : "no samples yet";
    count.classList.toggle("few", n < LEAST);
  }

  /** @param {boolean} on whether there is something to collect from @param {string} why not */
  collectable(on, why) {
    for (const { hold } of this.#cards.values()) {
      hold.disabled = !on;
      hold.title = on ? "" : why;
    }
  }

  /** @param {number | null} slot that samples are being collected for */
  holding(slot) {
    for (const [own, { card }] of this.#cards) card.classList.toggle("collecting", own === slot);
  }

  /** @param {Sample} sample */
  show(sample) {
    const { strip, name } = this.#cards.get(sample.slot) ?? {};
    if (!strip || !name) return;
    const look = picture(sample.preview, this.rate);
    if (look instanceof HTMLImageElement) this.#urls.push(look.src);
    const thumb = make("li", {}, look, make("button", { type: "button", className: "discard", textContent: "×", title: "Remove this sample", "aria-label": "Remove this sample", onclick: () => this.#actions.discard(sample) }));
    this.#thumbs.set(sample.id, thumb);
    strip.prepend(thumb); // the newest first, where it is seen
  }

  /** @param {number} id */
  hide(id) {
    this.#thumbs.get(id)?.remove();
    this.#thumbs.delete(id);
  }
}

/** What a sample looked like; a sound is played by clicking on its wave. @param {Blob | Int16Array} preview @param {number} rate of a sound */
export function picture(preview, rate) {
  if (preview instanceof Blob) return make("img", { src: URL.createObjectURL(preview), alt: "", width: 48, height: 48 });
  const wave = make("canvas", { width: 96, height: 96 });
  requestAnimationFrame(() => drawWave(wave, preview));
  return make("button", { type: "button", className: "play", "aria-label": "Play this sound", onclick: () => play(preview, rate) }, wave);
}
