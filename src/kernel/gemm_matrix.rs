//! Implicit GEMM on matrix units (`EXPERIMENTAL_COOPERATIVE_MATRIX`): f16 operands, sums in f32.
//!
//! The GEMM of [`gemm`](super::gemm) as `[output channels] x [pixels of all images]`. The channels of a tap are padded to whole steps, so
//! that a step lies within one tap. A workgroup stages each step of its tile in workgroup memory without converting it; each subgroup
//! multiplies fragments of [`SIDE`] channels x [`SIDE`] pixels. Where tiles are few, K is split within the workgroup.

use super::choice::{Choice, FamilyId, TileId};
use super::family::{Family, KernelTarget, Offer, Rank, best_guess_first, convolution};
use super::gemm::pixels;
use super::precision::{Words, parameter_elements};
use super::prelude::{Reach, ShaderSource};
use super::spec::{ConvSpec, KRange, Spec};
use super::weights::Weights;
use super::{Capabilities, ConvParameters, Kernel, Precision, Rounding, Shader, files, layout};

/// Rows, columns and depth of one matrix multiplication.
const SIDE: usize = 16;
/// Invocations of a subgroup. The kernels rely on two properties of drivers: workgroups consist of full subgroups, which holds on Vulkan
/// drivers with a single subgroup size; and `workgroupBarrier` orders the reads of matrix loads, for which naga declares the Vulkan
/// memory model without marking the accesses.
const SUBGROUP: usize = 32;
/// Row pitch, in vec4, of a fragment in the memory that sums pass through before the epilogue: four vec4 of values and one of padding
/// against bank conflicts.
const SUMS_ROW: usize = SIDE / 4 + 1;

/// See the head of this file.
pub(super) struct GemmMatrix;

impl Family for GemmMatrix {
    fn id(&self) -> FamilyId {
        FamilyId::GemmMatrix
    }

    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let Some(conv) = convolution(spec) else { return vec![] };
        let offer = |shape: MatrixTile| {
            Offer::new(Rank::Special, shape.tile(), move |choice| kernel(choice, conv, &shape, target))
        };
        shapes(conv, target.caps).into_iter().map(offer).collect()
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        offered(spec).map(|shape| MatrixLayout::new(spec, &shape).bytes()).max().unwrap_or(0)
    }

    fn covers(&self) -> &'static str {
        "sums of convolutions of packed f16 buffers that are not grouped, scaled or averaged; no fused max pool"
    }
}

/// Tile of a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MatrixTile {
    /// Fragments per subgroup, `[along output channels, along pixels]`.
    fragments: [usize; 2],
    /// Subgroups per part of K, `[along output channels, along pixels]`.
    subgroups: [usize; 2],
    /// Quads of K in a step.
    depth: usize,
    /// Parts of K: subsets of the workgroup that take the steps in turn.
    split_k: usize,
    /// Number of workgroups from which on this is the best guess for a discrete card, measured on 132 multiprocessors. The largest tiles
    /// never are; only a tuning selects them.
    min_workgroups: usize,
}

/// From the most products per load to the most workgroups.
const SHAPES: [MatrixTile; 8] = [
    MatrixTile { fragments: [4, 2], subgroups: [2, 4], depth: 8, split_k: 1, min_workgroups: usize::MAX },
    MatrixTile { fragments: [2, 4], subgroups: [2, 2], depth: 8, split_k: 1, min_workgroups: usize::MAX },
    MatrixTile { fragments: [4, 2], subgroups: [2, 2], depth: 8, split_k: 1, min_workgroups: usize::MAX },
    MatrixTile { fragments: [2, 2], subgroups: [2, 2], depth: 8, split_k: 1, min_workgroups: 300 },
    MatrixTile { fragments: [2, 2], subgroups: [2, 1], depth: 8, split_k: 4, min_workgroups: 150 },
    MatrixTile { fragments: [2, 2], subgroups: [1, 1], depth: 8, split_k: 4, min_workgroups: 150 },
    MatrixTile { fragments: [2, 2], subgroups: [1, 1], depth: 4, split_k: 8, min_workgroups: 100 },
    MatrixTile { fragments: [1, 2], subgroups: [1, 1], depth: 8, split_k: 8, min_workgroups: 0 },
];

