// Files of named arrays, as hither, PyTorch and others read them: 8 bytes of length, a header in JSON, the numbers.
/** @typedef {{ shape: number[], data: Float32Array }} Named */

/** @param {Record<string, Named>} arrays @param {Record<string, string>} metadata @returns {Blob} */
export function write(arrays, metadata) {
  /** @type {Record<string, any>} */
  const header = { __metadata__: metadata };
  let at = 0;
  for (const [name, { shape, data }] of Object.entries(arrays)) header[name] = { dtype: "F32", shape, data_offsets: [at, (at += data.byteLength)] };
  let text = new TextEncoder().encode(JSON.stringify(header));
  if (text.length % 8) text = new TextEncoder().encode(JSON.stringify(header) + " ".repeat(8 - (text.length % 8))); // numbers begin aligned
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(text.length), true);
  return new Blob([length, text, ...Object.values(arrays).map((a) => /** @type {BlobPart} */ (a.data))], { type: "application/octet-stream" });
}
