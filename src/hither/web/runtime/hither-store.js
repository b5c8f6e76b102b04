// Gets the bundle's files: from the network or a folder, resumed where the server has ranges, kept by hash in Cache Storage.
// Nothing leaves this file unverified. The cache is written after the first result, which it must not delay.
import { fail, HitherError, node } from "./hither-tensors.js";
/** @typedef {import("./types.d.ts").Segment} Segment */
/** @typedef {import("./types.d.ts").Manifest} Manifest */
/** @typedef {Awaited<ReturnType<typeof openStore>>} Store */

const VERSION = 1;
/** @type {string[]} */
const EXTENSIONS = ["refinement"]; // that this loader knows
const KEY = "https://hither.invalid/"; // keys of Cache Storage must be addresses
/** @type {[cache: Cache, key: string, body: any][]} */
const waiting = []; // to be cached
let keeping = Promise.resolve(); // what this page is writing to the cache

/** Write to the cache what waits for it. Only now is it copied: while a load runs, fresh memory costs it time. */
const keep = () => keeping = keeping.then(async () => {
  for (const [cache, key, body] of waiting.splice(0)) await cache.put(key, new Response(body));
}).catch((e) => console.warn(`hither: not cached: ${e.message}`));

/** @param {Uint8Array} bytes @returns {Promise<string>} */
export async function hash(bytes) {
  const subtle = globalThis.crypto?.subtle;
  const digest = subtle ? await subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes)) : (await import("./hither-sha256.js")).sha256(bytes);
  return Array.from(new Uint8Array(digest), (x) => x.toString(16).padStart(2, "0")).join("");
}

/** `fetch` for folders, in Node. */
const read = async (/** @type {any} */ url) => new Response(/** @type {BodyInit} */ (await (await import("node:fs/promises")).readFile(url)));

