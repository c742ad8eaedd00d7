// One network, where WebAssembly runs: in a worker, or on the page. Arguments and results can be posted.
import init, { Bytes, Network } from './core.js';
import { RmnetError } from './errors.js';
import { readPixels } from './pixels.js';

let wasm;

export class Host {
  #bytes;
  #network;

  /** Starts WebAssembly, and says what there is here. */
  async start() {
    wasm ??= init().catch((error) => {
      wasm = undefined;
      throw new RmnetError('wasm', `the WebAssembly module cannot be loaded: ${error.message}`, { cause: error });
    });
    await wasm;
    return { webgpu: !!globalThis.navigator?.gpu };
  }

  /** Makes room for a weight file; 0 if its length is unknown. */
  begin(length) {
    this.#bytes = new Bytes(length);
  }

  push(chunk) {
    this.#bytes.push(chunk);
  }

  /** Loads the network whose bytes were pushed. It is ready then: drivers that compile at the first run have compiled. */
  async load({ config, preprocessor, options }, stage) {
    const bytes = this.#bytes;
    this.#bytes = undefined; // `load` takes it
    this.#network = await Network.load(bytes, config, preprocessor, options, stage);
    const about = JSON.parse(this.#network.about);
    if (about.onGpu) {
      stage('warm-up');
      await this.#network.warm_up();
    }
    return { ...about, plan: this.#network.plan, planSvg: this.#network.plan_svg };
  }

  run(input) {
    return this.#network.run(input);
  }

  input(image) {
    const { data, width, height } = readPixels(image);
    return this.#network.input_of(data, width, height);
  }

  /** Predictions of each of up to a batch of images. */
  async classify(images, topK) {
    const inputs = images.map((image) => this.input(image));
    const output = await this.#network.run(inputs.length === 1 ? inputs[0] : concat(inputs));
    const classes = output.length / inputs.length;
    return inputs.map((_, i) => JSON.parse(this.#network.top_k(output.subarray(i * classes, (i + 1) * classes), topK)));
  }

  memory() {
    return JSON.parse(this.#network.memory);
  }

  /** The network itself, for its buffers on the GPU, which cannot be posted. */
  get network() {
    return this.#network;
  }

  free() {
    const held = [this.#bytes, this.#network];
    this.#bytes = this.#network = undefined;
    held.forEach((each) => each?.free());
  }
}

function concat(parts) {
  const all = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}
