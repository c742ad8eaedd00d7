//! The universal convolution: one shader for convolutions of any shape, whose sizes lie in front of the weights.
//!
//! For software Vulkan, where compiling a shader takes longer than running it: an unrolled register tile takes llvmpipe 0.2 to
//! 0.5 s, a ResNet-18 has 17 convolutions of 13 shapes, and a driver compiles at the first dispatch, one shader at a time. A
//! 3x3 runs as fast as with sizes baked in: the multiplications are the same, and what surrounds them is little. Where few inputs
//! are summed, storing takes as long as multiplying.
//!
//! All buffers between dispatches are ranges of one ([`Arena`]), whose first quad is zero: what lies outside a window is read
//! there. Half the time goes to loads, whatever they load from: a driver makes every one a loop over lanes. So a tile is as large
//! as compiles in time, and of one loop: three taps at a time, which share loads, take as long to compile as twice the channels,
//! which save as many and serve a 1x1 as well.

mod apart;
mod text;
mod winograd;
mod winograd_text;

pub(super) use apart::Apart;
pub(super) use winograd::WinogradPasses;

use super::layout::{Kind, kind};
use super::source::planes;
use super::spec::{ConvSpec, KRange, Operand};
use super::winograd::Minimal;
use super::{
    Arena, Binding, BufferShape, Capabilities, Function, Kernel, Packing, Precision, Role, Shader, Values,
    best_first,
};
use crate::threads;
use text::text;

/// 32-bit words of a pair of quads, the element of the weight binding.
const PAIR: usize = 8;
/// Pairs of sizes at the start of the binding.
pub(super) const SIZES: usize = 2;
/// Pairs of a K range's sizes, in front of its weights.
pub(super) const RANGE_SIZES: usize = 2;

/// Pixels in a row of so many, and quads of output channels, of one invocation.
fn best_tile(spec: &ConvSpec, kind: Kind, width: usize) -> (usize, usize) {
    let quads = match kind {
        Kind::Depthwise => 2,
        _ if spec.out_channels <= 16 => 4,
        _ => 8,
    };
    best_first([7, 8, 6, 5].map(|pixels| (pixels, quads)), width)[0]
}

/// Pairs of weights in one step: every lane of a quad of inputs, against every output channel of a tile.
fn step(quads: usize) -> usize {
    4 * quads / 2
}

/// Order of the words of a weight binding.
#[derive(Clone, Debug)]
pub(super) struct UniversalLayout {
    /// The sizes, and the tables of outputs and added values.
    header: Vec<u32>,
    /// The sizes of each K range.
    ranges: Vec<[u32; RANGE_SIZES * PAIR]>,
    /// How every range is multiplied.
    kind: Kind,
    /// Quads of output channels of a tile.
    quads: usize,
    /// Pairs of a tile of output channels.
    block: usize,
    tiles: usize,
}

/// Every kernel for a flattened spec by the universal convolution, the one with the least to do first. None where it does not compute
/// such a spec, or some of its buffers are not in the arena.
pub(super) fn kernels(spec: &ConvSpec, caps: &Capabilities, arena: &Arena) -> Vec<Kernel> {
    let passes = Minimal::ALL.map(|m| winograd::kernel(spec, m, caps, arena));
    let whole = [direct(spec, caps, arena), apart::kernel(spec, caps, arena)];
    let mut all: Vec<_> = whole.into_iter().chain(passes).flatten().collect();
    all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    all.into_iter().map(|(_, kernel)| kernel).collect()
}

/// Products in the time of which a sum is stored.
const STORED: usize = 50;

/// Products that invocations compute, those of lanes with nothing to do among them, and store: what a kernel takes time for.
fn products(grid: &[u32; 3], lanes: usize, (pixels, quads): (usize, usize), depth: usize) -> f64 {
    let workgroups: f64 = grid.iter().map(|n| f64::from(*n)).product();
    workgroups * (lanes * pixels * 4 * quads * (depth + STORED)) as f64
}

