// The demo: the bundled model, or one that is dropped in; pictures, a drawing, or the camera.
//   ?model=URL     opens another model
//   ?worker=false  runs it on the page
import { load } from '../dist/index.js';
import { chain } from './drawing.js';
import { dropped } from './dropped.js';

const query = new URLSearchParams(location.search);
const BUNDLED = new URL('../../../assets/digits/', import.meta.url);
const SAMPLES = ['0304_0', '0326_1', '0567_2', '1606_3', '1529_8', '1614_5', '0374_7', '1704_9'];
const WEIGHTS = /\.(safetensors|pth|pt|bin|ckpt)$/i;
const $ = (id) => document.getElementById(id);
const view = $('view');
const context = view.getContext('2d', { willReadFrequently: true });

let model;
let loading;
/** What was opened last, for another device or after a lost one. */
let last = BUNDLED;
/** What is classified: the canvas, or the picture that it shows. */
let subject = view;
let busy = false;
let wanted = false;
let camera;
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
  'too-large': 'Too large for this device',
  'not-finite': 'A layer overflows',
  input: 'This picture cannot be read',
  camera: 'The camera cannot be used',
};

/** Says what went wrong; the model stays if there is one. */
function problem({ code, message }) {
  if (code !== 'input') watch(false);
  $('problem').hidden = false;
  $('problem').dataset.code = code;
  $('problem-title').textContent = TITLES[code] ?? 'Something went wrong';
  $('problem-text').textContent = message;
  $('again').textContent = code === 'device-lost' ? 'Load again' : 'Load the bundled model';
  $('again').hidden = ['input', 'camera'].includes(code);
  if (!model) $('device').textContent = 'nothing loaded';
}

/** Hides a problem with a picture, once another is shown. */
function solved() {
  if (['input', 'camera'].includes($('problem').dataset.code)) $('problem').hidden = true;
}

async function open(source) {
  loading?.abort();
  const { signal } = (loading = new AbortController());
  last = source;
  $('problem').hidden = true;
  try {
    const worker = query.get('worker') !== 'false';
    const options = { device: $('choice').value, precision: $('precision').value, worker, signal, onProgress: progress };
    const opened = await load(source, options);
    model?.free();
    model = opened;
    times.length = 0;
    $('predictions').replaceChildren();
    await Promise.all([describe(), classify()]);
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
  const described = model;
  const chosen = $('choice').value === 'cpu';
  const why = described.onGpu || chosen ? '' : described.passedOver.length ? ': no hardware GPU here' : ': no GPU that can be used';
  $('device').textContent = `runs on ${described.device}${why}`;
  $('device').title = described.passedOver.length ? `passed over: ${described.passedOver.join('; ')}` : '';
  Object.assign($('family'), { textContent: described.family, hidden: false });
  draw(true);
  $('plan').textContent = described.plan;
  $('plan-svg').src = `data:image/svg+xml,${encodeURIComponent(described.planSvg)}`;
  figures('assumed', described.assumed.map(({ key, value, stated }) => [stated ? `${key} (stated)` : key, value]));
  const { weights, activations, scratch } = await described.memory();
  if (model !== described) return;
  figures('figures', [
    ['Weights', bytes(weights)],
    ['Activations', bytes(activations + scratch)],
    ['Dispatches', described.dispatches],
    ['Multiply-adds', `${(described.macs / 1e9).toFixed(2)} G`],
    ['Input', `${described.inputShape[2]} x ${described.inputShape[3]}`],
  ]);
}

function draw(removed) {
  for (const [id, on] of [['before', !removed], ['after', removed]]) {
    $(id).setAttribute('aria-checked', on);
    $(id).tabIndex = on ? 0 : -1;
  }
  $('drawing').replaceChildren(chain(model.blocks, removed));
  const of = (outcome) => model.blocks.filter((block) => block.outcome === outcome).length;
  const parts = [
    of('removed') && `${of('removed')} shortcuts are gone: carried channels (green) go through the layers instead`,
    of('summed') && `${of('summed')} blocks of parallel branches are summed`,
    of('kept') && `${of('kept')} blocks are kept as they are`,
  ].filter(Boolean);
  $('chain-text').textContent = removed
    ? `${parts.join('; ') || 'The file is a plain chain'}. The function is the same.`
    : 'A block with a shortcut (green) adds its input to what its layers compute, so that the input has to be kept until then.';
}

/** Classifies what is shown; while a run is under way only the newest picture waits. */
async function classify() {
  wanted = true;
  if (busy) return;
  busy = true;
  try {
    while (wanted && model?.labels !== undefined && model.outputShape[2] === 1) {
      wanted = false;
      const start = performance.now();
      const image = subject === view ? context.getImageData(0, 0, view.width, view.height) : subject;
      const asked = model;
      try {
        const found = await asked.classify(image);
        if (model !== asked) continue;
        timed(performance.now() - start);
        show(found);
      } catch (error) {
        // A model that was replaced in the meantime; the new one has its turn.
        if (error.code === 'freed') wanted = true;
        else throw error;
      }
    }
  } catch (error) {
    problem(error);
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
  const best = `It sees ${found[0].label ?? `class ${found[0].class}`}.`;
  if ($('best').textContent !== best) $('best').textContent = best;
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

/** Shows a picture, cut to a square, and classifies it as it is. */
async function picture(source) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(source);
  } catch {
    return problem({ code: 'input', message: `${source.name ?? 'It'} is no picture that this browser reads.` });
  }
  const side = Math.min(bitmap.width, bitmap.height);
  blank();
  context.imageSmoothingEnabled = side > 64;
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, view.width, view.height);
  bitmap.close();
  subject = source;
  solved();
  return classify();
}

