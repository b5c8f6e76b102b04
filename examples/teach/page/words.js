// What the page says: of pictures and of sounds, and what there is to do next.
import { many } from "./dom.js";
import { LEAST } from "./learner.js";
/** @typedef {import("./store.js").Project} Project */

export const WORDS = {
  pictures: { one: "picture", source: "camera", see: "See", asleep: "Show it things through the camera, or drop pictures on a class.", hint: `at least ${LEAST} per class; different views, light and backgrounds help`, harder: "Another day, another light or another background" },
  sounds: { one: "sound", source: "microphone", see: "Listen", asleep: "Let it hear things through the microphone, or drop sounds on a class.", hint: `at least ${LEAST} per class, a second each; a class of silence or noise helps`, harder: "Another day, another room or another voice" },
};

/** What there is to do, and whether there is enough to train. @param {Project} project @param {import("./store.js").Sample[]} samples */
export function advise({ classes, training }, samples) {
  const counts = classes.map((c) => samples.filter((s) => s.slot === c.slot).length), few = classes.filter((_, i) => counts[i] < LEAST);
  const same = training && training.samples === samples.length && String(training.slots) === String(classes.map((c) => c.slot));
  const text = classes.length < 2 ? "It takes at least two classes to tell apart."
    : few.length ? `Collect at least ${LEAST} samples per class: ${few.map((c) => `${c.name} needs ${LEAST - counts[classes.indexOf(c)]} more`).join(", ")}.`
    : same ? "It has learned all of this."
    : training ? "There is something new to learn: train again."
    : `${many(samples.length, "sample")} of ${many(classes.length, "class")}: ready to train.`;
  return { text, counts, enough: classes.length > 1 && !few.length };
}
