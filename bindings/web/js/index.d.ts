/// <reference lib="esnext.disposable" />

/**
 * rmnet in a browser: image inference for networks of the ResNet family, from the checkpoint as it is (safetensors or a PyTorch
 * pickle), with their residual connections removed exactly. On WebGPU, or on the CPU where there is no GPU.
 *
 * @example
 * import { load } from 'rmnet';
 * const model = await load('models/resnet18/'); // model.safetensors and its config files
 * const [best] = await model.classify(document.querySelector('img'));
 * console.log(model.device, best.label, best.probability);
 * model.free();
 *
 * @packageDocumentation
 */

/** A weight file: a URL, a `Response`, bytes, or a `File` or `Blob`. A URL that ends with `/` is a folder with `model.safetensors`. */
export type Weights = string | URL | Response | ArrayBuffer | ArrayBufferView | Blob;

/** A config file: its JSON, its object, a file, a `Response`, or its URL. `null`: there is none, and none is looked for. */
export type Config = string | Record<string, unknown> | URL | Response | Blob | null;

/**
 * Where a network comes from. If the weights are a URL, `config.json` and `preprocessor_config.json` (or else `processor_config.json`)
 * are read from beside it if they are there; `Model.configFiles` names those that were. Files are those of a folder:
 * `model.safetensors`, or one weight file, and config files beside it.
 */
export type Source =
  | Weights
  | FileList
  | File[]
  | { weights: Weights | FileList | File[]; config?: Config; preprocessor?: Config };

/** An image. `ImageData` and `{ data, width, height }` hold RGBA; everything else is read by `createImageBitmap`. */
export type Image =
  | ImageData
  | { data: Uint8Array | Uint8ClampedArray; width: number; height: number }
  | ImageBitmapSource
  | VideoFrame;

/** How far loading has come. `loaded` and `total` count bytes of the download; `total` is 0 if it is unknown. */
export interface Progress {
  stage: 'download' | 'read' | 'plan' | 'compile' | 'warm-up' | 'ready';
  loaded: number;
  total: number;
}

/** Options of `load`. Unknown names are refused. */
export interface LoadOptions {
  /**
   * `auto` (the default) is WebGPU on a real GPU, else the CPU: a fallback adapter, which is software, is slower than the CPU.
   * `model.device` says which, and `model.passedOver` what was not taken. `webgpu` and `cpu` are used or refused.
   */
  device?: 'auto' | 'webgpu' | 'cpu';
  /** In what values between layers and weights are stored; sums are `f32`. `f16` halves the memory. `f32` by default. */
  precision?: 'f32' | 'f16';
  /** Images of a run at most, for which memory is kept. 1 by default. */
  batch?: number;
  /** Size of the network's input: a side, `[height, width]`, or both by name. By default that of the config, or of the family. */
  size?: number | [number, number] | { height: number; width: number };
  /** What a run gives: `logits` (default), `features`, or a layer by its name, such as `layer3`. */
  output?: 'logits' | 'features' | (string & {});
  /** Whether neighbouring linear 1x1 convolutions are merged, as in MobileNetV2. */
  merge?: boolean;
  /** Properties that no tensor shows, in place of the convention: `{ stem_stride: 1, stage_strides: [1, 2, 2, 1] }`. */
  assume?: Record<string, string | number | boolean | (string | number)[]>;
  /** A tuning, as `rmnet tune` writes it. */
  tuning?: string | object;
  /**
   * Whether it runs in a worker of its own, so that the page is not blocked; `true` by default. A network on the page lends its GPU
   * buffers. Where a bundler has put the package's `worker.js` on another origin, its URL.
   */
  worker?: boolean | string | URL;
  /** Ends loading, which then rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Is called as loading proceeds. */
  onProgress?(progress: Progress): void;
}

/** A class of an image. */
export interface Prediction {
  /** Index of its logit, from 0. */
  class: number;
  /** Its name, if the config has names. */
  label: string | null;
  /** From 0 to 1: by softmax, or by a sigmoid per class if an image may have several labels. `null` for a regression. */
  probability: number | null;
  logit: number;
}

/** How a residual block was rewritten. */
export interface Block {
  /** The block, such as `layer2.0`. */
  name: string;
  outcome: 'removed' | 'summed' | 'kept';
  /** The outcome as a sentence. */
  text: string;
  /** Of a removed one: what the shortcut was, such as `identity` or `projection /2`. */
  shortcut?: string;
  /** Of a removed one: channels carried beside the main path. */
  reservedChannels?: number;
  /** Of a removed one: convolutions of the main path. */
  convolutions?: number;
  /** Of a summed one: parallel branches. */
  branches?: number;
  /** Of a kept one: why. */
  reason?: string;
}

