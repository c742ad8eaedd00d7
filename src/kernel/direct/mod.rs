//! Register tiles: an invocation computes a tile of pixels x output channels in registers, alone or together with the invocations that
//! sum the other parts of K (`shaders/conv/direct.wgsl`). On small maps a workgroup covers several tiles of output channels, and K is
//! split ([`WorkgroupSplit`]).

mod columns;
mod tile;
mod workgroup_split;

pub(super) use tile::{Tile, quads_within_groups};

use super::choice::{Choice, FamilyId};
use super::family::{Family, KernelTarget, Offer, Rank, convolution};
use super::layout::{RangeKind, RangeLayout, WeightLayout, planes_of_group};
use super::prelude::ShaderSource;
use super::spec::{ConvSpec, KRange, Spec};
use super::weights::Weights;
use super::{Capabilities, Class, Kernel, Shader, files};
use crate::graph::MaxPool;
use columns::ConvPixels;
use tile::tiles;
use workgroup_split::WorkgroupSplit;

/// See the head of this file.
pub(super) struct Direct;

impl Family for Direct {
    fn id(&self) -> FamilyId {
        FamilyId::Direct
    }

    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let Some(conv) = convolution(spec) else { return vec![] };
        // Software adapters with subgroups use `software::Direct` instead.
        if target.caps.lanes().is_some() {
            return vec![];
        }
        let rank = if target.caps.class == Class::Discrete { Rank::Other } else { Rank::Usual };
        let offer =
            |tile: Tile| Offer::new(rank, tile.id(), move |choice| kernel(choice, conv, &tile, target));
        tiles(conv, target.caps).into_iter().map(offer).collect()
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        let of = |tile: Tile| WeightLayout::new(spec, &tile.order()).bytes();
        tiles(spec, &Capabilities::WEBGPU).into_iter().map(of).max().unwrap_or(0)
    }

    fn covers(&self) -> &'static str {
        "every convolution and sum but matrix times vector"
    }
}

/// The kernel for a flattened spec and a tile.
pub(super) fn kernel(choice: Choice, spec: &ConvSpec, tile: &Tile, target: &KernelTarget<'_>) -> Kernel {
    let KernelTarget { caps, access, .. } = target;
    let layout = WeightLayout::new(spec, &tile.order());
    let out = spec.outputs[0].shape;
    let across = out.width.div_ceil(tile.pixels);
    let walk = Walk::new(spec);
    let down = out.height.div_ceil(walk.rows(tile));
    let tiles = across * down * out.batch;
    let workgroup_split = WorkgroupSplit::new(tile, &layout, caps, tiles);
    let workgroups = tiles.div_ceil(workgroup_split.pixel_tiles);
    let fold = workgroups.div_ceil(caps.limits.max_workgroups as usize).max(1);
    let grid = [
        workgroups.div_ceil(fold) as u32,
        layout.tiles.div_ceil(workgroup_split.channel_tiles) as u32,
        fold as u32,
    ];
    let position = walk.position(spec, tile, [down, across]);
    let apart = tile.pixels * spec.pool.map_or(1, |pool| pool.stride[1]);
    let octets = access.octets().filter(|_| octets(spec, &layout, apart));
    let mut s = ShaderSource::of_one(octets.as_ref().unwrap_or(access));
    if tile.lanes.is_some() {
        s = s.with_subgroup();
    }
    s.constants(&workgroup_split.constants(&layout));
    s.constants(&[
        ("PIXEL_TILES", tiles),
        ("TILES_ACROSS", across),
        ("TILES_DOWN", down),
        ("GRID_X", grid[0] as usize),
        ("TILE_PIXELS", tile.pixels),
        ("TILE_QUADS", tile.quads),
        ("TILE_WEIGHTS", layout.block),
        ("LANES", tile.lanes.unwrap_or(1) as usize),
        ("CONV_PIXELS", position.pixels),
        ("OUT_HEIGHT", out.height),
        ("OUT_WIDTH", out.width),
    ]);
    s.constant("LOOPED", caps.class == Class::Software);
    walk.constants(&mut s, tile);
    s.convolution(spec, layout.slopes);
    for (r, (range, own)) in spec.k_ranges.iter().zip(&layout.ranges).enumerate() {
        s.k_range(r, range, position.rows(spec, range), own.prologue);
        position.columns(&mut s, spec, r, range, own, octets.is_some());
        k_range(&mut s, spec, tile, r, range, own);
    }
    s.file(files::DIRECT);
    Kernel::one(choice, Shader::new(s, "conv2d", grid), layout)
}

/// In which order an invocation computes the conv pixels under its tile where a max pool is fused.
#[derive(Clone, Copy)]
enum Walk {
    /// No fused pool: the tile itself is stored.
    Once,
    /// Row by row, for windows that overlap by one row or none.
    Rows(MaxPool),
    /// Tap by tap of the pooling window: conv pixels shared by windows are computed once per window.
    Taps(MaxPool),
}

impl Walk {
    fn new(spec: &ConvSpec) -> Walk {
        let Some(pool) = spec.pool else { return Walk::Once };
        let overlap = pool.kernel[0].checked_sub(pool.stride[0]);
        match matches!(overlap, Some(0 | 1)) && pool.kernel[0] > 1 && pool.kernel[1] <= 4 {
            true => Walk::Rows(pool),
            false => Walk::Taps(pool),
        }
    }

