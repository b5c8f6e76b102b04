// LiteRT.js (TensorFlow Lite, XNNPACK) on a net's .tflite file, where it has one.
/** @param {string} base the net's folder @param {string} target @param {number} threads */
export async function openLiteRt(base, target, threads) {
  const file = await fetch(`${base}model.tflite`, { method: "HEAD" });
  if (!file.ok) throw new Error("this net has no .tflite file");
  const { loadLiteRt, loadAndCompile, Tensor } = await import("/npm/@litertjs/core/dist/index.js");
  await loadLiteRt("/npm/@litertjs/core/wasm/", { threads: threads > 1 });
  const model = await loadAndCompile(`${base}model.tflite`, { accelerator: target, cpuOptions: { numThreads: threads } });
  return { model, Tensor };
}
