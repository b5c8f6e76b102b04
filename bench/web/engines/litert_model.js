// LiteRT.js (TensorFlow Lite, XNNPACK) on a .tflite file as published.
import { openLiteRt } from "../litert.js";

export async function create({ base, feeds, reference, target, threads }) {
  const { model, Tensor } = await openLiteRt(base, target, threads);
  const [[, { data, shape }]] = Object.entries(feeds), outputs = model.getOutputDetails().map(({ name }) => name);
  const names = Object.fromEntries(Object.keys(reference).map((name) => [name.split(":")[0], name]));
  return {
    async run() {
      const input = new Tensor(data, shape), results = await model.run(input);
      const found = await Promise.all(results.map(async (result) => (await result.data()).slice()));
      input.delete();
      for (const result of results) result.delete();
      return Object.fromEntries(outputs.map((name, i) => [names[name.split(":")[0]] ?? name, found[i]]));
    },
    about: {},
    close: () => model.delete(),
  };
}
