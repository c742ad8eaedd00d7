// Images, as an app holds them, to RGBA.
import { RmnetError, isA, shown } from './errors.js';

const isPixels = (image) =>
  typeof image === 'object' && image !== null && 'data' in image && 'width' in image && 'height' in image;

/** An image in a form that can be posted: `{ data, width, height }` in RGBA, copied if asked, or an `ImageBitmap`. */
export async function toTransferable(image, copied) {
  if (isPixels(image)) {
    const { data, width, height } = image;
    const bytes = isA(data, 'Uint8Array', 'Uint8ClampedArray') ? data.length : undefined;
    const sides = [width, height].every((side) => Number.isInteger(side) && side > 0);
    if (!sides || bytes !== 4 * width * height) {
      const found = bytes === undefined ? shown(data) : `${bytes} bytes`;
      throw new RmnetError('input', `an image of ${shown(width)}x${shown(height)}: expected ${4 * width * height} bytes of RGBA, found ${found}`);
    }
    return { data: copied ? data.slice() : data, width, height };
  }
  try {
    // Straight alpha and no colour management, as files are decoded for training.
    return await createImageBitmap(image, { premultiplyAlpha: 'none', colorSpaceConversion: 'none' });
  } catch (cause) {
    const what = isA(image, 'Blob', 'File') ? `a file of ${image.size} bytes (${image.type || 'unknown type'})` : shown(image);
    throw new RmnetError('input', `${what} cannot be read as an image: ${cause.message}`, { cause });
  }
}

/** All images in that form; those made are closed if one fails. */
export async function toTransferables(images, copied) {
  const made = await Promise.allSettled(images.map((image) => toTransferable(image, copied)));
  const failed = made.find(({ status }) => status === 'rejected');
  if (!failed) return made.map(({ value }) => value);
  made.forEach(({ value }) => value?.close?.());
  throw failed.reason;
}

/** The transfer list of an image. */
export const transferList = (image) => [image.data?.buffer ?? image];

/** The error of an image that the page may show but not read. */
export const unreadable = (cause) =>
  new RmnetError('input', `the image is from another origin: set crossorigin on the element, and its server must allow it (${cause.message})`, { cause });

/** The pixels of a transferable image, which it ends. */
export function readPixels(image) {
  if (image.data) return image;
  const { width, height } = image;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  try {
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, width, height);
  } catch (cause) {
    throw cause.name === 'SecurityError' ? unreadable(cause) : cause;
  } finally {
    image.close();
  }
}
