//! Pooling on NHWC values.

use super::tasks::Workers;
use crate::graph::MaxPool;
use crate::kernel::{AverageSpec, PoolSpec};
use std::ops::Range;

/// Max pooling of one output row. `rows` holds rows of a map of `height` rows, `width` columns and `channels` channels, from row `first`
/// on, with `stride` values per pixel.
pub(super) struct Window<'a> {
    pub(super) pool: MaxPool,
    pub(super) rows: &'a [f32],
    pub(super) first: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) stride: usize,
}

impl Window<'_> {
    /// Rows of the map that pooled row `y` reads.
    pub(super) fn rows_of(pool: MaxPool, y: usize, height: usize) -> Range<usize> {
        let start = (y * pool.stride[0]).saturating_sub(pool.padding[0]);
        let end = (y * pool.stride[0] + pool.kernel[0]).saturating_sub(pool.padding[0]).min(height);
        start.min(end)..end
    }

    /// Pools channels `channels` of the map for output row `y`, into `out`: pixels of `out_stride` values, from `out_channel` on.
    pub(super) fn row(
        &self,
        y: usize,
        channels: Range<usize>,
        out: &mut [f32],
        out_stride: usize,
        out_channel: usize,
    ) {
        let p = self.pool;
        for (x, pixel) in out.chunks_exact_mut(out_stride).enumerate() {
            let best = &mut pixel[out_channel..][..channels.len()];
            best.fill(f32::NEG_INFINITY);
            let start = (x * p.stride[1]).saturating_sub(p.padding[1]);
            let end = (x * p.stride[1] + p.kernel[1]).saturating_sub(p.padding[1]).min(self.width);
            for row in Self::rows_of(p, y, self.height) {
                for column in start..end {
                    let at = ((row - self.first) * self.width + column) * self.stride + channels.start;
                    for (b, v) in best.iter_mut().zip(&self.rows[at..]) {
                        // NaN is propagated.
                        *b = if *v > *b || v.is_nan() { *v } else { *b };
                    }
                }
            }
        }
    }
}

/// A max-pool dispatch.
pub(super) fn max(spec: &PoolSpec, from: &[f32], to: &mut [f32], workers: &mut Workers<'_>) {
    let (shape, out) = (spec.from.shape, spec.to);
    let image = shape.height * shape.width * shape.channels;
    let row = out.width * out.channels;
    let used = out.batch * out.height * row;
    let lines = to[..used].chunks_exact_mut(row).enumerate().collect();
    workers.each(lines, |(r, line), _| {
        let (n, y) = (r / out.height, r % out.height);
        let window = Window {
            pool: spec.pool,
            rows: &from[n * image..][..image],
            first: 0,
            height: shape.height,
            width: shape.width,
            stride: shape.channels,
        };
        let channels = spec.from.first_channel..spec.from.first_channel + spec.from.channels;
        window.row(y, channels, line, out.channels, 0);
    });
}

/// A global average dispatch.
pub(super) fn average(spec: &AverageSpec, from: &[f32], to: &mut [f32]) {
    let (shape, stride) = (spec.from.shape, spec.from.shape.channels);
    let pixels = shape.height * shape.width;
    let images = from[..shape.batch * pixels * stride].chunks_exact(pixels * stride);
    let first = spec.from.first_channel;
    for (values, mean) in images.zip(to.chunks_exact_mut(spec.to.channels)) {
        let mean = &mut mean[..spec.from.channels];
        mean.fill(0.0);
        for pixel in values.chunks_exact(stride) {
            for (m, v) in mean.iter_mut().zip(&pixel[first..]) {
                *m += v;
            }
        }
        mean.iter_mut().for_each(|m| *m /= pixels as f32);
    }
}
