//! The weights of the three shaders of [`winograd`](super::winograd), transformed and in the order that the GEMM reads them.

use super::super::spec::ConvSpec;
use super::super::weights::Weights;
use super::super::winograd::WinogradTransform;
use super::super::{ConvParameters, Rounding};
use super::layout::{PAIR, RANGE_SIZES, with_header};
use crate::threads;

/// Weight layout of the three passes.
#[derive(Clone, Debug)]
pub(super) struct WinogradPasses {
    pub(super) transform: WinogradTransform,
    /// Sizes, tables and room for the biases.
    pub(super) header: Vec<u32>,
    /// Offset of the biases in the header, in words.
    pub(super) biases: usize,
    /// Sizes of the GEMM's single K range, for the first place.
    pub(super) range: [u32; RANGE_SIZES * PAIR],
    /// Quads between the inputs of successive places.
    pub(super) place: u32,
    /// Quads per tile of output channels.
    pub(super) quads: usize,
    /// Pairs of a tile of output channels of a place.
    pub(super) block: usize,
    /// Tiles of output channels.
    pub(super) tiles: usize,
    /// Input channels of all K ranges together.
    pub(super) channels: usize,
    pub(super) adds: usize,
}

impl WinogradPasses {
    fn places(&self) -> usize {
        self.transform.inputs().pow(2)
    }

    fn pairs(&self) -> usize {
        self.header.len() / PAIR + self.places() * self.tiles * self.block
    }

    /// The words of one place, in the order the GEMM reads them.
    fn pack_place(&self, spec: &ConvSpec, place: usize, words: &mut [u32], weights: &[&[f32]]) {
        let n = self.transform.inputs();
        let factors = self.transform.filter_at(place / n, place % n);
        for (tile, block) in words.chunks_exact_mut(self.block * PAIR).enumerate() {
            let run = 4 * self.quads;
            let first = tile * run;
            let channels = run.min(spec.out_channels - first);
            let mut at = run;
            block[at..at + self.range.len()].copy_from_slice(&self.range);
            block[at] = place as u32 * self.place;
            at += self.range.len();
            for (range, weight) in spec.k_ranges.iter().zip(weights) {
                let inputs = range.from.channels;
                let taps = range.kernel[0] * range.kernel[1];
                for i in 0..inputs.next_multiple_of(4) {
                    let row = &mut block[at..at + run];
                    for (c, word) in row.iter_mut().enumerate().take(if i < inputs { channels } else { 0 }) {
                        let filter = &weight[((first + c) * inputs + i) * taps..][..taps];
                        let value = match filter {
                            [pixel] => factors[4] * f64::from(*pixel),
                            taps => factors.iter().zip(taps).map(|(f, w)| f * f64::from(*w)).sum(),
                        };
                        *word = (value as f32).to_bits();
                    }
                    at += run;
                }
            }
        }
    }
}

impl Weights for WinogradPasses {
    fn bytes(&self) -> u64 {
        (self.pairs() * PAIR * 4) as u64
    }

    fn rounding(&self) -> Rounding {
        self.transform.rounding(self.channels, self.adds)
    }

    fn pack(&self, spec: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32> {
        let &ConvParameters { k_ranges: weights, bias, .. } = values;
        let mut words = with_header(&self.header, self.pairs(), spec, values);
        for (word, value) in words[self.biases..].iter_mut().zip(bias) {
            *word = value.to_bits();
        }
        let places = &mut words[self.header.len()..];
        let pack = |place: usize, words: &mut [u32]| self.pack_place(spec, place, words, weights);
        threads::each_part(places, self.tiles * self.block * PAIR, pack);
        words
    }
}
