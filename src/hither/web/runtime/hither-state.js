// What survives calls, outside the program: read and changed by name; kept under a name, in IndexedDB or a file in Node; exported
// to a safetensors file, which Python and other frameworks read, and imported. What is kept is such a file too.
import { hash } from "./hither-store.js";
import { arrayOf, convert, count, decode, encode, fail, given, node, sizeOf } from "./hither-tensors.js";
/** @typedef {import("./types.d.ts").Stateful} Stateful */
/** @typedef {import("./types.d.ts").Tensor} Tensor */

const DIGEST = "hither.sha256"; // of all tensors' bytes, in the file's metadata
const BESIDE = "hither.frozen"; // of the names and bytes of what is frozen, where the file leaves any of that out
/** @type {Record<string, string>} safetensors' names of dtypes */
const NAMES = { bool: "BOOL" };
for (const n of [8, 16, 32, 64]) Object.assign(NAMES, { [`int${n}`]: `I${n}`, [`uint${n}`]: `U${n}`, ...(n > 8 && { [`float${n}`]: `F${n}` }) });

const ANEW = "set the weights of the Trainer that it was made from, and bundle that anew";

/** @param {{ name: string, dtype: string, shape: readonly number[] }} tensor */
const text = ({ name, dtype, shape }) => `${name}: ${dtype}[${shape}]`;

/** What is named like the state, and a constant of the kernels. @param {import("./types.d.ts").Manifest} manifest */
const frozenOf = ({ frozen = [], weights: { tensors } }) => frozen.map(({ tensor, sha256 }) => ({ ...tensors[tensor], sha256 }));

/** The state by name. @param {Stateful} program @returns {Promise<Record<string, Tensor>>} */
export async function state({ places, read }) {
  const all = await read();
  return Object.fromEntries(places.map((p) => [p.name, decode(all.subarray(p.at, p.at + sizeOf(p.shape, p.stored)), p.stored, p, [])]));
}

/** Change some of it. @param {Stateful} program @param {Record<string, any>} values */
export async function loadState({ places, manifest, write }, values) {
  await write(Object.entries(values).map(([name, value]) => {
    const place = places.find((p) => p.name === name) ?? fail("state", frozenOf(manifest).some((f) => f.name === name) ? `"${name}" is frozen, a constant of this bundle: ${ANEW}` : `there is no state "${name}"; there are ${places.map(text).join(", ")}`), tensor = given(value);
    if (tensor?.data.length !== count(place.shape) || String(tensor.shape ?? place.shape) !== String(place.shape)) {
      fail("state", `the state is ${text(place)}, got ${tensor ? `[${tensor.shape ?? tensor.data.length}]` : value?.constructor?.name}`);
    }
    return ["state", place.at, encode(/** @type {any} */ (tensor), place, place.stored, [])];
  }));
}

/** Keep all of it. @param {Stateful} program @param {string} name */
export async function save(program, name) {
  const bytes = await pack(program, "", false); // what cannot change need not be kept
  if (!node) return void await database("readwrite", (store) => store.put(bytes, `${program.store.root} ${name}`));
  const { rename, writeFile } = await import("node:fs/promises");
  await writeFile(name + ".part", bytes);
  await rename(name + ".part", name); // there whole or not at all
}

/** Take back what was kept. @param {Stateful} program @param {string} name */
export async function restore(program, name) {
  try {
    const found = await (node ? import("node:fs/promises").then((fs) => fs.readFile(name)) : database("readonly", (store) => store.get(`${program.store.root} ${name}`)));
    await unpack(program, found ?? fail("state", "there is none"), "");
  } catch (e) {
    fail("state", `the saved state "${name}" cannot be restored: ${/** @type {Error} */ (e).message}`);
  }
}

/** The state whose names begin with `part` and a point, without them, and the prefix. @param {Stateful} program @param {string} part "" for all */
function parted({ places, manifest }, part) {
  const prefix = part && part + ".", [found, fixed] = [places, frozenOf(manifest)].map((all) => /** @type {any[]} */ (all).filter((p) => p.name.startsWith(prefix)));
  if (!found.length && !fixed.length) fail("state", `the program has no state ${prefix}*; ${places.length ? `it has ${places.map(text).join(", ")}` : "nothing of it survives calls"}`);
  return { prefix, found, fixed };
}

/** A safetensors file of a part. @param {Stateful} program @param {string} part @returns {Promise<Uint8Array>} */
export async function pack(program, part = "weights", whole = true) {
  const { prefix, found: changing, fixed } = parted(program, part), found = whole ? [...changing, ...fixed] : changing;
  const tensors = { ...await state(program), ...whole && fixed.length ? await constants(program) : {} };
  found.sort((a, b) => sizeOf([], b.dtype) - sizeOf([], a.dtype)); // so that all are aligned
  /** @type {Record<string, object>} */
  const header = {};
  let end = 0;
  for (const { name, dtype, shape } of found) header[name.slice(prefix.length)] = { dtype: NAMES[dtype], shape, data_offsets: [end, (end += sizeOf(shape, dtype))] };
  const data = new Uint8Array(end);
  end = 0;
  for (const { name } of found) {
    const { buffer, byteOffset, byteLength } = tensors[name].data;
    data.set(new Uint8Array(buffer, byteOffset, byteLength), end);
    end += byteLength;
  }
  const json = JSON.stringify({ __metadata__: { format: "hither", [DIGEST]: await hash(data), ...fixed.length && !whole && { [BESIDE]: await beside(program) } }, ...header });
  const head = new TextEncoder().encode(json), length = (head.length + 7) & ~7, file = new Uint8Array(8 + length + end).fill(32, 8, 8 + length);
  new DataView(file.buffer).setUint32(0, length, true);
  file.set(head, 8);
  file.set(data, 8 + length);
  return file;
}

