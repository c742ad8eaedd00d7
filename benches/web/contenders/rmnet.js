// rmnet in its worker, from the checkpoint as it is. Variant: its `device`.
export const layout = 'nchw';

export async function load(device) {
  const { load } = await import('/rmnet/index.js');
  const weights = '/network/rmnet/model.safetensors';
  const model = await load({ weights, config: null, preprocessor: null }, { device });
  return { device: model.device, run: (input) => model.run(input) };
}
