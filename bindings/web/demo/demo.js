// The demo: the bundled model, or one that is dropped in; pictures, a drawing, or the camera.
import { load } from '../dist/index.js';
import { chain } from './drawing.js';

const BUNDLED = new URL('../../../assets/digits/', import.meta.url);
const SAMPLES = ['0304_0', '0326_1', '0567_2', '1606_3', '1529_8', '1614_5', '0374_7', '1704_9'];
const WEIGHTS = /\.(safetensors|pth|pt|bin|ckpt)$/i;
const $ = (id) => document.getElementById(id);
const view = $('view');
const context = view.getContext('2d', { willReadFrequently: true });

let model;
let loading;
let busy = false;
let wanted = false;
let stream;
const times = [];

const STAGES = { download: 'reading the file', read: 'finding the network', plan: 'planning', compile: 'preparing the kernels', 'warm-up': 'first run', ready: 'ready' };

function progress({ stage, loaded, total }) {
  const share = stage === 'download' ? (total ? (60 * loaded) / total : 30) : { read: 65, plan: 70, compile: 75, 'warm-up': 92, ready: 100 }[stage];
  $('progress').hidden = false;
  $('progress').setAttribute('aria-valuenow', share.toFixed(0));
  $('progress').querySelector('i').style.width = `${share}%`;
  $('progress').querySelector('span').textContent = STAGES[stage];
}

const TITLES = {
  checkpoint: 'This file cannot be used',
  option: 'This cannot be opened',
  network: 'The download failed',
  'no-gpu': 'No WebGPU here',
  'device-lost': 'The GPU is gone',
  'out-of-memory': 'Not enough memory',
  'too-large': 'Too large for this GPU',
  'not-finite': 'A layer overflows f16',
  input: 'This picture cannot be read',
};

/** Says what went wrong; the model stays if there is one. */
function problem(error) {
  $('problem').hidden = false;
  $('problem-title').textContent = TITLES[error.code] ?? 'Something went wrong';
  $('problem-text').textContent = error.message;
  $('again').textContent = error.code === 'device-lost' ? 'Load again' : 'Load the bundled model';
  $('again').hidden = error.code === 'input';
  if (!model) $('device').textContent = 'nothing loaded';
}

async function open(source) {
  loading?.abort();
  const { signal } = (loading = new AbortController());
  $('problem').hidden = true;
  try {
    const options = { device: $('choice').value, precision: $('precision').value, signal, onProgress: progress };
    const opened = await load(source, options);
    model?.free();
    model = opened;
    times.length = 0;
    describe();
    await classify();
  } catch (error) {
    if (error.name !== 'AbortError') problem(error);
  } finally {
    if (loading?.signal === signal) $('progress').hidden = true;
  }
}

const bytes = (n) => (n < 1e6 ? `${(n / 1e3).toFixed(0)} kB` : `${(n / 1e6).toFixed(1)} MB`);

function figures(id, entries) {
  $(id).replaceChildren(
    ...entries.map(([name, value]) => {
      const box = document.createElement('div');
      box.append(Object.assign(document.createElement('dt'), { textContent: name }));
      box.append(Object.assign(document.createElement('dd'), { textContent: value }));
      return box;
    }),
  );
}

async function describe() {
  const why = model.passedOver.length ? ': no hardware GPU here' : 'gpu' in navigator ? '' : ': no WebGPU here';
  $('device').textContent = `runs on ${model.device}${model.onGpu ? '' : why}`;
  $('device').title = model.passedOver.length ? `passed over: ${model.passedOver.join('; ')}` : '';
  Object.assign($('family'), { textContent: model.family, hidden: false });
  draw(true);
  const { weights, activations, scratch } = await model.memory();
  figures('figures', [
    ['Weights', bytes(weights)],
    ['Activations', bytes(activations + scratch)],
    ['Dispatches', model.dispatches],
    ['Multiply-adds', `${(model.macs / 1e9).toFixed(2)} G`],
    ['Input', `${model.inputShape[2]} x ${model.inputShape[3]}`],
  ]);
  figures('assumed', model.assumed.map(({ key, value, stated }) => [stated ? `${key} (stated)` : key, value]));
  $('plan').textContent = model.plan;
  $('plan-svg').src = `data:image/svg+xml,${encodeURIComponent(model.planSvg)}`;
}

function draw(removed) {
  $('before').setAttribute('aria-checked', !removed);
  $('after').setAttribute('aria-checked', removed);
  $('drawing').replaceChildren(chain(model.blocks, removed));
  const of = (outcome) => model.blocks.filter((block) => block.outcome === outcome).length;
  const kept = of('kept') ? `, ${of('kept')} kept as they are` : '';
  $('chain-text').textContent = removed
    ? `${of('removed')} shortcuts removed${of('summed') ? `, ${of('summed')} blocks of parallel branches summed` : ''}${kept}: carried channels (green) go through the layers instead, and the function stays the same.`
    : 'Each block adds its input (green) to what its layers compute, so that the input has to be kept until then.';
}

/** Classifies what is on the canvas; while a run is under way only the newest picture waits. */
async function classify() {
  if (!model || !model.labels && model.outputShape[2] > 1) return;
  if (busy) {
    wanted = true;
    return;
  }
  busy = true;
  try {
    do {
      wanted = false;
      const start = performance.now();
      const found = await model.classify(context.getImageData(0, 0, view.width, view.height));
      timed(performance.now() - start);
      show(found);
    } while (wanted);
  } catch (error) {
    if (error.code !== 'freed') problem(error);
  } finally {
    busy = false;
  }
}