/** @param {string | URL} source @param {{ fetch?: typeof fetch, signal?: AbortSignal, integrity?: string }} options */
export async function openStore(source, { fetch: own, signal: stop, integrity }) {
  const path = String(source), root = node && !/^\w\w+:/.test(path) ? (await import("node:url")).pathToFileURL(path) : new URL(path, globalThis.location?.href);
  const { search } = root; // every file is asked for with it
  root.pathname = root.pathname.replace(/manifest\.json$/, "").replace(/[^/]$/, "$&/");
  root.search = root.hash = "";
  const get = own ?? (root.protocol === "file:" ? /** @type {typeof fetch} */ (read) : fetch);
  const opening = (async () => globalThis.caches?.open("hither"))().catch(() => null); // null: a private window; an opaque origin throws at the name
  let cache = /** @type {Cache | null | undefined} */ (null), held = /** @type {Promise<Set<string>>} */ (Promise.resolve(new Set()));
  const store = { signal: stop, root: root.href, network: 0, cached: 0, manifest, segments, keep };

  /** Have the body cached when there is time. @param {string} key @param {any} body */
  function later(key, body) {
    if (!cache) return;
    if (waiting.push([cache, key, body]) < 2) setTimeout(keep, 2000); // so that a slow download survives a closed tab
    return waiting.length > 128 && keep(); // they take memory
  }

  /** A file's bytes as they come. @param {string} name @param {number} start @param {RequestCache} mode @param {unknown} [gate] */
  async function* download(name, start, mode, gate) {
    const url = new URL(name + search, root), headers = start ? { Range: `bytes=${start}-` } : [];
    const broken = (/** @type {Error} */ e) => fail("network", `${url}: ${e.message}`);
    const response = await get(url, { signal: store.signal, headers, cache: mode }).catch(broken);
    if (!response.ok) fail("network", `${url}: the server answered ${response.status}`);
    await gate;
    let at = response.status === 206 ? start : 0; // a server without ranges starts over
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    try {
      for (let got; !(got = await reader.read().catch(broken)).done; at += got.value.length) {
        store.network += got.value.length;
        yield { at, chunk: got.value };
      }
    } finally {
      reader.cancel().catch(() => {}); // what has failed already cannot be cancelled, and need not be
    }
  }

  /** The manifest, checked. @returns {Promise<Manifest>} */
  async function manifest() {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    /** @type {Manifest} */
    let found;
    let text = "";
    try {
      for await (const { chunk } of download("manifest.json", 0, "no-cache")) text += decoder.decode(chunk, { stream: true });
      text += decoder.decode();
      found = JSON.parse(text);
    } catch (e) {
      stop?.throwIfAborted();
      if (e instanceof HitherError) throw e;
      return fail("integrity", `manifest.json is damaged: ${/** @type {Error} */ (e).message}`);
    }
    const { format, version, digest, extensions_required: required, weights, builds } = found ?? {};
    if (format !== "hither-bundle") fail("format", `manifest.json is not a hither bundle, but "${format}"`);
    if (version !== VERSION) fail("format", `the bundle has format version ${version}, this loader reads ${VERSION}: use the bundle's own hither.js`);
    if ("sha256-" + await hash(new TextEncoder().encode(text.replace(digest, "sha256-" + "0".repeat(64)))) !== digest) fail("integrity", "manifest.json is damaged: it does not have its digest");
    if (integrity && integrity !== digest) fail("integrity", `the bundle's digest is ${digest}, but load was told to accept only ${integrity}`);
    const unknown = required.filter((x) => !EXTENSIONS.includes(x));
    if (unknown.length) fail("format", `the bundle requires extensions that this loader does not know: ${unknown.join(", ")}`);
    cache = await opening;
    held = keep().then(() => cache?.keys()).then((all = []) => new Set(all.map((request) => request.url))); // with what an earlier load got
    // what an earlier version of this bundle cached and this one does not use is dropped
    const index = `${KEY}?${root}`, used = [...weights.segments, ...weights.refinement ?? [], ...builds].map((x) => x.sha256);
    for (const sha of await (await cache?.match(index))?.json() ?? []) if (!used.includes(sha)) await cache?.delete(KEY + sha);
    later(index, JSON.stringify(used));
    return found;
  }

  /** Every segment, verified, in any order. @template {Segment} S @param {S[]} all @param {(s: S, bytes: Uint8Array) => Promise<Uint8Array>} use gives the bytes back
   * @param {unknown} [gate] a promise: what is asked for at once is read only then */
  async function segments(all, use, gate) {
    await Promise.all([...new Set(all.map((s) => s.file))].map((name) => fromFile(name, all, use, gate)));
  }

  /** @template {Segment} S @param {string} name @param {S[]} all @param {(s: S, bytes: Uint8Array) => Promise<Uint8Array>} use @param {unknown} [gate] */
  async function fromFile(name, all, use, gate) {
    const missing = new Set(all.filter((s) => s.file === name));
    const keys = await held, known = [...missing].filter((s) => keys.has(KEY + s.sha256)).values();
    await Promise.all([1, 2, 3, 4].map(async () => { // some at once: each waits for the cache, then for its hash
      for (const s of known) {
        const found = await cache?.match(KEY + s.sha256), bytes = new Uint8Array(await found?.arrayBuffer() ?? []);
        if (!found || await hash(bytes) !== s.sha256) continue;
        store.cached += s.bytes;
        await use(s, bytes);
        missing.delete(s);
      }
    }));
    /** @type {RequestCache} */
    let mode = cache ? "no-store" : "default"; // once on this device is enough, and quicker
    let refused = false;
    const accept = async (/** @type {S} */ s, /** @type {Uint8Array} */ bytes) => {
      if (await hash(bytes) !== s.sha256) {
        mode = "reload"; // a stale HTTP cache must not look like damage
        fail("integrity", `${name} is damaged: bytes ${s.offset} to ${s.offset + s.bytes} do not have their SHA-256`);
      }
      try {
        await later(KEY + s.sha256, await use(s, bytes));
      } catch (e) {
        refused = true; // to fetch it again would not help
        throw e;
      }
      missing.delete(s);
    };
    for (let attempt = 1; missing.size; attempt++) {
      /** @type {Promise<void>[]} */
      const accepted = [];
      const [{ offset }] = missing, chunks = download(name, offset, mode, gate);
      try {
        let at = 0, chunk = /** @type {Uint8Array} */ (new Uint8Array);
        for (const s of missing) {
          const bytes = new Uint8Array(s.bytes), stop = s.offset + s.bytes;
          for (let end = s.offset, piece; end < stop; end += piece.length) {
            while (end >= at + chunk.length) ({ at, chunk } = (await chunks.next()).value ?? fail("network", `${name} is truncated: it ends before byte ${stop}`));
            piece = chunk.subarray(end - at, stop - at);
            bytes.set(piece, end - s.offset);
          }
          accepted.push(accept(s, bytes));
          accepted.at(-1)?.catch(() => {}); // it is awaited, but later
          await accepted.at(-16); // they take memory
        }
        await Promise.all(accepted);
      } catch (e) {
        await Promise.allSettled(accepted); // so that `missing` is what is missing
        store.signal?.throwIfAborted();
        if (attempt === 3 || refused) throw e;
        await new Promise((resolve) => setTimeout(resolve, 100 * 4 ** attempt));
      } finally {
        chunks.return();
      }
    }
  }
  return store;
}
