//! Weights of convolutions in the order in which the kernels read them.

use super::inputs::{Prologue, group_step, segments};
use super::pages::Pages;
use super::tasks::cut;
use super::winograd_weights::{PLACES, pays, transformed};
use crate::kernel::{ConvSpec, Function, KRange, Rounding, WinogradTransform};
use crate::plan::ConvWeights;
use crate::shared::{Key, Shared};
use crate::tensor::all_finite;
use crate::threads;
use rmnet_simd::Kernels;
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

/// How K ranges are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Channel by channel.
    Depthwise,
    /// As matrix products.
    Dense,
    /// As matrix products of transformed tiles.
    Winograd,
}

/// K ranges that are added up in the same way.
pub(super) struct Pass {
    pub(super) kind: Kind,
    /// Indices of the K ranges.
    pub(super) k_ranges: Vec<usize>,
    pub(super) panels: Vec<Panel>,
    /// Consecutive parts of the sum of every panel; one if not dense.
    pub(super) chunks: Vec<Chunk>,
    /// Those of all panels, each as [`Tile::weights`](rmnet_simd::Tile) says; if dense, after its bias. For Winograd the bias of all panels,
    /// then for each place `[panels][channels][vectors * LANES]`.
    pub(super) weights: Arc<Pages>,
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
    /// First of its weights; for Winograd of its bias.
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
    /// Bytes that packing takes and keeps, besides the stored form.
    pub(super) fn needed(spec: &ConvSpec, kernels: &Kernels) -> usize {
        layouts(spec, kernels).iter().map(PassLayout::needed).fold(0, usize::saturating_add)
    }

    /// `None` if a weight or bias overflows f32.
    pub(super) fn new(spec: &ConvSpec, weights: &ConvWeights, kernels: &Kernels) -> Option<PackedConv> {
        let mut finite = all_finite(&weights.bias);
        let passes = layouts(spec, kernels).into_iter().map(|l| l.pack(weights, &mut finite)).collect();
        let (slopes, prologues) = (weights.slopes.clone(), weights.prologues.clone());
        finite.then_some(PackedConv { passes, slopes, prologues })
    }

    /// Its passes: `depthwise`, `dense`, `winograd`, joined by `+`.
    pub(super) fn name(&self) -> String {
        let name = |pass: &Pass| match pass.kind {
            Kind::Depthwise => "depthwise",
            Kind::Dense => "dense",
            Kind::Winograd => "winograd",
        };
        self.passes.iter().map(name).collect::<Vec<_>>().join("+")
    }

    pub(super) fn rounding(&self, spec: &ConvSpec) -> Rounding {
        let is_winograd = |pass: &&Pass| pass.kind == Kind::Winograd;
        if !self.passes.iter().any(|pass| is_winograd(&pass)) {
            return Rounding::DIRECT;
        }
        let channels = spec.k_ranges.iter().map(|k| k.from.channels).sum();
        // Each pass rounds the sums of the one before once more.
        let rounding = WinogradTransform::F4x3.rounding(channels, spec.adds.len() + self.passes.len());
        // K ranges that are summed directly have more terms than channels.
        let max_terms = if self.passes.iter().all(|pass| is_winograd(&pass)) { channels } else { usize::MAX };
        Rounding { max_terms, ..rounding }
    }

    pub(super) fn bytes(&self) -> usize {
        let prologues: usize =
            self.prologues.iter().flatten().map(|(scale, shift)| scale.len() + shift.len()).sum();
        let weights: usize = self.passes.iter().map(|p| p.weights.len()).sum();
        4 * (weights + self.slopes.len() + prologues)
    }
}

/// The passes of a dispatch.
fn layouts<'a>(spec: &'a ConvSpec, kernels: &'a Kernels) -> Vec<PassLayout<'a>> {
    let kind = |i: &usize| match &spec.k_ranges[*i] {
        k if is_depthwise(k, spec.out_channels) => Kind::Depthwise,
        k if pays(spec, k) => Kind::Winograd,
        _ => Kind::Dense,
    };
    let of = |wanted: Kind| (0..spec.k_ranges.len()).filter(move |i| kind(i) == wanted);
    let mut groups: Vec<(Kind, Vec<usize>)> =
        [Kind::Depthwise, Kind::Dense].map(|kind| (kind, of(kind).collect::<Vec<_>>())).into();
    groups.extend(of(Kind::Winograd).map(|i| (Kind::Winograd, vec![i])));
    groups.retain(|(_, k_ranges)| !k_ranges.is_empty());
    if groups.is_empty() {
        groups.push((Kind::Dense, vec![]));
    }
    let count = groups.len();
    let layout = |(i, (kind, k_ranges)): (usize, (Kind, Vec<usize>))| PassLayout {
        spec,
        kernels,
        kind,
        k_ranges,
        first: i == 0,
        last: i + 1 == count,
    };
    groups.into_iter().enumerate().map(layout).collect()
}

/// What a pass is packed from.
struct PassLayout<'a> {
    spec: &'a ConvSpec,
    kernels: &'a Kernels,
    kind: Kind,
    k_ranges: Vec<usize>,
    /// Whether it begins the sums, with bias and adds.
    first: bool,
    /// Whether it ends them, with the activation.
    last: bool,
}

