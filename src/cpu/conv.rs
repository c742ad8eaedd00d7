//! Convolution dispatches as GEMMs over tiles of output pixels.

use super::function::{relu, relu6};
use super::patches::{
    MAX_PATCH_VALUES, MIN_TILE, PATCH_VALUES, Prologue, gather, is_direct, patch_len, patch_values,
    pixels_at_once,
};
use super::pool::Window;
use super::product::Product;
use super::{Scratch, depthwise};
use crate::graph::MaxPool;
use crate::kernel::{Add, ConvSpec, Function, KRange};
use crate::plan::ConvWeights;
use crate::shared::{Key, Shared};
use crate::tensor::all_finite;
use gemm::Parallelism;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex};

/// Rows of packed weights written at a time.
const PACK_ROWS: usize = 32;

/// Weights of a convolution in the layout of the GEMM.
pub(super) struct PackedConv {
    /// Per K range: `[groups][kernel_h * kernel_w * channels / groups][out_channels / groups]`; for a depthwise K range
    /// `[kernel_h * kernel_w][channels]`.
    k_ranges: Vec<Arc<Vec<f32>>>,
    bias: Vec<f32>,
    slopes: Vec<f32>,
    prologues: Vec<Prologue>,
}

impl PackedConv {
    /// `None` if a weight or bias overflows f32.
    pub(super) fn new(spec: &ConvSpec, weights: &ConvWeights) -> Option<PackedConv> {
        let mut finite = all_finite(&weights.bias);
        let pack = |(k, w): (&KRange, &crate::plan::KWeight)| {
            let (out, per_group, taps) =
                (spec.out_channels / k.groups, k.from.channels / k.groups, k.kernel[0] * k.kernel[1]);
            let mut values = w.to_f32();
            finite &= all_finite(&values);
            spec.precision().store(&mut values);
            if depthwise::is_depthwise(k, spec.out_channels) {
                return depthwise::pack(&values, taps);
            }
            let depth = per_group * taps;
            let mut packed = vec![0.0; values.len()];
            // Several rows of the result at a time, since the next rows read from the same cache lines.
            packed.par_chunks_mut((PACK_ROWS * out).max(1)).enumerate().for_each(|(chunk, to)| {
                // Row `r` of a group is channel `r % per_group` at tap `r / per_group`.
                let source = |row: usize| {
                    let (group, r) = (row / depth, row % depth);
                    group * out * depth + r % per_group * taps + r / per_group
                };
                let sources: Vec<usize> =
                    (0..to.len() / out).map(|i| source(chunk * PACK_ROWS + i)).collect();
                for o in 0..out {
                    let values = &values[o * depth..];
                    for (row, at) in to.chunks_exact_mut(out).zip(&sources) {
                        row[o] = values[*at];
                    }
                }
            });
            packed
        };
        let k_ranges = spec.k_ranges.iter().zip(&weights.k_ranges).map(pack).map(shared).collect();
        let packed = PackedConv {
            k_ranges,
            bias: weights.bias.clone(),
            slopes: weights.slopes.clone(),
            prologues: weights.prologues.clone(),
        };
        finite.then_some(packed)
    }

    pub(super) fn bytes(&self) -> usize {
        let prologues: usize =
            self.prologues.iter().flatten().map(|(scale, shift)| scale.len() + shift.len()).sum();
        4 * (self.k_ranges.iter().map(|k| k.len()).sum::<usize>()
            + self.bias.len()
            + self.slopes.len()
            + prologues)
    }
}

/// Shares packed weights: returns the identical weights of another session if there are any, else registers these.
fn shared(packed: Vec<f32>) -> Arc<Vec<f32>> {
    static WEIGHTS: LazyLock<Shared<Vec<f32>>> = LazyLock::new(Shared::default);
    let key = Key::of(bytemuck::cast_slice(&packed));
    let Some(there) = WEIGHTS.get(key) else { return WEIGHTS.insert(key, packed) };
    // Compare bits, since 0.0 and -0.0 are different weights.
    match bytemuck::cast_slice::<_, u32>(&there) == bytemuck::cast_slice::<_, u32>(&packed) {
        true => there,
        false => Arc::new(packed),
    }
}

