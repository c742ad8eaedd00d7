//! Conversion between the callers' layout, `[batch, channels, height, width]`, and the internal one, NHWC.

use super::tasks::Workers;
use crate::kernel::BufferShape;

/// Values of a buffer: NHWC has no padded channels.
pub(super) fn elements(shape: BufferShape) -> usize {
    shape.batch * shape.channels * shape.height * shape.width
}

/// `[batch, channels, height, width]` to NHWC, on all threads.
pub(super) fn from_planar(shape: BufferShape, planar: &[f32], to: &mut [f32], workers: &mut Workers<'_>) {
    let (pixels, channels) = (shape.height * shape.width, shape.channels);
    let parts = to.chunks_exact_mut(channels * pixels).enumerate().flat_map(|(image, to)| {
        let parts = to.chunks_mut(PIXELS_A_PART * channels).enumerate();
        parts.map(move |(part, to)| (image * channels * pixels + part * PIXELS_A_PART, to))
    });
    workers.each(parts.collect(), |(first, to), _| {
        let count = to.len() / channels;
        for (c, plane) in planar[first..].chunks(pixels).take(channels).enumerate() {
            for (value, pixel) in plane[..count].iter().zip(to.chunks_exact_mut(channels)) {
                pixel[c] = *value;
            }
        }
    });
}

/// Pixels of a part, so that its NHWC values stay in the cache while all planes are written to them.
const PIXELS_A_PART: usize = 1024;
/// Pixels of NHWC converted at a time, so that their channels stay in the cache while they are written to all planes.
const PIXELS_AT_ONCE: usize = 16;

/// Every `stride`-th row and column of a channel range, from NHWC to `[batch, channels, height, width]`.
pub(super) fn to_planar(
    shape: BufferShape,
    values: &[f32],
    channels: std::ops::Range<usize>,
    stride: usize,
) -> Vec<f32> {
    let [height, width] = [shape.height, shape.width].map(|n| n.div_ceil(stride));
    let pixels = height * width;
    let mut planar = vec![0.0; shape.batch * channels.len() * pixels];
    for (image, planes) in planar.chunks_exact_mut(channels.len() * pixels).enumerate() {
        let image = &values[image * shape.height * shape.width * shape.channels..];
        for start in (0..pixels).step_by(PIXELS_AT_ONCE) {
            let end = (start + PIXELS_AT_ONCE).min(pixels);
            for (c, plane) in channels.clone().zip(planes.chunks_exact_mut(pixels)) {
                for (pixel, value) in (start..end).zip(&mut plane[start..end]) {
                    let from = match stride {
                        1 => pixel,
                        _ => pixel / width * stride * shape.width + pixel % width * stride,
                    };
                    *value = image[from * shape.channels + c];
                }
            }
        }
    }
    planar
}
