//! Convolution dispatches: their passes, and the pooling that is fused into them.

use super::panels::{Kind, PackedConv};
use super::pool::Window;
use super::sums::block_values;
use super::target::{Conv, Target};
use super::tasks::{Parts, Workers};
use super::winograd_weights;
use crate::graph::MaxPool;
use crate::kernel::ConvSpec;
use rmnet_simd::Kernels;

/// Values of a strip of rows that are pooled: 1 MiB.
const STRIP_VALUES: usize = 256 * 1024;

/// Runs one dispatch: `reads` and `written` as in the plan, NHWC.
pub(super) fn run(
    (spec, packed, kernels): (&ConvSpec, &PackedConv, &Kernels),
    batch: usize,
    reads: &[&[f32]],
    written: &mut [Vec<f32>],
    workers: &mut Workers<'_>,
) {
    let conv = Conv { spec, packed, kernels, reads };
    match spec.pool {
        Some(pool) => conv.pooled(pool, batch, written, workers),
        None => conv.plain(batch * spec.size[0] * spec.size[1], written, workers),
    }
}

/// Working memory of a dispatch per thread, in values: pointers, copies of inputs, zeros, and rows that are pooled.
pub(super) fn scratch_values(spec: &ConvSpec) -> [usize; 4] {
    let [pointers, copies] = block_values(spec);
    let zeros = spec.k_ranges.iter().map(|k| k.kernel[1].saturating_mul(k.from.channels)).max().unwrap_or(0);
    let row = spec.size[1].saturating_mul(spec.out_channels);
    let strip = |pool| strip_rows(spec, pool, usize::MAX).1.saturating_mul(row);
    [pointers, copies.max(winograd_weights::block_values(spec)), zeros, spec.pool.map_or(0, strip)]
}

/// Rows of the pooled map that a task computes, of at most `most`, and the rows of the map that it needs.
fn strip_rows(spec: &ConvSpec, pool: MaxPool, most: usize) -> (usize, usize) {
    let row = spec.size[1].saturating_mul(spec.out_channels);
    let fit = (STRIP_VALUES / row.max(1)).saturating_sub(pool.kernel[0]) / pool.stride[0] + 1;
    let rows = fit.min(most).max(1);
    (rows, (rows - 1).saturating_mul(pool.stride[0]).saturating_add(pool.kernel[0]).min(spec.size[0]))
}

impl Conv<'_> {
    fn plain(&self, pixels: usize, written: &mut [Vec<f32>], workers: &mut Workers<'_>) {
        let outputs = written.iter_mut().zip(&self.spec.outputs);
        let targets: Vec<Target> = outputs
            .map(|(values, o)| {
                Target::new(values, o.shape.channels, 0, o.first_channel.wrapping_sub(o.channels.start))
            })
            .collect();
        for pass in &self.packed.passes {
            if pass.kind == Kind::Winograd {
                self.winograd(pass, &targets, workers);
                continue;
            }
            let inputs = self.input_values(pass).saturating_mul(pixels);
            let parts = Parts {
                pixels,
                tile: self.kernels.pixels(),
                panels: pass.panels.len(),
                by_panels: pass.weights.len() > inputs,
            };
            workers.each_part(parts, |pixels, panels, scratch| {
                self.blocks(pass, pixels, panels, &targets, scratch);
            });
        }
    }

    /// Computes strips of pooled rows, each with its own copy of the map rows it reads.
    fn pooled(&self, pool: MaxPool, batch: usize, written: &mut [Vec<f32>], workers: &mut Workers<'_>) {
        let spec = self.spec;
        let ([height, width], channels) = (spec.size, spec.out_channels);
        let Some([out_h, out_w]) = pool.output_size(spec.size) else { return };
        let (strip, _) = strip_rows(spec, pool, out_h.div_ceil(workers.count()));
        let mut rests: Vec<&mut [f32]> = written.iter_mut().map(Vec::as_mut_slice).collect();
        let mut tasks = vec![];
        for image in 0..batch {
            for start in (0..out_h).step_by(strip) {
                let rows = start..(start + strip).min(out_h);
                let parts: Vec<&mut [f32]> = rests
                    .iter_mut()
                    .zip(&spec.outputs)
                    .map(|(rest, o)| {
                        let own = rows.len() * out_w * o.shape.channels;
                        rest.split_off_mut(..own).expect("the output holds every row")
                    })
                    .collect();
                tasks.push((image, rows, parts));
            }
        }
        workers.each(tasks, |(image, rows, parts), scratch| {
            let first = Window::rows_of(pool, rows.start, height).start;
            let end = Window::rows_of(pool, rows.end - 1, height).end;
            let pixels = (image * height + first) * width..(image * height + end) * width;
            let mut map = scratch.take_map(pixels.len() * channels);
            let target = Target::new(&mut map, channels, pixels.start, 0);
            let targets = vec![target; spec.outputs.len()];
            for pass in &self.packed.passes {
                self.blocks(pass, pixels.clone(), 0..pass.panels.len(), &targets, scratch);
            }
            let window = Window { pool, rows: &map, first, height, width, stride: channels };
            for (part, o) in parts.into_iter().zip(&spec.outputs) {
                let lines = part.chunks_exact_mut(out_w * o.shape.channels);
                for (y, line) in rows.clone().zip(lines) {
                    window.row(y, o.channels.clone(), line, o.shape.channels, o.first_channel);
                }
            }
            scratch.map = map;
        });
    }
}
