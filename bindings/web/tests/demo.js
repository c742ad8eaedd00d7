// The demo page, used as people do: in a frame, by clicks, keys, the pointer and dropped files.
import { bytes, digits, fixture } from './fixtures.js';
import { check, same, test } from './harness.js';

/** Waits until a condition holds. */
async function until(condition, what) {
  for (let i = 0; i < 600; i++) {
    if (condition()) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`waited in vain for ${what}`);
}

async function opened({ width = 1000, query = '', ready = true } = {}) {
  const frame = Object.assign(document.createElement('iframe'), { src: `/bindings/web/demo/${query}`, width, height: 800 });
  frame.allow = 'camera';
  document.body.append(frame);
  await new Promise((done) => (frame.onload = done));
  const page = frame.contentDocument;
  const find = (selector) => page.querySelector(selector);
  const best = () => find('#predictions li b')?.textContent;
  if (ready) await until(best, 'a prediction');
  return { frame, page, find, best, click: (selector) => find(selector).click(), end: () => frame.remove() };
}

function drop({ frame }, ...files) {
  const transfer = new frame.contentWindow.DataTransfer();
  files.forEach((file) => transfer.items.add(file));
  const event = new frame.contentWindow.DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
  frame.contentDocument.body.dispatchEvent(event);
}

test('demo: samples, both forms of the network, the plan', async () => {
  const demo = await opened();
  await until(() => demo.best() === '0', 'the first sample');
  for (const digit of ['7', '3', '9']) {
    demo.click(`#samples img[alt="digit ${digit}"]`);
    await until(() => demo.best() === digit, `a ${digit}`);
  }
  const circles = () => demo.page.querySelectorAll('#drawing circle').length;
  same(circles(), 0, 'additions as it runs');
  demo.click('#before');
  same(circles(), 9, 'additions as trained');
  const arrow = new demo.frame.contentWindow.KeyboardEvent('keydown', { key: 'ArrowRight' });
  demo.find('#before').dispatchEvent(arrow);
  same(circles(), 0, 'after an arrow key');
  same(demo.page.activeElement.id, 'after', 'the focus');
  check(demo.find('#plan').textContent.includes('layer1.0.conv2'), 'the plan');
  check(/\d ms/.test(demo.find('#time-text').textContent), demo.find('#time-text').textContent);
  demo.end();
});

test('demo: a drawn digit', async () => {
  const demo = await opened();
  demo.click('#clear');
  const view = demo.find('#view');
  view.setPointerCapture = () => {};
  const box = view.getBoundingClientRect();
  const at = (type, x, y) => {
    const place = { clientX: box.left + x * box.width, clientY: box.top + y * box.height, pointerId: 1, bubbles: true };
    view.dispatchEvent(new demo.frame.contentWindow.PointerEvent(type, place));
  };
  at('pointerdown', 0.5, 0.1);
  for (let y = 0.1; y < 0.92; y += 0.04) at('pointermove', 0.5, y);
  at('pointerup', 0.5, 0.9);
  await until(() => demo.best() === '1', 'a 1');
  demo.end();
});

test('demo: dropped pictures and checkpoints', async () => {
  const demo = await opened();
  const picture = await bytes(new URL('images/0326_1.png', digits));
  drop(demo, new File([picture], 'one.png', { type: 'image/png' }));
  await until(() => demo.best() === '1', 'the dropped picture');
  drop(demo, new File(['no tensors here'], 'notes.safetensors'));
  await until(() => !demo.find('#problem').hidden, 'a refusal');
  same(demo.find('#problem-title').textContent, 'This file cannot be used');
  same(demo.best(), '1', 'the model stays');
  drop(demo, new File(['x'], 'notes.txt'));
  await until(() => demo.find('#problem-text').textContent.includes('notes.txt'), 'the name of the file');
  drop(demo, new File(['x'], 'cat.png', { type: 'image/png' }));
  await until(() => demo.find('#problem-title').textContent.includes('picture'), 'the picture refused');
  const url = fixture('hf_basic');
  const file = async (name) => new File([await bytes(new URL(name, url))], name);
  drop(demo, ...(await Promise.all(['model.safetensors', 'config.json', 'preprocessor_config.json'].map(file))));
  await until(() => demo.find('#family').textContent.includes('Hugging Face'), 'another family');
  check(demo.find('#problem').hidden, 'the problem is gone');
  demo.click('#again');
  await until(() => demo.find('#family').textContent.includes('CIFAR'), 'the bundled model');
  demo.end();
});

test('demo: on a phone nothing is cut off', async () => {
  const demo = await opened({ width: 360 });
  const { scrollWidth, clientWidth } = demo.page.documentElement;
  check(scrollWidth <= clientWidth, `${scrollWidth} of ${clientWidth}`);
  const names = [...demo.page.querySelectorAll('button, input, select, canvas')].filter(
    (control) => !(control.textContent.trim() || control.ariaLabel || control.labels?.length || control.querySelector('img[alt]')),
  );
  same(names.length, 0, `controls without a name: ${names.map((n) => n.outerHTML)}`);
  demo.end();
});

test('demo: a device that is not there, and one that is lost', async () => {
  const demo = await opened({ query: '?worker=false' });
  const { navigator, GPUAdapter, Event } = demo.frame.contentWindow;
  const choose = (device) => {
    demo.find('#choice').value = device;
    demo.find('#choice').dispatchEvent(new Event('change'));
  };
  const title = () => (demo.find('#problem').hidden ? '' : demo.find('#problem-title').textContent);
  let lent;
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...wanted) {
    return (lent = await requestDevice.apply(this, wanted));
  };
  choose('webgpu');
  await until(() => demo.find('#device').textContent.includes('webgpu') && demo.best(), 'WebGPU');
  lent.destroy();
  await lent.lost;
  demo.click('#samples img[alt="digit 3"]');
  await until(() => title() === 'The GPU is gone', 'the loss');
  same(demo.find('#again').textContent, 'Load again');
  demo.click('#again');
  await until(() => !title() && demo.best() === '3', 'the model again');
  Object.defineProperty(navigator, 'gpu', { value: undefined });
  choose('webgpu');
  await until(() => title() === 'No WebGPU here', 'the refusal');
  choose('auto');
  await until(() => demo.find('#device').textContent.includes('cpu, 1 thread: no GPU that can be used'), 'the CPU, and why');
  demo.end();
});

test('demo: a model that cannot be loaded', async () => {
  const demo = await opened({ query: '?model=/no/such/model.safetensors', ready: false });
  await until(() => !demo.find('#problem').hidden, 'the problem');
  same(demo.find('#problem-title').textContent, 'The download failed');
  same(demo.find('#device').textContent, 'nothing loaded');
  demo.click('#again');
  await until(() => demo.best() === '0', 'the bundled model');
  demo.end();
});

test('demo: the camera', async () => {
  const demo = await opened();
  const runs = () => Number(/last (\d+)/.exec(demo.find('#time-text').textContent)?.[1] ?? 0);
  const before = runs();
  demo.click('#watch');
  // Chromium is started with a camera of its own; without one the page says so.
  await until(() => runs() > before + 3 || !demo.find('#problem').hidden, 'frames');
  if (demo.find('#problem').hidden) {
    same(demo.find('#watch').getAttribute('aria-pressed'), 'true');
    demo.click('#samples img[alt="digit 7"]');
    await until(() => demo.best() === '7', 'a sample in place of the camera');
  } else {
    same(demo.find('#problem-title').textContent, 'The camera cannot be used');
  }
  same(demo.find('#watch').getAttribute('aria-pressed'), 'false');
  demo.end();
});
