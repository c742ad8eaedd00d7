/** An error of rmnet. `code` tells kinds apart; `message` names the tensor, option or limit, what was expected and what was found. */
export class RmnetError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = 'RmnetError';
    this.code = code;
  }
}

/** Any error as an `RmnetError`: those of WebAssembly have a code, or are a crash. */
export function toRmnetError(error) {
  if (error instanceof RmnetError) return error;
  if (error instanceof WebAssembly.RuntimeError) return crash(error);
  const message = String(error?.message ?? error);
  return new RmnetError(typeof error?.code === 'string' ? error.code : 'internal', message, { cause: error });
}

export const crash = (cause) => new RmnetError('crashed', `rmnet crashed, please report it: ${cause?.message ?? cause}`, { cause });

/** Errors as plain objects for `postMessage`, and back. */
export const errorToMessage = ({ code, message }) => ({ code, message });
export const errorFromMessage = ({ code, message }) => new RmnetError(code, message);

/** A value in an error's text. */
export function shown(value) {
  if (value === null || value === undefined || typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (typeof value === 'object') return value.constructor?.name === 'Object' ? 'an object' : `a value of ${value.constructor?.name ?? 'no class'}`;
  return typeof value === 'function' ? 'a function' : JSON.stringify(value);
}

/** Whether a value is of one of these classes, of this page or of one of its frames. */
export const isA = (value, ...names) => names.includes(Object.prototype.toString.call(value).slice(8, -1));