/// The direct convolution, and its products.
fn direct(spec: &ConvSpec, caps: &Capabilities, arena: &Arena) -> Option<(f64, Kernel)> {
    let lanes = caps.subgroup_size.filter(|_| caps.shares_buffers())? as usize;
    let [low, high] = bounds(spec)?;
    let kind = plain(spec)?;

    let width = spec.size[1];
    let tile = best_tile(spec, kind, width);
    let (pixels, quads) = tile;
    let out = spec.outputs[0].shape;
    let across = width.div_ceil(pixels);
    let invocations = across * spec.size[0] * out.batch;
    let workgroups = invocations.div_ceil(lanes);
    let fold = workgroups.div_ceil(caps.max_workgroups as usize).max(1);
    let tiles = spec.out_channels.div_ceil(4 * quads);
    let grid = [workgroups.div_ceil(fold) as u32, tiles as u32, fold as u32];

    let range_words = |r: &KRange| {
        let [height, width] = r.from.size();
        let s = &r.from.shape;
        let plane = s.height * s.width;
        let base = read(&r.from, arena)? as usize + r.from.first_channel / 4 * plane;
        let planes_read = r.from.channels.div_ceil(4);
        let [row, element] = [r.from.stride * s.width, r.from.stride];
        let sizes = [
            base,
            plane,
            planes(s) * plane,
            planes_read,
            r.kernel[0],
            r.kernel[1],
            row,
            element,
            height,
            width,
            r.padding[0],
            r.padding[1],
            r.stride[0],
            r.stride[1],
            r.dilation[0],
            r.dilation[1],
        ];
        Some(sizes.map(|v| v as u32))
    };
    let ranges: Vec<_> = spec.k_ranges.iter().map(range_words).collect::<Option<_>>()?;
    let block = block(spec, kind, quads);

    let first = SIZES + spec.outputs.len() + spec.adds.len();
    let sizes = [
        invocations,
        across,
        spec.size[0],
        width,
        spec.out_channels.div_ceil(4),
        first,
        block,
        ranges.len(),
        spec.outputs.len(),
        spec.adds.len(),
        low.to_bits() as usize,
        high.to_bits() as usize,
        grid[0] as usize,
        pixels,
    ];
    let mut header: Vec<u32> = sizes.iter().map(|v| *v as u32).collect();
    header.resize(SIZES * PAIR, 0);
    header.extend(tables(spec, arena)?);

    let binding = |name: &str, role, writable| Binding { name: name.into(), role, writable };
    let shader = Shader {
        text: super::Text::Written(text(kind, tile, lanes)),
        entry: "conv2d",
        bindings: vec![binding("arena", Role::Arena, true), binding("weights", Role::Weights(0), false)],
        grid,
        subgroup: true,
        int64: true,
        matrices: false,
    };
    let cost = products(&grid, lanes, tile, spec.k_ranges.iter().map(|r| depth(r, kind)[1]).sum());
    let packing = Packing::Universal(UniversalLayout { header, ranges, kind, quads, block, tiles });
    let depthwise = if kind == Kind::Depthwise { " depthwise" } else { "" };
    let name = format!("conv2d universal{depthwise} {pixels}px x {}oc", 4 * quads);
    Some((cost, Kernel::one(name, shader, packing)))
}