function show(found) {
  $('predictions').replaceChildren(
    ...found.map(({ class: index, label, probability, logit }) => {
      const line = document.createElement('li');
      const name = Object.assign(document.createElement('b'), { textContent: label ?? `class ${index}`, title: label ?? '' });
      const bar = document.createElement('i');
      bar.style.setProperty('--share', `${100 * (probability ?? 0)}%`);
      const text = probability === null ? logit.toFixed(2) : `${(100 * probability).toFixed(1)} %`;
      line.append(name, bar, Object.assign(document.createElement('span'), { textContent: text }));
      return line;
    }),
  );
}

function timed(milliseconds) {
  times.push(milliseconds);
  if (times.length > 60) times.shift();
  const sorted = [...times].sort((a, b) => a - b);
  const median = sorted[sorted.length >> 1];
  const top = Math.max(...times) * 1.1;
  const path = times.map((t, i) => `${i ? 'L' : 'M'}${(320 * i) / 59} ${(62 - (60 * t) / top).toFixed(1)}`).join('');
  $('times').innerHTML = `<line x1="0" y1="62" x2="320" y2="62"/><path d="${path}"/>`;
  $('time-text').textContent = `${milliseconds.toFixed(1)} ms, median of the last ${times.length}: ${median.toFixed(1)} ms, with resizing and the way to the worker`;
  Object.assign($('speed'), { textContent: `${median.toFixed(1)} ms`, hidden: false });
}

/** Shows a picture, as large as the canvas, cut to a square. */
async function picture(source) {
  try {
    const bitmap = await createImageBitmap(source);
    const side = Math.min(bitmap.width, bitmap.height);
    context.imageSmoothingEnabled = side > 64;
    context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, view.width, view.height);
    $('problem').hidden = true;
    await classify();
  } catch {
    problem({ code: 'input', message: `${source.name ?? 'It'} is no picture that this browser reads.` });
  }
}

async function watch(on) {
  $('watch').setAttribute('aria-pressed', on);
  if (!on) {
    stream?.getTracks().forEach((track) => track.stop());
    stream = undefined;
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
    $('camera').srcObject = stream;
    await $('camera').play();
    const frame = async () => {
      if (!stream) return;
      await picture($('camera'));
      requestAnimationFrame(frame);
    };
    frame();
  } catch (error) {
    $('watch').setAttribute('aria-pressed', false);
    problem({ message: `The camera cannot be used: ${error.message}` });
  }
}

/** Files that were dropped or chosen: a checkpoint if one is among them, else a picture. */
function take(files) {
  if (!files.length) return;
  if (files.length === 1 && files[0].type.startsWith('image/')) picture(files[0]);
  else if (files.some(({ name }) => WEIGHTS.test(name))) open(files);
  else problem({ code: 'option', message: `Expected a picture, or a checkpoint: safetensors, .pth, .pt, .bin or .ckpt. Found ${files.map(({ name }) => name).join(', ')}.` });
}

function pen() {
  let last;
  const at = (event) => {
    const box = view.getBoundingClientRect();
    return [((event.clientX - box.left) * view.width) / box.width, ((event.clientY - box.top) * view.height) / box.height];
  };
  view.addEventListener('pointerdown', (event) => {
    watch(false);
    view.setPointerCapture(event.pointerId);
    last = at(event);
  });
  view.addEventListener('pointermove', (event) => {
    if (!last) return;
    const to = at(event);
    Object.assign(context, { strokeStyle: '#fff', lineWidth: 30, lineCap: 'round', lineJoin: 'round' });
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...to);
    context.stroke();
    last = to;
    classify();
  });
  const end = () => (last = undefined);
  view.addEventListener('pointerup', end);
  view.addEventListener('pointercancel', end);
}

function samples() {
  for (const name of SAMPLES) {
    const image = Object.assign(new Image(), { src: new URL(`images/${name}.png`, BUNDLED).href, alt: `digit ${name.at(-1)}` });
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    button.append(image);
    button.addEventListener('click', () => (watch(false), picture(image)));
    $('samples').append(button);
  }
}

function wire() {
  $('before').addEventListener('click', () => model && draw(false));
  $('after').addEventListener('click', () => model && draw(true));
  for (const [id, other] of [['before', 'after'], ['after', 'before']]) {
    $(id).addEventListener('keydown', ({ key }) => key.startsWith('Arrow') && ($(other).click(), $(other).focus()));
  }
  $('clear').addEventListener('click', () => (watch(false), context.clearRect(0, 0, view.width, view.height), classify()));
  $('watch').addEventListener('click', () => watch(!stream));
  $('again').addEventListener('click', () => open(BUNDLED));
  for (const id of ['picture', 'files']) {
    $(id).addEventListener('change', ({ target }) => (take([...target.files]), (target.value = '')));
  }
  let inside = 0;
  addEventListener('dragenter', () => ($('drop').hidden = ++inside === 0));
  addEventListener('dragleave', () => ($('drop').hidden = --inside <= 0));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    inside = 0;
    $('drop').hidden = true;
    take([...event.dataTransfer.files]);
  });
}

context.fillRect(0, 0, view.width, view.height);
wire();
pen();
samples();
await open(BUNDLED);
await picture(document.querySelector('#samples img')).catch(() => {});