impl MatrixTile {
    fn tile(&self) -> TileId {
        TileId::new(self.pixels(), self.channels()).with_depth(4 * self.depth).with_split_k(self.split_k)
    }

    /// Output channels of a tile.
    fn channels(&self) -> usize {
        SIDE * self.fragments[0] * self.subgroups[0]
    }

    /// Pixels of a tile.
    fn pixels(&self) -> usize {
        SIDE * self.fragments[1] * self.subgroups[1]
    }

    /// Invocations per part of K: at least one per pixel.
    fn lanes(&self) -> usize {
        SUBGROUP * self.subgroups[0] * self.subgroups[1]
    }

    fn workgroup(&self) -> usize {
        self.lanes() * self.split_k
    }

    /// Row pitch, in quads, of a pixel or output channel in staging memory: one step of K, and 16 bytes of padding that avoid bank
    /// conflicts and keep the alignment that matrix loads need.
    fn row(&self) -> usize {
        self.depth + 2
    }

    /// Quads of staging memory per part of K.
    fn staged(&self) -> usize {
        (self.channels() + self.pixels()) * self.row()
    }

    /// vec4 of memory that the sums pass through before the epilogue.
    fn sums(&self) -> usize {
        self.workgroup() / SUBGROUP * SIDE * SUMS_ROW
    }

    /// Bytes of workgroup memory.
    fn memory(&self) -> usize {
        8 * self.split_k * self.staged() + 16 * self.sums()
    }

    fn workgroups(&self, spec: &ConvSpec) -> usize {
        pixels(spec).div_ceil(self.pixels()) * spec.out_channels.div_ceil(self.channels())
    }

    /// Whether the tile is not mostly empty and, if K is split, every part has at least 2 steps.
    fn suits(&self, spec: &ConvSpec) -> bool {
        let least = |n: usize| n.next_multiple_of(SIDE).next_power_of_two();
        let steps: usize = spec.k_ranges.iter().map(|r| steps(r, self.depth)).sum();
        self.pixels() <= least(pixels(spec))
            && self.channels() <= least(spec.out_channels)
            && (self.split_k == 1 || steps >= 2 * self.split_k)
    }

    /// Whether at most a quarter of the computed channels is padding.
    fn fills_channels(&self, spec: &ConvSpec) -> bool {
        3 * spec.out_channels.next_multiple_of(self.channels()) <= 4 * spec.out_channels
    }
}

/// The kernel for a flattened spec and a shape that [`shapes`] gives for it.
fn kernel(choice: Choice, spec: &ConvSpec, shape: &MatrixTile, target: &KernelTarget<'_>) -> Kernel {
    let caps = target.caps;
    let layout = MatrixLayout::new(spec, shape);
    let tiles = pixels(spec).div_ceil(shape.pixels());
    let fold = tiles.div_ceil(caps.limits.max_workgroups as usize).max(1);
    let grid = [tiles.div_ceil(fold) as u32, layout.tiles as u32, fold as u32];
    let mut s = ShaderSource::of_one(&target.access).with_matrices();
    s.constants(&[
        ("PIXELS", pixels(spec)),
        ("GRID_X", grid[0] as usize),
        ("SIDE", SIDE),
        ("SUBGROUP", SUBGROUP),
        ("FRAGMENTS_Y", shape.fragments[0]),
        ("FRAGMENTS_X", shape.fragments[1]),
        ("SUBGROUPS_Y", shape.subgroups[0]),
        ("SUBGROUPS_X", shape.subgroups[1]),
        ("SPLIT_K", shape.split_k),
        ("DEPTH", shape.depth),
        ("ROW", shape.row()),
        ("SUMS_ROW", SUMS_ROW),
        ("TILE_WEIGHTS", layout.block),
    ]);
    s.convolution(spec, layout.slopes);
    for (r, (range, weights)) in spec.k_ranges.iter().zip(&layout.ranges).enumerate() {
        s.constant(format!("R{r}_WEIGHTS"), *weights);
        // No range has a prologue.
        s.k_range(r, range, Reach::of_windows(spec, range), 0);
        let words = vec![("in0", format!("in{}", range.from.buffer))];
        s.numbered(files::GEMM_MATRIX_OPERAND, 'r', ('r', r), words);
    }
    s.file(files::GEMM_MATRIX);
    Kernel::one(choice, Shader::new(s, "conv2d", grid), layout)
}

