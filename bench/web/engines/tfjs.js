// TensorFlow.js: a net given as layers, built from its fused operations in its own layout (NHWC), weights laid out beforehand.
import { openLayers } from "../net.js";
import { openTf } from "../tfjs.js";

export async function create({ base, feeds, reference, target, threads }) {
  const layers = await openLayers(base), tf = await openTf(target, threads);
  const tensor = ({ data, shape }, order) => tf.tidy(() => (order ? tf.tensor(data, shape).transpose(order) : tf.tensor(data, shape)));
  const dense = layers.at(-1);
  const weights = layers.map((layer) => ({
    filter: layer === dense ? tensor(layer.weight, [1, 0]) : tensor(layer.weight, layer.groups > 1 ? [2, 3, 0, 1] : [2, 3, 1, 0]),
    bias: tensor(layer.bias),
  }));
  const [[, { data, shape: [n, c, h, w] }]] = Object.entries(feeds), [output] = Object.keys(reference);
  const nhwc = Float32Array.from(data, (_, i) => data[(i % c) * h * w + Math.floor(i / c)]); // how tfjs holds images; n is 1
  const forward = () => tf.tidy(() => {
    const values = [tf.tensor4d(nhwc, [n, h, w, c])];
    layers.slice(0, -1).forEach((layer, i) => {
      const options = { x: values.at(-1), ...weights[i], strides: layer.stride, pad: layer.kernel >> 1, dimRoundingMode: "floor", activation: layer.clipped ? "relu6" : "linear" };
      const made = layer.groups > 1 ? tf.fused.depthwiseConv2d(options) : tf.fused.conv2d(options);
      values.push(layer.skip ? tf.add(made, values.at(-layer.skip)) : made);
    });
    const { filter, bias } = weights.at(-1);
    return tf.fused.matMul({ a: values.at(-1).mean([1, 2]), b: filter, bias });
  });
  return {
    async run() {
      const result = forward(), found = await result.data();
      result.dispose();
      return { [output]: found };
    },
    about: { threads: target === "wasm" ? tf.wasm.getThreadsCount() : 0 },
    close: () => weights.forEach(({ filter, bias }) => tf.dispose([filter, bias])),
  };
}
