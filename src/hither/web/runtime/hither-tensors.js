// Values as the caller holds them against elements as a device stores them: dtypes, conversion both ways, and the loader's error.
/** @typedef {import("./types.d.ts").Spec} Spec */
/** @typedef {{ data: any, shape?: readonly number[] }} Given */

/** What the loader throws. `code` says which kind: see hither.d.ts. */
export class HitherError extends Error {
  /** @param {string} code @param {string} message @param {number} [build] there was no room for this one of those to choose from */
  constructor(code, message, build) {
    super(message);
    this.name = "HitherError";
    this.code = code;
    this.build = build;
  }
}

/** @param {string} code @param {string} message @returns {never} */
export const fail = (code, message) => {
  throw new HitherError(code, message);
};

/** @param {string} where @param {number} bytes @param {string} why @param {number} build */
export const tooLarge = (where, bytes, why, build) => new HitherError("memory",
  `${where} has no room for the ${bytes} bytes of this program (${why}): close others, or load a smaller variant or for another device`, build);

export const node = !!globalThis.process?.versions?.node;

// () -> i32 { i32x4.relaxed_dot_i8x16_i7x16_add_s(127s, 255s, 0s)[0] }: valid exactly where relaxed SIMD is
const DOT = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 64, 1, 62, 0,
  ...[127, 255, 0].flatMap((byte) => [253, 12, ...Array(16).fill(byte)]), 253, 147, 2, 253, 27, 0, 11];

/** What has not compiled was valid. @param {any} e @returns {never} */
export const barred = (e) => fail("device", `${e.message}: let the Content-Security-Policy allow 'wasm-unsafe-eval'`);

/** The first WASM build that suits this engine; -1 if there is none. @param {import("./types.d.ts").Build[]} builds */
export function fitting(builds) {
  const code = new Uint8Array(DOT), relaxed = WebAssembly.validate(code);
  let apart = false;
  try {
    // bytes above 127 show how products are made: x86 without an operation of its own adds two, and saturates at 16 bits
    apart = relaxed && /** @type {any} */ (new WebAssembly.Instance(new WebAssembly.Module(code)).exports).f() === 65534;
  } catch (e) {
    barred(e);
  }
  return builds.findIndex((b) => b.requires.every((x) => x === "relaxed-simd" ? relaxed : x === "dot-apart" && apart));
}

/** @type {any} */
const Half = /** @type {any} */ (globalThis).Float16Array;

/** @type {Record<string, any>} */
const ARRAYS = { bool: Uint8Array, float16: Half ?? Uint16Array };
for (const T of [Int8Array, Uint8Array, Int16Array, Uint16Array, Int32Array, Uint32Array, BigInt64Array, BigUint64Array, Float32Array, Float64Array]) {
  ARRAYS[T.name.toLowerCase().replace(/big|array/g, "")] = T;
}

/** @param {string} dtype @returns {any} the constructor of arrays of this dtype */
export const arrayOf = (dtype) => ARRAYS[dtype] ?? fail("format", `there is no dtype ${dtype}`);

/** @param {readonly number[]} shape */
export const count = (shape) => shape.reduce((n, d) => n * d, 1);

/** Bytes of an array. @param {readonly number[]} shape @param {string} dtype @returns {number} */
export const sizeOf = (shape, dtype) => count(shape) * arrayOf(dtype).BYTES_PER_ELEMENT;

/** @param {Uint8Array} bytes @param {string} dtype */
const elements = (bytes, dtype) => new (arrayOf(dtype))((bytes.length === bytes.buffer.byteLength ? bytes : bytes.slice()).buffer);

/** Elements of one dtype as elements of another; the same bytes where nothing changes.
 * @param {Uint8Array} bytes @param {string} from @param {string} to @param {string} what @returns {Uint8Array} */
export const convert = (bytes, from, to, what) => (from === to ? bytes : cast(elements(bytes, from), from, to, what));

