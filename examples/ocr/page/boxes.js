// From a map of how likely each pixel is text to the boxes of text lines: boxes.py, in JavaScript.
/** @typedef {{ x: number, y: number, width: number, height: number, angle: number, score: number }} Box */
/** @typedef {[y: number, start: number, stop: number]} Run */
/** @typedef {[x: number, y: number]} Point */

const PIXEL_THRESHOLD = 0.3, BOX_THRESHOLD = 0.6, UNCLIP = 1.6, SMALLEST = 3, MOST = 1000;

/** @param {Box} box @param {number} factor @returns {Box} */
export const scaled = (box, factor) => ({ ...box, x: box.x * factor, y: box.y * factor, width: box.width * factor, height: box.height * factor });

/** Clockwise from the top left of the text. @param {Box} box @returns {Point[]} */
export function corners({ x, y, width, height, angle }) {
  const c = Math.cos(angle), s = Math.sin(angle), w = width / 2, h = height / 2;
  return [[-w, -h], [w, -h], [w, h], [-w, h]].map(([u, v]) => [x + u * c - v * s, y + u * s + v * c]);
}

/** Boxes of text lines, in reading order. `probability` has `stride` columns, of which the first `width` count.
 * @param {Float32Array} probability @param {number} width @param {number} height @param {number} stride @returns {Box[]} */
export function findBoxes(probability, width, height, stride) {
  /** @type {Box[]} */
  const boxes = [];
  for (const runs of components(probability, width, height, stride)) {
    const rectangle = smallestRectangle(convexHull(runs.flatMap(([y, start, stop]) => /** @type {Point[]} */ ([[start, y], [stop - 1, y]]))));
    if (Math.min(rectangle.width, rectangle.height) < SMALLEST) continue;
    let sum = 0, pixels = 0;
    for (const [y, start, stop] of runs) {
      for (let x = start; x < stop; x++) sum += probability[y * stride + x];
      pixels += stop - start;
    }
    const score = sum / pixels;
    if (score < BOX_THRESHOLD) continue;
    const by = (UNCLIP * rectangle.width * rectangle.height) / (rectangle.width + rectangle.height);
    boxes.push({ ...rectangle, x: rectangle.x + 0.5, y: rectangle.y + 0.5, width: rectangle.width + by, height: rectangle.height + by, score });
  }
  boxes.sort((a, b) => b.score * b.width * b.height - a.score * a.width * a.height);
  return readingOrder(boxes.slice(0, MOST));
}

/** The 8-connected components above the threshold, each as its runs.
 * @param {Float32Array} probability @param {number} width @param {number} height @param {number} stride */
function components(probability, width, height, stride) {
  /** @type {Run[]} */
  const runs = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!(probability[y * stride + x] > PIXEL_THRESHOLD)) continue;
      const start = x;
      while (x < width && probability[y * stride + x] > PIXEL_THRESHOLD) x++;
      runs.push([y, start, x]);
    }
  }
  const parent = runs.map((_, i) => i);
  const root = (/** @type {number} */ i) => {
    while (parent[i] !== i) i = parent[i] = parent[parent[i]];
    return i;
  };
  let above = 0; // the first run that may still touch the current one from the row above; diagonal neighbours touch
  runs.forEach(([y, start, stop], i) => {
    while (runs[above][0] < y - 1 || (runs[above][0] === y - 1 && runs[above][2] < start)) above++;
    for (let j = above; runs[j][0] === y - 1 && runs[j][1] <= stop; j++) {
      const a = root(i), b = root(j);
      parent[Math.max(a, b)] = Math.min(a, b);
    }
  });
  /** @type {Map<number, Run[]>} */
  const found = new Map();
  runs.forEach((run, i) => {
    const r = root(i);
    if (!found.has(r)) found.set(r, []);
    found.get(r)?.push(run);
  });
  return [...found.values()];
}

/** Andrew's monotone chain. @param {Point[]} points @returns {Point[]} */
function convexHull(points) {
  points.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const ordered = points.filter((p, i) => !i || p[0] !== points[i - 1][0] || p[1] !== points[i - 1][1]);
  if (ordered.length < 3) return ordered;
  const turn = (/** @type {Point} */ a, /** @type {Point} */ b, /** @type {Point} */ c) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
  const chain = (/** @type {Point[]} */ along) => {
    /** @type {Point[]} */
    const kept = [];
    for (const p of along) {
      while (kept.length > 1 && turn(kept[kept.length - 2], kept[kept.length - 1], p) <= 0) kept.pop();
      kept.push(p);
    }
    return kept.slice(0, -1);
  };
  return [...chain(ordered), ...chain([...ordered].reverse())];
}

/** The rectangle of least area around a convex hull; one of its sides lies along an edge of the hull. @param {Point[]} hull @returns {Box} */
function smallestRectangle(hull) {
  let best = { x: hull[0][0], y: hull[0][1], width: 0, height: 0, angle: 0, score: 1 }, least = Infinity;
  hull.forEach(([ax, ay], i) => {
    const [bx, by] = hull[(i + 1) % hull.length], length = Math.hypot(bx - ax, by - ay);
    if (!length) return;
    const c = (bx - ax) / length, s = (by - ay) / length;
    const us = hull.map(([x, y]) => x * c + y * s), vs = hull.map(([x, y]) => y * c - x * s);
    const left = Math.min(...us), right = Math.max(...us), top = Math.min(...vs), bottom = Math.max(...vs);
    const width = right - left, height = bottom - top, u = (right + left) / 2, v = (bottom + top) / 2;
    if (width * height >= least - 1e-9) return;
    least = width * height;
    best = { x: u * c - v * s, y: u * s + v * c, width, height, angle: Math.atan2(s, c), score: 1 };
  });
  return upright(best);
}

/** The same rectangle with its angle within 45° of horizontal; a tall one is turned on its side. @param {Box} box @returns {Box} */
function upright(box) {
  const turns = Math.floor(box.angle / (Math.PI / 2) + 0.5), odd = turns % 2 !== 0;
  const angle = box.angle - (turns * Math.PI) / 2, width = odd ? box.height : box.width, height = odd ? box.width : box.height;
  return height >= 1.5 * width ? { ...box, width: height, height: width, angle: angle - Math.PI / 2 } : { ...box, width, height, angle };
}

/** Rows from top to bottom, each from left to right. @param {Box[]} boxes */
function readingOrder(boxes) {
  /** @type {Box[][]} */
  const rows = [];
  for (const box of [...boxes].sort((a, b) => a.y - b.y)) {
    const row = rows.at(-1) ?? [], middle = row.reduce((n, b) => n + b.y, 0) / row.length;
    if (row.length && Math.abs(box.y - middle) < 0.5 * Math.min(box.height, ...row.map((b) => b.height))) row.push(box);
    else rows.push([box]);
  }
  return rows.flatMap((row) => row.sort((a, b) => a.x - b.x));
}
