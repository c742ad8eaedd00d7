// Devices: which one is taken, and buffers lent on the GPU.
import { load } from '../dist/index.js';
import { digits, error, tensors } from './fixtures.js';
import { check, note, same, test } from './harness.js';

test('gpu: a fallback adapter leads to the CPU, and that is said', async () => {
  const adapter = await navigator.gpu?.requestAdapter();
  const fallback = adapter?.info.isFallbackAdapter;
  const model = await load(digits);
  await note(`${model.device}; passed over: ${model.passedOver.join(', ') || 'nothing'}`);
  if (!adapter || fallback) {
    same(model.onGpu, false);
    same(model.device, 'cpu, 1 thread');
    if (fallback) check(model.passedOver.length === 1 && model.passedOver[0].includes('software'), `${model.passedOver}`);
  } else {
    check(model.onGpu, model.device);
  }
  model.free();
});

test('gpu: the device asked for is named', async () => {
  const model = await load(digits, { device: 'webgpu', worker: false });
  await note(model.device);
  check(model.device.includes('webgpu') && !model.device.includes('unnamed'), model.device);
  model.free();
});

test('gpu: buffers are lent', async () => {
  const { input, logits } = await tensors(new URL('expected.safetensors', digits));
  const model = await load(digits, { device: 'webgpu', worker: false });
  const { gpu } = model;
  const { device } = gpu;
  same(gpu.input.size, 4 * 3072);
  same(gpu.output.size, 40);
  const staging = device.createBuffer({ size: 40, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
  for (const i of [0, 5]) {
    device.queue.writeBuffer(gpu.input, 0, input.data, i * 3072, 3072);
    gpu.submit();
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(gpu.output, 0, staging, 0, 40);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const found = new Float32Array(staging.getMappedRange().slice());
    staging.unmap();
    const off = error(found, logits.data.slice(10 * i, 10 * i + 10));
    check(off < 1e-5, `image ${i}: ${off}`);
  }
  model.free();
});

test('gpu: none in a worker and none on the CPU', async () => {
  for (const options of [{ device: 'webgpu' }, { device: 'cpu', worker: false }]) {
    const model = await load(digits, options);
    same(model.gpu === undefined, true);
    model.free();
  }
});

test('gpu: a run takes far less than 100 ms', async () => {
  const { input } = await tensors(new URL('expected.safetensors', digits));
  const model = await load(digits, { device: 'webgpu' });
  const image = input.data.slice(0, 3072);
  const times = [];
  for (let i = 0; i < 12; i++) {
    const start = performance.now();
    await model.run(image);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  await note(`least ${times[0].toFixed(1)} ms, median ${times[6].toFixed(1)} ms`);
  // Firefox looks for finished work every 100 ms unless it is hurried; the least of several, as machines are shared.
  check(times[0] < 95, `${times}`);
  model.free();
});
