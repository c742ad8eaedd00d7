//! Depthwise convolution, computed directly: a GEMM per channel would be mostly overhead.

use crate::kernel::KRange;
use std::ops::Range;

/// Whether the K range is depthwise and reads stored elements, with or without a stride.
pub(super) fn is_depthwise(k: &KRange, out_channels: usize) -> bool {
    k.groups > 1
        && k.groups == k.from.channels
        && k.groups == out_channels
        && !k.from.avg_pool_2x2
        && k.prologue.is_none()
}

/// `[channels, 1, kernel_h, kernel_w]` to `[kernel_h * kernel_w][channels]`.
pub(super) fn pack(values: &[f32], taps: usize) -> Vec<f32> {
    let channels = values.len() / taps;
    (0..taps).flat_map(|t| (0..channels).map(move |c| values[c * taps + t])).collect()
}

/// Adds output channels `channels` of output pixels `pixels` (numbered through the batch, with images of `size`) to rows of `out`, which
/// are `out_row` apart.
pub(super) fn add_to(
    k: &KRange,
    weights: &[f32],
    source: &[f32],
    size: [usize; 2],
    pixels: Range<usize>,
    channels: Range<usize>,
    (out, out_row): (&mut [f32], usize),
) {
    let shape = k.from.shape;
    let [height, width] = k.from.size();
    for (p, out) in pixels.zip(out.chunks_mut(out_row)) {
        let out = &mut out[..channels.len()];
        let (image, y, x) = (p / (size[0] * size[1]), p / size[1] % size[0], p % size[1]);
        for ky in 0..k.kernel[0] {
            let row = (y * k.stride[0] + ky * k.dilation[0]).wrapping_sub(k.padding[0]);
            if row >= height {
                continue;
            }
            let line = (image * shape.height + row * k.from.stride) * shape.width;
            for kx in 0..k.kernel[1] {
                let column = (x * k.stride[1] + kx * k.dilation[1]).wrapping_sub(k.padding[1]);
                if column >= width {
                    continue;
                }
                let at =
                    (line + column * k.from.stride) * shape.channels + k.from.first_channel + channels.start;
                let input = &source[at..][..channels.len()];
                let tap = &weights[(ky * k.kernel[1] + kx) * k.groups + channels.start..][..channels.len()];
                for ((o, v), w) in out.iter_mut().zip(input).zip(tap) {
                    *o += v * w;
                }
            }
        }
    }
}
