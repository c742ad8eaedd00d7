//! Layout of a weight binding: sizes, tables of outputs and of added values, then the weights in the order the shader reads them.

use super::super::choice::TileId;
use super::super::family::{Offer, Rank};
use super::super::layout::RangeKind;
use super::super::prelude::planes;
use super::super::spec::{ConvSpec, KRange, Operand};
use super::super::weights::Weights;
use super::super::{Arena, BufferShape, ConvParameters, Kernel, Shader};
use crate::threads;
use std::sync::Arc;

/// 32-bit words per element of the weight binding, a pair of quads.
pub(super) const PAIR: usize = 8;
/// Pairs of sizes at the start of the binding.
pub(super) const SIZES: usize = 2;
/// Pairs of sizes in front of each K range's weights.
pub(super) const RANGE_SIZES: usize = 2;

/// Pairs of weights per step: each lane of a quad of inputs with every output channel of a tile.
pub(super) fn step(quads: usize) -> usize {
    4 * quads / 2
}

/// The parts of a kernel before it is named. `cost` is its estimated time in products of the direct convolution.
pub(super) struct KernelParts<L> {
    pub(super) cost: f64,
    pub(super) tile: TileId,
    pub(super) shaders: Vec<Shader>,
    pub(super) scratch: u64,
    pub(super) layout: L,
}

impl<L: Weights + 'static> KernelParts<L> {
    /// The kernel as an offer, ranked by cost.
    pub(super) fn offer<'a>(self) -> Offer<'a>
    where
        L: 'a,
    {
        let KernelParts { cost, tile, shaders, scratch, layout } = self;
        let weights: Arc<dyn Weights> = Arc::new(layout);
        let kernel = move |choice| Kernel { choice, shaders, scratch, weights: Some(weights) };
        Offer { rank: Rank::Special, cost, tile, kernel: Box::new(kernel) }
    }
}

/// Layout of a weight binding.
#[derive(Clone, Debug)]
pub(super) struct SoftwareLayout {
    /// The sizes, and the tables of outputs and added values.
    pub(super) header: Vec<u32>,
    /// The sizes of each K range.
    pub(super) ranges: Vec<[u32; RANGE_SIZES * PAIR]>,
    /// How every range is multiplied.
    pub(super) kind: RangeKind,
    /// Quads of output channels of a tile.
    pub(super) quads: usize,
    /// Pairs per tile of output channels.
    pub(super) block: usize,
    pub(super) tiles: usize,
}

/// The tables of outputs and of added values, a pair each, read by `part` of `shaders/software/epilogue.wgsl`; `None` where one of the
/// buffers is not in the arena.
pub(super) fn tables(spec: &ConvSpec, arena: &Arena) -> Option<Vec<u32>> {
    let write = |n: usize| arena.writes.get(n).copied().flatten();
    let table = |first: usize, channels: usize, base: usize, shape: &BufferShape, stride: usize| {
        let plane = shape.height * shape.width;
        let end = first + channels.div_ceil(4);
        [first, end, base, planes(shape) * plane, plane, stride * shape.width, stride, channels]
            .map(|v| v as u32)
    };
    let mut words = vec![];
    for (n, output) in spec.outputs.iter().enumerate() {
        let plane = output.shape.height * output.shape.width;
        let base = write(n)? as usize + output.first_channel / 4 * plane;
        words.extend(table(output.channels.start / 4, output.channels.len(), base, &output.shape, 1));
    }
    for (n, add) in spec.adds.iter().enumerate() {
        let from = &add.from;
        let start = if n < spec.in_place { write(0)? } else { read(from, arena)? };
        let base = start as usize + from.first_channel / 4 * from.shape.height * from.shape.width;
        words.extend(table(add.first_out / 4, from.channels, base, &from.shape, from.stride));
    }
    Some(words)
}

/// Arena offset of an operand's buffer.
pub(super) fn read(from: &Operand, arena: &Arena) -> Option<u32> {
    arena.reads.get(from.buffer).copied().flatten()
}

/// `[inputs, products]` per output channel of a range, products including padding.
pub(super) fn depth(range: &KRange, kind: RangeKind) -> [usize; 2] {
    let inputs = if kind == RangeKind::Depthwise { 1 } else { range.from.channels };
    let padded = if kind == RangeKind::Depthwise { 1 } else { inputs.next_multiple_of(4) };
    [inputs, range.kernel[0] * range.kernel[1] * padded]
}

/// Pairs per tile of output channels: biases, then sizes and weights of every K range.
pub(super) fn block(spec: &ConvSpec, kind: RangeKind, quads: usize) -> usize {
    let pairs = |r: &KRange| RANGE_SIZES + depth(r, kind)[1] * quads / 2;
    quads / 2 + spec.k_ranges.iter().map(pairs).sum::<usize>()
}

impl SoftwareLayout {
    fn pairs(&self) -> usize {
        self.header.len() / PAIR + self.tiles * self.block
    }

    /// The words of one tile of output channels, in the order the shader reads them.
    fn pack_block(&self, spec: &ConvSpec, tile: usize, block: &mut [u32], weights: &[&[f32]], bias: &[f32]) {
        let run = 4 * self.quads;
        let first = tile * run;
        let channels = run.min(spec.out_channels - first);
        for (word, value) in block.iter_mut().zip(&bias[first..first + channels]) {
            *word = value.to_bits();
        }
        let mut at = run;
        for ((range, sizes), weight) in spec.k_ranges.iter().zip(&self.ranges).zip(weights) {
            block[at..at + sizes.len()].copy_from_slice(sizes);
            at += sizes.len();
            let taps = range.kernel[0] * range.kernel[1];
            let [inputs, products] = depth(range, self.kind);
            let row = inputs * taps;
            // Order: tap, input quad, lane; each a run of output channels.
            for tap in 0..taps {
                for i in 0..products / taps {
                    for (c, word) in block[at..at + run].iter_mut().enumerate() {
                        if i < inputs && c < channels {
                            *word = weight[(first + c) * row + i * taps + tap].to_bits();
                        }
                    }
                    at += run;
                }
            }
        }
    }
}

/// `pairs` pairs of words that begin with the header. The rest is zero.
///
/// # Panics
/// If there is not one weight per K range and one bias per output channel.
pub(super) fn with_header(
    header: &[u32],
    pairs: usize,
    spec: &ConvSpec,
    values: &ConvParameters<'_>,
) -> Vec<u32> {
    assert_eq!(values.k_ranges.len(), spec.k_ranges.len(), "one weight per K range");
    assert_eq!(values.bias.len(), spec.out_channels, "one bias per output channel");
    let mut words = vec![0; pairs * PAIR];
    words[..header.len()].copy_from_slice(header);
    words
}

impl Weights for SoftwareLayout {
    fn bytes(&self) -> u64 {
        (self.pairs() * PAIR * 4) as u64
    }

    fn pack(&self, spec: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32> {
        let &ConvParameters { k_ranges: weights, bias, .. } = values;
        let mut words = with_header(&self.header, self.pairs(), spec, values);
        let blocks = &mut words[self.header.len()..];
        let pack = |tile: usize, block: &mut [u32]| self.pack_block(spec, tile, block, weights, bias);
        threads::each_part(blocks, self.block * PAIR, pack);
        words
    }
}
