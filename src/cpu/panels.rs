//! Weights of convolutions in the order in which the kernels read them.

use super::inputs::{Prologue, group_step, segments};
use super::simd::Kernels;
use crate::kernel::{ConvSpec, Function, KRange};
use crate::plan::ConvWeights;
use crate::shared::{Key, Shared};
use crate::tensor::all_finite;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// Weights of a chunk in values, 32 KiB: two thirds of the nearest cache of today's processors.
const CHUNK_VALUES: usize = 8 * 1024;
/// Rows of a panel written at a time, so that they stay in the cache while they are filled channel by channel.
const PACK_ROWS: usize = 128;

/// A convolution dispatch, packed.
pub(super) struct PackedConv {
    /// One after another; all but the first continue the sums of the one before.
    pub(super) passes: Vec<Pass>,
    pub(super) slopes: Vec<f32>,
    pub(super) prologues: Vec<Prologue>,
}

/// K ranges that one kind of kernel adds up.
pub(super) struct Pass {
    pub(super) depthwise: bool,
    /// Indices of the K ranges.
    pub(super) k_ranges: Vec<usize>,
    pub(super) panels: Vec<Panel>,
    /// Consecutive parts of the sum of every panel; one if depthwise.
    pub(super) chunks: Vec<Chunk>,
    /// Those of all panels, each as [`Tile::weights`](super::simd::Tile) says; if dense, after its bias.
    pub(super) weights: Arc<Vec<f32>>,
}

/// Output channels that a tile computes: of one output, with one activation and, in every K range, of one group.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) channels: Range<usize>,
    pub(super) output: usize,
    pub(super) function: Function,
    pub(super) initial: Initial,
    /// Vectors of channels.
    pub(super) vectors: usize,
    /// First of its weights.
    pub(super) weights: usize,
    /// Per K range of the pass, where in a segment its inputs begin.
    pub(super) offsets: Vec<usize>,
}

/// A part of a sum whose weights stay in the nearest cache while all tiles of a block pass by.
pub(super) struct Chunk {
    pub(super) terms: Vec<ChunkTerm>,
    /// Rows of the panel's weights, without the bias.
    pub(super) rows: Range<usize>,
}

/// Segments of a K range, or a part of one.
pub(super) struct ChunkTerm {
    /// Index among the K ranges of the pass.
    pub(super) k_range: usize,
    pub(super) segments: Range<usize>,
    /// Values of each segment.
    pub(super) values: Range<usize>,
}

/// What sums begin with, besides the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Initial {
    Nothing,
    /// The values in the output: an operand added in place, or the sums of the pass before.
    Output,
    /// An add, whose pixels are those of the output.
    Add(usize),
    /// The output, once all adds have been written there.
    Written,
}

/// Whether the K range multiplies each channel by itself.
pub(super) fn is_depthwise(k: &KRange, out_channels: usize) -> bool {
    k.groups > 1 && k.groups == k.from.channels && k.groups == out_channels
}

impl PackedConv {
    /// `None` if a weight or bias overflows f32.
    pub(super) fn new(spec: &ConvSpec, weights: &ConvWeights, kernels: &Kernels) -> Option<PackedConv> {
        let (depthwise, dense): (Vec<usize>, Vec<usize>) =
            (0..spec.k_ranges.len()).partition(|i| is_depthwise(&spec.k_ranges[*i], spec.out_channels));
        let both = !depthwise.is_empty() && !dense.is_empty();
        let mut finite = all_finite(&weights.bias);
        let mut passes = vec![];
        if !depthwise.is_empty() {
            let last = !both;
            let layout =
                PassLayout { spec, kernels, depthwise: true, k_ranges: depthwise, first: true, last };
            passes.push(layout.pack(weights, &mut finite));
        }
        if both || passes.is_empty() {
            let layout =
                PassLayout { spec, kernels, depthwise: false, k_ranges: dense, first: !both, last: true };
            passes.push(layout.pack(weights, &mut finite));
        }
        let (slopes, prologues) = (weights.slopes.clone(), weights.prologues.clone());
        finite.then_some(PackedConv { passes, slopes, prologues })
    }

