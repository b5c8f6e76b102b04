// Opt-in service worker: the page works offline after its first visit, and is cross-origin isolated (threads) even on hosts
// that cannot set headers. Weights and kernels are not kept here: the loader caches them by hash when it has run.
// As "sw.js" it keeps the bundle that it lies in, and the page there. A browser gives it the pages of its folder and below; what they
// consist of is named: "sw.js?file=train.html&file=train.js". A page above its bundles has a copy of this file beside it, and names
// them: "sw.js?bundle=model/&file=./&file=app.js". Addresses are relative to this file.
/// <reference lib="webworker" />

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const SHELL = "hither-shell";
const FILES = [
  "./", "manifest.json", "try.js", "hither.js", "hither-webgpu.js", "hither-media.js", "hither-room.js", "hither-refine.js",
  "hither-state.js", "hither-fit.js", "hither-sha256.js",
];
const asked = new URL(location.href).searchParams, bundles = asked.has("bundle") ? asked.getAll("bundle") : ["."];

worker.addEventListener("install", (event) => event.waitUntil(install()));

/** Keep all files, or say which one cannot be had. */
async function install() {
  const cache = await caches.open(SHELL), names = [...bundles.flatMap((b) => FILES.map((name) => `${b}/${name}`)), ...asked.getAll("file")];
  await Promise.all(names.map(async (name) => {
    const url = new URL(name.replace("//", "/"), location.href), response = await fetch(url);
    if (!response.ok) throw Error(`hither: nothing is kept for offline use: ${url}: the server answered ${response.status}`);
    await cache.put(url, response);
  }));
  await worker.skipWaiting();
}

worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("fetch", (event) => {
  const { request } = event, url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  event.respondWith(answer(request, /\.(bin|wasm|wgsl)$/.test(url.pathname)));
});

/** The network's answer, else the last one known. @param {Request} request @param {boolean} hashed the loader caches it by hash */
async function answer(request, hashed) {
  const cache = await caches.open(SHELL);
  let response;
  try {
    response = await fetch(request);
  } catch (error) {
    const known = await cache.match(request, { ignoreVary: true }) ?? await cache.match(request, { ignoreSearch: true, ignoreVary: true });
    if (known) return isolated(known);
    throw error;
  }
  if (response.status === 200 && !hashed) {
    // a full disk, or an answer that must not be kept ("Vary: *"), is no reason to withhold what has come
    await cache.put(request, response.clone()).catch((e) => console.warn(`hither: ${request.url} is not kept for offline use: ${e.message}`));
  }
  return isolated(response);
}

/** @param {Response} response */
function isolated(response) {
  if (response.type === "opaque" || response.type === "opaqueredirect" || response.redirected) return response;
  const headers = new Headers(response.headers);
  headers.set("cross-origin-opener-policy", "same-origin");
  headers.set("cross-origin-embedder-policy", "require-corp");
  headers.set("cross-origin-resource-policy", "cross-origin");
  const body = [101, 204, 205, 304].includes(response.status) ? null : response.body;
  return new Response(body, { status: response.status, statusText: response.statusText, headers });
}
