// The page: what is seen or heard becomes an embedding, embeddings become samples of a class or are asked about, the head is trained.
//
// One loop runs while the camera or the microphone is on: take a shot, embed it, keep it if a class is being collected, ask the head.
import { Camera } from "./camera.js";
import { ClassList, picture } from "./classes.js";
import { $, many, size } from "./dom.js";
import { download, headFile } from "./download.js";
import { BEGINNING, openLesson } from "./lesson.js";
import { showBars, showCurves, showOutcome } from "./results.js";
import { drop, keep, keepProject } from "./store.js";
import { offer, withdraw } from "./toast.js";
import { advise, WORDS } from "./words.js";
/** @typedef {import("./lesson.js").Shot} Shot */
/** @typedef {import("./lesson.js").Lesson} Lesson */
/** @typedef {import("./store.js").Sample} Sample */

const SMOOTH = 0.5; // share of the answer before in what is shown of a live one

/** @type {{ classes: number, kinds: Record<string, import("./lesson.js").Facts> }} */
const page = await fetch("page.json").then((r) => r.json());
const [{ load }, { fit }] = await Promise.all(["hither", "hither-fit"].map((name) => import(new URL(`pictures/${name}.js`, location.href).href)));

/** @type {Lesson | null} */
let lesson = null;
/** @type {AbortController | null} */
let training = null;
let collecting = /** @type {{ slot: number, take: number, next: number, kept: number, released: boolean } | null} */ (null);
let smooth = /** @type {number[] | null} */ (null);
let readyAt = Infinity, requests = 0;

/** For scripts. */
const state = { kind: "", ready: false, verdict: "", likely: /** @type {Record<string, number>} */ ({}), embedding: 0, error: "", looks: 0, asked: 0, tried: "" };
/** @type {any} */ (globalThis).teaching = state;

new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (entry.startTime > readyAt && /^http/.test(entry.name)) requests++;
  $("requests").textContent = readyAt < Infinity ? String(requests) : "–";
}).observe({ type: "resource" });

const word = () => WORDS[/** @type {keyof WORDS} */ (lesson?.kind ?? "pictures")];

