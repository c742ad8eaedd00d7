/** An error of rmnet. `code` tells kinds apart; `message` names the tensor, option or limit, what was expected and what was found. */
export class RmnetError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = 'RmnetError';
    this.code = code;
  }
}

/** Any error as it is thrown to the app: those of WebAssembly get a code, an abort stays what it is. */
export function thrown(error) {
  if (error instanceof RmnetError || error?.name === 'AbortError') return error;
  if (error instanceof WebAssembly.RuntimeError) {
    const message = `rmnet crashed, please report it: ${error.message}`;
    return new RmnetError('crashed', message, { cause: error });
  }
  const message = String(error?.message ?? error);
  return new RmnetError(typeof error?.code === 'string' ? error.code : 'internal', message, { cause: error });
}

/** What a worker can post, and back. */
export const posted = ({ name, code, message }) => ({ name, code, message });
export const received = ({ name, code, message }) =>
  name === 'AbortError' ? new DOMException(message, name) : new RmnetError(code ?? 'internal', message);
