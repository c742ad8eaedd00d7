// Networks against logits by PyTorch, on the CPU and on WebGPU.
import { load } from '../dist/index.js';
import { digits, error, fixture, tensors } from './fixtures.js';
import { check, note, query, report, same, test } from './harness.js';

// As `verify::F32_LOGITS_BOUND`: rounding of f32 stays below it, a wrong tap does not.
const BOUND = 1e-5;

/** Loads a fixture at its expected input's size, and gives the error of its logits. */
async function judged(url, options) {
  const { input, logits } = await tensors(new URL('expected.safetensors', url));
  const [images, , height, width] = input.shape;
  const model = await load(url, { size: [height, width], batch: images, ...options });
  try {
    const expected = logits.data;
    return { model, off: error(await model.run(input.data), expected), again: error(await model.run(input.data), expected) };
  } finally {
    model.free();
  }
}

const fixtures = async () => (await fetch('/tests/fixtures/?list')).json();

test('networks: every fixture on the CPU', async () => {
  const names = await fixtures();
  check(names.length > 40, `${names.length} fixtures`);
  let largest = 0;
  for (const name of names) {
    const { model, off } = await judged(fixture(name), { device: 'cpu', worker: false });
    check(off < BOUND, `${name}: ${off}`);
    same(model.device, 'cpu, 1 thread');
    largest = Math.max(largest, off);
  }
  await note(`${names.length} networks, largest error ${largest.toExponential(1)}`);
});

// For `benches/backends.py`: these networks on one device, with the figures of each.
if (query.has('device')) {
  test('backend', async () => {
    const names = query.get('names') ? query.get('names').split(',') : await fixtures();
    for (const name of names) {
      const start = performance.now();
      const { model, off, again } = await judged(fixture(name), { device: query.get('device') });
      const seconds = (performance.now() - start) / 1000;
      await report('network', name, { name, device: model.device, off: Math.max(off, again), seconds });
    }
  });
}

for (const name of ['tv_resnet18', 'timm_resnetv2_18']) {
  test(`networks: ${name} on WebGPU`, async () => {
    const { model, off, again } = await judged(fixture(name), { device: 'webgpu' });
    await note(`${model.device}: error ${off.toExponential(1)}`);
    check(model.onGpu && model.inWorker, model.device);
    check(off < BOUND && again < BOUND, `${off}, again ${again}`);
  });
}

test('networks: f16 on WebGPU', async () => {
  const { off } = await judged(fixture('chain_rmnext'), { device: 'webgpu', precision: 'f16' });
  await note(`error ${off.toExponential(1)}`);
  check(off < 1e-2 && off > BOUND, `${off}`);
});

test('networks: what a model says of itself', async () => {
  const model = await load(fixture('tv_resnet18'), { device: 'cpu', size: 64 });
  same(model.inputShape, [1, 3, 64, 64]);
  same(model.outputShape, [1, 10, 1, 1]);
  check(model.family.startsWith('torchvision ResNet'), model.family);
  same(model.blocks.length, 8);
  same(model.blocks[2].name, 'layer2.0');
  same(model.blocks[2].outcome, 'removed');
  same(model.blocks[2].reservedChannels, 8);
  check(model.assumed.some(({ key, value, stated }) => key === 'stem_stride' && value === '2' && !stated), 'stem_stride');
  check(model.plan.includes('layer2.0.conv2') && model.planSvg.startsWith('<svg'), model.plan);
  check(model.macs > 1e6 && model.dispatches > 10 && model.activationBytes > 0, `${model.macs}`);
  const memory = await model.memory();
  check(memory.weights > 1e5 && memory.total > memory.weights, JSON.stringify(memory));
  model.free();
});

test('networks: a part of a batch, features, and a layer', async () => {
  const { input } = await tensors(new URL('expected.safetensors', fixture('tv_resnet18')));
  const one = input.data.slice(0, input.data.length / 2);
  const options = { device: 'cpu', size: 64, worker: false };
  const model = await load(fixture('tv_resnet18'), { ...options, batch: 2 });
  same((await model.run(one)).length, 10);
  const features = await load(fixture('tv_resnet18'), { ...options, output: 'features' });
  same(features.outputShape, [1, 24, 1, 1]);
  const { 'block.layer3.1': expected } = await tensors(new URL('expected.safetensors', fixture('tv_resnet18')));
  const layer = await load(fixture('tv_resnet18'), { ...options, output: 'layer3' });
  same(layer.outputShape, [1, 16, 4, 4]);
  const off = error(await layer.run(one), expected.data.slice(0, 16 * 4 * 4));
  check(off < BOUND, `${off}`);
  [model, features, layer].forEach((m) => m.free());
});

test('networks: several runs in flight', async () => {
  const { input, logits } = await tensors(new URL('expected.safetensors', digits));
  for (const device of ['cpu', 'webgpu']) {
    const model = await load(digits, { device });
    const images = Array.from({ length: 14 }, (_, i) => input.data.slice(i * 3072, (i + 1) * 3072));
    const found = await Promise.all(images.map((image) => model.run(image)));
    found.forEach((output, i) => {
      const off = error(output, logits.data.slice(i * 10, (i + 1) * 10));
      check(off < BOUND, `${device}, image ${i}: ${off}`);
    });
    model.free();
  }
});