/** @param {string} text nothing: all is well */
function notice(text) {
  state.error = text;
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

/** What was asked for failed; say so. @param {() => Promise<unknown>} act */
const attempt = (act) => act().catch((e) => notice(/** @type {Error} */ (e).message));

const list = new ClassList($("classes"), {
  press, release,
  files: (slot, files) => attempt(() => addFiles(slot, files)),
  rename(slot, name) {
    const { project } = /** @type {Lesson} */ (lesson);
    for (const c of project.classes) if (c.slot === slot) c.name = name;
    if (project.training) project.training.names = project.training.slots.map((s, i) => (s === slot ? name : /** @type {any} */ (project.training).names[i]));
    changed();
    showTraining();
  },
  remove: removeClass,
  discard: (sample) => removeSamples([sample], "Sample removed."),
});

// -- loading --------------------------------------------------------------------------------------------------------------------------

/** Load the networks for pictures or sounds, and what is kept of them. @param {string} kind */
async function open(kind) {
  close();
  state.kind = kind;
  state.ready = false;
  const facts = page.kinds[kind], words = WORDS[/** @type {keyof WORDS} */ (kind)];
  for (const link of document.querySelectorAll("nav a")) /** @type {HTMLElement} */ (link).dataset.kind === kind ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  $("live-word").textContent = words.see;
  $("start").textContent = `Turn on the ${words.source}`;
  $("stop").textContent = `Turn off the ${words.source}`;
  $("try").textContent = `Try a ${words.one} from a file`;
  $("asleep-text").textContent = words.asleep;
  $("licence").textContent = facts.licence;
  $("citation").textContent = `${facts.citation}; ${facts.packages.join(", ")}`;
  $("loading").hidden = false;
  $("phase").className = "";
  readyAt = Infinity;
  try {
    const opened = await openLesson(kind, facts, { load, fit }, (text, share) => state.kind === kind && ([$("phase").textContent, $("progress").value] = [text, share]));
    if (state.kind !== kind) return opened.close(); // another was asked for meanwhile
    lesson = opened;
    const { source, backbone, samples, downloaded } = lesson;
    const { info } = backbone;
    $("device").textContent = info.device === "wasm" ? `CPU, ${many(info.threads, "thread")}` : "GPU";
    $("why").textContent = info.device === "wasm" ? "WebAssembly" : info.adapter;
    $("downloaded").textContent = size(downloaded);
    $("stage").dataset.kind = kind;
    list.rate = facts.head.rate;
    for (const c of lesson.project.classes) addCard(c);
    for (const sample of samples) list.show(sample);
    $("source").replaceChildren(source.element);
    $("try-file").accept = source.accept;
    $("loading").hidden = true;
    await new Promise((resolve) => setTimeout(resolve)); // what was asked for until now is noted
    [readyAt, requests] = [performance.now(), 0];
    $("requests").textContent = "0";
    state.ready = true;
    wake();
    changed();
    showTraining();
    if (lesson.lost) notice(`What it had learned cannot be used any more (${lesson.lost}). The samples are still there: train again.`);
  } catch (e) {
    if (state.kind !== kind) return;
    state.error = $("phase").textContent = /** @type {Error} */ (e).message;
    $("phase").className = "error";
  }
}

/** Put away what is open. */
function close() {
  training?.abort();
  collecting = null;
  smooth = null;
  showTried(null);
  list.clear();
  $("source").replaceChildren();
  lesson?.close();
  lesson = null;
  notice("");
}

/** @param {import("./store.js").Class} own */
function addCard(own) {
  const { source, project } = /** @type {Lesson} */ (lesson);
  return list.add(own, source.accept, word().one, project.classes.indexOf(own) + 1);
}

// -- the loop -------------------------------------------------------------------------------------------------------------------------

/** Turn the camera or the microphone on. */
async function start() {
  const { source } = /** @type {Lesson} */ (lesson);
  notice("");
  try {
    await source.start();
  } catch (e) {
    return notice(`No ${word().source}: ${/** @type {Error} */ (e).message}`);
  }
  wake();
  showTried(null);
  try {
    while (source.live && lesson?.source === source) await look();
  } catch (e) {
    if (lesson?.source === source) notice(/** @type {Error} */ (e).message);
  }
  wake();
}

/** One round: a shot, its embedding, a sample of it if one is wanted, an answer. */
async function look() {
  const { source } = /** @type {Lesson} */ (lesson), began = performance.now();
  const shot = await source.shot(), embedding = await embed(shot);
  const wanted = collecting;
  if (wanted && performance.now() >= wanted.next) {
    await addSample(wanted.slot, wanted.take, shot, embedding);
    wanted.next += source.every * Math.max(1, Math.ceil((performance.now() - wanted.next) / source.every));
    wanted.kept++;
    if (wanted.released && collecting === wanted) stopCollecting();
  }
  await ask(embedding, SMOOTH);
  state.looks++;
  const took = performance.now() - began;
  $("speed").textContent = `${Math.round(took)} ms`;
  // as often as the screen shows something new; sounds change more slowly
  await (source instanceof Camera && !document.hidden ? new Promise(requestAnimationFrame) : new Promise((resolve) => setTimeout(resolve, Math.max(0, 100 - took))));
}

/** @param {Shot} shot @returns {Promise<Float32Array>} */
async function embed({ input }) {
  const { backbone } = /** @type {Lesson} */ (lesson), start = performance.now();
  const { embedding } = await backbone.run(input);
  state.embedding = performance.now() - start;
  return embedding.data;
}

/** Ask the head, and show what it says. @param {Float32Array} embedding @param {number} before share of the answer before */
async function ask(embedding, before) {
  const { project, head } = /** @type {Lesson} */ (lesson), found = project.training;
  if (!found || training) return;
  const known = project.classes.filter((c) => found.slots.includes(c.slot)), slots = known.map((c) => c.slot);
  if (!slots.length) return;
  const likely = await head.likely(embedding, slots);
  smooth = before && smooth?.length === likely.length ? likely.map((x, i) => before * /** @type {number[]} */ (smooth)[i] + (1 - before) * x) : likely;
  const shown = smooth, best = shown.indexOf(Math.max(...shown));
  showBars($("bars"), project.classes.map((c) => ({ ...c, likely: shown[slots.indexOf(c.slot)] ?? null })));
  $("verdict").textContent = known[best].name;
  $("verdict").className = `c${slots[best]}`;
  state.verdict = known[best].name;
  state.likely = Object.fromEntries(known.map((c, i) => [c.name, likely[i]]));
  state.asked++;
  speak(known[best].name);
}

let speaking = 0;

/** Tell who cannot see it, once it has stayed the same for a while. @param {string} name */
function speak(name) {
  if ($("spoken").dataset.next === name) return;
  $("spoken").dataset.next = name;
  clearTimeout(speaking);
  speaking = window.setTimeout(() => ($("spoken").textContent = name), 1200);
}

/** Show whether the source is on. */
function wake() {
  const live = Boolean(lesson?.source.live);
  $("asleep").hidden = live;
  $("stop").hidden = !live;
  $("stage").classList.toggle("on", live);
  if (!live) $("speed").textContent = "";
  list.collectable(live, `Turn on the ${word().source} first, or choose files.`);
}

// -- collecting -----------------------------------------------------------------------------------------------------------------------

/** @param {number} slot */
function press(slot) {
  if (!lesson?.source.live || collecting) return;
  const pause = lesson.source instanceof Camera ? 0 : lesson.source.every; // a sound is what is heard from now on
  collecting = { slot, take: Date.now(), next: performance.now() + pause, kept: 0, released: false };
  list.holding(slot);
}

/** The button is up: a sample that has begun is finished. @param {number} slot */
function release(slot) {
  if (collecting?.slot !== slot) return;
  if (collecting.kept) stopCollecting();
  else collecting.released = true;
}

function stopCollecting() {
  collecting = null;
  list.holding(null);
}

/** @param {number} slot @param {number} take @param {Shot} shot @param {Float32Array} embedding */
async function addSample(slot, take, shot, embedding) {
  const { kind, samples } = /** @type {Lesson} */ (lesson);
  const fresh = { kind, slot, take, embedding, preview: await shot.preview() };
  const sample = { ...fresh, id: await keep(fresh) };
  if (lesson?.samples !== samples) return;
  samples.push(sample);
  list.show(sample);
  changed();
}

/** @param {number} slot @param {File[]} files */
async function addFiles(slot, files) {
  const { source } = /** @type {Lesson} */ (lesson), wrong = [];
  notice("");
  for (const file of files) {
    const take = Date.now() + Math.random(); // each file is one of its own
    let shots;
    try {
      shots = await source.open(file);
    } catch (e) {
      wrong.push(`${file.name} ${/** @type {Error} */ (e).message}`);
      continue;
    }
    for (const shot of shots) await addSample(slot, take, shot, await embed(shot));
  }
  if (wrong.length) notice(`${wrong.join("; ")}.`);
}

/** @param {File} file */
async function tryFile(file) {
  const { source, project } = /** @type {Lesson} */ (lesson);
  notice("");
  if (!project.training) return notice("Train it first; then it can say what the file shows.");
  source.stop(); // else the next moment would be asked about
  wake();
  const shots = await source.open(file).catch((/** @type {Error} */ e) => notice(`${file.name} ${e.message}.`));
  if (!shots) return;
  showTried(await shots[0].preview(), file.name);
  await ask(await embed(shots[0]), 0);
  state.tried = file.name;
}

/** @param {Blob | Int16Array | null} preview @param {string} [name] of the file */
function showTried(preview, name = "") {
  const image = $("tried").querySelector("img");
  if (image) URL.revokeObjectURL(image.src);
  $("tried").replaceChildren(...(preview ? [picture(preview, /** @type {Lesson} */ (lesson).facts.head.rate), name] : []));
}

// -- changing -------------------------------------------------------------------------------------------------------------------------

/** @param {Sample[]} gone @param {string} text */
function removeSamples(gone, text) {
  const { samples } = /** @type {Lesson} */ (lesson);
  for (const sample of gone) {
    samples.splice(samples.indexOf(sample), 1);
    list.hide(sample.id);
  }
  attempt(() => drop(gone.map((s) => s.id)));
  changed();
  offer(text, () => bringBack(gone));
}

/** @param {Sample[]} gone */
function bringBack(gone) {
  if (lesson?.kind !== gone[0]?.kind) return;
  lesson.samples.push(...gone);
  lesson.samples.sort((a, b) => a.id - b.id);
  for (const sample of gone) {
    attempt(() => keep(sample));
    list.show(sample);
  }
  changed();
}

/** @param {number} slot */
function removeClass(slot) {
  const { project, samples } = /** @type {Lesson} */ (lesson), at = project.classes.findIndex((c) => c.slot === slot), [own] = project.classes.splice(at, 1);
  const gone = samples.filter((s) => s.slot === slot);
  removeSamples(gone, `${own.name} removed.`);
  list.remove(slot);
  changed();
  offer(`${own.name} removed.`, () => {
    if (lesson?.project !== project || project.classes.some((c) => c.slot === slot)) return;
    project.classes.push(own);
    addCard(own);
    bringBack(gone);
    wake();
    changed();
  });
}

function addClass() {
  const { project } = /** @type {Lesson} */ (lesson), taken = project.classes.map((c) => c.slot), learned = project.training?.slots ?? [];
  const free = Array.from({ length: page.classes }, (_, i) => i).filter((i) => !taken.includes(i));
  if (!free.length) return;
  const slot = free.find((i) => !learned.includes(i)) ?? free[0];
  if (learned.includes(slot)) project.training = null; // what the head says there is of another class
  let number = project.classes.length + 1;
  while (project.classes.some((c) => c.name === `Class ${number}`)) number++;
  const own = { slot, name: `Class ${number}` };
  project.classes.push(own);
  const field = addCard(own);
  wake();
  changed();
  showTraining();
  field.focus();
  field.select();
}

/** Something of the classes or samples is different: keep it, and say what there is to do. */
function changed() {
  const { project, samples } = /** @type {Lesson} */ (lesson);
  attempt(() => keepProject(project));
  const { text, counts, enough } = advise(project, samples), found = project.training;
  project.classes.forEach((c, i) => list.count(c.slot, counts[i]));
  $("add").disabled = project.classes.length >= page.classes;
  $("add").textContent = $("add").disabled ? `${page.classes} classes are the most` : "Add a class";
  $("advice").textContent = text;
  $("train").disabled = Boolean(training) || !enough;
  $("train").textContent = found ? "Train again" : "Train";
  $("collect-hint").textContent = enough ? "" : word().hint;
  $("kept").textContent = `${samples.length ? `${many(samples.length, word().one)} and the classes are` : "Samples and classes are"} kept in this browser, nowhere else, until you forget them.`;
  $("forget").disabled = !samples.length && !found;
  if (!found) {
    showBars($("bars"), project.classes.map((c) => ({ ...c, likely: null })));
    $("verdict").textContent = "Nothing learned yet";
    $("verdict").className = "quiet";
  } else if (!lesson?.source.live && !training) {
    showBars($("bars"), project.classes.map((c) => ({ ...c, likely: found.slots.includes(c.slot) ? undefined : null })));
    $("verdict").textContent = `Turn on the ${word().source}, or try a file`;
    $("verdict").className = "quiet";
  }
}

// -- training -------------------------------------------------------------------------------------------------------------------------

async function train() {
  const { project, samples, head } = /** @type {Lesson} */ (lesson), mine = (training = new AbortController()), began = performance.now();
  const slots = project.classes.map((c) => c.slot), names = project.classes.map((c) => c.name), learned = [...samples];
  $("train").disabled = true;
  $("halt").hidden = false;
  $("outcome").hidden = true;
  $("curves").hidden = false;
  try {
    const made = await head.learn(learned, slots, (history, of) => {
      showCurves($("curves"), history, of);
      $("training-note").textContent = `round ${history.length} of ${of}`;
    }, mine.signal);
    if (lesson?.project !== project) return;
    project.training = { ...made, slots, names, samples: learned.length, seconds: (performance.now() - began) / 1000 };
  } catch (e) {
    if (lesson?.project === project) notice(`Training ended: ${/** @type {Error} */ (e).message}`);
  } finally {
    training = null;
    smooth = null;
    $("halt").hidden = true;
    if (lesson?.project === project) {
      changed();
      showTraining();
    }
  }
}

/** What the last training found. */
function showTraining() {
  const found = /** @type {Lesson} */ (lesson).project.training;
  for (const id of ["curves", "outcome"]) $(id).hidden = !found;
  $("download").disabled = !found;
  $("training-note").textContent = "";
  if (!found) return;
  showCurves($("curves"), found.history, found.history.length);
  showOutcome($("score"), $("confusions"), found);
  $("honesty").textContent = `A fifth of the samples (${found.held.length} of ${found.samples}) took no part in the training and was only used to check. ` +
    `${found.held.length < 20 ? "So few say little: collect more to know better. " : ""}${word().harder} may be harder than these were.`;
}

async function takeAlong() {
  const { kind, project, head, facts } = /** @type {Lesson} */ (lesson), found = project.training;
  if (!found) return;
  const name = `${kind}.safetensors`;
  download(headFile(await head.weights(), found, kind, facts.head.config), name);
  $("snippet").textContent = facts.head.snippet.replaceAll("FILE", name);
  $("saved").showModal();
}

async function forget() {
  const { kind, samples, project } = /** @type {Lesson} */ (lesson);
  if (!$("forget").classList.contains("sure")) {
    $("forget").classList.add("sure");
    $("forget").textContent = `Really forget ${many(samples.length, word().one)}?`;
    setTimeout(calm, 4000);
    return;
  }
  calm();
  await drop(samples.map((s) => s.id));
  Object.assign(project, { training: null, classes: BEGINNING() });
  await keepProject(project);
  withdraw();
  await open(kind);
}

function calm() {
  $("forget").classList.remove("sure");
  $("forget").textContent = "Forget everything";
}

// -- what people do -------------------------------------------------------------------------------------------------------------------

$("start").onclick = () => lesson && start();
$("stop").onclick = () => {
  lesson?.source.stop();
  wake();
  changed();
};
$("add").onclick = () => lesson && addClass();
$("train").onclick = () => lesson && attempt(train);
$("halt").onclick = () => training?.abort();
$("download").onclick = () => attempt(takeAlong);
$("forget").onclick = () => lesson && attempt(forget);
$("copy").onclick = () => navigator.clipboard.writeText($("snippet").textContent).then(() => ($("copy").textContent = "Copied"));
$("try").onclick = () => $("try-file").click();
$("try-file").onchange = () => {
  const [file] = $("try-file").files;
  if (file && lesson) attempt(() => tryFile(file));
  $("try-file").value = "";
};
$("stage").ondrop = (/** @type {DragEvent} */ e) => e.dataTransfer?.files[0] && lesson && attempt(() => tryFile(/** @type {any} */ (e.dataTransfer).files[0]));
for (const type of ["dragover", "drop"]) addEventListener(type, (e) => e.preventDefault()); // a file beside a class must not replace the page
const keyed = (/** @type {KeyboardEvent} */ e) => lesson?.project.classes[Number(e.key) - 1];
const typing = (/** @type {KeyboardEvent} */ e) => e.target instanceof HTMLInputElement || e.ctrlKey || e.metaKey || e.altKey || $("saved").open;
addEventListener("keydown", (e) => {
  const own = keyed(e);
  if (own && !e.repeat && !typing(e)) press(own.slot);
});
addEventListener("keyup", (e) => {
  const own = keyed(e);
  if (own) release(own.slot);
});
const wanted = () => (page.kinds[location.hash.slice(1)] ? location.hash.slice(1) : "pictures");
addEventListener("hashchange", () => open(wanted()));
await open(wanted());
