//! Register tiles: what one invocation computes.

use super::super::choice::TileId;
use super::super::family::{MIN_RESIDENT_INVOCATIONS, best_first};
use super::super::layout::{RangeKind, WeightOrder, kind};
use super::super::spec::ConvSpec;
use super::super::{Capabilities, Class};

/// Tile of one invocation, and how it loads weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Tile {
    /// Neighbouring output pixels of a row.
    pub(in super::super) pixels: usize,
    /// Quads of output channels.
    pub(in super::super) quads: usize,
    /// Number of invocations of a subgroup that share loaded weights; `None`: each loads its own.
    pub(in super::super) lanes: Option<u32>,
    /// Parts of K, each summed by its own invocations.
    pub(in super::super) split_k: usize,
    /// Usual workgroup size; on small maps the actual size may differ ([`WorkgroupSplit`](super::WorkgroupSplit)).
    pub(in super::super) workgroup: u32,
    /// Pooled rows per invocation, where a max pool is fused.
    pub(in super::super) strip: usize,
}

impl Tile {
    pub(in super::super) fn id(&self) -> TileId {
        TileId::new(self.pixels, 4 * self.quads).with_split_k(self.split_k)
    }

    /// The weight order its loops need.
    pub(in super::super) fn order(&self) -> WeightOrder {
        WeightOrder { quads: self.quads, lanes: self.lanes, max_taps: MAX_UNROLLED_TAPS }
    }

    /// Bytes of the sums of one invocation.
    pub(super) fn sums_bytes(&self) -> usize {
        16 * self.pixels * self.quads
    }
}

/// Horizontal taps are unrolled up to this many products per step, pixel and output channel.
const MAX_UNROLLED_TAPS: usize = 16;

/// The largest of `most`, `most / 2`, .. 1 that divides the quads of output channels of every aligned group and does not exceed the
/// output.
pub(in super::super) fn quads_within_groups(spec: &ConvSpec, most: usize) -> usize {
    let mut quads = most.min(spec.out_channels.div_ceil(4).next_power_of_two());
    for range in &spec.k_ranges {
        match kind(spec, range) {
            RangeKind::Dense if range.groups > 1 => {
                while !(spec.out_channels / range.groups / 4).is_multiple_of(quads) {
                    quads /= 2;
                }
            }
            RangeKind::Scattered => quads = 1,
            _ => {}
        }
    }
    quads
}

/// Tiles worth trying for a spec, best guess first.
pub(super) fn tiles(spec: &ConvSpec, caps: &Capabilities) -> Vec<Tile> {
    let software = caps.class == Class::Software;
    let workgroup = if software { 8 } else { 64.min(caps.limits.max_workgroup_invocations) };
    let whole: Vec<Tile> = best_first([(4, 2), (7, 2), (2, 4), (1, 2)], spec.outputs[0].shape.width)
        .into_iter()
        .map(|(pixels, most)| {
            let quads = quads_within_groups(spec, most);
            Tile { pixels, quads, lanes: None, split_k: 1, workgroup, strip: 2 }
        })
        .collect();
    let mut tiles = whole.clone();
    tiles.iter_mut().for_each(|tile| tile.split_k = split_k(spec, tile, caps));
    tiles.extend(whole);
    tiles
}

/// Resident invocations that saturate an integrated or mobile GPU: two subgroups of 32 on each of 64 SIMD units. wgpu does not report the
/// number of units; such GPUs have 16 to 128.
const MIN_RESIDENT_INVOCATIONS_INTEGRATED: usize = 2 * 32 * 64;
/// Limits of split-K: at most this many parts, each with at least this many planes of input channels. Beyond, the reduction costs more
/// than the split gains.
const MAX_SPLIT_K: usize = 8;
const MIN_PLANES_PER_PART: usize = 8;

/// Number of parts of K: doubled until the invocations saturate the GPU. 1 on software adapters, which need no more invocations.
fn split_k(spec: &ConvSpec, tile: &Tile, caps: &Capabilities) -> usize {
    let workgroup = tile.workgroup as usize;
    let dense = spec.k_ranges.iter().all(|r| kind(spec, r) == RangeKind::Dense);
    let memory = workgroup * tile.sums_bytes() <= caps.limits.max_workgroup_memory as usize;
    if caps.class == Class::Software || spec.pool.is_some() || !dense || !memory {
        return 1;
    }
    let planes = spec.k_ranges.iter().map(|r| (r.from.channels / r.groups).div_ceil(4)).max().unwrap_or(0);
    let places = spec.size[0] * spec.size[1].div_ceil(tile.pixels);
    let tiles = spec.outputs[0].shape.batch * spec.out_channels.div_ceil(4 * tile.quads);
    let wanted = if caps.class == Class::Discrete {
        MIN_RESIDENT_INVOCATIONS
    } else {
        MIN_RESIDENT_INVOCATIONS_INTEGRATED
    };
    let mut split_k = 1;
    while places * tiles * split_k < wanted
        && 2 * split_k <= MAX_SPLIT_K
        && planes >= 2 * split_k * MIN_PLANES_PER_PART
    {
        split_k *= 2;
    }
    split_k
}
