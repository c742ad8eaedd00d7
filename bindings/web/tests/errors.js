// Wrong files, options and inputs: each is refused with a code and a reason.
import { RmnetError, load } from '../dist/index.js';
import { bytes, digits, fixture } from './fixtures.js';
import { check, refusal, same, test } from './harness.js';

const cpu = { device: 'cpu' };

async function refused(promise, code, ...texts) {
  const error = await refusal(promise);
  check(error instanceof RmnetError, `${error?.name}: ${error}`);
  same(error.code, code, error.message);
  for (const text of texts) check(error.message.includes(text), `${error.message} lacks ${text}`);
}

test('errors: files', async () => {
  const buffer = await bytes(new URL('model.safetensors', digits));
  await refused(load('/no/such/file.safetensors', cpu), 'network', 'file.safetensors', '404');
  await refused(load('http://localhost:1/model.safetensors', cpu), 'network', 'localhost:1');
  await refused(load(new TextEncoder().encode('no checkpoint at all'), cpu), 'checkpoint');
  await refused(load(new Uint8Array(0), cpu), 'checkpoint');
  await refused(load(buffer.slice(0, -100), cpu), 'checkpoint');
  await refused(load({ weights: buffer, config: '{"id2label": 3' }, cpu), 'checkpoint', 'config');
  await refused(load({ weights: buffer, config: { block: 'nonsense', layers: [1] } }, { ...cpu, size: [0, 32] }), 'option', 'size');
  await refused(load(buffer, { ...cpu, size: 1e9 }), 'option');
  await refused(load(new URL('images/0374_7.png', digits), cpu), 'checkpoint');
});

test('errors: sources and options', async () => {
  for (const source of [undefined, null, 7, {}, { weight: 1 }, [], { weights: digits, configs: 1 }]) {
    await refused(load(source, cpu), 'option');
  }
  await refused(load(digits, { devices: 'cpu' }), 'option', 'devices', 'device');
  await refused(load(digits, { device: 'gpu' }), 'option', 'gpu', 'webgpu');
  await refused(load(digits, { ...cpu, precision: 'int8' }), 'option', 'int8', 'f16');
  await refused(load(digits, { ...cpu, batch: -1 }), 'option', 'batch');
  await refused(load(digits, { ...cpu, batch: 0 }), 'option', 'batch', '0');
  await refused(load(digits, { ...cpu, merge: 1 }), 'option', 'merge');
  await refused(load(digits, { ...cpu, batch: 1e9 }), 'too-large');
  for (const size of ['large', [], [32], NaN, { height: 32 }, 1n]) await refused(load(digits, { ...cpu, size }), 'option', 'size');
  await refused(load(digits, { ...cpu, onProgress: 5 }), 'option', 'onProgress');
  await refused(load(digits, { ...cpu, worker: 1 }), 'option', 'worker');
  await refused(load(digits, { ...cpu, assume: { stem_stride: 1n } }), 'option', 'JSON');
  await refused(load(digits, 'cpu'), 'option');
  await refused(load('http://', cpu), 'option', 'URL');
  await refused(load(digits, { ...cpu, worker: '/no/such/worker.js' }), 'worker');
  await refused(load(digits, { ...cpu, output: 'layer9' }), 'option', 'layer9');
  await refused(load(digits, { ...cpu, assume: { stem_size: 1 } }), 'option', 'stem_size');
  await refused(load(digits, { ...cpu, tuning: 'no JSON' }), 'option', 'tuning');
});

test('errors: inputs', async () => {
  for (const worker of [true, false]) {
    const model = await load(digits, { ...cpu, worker });
    await refused(model.run([1, 2]), 'input', 'Float32Array');
    await refused(model.run(new Float32Array(5)), 'input', '3072', '5');
    await refused(model.run(new Float32Array(3072).fill(NaN)), 'input', 'NaN');
    same((await model.run(new Float32Array(3072))).length, 10, 'it goes on');
    model.free();
    await refused(model.run(new Float32Array(3072)), 'freed');
    model.free();
  }
});

test('errors: calls in flight when a model is freed', async () => {
  const small = { size: 19, worker: false };
  for (const options of [cpu, { ...cpu, worker: false }, { ...small, device: 'webgpu' }]) {
    const model = await load(options.size ? fixture('chain_rmnext') : digits, options);
    const input = new Float32Array(model.inputShape.reduce((a, b) => a * b));
    const runs = [1, 2, 3].map(() => refusal(model.run(input)));
    model.free();
    for (const error of await Promise.all(runs)) same(error.code, 'freed');
  }
});

test('errors: no classes to give', async () => {
  const model = await load(digits, { ...cpu, output: 'features' });
  await refused(model.classify(new ImageData(4, 4)), 'input', 'classes');
  model.free();
});

test('errors: a lost device', async () => {
  const model = await load(fixture('chain_rmnext'), { device: 'webgpu', size: 19, worker: false });
  model.gpu.device.destroy();
  await new Promise((done) => setTimeout(done, 100));
  await refused(model.run(new Float32Array(3 * 19 * 19)), 'device-lost');
  model.free();
});

test('errors: a model that was freed, and its buffers', async () => {
  const model = await load(fixture('chain_rmnext'), { device: 'webgpu', size: 19, worker: false });
  const { gpu } = model;
  model.free();
  for (const use of [() => gpu.input, () => gpu.device, () => gpu.submit(), () => model.gpu.output]) {
    let code;
    try {
      use();
    } catch (error) {
      code = error.code;
    }
    same(code, 'freed');
  }
  const classify = await load(digits, cpu);
  await refused(classify.classify(new ImageData(4, 4), { topk: 3 }), 'option', 'topk', 'topK');
  await refused(classify.classify(new ImageData(4, 4), 3), 'option');
  classify.free();
});

test('errors: a crash on the page ends what runs there', async () => {
  const frame = Object.assign(document.createElement('iframe'), { src: '/bindings/web/tests/suite.html?blank' });
  document.body.append(frame);
  await new Promise((done) => (frame.onload = done));
  const page = frame.contentWindow;
  const there = await page.eval("import('/bindings/web/dist/index.js')");
  const model = await there.load(fixture('chain_rmnext').href, { device: 'webgpu', size: 19, worker: false });
  const run = refusal(model.run(new page.Float32Array(3 * 19 * 19)));
  page.dispatchEvent(new page.ErrorEvent('error', { error: new page.WebAssembly.RuntimeError('unreachable') }));
  same((await run).code, 'crashed');
  same((await refusal(there.load(digits.href, { device: 'cpu', worker: false }))).code, 'crashed');
  const inWorker = await there.load(digits.href, { device: 'cpu' });
  same(inWorker.labels.length, 10, 'a worker has its own');
  frame.remove();
});