/// Quads of channels of a K range.
fn quads(range: &KRange) -> usize {
    range.from.channels.div_ceil(4)
}

/// Steps of a K range: a whole number per tap.
fn steps(range: &KRange, depth: usize) -> usize {
    range.kernel[0] * range.kernel[1] * quads(range).div_ceil(depth)
}

/// Every tile for a flattened spec: sums of dense convolutions of packed f16 buffers, without prologue, average pooling or fused pooling.
fn offered(spec: &ConvSpec) -> impl Iterator<Item = MatrixTile> {
    let plain = |r: &KRange| {
        r.groups == 1
            && r.prologue.is_none()
            && !r.from.avg_pool_2x2
            && r.from.is_packed()
            && r.from.shape.precision == Precision::F16
    };
    let can = !spec.k_ranges.is_empty() && spec.pool.is_none() && spec.k_ranges.iter().all(plain);
    SHAPES.into_iter().filter(move |shape| can && shape.suits(spec))
}

/// The tiles for a flattened spec on an adapter, best guess first: the largest with enough workgroups for a discrete card, else the one
/// with the most workgroups.
fn shapes(spec: &ConvSpec, caps: &Capabilities) -> Vec<MatrixTile> {
    if !caps.features.matrix_units || caps.features.subgroup_size != Some(SUBGROUP as u32) {
        return vec![];
    }
    let fits = |s: &MatrixTile| {
        s.workgroup() <= caps.limits.max_workgroup_invocations as usize
            && s.memory() <= caps.limits.max_workgroup_memory as usize
    };
    let mut shapes: Vec<MatrixTile> = offered(spec).filter(fits).collect();
    let worthwhile = |s: &MatrixTile| s.fills_channels(spec) && s.workgroups(spec) >= s.min_workgroups;
    best_guess_first(&mut shapes, worthwhile, |s| s.workgroups(spec));
    shapes
}

/// Order of packed weights, in elements of one quad of f16. Per tile of output channels: the bias in f32; then, for each K range and
/// step, one row of the step's input channels per output channel. After the tiles: the slopes of the activation.
#[derive(Clone, Debug)]
pub(super) struct MatrixLayout {
    /// Output channels of a tile.
    channels: usize,
    /// Quads of K in a step.
    depth: usize,
    tiles: usize,
    /// Elements of one tile's block.
    block: usize,
    /// Offset of each K range's first step within a tile's block.
    ranges: Vec<usize>,
    /// Offset of the slopes.
    slopes: usize,
    total: usize,
}

/// Elements taken by a quad of f32.
const PARAMETER: usize = 2;

impl MatrixLayout {
    fn new(spec: &ConvSpec, shape: &MatrixTile) -> MatrixLayout {
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
}

impl Weights for MatrixLayout {
    fn bytes(&self) -> u64 {
        (self.total * 8) as u64
    }

    /// Twice the bound of a direct sum: products of f16 are exact in f32, but a matrix unit may truncate a sum instead of rounding it
    /// (measured on NVIDIA's by Fasi et al., "Numerical behavior of NVIDIA tensor cores", PeerJ CS 2021).
    fn rounding(&self) -> Rounding {
        Rounding { gain: 2.0, ..Rounding::DIRECT }
    }

    fn pack(&self, spec: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32> {
        let &ConvParameters { k_ranges: weights, bias, .. } = values;
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
        packed.into_words()
    }
}
