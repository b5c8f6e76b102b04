// Inputs, expected outputs and first weights of a net, as bench/site.py wrote them.
const KINDS = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array };

/** @param {string} base the net's folder */
export async function openNet(base) {
  const [index, bytes] = await Promise.all([
    fetch(`${base}arrays.json`).then((r) => r.json()),
    fetch(`${base}arrays.bin`).then((r) => r.arrayBuffer()),
  ]);
  const read = (list) => Object.fromEntries(list.map(({ name, dtype, shape, offset, length }) =>
    [name, { dtype, shape, data: new KINDS[dtype](bytes, offset, length) }]));
  return { feeds: read(index.inputs), reference: read(index.outputs), weights: read(index.weights ?? []), base };
}

/** A network as a list of layers, for engines without an ONNX reader. @param {string} base */
export async function openLayers(base) {
  const response = await fetch(`${base}layers.json`);
  if (!response.ok) throw new Error("no ONNX reader, and this net is not available in another form");
  const [layers, bytes] = [await response.json(), await fetch(`${base}layers.bin`).then((r) => r.arrayBuffer())];
  const read = ({ shape, offset }) => ({ shape, data: new Float32Array(bytes, offset, shape.reduce((a, b) => a * b, 1)) });
  return layers.map((layer) => ({ ...layer, weight: read(layer.weight), bias: read(layer.bias) }));
}
