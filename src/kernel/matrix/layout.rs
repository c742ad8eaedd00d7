//! Order of packed weights.

use super::super::precision::{Precision, Words, parameter_elements};
use super::super::spec::ConvSpec;
use super::super::{Rounding, Values, layout};
use super::{Shape, quads, steps};

/// Order of packed weights, in elements of a quad of f16: per tile of output channels its bias in f32, then for each K range and
/// step a row of the step's input channels for every output channel of the tile. After the tiles, the slopes of the activation.
#[derive(Clone, Debug)]
pub(in super::super) struct MatrixLayout {
    /// Output channels of a tile.
    channels: usize,
    /// Quads of K in a step.
    depth: usize,
    pub(super) tiles: usize,
    /// Elements of one tile's block.
    pub(super) block: usize,
    /// Where a K range's first step begins, from the start of a tile's block.
    pub(super) ranges: Vec<usize>,
    /// Where the slopes begin.
    pub(super) slopes: usize,
    total: usize,
}

/// Elements of a quad that is f32.
const PARAMETER: usize = 2;

impl MatrixLayout {
    pub(super) fn new(spec: &ConvSpec, shape: &Shape) -> MatrixLayout {
        debug_assert_eq!(PARAMETER, parameter_elements(Precision::F16));
        let channels = shape.channels();
        let mut block = channels / 4 * PARAMETER;
        let mut ranges = vec![];
        for range in &spec.k_ranges {
            ranges.push(block);
            block += steps(range, shape.depth) * channels * shape.depth;
        }
        let tiles = spec.out_channels.div_ceil(channels);
        let slopes = tiles * block;
        let total = slopes + if spec.has_slopes() { spec.out_channels.div_ceil(4) * PARAMETER } else { 0 };
        MatrixLayout { channels, depth: shape.depth, tiles, block, ranges, slopes, total }
    }

    pub(in super::super) fn bytes(&self) -> u64 {
        (self.total * 8) as u64
    }

    /// Products of f16 are exact in f32, but a matrix unit may cut a sum off where an adder would round it (measured on NVIDIA's
    /// by Fasi et al., "Numerical behavior of NVIDIA tensor cores", PeerJ CS 2021): twice the bound of rounding.
    pub(in super::super) fn rounding(&self) -> Rounding {
        Rounding { gain: 2.0, ..Rounding::DIRECT }
    }

    pub(in super::super) fn pack(&self, spec: &ConvSpec, values: &Values<'_>) -> Vec<u32> {
        let &Values { k_ranges: weights, bias, .. } = values;
        assert_eq!(weights.len(), spec.k_ranges.len(), "one weight per K range");
        assert_eq!(bias.len(), spec.out_channels, "one bias per output channel");
        let mut packed = Words::new(self.total, Precision::F16);
        if spec.has_slopes() {
            packed.parameters(self.slopes, &layout::slopes(spec, values.slopes));
        }
        for (tile, bias) in bias.chunks(self.channels).enumerate() {
            packed.parameters(tile * self.block, bias);
        }
        for ((range, weight), first) in spec.k_ranges.iter().zip(weights).zip(&self.ranges) {
            let (depth, taps) = (range.from.channels, range.kernel[0] * range.kernel[1]);
            assert_eq!(weight.len(), spec.out_channels * depth * taps, "weight of a K range");
            let steps_of_tap = quads(range).div_ceil(self.depth);
            for (c, weight) in weight.chunks_exact(depth * taps).enumerate() {
                let (tile, row) = (c / self.channels, c % self.channels);
                for (i, of_taps) in weight.chunks_exact(taps).enumerate() {
                    let (quad, lane) = (i / 4, i % 4);
                    for (tap, &value) in of_taps.iter().enumerate() {
                        let step = tap * steps_of_tap + quad / self.depth;
                        let at = (step * self.channels + row) * self.depth + quad % self.depth;
                        packed.weight(tile * self.block + first + at, lane, value);
                    }
                }
            }
        }
        packed.finish()
    }
}
