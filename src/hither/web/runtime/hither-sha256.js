// SHA-256 (FIPS 180-4) for pages without crypto.subtle: plain http on a local network.

const K = new Uint32Array(64), START = new Uint32Array(8);
for (let n = 2, count = 0; count < 64; n++) {
  let d = 2;
  while (n % d) d++;
  if (d < n) continue; // not a prime
  START[count] = (Math.sqrt(n) % 1) * 2 ** 32; // beyond the eighth: ignored
  K[count++] = (Math.cbrt(n) % 1) * 2 ** 32;
}

/** @param {Uint8Array} data @returns {Uint8Array} the digest */
export function sha256(data) {
  const { length } = data, size = (length + 72) & ~63, view = new DataView(new ArrayBuffer(size)), h = START.slice(), w = new Uint32Array(64);
  new Uint8Array(view.buffer).set(data);
  view.setUint8(length, 0x80);
  view.setUint32(size - 8, length / 2 ** 29);
  view.setUint32(size - 4, length << 3);
  for (let at = 0; at < size; at += 64) {
    for (let i = 0; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2];
      w[i] = i < 16 ? view.getUint32(at + 4 * i) : w[i - 16] + w[i - 7] + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
    }
    let [a, b, c, d, e, f, g, j] = h;
    for (let i = 0; i < 64; i++) {
      const t = j + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
      const u = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [j, g, f, e, d, c, b, a] = [g, f, e, (d + t) | 0, c, b, a, (t + u) | 0];
    }
    [a, b, c, d, e, f, g, j].forEach((x, i) => (h[i] += x));
  }
  h.forEach((x, i) => view.setUint32(4 * i, x));
  return new Uint8Array(view.buffer, 0, 32);
}

/** @param {number} x @param {number} n */
const turn = (x, n) => (x >>> n) | (x << (32 - n));
