// Images, as an app holds them, to RGBA.
import { RmnetError } from './errors.js';

const isData = (image) =>
  typeof image === 'object' && image !== null && 'data' in image && 'width' in image && 'height' in image;

/** An image in a form that can be handed over to a worker: `{ data, width, height }` in RGBA, copied if asked, or an `ImageBitmap`. */
export async function portable(image, copied) {
  if (isData(image)) {
    const { data, width, height } = image;
    if (data.length !== 4 * width * height || !(data instanceof Uint8Array || data instanceof Uint8ClampedArray)) {
      const found = `${data?.constructor?.name} of ${data?.length}`;
      throw new RmnetError('input', `an image of ${width}x${height}: expected ${4 * width * height} bytes of RGBA, found ${found}`);
    }
    return { data: copied ? data.slice() : data, width, height };
  }
  try {
    // Straight alpha and no colour management, as files are decoded for training.
    return await createImageBitmap(image, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
  } catch (cause) {
    const what = image instanceof Blob ? `a file of ${image.size} bytes (${image.type || 'unknown type'})` : kind(image);
    throw new RmnetError('input', `${what} cannot be read as an image: ${cause.message}`, { cause });
  }
}

/** What of a portable image is handed over rather than copied. */
export const handedOver = (image) => [image.data?.buffer ?? image];

/** The pixels of a portable image, which it ends. */
export function rgba(image) {
  if (image.data) return image;
  const { width, height } = image;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  image.close();
  return context.getImageData(0, 0, width, height);
}

const kind = (value) => (value === null ? 'null' : typeof value === 'object' ? value.constructor?.name ?? 'an object' : `a ${typeof value}`);
