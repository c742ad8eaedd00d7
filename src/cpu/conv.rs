//! Convolution dispatches, tile by tile: the kernel reads a tile's inputs where they are, sums over all K ranges in registers, applies the
//! activation and stores.

use super::function::sigmoid;
use super::inputs::{Copies, Inputs, copied_values, segments};
use super::panels::{ChunkTerm, Initial, PackedConv, Panel, Pass};
use super::pool::Window;
use super::simd::{CACHE_LINE, Kernels, Term, Tile};
use super::state::Scratch;
use super::tasks::{Parts, each_task};
use crate::graph::MaxPool;
use crate::kernel::{Add, ConvSpec, Function};
use std::ops::Range;

/// Values of inputs that a block of tiles reads, so that they stay in the cache while all weights pass by: 256 KiB.
const BLOCK_VALUES: usize = 64 * 1024;
/// Most pixels of a block.
const BLOCK_PIXELS: usize = 192;
/// Most tiles of a block that fetch weights ahead of each other.
const TILES_AHEAD: usize = 8;
/// Values of a strip of rows that are pooled: 1 MiB.
const STRIP_VALUES: usize = 256 * 1024;

/// A buffer that pixels are stored in, NHWC. Several threads write to it, each its own pixels or channels.
#[derive(Clone, Copy)]
struct Target {
    values: *mut f32,
    len: usize,
    /// Values of a pixel.
    step: usize,
    /// Number of its first pixel.
    origin: usize,
    /// What is added to an output channel's number for its place in a pixel; wraps around.
    shift: usize,
}

// SAFETY: only `Conv::block` writes through the pointer, and no two tasks of a pass have pixels and channels in common.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    fn new(values: &mut [f32], step: usize, origin: usize, shift: usize) -> Target {
        Target { values: values.as_mut_ptr(), len: values.len(), step, origin, shift }
    }

    /// The first value of `channels` in the first of `pixels`; all of them are inside.
    fn at(&self, pixels: &Range<usize>, channels: &Range<usize>) -> *mut f32 {
        let first = channels.start.wrapping_add(self.shift);
        let last = (pixels.end - 1 - self.origin) * self.step + first + channels.len();
        assert!(last <= self.len && first + channels.len() <= self.step, "the tile is inside its buffer");
        self.values.wrapping_add((pixels.start - self.origin) * self.step + first)
    }
}

/// The parts of a dispatch shared by its tiles.
struct Conv<'a> {
    spec: &'a ConvSpec,
    packed: &'a PackedConv,
    kernels: &'a Kernels,
    reads: &'a [&'a [f32]],
}

/// Runs one dispatch: `reads` and `written` as in the plan, NHWC.
pub(super) fn run(
    (spec, packed, kernels): (&ConvSpec, &PackedConv, &Kernels),
    batch: usize,
    reads: &[&[f32]],
    written: &mut [Vec<f32>],
    scratch: &mut [Scratch],
) {
    let conv = Conv { spec, packed, kernels, reads };
    match spec.pool {
        Some(pool) => conv.pooled(pool, batch, written, scratch),
        None => conv.plain(batch * spec.size[0] * spec.size[1], written, scratch),
    }
}

/// Working memory of a dispatch per thread, in values: copies of inputs, pooled rows, zeros.
pub(super) fn scratch_values(spec: &ConvSpec) -> usize {
    let width = spec.size[1];
    let copied =
        spec.k_ranges.iter().map(|k| copied_values(k, width, BLOCK_PIXELS)).fold(0, usize::saturating_add);
    let strip = spec
        .pool
        .map_or(0, |pool| strip_rows(spec, pool, usize::MAX).1.saturating_mul(width * spec.out_channels));
    copied.saturating_add(strip)
}

/// Rows of the pooled map that a task computes, of at most `most`, and the rows of the map that it needs.
fn strip_rows(spec: &ConvSpec, pool: MaxPool, most: usize) -> (usize, usize) {
    let row = spec.size[1] * spec.out_channels;
    let fit = (STRIP_VALUES / row.max(1)).saturating_sub(pool.kernel[0]) / pool.stride[0] + 1;
    let rows = fit.min(most).max(1);
    (rows, ((rows - 1) * pool.stride[0] + pool.kernel[0]).min(spec.size[0]))
}

