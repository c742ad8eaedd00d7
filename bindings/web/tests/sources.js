// Every way to give a checkpoint, with progress and abort.
import { load } from '../dist/index.js';
import { bytes, digits, error, fixture, tensors } from './fixtures.js';
import { check, query, refusal, same, test } from './harness.js';

const weights = new URL('model.safetensors', digits);
const cpu = { device: 'cpu' };

/** That a model is the digits, with its labels if its config was read. */
async function isDigits(model, configured = true) {
  const { input, logits } = await tensors(new URL('expected.safetensors', digits));
  same(model.inputShape.slice(1), configured ? [3, 32, 32] : model.inputShape.slice(1));
  same(!!model.labels, configured, 'labels');
  if (configured) {
    const off = error(await model.run(input.data.slice(0, 3072)), logits.data.slice(0, 10));
    check(off < 1e-5, `${off}`);
  }
  model.free();
}

test('sources: a folder, a file, a Response', async () => {
  await isDigits(await load(digits.href, cpu));
  await isDigits(await load(digits, cpu));
  await isDigits(await load(weights, cpu));
  await isDigits(await load('/assets/digits/model.safetensors', cpu));
  await isDigits(await load(await fetch(weights), cpu), false);
});

test('sources: bytes, a view of some, a Blob, with configs', async () => {
  const buffer = await bytes(weights);
  const config = await (await fetch(new URL('config.json', digits))).text();
  await isDigits(await load(buffer, cpu), false);
  same(buffer.byteLength > 0, true, 'the app keeps its bytes');
  const wider = new Uint8Array(buffer.byteLength + 24);
  wider.set(new Uint8Array(buffer), 8);
  await isDigits(await load({ weights: wider.subarray(8, -16), config }, cpu));
  await isDigits(await load({ weights: new Blob([buffer]), config: JSON.parse(config) }, cpu));
  await isDigits(await load({ weights, config: null }, cpu), false);
  await isDigits(await load({ weights: buffer, config: new URL('config.json', digits) }, cpu));
});

test('sources: the files of a folder', async () => {
  const file = async (name) => new File([await bytes(new URL(name, digits))], name);
  const files = await Promise.all(['README.md', 'config.json', 'model.safetensors', 'expected.safetensors'].map(file));
  await isDigits(await load(files, cpu));
  const renamed = new File([files[2]], 'digits.safetensors');
  await isDigits(await load([renamed, files[1]], cpu));
  const error = await refusal(load([files[0], files[1]], cpu));
  check(error.code === 'option' && error.message.includes('README.md'), error.message);
});

test('sources: preprocessor_config.json beside a URL', async () => {
  const model = await load(fixture('hf_basic'), cpu);
  const bare = await load({ weights: new URL('model.safetensors', fixture('hf_basic')), preprocessor: null }, cpu);
  check(model.preprocess !== bare.preprocess, model.preprocess);
  [model, bare].forEach((m) => m.free());
});

test('sources: progress', async () => {
  const seen = [];
  const model = await load(fixture('chain_rmnext'), { device: 'webgpu', onProgress: (p) => seen.push(p) });
  model.free();
  const stages = [...new Set(seen.map(({ stage }) => stage))];
  same(stages, ['download', 'read', 'plan', 'compile', 'warm-up', 'ready']);
  const downloads = seen.filter(({ stage }) => stage === 'download');
  const last = downloads.at(-1);
  check(last.loaded === last.total && last.total > 1e4, JSON.stringify(last));
  check(downloads.every((p, i) => !i || p.loaded > downloads[i - 1].loaded), 'it grows');
});

test('sources: abort before, during and after', async () => {
  const before = await refusal(load(digits, { ...cpu, signal: AbortSignal.abort() }));
  same(before.name, 'AbortError');
  for (const stage of ['download', 'plan', 'compile']) {
    for (const worker of [true, false]) {
      const controller = new AbortController();
      const reason = new Error(`enough at ${stage}`);
      const onProgress = (p) => p.stage === stage && controller.abort(reason);
      const found = await refusal(load(digits, { ...cpu, worker, signal: controller.signal, onProgress }));
      check(found.message.includes(reason.message), `${stage}, worker ${worker}: ${found}`);
    }
  }
  const after = new AbortController();
  const model = await load(digits, { ...cpu, signal: after.signal });
  after.abort();
  await isDigits(model);
});

test('sources: the package from another origin', async () => {
  const { load: other } = await import(`http://localhost:${query.get('other')}/bindings/web/dist/index.js`);
  const model = await other(digits, cpu);
  check(model.inWorker, 'in a worker');
  await isDigits(model);
});
