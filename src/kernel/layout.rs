//! The order of packed weights, and packing.
//!
//! A convolution's binding has one block per tile of output channels: `quads` quads of bias, then the steps of each K range in the order
//! of the shader's loops. A step is a run of quads over four output channels each, padded to whole loads. After the blocks follow the
//! slopes of the activation, one quad per quad of output channels, and, for each K range with a prologue, a quad of scales and a quad of
//! shifts per quad of input channels.
//!
//! An element of the binding is a quad of weights, in f32 or f16. Parameters (biases, slopes, scales, shifts) are always f32: a quad of
//! them takes two elements where weights are f16.

use super::precision::{Precision, Words, parameter_elements};
use super::spec::{ConvSpec, KRange};
use super::weights::Weights;
use super::{ConvParameters, Function};

/// How a K range is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeKind {
    /// All input planes of a group against all output channels of the tile.
    Dense,
    /// One input channel per output channel.
    Depthwise,
    /// Groups that do not align with quads: every lane reads different input channels.
    Scattered,
}

/// Layout of a K range's weights within a tile's block, in elements.
#[derive(Clone, Debug)]
pub(super) struct RangeLayout {
    pub(super) kind: RangeKind,
    /// One step covers a row of taps, instead of one tap.
    pub(super) unroll_x: bool,
    /// Input channels per step: 4 for packed, 1 for planar.
    pub(super) depth: usize,
    /// Elements per step, including padding.
    pub(super) step: usize,
    /// Offset of the scales and shifts, from the start of the binding.
    pub(super) prologue: usize,
    /// Offset of the first step, from the start of a tile's block.
    pub(super) offset: usize,
}

/// The parameters of a kernel's loops that determine the order of weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightOrder {
    /// Quads of output channels of a tile.
    pub(super) quads: usize,
    /// Number of invocations that share loaded weights.
    pub(super) lanes: Option<u32>,
    /// Maximum products per step, pixel and output channel with horizontal taps unrolled.
    pub(super) max_taps: usize,
}

/// Order of a dispatch's packed weights.
#[derive(Clone, Debug)]
pub(super) struct WeightLayout {
    quads: usize,
    pub(super) tiles: usize,
    /// Type of the weights.
    precision: Precision,
    /// Elements taken by a quad of f32.
    parameter: usize,
    /// Elements of one tile's block.
    pub(super) block: usize,
    pub(super) ranges: Vec<RangeLayout>,
    /// Offset of the slopes.
    pub(super) slopes: usize,
    /// Elements of the whole binding.
    total: usize,
}

impl WeightLayout {
    pub(super) fn new(spec: &ConvSpec, order: &WeightOrder) -> WeightLayout {
        let &WeightOrder { quads, lanes, max_taps } = order;
        let precision = spec.precision();
        let parameter = parameter_elements(precision);
        let mut block = quads * parameter;
        let ranges = spec.k_ranges.iter().map(|range| {
            let kind = kind(spec, range);
            let depth = if range.from.is_packed() && kind == RangeKind::Dense { 4 } else { 1 };
            let unroll_x = kind != RangeKind::Scattered && range.kernel[1] * depth <= max_taps;
            let taps = if unroll_x { range.kernel[1] } else { 1 };
            let vectors = taps * depth * quads;
            let shared = lanes.filter(|_| kind == RangeKind::Dense).unwrap_or(1) as usize;
            let step = vectors.next_multiple_of(shared);
            let offset = block;
            let steps = range.kernel[0] * (range.kernel[1] / taps) * planes_of_group(range, kind, depth);
            block += steps * step;
            RangeLayout { kind, unroll_x, depth, step, prologue: 0, offset }
        });
        let mut ranges: Vec<RangeLayout> = ranges.collect();
        let tiles = spec.out_channels.div_ceil(4 * quads);
        let slopes = tiles * block;
        let mut total =
            slopes + if spec.has_slopes() { spec.out_channels.div_ceil(4) * parameter } else { 0 };
        for (layout, range) in ranges.iter_mut().zip(&spec.k_ranges) {
            if range.prologue.is_some() {
                layout.prologue = total;
                total += 2 * range.from.channels.div_ceil(4) * parameter;
            }
        }
        WeightLayout { quads, tiles, precision, parameter, block, ranges, slopes, total }
    }