/// The destination of a tile's channels `channels`: pixel `i` is stored at `values[i * stride + first..]`.
struct OutputChannels<'a> {
    values: &'a mut [f32],
    stride: usize,
    first: usize,
    channels: Range<usize>,
}

/// The parts of a dispatch shared by its tiles.
struct Conv<'a> {
    spec: &'a ConvSpec,
    packed: &'a PackedConv,
    reads: &'a [&'a [f32]],
}

/// Runs one dispatch: `reads` and `written` as in the plan, NHWC.
pub(super) fn run(
    spec: &ConvSpec,
    packed: &PackedConv,
    batch: usize,
    reads: &[&[f32]],
    written: &mut [Vec<f32>],
    scratch: &mut [Scratch],
) {
    let conv = Conv { spec, packed, reads };
    match spec.pool {
        Some(pool) => conv.pooled(pool, batch, written, scratch),
        None => conv.plain(batch * spec.size[0] * spec.size[1], written, scratch),
    }
}

impl Conv<'_> {
    fn plain(&self, pixels: usize, written: &mut [Vec<f32>], scratch: &mut [Scratch]) {
        let threads = scratch.len().max(1);
        if pixels < MIN_TILE * threads {
            let mut targets = self.targets(written.iter_mut().map(Vec::as_mut_slice).collect());
            return self.pixels(0..pixels, &mut targets, &mut scratch[0].patches, Parallelism::Rayon(0));
        }
        let tiles = if pixels >= 8 * MIN_TILE * threads { 4 * threads } else { threads };
        let tile = pixels.div_ceil(tiles);
        let mut rests: Vec<&mut [f32]> = written.iter_mut().map(Vec::as_mut_slice).collect();
        let tasks: Vec<_> = (0..pixels)
            .step_by(tile)
            .map(|start| {
                let range = start..(start + tile).min(pixels);
                let parts = rests
                    .iter_mut()
                    .zip(&self.spec.outputs)
                    .map(|(rest, o)| split_front(rest, range.len() * o.shape.channels))
                    .collect();
                (range, parts)
            })
            .collect();
        with_scratch(tasks, scratch, |(range, parts), scratch| {
            self.pixels(range, &mut self.targets(parts), &mut scratch.patches, Parallelism::None);
        });
    }

    fn targets<'v>(&self, values: Vec<&'v mut [f32]>) -> Vec<OutputChannels<'v>> {
        let target = |(values, o): (&'v mut [f32], &crate::kernel::Output)| OutputChannels {
            values,
            stride: o.shape.channels,
            first: o.first_channel,
            channels: o.channels.clone(),
        };
        values.into_iter().zip(&self.spec.outputs).map(target).collect()
    }

    /// Computes strips of pooled rows, each with its own copy of the map rows it reads.
    fn pooled(&self, pool: MaxPool, batch: usize, written: &mut [Vec<f32>], scratch: &mut [Scratch]) {
        let spec = self.spec;
        let ([height, width], channels) = (spec.size, spec.out_channels);
        let Some([out_h, out_w]) = pool.output_size(spec.size) else { return };
        let row_values = patch_values(spec) * width;
        let fit = (PATCH_VALUES / row_values.max(1)).saturating_sub(pool.kernel[0]) / pool.stride[0] + 1;
        let strip = fit.min(out_h.div_ceil(scratch.len().max(1))).max(1);
        let mut rests: Vec<&mut [f32]> = written.iter_mut().map(Vec::as_mut_slice).collect();
        let mut tasks = vec![];
        for image in 0..batch {
            for start in (0..out_h).step_by(strip) {
                let rows = start..(start + strip).min(out_h);
                let parts: Vec<&mut [f32]> = rests
                    .iter_mut()
                    .zip(&spec.outputs)
                    .map(|(rest, o)| split_front(rest, rows.len() * out_w * o.shape.channels))
                    .collect();
                tasks.push((image, rows, parts));
            }
        }
        with_scratch(tasks, scratch, |(image, rows, parts), scratch| {
            let first = Window::rows_of(pool, rows.start, height).start;
            let end = Window::rows_of(pool, rows.end - 1, height).end;
            let pixels = (image * height + first) * width..(image * height + end) * width;
            let Scratch { patches, rows: map } = scratch;
            map.resize(map.len().max(pixels.len() * channels), 0.0);
            let whole = OutputChannels { values: map, stride: channels, first: 0, channels: 0..channels };
            self.pixels(pixels, &mut [whole], patches, Parallelism::None);
            let window = Window { pool, rows: map, first, height, width, stride: channels };
            for (part, o) in parts.into_iter().zip(&spec.outputs) {
                let line = out_w * o.shape.channels;
                for (y, out) in rows.clone().zip(part.chunks_exact_mut(line)) {
                    window.row(y, o.channels.clone(), out, o.shape.channels, o.first_channel);
                }
            }
        });
    }

    /// Computes `activation(bias + adds + K ranges)` for a range of pixels, numbered through the batch.
    fn pixels(
        &self,
        pixels: Range<usize>,
        targets: &mut [OutputChannels<'_>],
        patches: &mut Vec<f32>,
        parallelism: Parallelism,
    ) {
        let patch = patch_values(self.spec).max(1);
        let step = match parallelism {
            Parallelism::None => pixels_at_once(patch),
            Parallelism::Rayon(_) => {
                pixels.len().min(rayon::current_num_threads() * MAX_PATCH_VALUES / patch)
            }
        };
        let step = step.max(1);
        for start in pixels.clone().step_by(step) {
            let range = start..(start + step).min(pixels.end);
            let skip = start - pixels.start;
            let mut parts: Vec<OutputChannels<'_>> = targets
                .iter_mut()
                .map(|t| OutputChannels {
                    values: &mut t.values[skip * t.stride..(skip + range.len()) * t.stride],
                    stride: t.stride,
                    first: t.first,
                    channels: t.channels.clone(),
                })
                .collect();
            self.begin(range.clone(), &mut parts);
            for (i, weights) in self.packed.k_ranges.iter().enumerate() {
                self.accumulate(i, weights, range.clone(), &mut parts, patches, parallelism);
            }
            self.finish(&mut parts);
        }
    }

    fn begin(&self, pixels: Range<usize>, targets: &mut [OutputChannels<'_>]) {
        let (in_place, adds) = self.spec.adds.split_at(self.spec.in_place);
        let [height, width] = self.spec.size;
        for t in targets {
            let bias = &self.packed.bias[t.channels.clone()];
            for (p, pixel) in pixels.clone().zip(t.values.chunks_exact_mut(t.stride)) {
                let out = &mut pixel[t.first..][..bias.len()];
                let (image, y, x) = (p / (height * width), p / width % height, p % width);
                // The factors of an added value from its channel `c` on.
                let gate = |add: &Add, c: usize| {
                    let gate = add.gate.as_ref()?;
                    let at = image * gate.shape.channels + gate.first_channel + c;
                    Some(&self.reads[gate.buffer][at..])
                };
                // In-place channels keep their values as the start of the sum; others are initialised.
                let mut done = 0;
                for add in in_place {
                    let own = add.first_out..add.first_out + add.from.channels;
                    out[done..own.start].copy_from_slice(&bias[done..own.start]);
                    let out = &mut out[own.clone()];
                    if let Some(factors) = gate(add, 0) {
                        out.iter_mut().zip(factors).for_each(|(o, f)| *o *= f);
                    }
                    out.iter_mut().zip(&bias[own.clone()]).for_each(|(o, b)| *o += b);
                    done = own.end;
                }
                out[done..].copy_from_slice(&bias[done..]);
                for add in adds {
                    let from = &add.from;
                    let lo = t.channels.start.max(add.first_out);
                    let hi = t.channels.end.min(add.first_out + from.channels);
                    if lo < hi {
                        let line = (image * from.shape.height + y * from.stride) * from.shape.width;
                        let at = (line + x * from.stride) * from.shape.channels + from.first_channel + lo
                            - add.first_out;
                        let values = &self.reads[from.buffer][at..][..hi - lo];
                        let out = out[lo - t.channels.start..].iter_mut().zip(values);
                        match gate(add, lo - add.first_out) {
                            None => out.for_each(|(o, v)| *o += v),
                            Some(factors) => out.zip(factors).for_each(|((o, v), f)| *o += v * f),
                        }
                    }
                }
            }
        }
    }

    fn accumulate(
        &self,
        i: usize,
        weights: &[f32],
        pixels: Range<usize>,
        targets: &mut [OutputChannels<'_>],
        patches: &mut Vec<f32>,
        parallelism: Parallelism,
    ) {
        let (k, map) = (&self.spec.k_ranges[i], &self.packed.prologues[i]);
        let source = self.reads[k.from.buffer];
        if depthwise::is_depthwise(k, self.spec.out_channels) {
            for t in targets {
                let out = (&mut t.values[t.first..], t.stride);
                let channels = t.channels.clone();
                depthwise::add_to(k, weights, source, self.spec.size, pixels.clone(), channels, out);
            }
            return;
        }
        let len = patch_len(k);
        let (values, row, depth) = if is_direct(k) {
            let first = pixels.start * k.from.shape.channels + k.from.first_channel;
            (&source[first..], k.from.shape.channels, k.from.channels)
        } else {
            let needed = pixels.len() * len;
            patches.resize(patches.len().max(needed), 0.0);
            let out = &mut patches[..needed];
            if matches!(parallelism, Parallelism::None) {
                gather(k, map, source, self.spec.size, pixels.clone(), out);
            } else {
                let starts = out.par_chunks_exact_mut(len).enumerate();
                starts.for_each(|(i, patch)| {
                    let p = pixels.start + i;
                    gather(k, map, source, self.spec.size, p..p + 1, patch);
                });
            }
            (&patches[..needed], len, len)
        };
        let (group_depth, group_out) = (depth / k.groups, self.spec.out_channels / k.groups);
        for t in targets {
            for group in t.channels.start / group_out..t.channels.end.div_ceil(group_out) {
                let lo = t.channels.start.max(group * group_out);
                let hi = t.channels.end.min((group + 1) * group_out);
                let product = Product {
                    pixels: pixels.len(),
                    depth: group_depth,
                    channels: hi - lo,
                    left: &values[group * group_depth..],
                    left_row: row,
                    right: &weights[group * group_depth * group_out + lo - group * group_out..],
                    right_row: group_out,
                };
                let out = &mut t.values[t.first + lo - t.channels.start..];
                product.add_to(out, t.stride, parallelism);
            }
        }
    }

    fn finish(&self, targets: &mut [OutputChannels<'_>]) {
        for (range, function) in &self.spec.activation {
            for t in &mut *targets {
                let lo = range.start.max(t.channels.start);
                let hi = range.end.min(t.channels.end);
                if lo >= hi {
                    continue;
                }
                let (first, stride, slopes) =
                    (t.first + lo - t.channels.start, t.stride, &self.packed.slopes);
                let pixels = t.values.chunks_exact_mut(stride).map(|p| &mut p[first..][..hi - lo]);
                let each = |f: fn(f32) -> f32| move |out: &mut [f32]| out.iter_mut().for_each(|v| *v = f(*v));
                match function {
                    Function::Identity => {}
                    Function::Relu => pixels.for_each(each(relu)),
                    Function::Relu6 => pixels.for_each(each(relu6)),
                    Function::Sigmoid => pixels.for_each(each(|v| 1.0 / (1.0 + (-v).exp()))),
                    Function::PRelu => pixels.for_each(|out| {
                        for (v, slope) in out.iter_mut().zip(&slopes[lo..hi]) {
                            *v = if *v < 0.0 { *v * slope } else { *v };
                        }
                    }),
                }
            }
        }
    }
}

fn split_front<'a>(rest: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let (front, back) = std::mem::take(rest).split_at_mut(n);
    *rest = back;
    front
}

/// Runs tasks on all threads, each with its own scratch memory.
fn with_scratch<T: Send>(tasks: Vec<T>, scratch: &mut [Scratch], run: impl Fn(T, &mut Scratch) + Sync) {
    let free: Mutex<Vec<&mut Scratch>> = Mutex::new(scratch.iter_mut().collect());
    tasks.into_par_iter().for_each(|task| {
        let lock = || free.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let taken = lock().pop();
        match taken {
            Some(scratch) => {
                run(task, scratch);
                lock().push(scratch);
            }
            None => run(task, &mut Scratch::default()),
        }
    });
}
