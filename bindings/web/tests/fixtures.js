// Networks with logits by PyTorch.
import { check } from './harness.js';

export const digits = new URL('/assets/digits/', location.href);
export const fixture = (name) => new URL(`/tests/fixtures/${name}/`, location.href);

export async function bytes(url) {
  const response = await fetch(url);
  check(response.ok, `${url}: ${response.status}`);
  return response.arrayBuffer();
}

/** The tensors of a safetensors file, as typed arrays. */
export async function tensors(url) {
  const file = await bytes(url);
  const length = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length)));
  const types = { F32: Float32Array, F64: Float64Array, I64: BigInt64Array };
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__');
  return Object.fromEntries(
    entries.map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
      const data = file.slice(8 + length + from, 8 + length + to);
      return [name, { shape, data: types[dtype] ? new types[dtype](data) : data }];
    }),
  );
}

/** Largest difference, relative to the largest expected value. */
export function error(found, expected) {
  check(found.length === expected.length, `expected ${expected.length} values, found ${found.length}`);
  let most = 0;
  let off = 0;
  for (let i = 0; i < found.length; i++) {
    most = Math.max(most, Math.abs(Number(expected[i])));
    off = Math.max(off, Math.abs(found[i] - Number(expected[i])));
  }
  check(Number.isFinite(off), 'a value is no number');
  return off / most;
}
