//! Register tiles: what one invocation computes.

use super::super::layout::{Kind, Order, kind};
use super::super::spec::ConvSpec;
use super::super::{BUSY, Capabilities, best_first};

/// Pixels and channels of one invocation, and how weights reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Tile {
    /// Neighbouring output pixels of a row.
    pub(super) pixels: usize,
    /// Quads of output channels.
    pub(super) quads: usize,
    /// Invocations of a subgroup that load weights for one another; `None`: each loads its own.
    pub(super) lanes: Option<u32>,
    /// Parts of K, each with invocations of its own.
    pub(super) slices: usize,
    /// Invocations of a workgroup, of which small maps may fill fewer or a few more.
    pub(super) workgroup: u32,
    /// Pooled rows an invocation walks down, where a max pool is fused.
    pub(super) strip: usize,
}

impl Tile {
    /// Every pixel with every quad.
    pub(super) fn accumulators(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (pixels, quads) = (self.pixels, self.quads);
        (0..pixels).flat_map(move |p| (0..quads).map(move |q| (p, q)))
    }

    /// How its loops take weights.
    pub(super) fn order(&self) -> Order {
        Order { quads: self.quads, lanes: self.lanes, max_taps: MOST_TAPS }
    }

    /// Bytes of the sums of one invocation.
    pub(super) fn sums_bytes(&self) -> usize {
        16 * self.pixels * self.quads
    }
}

/// Products of a step, per pixel and output channel, up to which horizontal taps are unrolled.
const MOST_TAPS: usize = 16;
/// Workgroups that keep the cores of a machine with a software adapter busy to the end.
const ENOUGH_WORKGROUPS: usize = 64;
/// Pooled rows of a strip at most: beyond, little is saved.
const LONGEST_STRIP: usize = 8;

/// Largest of `most`, `most / 2`, ... 1 that divides every aligned group's quads of output channels.
fn quads_within_groups(spec: &ConvSpec, most: usize) -> usize {
    let mut quads = most;
    for range in &spec.k_ranges {
        match kind(spec, range) {
            Kind::Dense if range.groups > 1 => {
                while !(spec.out_channels / range.groups / 4).is_multiple_of(quads) {
                    quads /= 2;
                }
            }
            Kind::Scattered => quads = 1,
            _ => {}
        }
    }
    quads
}

/// Tiles worth trying for a spec, best guess first.
pub(in super::super) fn tiles(spec: &ConvSpec, caps: &Capabilities) -> Vec<Tile> {
    let width = spec.outputs[0].shape.width;
    let lanes = caps.subgroup_size.filter(|&n| caps.software && (n == 4 || n == 8));
    let wide = spec.out_channels.div_ceil(4).next_power_of_two();
    let quads = |most: usize| quads_within_groups(spec, most.min(wide));
    let mut tiles: Vec<Tile> = Vec::new();
    match lanes {
        Some(lanes) => {
            // Loads cost far more than multiplications, which asks for large tiles; but the driver compiles a tile when it
            // first runs, in time that grows faster than the tile. Larger ones than the first are up to a fifth faster and
            // take three to four times as long to compile (llvmpipe 22.3): they are for tuning.
            // A planar operand is read in octets where the tile's pixels, at stride 2, are so many. With half the channels its tile
            // compiles in half the time, a tenth of a second less, for a tenth of its running time.
            let planar = spec.k_ranges.iter().any(|r| !r.from.is_packed());
            let shapes = match spec.pool {
                _ if planar => [(4, 2), (8, 4), (7, 4), (4, 4)],
                Some(_) => [(7, 4), (4, 4), (8, 4), (4, 2)],
                None => [(7, 4), (14, 4), (7, 8), (4, 4)],
            };
            for (pixels, most) in best_first(shapes, width) {
                let quads = quads(most);
                let strip = best_strip(spec, pixels, quads, lanes as usize);
                let tile = Tile { pixels, quads, lanes: Some(lanes), slices: 1, workgroup: lanes, strip };
                if !tiles.contains(&tile) {
                    tiles.push(tile);
                }
            }
        }
        None => {
            let workgroup = if caps.software { 8 } else { 64.min(caps.max_workgroup_invocations) };
            for (pixels, most) in best_first([(4, 2), (7, 2), (2, 4), (1, 2)], width) {
                let (quads, slices) = (quads(most), 1);
                tiles.push(Tile { pixels, quads, lanes: None, slices, workgroup, strip: 2 });
            }
            let whole = tiles.clone();
            tiles.iter_mut().for_each(|tile| tile.slices = slices(spec, tile, caps));
            tiles.extend(whole.into_iter().filter(|tile| !tiles.contains(tile)).collect::<Vec<_>>());
        }
    }
    tiles
}

/// Invocations that keep a GPU of few multiprocessors busy: two subgroups of 32 for each of 64 SIMD units. wgpu does not tell how many
/// there are; integrated and mobile GPUs have 16 to 128.
const BUSY_SMALL: usize = 2 * 32 * 64;
/// Parts of K at most, and planes of input channels that each must have: below, adding up costs more than is won.
const MOST_SLICES: usize = 8;
const LEAST_PLANES: usize = 8;

/// Parts of K where a map is so small that there would be few invocations: as many as keep a GPU busy. A software adapter is busy
/// with those there are.
fn slices(spec: &ConvSpec, tile: &Tile, caps: &Capabilities) -> usize {
    let workgroup = tile.workgroup as usize;
    let dense = spec.k_ranges.iter().all(|r| kind(spec, r) == Kind::Dense);
    let memory = workgroup * tile.sums_bytes() <= caps.max_workgroup_memory as usize;
    if caps.software || spec.pool.is_some() || !dense || !memory {
        return 1;
    }
    let planes = spec.k_ranges.iter().map(|r| (r.from.channels / r.groups).div_ceil(4)).max().unwrap_or(0);
    let places = spec.size[0] * spec.size[1].div_ceil(tile.pixels);
    let tiles = spec.outputs[0].shape.batch * spec.out_channels.div_ceil(4 * tile.quads);
    let wanted = if caps.discrete { BUSY } else { BUSY_SMALL };
    let mut slices = 1;
    while places * tiles * slices < wanted && 2 * slices <= MOST_SLICES && planes >= 2 * slices * LEAST_PLANES
    {
        slices *= 2;
    }
    slices
}

/// Pooled rows a strip of a software adapter should have: neighbours in a column both compute the conv rows where their windows
/// overlap, so the longest strip computes the fewest; but the last one may reach below the image, lanes of a subgroup may have
/// none, and every core wants work.
fn best_strip(spec: &ConvSpec, pixels: usize, quads: usize, lanes: usize) -> usize {
    let (Some(pool), out) = (spec.pool, spec.outputs[0].shape) else { return 1 };
    let overlap = pool.kernel[0].saturating_sub(pool.stride[0]);
    let workgroups =
        |strip: usize| (out.width.div_ceil(pixels) * out.height.div_ceil(strip) * out.batch).div_ceil(lanes);
    let enough =
        |strip: &usize| workgroups(*strip) * spec.out_channels.div_ceil(4 * quads) >= ENOUGH_WORKGROUPS;
    let conv_rows = |strip: &usize| workgroups(*strip) * (strip * pool.stride[0] + overlap);
    (2..=LONGEST_STRIP).filter(enough).min_by_key(conv_rows).unwrap_or(2)
}
