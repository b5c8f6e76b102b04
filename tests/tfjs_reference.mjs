// Runs TF.js graph models in Node and writes their outputs: what tests/models_tfjs.py stores as expected results.
//
//   node tests/tfjs_reference.mjs jobs.json          TFJS_MODULES names the node_modules folder with @tensorflow/tfjs
//
// jobs.json: [{ model, inputs: { node: { file, shape, dtype } }, outputs: [nodes], folder }]. The plain JavaScript backend is
// used: the WASM one of 4.22 selects other boxes than it in NonMaxSuppressionV5.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(join(process.env.TFJS_MODULES, "anchor.js"));
const tf = require("@tensorflow/tfjs");
require("@tensorflow/tfjs-backend-cpu");

const KINDS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array };

function bytes(file) {
  const read = readFileSync(file);
  return read.buffer.slice(read.byteOffset, read.byteOffset + read.byteLength);
}

function files(path) {
  return {
    load: async () => {
      const model = JSON.parse(readFileSync(path));
      const groups = model.weightsManifest;
      const shards = groups.flatMap((g) => g.paths.map((p) => readFileSync(join(dirname(path), p))));
      const whole = Buffer.concat(shards);
      const weightData = whole.buffer.slice(whole.byteOffset, whole.byteOffset + whole.byteLength);
      return { ...model, weightSpecs: groups.flatMap((g) => g.weights), weightData };
    },
  };
}

await tf.setBackend("cpu");
for (const { model, inputs, outputs, folder } of JSON.parse(readFileSync(process.argv[2]))) {
  const graph = await tf.loadGraphModel(files(model));
  const feeds = {};
  for (const [node, { file, shape, dtype }] of Object.entries(inputs)) {
    feeds[node] = tf.tensor(new KINDS[dtype](bytes(file)), shape, dtype);
  }
  const found = [await graph.executeAsync(feeds, outputs)].flat();
  const described = [];
  for (const [i, tensor] of found.entries()) {
    const data = KINDS[tensor.dtype].from(await tensor.data()); // a float32 tensor may hold an Int32Array
    writeFileSync(join(folder, `${i}.bin`), new Uint8Array(data.buffer));
    described.push({ shape: tensor.shape, dtype: tensor.dtype });
  }
  writeFileSync(join(folder, "outputs.json"), JSON.stringify(described));
}
