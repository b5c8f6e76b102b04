// A line at the foot of the page that offers to take back what was just done.
import { $ } from "./dom.js";

const SECONDS = 7;
let undo = () => {}, fading = 0;

/** @param {string} text @param {() => void} back */
export function offer(text, back) {
  $("toast-text").textContent = text;
  $("toast").hidden = false;
  undo = back;
  clearTimeout(fading);
  fading = window.setTimeout(withdraw, 1000 * SECONDS);
}

export function withdraw() {
  $("toast").hidden = true;
}

$("undo").onclick = () => {
  withdraw();
  undo();
};
