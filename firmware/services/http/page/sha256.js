// SHA-256 (FIPS 180-4), HMAC (RFC 2104), PBKDF2 (RFC 8018, 5.2) on bytes: browsers offer crypto.subtle on https only.

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2), and of the
// square roots of the first 8 (5.3.3).
const ROUNDS = new Int32Array(64), START = new Int32Array(8);
for (let n = 2, found = 0; found < 64; n++) {
  let divisor = 2;
  while (n % divisor) divisor++;
  if (divisor < n) continue;
  if (found < 8) START[found] = (Math.sqrt(n) % 1) * 2 ** 32;
  ROUNDS[found++] = (Math.cbrt(n) % 1) * 2 ** 32;
}

const expanded = new Int32Array(64);
const rotated = (x, n) => x >>> n | x << 32 - n;

// Takes 16 words into the state, of 8 words.
function compress(state, words) {
  const w = expanded;
  for (let i = 0; i < 64; i++) {
    if (i < 16) { w[i] = words[i]; continue; }
    const x = w[i - 15], y = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (rotated(x, 7) ^ rotated(x, 18) ^ x >>> 3) + (rotated(y, 17) ^ rotated(y, 19) ^ y >>> 10);
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const s = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + (e & f ^ ~e & g) + ROUNDS[i] + w[i];
    const t = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + (a & b ^ a & c ^ b & c);
    h = g; g = f; f = e; e = d + s | 0; d = c; c = b; b = a; a = s + t | 0;
  }
  [a, b, c, d, e, f, g, h].forEach((value, i) => { state[i] += value; });
}

const wordsAt = (view, at) => Array.from({ length: 16 }, (_, i) => view.getInt32(at + 4 * i));

// Ends a hash: `state` has taken `before` bytes, a multiple of 64, and `bytes` are the rest. The state as words.
function ended(state, bytes, before) {
  state = state.slice();
  const view = new DataView(new ArrayBuffer(bytes.length + 72 & ~63));
  bytes.forEach((byte, i) => view.setUint8(i, byte));
  view.setUint8(bytes.length, 0x80);
  view.setUint32(view.byteLength - 4, 8 * (before + bytes.length));
  for (let at = 0; at < view.byteLength; at += 64) compress(state, wordsAt(view, at));
  return state;
}

function bytesOf(words) {
  const view = new DataView(new ArrayBuffer(4 * words.length));
  words.forEach((word, i) => view.setInt32(4 * i, word));
  return new Uint8Array(view.buffer);
}

const sha256 = bytes => bytesOf(ended(START, bytes, 0));

// The states of a key's inner and outer hash once they have taken its block.
function keyed(key) {
  if (key.length > 64) key = sha256(key);
  return [0x36, 0x5c].map(pad => {
    const block = new DataView(new ArrayBuffer(64)), state = START.slice();
    for (let i = 0; i < 64; i++) block.setUint8(i, pad ^ key[i]);
    compress(state, wordsAt(block, 0));
    return state;
  });
}

function hmac(key, bytes) {
  const [inner, outer] = keyed(key);
  return bytesOf(ended(outer, bytesOf(ended(inner, bytes, 64)), 64));
}

// The first 32 bytes of the derived key: one block is all that SCRAM-SHA-256 asks for.
function pbkdf2(password, salt, iterations) {
  const [inner, outer] = keyed(password);
  // A hash of 32 bytes behind the key's block: the end mark, and the length of both in bits.
  const block = new Int32Array(16);
  block.set(ended(outer, bytesOf(ended(inner, Uint8Array.of(...salt, 0, 0, 0, 1), 64)), 64));
  block[8] = 1 << 31;
  block[15] = 8 * (64 + 32);
  const sum = block.slice(0, 8), state = new Int32Array(8);
  while (--iterations) {
    for (const key of [inner, outer]) {
      state.set(key);
      compress(state, block);
      block.set(state);
    }
    for (let i = 0; i < 8; i++) sum[i] ^= state[i];
  }
  return bytesOf(sum);
}