/** What tells a program's frozen weights from others. @param {Stateful} program */
const beside = ({ manifest }) => hash(new TextEncoder().encode(JSON.stringify(frozenOf(manifest).map((f) => [f.name, f.sha256]))));

/** What is frozen, by name. @param {Stateful} program @returns {Promise<Record<string, Tensor>>} */
async function constants({ manifest, store }) {
  const frozen = frozenOf(manifest), all = frozen.map((f) => new Uint8Array(sizeOf(f.shape, f.dtype)));
  const segments = manifest.weights.segments.filter((s) => frozen.some((f, i) => f.offset < s.start + s.bytes && s.start < f.offset + all[i].length));
  await store.segments(segments, async ({ start }, bytes) => {
    frozen.forEach(({ offset }, i) => {
      const from = Math.max(offset, start), to = Math.min(offset + all[i].length, start + bytes.length);
      if (from < to) all[i].set(bytes.subarray(from - start, to - start), from - offset);
    });
    return bytes;
  });
  return Object.fromEntries(frozen.map((f, i) => [f.name, decode(all[i], f.dtype, f, [])]));
}

/** Take a part from a safetensors file: each of its tensors, and no other. What is frozen may be missing, and must be the same. @param {Stateful} program @param {BlobPart} file @param {string} part */
export async function unpack(program, file, part = "weights") {
  const { prefix, found, fixed } = parted(program, part), bytes = new Uint8Array(await new Blob([file]).arrayBuffer());
  const bad = (/** @type {string} */ why) => fail("state", `no safetensors file, or a damaged one: ${why}`);
  if (bytes.length < 8) bad(`it has ${bytes.length} bytes`);
  const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  if (start > bytes.length) bad("its header is cut short");
  /** @type {Record<string, { dtype: string, shape: number[], data_offsets: [number, number] }>} */
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(8, start)));
  } catch (e) {
    return bad(/** @type {Error} */ (e).message);
  }
  if (!header || typeof header !== "object") bad("its header is no object");
  const { __metadata__: metadata, ...tensors } = /** @type {any} */ (header), digest = metadata?.[DIGEST];
  if (digest && await hash(bytes.subarray(start)) !== digest) bad("its tensors do not have their SHA-256");
  const other = Object.keys(tensors).find((n) => ![...found, ...fixed].some((p) => p.name === prefix + n));
  if (other) fail("state", `the file has "${other}", which the program does not; it has ${found.map(text).join(", ")}`);
  const read = (/** @type {any} */ place) => {
    const name = place.name.slice(prefix.length), { dtype, shape, data_offsets } = tensors[name] ?? fail("state", `the file has no ${text({ ...place, name })}`);
    if (!Array.isArray(data_offsets) || data_offsets.length !== 2 || !data_offsets.every(Number.isSafeInteger)) bad(`"${name}" has no place`);
    const [from, to] = data_offsets;
    const own = Object.keys(NAMES).find((d) => NAMES[d] === dtype) ?? fail("state", `"${name}" is ${dtype}, which this program cannot take`);
    if (String(shape) !== String(place.shape)) fail("state", `the file has ${text({ name, dtype: own, shape })}, the program ${text({ ...place, name })}`);
    if (!(from >= 0 && to - from === sizeOf(shape, own) && start + to <= bytes.length)) bad(`"${name}" is not in it`);
    return convert(bytes.slice(start + from, start + to), own, place.dtype, name);
  };
  for (const place of fixed) {
    const name = place.name.slice(prefix.length);
    if (tensors[name] && await hash(read(place)) !== place.sha256) fail("state", `the file has other values of "${name}", which is frozen, a constant of this bundle: ${ANEW}`);
  }
  if (metadata?.[BESIDE] && metadata[BESIDE] !== await beside(program)) fail("state", "it was kept beside other frozen weights than this bundle's");
  await program.write(found.map((place) => ["state", place.at, convert(read(place), place.dtype, place.stored, place.name)]));
}

/** @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest} act @returns {Promise<any>} */
const database = (mode, act) => new Promise((resolve, reject) => {
  const open = indexedDB.open("hither", 1);
  open.onupgradeneeded = () => open.result.createObjectStore("state");
  open.onerror = () => reject(open.error);
  open.onsuccess = () => {
    const transaction = open.result.transaction("state", mode), request = act(transaction.objectStore("state"));
    transaction.oncomplete = () => {
      open.result.close();
      resolve(request.result);
    };
    transaction.onabort = () => reject(transaction.error);
  };
});
