// jax-js: a net given as layers, as one jitted function over its weights.
import { openLayers } from "../net.js";

export async function create({ base, feeds, reference, target }) {
  const layers = await openLayers(base);
  const { init, defaultDevice, jit, lax, nn, numpy: np } = await import("/npm/@jax-js/jax/dist/index.js");
  await init(target);
  defaultDevice(target);
  const array = ({ data, shape }) => np.array(data, { dtype: np.float32 }).reshape(shape);
  const weights = layers.map((layer, i) => {
    const bias = array(layer.bias);
    return { weight: array(layer.weight), bias: i < layers.length - 1 ? bias.reshape([1, layer.bias.shape[0], 1, 1]) : bias };
  });
  const forward = jit((image, parameters) => {
    const values = [image]; // arrays are consumed where they are used; .ref keeps one more use
    layers.slice(0, -1).forEach((layer, i) => {
      const pad = layer.kernel >> 1, { weight, bias } = parameters[i];
      const x = values.at(-1).ref;
      const made = lax.convGeneralDilated(x, weight, [layer.stride, layer.stride], [[pad, pad], [pad, pad]], { featureGroupCount: layer.groups }).add(bias);
      const clipped = layer.clipped ? nn.relu6(made) : made;
      values.push(layer.skip ? clipped.add(values.at(-layer.skip).ref) : clipped);
    });
    const { weight, bias } = parameters.at(-1);
    const pooled = np.mean(values.at(-1).ref, [2, 3]);
    values.forEach((value) => value.dispose());
    return np.matmul(pooled, weight.transpose()).add(bias);
  });
  const [[, image]] = Object.entries(feeds), [output] = Object.keys(reference);
  return {
    async run() {
      const parameters = weights.map(({ weight, bias }) => ({ weight: weight.ref, bias: bias.ref }));
      return { [output]: await forward(array(image), parameters).data() };
    },
    about: {},
  };
}
