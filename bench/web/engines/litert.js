// LiteRT.js (TensorFlow Lite), on the net's published .tflite file where there is one.
export async function create({ base, feeds, reference, target, threads }) {
  const file = await fetch(`${base}model.tflite`, { method: "HEAD" });
  if (!file.ok) throw new Error("this net is not published as .tflite");
  const { loadLiteRt, loadAndCompile, Tensor } = await import("/npm/@litertjs/core/dist/index.js");
  await loadLiteRt("/npm/@litertjs/core/wasm/", { threads: threads > 1 });
  const model = await loadAndCompile(`${base}model.tflite`, { accelerator: target, cpuOptions: { numThreads: threads } });
  const [[, { data, shape }]] = Object.entries(feeds);
  const names = model.getOutputDetails().map((output) => output.name);
  return {
    async run() {
      const input = new Tensor(data, shape), results = await model.run(input);
      const found = {};
      for (const [i, result] of results.entries()) {
        const here = await result.moveTo("wasm");
        found[names[i]] = here.toTypedArray().slice();
        here.delete();
      }
      input.delete();
      return found;
    },
    about: { outputs: names, expected: Object.keys(reference) },
    close: () => model.delete(),
  };
}
