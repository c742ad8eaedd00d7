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
      check(found === reason, `${stage}, worker ${worker}: ${found}`);
    }
  }
  // A server that goes silent, in a response that does not know the signal.
  for (const source of [await fetch(`${weights}?stall`), new URL('?stall', weights)]) {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 300);
    const config = source instanceof Response ? {} : { config: null, preprocessor: null };
    const found = await refusal(load({ weights: source, ...config }, { ...cpu, signal: controller.signal }));
    same(found.name, 'AbortError');
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

test('sources: config files are read, refused or left alone, never ignored', async () => {
  const model = await load(digits, cpu);
  same(model.configFiles, ['config.json']);
  model.free();
  const refusals = [
    [{ weights, config: '/no/such/config.json' }, 'network'],
    [{ weights, config: new URL('/nothing', location.href) }, 'network'],
    [{ weights, config: '' }, 'option'],
    [{ weights, config: 5 }, 'option'],
    [{ weights, config: Promise.resolve('{}') }, 'option'],
    [{ weights, config: '{ not JSON' }, 'checkpoint'],
    [{ weights, config: '/assets/digits/README.md' }, 'checkpoint'],
  ];
  for (const [source, code] of refusals) {
    const found = await refusal(load(source, cpu));
    same(found.code, code, found.message);
  }
  await isDigits(await load({ weights, config: await fetch(new URL('config.json', digits)) }, cpu));
  const asked = async () => (await (await fetch('/?asked')).json()).filter((path) => path.endsWith('config.json')).length;
  const before = await asked();
  await isDigits(await load({ weights, config: null, preprocessor: null }, cpu), false);
  same(await asked(), before, 'requests for config files');
});

test('sources: a folder of several models', async () => {
  const buffer = await bytes(weights);
  const inFolder = (folder, name, data) => {
    const file = new File([data], name);
    Object.defineProperty(file, 'webkitRelativePath', { value: `${folder}/${name}` });
    return file;
  };
  const config = await bytes(new URL('config.json', digits));
  const two = [inFolder('a', 'model.safetensors', buffer), inFolder('b', 'model.safetensors', buffer)];
  const found = await refusal(load(two, cpu));
  check(found.code === 'option' && found.message.includes('a/model.safetensors, b/model.safetensors'), found.message);
  // The config of another folder is not this model's.
  const one = [inFolder('a/onnx', 'config.json', config), inFolder('a', 'model.safetensors', buffer)];
  await isDigits(await load(one, cpu), false);
  await isDigits(await load([...one, inFolder('a', 'config.json', config)], cpu));
});

test('sources: chunks of a larger buffer stay whole', async () => {
  const buffer = new Uint8Array(await bytes(weights));
  let at = 0;
  const stream = new ReadableStream({
    pull(controller) {
      controller.enqueue(buffer.subarray(at, (at += 100_000)));
      if (at >= buffer.length) controller.close();
    },
  });
  await isDigits(await load({ weights: new Response(stream), config: new URL('config.json', digits) }, cpu));
  check(buffer.length > 1e6, 'the app keeps its buffer');
});
