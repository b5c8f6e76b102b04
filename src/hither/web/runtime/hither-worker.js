// Both ends of a Worker: `spawn` makes one out of a backend's file, which calls `host`: a backend, or one thread of the WASM pool.
import { HitherError, node } from "./hither-tensors.js";
/** @typedef {import("./types.d.ts").Backend} Backend */

const nodeWorkers = node ? await import("node:worker_threads") : null;

/** @param {any} port @param {(data: any) => void} handle */
function listen(port, handle) {
  if (node) port.on("message", handle);
  else port.onmessage = (/** @type {MessageEvent} */ e) => handle(e.data);
}

/** @typedef {ReturnType<typeof spawn>} Port */

/** Start a Worker. @param {string} target whose code it runs @param {string} file where that is */
export function spawn(target, file) {
  const url = new URL(file);
  // a Worker's script must come from the page's own origin, what it imports need not; an opaque origin (a sandboxed frame) has none
  const script = node || url.origin === globalThis.origin ? url : globalThis.origin === "null" ? `data:text/javascript,import "${url}"`
    : URL.createObjectURL(new Blob([`import "${url}"`], { type: "text/javascript" }));
  const name = "hither-" + target; // tells a Worker made here from one of the caller's that imports this file
  const worker = /** @type {any} */ (nodeWorkers ? new nodeWorkers.Worker(url, { workerData: name, execArgv: [] }) : new Worker(script, { type: "module", name }));
  /** @type {Map<number, { resolve(x: any): void, reject(e: Error): void }>} */
  const waiting = new Map();
  let next = 0, stopped = "";
  const idle = () => waiting.size || worker.unref?.(); // lets Node exit
  const stop = (/** @type {string} */ reason) => {
    stopped ||= reason; // it may come before the first call
    for (const w of waiting.values()) w.reject(new HitherError("lost", stopped));
    waiting.clear();
    idle();
  };
  const died = (/** @type {any} */ e) => stop(e.message ? `a worker stopped (${e.message}); load the program again` : "a worker did not start: let the Content-Security-Policy allow it, or load with worker: false");
  if (node) worker.on("error", died);
  else worker.onerror = died;
  listen(worker, ({ id, value, error, event }) => {
    if (event) return port.emit(event);
    const call = waiting.get(id);
    waiting.delete(id);
    idle();
    if (error) call?.reject(new HitherError(.../** @type {[string, string, number?]} */ (error)));
    else call?.resolve(value);
  });
  idle();
  const port = {
    /** Takes what the hosted backend emits. @type {import("./types.d.ts").Emit} */
    emit(_) {},
    /** @param {string} method @param {any[]} args @param {any[]} [lent] goes over without a copy @returns {Promise<any>} */
    call: (method, args, lent = []) => new Promise((resolve, reject) => {
      if (stopped) return reject(new HitherError("lost", stopped));
      waiting.set(next, { resolve, reject });
      worker.ref?.();
      worker.postMessage({ id: next++, method, args }, lent);
    }),
    close() {
      worker.terminate();
      stop("the program is closed");
    },
  };
  return port;
}

/** A backend that lives in a Worker: calls queue up there while it is made. `created` says when it is.
 * @param {Port} port @param {object} options @param {import("./types.d.ts").Emit} emit @returns {{ backend: Backend, created: Promise<Backend> }} */
export function remote(port, options, emit) {
  port.emit = emit;
  /** @type {Promise<void>[]} */
  const ready = [];
  /** @type {any} */
  const backend = {
    close: port.close,
    async place(/** @type {any} */ pieces, /** @type {any} */ lent) {
      const { bytes, at } = backend.info?.shared || {};
      if (!bytes) return port.call("place", [pieces, lent], lent);
      for (const [space, offset, data] of pieces) bytes.set(data, at[space] + offset); // here, for the Worker may be rehearsing
      return lent;
    },
    ready: (/** @type {number} */ variant) => ready[variant] ??= port.call("ready", [variant]),
    run: (/** @type {any[]} */ ...args) => port.call("run", args, [...new Set(args[2].map((/** @type {any} */ p) => p.bytes.buffer))]),
  };
  for (const method of ["prepare", "refine", "rollback", "read"]) backend[method] = (/** @type {any[]} */ ...args) => port.call(method, args);
  const created = port.call("create", [options]).then((info) => Object.assign(backend, { info }), (e) => {
    port.close();
    throw e;
  });
  return { backend, created };
}

/** In a Worker that `spawn` made for this target, serve its maker; elsewhere nothing. @param {string} target @param {any} code what the backend's file exports */
export function host(target, code) {
  if ((nodeWorkers ? nodeWorkers.workerData : !globalThis.document && /** @type {any} */ (globalThis).name) !== "hither-" + target) return;
  const port = /** @type {any} */ (nodeWorkers?.parentPort ?? globalThis);
  /** @type {any} */
  let backend;
  /** @type {Record<string, (...args: any[]) => any>} */
  const methods = {
    async create(options) {
      backend = await code.create(options, (/** @type {any} */ event) => port.postMessage({ event }));
      return backend.info;
    },
    async join(team) {
      setTimeout(await code.join(team)); // after the answer, for it never ends
    },
  };
  let queue = Promise.resolve();
  listen(port, ({ id, method, args }) => {
    queue = queue.then(async () => {
      try {
        const value = await (methods[method] ?? backend[method])(...args);
        let back = method === "place" ? value : [];
        if (method === "run") {
          value.lent = args[2];
          back = [...value.outputs, ...args[2].map((/** @type {any} */ p) => p.bytes)].map((x) => x.buffer);
        }
        port.postMessage({ id, value }, back);
      } catch (e) {
        const { code = "internal", message, build } = /** @type {any} */ (e);
        port.postMessage({ id, error: [code, message, build] });
      }
    });
  });
}
