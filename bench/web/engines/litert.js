// LiteRT.js (TensorFlow Lite, XNNPACK), on a .tflite file where the net has one; images have their channels last there.
import { openLiteRt } from "../litert.js";

export async function create({ base, feeds, reference, target, threads }) {
  const { model, Tensor } = await openLiteRt(base, target, threads);
  const [[, { data, shape: [n, c, h, w] }]] = Object.entries(feeds), [output] = Object.keys(reference);
  const nhwc = Float32Array.from(data, (_, i) => data[(i % c) * h * w + Math.floor(i / c)]); // n is 1
  return {
    async run() {
      const input = new Tensor(nhwc, [n, h, w, c]), [result] = await model.run(input);
      const found = (await result.data()).slice();
      input.delete();
      result.delete();
      return { [output]: found };
    },
    about: {},
    close: () => model.delete(),
  };
}