impl Conv<'_> {
    fn plain(&self, pixels: usize, written: &mut [Vec<f32>], scratch: &mut [Scratch]) {
        let outputs = written.iter_mut().zip(&self.spec.outputs);
        let targets: Vec<Target> = outputs
            .map(|(values, o)| {
                Target::new(values, o.shape.channels, 0, o.first_channel.wrapping_sub(o.channels.start))
            })
            .collect();
        for pass in &self.packed.passes {
            let inputs = self.input_values(pass).saturating_mul(pixels);
            let parts = Parts {
                pixels,
                pixels_at_least: self.kernels.pixels(),
                panels: pass.panels.len(),
                by_panels: pass.weights.len() > inputs,
            };
            each_task(parts, scratch, |pixels, panels, scratch| {
                self.blocks(pass, pixels, panels, &targets, scratch);
            });
        }
    }

    /// Computes strips of pooled rows, each with its own copy of the map rows it reads.
    fn pooled(&self, pool: MaxPool, batch: usize, written: &mut [Vec<f32>], scratch: &mut [Scratch]) {
        let spec = self.spec;
        let ([height, width], channels) = (spec.size, spec.out_channels);
        let Some([out_h, out_w]) = pool.output_size(spec.size) else { return };
        let (strip, _) = strip_rows(spec, pool, out_h.div_ceil(scratch.len().max(1)));
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
        super::tasks::each(tasks, scratch, |(image, rows, parts), scratch| {
            let first = Window::rows_of(pool, rows.start, height).start;
            let end = Window::rows_of(pool, rows.end - 1, height).end;
            let pixels = (image * height + first) * width..(image * height + end) * width;
            let mut map = std::mem::take(&mut scratch.map);
            map.resize(map.len().max(pixels.len() * channels), 0.0);
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

    /// Values read per output pixel, about.
    fn input_values(&self, pass: &Pass) -> usize {
        let of = |i: &usize| {
            let k = &self.spec.k_ranges[*i];
            k.from.channels * k.stride[0] * k.stride[1] * k.from.stride * k.from.stride
        };
        pass.k_ranges.iter().map(of).sum::<usize>().max(1)
    }

    /// Computes `panels` of `pixels`, as many pixels at a time as stay in the cache.
    fn blocks(
        &self,
        pass: &Pass,
        pixels: Range<usize>,
        panels: Range<usize>,
        targets: &[Target],
        scratch: &mut Scratch,
    ) {
        let height = self.kernels.pixels();
        let most = (BLOCK_VALUES / self.input_values(pass)).clamp(2 * height, BLOCK_PIXELS);
        let blocks = pixels.len().div_ceil(most);
        for block in cut(pixels, blocks) {
            self.block(pass, block, panels.clone(), targets, scratch);
        }
    }

    fn block(
        &self,
        pass: &Pass,
        pixels: Range<usize>,
        panels: Range<usize>,
        targets: &[Target],
        scratch: &mut Scratch,
    ) {
        let ranges: Vec<_> = pass.k_ranges.iter().map(|i| &self.spec.k_ranges[*i]).collect();
        let segments: Vec<[usize; 2]> = ranges.iter().map(|k| segments(k, pass.depthwise)).collect();
        let rows: usize = segments.iter().map(|s| s[0]).sum();
        let copied: usize = ranges.iter().map(|k| copied_values(k, self.spec.size[1], pixels.len())).sum();
        let zeros = ranges.iter().map(|k| k.kernel[1] * k.from.channels).max().unwrap_or(0);
        scratch.reserve(rows * pixels.len(), copied, zeros);
        let Scratch { rows: pointers, copies, zeros, .. } = scratch;
        let mut copies = Copies(copies);
        let mut terms = vec![];
        let tiles: Vec<Range<usize>> =
            cut(pixels.clone(), pixels.len().div_ceil(self.kernels.pixels())).collect();
        let mut rest = &mut pointers.0[..];
        for tile in &tiles {
            for (i, segments) in pass.k_ranges.iter().zip(&segments) {
                let (k, map) = (&self.spec.k_ranges[*i], &self.packed.prologues[*i]);
                let own =
                    rest.split_off_mut(..segments[0] * tile.len()).expect("there is a pointer for each");
                let inputs = Inputs::new(k, map, self.reads[k.from.buffer], self.spec.size);
                inputs.point(tile.clone(), own, &mut copies, zeros);
            }
        }
        // Where a tile's rows of a K range begin: all segments before, for each of its pixels.
        let before: Vec<usize> =
            segments.iter().scan(0, |sum, s| Some(std::mem::replace(sum, *sum + s[0]))).collect();
        for panel in &pass.panels[panels] {
            for chunk in 0..pass.chunks.len() {
                for (i, tile) in tiles.iter().enumerate() {
                    let first = (tile.start - pixels.start) * rows;
                    let term = |t: &ChunkTerm| Term {
                        rows: pointers.0[first + (before[t.k_range] + t.segments.start) * tile.len()..]
                            .as_ptr(),
                        segments: t.segments.len(),
                        depth: t.values.len(),
                        offset: panel.offsets[t.k_range] + t.values.start,
                    };
                    terms.clear();
                    terms.extend(pass.chunks[chunk].terms.iter().map(term));
                    self.tile((pass, panel, chunk), (i, tile), &terms, &targets[panel.output]);
                }
            }
        }
    }

    /// Adds a chunk of the sum to a tile, the `index`-th of the block.
    fn tile(
        &self,
        (pass, panel, chunk): (&Pass, &Panel, usize),
        (index, pixels): (usize, &Range<usize>),
        terms: &[Term],
        target: &Target,
    ) {
        let out = target.at(pixels, &panel.channels);
        let [first, last] = [chunk == 0, chunk + 1 == pass.chunks.len()];
        if first && panel.initial == Initial::Written {
            self.begin(panel, pixels.clone(), out, target.step);
        }
        let (initial, initial_step) = match panel.initial {
            _ if !first => (out.cast_const(), target.step),
            Initial::Nothing => (std::ptr::null(), 0),
            Initial::Output | Initial::Written => (out.cast_const(), target.step),
            Initial::Add(i) => self.added(&self.spec.adds[i], panel, pixels),
        };
        let (low, high) = match panel.function {
            Function::Relu if last => (0.0, f32::INFINITY),
            Function::Relu6 if last => (0.0, 6.0),
            _ => (f32::NEG_INFINITY, f32::INFINITY),
        };
        let width = panel.vectors * self.kernels.lanes;
        let own = &pass.weights[panel.weights..];
        let rows = &pass.chunks[chunk].rows;
        let (weights, bias) = match pass.depthwise {
            true => (own.as_ptr(), std::ptr::null()),
            false if first => (own[width * (1 + rows.start)..].as_ptr(), own.as_ptr()),
            false => (own[width * (1 + rows.start)..].as_ptr(), std::ptr::null()),
        };
        let tile = Tile {
            terms,
            weights,
            bias,
            // Each tile fetches a line per row: the first of them the next chunk, and those after it what follows.
            next: weights.wrapping_add(rows.len() * (width + index.min(TILES_AHEAD) * CACHE_LINE)),
            channels: panel.channels.len(),
            initial,
            initial_step,
            out,
            out_step: target.step,
            low,
            high,
        };
        let kernel = match pass.depthwise {
            true => self.kernels.depthwise(pixels.len()),
            false => self.kernels.dense(pixels.len(), panel.vectors),
        };
        // SAFETY: the instructions were found on this processor; `Inputs::point` took each row from a slice that holds it, `added` and
        // `at` checked theirs, and the packed weights hold every chunk of every panel.
        unsafe { kernel(&tile) };
        if last {
            self.finish(panel, pixels.len(), out, target.step);
        }
    }

    /// The first pixel's values of an add that covers the panel, at the output's own pixels.
    fn added(&self, add: &Add, panel: &Panel, pixels: &Range<usize>) -> (*const f32, usize) {
        let step = add.from.shape.channels;
        let first = add.from.first_channel + panel.channels.start - add.first_out;
        let values = &self.reads[add.from.buffer][pixels.start * step + first..];
        assert!(
            (pixels.len() - 1) * step + panel.channels.len() <= values.len(),
            "the operand holds the tile"
        );
        (values.as_ptr(), step)
    }

    /// Writes the sums of all adds to a tile.
    fn begin(&self, panel: &Panel, pixels: Range<usize>, out: *mut f32, step: usize) {
        for (i, p) in pixels.enumerate() {
            // SAFETY: `Target::at` has checked the tile, which no other task has.
            let out = unsafe { std::slice::from_raw_parts_mut(out.add(i * step), panel.channels.len()) };
            self.begin_pixel(panel, p, out);
        }
    }

    /// Writes the sum of all adds of pixel `p` to `out`, the panel's channels.
    fn begin_pixel(&self, panel: &Panel, p: usize, out: &mut [f32]) {
        let [height, width] = self.spec.size;
        let (image, y, x) = (p / (height * width), p / width % height, p % width);
        // The factors of an added value from output channel `lo` on.
        let gate = |add: &Add, lo: usize| {
            let gate = add.gate.as_ref()?;
            let at = image * gate.shape.channels + gate.first_channel + lo - add.first_out;
            Some(&self.reads[gate.buffer][at..])
        };
        // Channels of an add in this panel.
        let own = |add: &Add| {
            let lo = panel.channels.start.max(add.first_out);
            let hi = panel.channels.end.min(add.first_out + add.from.channels);
            (lo < hi).then_some(lo..hi)
        };
        let (in_place, adds) = self.spec.adds.split_at(self.spec.in_place);
        // In-place channels keep their values as the start of the sum; others are overwritten.
        let mut done = 0;
        for add in in_place {
            let Some(own) = own(add) else { continue };
            let [lo, hi] = [own.start, own.end].map(|c| c - panel.channels.start);
            out[done..lo].fill(0.0);
            if let Some(factors) = gate(add, own.start) {
                out[lo..hi].iter_mut().zip(factors).for_each(|(o, f)| *o *= f);
            }
            done = hi;
        }
        out[done..].fill(0.0);
        for add in adds {
            let (from, Some(own)) = (&add.from, own(add)) else { continue };
            let line = (image * from.shape.height + y * from.stride) * from.shape.width;
            let at = (line + x * from.stride) * from.shape.channels + from.first_channel + own.start
                - add.first_out;
            let values = &self.reads[from.buffer][at..][..own.len()];
            let out = out[own.start - panel.channels.start..].iter_mut().zip(values);
            match gate(add, own.start) {
                None => out.for_each(|(o, v)| *o += v),
                Some(factors) => out.zip(factors).for_each(|((o, v), f)| *o += v * f),
            }
        }
    }

    /// Applies the activations that the kernel does not have.
    fn finish(&self, panel: &Panel, pixels: usize, out: *mut f32, step: usize) {
        if !matches!(panel.function, Function::Sigmoid | Function::PRelu) {
            return;
        }
        for i in 0..pixels {
            // SAFETY: `Target::at` has checked the tile, which no other task has.
            let out = unsafe { std::slice::from_raw_parts_mut(out.add(i * step), panel.channels.len()) };
            match panel.function {
                Function::PRelu => {
                    for (v, slope) in out.iter_mut().zip(&self.packed.slopes[panel.channels.clone()]) {
                        *v = if *v < 0.0 { *v * slope } else { *v };
                    }
                }
                _ => out.iter_mut().for_each(|v| *v = sigmoid(*v)),
            }
        }
    }
}

/// Cuts a range into `parts` parts, as even as possible.
fn cut(range: Range<usize>, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let len = range.len();
    (0..parts).map(move |i| range.start + len * i / parts..range.start + len * (i + 1) / parts)
}
