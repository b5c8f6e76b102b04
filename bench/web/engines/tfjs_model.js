// TensorFlow.js on a graph model as published: its own reader, its own kernels.
import { openTf } from "../tfjs.js";

export async function create({ base, feeds, reference, target, threads }) {
  const file = await fetch(`${base}model.json`);
  if (!file.ok) throw new Error("this net has no TF.js model");
  const document = await file.json(), tf = await openTf(target, threads);
  const signature = document.signature ?? document.userDefinedMetadata.signature;
  const model = await tf.loadGraphModel(`${base}model.json`);
  const names = Object.keys(reference), nodes = names.map((name) => signature.outputs[name]?.name ?? name);
  const inputs = Object.entries(feeds).map(([name, feed]) => [(signature.inputs?.[name]?.name ?? name).split(":")[0], feed]);
  return {
    async run() {
      const results = tf.tidy(() => [model.execute(Object.fromEntries(inputs.map(([name, { dtype, data, shape }]) =>
        [name, tf.tensor(data, shape, dtype)])), nodes)].flat());
      const found = await Promise.all(results.map((result) => result.data()));
      tf.dispose(results);
      return Object.fromEntries(names.map((name, i) => [name, found[i]]));
    },
    about: { threads: target === "wasm" ? tf.wasm.getThreadsCount() : 0 },
    memory: () => tf.memory(),
    close: () => model.dispose(),
  };
}