/** Integers that do not fit raise. @param {ArrayLike<any>} source @param {string} from "" for plain numbers @param {string} to @param {string} what */
function cast(source, from, to, what) {
  const out = new (arrayOf(to))(source.length), big = /int64/.test(to), integer = /int/.test(to);
  for (let i = 0; i < out.length; i++) {
    const x = from === "float16" && !Half ? fromHalf(source[i]) : source[i], whole = integer ? Number.isInteger(Number(x)) : x == Number(x) || x !== x; // not undefined
    if (whole) out[i] = big ? BigInt(x) : to === "bool" ? !!x : to === "float16" && !Half ? toHalf(Number(x)) : Number(x);
    if (!whole || (integer && out[i] != x)) fail("input", `${what}: element ${i} is ${x}, which does not fit ${to}${from ? `, as which this device carries ${from}` : ""}`);
  }
  return new Uint8Array(out.buffer);
}

const float = new Float32Array(1), bits = new Uint32Array(float.buffer);

/** @param {number} half bits of a float16 */
export function fromHalf(half) {
  bits[0] = (half & 0x7fff) << 13;
  if ((half & 0x7c00) === 0x7c00) bits[0] |= 0x7f800000; // infinite or NaN
  else float[0] *= 2 ** 112;
  return half & 0x8000 ? -float[0] : float[0];
}

/** The bits of a float16, rounded to nearest even. @param {number} x */
export function toHalf(x) {
  float[0] = x;
  const sign = (bits[0] >>> 16) & 0x8000, rest = bits[0] & 0x7fffffff;
  if (rest > 0x7f800000) return 0x7e00;
  if (rest >= 0x477ff000) return sign | 0x7c00;
  if (rest >= 0x38800000) return sign | ((rest - 0x38000000 + 0xfff + ((rest >> 13) & 1)) >> 13);
  float[0] = Math.abs(float[0]) + 0.5; // the sum has the ulp of the smallest half, so the float unit rounds
  return sign | (bits[0] - 0x3f000000);
}

/** What a caller gave, as {data, shape}; null if it is not a tensor (perhaps a picture). @param {any} x @returns {Given | null} */
export const given = (x) =>
  Array.isArray(x) || (ArrayBuffer.isView(x) && "length" in x) ? { data: x } // no DataView
  : x?.data && Array.isArray(x.shape) ? x
  : /number|bigint|boolean/.test(typeof x) ? { data: [x], shape: [] } : null;

/** A copy of a caller's array as bytes of storage dtype `to`: the caller may change it while the run waits for its turn, and a view
 * sent to a worker would take all of the memory behind it along. Its shape has been checked.
 * @param {Given} given @param {Spec} spec @param {string} to @param {Uint8Array[]} spare memory of earlier copies @returns {Uint8Array} */
export function encode({ data }, { name, dtype }, to, spare) {
  const what = `input "${name}"`, kind = data[Symbol.toStringTag], array = arrayOf(dtype).name; // its constructor may be another frame's
  if (Array.isArray(data)) return convert(cast(data, "", dtype, what), dtype, to, what);
  const from = dtype === "int64" && kind === "Int32Array" ? "int32" : kind === array || (dtype === "uint8" && kind === "Uint8ClampedArray") ? dtype
    : fail("input", `${what} is ${dtype}: pass ${array}${dtype === "int64" ? ", Int32Array" : ""} or a plain array, not ${kind}`);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength), fits = spare.findIndex((s) => s.length === bytes.length);
  const copy = fits < 0 ? new Uint8Array(bytes.length) : spare.splice(fits, 1)[0];
  copy.set(bytes);
  return convert(copy, from, to, what);
}

/** A result from stored bytes, trimmed to its run-time lengths.
 * @param {Uint8Array} bytes @param {string} from @param {Spec} spec @param {{ axis: number, length: number }[]} lengths */
export function decode(bytes, from, { name, dtype, shape }, lengths) {
  let data = elements(convert(bytes, from, dtype, `output "${name}"`), dtype);
  for (const { axis, length } of lengths) {
    const inner = count(shape.slice(axis + 1)), row = shape[axis] * inner;
    data = data.filter((/** @type {any} */ _, /** @type {number} */ i) => i % row < length * inner);
    shape = shape.map((n, i) => (i === axis ? length : n));
  }
  return { data, shape: [...shape], dtype };
}
