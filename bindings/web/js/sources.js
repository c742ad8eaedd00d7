// Where weights come from: a URL, a response, bytes, or files.
import { RmnetError, isA, shown } from './errors.js';

const WEIGHTS = /\.(safetensors|pth|pt|bin|ckpt)$/i;
const PREPROCESSORS = ['preprocessor_config.json', 'processor_config.json'];
// Answers for a file that is not there. Some stores say 403.
const ABSENT = [403, 404, 410];
const MOST = 2 ** 32 - 1;

/**
 * The parts of a source: `weights`, a function that gives `{ length, chunks, cancel }` (0 for an unknown length), the texts of the config
 * files, and their names. Config files are looked for only where the app has not said what they are.
 */
export async function openSource(source, signal, find = { config: true, preprocessor: true }) {
  if (isA(source, 'Response')) return { weights: () => ofResponse(source) };
  if (typeof source === 'string' || isA(source, 'URL')) return fromUrl(absolute(source), signal, find);
  if (isA(source, 'Blob', 'File')) return { weights: () => ofBlob(source) };
  if (isBytes(source)) return { weights: () => ofBytes(source) };
  if (isList(source)) return fromFiles([...source], find);
  if (source && typeof source === 'object' && source.weights) {
    const { weights, config, preprocessor, ...rest } = source;
    const other = Object.keys(rest);
    if (other.length) throw new RmnetError('option', `a source has weights, config and preprocessor, found ${other.join(', ')}`);
    const found = await openSource(weights, signal, { config: config === undefined, preprocessor: preprocessor === undefined });
    return {
      ...found,
      ...(config === undefined ? {} : { config: await configText('config', config, signal) }),
      ...(preprocessor === undefined ? {} : { preprocessor: await configText('preprocessor', preprocessor, signal) }),
    };
  }
  throw new RmnetError('option', `a source is a URL, a Response, bytes, a Blob, files, or { weights, config, preprocessor }, found ${shown(source)}`);
}

const isBytes = (value) => isA(value, 'ArrayBuffer') || ArrayBuffer.isView(value);
const isList = (value) => Array.isArray(value) || isA(value, 'FileList');

function absolute(url) {
  try {
    return new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch (cause) {
    throw new RmnetError('option', `expected a URL, found ${shown(url)}`, { cause });
  }
}

/** A file, or a folder (with `/` at the end) that has `model.safetensors`; config files are looked for beside it. */
async function fromUrl(url, signal, find) {
  const file = url.pathname.endsWith('/') ? new URL('model.safetensors', url) : url;
  const weights = async () => ofResponse(await get(file, signal));
  if (!/^https?:$/.test(file.protocol)) return { weights };
  const beside = (name) => guessed(new URL(name, file), !!file.search, signal);
  const first = [find.config ? beside('config.json') : undefined, find.preprocessor ? beside(PREPROCESSORS[0]) : undefined];
  const [config, preprocessor] = await Promise.all(first);
  const other = config && find.preprocessor && !preprocessor ? await beside(PREPROCESSORS[1]) : undefined;
  return { weights, config, preprocessor: preprocessor ?? other, files: named({ config, preprocessor, other }) };
}

/** The names of the config files that were found. */
function named({ config, preprocessor, other }) {
  const names = [config && 'config.json', preprocessor && PREPROCESSORS[0], other && PREPROCESSORS[1]];
  return names.filter(Boolean);
}

async function get(url, signal) {
  try {
    return await fetch(url, { signal });
  } catch (cause) {
    throw new RmnetError('network', `${url}: ${cause.message}`, { cause });
  }
}

/** A config file that may be there. What cannot be told from a missing one is an error that says what to do. */
async function guessed(url, signed, signal) {
  const say = 'say which config files there are: { weights, config: null, preprocessor: null } for none';
  let response;
  try {
    response = await get(url, signal);
  } catch (error) {
    throw new RmnetError('network', `${error.message}; ${say}`, { cause: error });
  }
  // A signed URL is good for one file.
  if (signed && response.status === 403) throw new RmnetError('network', `${url}: status 403; ${say}`);
  if (ABSENT.includes(response.status)) return undefined;
  if (!response.ok) throw new RmnetError('network', `${url}: status ${response.status}; ${say}`);
  const text = await response.text();
  // Servers of one page answer every path with it.
  return text.trimStart().startsWith('<') ? undefined : text;
}

function ofResponse(response) {
  const where = response.url || 'the response';
  if (!response.ok) throw new RmnetError('network', `${where}: status ${response.status}`);
  if (!response.body || response.bodyUsed || response.body.locked) throw new RmnetError('option', `${where}: its body is empty, or is read already`);
  const length = Number(response.headers.get('content-length')) || 0;
  return ofStream(response.body, length, where);
}

const ofBlob = (blob) => ofStream(blob.stream(), blob.size, blob.name ?? 'the file');

function ofBytes(source) {
  const view = ArrayBuffer.isView(source);
  if ((view ? source.buffer : source).detached) throw new RmnetError('option', 'the bytes were handed to somebody else: their buffer is detached');
  const bytes = view ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength) : new Uint8Array(source);
  // Copied piece by piece, because `postMessage` transfers the buffer.
  const piece = 8 << 20;
  const chunks = (function* () {
    for (let at = 0; at < bytes.length; at += piece) yield bytes.slice(at, at + piece);
  })();
  return checked({ length: bytes.length, chunks, cancel() {} });
}