/// The tables of outputs and of added values, a pair each ([`part`](../../../shaders/universal.wgsl) reads them); `None` where one
/// of the buffers is not in the arena.
fn tables(spec: &ConvSpec, arena: &Arena) -> Option<Vec<u32>> {
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

/// Where the buffer of an operand starts in the arena.
fn read(from: &Operand, arena: &Arena) -> Option<u32> {
    arena.reads.get(from.buffer).copied().flatten()
}

/// How the ranges of a spec are multiplied where it is one of those that read and write f32 quads only, without gates and functions
/// that need parameters: all inputs against all outputs, or each against its own.
fn plain(spec: &ConvSpec) -> Option<Kind> {
    let plain = |o: &Operand| !o.mean_pool && o.shape.precision == Precision::F32;
    let is = |r: &KRange, wanted: Kind| {
        let ungrouped = wanted == Kind::Depthwise || r.groups == 1;
        plain(&r.from) && r.map.is_none() && ungrouped && kind(spec, r) == wanted
    };
    let all = spec.pool.is_none()
        && spec.adds.iter().all(|a| plain(&a.from) && a.gate.is_none() && a.is_aligned())
        && spec.outputs.iter().all(|o| o.shape.precision == Precision::F32);
    let kinds = [Kind::Dense, Kind::Depthwise].into_iter().filter(|_| all);
    kinds.into_iter().find(|wanted| spec.k_ranges.iter().all(|r| is(r, *wanted)))
}

/// Inputs of an output channel of a range, and products of it.
fn depth(range: &KRange, kind: Kind) -> [usize; 2] {
    let inputs = if kind == Kind::Depthwise { 1 } else { range.from.channels };
    let padded = if kind == Kind::Depthwise { 1 } else { inputs.next_multiple_of(4) };
    [inputs, range.kernel[0] * range.kernel[1] * padded]
}

/// Pairs of a tile of output channels: its biases, then sizes and weights of every K range.
fn block(spec: &ConvSpec, kind: Kind, quads: usize) -> usize {
    let pairs = |r: &KRange| RANGE_SIZES + depth(r, kind)[1] * quads / 2;
    quads / 2 + spec.k_ranges.iter().map(pairs).sum::<usize>()
}

/// The most bytes of packed weights for a spec.
pub(super) fn packed_weight_bytes(spec: &ConvSpec) -> u64 {
    let others = winograd::packed_weight_bytes(spec).max(apart::packed_weight_bytes(spec));
    direct_bytes(spec).max(others)
}

/// Bytes of packed weights of the direct convolution, 0 where it does not compute the spec.
fn direct_bytes(spec: &ConvSpec) -> u64 {
    let Some(kind) = plain(spec) else { return 0 };
    let (_, quads) = best_tile(spec, kind, spec.size[1]);
    let tables = SIZES + spec.outputs.len() + spec.adds.len();
    ((tables + spec.out_channels.div_ceil(4 * quads) * block(spec, kind, quads)) * PAIR * 4) as u64
}

/// Between which bounds the activation clamps, where that is all it does to every channel.
fn bounds(spec: &ConvSpec) -> Option<[f32; 2]> {
    let mut functions = spec.activation.iter().filter(|(range, _)| !range.is_empty()).map(|(_, f)| *f);
    let function = functions.next()?;
    let bounds = match function {
        Function::Identity => [f32::NEG_INFINITY, f32::INFINITY],
        Function::Relu => [0.0, f32::INFINITY],
        Function::Relu6 => [0.0, 6.0],
        _ => return None,
    };
    functions.all(|f| f == function).then_some(bounds)
}

impl UniversalLayout {
    fn pairs(&self) -> usize {
        self.header.len() / PAIR + self.tiles * self.block
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.pairs() * PAIR * 4) as u64
    }

    pub(super) fn pack(&self, spec: &ConvSpec, values: &Values<'_>) -> Vec<u32> {
        let &Values { k_ranges: weights, bias, .. } = values;
        assert_eq!(weights.len(), spec.k_ranges.len(), "one weight per K range");
        assert_eq!(bias.len(), spec.out_channels, "one bias per output channel");
        let mut words = vec![0; self.pairs() * PAIR];
        words[..self.header.len()].copy_from_slice(&self.header);
        let blocks = &mut words[self.header.len()..];
        let pack = |tile: usize, block: &mut [u32]| self.pack_block(spec, tile, block, weights, bias);
        threads::each_part(blocks, self.block * PAIR, pack);
        words
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
            // Taps, input quads, their lanes: a run of output channels each.
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
