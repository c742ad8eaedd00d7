// TensorFlow.js on the page: ResNet-18 in its own operations, batch norms folded, convolutions fused with bias and ReLU; NHWC, which its
// backends ask for. Only the core and one backend are downloaded. Variant: the backend; `wasm-threads` on an isolated page.
export const layout = 'nhwc';

const base = '/packages/@tensorflow';
const strides = [1, 2, 2, 2];

const threads = (count) => `${count} thread${count > 1 ? 's' : ''}`;

function script(src) {
  return new Promise((resolve, reject) => {
    const element = document.createElement('script');
    Object.assign(element, { src, onload: resolve, onerror: () => reject(new Error(`${src} cannot be loaded`)) });
    document.head.append(element);
  });
}

export async function load(variant) {
  const backend = variant.split('-')[0];
  await script(`${base}/tfjs-core/dist/tf-core.min.js`);
  // Every backend's file contains what it needs of the plain JavaScript one.
  await script(`${base}/tfjs-backend-${backend}/dist/tf-backend-${backend}.min.js`);
  const { tf } = globalThis;
  if (backend === 'wasm') {
    tf.wasm.setWasmPaths(`${base}/tfjs-backend-wasm/dist/`);
    tf.wasm.setThreadsCount(variant === 'wasm-threads' ? navigator.hardwareConcurrency : 1); // at most half as many are taken
  }
  if (!(await tf.setBackend(backend))) throw new Error(`tfjs: the backend ${backend} cannot be started`);
  await tf.ready();
  const network = await resnet18(tf);
  return {
    device: backend === 'wasm' ? `wasm, ${threads(tf.wasm.getThreadsCount())}` : backend === 'cpu' ? 'JavaScript' : backend,
    async run(input) {
      const logits = tf.tidy(() => network(tf.tensor4d(input, [1, 224, 224, 3])));
      const values = await logits.data();
      logits.dispose();
      return values;
    },
  };
}

async function resnet18(tf) {
  const [list, bytes] = await Promise.all([
    fetch('/network/tfjs/weights.json').then((answer) => answer.json()),
    fetch('/network/tfjs/weights.bin').then((answer) => answer.arrayBuffer()),
  ]);
  const weights = {};
  let at = 0;
  for (const { name, shape } of list) {
    const length = shape.reduce((a, b) => a * b);
    weights[name] = tf.tensor(new Float32Array(bytes, at, length), shape);
    at += 4 * length;
  }
  const conv = (x, name, strides, activation) => tf.fused.conv2d({
    x, filter: weights[`${name}.weight`], bias: weights[`${name}.bias`], strides, activation,
    pad: Math.floor(weights[`${name}.weight`].shape[0] / 2),
  });
  return (image) => {
    let x = tf.maxPool(conv(image, 'conv1', 2, 'relu'), 3, 2, 1);
    for (let stage = 1; stage <= 4; stage++) {
      for (let block = 0; block < 2; block++) {
        const name = `layer${stage}.${block}`;
        const stride = block === 0 ? strides[stage - 1] : 1;
        const y = conv(conv(x, `${name}.conv1`, stride, 'relu'), `${name}.conv2`, 1, 'linear');
        const shortcut = weights[`${name}.downsample.0.weight`] ? conv(x, `${name}.downsample.0`, stride, 'linear') : x;
        x = tf.relu(tf.add(y, shortcut));
      }
    }
    return tf.reshape(tf.add(tf.matMul(tf.mean(x, [1, 2]), weights['fc.weight']), weights['fc.bias']), [1000]);
  };
}
