// What is kept in this browser: samples (their embeddings and what they looked or sounded like) and, for pictures and sounds each,
// the classes and what the last training found. The head itself is kept by the loader's own save and restore.
/** @typedef {{ id: number, kind: string, slot: number, take: number, embedding: Float32Array, preview: Blob | Int16Array }} Sample
 * `slot`: the number of its class among the head's outputs; `take`: samples of one take were collected in one go */
/** @typedef {{ slot: number, name: string }} Class */
/** @typedef {{ loss: number, accuracy: number, heldLoss: number, heldAccuracy: number }} Epoch */
/** @typedef {{ slots: number[], names: string[], samples: number, history: Epoch[], held: { id: number, slot: number, said: number }[], seconds: number }} Training */
/** @typedef {{ kind: string, classes: Class[], training: Training | null }} Project */

/** @type {Promise<IDBDatabase>} */
const opening = new Promise((resolve, reject) => {
  const open = indexedDB.open("hither-teach", 1);
  open.onupgradeneeded = () => {
    open.result.createObjectStore("samples", { keyPath: "id", autoIncrement: true }).createIndex("kind", "kind");
    open.result.createObjectStore("projects", { keyPath: "kind" });
  };
  open.onsuccess = () => resolve(open.result);
  open.onerror = () => reject(open.error);
});

/** @param {"samples" | "projects"} name @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest | void} act @returns {Promise<any>} */
async function within(name, mode, act) {
  const transaction = (await opening).transaction(name, mode), request = act(transaction.objectStore(name));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request?.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** @param {string} kind @returns {Promise<Sample[]>} in the order in which they came */
export const samplesOf = (kind) => within("samples", "readonly", (store) => store.index("kind").getAll(kind));

/** @param {Omit<Sample, "id"> & { id?: number }} sample @returns {Promise<number>} its id */
export const keep = (sample) => within("samples", "readwrite", (store) => store.put(sample));

/** @param {number[]} ids */
export const drop = (ids) => within("samples", "readwrite", (store) => ids.forEach((id) => store.delete(id)));

/** @param {string} kind @returns {Promise<Project | undefined>} */
export const projectOf = (kind) => within("projects", "readonly", (store) => store.get(kind));

/** @param {Project} project */
export const keepProject = (project) => within("projects", "readwrite", (store) => store.put(project));