/** A stream as chunks that may be transferred: not every browser's streams are iterable. */
function ofStream(stream, length, where) {
  const reader = stream.getReader();
  let loaded = 0;
  const chunks = (async function* () {
    for (;;) {
      let next;
      try {
        next = await reader.read();
      } catch (cause) {
        const total = length ? ` of ${length}` : '';
        throw new RmnetError('network', `${where}: broke off after ${loaded}${total} bytes: ${cause?.message ?? cause}`, { cause });
      }
      if (next.done) return;
      loaded += next.value.length;
      // A part of a larger buffer may be the app's.
      yield next.value.byteLength === next.value.buffer.byteLength ? next.value : next.value.slice();
    }
  })();
  return checked({ length, chunks, cancel: (reason) => void reader.cancel(reason).catch(() => {}) });
}

/** WebAssembly has 4 GiB. */
function checked(weights) {
  if (weights.length <= MOST) return weights;
  weights.cancel();
  throw new RmnetError('out-of-memory', `the file: expected at most ${MOST} bytes, found ${weights.length}`);
}

/** A folder's files, as an `<input webkitdirectory>` gives them. Config files count only in the folder of the weights. */
async function fromFiles(files, find) {
  if (!files.every((file) => isA(file, 'File'))) throw new RmnetError('option', 'expected files, with their names');
  const path = (file) => file.webkitRelativePath || file.name;
  const folder = (file) => path(file).slice(0, -file.name.length);
  const models = files.filter((file) => file.name === 'model.safetensors');
  const found = models.length ? models : files.filter((file) => WEIGHTS.test(file.name));
  if (found.length !== 1) {
    const names = (found.length ? found : files).map(path).join(', ') || 'nothing';
    throw new RmnetError('option', `expected model.safetensors or one weight file, found ${names}`);
  }
  const [weights] = found;
  const beside = (name) => files.find((file) => file.name === name && folder(file) === folder(weights))?.text();
  const config = find.config ? await beside('config.json') : undefined;
  const preprocessor = find.preprocessor ? await beside(PREPROCESSORS[0]) : undefined;
  const other = find.preprocessor && !preprocessor ? await beside(PREPROCESSORS[1]) : undefined;
  return { weights: () => ofBlob(weights), config, preprocessor: preprocessor ?? other, files: named({ config, preprocessor, other }) };
}

/** The text of a config that the app names: JSON, an object, a file, a response or a URL; none for `null`. */
async function configText(what, config, signal) {
  if (config === null) return undefined;
  if (isA(config, 'Blob', 'File')) return config.text();
  if (isA(config, 'Response')) return required(config, what);
  if (typeof config === 'string' && config.trimStart().startsWith('{')) return config;
  if (isA(config, 'URL') || (typeof config === 'string' && config.trim())) return required(await get(absolute(config), signal), what);
  if (typeof config === 'object' && isA(config, 'Object')) return JSON.stringify(config);
  throw new RmnetError('option', `${what}: expected JSON, an object, a file, a response, a URL or null, found ${shown(config)}`);
}

async function required(response, what) {
  if (!response.ok) throw new RmnetError('network', `${what}: ${response.url}: status ${response.status}`);
  return response.text();
}
