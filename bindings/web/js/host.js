// One network, where WebAssembly runs: in a worker, or on the page. Arguments and results can be posted.
import init, { Bytes, Network } from './core.js';
import { RmnetError } from './errors.js';
import { rgba } from './pixels.js';

let wasm;

export class Host {
  #bytes;
  #network;
  #about;

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

  /** Loads the network whose bytes were pushed. Ready to run: drivers that compile at the first run have done it. */
  async load({ config, preprocessor, options }, stage) {
    const bytes = this.#bytes;
    this.#bytes = undefined; // `load` takes it
    this.#network = await Network.load(bytes, config, preprocessor, JSON.stringify(options), stage);
    this.#about = JSON.parse(this.#network.about);
    if (this.#about.onGpu) {
      stage('warm-up');
      await this.#network.warm_up();
    }
    return { ...this.#about, plan: this.#network.plan, planSvg: this.#network.plan_svg };
  }

  run(input) {
    return this.#network.run(input);
  }

  input(image) {
    const { data, width, height } = rgba(image);
    return this.#network.input_of(data, width, height);
  }

  /** Predictions of each image, run in batches. */
  async classify(images, topK) {
    const [batch] = this.#about.inputShape;
    const found = [];
    for (let from = 0; from < images.length; from += batch) {
      const inputs = images.slice(from, from + batch).map((image) => this.input(image));
      const input = inputs.length === 1 ? inputs[0] : joined(inputs);
      const output = await this.#network.run(input);
      const classes = output.length / inputs.length;
      inputs.forEach((_, i) => {
        const logits = output.subarray(i * classes, (i + 1) * classes);
        found.push(JSON.parse(this.#network.top_k(logits, topK)));
      });
    }
    return found;
  }

  memory() {
    return JSON.parse(this.#network.memory);
  }

  /** Buffers on the GPU; they cannot be posted. */
  get gpu() {
    const network = this.#network;
    if (!this.#about.onGpu) return undefined;
    return {
      device: network.gpu_device,
      get input() { return network.gpu_input(); },
      get output() { return network.gpu_output(); },
      submit: () => network.submit(),
    };
  }

  free() {
    const held = [this.#bytes, this.#network];
    this.#bytes = this.#network = undefined;
    held.forEach((each) => each?.free());
  }
}

function joined(parts) {
  const all = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}
