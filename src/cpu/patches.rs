//! Gathers the patch matrix of a convolution (im2col): one row of values per output pixel.

use super::depthwise;
use super::function::{relu, relu6};
use crate::kernel::{ConvSpec, Function, KRange};
use std::ops::Range;

/// Patch values gathered at a time per thread: 1 MiB.
pub(super) const PATCH_VALUES: usize = 256 * 1024;
/// Maximum patch values per thread: 16 MiB, unless a single pixel needs more.
pub(super) const MAX_PATCH_VALUES: usize = 16 * PATCH_VALUES;
/// Minimum pixels per tile: with fewer, splitting over threads leaves too few for an efficient GEMM.
pub(super) const MIN_TILE: usize = 32;

/// Scales and shifts of a K range with a prologue.
pub(super) type Prologue = Option<(Vec<f32>, Vec<f32>)>;

/// Values of one patch: every tap of every input channel.
pub(super) fn patch_len(k: &KRange) -> usize {
    k.kernel[0] * k.kernel[1] * k.from.channels
}

/// Whether output pixels and buffer pixels are the same, so that the buffer itself is the matrix of patches.
pub(super) fn is_direct(k: &KRange) -> bool {
    let view = k.from.stride == 1 && !k.from.avg_pool_2x2 && k.prologue.is_none();
    k.is_pointwise() && view
}

/// Writes the patches of output pixels `pixels` (numbered row by row through the batch, with images of `size`), each
/// `[groups][kernel_h][kernel_w][channels / groups]`, one after another.
pub(super) fn gather(
    k: &KRange,
    map: &Prologue,
    source: &[f32],
    size: [usize; 2],
    pixels: Range<usize>,
    out: &mut [f32],
) {
    let len = patch_len(k);
    for (p, patch) in pixels.zip(out.chunks_exact_mut(len)) {
        let (image, y, x) = (p / (size[0] * size[1]), p / size[1] % size[0], p % size[1]);
        patch_at(k, map, source, image, [y, x], patch);
    }
}

/// `function(scale * x + shift)` of whole pixels of a K range that is not grouped.
fn apply(k: &KRange, map: &Prologue, pixels: &mut [f32]) {
    let (Some(function), Some((scale, shift))) = (k.prologue, map) else { return };
    for pixel in pixels.chunks_exact_mut(k.from.channels) {
        for ((v, scale), shift) in pixel.iter_mut().zip(scale).zip(shift) {
            let x = *v * scale + shift;
            *v = match function {
                Function::Relu => relu(x),
                Function::Relu6 => relu6(x),
                _ => x,
            };
        }
    }
}

/// The mean of the elements of a 2x2 window inside the buffer, after the prologue.
fn mean(k: &KRange, map: &Prologue, source: &[f32], image: usize, [y, x]: [usize; 2], to: &mut [f32]) {
    let shape = k.from.shape;
    let rows = 2 * y..(2 * y + 2).min(shape.height);
    let columns = 2 * x..(2 * x + 2).min(shape.width);
    let scale = 1.0 / (rows.len() * columns.len()) as f32;
    let mut element = vec![0.0; to.len()];
    to.fill(0.0);
    for y in rows {
        for x in columns.clone() {
            let from = ((image * shape.height + y) * shape.width + x) * shape.channels + k.from.first_channel;
            element.copy_from_slice(&source[from..][..to.len()]);
            apply(k, map, &mut element);
            to.iter_mut().zip(&element).for_each(|(t, e)| *t += e);
        }
    }
    to.iter_mut().for_each(|t| *t *= scale);
}

fn patch_at(k: &KRange, map: &Prologue, source: &[f32], image: usize, at: [usize; 2], patch: &mut [f32]) {
    let shape = k.from.shape;
    if k.from.avg_pool_2x2 {
        // A 1x1 window without padding.
        return mean(k, map, source, image, [at[0] * k.stride[0], at[1] * k.stride[1]], patch);
    }
    let [view_h, view_w] = k.from.size();
    let per_group = k.from.channels / k.groups;
    // Taps of one row lie side by side in the buffer.
    let whole_rows = k.groups == 1
        && k.from.channels == shape.channels
        && k.from.stride == 1
        && (k.dilation[1] == 1 || k.kernel[1] == 1);
    let mut rows = patch.chunks_exact_mut(k.kernel[1] * per_group);
    for group in 0..k.groups {
        for ky in 0..k.kernel[0] {
            let Some(row) = rows.next() else { return };
            let y = at[0] * k.stride[0] + ky * k.dilation[0];
            if y < k.padding[0] || y - k.padding[0] >= view_h {
                row.fill(0.0);
                continue;
            }
            let y = (y - k.padding[0]) * k.from.stride;
            let line = (image * shape.height + y) * shape.width;
            if whole_rows {
                // Taps lo..hi are inside; column of tap kx is x0 + kx - padding.
                let x0 = at[1] * k.stride[1];
                let lo = k.padding[1].saturating_sub(x0).min(k.kernel[1]);
                let hi = (view_w + k.padding[1]).saturating_sub(x0).min(k.kernel[1]).max(lo);
                row[..lo * per_group].fill(0.0);
                row[hi * per_group..].fill(0.0);
                if lo < hi {
                    let from = (line + x0 + lo - k.padding[1]) * shape.channels;
                    let n = (hi - lo) * per_group;
                    row[lo * per_group..][..n].copy_from_slice(&source[from..][..n]);
                    apply(k, map, &mut row[lo * per_group..][..n]);
                }
                continue;
            }
            for (kx, tap) in row.chunks_exact_mut(per_group).enumerate() {
                let x = at[1] * k.stride[1] + kx * k.dilation[1];
                if x < k.padding[1] || x - k.padding[1] >= view_w {
                    tap.fill(0.0);
                    continue;
                }
                let x = (x - k.padding[1]) * k.from.stride;
                let from = (line + x) * shape.channels + k.from.first_channel + group * per_group;
                tap.copy_from_slice(&source[from..][..per_group]);
                apply(k, map, tap);
            }
        }
    }
}

/// Number of pixels whose patches one thread gathers at a time; `patch` is the number of values in one patch.
pub(super) fn pixels_at_once(patch: usize) -> usize {
    (PATCH_VALUES / patch).max(MIN_TILE).min(MAX_PATCH_VALUES / patch).max(1)
}

/// Maximum values gathered at a time per thread.
pub(super) fn gathered_values(spec: &ConvSpec) -> usize {
    let patch = patch_values(spec).max(1);
    patch.saturating_mul(pixels_at_once(patch))
}

/// Patch values of one pixel, for the largest K range that has to be gathered.
pub(super) fn patch_values(spec: &ConvSpec) -> usize {
    let gathered = |k: &&KRange| !is_direct(k) && !depthwise::is_depthwise(k, spec.out_channels);
    spec.k_ranges.iter().filter(gathered).map(patch_len).max().unwrap_or(0)
}