    /// Offset, from the range's start, of the tile's first quad for input channel `i` of a group and tap (`y`, `x`).
    fn position(&self, range: &KRange, layout: &RangeLayout, i: usize, y: usize, x: usize) -> usize {
        let [height, width] = range.kernel;
        if layout.kind == RangeKind::Scattered {
            return ((i * height + y) * width + x) * layout.step;
        }
        let planes = planes_of_group(range, layout.kind, layout.depth);
        let (plane, lane) = (i / layout.depth, i % layout.depth);
        let (row, tap) = if layout.unroll_x { (y, x) } else { (y * width + x, 0) };
        (row * planes + plane) * layout.step + (tap * layout.depth + lane) * self.quads
    }
}

impl Weights for WeightLayout {
    fn bytes(&self) -> u64 {
        (self.total * 4 * self.precision.bytes()) as u64
    }

    fn pack(&self, spec: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32> {
        let &ConvParameters { k_ranges: weights, bias, .. } = values;
        assert_eq!(weights.len(), spec.k_ranges.len(), "one weight per K range");
        assert_eq!(bias.len(), spec.out_channels, "one bias per output channel");
        let mut packed = Words::new(self.total, self.precision);
        if spec.has_slopes() {
            packed.parameters(self.slopes, &slopes(spec, values.slopes));
        }
        for (i, (range, layout)) in spec.k_ranges.iter().zip(&self.ranges).enumerate() {
            if range.prologue.is_some() {
                let (scale, shift) =
                    values.prologues[i].as_ref().expect("scales and shifts of a mapped K range");
                for (q, (scale, shift)) in scale.chunks(4).zip(shift.chunks(4)).enumerate() {
                    let at = layout.prologue + 2 * q * self.parameter;
                    packed.parameters(at, scale);
                    packed.parameters(at + self.parameter, shift);
                }
            }
        }
        for tile in 0..self.tiles {
            let block = tile * self.block;
            let first = tile * self.quads * 4;
            let channels = (self.quads * 4).min(spec.out_channels - first);
            packed.parameters(block, &bias[first..first + channels]);
            for ((range, layout), weight) in spec.k_ranges.iter().zip(&self.ranges).zip(weights) {
                let depth = range.from.channels / range.groups;
                let [height, width] = range.kernel;
                assert_eq!(weight.len(), spec.out_channels * depth * height * width, "weight of a K range");
                let per_channel = depth * height * width;
                for c in 0..channels {
                    let from = &weight[(first + c) * per_channel..][..per_channel];
                    for (i, plane) in from.chunks_exact(height * width).enumerate() {
                        for (tap, &value) in plane.iter().enumerate() {
                            let at =
                                layout.offset + self.position(range, layout, i, tap / width, tap % width);
                            packed.weight(block + at + c / 4, c % 4, value);
                        }
                    }
                }
            }
        }
        packed.into_words()
    }
}

/// The activation as one slope per output channel.
pub(super) fn slopes(spec: &ConvSpec, given: &[f32]) -> Vec<f32> {
    assert_eq!(given.len(), spec.out_channels, "one slope per output channel");
    let mut slopes = given.to_vec();
    for (range, function) in &spec.activation {
        match function {
            Function::PRelu => {}
            Function::Identity => slopes[range.clone()].fill(1.0),
            Function::Relu => slopes[range.clone()].fill(0.0),
            other => assert!(range.is_empty(), "{other} beside PReLU in one dispatch"),
        }
    }
    slopes
}

/// Input planes read per group.
pub(super) fn planes_of_group(range: &KRange, kind: RangeKind, depth: usize) -> usize {
    match kind {
        RangeKind::Dense => (range.from.channels / range.groups).div_ceil(depth),
        RangeKind::Depthwise => 1,
        RangeKind::Scattered => range.from.channels / range.groups,
    }
}

/// How a range is multiplied.
pub(super) fn kind(spec: &ConvSpec, range: &KRange) -> RangeKind {
    let inputs = range.from.channels / range.groups;
    let outputs = spec.out_channels / range.groups;
    if range.groups == 1 {
        RangeKind::Dense
    } else if inputs == 1 && outputs == 1 && range.from.is_packed() {
        RangeKind::Depthwise
    } else if outputs.is_multiple_of(4) && (inputs.is_multiple_of(4) || !range.from.is_packed()) {
        RangeKind::Dense
    } else {
        RangeKind::Scattered
    }
}
