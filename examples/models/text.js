// The lines of text in a picture, read where there is a recogniser: the demo's reader (examples/ocr/page) on this page.
import { corners } from "./boxes.js";
import { pixelsOf } from "./picture.js";
import { Reader } from "./reader.js";
/** @typedef {import("./boxes.js").Box} Box */

/** @param {Box} box @param {{ width: number, height: number }} picture */
const relative = (box, { width, height }) => corners(box).map(([x, y]) => ({ x: x / width, y: y / height }));
const percent = (/** @type {number} */ p) => `${Math.round(100 * p)} %`;

/** @param {{ load: (folder: string) => Promise<any>, data: { characters: string[] } | null }} given */
export async function open({ load, data }) {
  const [detector, recogniser] = await Promise.all([load("detector"), data ? load("recogniser") : null]);
  const reader = new Reader(detector, recogniser, data?.characters ?? []);
  return async (/** @type {{ bitmap: ImageBitmap }} */ { bitmap }) => {
    const picture = await pixelsOf(bitmap);
    if (recogniser) {
      const { lines } = await reader.read(picture);
      return {
        rows: lines.map((l) => ({ text: l.text, value: percent(l.score) })),
        shapes: lines.map((l, row) => ({ corners: relative(l.box, picture), row })),
        says: `${lines.length} lines`,
        empty: "No text found.",
      };
    }
    const boxes = await reader.find(picture);
    return {
      rows: boxes.map((b, i) => ({ text: `line ${i + 1}`, value: `${Math.round(b.width)} × ${Math.round(b.height)}, ${percent(b.score)}` })),
      shapes: boxes.map((b, row) => ({ corners: relative(b, picture), row })),
      says: `${boxes.length} lines`,
      empty: "No text found.",
    };
  };
}
