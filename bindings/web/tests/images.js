// Every kind of image, through the model's own preprocessing.
import { load } from '../dist/index.js';
import { digits, error } from './fixtures.js';
import { check, query, refusal, same, test } from './harness.js';

const names = ['0304_0', '0326_1', '0374_7', '0567_2', '0852_8', '1496_7', '1529_8', '1606_3', '1614_5', '1704_9', '1767_4'];
const url = (name) => new URL(`images/${name}.png`, digits);
const blob = async (name) => (await fetch(url(name))).blob();

test('images: labels of the bundled ones', async () => {
  for (const options of [{ device: 'cpu' }, { device: 'cpu', batch: 4 }]) {
    const model = await load(digits, options);
    const blobs = await Promise.all(names.map(blob));
    const found = await model.classify(blobs, { topK: 3 });
    found.forEach((top, i) => {
      same(top.length, 3);
      same(top[0].label, names[i].at(-1), names[i]);
      check(top[0].probability > 0.5 && top[0].logit > top[1].logit, JSON.stringify(top));
    });
    model.free();
  }
});

test('images: every kind gives the same input', async () => {
  const model = await load(digits, { device: 'cpu', worker: false });
  const image = new Image();
  image.src = url(names[2]);
  await image.decode();
  const { naturalWidth: width, naturalHeight: height } = image;
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, width, height);
  const offscreen = new OffscreenCanvas(width, height);
  offscreen.getContext('2d').putImageData(data, 0, 0);
  const kinds = {
    img: image,
    canvas,
    OffscreenCanvas: offscreen,
    ImageBitmap: await createImageBitmap(image),
    Blob: await blob(names[2]),
    'bytes of RGBA': { data: new Uint8Array(data.data), width, height },
  };
  if (globalThis.VideoFrame) kinds.VideoFrame = new VideoFrame(canvas, { timestamp: 0 });
  const expected = await model.input(data);
  same(expected.length, 3 * 32 * 32);
  for (const [kind, value] of Object.entries(kinds)) {
    const off = error(await model.input(value), expected);
    // A video frame may be kept in YUV.
    check(off <= (kind === 'VideoFrame' ? 0.02 : 0), `${kind}: ${off}`);
  }
  kinds.VideoFrame?.close();
  const [best] = await model.classify(data);
  same(best.label, '7');
  model.free();
  const inWorker = await load(digits, { device: 'cpu' });
  const input = await inWorker.input(data);
  same(error(input, expected), 0, 'difference in a worker');
  await inWorker.run(input);
  same([data.data.length, input.length], [4 * width * height, 3072], 'the app keeps its pixels and its input');
  // Alpha is dropped: the colours count, as with Pillow's convert('RGB').
  const clear = new Uint8Array(data.data);
  for (let i = 3; i < clear.length; i += 4) clear[i] = 7;
  same(error(await inWorker.input({ data: clear, width, height }), expected), 0, 'difference with alpha');
  inWorker.free();
});

test('images: a video', async () => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
  canvas.getContext('2d').drawImage(await createImageBitmap(await blob(names[2])), 0, 0, 64, 64);
  const video = document.createElement('video');
  video.muted = true;
  video.srcObject = canvas.captureStream(30);
  await video.play();
  const model = await load(digits, { device: 'cpu' });
  canvas.getContext('2d').drawImage(await createImageBitmap(await blob(names[2])), 0, 0, 64, 64);
  await new Promise((done) => setTimeout(done, 300));
  const [best] = await model.classify(video);
  same(best.label, '7');
  model.free();
});

test('images: what is none is refused', async () => {
  const model = await load(digits, { device: 'cpu' });
  const wrong = [
    new Blob(['no image']),
    { data: new Uint8Array(5), width: 2, height: 2 },
    { data: [1, 2, 3, 4], width: 1, height: 1 },
    document.createElement('div'),
    null,
    { data: null, width: 1, height: 1 },
    'cat.png',
    new ImageData(1, 1).data,
  ];
  for (const image of wrong) {
    const found = await refusal(model.classify(image));
    same(found.code, 'input', `${found}`);
  }
  const found = await refusal(model.classify(await blob(names[0]), { topK: 0 }));
  same(found.code, 'option');
  model.free();
});

test('images: one that the page may not read', async () => {
  const other = new URL(url(names[2]).pathname, `http://localhost:${query.get('other')}`);
  const image = Object.assign(new Image(), { src: `${other}?plain` });
  await image.decode();
  for (const worker of [true, false]) {
    const model = await load(digits, { device: 'cpu', worker });
    const found = await refusal(model.classify(image));
    check(found.code === 'input' && found.message.includes('crossorigin'), `${found.code} ${found}`);
    const allowed = Object.assign(new Image(), { crossOrigin: 'anonymous', src: other.href });
    await allowed.decode();
    same((await model.classify(allowed))[0].label, '7');
    model.free();
  }
});
