// Gets the bundle's files: from the network or a folder, resumed where the server has ranges, kept by hash in Cache Storage.
// Nothing leaves this file unverified.
import { fail, HitherError, node } from "./hither-tensors.js";
/** @typedef {import("./types.d.ts").Segment} Segment */
/** @typedef {import("./types.d.ts").Manifest} Manifest */
/** @typedef {Awaited<ReturnType<typeof openStore>>} Store */

const VERSION = 1;
/** @type {string[]} */
const EXTENSIONS = []; // that this loader knows
const KEY = "https://hither.invalid/"; // keys of Cache Storage must be addresses

/** @param {Uint8Array} bytes @returns {Promise<string>} */
async function hash(bytes) {
  const { subtle } = globalThis.crypto ?? {};
  const digest = subtle ? await subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes)) : (await import("./hither-sha256.js")).sha256(bytes);
  return Array.from(new Uint8Array(digest), (x) => x.toString(16).padStart(2, "0")).join("");
}

/** `fetch` for folders, in Node. */
const read = async (/** @type {any} */ url) => new Response(/** @type {BodyInit} */ (await (await import("node:fs/promises")).readFile(url)));

/** @param {string | URL} source @param {{ fetch?: typeof fetch, signal?: AbortSignal, integrity?: string }} options */
export async function openStore(source, { fetch: own, signal, integrity }) {
  const folder = String(source).replace(/manifest\.json$/, "").replace(/[^/]$/, "$&/");
  const root = node && !/^\w\w+:/.test(folder) ? (await import("node:url")).pathToFileURL(folder) : new URL(folder, globalThis.location?.href);
  const get = own ?? (root.protocol === "file:" ? /** @type {typeof fetch} */ (read) : fetch);
  const cache = await globalThis.caches?.open("hither").catch(() => null); // null: a private window, an opaque origin
  const store = { root: root.href, network: 0, cached: 0, manifest, segments };

  /** A file's bytes as they come. @param {string} name @param {number} start @param {RequestCache} mode */
  async function* download(name, start, mode) {
    const url = new URL(name, root), headers = start ? { Range: `bytes=${start}-` } : undefined;
    const response = await get(url, { signal, headers, cache: mode }).catch((/** @type {Error} */ e) => fail("network", `${url}: ${e.message}`));
    if (!response.ok) fail("network", `${url}: the server answered ${response.status}`);
    let at = response.status === 206 ? start : 0; // a server without ranges starts over
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    try {
      for (let got; !(got = await reader.read()).done; at += got.value.length) {
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
      signal?.throwIfAborted();
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
    // what an earlier version of this bundle cached and this one does not use is dropped
    const index = `${KEY}?${root}`, used = [...weights.segments, ...builds].map((x) => x.sha256);
    for (const sha of await (await cache?.match(index))?.json() ?? []) if (!used.includes(sha)) await cache?.delete(KEY + sha);
    await cache?.put(index, new Response(JSON.stringify(used))).catch(() => {}); // a full cache is reported below
    return found;
  }

  /** Every segment, verified, in any order. @template {Segment} S @param {S[]} all @param {(s: S, bytes: Uint8Array) => unknown} use */
  async function segments(all, use) {
    const names = [...new Set(all.map((s) => s.file))];
    await Promise.all(names.map((name) => fromFile(name, all.filter((s) => s.file === name), use)));
  }

  /** @template {Segment} S @param {string} name @param {S[]} wanted @param {(s: S, bytes: Uint8Array) => unknown} use */
  async function fromFile(name, wanted, use) {
    const missing = [];
    for (const s of wanted) {
      const found = await cache?.match(KEY + s.sha256), bytes = new Uint8Array(await found?.arrayBuffer() ?? []);
      if (found && await hash(bytes) === s.sha256) {
        store.cached += s.bytes;
        await use(s, bytes);
      } else missing.push(s);
    }
    /** @type {RequestCache} */
    let mode = "default";
    for (let attempt = 1; missing.length; attempt++) {
      try {
        let [s] = missing, buffer = new Uint8Array(s.bytes), end = s.offset;
        for await (const { at, chunk } of download(name, s.offset, mode)) {
          for (let piece; s && (piece = chunk.subarray(Math.max(0, end - at)).subarray(0, s.offset + s.bytes - end)).length;) {
            buffer.set(piece, end - s.offset);
            end += piece.length;
            if (end < s.offset + s.bytes) break;
            if (await hash(buffer) !== s.sha256) {
              mode = "reload"; // a stale HTTP cache must not look like damage
              fail("integrity", `${name} is damaged: bytes ${s.offset} to ${end} do not have their SHA-256`);
            }
            await cache?.put(KEY + s.sha256, new Response(buffer)).catch((e) => console.warn(`hither: not cached: ${e.message}`));
            await use(s, buffer);
            missing.shift();
            [s] = missing;
            if (!s) break;
            buffer = new Uint8Array(s.bytes);
            end = s.offset;
          }
          if (!s) break;
        }
        if (s) fail("network", `${name} is truncated: it ends before byte ${s.offset + s.bytes}`);
      } catch (e) {
        signal?.throwIfAborted();
        if (attempt === 3) throw e;
        await new Promise((resolve) => setTimeout(resolve, 100 * 4 ** attempt));
      }
    }
  }
  return store;
}
