//! Sums of products, tile by tile: the kernel reads a tile's inputs where they are, sums over all K ranges in registers, applies the
//! activation and stores.

use super::inputs::{Copies, Inputs, copied_values, segments};
use super::panels::{ChunkTerm, Kind, Panel, Pass};
use super::scratch::Scratch;
use super::target::{Conv, Part, Target, bounds};
use super::tasks::cut;
use crate::kernel::{ConvSpec, Function, KRange};
use rmnet_simd::{CACHE_LINE, Term, Tile};
use std::ops::Range;

/// Values of inputs that a block of tiles reads, so that they stay in the cache while all weights pass by: 256 KiB.
const BLOCK_VALUES: usize = 64 * 1024;
/// Most pixels of a block.
const BLOCK_PIXELS: usize = 192;
/// Most tiles of a block that fetch weights ahead of each other.
const TILES_AHEAD: usize = 8;

/// Most working memory of a block in values, 16 MiB, unless a single pixel needs more.
const WORKING_VALUES: usize = 4 << 20;

/// Working memory of `pixels` pixels in values: pointers to inputs, and copies of them.
fn working_values(spec: &ConvSpec, pixels: usize) -> [usize; 2] {
    let of = |k: &KRange| {
        let pointers = segments(k, false)[0].saturating_mul(pixels);
        let values = size_of::<*const f32>() / size_of::<f32>();
        [pointers.saturating_mul(values), copied_values(k, spec.size[1], pixels)]
    };
    let add = |sum: [usize; 2], own: [usize; 2]| [0, 1].map(|i| sum[i].saturating_add(own[i]));
    spec.k_ranges.iter().map(of).fold([0, 0], add)
}

/// Most pixels of a block.
fn block_pixels(spec: &ConvSpec) -> usize {
    let [pointers, copies] = working_values(spec, 1);
    (WORKING_VALUES / pointers.saturating_add(copies).max(1)).clamp(1, BLOCK_PIXELS)
}

/// Most working memory of a block, in values, as [`working_values`].
pub(super) fn block_values(spec: &ConvSpec) -> [usize; 2] {
    working_values(spec, block_pixels(spec))
}

