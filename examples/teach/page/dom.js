// Small helpers for making elements, and what numbers look like.

/** An element by its id. @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {Record<string, any>} [properties] @param {(Node | string)[]} children */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) name.includes("-") ? element.setAttribute(name, value) : Reflect.set(element, name, value);
  element.append(...children);
  return element;
}

/** An element of a drawing. @param {string} tag @param {Record<string, any>} attributes */
export function draw(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export const percent = (/** @type {number} */ share) => `${Math.round(100 * share)} %`;
export const size = (/** @type {number} */ n) => (n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.round(n / 1e3)} KB`);
export const many = (/** @type {number} */ n, /** @type {string} */ one) => `${n} ${one}${n === 1 ? "" : one.endsWith("s") ? "es" : "s"}`;
