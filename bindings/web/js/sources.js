// Where weights come from: a URL, a response, bytes, or files.
import { RmnetError } from './errors.js';

const WEIGHTS = /\.(safetensors|pth|pt|bin|ckpt)$/i;
// A file that is not there: 403 is what some stores say, and pages of one file answer every path with a page.
const ABSENT = [403, 404, 410];

/**
 * The parts of a source: `weights`, a function that gives `{ length, chunks }` (0 for an unknown length), and the texts of the config
 * files.
 */
export async function opened(source, signal) {
  if (source instanceof Response) return { weights: () => ofResponse(source) };
  if (typeof source === 'string' || source instanceof URL) return fromUrl(new URL(source, globalThis.location?.href), signal);
  if (source instanceof Blob) return { weights: () => ofBlob(source) };
  if (isBytes(source)) return { weights: () => ofBytes(source) };
  if (isList(source)) return fromFiles([...source]);
  if (source && typeof source === 'object' && source.weights) {
    const { weights, config, preprocessor, ...rest } = source;
    const other = Object.keys(rest);
    if (other.length) throw new RmnetError('option', `a source has weights, config and preprocessor, found ${other.join(', ')}`);
    const opens = await opened(weights, signal);
    return {
      weights: opens.weights,
      config: config === undefined ? opens.config : await text(config, signal),
      preprocessor: preprocessor === undefined ? opens.preprocessor : await text(preprocessor, signal),
    };
  }
  throw new RmnetError('option', 'a source is a URL, a Response, bytes, a Blob, files, or { weights, config, preprocessor }');
}

const isBytes = (value) => value instanceof ArrayBuffer || ArrayBuffer.isView(value);
const isList = (value) => Array.isArray(value) || (typeof FileList !== 'undefined' && value instanceof FileList);

/** A file, or a folder (with `/` at the end) that has `model.safetensors`; config files are looked for beside it. */
async function fromUrl(url, signal) {
  const file = url.pathname.endsWith('/') ? new URL('model.safetensors', url) : url;
  const weights = async () => ofResponse(await get(file, signal));
  if (!/^https?:$/.test(file.protocol)) return { weights };
  const beside = (name) => optional(new URL(name, file), signal);
  const [config, preprocessor] = await Promise.all(['config.json', 'preprocessor_config.json'].map(beside));
  return { weights, config, preprocessor };
}

async function get(url, signal) {
  try {
    return await fetch(url, { signal });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new RmnetError('network', `${url}: ${cause.message}`, { cause });
  }
}

async function optional(url, signal) {
  const response = await get(url, signal);
  if (ABSENT.includes(response.status)) return undefined;
  if (!response.ok) throw new RmnetError('network', `${url}: status ${response.status}`);
  const found = await response.text();
  return found.trimStart().startsWith('<') ? undefined : found;
}

function ofResponse(response) {
  if (!response.ok) throw new RmnetError('network', `${response.url}: status ${response.status}`);
  if (response.bodyUsed) throw new RmnetError('option', 'the body of the response has been read');
  const length = Number(response.headers.get('content-length')) || 0;
  return { length, chunks: pieces(response.body) };
}

function ofBlob(blob) {
  return { length: blob.size, chunks: pieces(blob.stream()) };
}

function ofBytes(source) {
  const bytes = ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
  // A copy of each piece, as what is posted is handed over.
  const piece = 8 << 20;
  const chunks = (function* () {
    for (let at = 0; at < bytes.length; at += piece) yield bytes.slice(at, at + piece);
  })();
  return { length: bytes.length, chunks };
}

/** A stream's pieces: not every browser's streams are iterable. */
async function* pieces(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** A folder's files, as an `<input webkitdirectory>` or a drop gives them. */
async function fromFiles(files) {
  const named = (name) => files.find((file) => file.name === name);
  const found = files.filter((file) => WEIGHTS.test(file.name));
  const weights = named('model.safetensors') ?? (found.length === 1 ? found[0] : undefined);
  if (!weights) {
    const names = found.map((file) => file.name).join(', ') || files.map((file) => file.name).join(', ') || 'nothing';
    throw new RmnetError('option', `expected model.safetensors or one weight file, found ${names}`);
  }
  const config = await named('config.json')?.text();
  const preprocessor = await named('preprocessor_config.json')?.text();
  return { weights: () => ofBlob(weights), config, preprocessor };
}

/** The text of a config file: JSON, an object, a file or a URL; none for null. */
async function text(config, signal) {
  if (config === null) return undefined;
  if (config instanceof Blob) return config.text();
  if (config instanceof URL) return optional(config, signal);
  if (typeof config === 'string') return config.trimStart().startsWith('{') ? config : optional(new URL(config, globalThis.location?.href), signal);
  return JSON.stringify(config);
}
