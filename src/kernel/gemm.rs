//! Implicit GEMM in tiles staged in workgroup memory, for discrete GPUs.
//!
//! The GEMM is `[pixels of all images] x [output channels]`. Its K axis is the concatenation of the K ranges, each ordered by tap, then
//! input plane. A workgroup computes one tile: in each step its invocations stage `depth` quads of K for the tile's pixels and weights,
//! each element once, and every invocation multiplies its share. On small maps, which have few tiles, K is split: `split_k` parts of the
//! workgroup take the steps in turn, and their partial sums are added at the end.

use super::choice::{Choice, FamilyId, TileId};
use super::family::{Family, KernelTarget, Offer, Rank, best_guess_first, convolution};
use super::layout::{WeightLayout, WeightOrder};
use super::prelude::{Reach, ShaderSource};
use super::spec::Spec;
use super::spec::{ConvSpec, KRange};
use super::weights::Weights;
use super::{Capabilities, Class, Kernel, Shader, files};

/// See the head of this file.
pub(super) struct Gemm;

impl Family for Gemm {
    fn id(&self) -> FamilyId {
        FamilyId::Gemm
    }

    /// Staging is no faster than the caches on integrated GPUs, and slower on software adapters.
    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let Some(conv) = convolution(spec) else { return vec![] };
        let rank = if target.caps.class == Class::Discrete { Rank::Usual } else { Rank::Other };
        let offer = |shape: GemmTile| {
            Offer::new(rank, shape.tile(), move |choice| kernel(choice, conv, &shape, target))
        };
        shapes(conv, target.caps).into_iter().map(offer).collect()
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        offered(spec).map(|shape| shape.layout(spec).bytes()).max().unwrap_or(0)
    }

    fn covers(&self) -> &'static str {
        "sums of convolutions of packed buffers that are not grouped; no fused max pool"
    }
}

/// Tile of a workgroup, and of each of its invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct GemmTile {
    /// Pixels of the tile.
    pixels: usize,
    /// Quads of output channels of the tile.
    quads: usize,
    /// Quads of K that each part stages per step.
    depth: usize,
    /// Pixels of an invocation, at a distance of `across()`.
    own_pixels: usize,
    /// Quads of output channels of an invocation, at a distance of `quads / own_quads`.
    own_quads: usize,
    /// Parts of K: subsets of the workgroup that take the steps in turn.
    split_k: usize,
    /// Number of workgroups from which on this tile is the fastest on a discrete card, measured on 132 multiprocessors (wgpu does not
    /// report their number). With fewer workgroups the last wave leaves most multiprocessors idle; smaller tiles give more waves.
    min_workgroups: usize,
}

/// From the most products per load to the most workgroups. Two steps of each take at most 16 KiB of workgroup memory, as do the partial
/// sums.
const SHAPES: [GemmTile; 7] = [
    GemmTile {
        pixels: 128,
        quads: 32,
        depth: 2,
        own_pixels: 8,
        own_quads: 2,
        split_k: 1,
        min_workgroups: usize::MAX,
    },
    GemmTile {
        pixels: 128,
        quads: 16,
        depth: 2,
        own_pixels: 8,
        own_quads: 2,
        split_k: 1,
        min_workgroups: 600,
    },
    GemmTile {
        pixels: 64,
        quads: 16,
        depth: 4,
        own_pixels: 4,
        own_quads: 1,
        split_k: 1,
        min_workgroups: 300,
    },
    GemmTile { pixels: 64, quads: 8, depth: 4, own_pixels: 4, own_quads: 1, split_k: 1, min_workgroups: 400 },
    GemmTile { pixels: 32, quads: 8, depth: 4, own_pixels: 4, own_quads: 1, split_k: 1, min_workgroups: 400 },
    GemmTile { pixels: 32, quads: 8, depth: 2, own_pixels: 4, own_quads: 1, split_k: 4, min_workgroups: 150 },
    GemmTile { pixels: 16, quads: 4, depth: 1, own_pixels: 4, own_quads: 1, split_k: 16, min_workgroups: 0 },
];

/// K counts as long from this many quads on: a 3x3 over 64 channels.
const LONG_K_QUADS: usize = 144;

impl GemmTile {
    fn tile(&self) -> TileId {
        TileId::new(self.pixels, 4 * self.quads).with_depth(4 * self.depth).with_split_k(self.split_k)
    }

    /// Invocations along the pixels.
    fn across(&self) -> usize {
        self.pixels / self.own_pixels
    }

    /// Invocations per part of K.
    fn lanes(&self) -> usize {
        self.across() * (self.quads / self.own_quads)
    }

    fn workgroup(&self) -> usize {
        self.lanes() * self.split_k
    }

    /// vec4 staged per part and step: `[pixels, weights]`.
    fn staged(&self) -> [usize; 2] {
        [self.depth * self.pixels, self.depth * 4 * self.quads]
    }

