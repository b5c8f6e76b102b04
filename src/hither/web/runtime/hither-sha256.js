// SHA-256 (FIPS 180-4) for pages without crypto.subtle: plain http on a local network.

const K = new Uint32Array(64), START = new Uint32Array(8);
for (let n = 2, count = 0; count < 64; n++) {
  let prime = true;
  for (let d = 2; d * d <= n; d++) if (n % d === 0) { prime = false; break; }
  if (!prime) continue;
  if (count < 8) START[count] = (Math.sqrt(n) % 1) * 2 ** 32;
  K[count++] = (Math.cbrt(n) % 1) * 2 ** 32;
}

/** @param {Uint8Array} data @returns {Uint8Array} the digest */
export function sha256(data) {
  const h = START.slice(), w = new Uint32Array(64);
  const padded = new Uint8Array(128);
  padded.set(data.subarray(data.length & ~63), 0);
  const tail = data.length & 63, tailBlocks = tail > 55 ? 128 : 64;
  padded[tail] = 0x80;
  const last = new DataView(padded.buffer, 0, tailBlocks);
  last.setUint32(tailBlocks - 8, Math.floor(data.length / 2 ** 29));
  last.setUint32(tailBlocks - 4, (data.length << 3) >>> 0);
  const body = new DataView(data.buffer, data.byteOffset, data.length & ~63);
  for (const view of [body, last]) {
    for (let at = 0; at < view.byteLength; at += 64) block(h, w, view, at);
  }
  const out = new DataView(new ArrayBuffer(32));
  h.forEach((x, i) => out.setUint32(4 * i, x));
  return new Uint8Array(out.buffer);
}

/** @param {Uint32Array} h @param {Uint32Array} w @param {DataView} view @param {number} at */
function block(h, w, view, at) {
  for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i);
  for (let i = 16; i < 64; i++) {
    const a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
  }
  let [a, b, c, d, e, f, g, j] = h;
  for (let i = 0; i < 64; i++) {
    const t = (j + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
    const u = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    j = g; g = f; f = e; e = (d + t) | 0; d = c; c = b; b = a; a = (t + u) | 0;
  }
  [a, b, c, d, e, f, g, j].forEach((x, i) => { h[i] += x; });
}

/** @param {number} x @param {number} n */
const turn = (x, n) => (x >>> n) | (x << (32 - n));
