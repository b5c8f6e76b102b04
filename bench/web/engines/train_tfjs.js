// TensorFlow.js: the nets of bench/trained.py in its core operations, trained by its own Adam.
import { openTf } from "../tfjs.js";

const HEADS = 4, BLOCKS = 2;

export async function create({ net, feeds, weights, reference, target, threads }) {
  const tf = await openTf(target, threads);
  const w = Object.fromEntries(Object.entries(weights).map(([name, { data, shape }]) =>
    [name, tf.variable(tf.tensor(data, shape), true, `${target}/${name}`)]));
  const x = tf.tensor(feeds.x.data, feeds.x.shape, net === "cnn" ? "float32" : "int32");
  const y = tf.oneHot(tf.tensor1d(feeds.y.data, "int32"), 10).toFloat();
  const dense = (v, name) => tf.add(tf.matMul(v, w[`${name}.kernel`]), w[`${name}.bias`]);

  const cnn = () => {
    let v = x;
    for (const name of ["conv1", "conv2"]) {
      v = tf.maxPool(tf.relu(tf.add(tf.conv2d(v, w[`${name}.kernel`], 1, "same"), w[`${name}.bias`])), 2, 2, "valid");
    }
    return dense(tf.relu(dense(v.reshape([v.shape[0], -1]), "hidden")), "logits");
  };

  const norm = (v, name) => {
    const { mean, variance } = tf.moments(v, -1, true);
    return v.sub(mean).mul(variance.add(1e-5).rsqrt()).mul(w[`${name}.gamma`]).add(w[`${name}.beta`]);
  };
  const attention = (v, batch, tokens, width, i) => {
    const size = width / HEADS;
    const part = (name) => {
      const kernel = w[`attention${i}.${name}_dense.kernel`].reshape([width, width]);
      const bias = w[`attention${i}.${name}_dense.bias`].reshape([width]);
      return tf.matMul(v, kernel).add(bias).reshape([batch, tokens, HEADS, size]).transpose([0, 2, 1, 3]);
    };
    const [q, k, u] = ["query", "key", "value"].map(part);
    const seen = tf.matMul(tf.softmax(tf.matMul(q.mul(1 / Math.sqrt(size)), k, false, true)), u);
    const kernel = w[`attention${i}.output_dense.kernel`].reshape([width, width]);
    return tf.matMul(seen.transpose([0, 2, 1, 3]).reshape([batch * tokens, width]), kernel).add(w[`attention${i}.output_dense.bias`]);
  };
  const transformer = () => {
    const [batch, tokens] = x.shape, width = w["embedding.embeddings"].shape[1];
    let v = tf.gather(w["embedding.embeddings"], x.flatten());
    for (let i = 0; i < BLOCKS; i++) {
      v = norm(v.add(attention(v, batch, tokens, width, i)), `norm${i}a`);
      v = norm(v.add(dense(tf.relu(dense(v, `inner${i}`)), `outer${i}`)), `norm${i}b`);
    }
    return dense(v.reshape([batch, tokens, width]).mean(1), "logits");
  };

  const forward = net === "cnn" ? cnn : transformer;
  const optimizer = tf.train.adam(1e-3, 0.9, 0.999, 1e-7);
  const step = async () => {
    await tf.setBackend(target);
    const loss = optimizer.minimize(() => tf.losses.softmaxCrossEntropy(y, forward()), true);
    const [value] = await loss.data();
    loss.dispose();
    return value;
  };
  let first = reference.losses.data.length;
  return {
    async run() {
      const losses = [];
      for (; first > 0; first--) losses.push(await step());
      return { losses: losses.length ? losses : [await step()] };
    },
    about: { threads: target === "wasm" ? tf.wasm.getThreadsCount() : 0 },
    close: () => { Object.values(w).forEach((v) => v.dispose()); optimizer.dispose(); },
  };
}
