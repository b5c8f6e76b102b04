// Trained state that outlives the page: in IndexedDB under the bundle's address, or in a file in Node.
import { fail, node } from "./hither-tensors.js";
/** @typedef {{ name: string, dtype: string, shape: number[], bytes: Uint8Array }} Saved */

/** @param {string} bundle @param {string} name @param {Saved[]} tensors */
export async function write(bundle, name, tensors) {
  if (node) await (await import("node:fs/promises")).writeFile(name, (await import("node:v8")).serialize(tensors));
  else await database("readwrite", (store) => store.put(tensors, `${bundle} ${name}`));
}

/** @param {string} bundle @param {string} name @returns {Promise<Saved[]>} */
export async function read(bundle, name) {
  try {
    const found = node ? (await import("node:v8")).deserialize(await (await import("node:fs/promises")).readFile(name))
      : await database("readonly", (store) => store.get(`${bundle} ${name}`));
    if (!Array.isArray(found)) throw Error("there is none");
    return found;
  } catch (e) {
    return fail("state", `the saved state "${name}" cannot be read: ${/** @type {Error} */ (e).message}`);
  }
}

/** @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest} act @returns {Promise<any>} */
const database = (mode, act) => new Promise((resolve, reject) => {
  const open = indexedDB.open("hither", 1);
  open.onupgradeneeded = () => open.result.createObjectStore("state");
  open.onerror = () => reject(open.error);
  open.onsuccess = () => {
    const transaction = open.result.transaction("state", mode), request = act(transaction.objectStore("state"));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  };
});
