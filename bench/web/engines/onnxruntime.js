// onnxruntime-web, on the same ONNX file. It runs on the page's own thread, which is its fastest way: no message, no copy.
export async function create({ base, feeds, target, threads }) {
  const flavour = target === "webgpu" ? "webgpu" : "wasm";
  const ort = await import(`/npm/onnxruntime-web/dist/ort.${flavour}.bundle.min.mjs`);
  ort.env.wasm.wasmPaths = "/npm/onnxruntime-web/dist/";
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(`${base}model.onnx`, { executionProviders: [target], graphOptimizationLevel: "all" });
  const entries = Object.entries(feeds).filter(([name]) => session.inputNames.includes(name));
  return {
    async run() {
      const inputs = Object.fromEntries(entries.map(([name, { dtype, data, shape }]) => [name, new ort.Tensor(dtype, data, shape)]));
      const results = await session.run(inputs);
      return Object.fromEntries(await Promise.all(Object.entries(results).map(async ([name, tensor]) => [name, await tensor.getData()])));
    },
    about: { threads: ort.env.wasm.numThreads },
    close: () => session.release(),
  };
}
