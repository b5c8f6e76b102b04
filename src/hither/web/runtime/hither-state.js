// What survives calls, outside the program: read and changed by name; kept under a name, in IndexedDB or a file in Node; exported
// to a safetensors file, which Python and other frameworks read, and imported. What is kept is such a file too.
import { hash } from "./hither-store.js";
import { arrayOf, convert, count, decode, encode, fail, given, node, sizeOf } from "./hither-tensors.js";
/** @typedef {import("./types.d.ts").Stateful} Stateful */
/** @typedef {import("./types.d.ts").Tensor} Tensor */

const DIGEST = "hither.sha256"; // of all tensors' bytes, in the file's metadata
/** @type {Record<string, string>} safetensors' names of dtypes */
const NAMES = { bool: "BOOL" };
for (const n of [8, 16, 32, 64]) Object.assign(NAMES, { [`int${n}`]: `I${n}`, [`uint${n}`]: `U${n}`, ...(n > 8 && { [`float${n}`]: `F${n}` }) });

/** @param {{ name: string, dtype: string, shape: readonly number[] }} tensor */
const text = ({ name, dtype, shape }) => `${name}: ${dtype}[${shape}]`;

/** The state by name. @param {Stateful} program @returns {Promise<Record<string, Tensor>>} */
export async function state({ places, read }) {
  const all = await read();
  return Object.fromEntries(places.map((p) => [p.name, decode(all.subarray(p.at, p.at + sizeOf(p.shape, p.stored)), p.stored, p, [])]));
}

/** Change some of it. @param {Stateful} program @param {Record<string, any>} values */
export async function loadState({ places, write }, values) {
  await write(Object.entries(values).map(([name, value]) => {
    const place = places.find((p) => p.name === name) ?? fail("state", `there is no state "${name}"; there are ${places.map(text).join(", ")}`), tensor = given(value);
    if (tensor?.data.length !== count(place.shape) || String(tensor.shape ?? place.shape) !== String(place.shape)) {
      fail("state", `the state is ${text(place)}, got ${tensor ? `[${tensor.shape ?? tensor.data.length}]` : value?.constructor?.name}`);
    }
    return ["state", place.at, encode(/** @type {any} */ (tensor), place, place.stored, [])];
  }));
}

/** Keep all of it. @param {Stateful} program @param {string} name */
export async function save(program, name) {
  const bytes = await pack(program, "");
  if (!node) return void await database("readwrite", (store) => store.put(bytes, `${program.root} ${name}`));
  const { rename, writeFile } = await import("node:fs/promises");
  await writeFile(name + ".part", bytes);
  await rename(name + ".part", name); // there whole or not at all
}

/** Take back what was kept. @param {Stateful} program @param {string} name */
export async function restore(program, name) {
  try {
    const found = await (node ? import("node:fs/promises").then((fs) => fs.readFile(name)) : database("readonly", (store) => store.get(`${program.root} ${name}`)));
    await unpack(program, found ?? fail("state", "there is none"), "");
  } catch (e) {
    fail("state", `the saved state "${name}" cannot be restored: ${/** @type {Error} */ (e).message}`);
  }
}

/** The state whose names begin with `part` and a point, without them, and the prefix. @param {Stateful} program @param {string} part "" for all */
function parted({ places }, part) {
  const prefix = part && part + ".", found = places.filter((p) => p.name.startsWith(prefix));
  if (!found.length) fail("state", `the program has no state ${prefix}*; ${places.length ? `it has ${places.map(text).join(", ")}` : "nothing of it survives calls"}`);
  return { prefix, found };
}

/** A safetensors file of a part. @param {Stateful} program @param {string} part @returns {Promise<Uint8Array>} */
export async function pack(program, part = "weights") {
  const { prefix, found } = parted(program, part), tensors = await state(program);
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
  const json = JSON.stringify({ __metadata__: { format: "hither", [DIGEST]: await hash(data) }, ...header });
  const head = new TextEncoder().encode(json), length = (head.length + 7) & ~7, file = new Uint8Array(8 + length + end).fill(32, 8, 8 + length);
  new DataView(file.buffer).setUint32(0, length, true);
  file.set(head, 8);
  file.set(data, 8 + length);
  return file;
}

/** Take a part from a safetensors file: each of its tensors, and no other. @param {Stateful} program @param {BlobPart} file @param {string} part */
export async function unpack(program, file, part = "weights") {
  const { prefix, found } = parted(program, part), bytes = new Uint8Array(await new Blob([file]).arrayBuffer());
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
  const other = Object.keys(tensors).find((n) => !found.some((p) => p.name === prefix + n));
  if (other) fail("state", `the file has "${other}", which the program does not; it has ${found.map(text).join(", ")}`);
  await program.write(found.map((place) => {
    const name = place.name.slice(prefix.length), { dtype, shape, data_offsets } = tensors[name] ?? fail("state", `the file has no ${text({ ...place, name })}`);
    if (!Array.isArray(data_offsets) || data_offsets.length !== 2 || !data_offsets.every(Number.isSafeInteger)) bad(`"${name}" has no place`);
    const [from, to] = data_offsets;
    const own = Object.keys(NAMES).find((d) => NAMES[d] === dtype) ?? fail("state", `"${name}" is ${dtype}, which this program cannot take`);
    if (String(shape) !== String(place.shape)) fail("state", `the file has ${text({ name, dtype: own, shape })}, the program ${text({ ...place, name })}`);
    if (!(from >= 0 && to - from === sizeOf(shape, own) && start + to <= bytes.length)) bad(`"${name}" is not in it`);
    return ["state", place.at, convert(convert(bytes.slice(start + from, start + to), own, place.dtype, name), place.dtype, place.stored, name)];
  }));
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
