// rmnet in a browser: image inference for the ResNet family, from unmodified checkpoints, on WebGPU or, without a GPU, on the CPU.
import { RmnetError, isA, shown, toRmnetError } from './errors.js';
import { CLASSIFY, checked, toCore } from './options.js';
import { toTransferable, toTransferables, transferList } from './pixels.js';
import { PagePort, WorkerPort } from './ports.js';
import { openSource } from './sources.js';

export { RmnetError };

/** Loads a network; see `index.d.ts`. */
export async function load(source, options = {}) {
  const { worker = true, signal, onProgress, ...settings } = checked(options);
  signal?.throwIfAborted();
  const loading = new Loading(source, { worker, signal, device: settings.device, core: toCore(settings) }, onProgress);
  let abort;
  const aborted = new Promise((_, reject) => {
    abort = () => reject(signal.reason);
    signal?.addEventListener('abort', abort);
  });
  try {
    return await Promise.race([loading.model(), aborted]);
  } catch (error) {
    const reason = signal?.aborted ? signal.reason : toRmnetError(error);
    loading.end(reason);
    throw reason;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

/** What has been opened on the way to a model, so that it can be closed wherever loading ends. */
class Loading {
  #source;
  #options;
  #onProgress;
  #port;
  #weights;
  #ended;

  constructor(source, options, onProgress) {
    this.#source = source;
    this.#options = options;
    this.#onProgress = onProgress;
  }

  async model() {
    const { signal, core } = this.#options;
    // The worker starts while config files are read.
    const opening = openSource(this.#source, signal);
    opening.catch(() => {}); // awaited below
    await this.#openPort();
    const { weights, config, preprocessor, files = [] } = await opening;
    this.#weights = this.#kept(await weights(), (opened) => opened.cancel(this.#ended));
    await this.#send();
    const about = await this.#port.call('load', [{ config, preprocessor, options: core }], [], (stage) => this.#progress(stage));
    this.#progress('ready');
    return new Model(this.#port, { ...about, configFiles: files });
  }

  /** Closes what is open, and what opens later. */
  end(reason) {
    this.#ended = reason instanceof Error ? reason : new RmnetError('freed', 'loading was aborted');
    this.#weights?.cancel(reason);
    this.#port?.close(this.#ended);
  }

  #kept(opened, close) {
    if (!this.#ended) return opened;
    close(opened);
    throw this.#ended;
  }

  /** A worker, unless only the page reaches a real GPU: some browsers keep WebGPU from workers. */
  async #openPort() {
    const { worker, device = 'auto' } = this.#options;
    if (worker) {
      this.#port = new WorkerPort(worker === true ? undefined : worker);
      const { webgpu } = await this.#port.call('start', []);
      if (webgpu || device === 'cpu' || !(await pageHasGpu(device))) return;
      this.#port.close(new RmnetError('freed', 'the page has taken over'));
    }
    this.#port = this.#kept(new PagePort(), (port) => port.close(this.#ended));
    await this.#port.call('start', []);
  }

  /** Passes the weights on as they arrive. */
  async #send() {
    const { length, chunks } = this.#weights;
    await this.#port.call('begin', [length]);
    let loaded = 0;
    this.#progress('download', loaded, length);
    for await (const chunk of chunks) {
      loaded += chunk.length;
      await this.#port.call('push', [chunk], [chunk.buffer]);
      this.#progress('download', loaded, loaded > length ? 0 : length); // a compressed answer has another length
    }
  }

  #progress(stage, loaded = 0, total = 0) {
    try {
      if (!this.#ended) this.#onProgress?.({ stage, loaded, total });
    } catch (error) {
      reportError(error); // the app's own
    }
  }
}

/** Whether the page has an adapter that `device` would take. */
async function pageHasGpu(device) {
  const adapter = await navigator.gpu?.requestAdapter();
  return !!adapter && (device === 'webgpu' || !adapter.info?.isFallbackAdapter);
}

/** A network on a device; see `index.d.ts`. */
export class Model {
  #port;
  #about;

  constructor(port, about) {
    this.#port = port;
    this.#about = about;
    Object.values(about).forEach((value) => Object.freeze(value));
  }

  get device() { return this.#about.device; }
  get onGpu() { return this.#about.onGpu; }
  get inWorker() { return this.#port instanceof WorkerPort; }
  get passedOver() { return this.#about.passedOver; }
  get configFiles() { return this.#about.configFiles; }
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
  get gpu() { return this.onGpu ? this.#port.gpu() : undefined; }

  async run(input) {
    if (!isA(input, 'Float32Array')) {
      throw new RmnetError('input', `run: expected a Float32Array of ${this.inputShape.join('x')}, found ${shown(input)}`);
    }
    const sent = this.inWorker ? input.slice() : input; // the app keeps its own
    return this.#port.call('run', [sent], [sent.buffer]);
  }

  async input(image) {
    const sent = await toTransferable(image, this.inWorker);
    return this.#port.call('input', [sent], transferList(sent));
  }

  async classify(images, options = {}) {
    const { topK = 5 } = checked(options, CLASSIFY);
    if (!this.#about.classifies) {
      throw new RmnetError('input', `classify: expected a network with classes, found an output of ${this.outputShape.join('x')}`);
    }
    if (!Array.isArray(images)) return (await this.#classified([images], topK))[0];
    const found = [];
    const [batch] = this.inputShape;
    for (let at = 0; at < images.length; at += batch) {
      found.push(...(await this.#classified(images.slice(at, at + batch), topK)));
    }
    return found;
  }

  async #classified(images, topK) {
    const sent = await toTransferables(images, this.inWorker);
    return this.#port.call('classify', [sent, topK], sent.flatMap(transferList));
  }

  async memory() {
    return this.#port.call('memory', []);
  }

  free() {
    this.#port.close(new RmnetError('freed', 'the model was freed'));
  }

  [Symbol.dispose ?? Symbol.for('Symbol.dispose')]() {
    this.free();
  }
}