impl PassLayout<'_> {
    /// Bytes of its weights and panels.
    fn needed(&self) -> usize {
        let rows = match self.kind {
            Kind::Winograd => {
                let channels = self.spec.k_ranges[self.k_ranges[0]].from.channels;
                PLACES.saturating_mul(channels).saturating_add(1)
            }
            _ => self.rows(),
        };
        let bytes = |piece: &Range<usize>| {
            let lanes = piece.len().next_multiple_of(self.kernels.lanes);
            lanes.saturating_mul(rows).saturating_mul(4).saturating_add(size_of::<Panel>())
        };
        self.pieces().iter().map(bytes).fold(0, usize::saturating_add)
    }

    fn pack(self, weights: &ConvWeights, finite: &mut bool) -> Pass {
        if self.kind == Kind::Winograd {
            return self.pack_transformed(weights, finite);
        }
        let (panels, len) = self.panels(self.rows());
        let mut packed = Pages::zeros(len);
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
        let PassLayout { kind, k_ranges, .. } = self;
        Pass { kind, k_ranges, panels, chunks, weights: shared(packed) }
    }

    fn chunks(&self, panels: &[Panel]) -> Vec<Chunk> {
        let widest = panels.iter().map(|p| p.vectors * self.kernels.lanes).max().unwrap_or(1);
        let most = match self.kind {
            Kind::Dense => {
                // Chunks of equal length, about as long as they should be.
                let wanted = (CHUNK_VALUES / widest).max(1);
                let rows = self.rows() - 1;
                rows.div_ceil(((rows + wanted / 2) / wanted).max(1)).max(1)
            }
            _ => usize::MAX,
        };
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
            let [segments, depth] = segments(&self.spec.k_ranges[*i], self.kind == Kind::Depthwise);
            // Whole segments, as many as fit, or parts of one, as even as possible.
            let (together, parts) = ((most / depth).max(1), depth.div_ceil(most));
            for first in (0..segments).step_by(together) {
                for values in cut(0..depth, parts) {
                    push(k_range, first..(first + together).min(segments), values);
                }
            }
        }
        chunks
    }

    /// As [`PassLayout::pack`], for Winograd's algorithm, unless a transformed weight overflows.
    fn pack_transformed(self, weights: &ConvWeights, finite: &mut bool) -> Pass {
        let (panels, width) = self.panels(1);
        let weight = &weights.k_ranges[self.k_ranges[0]];
        let channels = weight.shape[1];
        let values = weight.to_f32();
        *finite &= all_finite(&values);
        let filter_transform = WinogradTransform::F4x3.filter();
        let mut packed = Pages::zeros(width * (1 + PLACES * channels));
        let (bias, places) = packed.split_at_mut(width);
        for panel in &panels {
            let own = panel.vectors * self.kernels.lanes;
            for (i, o) in panel.channels.clone().enumerate() {
                if self.first {
                    bias[panel.weights + i] = weights.bias[o];
                }
                for c in 0..channels {
                    let filter = &values[(o * channels + c) * 9..][..9];
                    for (place, value) in transformed(filter, &filter_transform).into_iter().enumerate() {
                        places[(place * width + panel.weights) * channels + c * own + i] = value;
                    }
                }
            }
        }
        if !all_finite(&packed) {
            return PassLayout { kind: Kind::Dense, ..self }.pack(weights, finite);
        }
        let PassLayout { kind, k_ranges, .. } = self;
        Pass { kind, k_ranges, panels, chunks: vec![], weights: shared(packed) }
    }

    /// Rows of weights of a channel: its bias and those of all K ranges.
    fn rows(&self) -> usize {
        let rows = |i: &usize| {
            let [segments, depth] = segments(&self.spec.k_ranges[*i], self.kind == Kind::Depthwise);
            segments.saturating_mul(depth)
        };
        self.k_ranges.iter().map(rows).fold(1, usize::saturating_add)
    }

    /// The panels, and the length of their weights of `rows` rows.
    fn panels(&self, rows: usize) -> (Vec<Panel>, usize) {
        let (lanes, widest) = (self.kernels.lanes, self.kernels.vectors());
        let (mut panels, mut len) = (vec![], 0);
        for piece in self.pieces() {
            let vectors = piece.len().div_ceil(lanes);
            let parts = if self.kind == Kind::Depthwise { 1 } else { vectors.div_ceil(widest) };
            for part in cut(0..vectors, parts) {
                let [lo, hi] = [part.start, part.end].map(|i| piece.start + (i * lanes).min(piece.len()));
                let panel = self.panel(lo..hi, len);
                len += panel.vectors * lanes * rows;
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
        if self.kind == Kind::Dense {
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
        threads::each(parts, |(panel, packed)| {
            let width = if self.kind == Kind::Depthwise { lanes } else { panel.vectors * lanes };
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
fn shared(packed: Pages) -> Arc<Pages> {
    static WEIGHTS: LazyLock<Shared<Pages>> = LazyLock::new(Shared::default);
    let key = Key::of(bytemuck::cast_slice(&packed[..]));
    let Some(there) = WEIGHTS.get(key) else { return WEIGHTS.insert(key, packed) };
    // Compare bits, since 0.0 and -0.0 are different weights.
    match bytemuck::cast_slice::<f32, u32>(&there) == bytemuck::cast_slice::<f32, u32>(&packed) {
        true => there,
        false => Arc::new(packed),
    }
}
