// jax-js: the nets of bench/trained.py as one jitted function from weights, moments and a batch to the loss and what comes after.
// Arrays are consumed where they are used; .ref keeps one more use.
const HEADS = 4, BLOCKS = 2, RATE = 1e-3;

export async function create({ net, feeds, weights, reference, target, threads }) {
  Object.defineProperty(navigator, "hardwareConcurrency", { value: threads, configurable: true }); // its number of workers
  const { init, defaultDevice, jit, lax, nn, numpy: np, valueAndGrad } = await import("/npm/@jax-js/jax/dist/index.js");
  await init(target);
  defaultDevice(target);
  const array = ({ data, shape }, dtype = np.float32) => np.array(data, { dtype }).reshape(shape);
  const names = Object.keys(weights);
  const dense = (v, p, name) => np.matmul(v, p[`${name}.kernel`].ref).add(p[`${name}.bias`].ref);

  const cnn = (p, x) => {
    let v = x; // channels first
    for (const name of ["conv1", "conv2"]) {
      const kernel = p[`${name}.kernel`].ref.transpose([3, 2, 0, 1]);
      v = nn.relu(lax.convGeneralDilated(v, kernel, [1, 1], [[1, 1], [1, 1]]).add(p[`${name}.bias`].ref.reshape([1, -1, 1, 1])));
      const [n, c, h, w] = v.shape;
      v = np.max(v.reshape([n, c, h / 2, 2, w / 2, 2]), [3, 5]);
    }
    const [n] = v.shape;
    return dense(nn.relu(dense(v.transpose([0, 2, 3, 1]).reshape([n, -1]), p, "hidden")), p, "logits");
  };

  const norm = (v, p, name) => {
    const centred = v.ref.sub(np.mean(v, -1, { keepdims: true }));
    const variance = np.mean(np.square(centred.ref), -1, { keepdims: true });
    return centred.div(np.sqrt(variance.add(1e-5))).mul(p[`${name}.gamma`].ref).add(p[`${name}.beta`].ref);
  };
  const attention = (v, p, batch, tokens, width, i) => {
    const size = width / HEADS;
    const part = (name) => {
      const kernel = p[`attention${i}.${name}_dense.kernel`].ref.reshape([width, width]);
      const bias = p[`attention${i}.${name}_dense.bias`].ref.reshape([width]);
      return np.matmul(v.ref, kernel).add(bias).reshape([batch, tokens, HEADS, size]).transpose([0, 2, 1, 3]);
    };
    const [q, k, u] = ["query", "key", "value"].map(part);
    v.dispose();
    const scores = np.matmul(q.mul(1 / Math.sqrt(size)), k.transpose([0, 1, 3, 2]));
    const seen = np.matmul(nn.softmax(scores, -1), u).transpose([0, 2, 1, 3]).reshape([batch * tokens, width]);
    const kernel = p[`attention${i}.output_dense.kernel`].ref.reshape([width, width]);
    return np.matmul(seen, kernel).add(p[`attention${i}.output_dense.bias`].ref);
  };
  const [batch, tokens] = feeds.x.shape;
  const transformer = (p, x) => {
    const width = p["embedding.embeddings"].shape[1];
    let v = np.take(p["embedding.embeddings"].ref, x.reshape([batch * tokens]), 0);
    for (let i = 0; i < BLOCKS; i++) {
      v = norm(v.ref.add(attention(v, p, batch, tokens, width, i)), p, `norm${i}a`);
      v = norm(v.ref.add(dense(nn.relu(dense(v, p, `inner${i}`)), p, `outer${i}`)), p, `norm${i}b`);
    }
    return dense(np.mean(v.reshape([batch, tokens, width]), 1), p, "logits");
  };

  const forward = net === "cnn" ? cnn : transformer;
  const lossOf = (p, x, y) => {
    const loss = np.mean(np.sum(nn.logSoftmax(forward(p, x), -1).mul(nn.oneHot(y, 10)), -1)).neg();
    Object.values(p).forEach((v) => v.dispose?.());
    return loss;
  };
  const train = jit((p, m, v, correction, x, y) => {
    const kept = Object.fromEntries(names.map((n) => [n, p[n].ref]));
    const [loss, g] = valueAndGrad(lossOf)(p, x, y);
    const after = { p: {}, m: {}, v: {} };
    for (const n of names) {
      after.m[n] = m[n].mul(0.9).add(g[n].ref.mul(0.1));
      after.v[n] = v[n].mul(0.999).add(np.square(g[n]).mul(0.001));
      const change = after.m[n].ref.mul(correction.ref).div(np.sqrt(after.v[n].ref).add(1e-7));
      after.p[n] = kept[n].sub(change);
    }
    correction.dispose();
    return [loss, after.p, after.m, after.v];
  });
  const picture = feeds.x.shape.length === 4;
  const x = () => (picture ? array(feeds.x).transpose([0, 3, 1, 2]) : array(feeds.x, np.int32));
  let state = [0, 0, 0].map((_, i) => Object.fromEntries(names.map((n) =>
    [n, i ? np.zeros(weights[n].shape) : array(weights[n])])));
  let count = 0;
  const step = async () => {
    count += 1;
    const correction = np.array([RATE * Math.sqrt(1 - 0.999 ** count) / (1 - 0.9 ** count)]);
    const [loss, p, m, v] = train(...state, correction, x(), array(feeds.y, np.int32));
    state = [p, m, v];
    return (await loss.data())[0];
  };
  let first = reference.losses.data.length;
  return {
    async run() {
      const losses = [];
      for (; first > 0; first--) losses.push(await step());
      return { losses: losses.length ? losses : [await step()] };
    },
    about: { threads },
  };
}
