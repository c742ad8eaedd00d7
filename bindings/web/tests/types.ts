// Compiled, not run: what `index.d.ts` promises, as an app writes it.
import { load, RmnetError, type ErrorCode, type Image, type Model, type Prediction, type Source } from '../dist/index.js';

export async function everything(source: Source, image: Image, video: HTMLVideoElement, signal: AbortSignal): Promise<string> {
  const model: Model = await load(source, {
    device: 'auto',
    precision: 'f16',
    batch: 4,
    size: { height: 64, width: 48 },
    output: 'layer3',
    merge: true,
    assume: { stem_stride: 1, stem_pool: false, stage_strides: [1, 2, 2, 1] },
    tuning: '{}',
    worker: new URL('worker.js', import.meta.url),
    signal,
    onProgress: ({ stage, loaded, total }) => console.log(stage satisfies string, loaded / total),
  });
  const one: Prediction[] = await model.classify(image, { topK: 3 });
  const several: Prediction[][] = await model.classify([image, video]);
  const output: Float32Array = await model.run(await model.input(video));
  const [batch, channels, height, width]: readonly [number, number, number, number] = model.inputShape;
  const gpu = model.gpu;
  if (gpu) {
    gpu.device.queue.writeBuffer(gpu.input, 0, new Float32Array(batch * channels * height * width));
    gpu.submit();
  }
  const { total } = await model.memory();
  const kept = model.blocks.filter((block) => block.outcome === 'kept').map((block) => block.reason ?? '');
  model.free();
  return [one[0]?.label, several.length, output.length, total, ...kept, ...(model.labels ?? [])].join();
}

export const sources: Source[] = [
  'resnet18/',
  new URL('https://example.org/model.safetensors'),
  new Uint8Array(8),
  new Blob([]),
  [new File([], 'model.safetensors')],
  { weights: new ArrayBuffer(8), config: { num_classes: 10 }, preprocessor: null },
];

export function code(error: unknown): ErrorCode | undefined {
  return error instanceof RmnetError ? error.code : undefined;
}

// @ts-expect-error: no such device
void load('', { device: 'gpu' });
// @ts-expect-error: no such option
void load('', { devices: 'cpu' });
// @ts-expect-error: a model is made by `load`
void new (await import('../dist/index.js')).Model();