/** Bytes in use, on the device or, on the CPU, in WebAssembly. */
export interface Memory {
  weights: number;
  activations: number;
  scratch: number;
  transfer: number;
  total: number;
}

/** A network's own buffers on the GPU. Only of a network on the page (`worker: false`). */
export interface GpuResident {
  /** The device: the app may make its own buffers and pipelines with it. */
  readonly device: GPUDevice;
  /** Read by `submit`: planar `[batch, channels, height, width]`, f32; usage `STORAGE | COPY_DST`. */
  readonly input: GPUBuffer;
  /** Written by `submit`: planar `outputShape`, f32; usage `STORAGE | COPY_SRC`. */
  readonly output: GPUBuffer;
  /** Submits a run to the device's queue. Nothing is copied to the host, and nothing is awaited. */
  submit(): void;
}

/** A network on a device, ready to run. Several calls may be in flight. */
export class Model {
  private constructor();
  /** What it runs on, such as `nvidia ampere, webgpu, discrete` or `cpu, 1 thread`. */
  readonly device: string;
  readonly onGpu: boolean;
  /** Whether it runs in a worker. */
  readonly inWorker: boolean;
  /** Adapters that `device: 'auto'` did not take: software ones, and those that lack something. */
  readonly passedOver: readonly string[];
  /** The config files that were found beside the weights, by name. */
  readonly configFiles: readonly string[];
  /** Naming scheme and family, such as `torchvision ResNet`. */
  readonly family: string;
  /** `[batch, channels, height, width]`. */
  readonly inputShape: readonly [number, number, number, number];
  /** `[batch, channels, height, width]`; logits are `[batch, classes, 1, 1]`. */
  readonly outputShape: readonly [number, number, number, number];
  readonly labels: readonly string[] | null;
  /** Every residual block, and what became of it. */
  readonly blocks: readonly Block[];
  /** What no tensor shows: taken by convention, or stated in `LoadOptions.assume`. */
  readonly assumed: readonly { key: string; value: string; stated: boolean }[];
  /** How images become inputs. */
  readonly preprocess: string;
  /** Multiply-adds of a run. */
  readonly macs: number;
  readonly dispatches: number;
  /** Bytes of activations that a run needs. */
  readonly activationBytes: number;
  /** The plan as text: a formula over slots for each dispatch. */
  readonly plan: string;
  /** The plan of the memory, as an SVG drawing. */
  readonly planSvg: string;
  /** Buffers on the GPU; `undefined` on the CPU and in a worker. */
  readonly gpu: GpuResident | undefined;

  /** Runs 1 to `batch` images, planar `[images, channels, height, width]`. Gives the output, planar. */
  run(input: Float32Array): Promise<Float32Array>;
  /** The input for one image: resized, cropped and normalised as the checkpoint says. */
  input(image: Image): Promise<Float32Array>;
  /** The `topK` (5) likeliest classes of an image, likeliest first; of several images, those of each. */
  classify(image: Image, options?: { topK?: number }): Promise<Prediction[]>;
  classify(images: Image[], options?: { topK?: number }): Promise<Prediction[][]>;
  memory(): Promise<Memory>;
  /**
   * Ends the network. Calls in flight reject with the code `freed`. A worker ends and gives all its memory back; on the page the GPU
   * device ends, and WebAssembly's memory is kept for the next network. A network that is only dropped keeps its worker.
   */
  free(): void;
  [Symbol.dispose](): void;
}

/** Loads a network. It is ready when this resolves: shaders are compiled, and one run has been made on a GPU. */
export function load(source: Source, options?: LoadOptions): Promise<Model>;

/** Kinds of errors. */
export type ErrorCode =
  /** The file or a config is damaged, unknown, or not supported. */
  | 'checkpoint'
  /** An option, or a source. */
  | 'option'
  /** An input or an image. */
  | 'input'
  /** A download. */
  | 'network'
  /** There is no GPU, or none that can be used. */
  | 'no-gpu'
  /** The GPU is gone. Load the model again. */
  | 'device-lost'
  /** The GPU refused something: please report it. */
  | 'gpu'
  | 'out-of-memory'
  /** The network, at this batch and size, exceeds a limit of the device. */
  | 'too-large'
  /** The output is NaN or infinite: a layer overflows the precision. */
  | 'not-finite'
  /** The model was freed. */
  | 'freed'
  /** The worker cannot be started. */
  | 'worker'
  /** The WebAssembly module cannot be loaded. */
  | 'wasm'
  /** A bug in rmnet, or no memory: please report it. The model cannot be used any more, on the page no other either. */
  | 'crashed'
  | 'internal';

/** An error of rmnet. An abort rejects with the signal's reason instead. */
export class RmnetError extends Error {
  readonly name: 'RmnetError';
  readonly code: ErrorCode;
  constructor(code: ErrorCode, message: string, options?: ErrorOptions);
}
