// Inner loops of a matrix product in WebAssembly: multiply-adds per second for tiles of several sizes.
//
//     python3 benches/web/tiles.py        in headless Chromium
//     node benches/web/tiles.mjs          Node 20 needs --experimental-wasm-relaxed-simd for the second column
//
// A tile of 4m x n keeps m * n accumulators. Each step loads m vectors of the packed left panel and n splats of the packed right one; both
// panels are in the cache. x86-64 has 16 vector registers: where accumulators, operands and the product need more, the compiler stores
// some in memory.
const DEPTH = 256;
const UNROLL = 2;
const TILES = [[1, 4], [1, 8], [2, 3], [2, 4], [2, 5], [2, 6], [3, 3], [3, 4], [4, 2], [4, 3], [4, 4]];

const unsigned = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)]);
const signed = (n) => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...signed(n >> 7)]);
const section = (id, bytes) => [id, ...unsigned(bytes.length), ...bytes];

/** A module with `f(steps, left, right)`, which returns a sum of the accumulators. */
function moduleOf(m, n, relaxed) {
  const accumulators = m * n;
  const [left, right] = [3 + accumulators, 3 + accumulators + m];
  const get = (local) => [0x20, local];
  const set = (local) => [0x21, local];
  const [add, multiply, multiplyAdd] = [[0xfd, 0xe4, 1], [0xfd, 0xe6, 1], [0xfd, 0x85, 2]];
  const code = [0x03, 0x40]; // loop
  for (let step = 0; step < UNROLL; step++) {
    for (let i = 0; i < m; i++) code.push(...get(1), 0xfd, 0, 2, ...unsigned((step * m + i) * 16), ...set(left + i)); // v128.load
    for (let j = 0; j < n; j++) {
      code.push(...get(2), 0xfd, 9, 2, ...unsigned((step * n + j) * 4), ...set(right)); // v128.load32_splat
      for (let i = 0; i < m; i++) {
        const sum = 3 + j * m + i;
        const product = [...get(left + i), ...get(right)];
        code.push(...(relaxed ? [...product, ...get(sum), ...multiplyAdd] : [...get(sum), ...product, ...multiply, ...add]), ...set(sum));
      }
    }
  }
  const advance = (local, bytes) => [...get(local), 0x41, ...signed(bytes), 0x6a, ...set(local)];
  code.push(...advance(1, m * 16 * UNROLL), ...advance(2, n * 4 * UNROLL));
  code.push(...get(0), 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b, ...get(3)); // until there is no step left
  for (let i = 1; i < accumulators; i++) code.push(...get(3 + i), ...add);
  code.push(0xfd, 0x1f, 0, 0x0b); // f32x4.extract_lane 0
  const body = [1, accumulators + m + 1, 0x7b, ...code];
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7d]), ...section(3, [1, 0]), ...section(5, [1, 0, 2]),
    ...section(7, [1, 1, 0x66, 0, 0]), ...section(10, [1, ...unsigned(body.length), ...body]),
  ]);
}

const loops = [];
for (const [m, n] of TILES) {
  for (const relaxed of [false, true]) {
    const bytes = moduleOf(m, n, relaxed);
    if (!WebAssembly.validate(bytes)) continue;
    const { f } = (await WebAssembly.instantiate(bytes)).instance.exports;
    loops.push({ m, n, relaxed, f, best: 0 });
  }
}
const run = ({ f }, times) => {
  for (let i = 0; i < times; i++) f(DEPTH / UNROLL, 0, 65536);
};
loops.forEach((loop) => run(loop, 20000));
await new Promise((resolve) => setTimeout(resolve, 500)); // for the optimised code
// Short samples in turn, of which the best counts: other work on the machine does not interrupt every one.
for (let round = 0; round < 40; round++) {
  for (const loop of loops) {
    const times = Math.round(1e8 / (DEPTH * loop.m * loop.n * 4));
    const start = performance.now();
    run(loop, times);
    const macs = times * DEPTH * loop.m * loop.n * 4;
    loop.best = Math.max(loop.best, macs / (performance.now() - start) / 1e6);
  }
}
const host = globalThis.process ? `Node ${process.version}` : navigator.userAgent;
const lines = [`${host}; billions of multiply-adds per second, best sample`, '', '| tile | mul, add | relaxed_madd |', '|---|---|---|'];
for (const [m, n] of TILES) {
  const rate = (relaxed) => loops.find((l) => l.m === m && l.n === n && l.relaxed === relaxed)?.best.toFixed(1) ?? '';
  lines.push(`| ${4 * m}x${n} | ${rate(false)} | ${rate(true)} |`);
}
if (globalThis.document) await fetch('/report', { method: 'POST', body: JSON.stringify({ lines }) });
else console.log(lines.join('\n'));
