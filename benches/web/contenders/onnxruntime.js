// onnxruntime-web on the page, as its documentation shows. Variant: the execution provider, wasm or webgpu; `wasm-threads` takes as
// many threads as there are cores, on a page that is cross-origin isolated.
export const layout = 'nchw';

export async function load(variant) {
  const provider = variant.split('-')[0];
  const ort = await import(`/packages/onnxruntime-web/dist/ort.${provider}.bundle.min.mjs`);
  ort.env.wasm.numThreads = variant === 'wasm-threads' ? navigator.hardwareConcurrency : 1;
  const session = await ort.InferenceSession.create('/network/onnx/onnx/model.onnx', { executionProviders: [provider] });
  const threads = ort.env.wasm.numThreads;
  return {
    device: provider === 'wasm' ? `wasm, ${threads} thread${threads > 1 ? 's' : ''}` : provider,
    async run(input) {
      const { logits } = await session.run({ pixel_values: new ort.Tensor('float32', input, [1, 3, 224, 224]) });
      return logits.getData();
    },
  };
}