    /// Output rows of an invocation.
    fn rows(self, tile: &Tile) -> usize {
        match self {
            Walk::Rows(_) => tile.strip,
            Walk::Once | Walk::Taps(_) => 1,
        }
    }

    /// The conv pixels of an invocation in one step of the walk, for `[down, across]` tiles.
    fn position(self, spec: &ConvSpec, tile: &Tile, [down, across]: [usize; 2]) -> ConvPixels {
        // `last`: the largest `y` and `x` before `pad` is subtracted.
        let (pixels, apart, last, pad) = match self {
            Walk::Once => (tile.pixels, 1, [spec.size[0] - 1, (across - 1) * tile.pixels], [0, 0]),
            Walk::Rows(MaxPool { kernel, stride, padding }) => {
                let rows = self.pool_steps(tile);
                let last =
                    [(down - 1) * tile.strip * stride[0] + rows - 1, (across - 1) * tile.pixels * stride[1]];
                ((tile.pixels - 1) * stride[1] + kernel[1], 1, last, padding)
            }
            Walk::Taps(MaxPool { kernel, stride, padding }) => {
                let last = [
                    (down - 1) * stride[0] + kernel[0] - 1,
                    (across - 1) * tile.pixels * stride[1] + kernel[1] - 1,
                ];
                (tile.pixels, stride[1], last, padding)
            }
        };
        let [y, x] = [0, 1].map(|i| [-(pad[i] as isize), last[i] as isize - pad[i] as isize]);
        ConvPixels { pixels, apart, x, y }
    }

    /// Steps of the walk.
    fn pool_steps(self, tile: &Tile) -> usize {
        match self {
            Walk::Once => 1,
            Walk::Rows(pool) => tile.strip * pool.stride[0] + pool.kernel[0] - pool.stride[0],
            Walk::Taps(pool) => pool.kernel[0] * pool.kernel[1],
        }
    }

    /// The walk as shader constants.
    fn constants(self, s: &mut ShaderSource, tile: &Tile) {
        let none = MaxPool { kernel: [1, 1], stride: [1, 1], padding: [0, 0] };
        let (pool, by_rows) = match self {
            Walk::Once => (none, false),
            Walk::Rows(pool) => (pool, true),
            Walk::Taps(pool) => (pool, false),
        };
        s.constants(&[
            ("POOL_STEPS", self.pool_steps(tile)),
            ("STRIP", tile.strip),
            ("WINDOW_X", pool.kernel[1]),
            ("POOL_STEP_Y", pool.stride[0]),
            ("POOL_STEP_X", pool.stride[1]),
            ("POOL_PAD_Y", pool.padding[0]),
            ("POOL_PAD_X", pool.padding[1]),
            ("OVERLAP", pool.kernel[0].saturating_sub(pool.stride[0])),
        ]);
        s.constant("BY_ROWS", by_rows);
    }
}

/// Whether eight columns can be loaded at once: the only operand is planar, its rows are whole octets, and the columns of every
/// invocation have the same offset within an octet. `apart` is the distance in conv pixels between neighbouring invocations.
fn octets(spec: &ConvSpec, layout: &WeightLayout, apart: usize) -> bool {
    let [range] = &spec.k_ranges[..] else { return false };
    let (from, layout) = (&range.from, &layout.ranges[0]);
    !from.is_packed()
        && from.stride == 1
        && from.shape.width.is_multiple_of(8)
        && (apart * range.stride[1]).is_multiple_of(8)
        && spec.adds.is_empty()
        && layout.kind == RangeKind::Dense
        && layout.unroll_x
}

/// Constants of a K range that only this family needs.
fn k_range(
    s: &mut ShaderSource,
    spec: &ConvSpec,
    tile: &Tile,
    r: usize,
    range: &KRange,
    layout: &RangeLayout,
) {
    let outputs = spec.out_channels / range.groups;
    let taps = if layout.unroll_x { range.kernel[1] } else { 1 };
    let shared = match tile.lanes {
        Some(lanes) if layout.kind == RangeKind::Dense => {
            (taps * layout.depth * tile.quads).div_ceil(lanes as usize)
        }
        _ => 0,
    };
    for (name, value) in [
        ("LANES", if range.from.is_packed() { 4 } else { 1 }),
        ("FIRST_CHANNEL", range.from.first_channel),
        ("DEPTH", layout.depth),
        ("WEIGHTS", layout.step),
        ("PLANES", planes_of_group(range, layout.kind, layout.depth)),
        ("SHARED", shared),
        ("GROUP_QUADS", (outputs / 4).max(1)),
        ("GROUP_OUTPUTS", outputs),
        ("GROUP_INPUTS", range.from.channels / range.groups),
    ] {
        s.constant(format!("R{r}_{name}"), value);
    }
    s.constant(format!("R{r}_DENSE"), layout.kind == RangeKind::Dense);
    s.constant(format!("R{r}_DEPTHWISE"), layout.kind == RangeKind::Depthwise);
    s.constant(format!("R{r}_GROUPED"), range.groups > 1);
    if layout.kind == RangeKind::Scattered {
        s.numbered(files::CHANNEL, 'r', ('r', r), vec![("in0", format!("in{}", range.from.buffer))]);
    }
}