    /// vec4 of workgroup memory: two steps (double buffering); later reused for the partial sums.
    fn memory(&self) -> usize {
        let sums = if self.split_k > 1 { self.split_k * self.pixels * self.quads } else { 0 };
        (2 * self.split_k * self.staged().iter().sum::<usize>()).max(sums)
    }

    fn workgroups(&self, spec: &ConvSpec) -> usize {
        pixels(spec).div_ceil(self.pixels) * spec.out_channels.div_ceil(4 * self.quads)
    }

    /// Whether the tile is at least half full and, if K is split, every part has at least 4 steps.
    fn suits(&self, spec: &ConvSpec) -> bool {
        let most = |n: usize| n.next_power_of_two();
        let steps = spec.k_ranges.iter().map(depth).sum::<usize>().div_ceil(self.split_k * self.depth);
        self.pixels <= most(pixels(spec))
            && 4 * self.quads <= most(spec.out_channels)
            && (self.split_k == 1 || steps >= 4)
    }

    /// Whether at most a quarter of the computed channels is padding.
    fn fills_channels(&self, spec: &ConvSpec) -> bool {
        3 * spec.out_channels.next_multiple_of(4 * self.quads) <= 4 * spec.out_channels
    }

    /// The weight order, that of a register tile that takes one tap and one plane per step.
    fn layout(&self, spec: &ConvSpec) -> WeightLayout {
        WeightLayout::new(spec, &WeightOrder { quads: self.quads, lanes: None, max_taps: 0 })
    }
}

/// The kernel for a flattened spec and a shape that [`offered`] gives for it.
fn kernel(choice: Choice, spec: &ConvSpec, shape: &GemmTile, target: &KernelTarget<'_>) -> Kernel {
    let caps = target.caps;
    let layout = shape.layout(spec);
    let tiles = pixels(spec).div_ceil(shape.pixels);
    let fold = tiles.div_ceil(caps.limits.max_workgroups as usize).max(1);
    let grid = [tiles.div_ceil(fold) as u32, layout.tiles as u32, fold as u32];
    let mut s = ShaderSource::of_one(&target.access);
    s.constants(&[
        ("PIXELS", pixels(spec)),
        ("GRID_X", grid[0] as usize),
        ("TILE_PIXELS", shape.pixels),
        ("TILE_QUADS", shape.quads),
        ("TILE_WEIGHTS", layout.block),
        ("DEPTH", shape.depth),
        ("SPLIT_K", shape.split_k),
        ("OWN_PIXELS", shape.own_pixels),
        ("OWN_QUADS", shape.own_quads),
    ]);
    s.convolution(spec, layout.slopes);
    for (r, (range, own)) in spec.k_ranges.iter().zip(&layout.ranges).enumerate() {
        s.constant(format!("R{r}_WEIGHTS"), own.offset);
        s.k_range(r, range, Reach::of_windows(spec, range), own.prologue);
    }
    s.file(files::GEMM);
    Kernel::one(choice, Shader::new(s, "conv2d", grid), layout)
}

/// Pixels of all images.
pub(super) fn pixels(spec: &ConvSpec) -> usize {
    spec.outputs[0].shape.batch * spec.size[0] * spec.size[1]
}

/// Quads of K of a range.
fn depth(range: &KRange) -> usize {
    range.kernel[0] * range.kernel[1] * range.from.channels.div_ceil(4)
}

/// Every tile for a flattened spec under WebGPU's default limits: sums of dense convolutions of packed buffers without fused pooling.
fn offered(spec: &ConvSpec) -> impl Iterator<Item = GemmTile> {
    let dense = |r: &KRange| r.groups == 1 && r.from.is_packed();
    let can = !spec.k_ranges.is_empty() && spec.pool.is_none() && spec.k_ranges.iter().all(dense);
    SHAPES.into_iter().filter(move |shape| can && shape.suits(spec))
}

/// The tiles for a flattened spec on an adapter, best guess first: the largest with enough workgroups for a discrete card, else the one
/// with the most invocations.
fn shapes(spec: &ConvSpec, caps: &Capabilities) -> Vec<GemmTile> {
    let fits = |s: &GemmTile| {
        s.workgroup() <= caps.limits.max_workgroup_invocations as usize
            && s.memory() * 16 <= caps.limits.max_workgroup_memory as usize
    };
    let mut shapes: Vec<GemmTile> = offered(spec).filter(fits).collect();
    // The epilogues of the largest tiles are slow, so K must be long.
    let long_k = spec.k_ranges.iter().map(depth).sum::<usize>() >= LONG_K_QUADS;
    let worthwhile = |s: &GemmTile| {
        s.fills_channels(spec) && s.workgroups(spec) >= s.min_workgroups && (long_k || s.pixels < 128)
    };
    best_guess_first(&mut shapes, worthwhile, |s| s.workgroups(spec) * s.workgroup());
    shapes
}
