// transformers.js on the page. Variant: its `device`. The model's class is called, not the pipeline: no image is resized.
export const layout = 'nchw';

export async function load(device) {
  const { AutoModelForImageClassification, Tensor, env } = await import('/packages/@huggingface/transformers/dist/transformers.min.js');
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = '/network/';
  env.useBrowserCache = false; // a first visit
  env.useWasmCache = false;
  // By default from a CDN: the same files of the version that it depends on.
  const dist = `${location.origin}/packages/onnxruntime-web-dev/dist/ort-wasm-simd-threaded.asyncify`;
  env.backends.onnx.wasm.wasmPaths = { mjs: `${dist}.mjs`, wasm: `${dist}.wasm` };
  env.backends.onnx.wasm.numThreads = 1;
  const model = await AutoModelForImageClassification.from_pretrained('onnx', { dtype: 'fp32', device });
  return {
    device: device === 'wasm' ? 'wasm, 1 thread' : device,
    async run(input) {
      const { logits } = await model({ pixel_values: new Tensor('float32', input, [1, 3, 224, 224]) });
      return logits.data;
    },
  };
}
