// TensorFlow.js, loaded once, on a backend with so many threads.
const script = (src) => new Promise((resolve, reject) => {
  document.head.append(Object.assign(document.createElement("script"), { src, onload: resolve, onerror: () => reject(new Error(`cannot load ${src}`)) }));
});

/** @param {string} target @param {number} threads */
export async function openTf(target, threads) {
  const folder = `/npm/@tensorflow/tfjs-backend-${target}/dist/`;
  if (!globalThis.tf) await script("/npm/@tensorflow/tfjs/dist/tf.min.js");
  await script(`${folder}tf-backend-${target}.min.js`);
  const { tf } = globalThis;
  if (target === "wasm") {
    tf.wasm.setWasmPaths(folder);
    tf.wasm.setThreadsCount(threads);
  }
  if (!await tf.setBackend(target)) throw new Error(`tfjs has no backend ${target} here`);
  await tf.ready();
  return tf;
}