function blank() {
  subject = view;
  context.fillStyle = '#000';
  context.fillRect(0, 0, view.width, view.height);
}

/** Starts or stops the camera. A stop while the browser still asks for permission counts. */
async function watch(on) {
  camera?.stream?.getTracks().forEach((track) => track.stop());
  const own = (camera = on ? {} : undefined);
  $('watch').setAttribute('aria-pressed', on);
  if (!on) return;
  try {
    if (!navigator.mediaDevices) throw new Error('a page needs https, or localhost, for it');
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } });
    if (camera !== own) return stream.getTracks().forEach((track) => track.stop());
    own.stream = stream;
    stream.getVideoTracks()[0].addEventListener('ended', () => camera === own && watch(false));
    $('camera').srcObject = stream;
    await $('camera').play();
    while (camera === own) {
      await picture($('camera'));
      await new Promise(requestAnimationFrame);
    }
  } catch (error) {
    if (camera === own) problem({ code: 'camera', message: error.message });
  }
}

/** Files that were dropped or chosen: a checkpoint if one is among them, else a picture. */
function take(files) {
  if (!files.length) return;
  const image = files.find(({ type }) => type.startsWith('image/'));
  if (files.some(({ name }) => WEIGHTS.test(name))) open(files);
  else if (image) watch(false), picture(image);
  else problem({ code: 'option', message: `Expected a picture, or a checkpoint: safetensors, .pth, .pt, .bin or .ckpt. Found ${files.map(({ name }) => name).join(', ')}.` });
}

function pen() {
  let from;
  const at = (event) => {
    const box = view.getBoundingClientRect();
    return [((event.clientX - box.left) * view.width) / box.width, ((event.clientY - box.top) * view.height) / box.height];
  };
  const line = (to) => {
    Object.assign(context, { strokeStyle: '#fff', lineWidth: 30, lineCap: 'round', lineJoin: 'round' });
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    from = to;
    subject = view;
    classify();
  };
  view.addEventListener('pointerdown', (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    watch(false);
    view.setPointerCapture(event.pointerId);
    from = at(event);
    line(from);
  });
  view.addEventListener('pointermove', (event) => from && event.isPrimary && line(at(event)));
  const end = () => (from = undefined);
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
    $(id).addEventListener('keydown', (event) => {
      if (!event.key.startsWith('Arrow')) return;
      event.preventDefault();
      $(other).click();
      $(other).focus();
    });
  }
  $('clear').addEventListener('click', () => (watch(false), blank(), solved(), classify()));
  $('watch').addEventListener('click', () => watch(!camera));
  $('again').addEventListener('click', () => open($('problem').dataset.code === 'device-lost' ? last : BUNDLED));
  for (const id of ['choice', 'precision']) $(id).addEventListener('change', () => open(last));
  for (const id of ['picture', 'files']) {
    $(id).addEventListener('change', ({ target }) => (take([...target.files]), (target.value = '')));
  }
  const files = (event) => event.dataTransfer?.types.includes('Files');
  let inside = 0;
  addEventListener('dragenter', (event) => files(event) && ($('drop').hidden = ++inside === 0));
  addEventListener('dragleave', (event) => files(event) && ($('drop').hidden = --inside <= 0));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', async (event) => {
    event.preventDefault();
    inside = 0;
    $('drop').hidden = true;
    take(await dropped(event.dataTransfer));
  });
}

blank();
wire();
pen();
samples();
const first = document.querySelector('#samples img');
await first.decode().then(() => picture(first), () => {}); // without it the canvas stays black
await open(query.get('model') ?? BUNDLED);