impl Conv<'_> {
    /// Values read per output pixel, about.
    pub(super) fn input_values(&self, pass: &Pass) -> usize {
        let of = |i: &usize| {
            let k = &self.spec.k_ranges[*i];
            let steps = [k.stride[0], k.stride[1], k.from.stride, k.from.stride];
            steps.iter().fold(k.from.channels, |n, step| n.saturating_mul(*step))
        };
        pass.k_ranges.iter().map(of).fold(1, usize::saturating_add)
    }

    /// Computes `panels` of `pixels`, as many pixels at a time as stay in the cache.
    pub(super) fn blocks(
        &self,
        pass: &Pass,
        pixels: Range<usize>,
        panels: Range<usize>,
        targets: &[Target],
        scratch: &mut Scratch,
    ) {
        let height = self.kernels.pixels();
        let most = (BLOCK_VALUES / self.input_values(pass)).clamp(2 * height, BLOCK_PIXELS);
        let most = most.min(block_pixels(self.spec));
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
        let segments: Vec<[usize; 2]> =
            ranges.iter().map(|k| segments(k, pass.kind == Kind::Depthwise)).collect();
        let rows: usize = segments.iter().map(|s| s[0]).sum();
        let copied: usize = ranges.iter().map(|k| copied_values(k, self.spec.size[1], pixels.len())).sum();
        let zeros = ranges.iter().map(|k| k.kernel[1] * k.from.channels).max().unwrap_or(0);
        scratch.reserve(rows * pixels.len(), copied, zeros);
        let Scratch { rows: pointers, copies, zeros, .. } = scratch;
        let mut copies = Copies(copies);
        let mut terms = vec![];
        let tiles: Vec<Range<usize>> =
            cut(pixels.clone(), pixels.len().div_ceil(self.kernels.pixels())).collect();
        let inputs = |i: &usize| {
            let (k, map) = (&self.spec.k_ranges[*i], &self.packed.prologues[*i]);
            Inputs::new(k, map, self.reads[k.from.buffer], self.spec.size)
        };
        let inputs: Vec<Inputs<'_>> = pass.k_ranges.iter().map(inputs).collect();
        let mut rest = &mut pointers.0[..];
        for tile in &tiles {
            for (inputs, segments) in inputs.iter().zip(&segments) {
                let own =
                    rest.split_off_mut(..segments[0] * tile.len()).expect("there is a pointer for each");
                inputs.point(tile.clone(), own, &mut copies, zeros);
            }
        }
        // Where a tile's rows of a K range begin: all segments before, for each of its pixels.
        let before: Vec<usize> =
            segments.iter().scan(0, |sum, s| Some(std::mem::replace(sum, *sum + s[0]))).collect();
        for panel in &pass.panels[panels] {
            for chunk in 0..pass.chunks.len() {
                let term = |t: &ChunkTerm| Term {
                    first: before[t.k_range] + t.segments.start,
                    segments: t.segments.len(),
                    depth: t.values.len(),
                    offset: panel.offsets[t.k_range] + t.values.start,
                };
                terms.clear();
                terms.extend(pass.chunks[chunk].terms.iter().map(term));
                let tiles = tiles
                    .iter()
                    .map(|tile| (tile.clone(), pointers.0[(tile.start - pixels.start) * rows..].as_ptr()));
                self.add_chunk((pass, panel, chunk), &terms, tiles, &targets[panel.output]);
            }
        }
    }

    /// Adds a chunk of the sum to the panel's channels of tiles, each with its rows.
    fn add_chunk(
        &self,
        (pass, panel, chunk): (&Pass, &Panel, usize),
        terms: &[Term],
        tiles: impl Iterator<Item = (Range<usize>, *const *const f32)>,
        target: &Target,
    ) {
        let [first, last] = [chunk == 0, chunk + 1 == pass.chunks.len()];
        let (low, high) = bounds(if last { panel.function } else { Function::Identity });
        let width = panel.vectors * self.kernels.lanes;
        let own = &pass.weights[panel.weights..];
        let rows = &pass.chunks[chunk].rows;
        let (weights, bias) = match pass.kind {
            Kind::Depthwise => (own.as_ptr(), std::ptr::null()),
            _ if first => (own[width * (1 + rows.start)..].as_ptr(), own.as_ptr()),
            _ => (own[width * (1 + rows.start)..].as_ptr(), std::ptr::null()),
        };
        for (i, (pixels, pointers)) in tiles.enumerate() {
            let part = match first {
                true => self.begin(panel, pixels.clone(), target),
                false => {
                    let out = target.at(&pixels, &panel.channels);
                    Part { out, initial: out.cast_const(), initial_step: target.step }
                }
            };
            let tile = Tile {
                terms,
                rows: pointers,
                weights,
                bias,
                // Each tile fetches a line per row: the first of them the next chunk, and those after it what follows.
                next: weights.wrapping_add(rows.len() * (width + i.min(TILES_AHEAD) * CACHE_LINE)),
                channels: panel.channels.len(),
                initial: part.initial,
                initial_step: part.initial_step,
                out: part.out,
                out_step: target.step,
                low,
                high,
            };
            let kernel = match pass.kind {
                Kind::Depthwise => self.kernels.depthwise(pixels.len()),
                _ => self.kernels.dense(pixels.len(), panel.vectors),
            };
            // SAFETY: the instructions were found on this processor; `Inputs::point` took each row from a slice that holds it, `begin`
            // and `at` checked the output and what is added, and the packed weights hold every chunk of every panel.
            unsafe { kernel(&tile) };
            if last {
                self.finish(panel, pixels.len(), part.out, target.step);
            }
        }
    }
}
