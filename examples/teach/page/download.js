// The head as a file: the classes that there are alone, with the configuration by which hither makes a network of it.
import { write } from "./safetensors.js";
/** @typedef {import("./store.js").Training} Training */
/** @typedef {import("./safetensors.js").Named} Named */

/** @param {Record<string, Named>} weights of all slots @param {Training} training @param {string} kind @param {any} config of the network, for any number of classes */
export function headFile(weights, { slots, names }, kind, config) {
  const made = structuredClone(config), scores = made.config.layers.find((/** @type {any} */ l) => l.config.name === "scores");
  scores.config.units = slots.length;
  const arrays = Object.fromEntries(Object.entries(weights).map(([name, array]) => [name, name.startsWith("scores.") ? columns(array, slots) : array]));
  return write(arrays, { "hither.network": JSON.stringify(made), kind, classes: JSON.stringify(names) });
}

/** Some of the entries along the last axis. @param {Named} array @param {number[]} wanted @returns {Named} */
function columns({ shape, data }, wanted) {
  const width = shape[shape.length - 1], rows = data.length / width;
  return { shape: [...shape.slice(0, -1), wanted.length], data: Float32Array.from({ length: rows * wanted.length }, (_, i) => data[Math.floor(i / wanted.length) * width + wanted[i % wanted.length]]) };
}

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
