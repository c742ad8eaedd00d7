// The options of `load`, checked by name and kind; the core checks texts further.
import { RmnetError, isA, shown } from './errors.js';

const isText = (value) => typeof value === 'string';
const isFlag = (value) => typeof value === 'boolean';
const isCount = (value) => Number.isInteger(value) && value > 0;
const isObject = (value) => typeof value === 'object' && value !== null;
const KINDS = {
  device: [isText, 'auto, webgpu or cpu'],
  precision: [isText, 'f32 or f16'],
  batch: [isCount, 'a whole number from 1 on'],
  size: [(value) => sides(value).length === 2 && sides(value).every(isCount), 'a side in pixels, [height, width] or { height, width }'],
  output: [isText, 'logits, features or the name of a layer'],
  merge: [isFlag, 'true or false'],
  assume: [isObject, 'an object such as { stem_stride: 1 }'],
  tuning: [(value) => isText(value) || isObject(value), 'a tuning'],
  worker: [(value) => isFlag(value) || isText(value) || isA(value, 'URL'), 'true, false, or the URL of worker.js'],
  signal: [(value) => isA(value, 'AbortSignal'), 'an AbortSignal'],
  onProgress: [(value) => typeof value === 'function', 'a function'],
};

/** Refuses unknown names and wrong kinds; leaves out what is undefined. */
export function checked(options, kinds = KINDS) {
  if (!isObject(options)) throw new RmnetError('option', `options: expected an object, found ${shown(options)}`);
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(kinds, name)) {
      throw new RmnetError('option', `no such option: ${name}; there are ${Object.keys(kinds).join(', ')}`);
    }
    const [accepts, expected] = kinds[name];
    if (!accepts(value)) throw new RmnetError('option', `${name}: expected ${expected}, found ${shown(value)}`);
  }
  return given;
}

export const CLASSIFY = { topK: [isCount, 'a whole number from 1 on'] };

/** What the core takes, as JSON. */
export function toCore({ size, tuning, ...options }) {
  try {
    return JSON.stringify({
      ...options,
      ...(size === undefined ? {} : { size: sides(size) }),
      ...(tuning === undefined ? {} : { tuning: isText(tuning) ? tuning : JSON.stringify(tuning) }),
    });
  } catch (cause) {
    throw new RmnetError('option', `an option cannot be written as JSON: ${cause.message}`, { cause });
  }
}

function sides(size) {
  if (typeof size === 'number') return [size, size];
  return Array.isArray(size) ? size : [size?.height, size?.width];
}