    pub(super) fn bytes(&self) -> usize {
        let prologues: usize =
            self.prologues.iter().flatten().map(|(scale, shift)| scale.len() + shift.len()).sum();
        let weights: usize = self.passes.iter().map(|p| p.weights.len()).sum();
        4 * (weights + self.slopes.len() + prologues)
    }
}

/// What a pass is packed from.
struct PassLayout<'a> {
    spec: &'a ConvSpec,
    kernels: &'a Kernels,
    depthwise: bool,
    k_ranges: Vec<usize>,
    /// Whether it begins the sums, with bias and adds.
    first: bool,
    /// Whether it ends them, with the activation.
    last: bool,
}

impl PassLayout<'_> {
    fn pack(self, weights: &ConvWeights, finite: &mut bool) -> Pass {
        let (panels, len) = self.panels();
        let mut packed = super::pages::zeros(len);
        if self.first {
            // The bias is row 0, as if it were the weight of a K range with one tap of one channel.
            self.pack_rows(&panels, &mut packed, &weights.bias, [1, 1], 0);
        }
        let mut row = 1;
        for i in &self.k_ranges {
            let weight = &weights.k_ranges[*i];
            let mut values = weight.to_f32();
            *finite &= all_finite(&values);
            self.spec.precision().store(&mut values);
            let [_, channels, height, width] = weight.shape;
            self.pack_rows(&panels, &mut packed, &values, [channels, height * width], row);
            row += channels * height * width;
        }
        let chunks = self.chunks(&panels);
        let PassLayout { depthwise, k_ranges, .. } = self;
        Pass { depthwise, k_ranges, panels, chunks, weights: shared(packed) }
    }

    fn chunks(&self, panels: &[Panel]) -> Vec<Chunk> {
        let widest = panels.iter().map(|p| p.vectors * self.kernels.lanes).max().unwrap_or(1);
        let most = if self.depthwise { usize::MAX } else { (CHUNK_VALUES / widest).max(1) };
        let mut chunks = vec![Chunk { terms: vec![], rows: 0..0 }];
        let mut push = |k_range, segments: Range<usize>, values: Range<usize>| {
            let rows = segments.len() * values.len();
            let end = chunks.last().map_or(0, |c| c.rows.end);
            let term = ChunkTerm { k_range, segments, values };
            match chunks.last_mut() {
                Some(chunk) if chunk.rows.len().saturating_add(rows) <= most => {
                    chunk.terms.push(term);
                    chunk.rows.end += rows;
                }
                _ => chunks.push(Chunk { terms: vec![term], rows: end..end + rows }),
            }
        };
        for (k_range, i) in self.k_ranges.iter().enumerate() {
            let [segments, depth] = segments(&self.spec.k_ranges[*i], self.depthwise);
            // Whole segments, as many as fit, or parts of one, as even as possible.
            let (together, parts) = ((most / depth).max(1), depth.div_ceil(most));
            for first in (0..segments).step_by(together) {
                for part in 0..parts {
                    let values = depth * part / parts..depth * (part + 1) / parts;
                    push(k_range, first..(first + together).min(segments), values);
                }
            }
        }
        chunks
    }

    /// Rows of weights of a channel: its bias and those of all K ranges.
    fn rows(&self) -> usize {
        let rows = |i: &usize| segments(&self.spec.k_ranges[*i], self.depthwise).iter().product::<usize>();
        1 + self.k_ranges.iter().map(rows).sum::<usize>()
    }

    /// The panels, and the length of their weights.
    fn panels(&self) -> (Vec<Panel>, usize) {
        let (lanes, widest) = (self.kernels.lanes, self.kernels.vectors());
        let (mut panels, mut len) = (vec![], 0);
        for piece in self.pieces() {
            let vectors = piece.len().div_ceil(lanes);
            let parts = if self.depthwise { 1 } else { vectors.div_ceil(widest) };
            for part in 0..parts {
                // As even as possible.
                let [lo, hi] =
                    [part, part + 1].map(|i| piece.start + (vectors * i / parts * lanes).min(piece.len()));
                let panel = self.panel(lo..hi, len);
                len += panel.vectors * lanes * self.rows();
                panels.push(panel);
            }
        }
        (panels, len)
    }

    /// Output channels, cut where the output, the activation or the group of a K range changes.
    fn pieces(&self) -> Vec<Range<usize>> {
        let spec = self.spec;
        let mut cuts: Vec<usize> =
            spec.outputs.iter().flat_map(|o| [o.channels.start, o.channels.end]).collect();
        cuts.extend(spec.activation.iter().flat_map(|(range, _)| [range.start, range.end]));
        if !self.depthwise {
            for k in self.k_ranges.iter().map(|i| &spec.k_ranges[*i]).filter(|k| k.groups > 1) {
                cuts.extend((0..k.groups).map(|g| g * spec.out_channels / k.groups));
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).map(|w| w[0]..w[1]).collect()
    }

    fn panel(&self, channels: Range<usize>, weights: usize) -> Panel {
        let spec = self.spec;
        let holds = |range: &Range<usize>| range.contains(&channels.start);
        let function =
            spec.activation.iter().find(|(range, _)| holds(range)).map_or(Function::Identity, |(_, f)| *f);
        let offset = |i: &usize| {
            let k = &spec.k_ranges[*i];
            let group = channels.start / (spec.out_channels / k.groups);
            group * group_step(k)
        };
        Panel {
            output: spec.outputs.iter().position(|o| holds(&o.channels)).unwrap_or(0),
            function: if self.last { function } else { Function::Identity },
            initial: if self.first { initial(spec, &channels) } else { Initial::Output },
            vectors: channels.len().div_ceil(self.kernels.lanes),
            weights,
            offsets: self.k_ranges.iter().map(offset).collect(),
            channels,
        }
    }

    /// Packs a weight `[out_channels][channels][taps]` from row `first_row` on, in the order `[taps][channels]`.
    fn pack_rows(
        &self,
        panels: &[Panel],
        packed: &mut [f32],
        values: &[f32],
        [channels, taps]: [usize; 2],
        first_row: usize,
    ) {
        let (lanes, rows) = (self.kernels.lanes, self.rows());
        let mut rest = packed;
        let mut parts = vec![];
        for panel in panels {
            let (own, other) = std::mem::take(&mut rest).split_at_mut(panel.vectors * lanes * rows);
            parts.push((panel, own));
            rest = other;
        }
        let step = (PACK_ROWS / taps).max(1);
        parts.into_par_iter().for_each(|(panel, packed)| {
            let width = if self.depthwise { lanes } else { panel.vectors * lanes };
            for first in (0..channels).step_by(step) {
                let end = (first + step).min(channels);
                for (i, o) in panel.channels.clone().enumerate() {
                    let to = &mut packed[i / width * width * rows + i % width..];
                    let from = &values[(o * channels + first) * taps..(o * channels + end) * taps];
                    for (c, from) in (first..end).zip(from.chunks_exact(taps)) {
                        for (tap, value) in from.iter().enumerate() {
                            to[(first_row + tap * channels + c) * width] = *value;
                        }
                    }
                }
            }
        });
    }
}

fn initial(spec: &ConvSpec, channels: &Range<usize>) -> Initial {
    let mut adds = spec
        .adds
        .iter()
        .enumerate()
        .filter(|(_, a)| a.first_out < channels.end && channels.start < a.first_out + a.from.channels);
    let Some((i, add)) = adds.next() else { return Initial::Nothing };
    let covers = add.first_out <= channels.start && channels.end <= add.first_out + add.from.channels;
    match adds.next().is_none() && covers && add.gate.is_none() {
        true if i < spec.in_place => Initial::Output,
        true if add.from.stride == 1 => Initial::Add(i),
        _ => Initial::Written,
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
