// rmnet in a browser: image inference for the ResNet family, from unmodified checkpoints, on WebGPU or, without a GPU, on the CPU.
import { RmnetError, thrown } from './errors.js';
import { handedOver, portable } from './pixels.js';
import { PagePort, WorkerPort } from './ports.js';
import { opened } from './sources.js';

export { RmnetError };

const isText = (value) => typeof value === 'string';
const isCount = (value) => Number.isInteger(value) && value > 0;
const isObject = (value) => typeof value === 'object' && value !== null;
// What each option may be; the core checks texts further.
const VALUES = {
  device: [isText, 'auto, webgpu or cpu'],
  precision: [isText, 'f32 or f16'],
  batch: [isCount, 'a whole number from 1 on'],
  size: [(value) => sides(value).every(isCount), 'a side in pixels, [height, width] or { height, width }'],
  output: [isText, 'logits, features or the name of a layer'],
  merge: [(value) => typeof value === 'boolean', 'true or false'],
  assume: [isObject, 'an object such as { stem_stride: 1 }'],
  tuning: [(value) => isText(value) || isObject(value), 'a tuning'],
};
const OPTIONS = Object.keys(VALUES);

/** Loads a network; see `index.d.ts`. */
export async function load(source, options = {}) {
  const { worker = true, signal, onProgress, ...rest } = options;
  const settings = coreOptions(rest);
  signal?.throwIfAborted();
  const progress = (stage, loaded = 0, total = 0) => onProgress?.({ stage, loaded, total });
  const port = await openPort(worker, settings.device);
  const abort = () => port.close(signal.reason);
  signal?.addEventListener('abort', abort);
  try {
    signal?.throwIfAborted();
    const about = await fill(port, await opened(source, signal), settings, progress, signal);
    signal?.throwIfAborted();
    progress('ready');
    return new Model(port, about);
  } catch (error) {
    const reason = thrown(signal?.aborted ? signal.reason : error);
    port.close(reason);
    throw reason;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** A worker, unless the page alone reaches the GPU: some browsers keep WebGPU from workers. */
async function openPort(worker, device = 'auto') {
  if (worker) {
    const { port, webgpu } = await startedPort(new WorkerPort());
    if (webgpu || device === 'cpu' || !navigator.gpu) return port;
    port.close(new RmnetError('freed', 'the page has taken over'));
  }
  return (await startedPort(new PagePort())).port;
}

async function startedPort(port) {
  try {
    return { port, ...(await port.call('start', [])) };
  } catch (error) {
    port.close(error);
    throw error;
  }
}

/** Passes the weights on as they arrive, then loads. */
async function fill(port, { weights, config, preprocessor }, options, progress, signal) {
  const { length, chunks } = await weights();
  await port.call('begin', [length]);
  let loaded = 0;
  progress('download', loaded, length);
  for await (const chunk of chunks) {
    signal?.throwIfAborted();
    loaded += chunk.length;
    await port.call('push', [chunk], [chunk.buffer]);
    progress('download', loaded, loaded > length ? 0 : length); // a compressed answer has another length
  }
  return port.call('load', [{ config, preprocessor, options }], [], (stage) => progress(stage));
}

/** The options as the core takes them; unknown names are refused. */
function coreOptions(options) {
  const unknown = Object.keys(options).filter((name) => !OPTIONS.includes(name));
  if (unknown.length) {
    const known = [...OPTIONS, 'worker', 'signal', 'onProgress'].join(', ');
    throw new RmnetError('option', `no such option: ${unknown.join(', ')}; there are ${known}`);
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  for (const [name, value] of Object.entries(given)) {
    const [accepts, expected] = VALUES[name];
    if (!accepts(value)) throw new RmnetError('option', `${name}: expected ${expected}, found ${JSON.stringify(value)}`);
  }
  if (given.size !== undefined) given.size = sides(given.size);
  if (typeof given.tuning === 'object') given.tuning = JSON.stringify(given.tuning);
  return given;
}

function sides(size) {
  if (typeof size === 'number') return [size, size];
  return Array.isArray(size) ? size : [size?.height, size?.width];
}

/** A network on a device; see `index.d.ts`. */
export class Model {
  #port;
  #about;

  constructor(port, about) {
    this.#port = port;
    this.#about = Object.freeze(about);
  }

  get device() { return this.#about.device; }
  get onGpu() { return this.#about.onGpu; }
  get inWorker() { return this.#port instanceof WorkerPort; }
  get passedOver() { return this.#about.passedOver; }
  get family() { return this.#about.family; }
  get inputShape() { return this.#about.inputShape; }
  get outputShape() { return this.#about.outputShape; }
  get labels() { return this.#about.labels; }
  get blocks() { return this.#about.blocks; }
  get assumed() { return this.#about.assumed; }
  get preprocess() { return this.#about.preprocess; }
  get macs() { return this.#about.macs; }
  get dispatches() { return this.#about.dispatches; }
  get activationBytes() { return this.#about.activationBytes; }
  get plan() { return this.#about.plan; }
  get planSvg() { return this.#about.planSvg; }
  get gpu() { return this.#port.gpu; }

  run(input) {
    const values = input instanceof Float32Array ? input : undefined;
    if (!values) {
      const found = input?.constructor?.name ?? typeof input;
      return Promise.reject(new RmnetError('input', `run: expected a Float32Array of ${this.inputShape.join('x')}, found ${found}`));
    }
    const sent = this.inWorker ? values.slice() : values; // the app keeps its own
    return this.#port.call('run', [sent], [sent.buffer]);
  }

  async input(image) {
    const sent = await portable(image, this.inWorker);
    return this.#port.call('input', [sent], handedOver(sent));
  }

  async classify(images, { topK = 5 } = {}) {
    if (!this.#about.classifies) {
      throw new RmnetError('input', `classify: expected a network with classes, found an output of ${this.outputShape.join('x')}`);
    }
    if (!Number.isInteger(topK) || topK < 1) {
      throw new RmnetError('option', `topK: expected a whole number from 1 on, found ${topK}`);
    }
    const several = Array.isArray(images);
    const sent = await Promise.all((several ? images : [images]).map((image) => portable(image, this.inWorker)));
    const found = await this.#port.call('classify', [sent, topK], sent.map(handedOver).flat());
    return several ? found : found[0];
  }

  memory() {
    return this.#port.call('memory', []);
  }

  free() {
    this.#port.close(new RmnetError('freed', 'the model was freed'));
  }

  [Symbol.dispose ?? Symbol.for('Symbol.dispose')]() {
    this.free();
  }
}
