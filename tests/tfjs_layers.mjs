// Loads a layers model with TensorFlow.js and runs it: node tfjs_layers.mjs TF.js FOLDER INPUT.json → outputs as JSON.
// The script of TensorFlow.js is one file for all environments; it wants nothing but `globalThis`.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [script, folder, input] = process.argv.slice(2);
const tf = createRequire(import.meta.url)(script);
const model = JSON.parse(readFileSync(join(folder, "model.json"), "utf8"));
const { weights, paths } = model.weightsManifest[0];
const data = Buffer.concat(paths.map((path) => readFileSync(join(folder, path))));
const weightData = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
const handler = { load: async () => ({ modelTopology: model.modelTopology, weightSpecs: weights, weightData }) };
process.on("uncaughtException", (error) => {
  console.error(error.message); // without the minified line that it was thrown in
  process.exit(1);
});
const loaded = await tf.loadLayersModel(handler);
const made = loaded.predict(tf.tensor(JSON.parse(readFileSync(input, "utf8"))));
const results = [];
for (const tensor of Array.isArray(made) ? made : [made]) results.push(await tensor.array());
console.log(JSON.stringify(results));
