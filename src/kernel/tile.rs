//! Register tiles: what one invocation computes.

use super::Capabilities;
use super::conv::is_packed;
use super::layout::{Kind, kind};
use super::spec::{ConvSpec, Pooling};

/// Pixels and channels of one invocation, and how weights reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Neighbouring output pixels of a row.
    pub(super) pixels: usize,
    /// Quads of output channels.
    pub(super) quads: usize,
    /// Invocations of a subgroup that load weights for one another; `None`: each loads its own.
    pub(super) lanes: Option<u32>,
    /// Invocations of a workgroup.
    pub(super) workgroup: u32,
    /// Most products per pixel and output channel in a step: decides whether horizontal taps are unrolled.
    pub(super) max_taps: usize,
    /// Pooled rows an invocation walks down, where a max pool is fused.
    pub(super) strip: usize,
}

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

/// Columns of what invocations share out in tiles: pixels of the result or, where they are averaged, of the map.
pub(super) fn columns(spec: &ConvSpec) -> usize {
    match spec.pooling {
        Some(Pooling::Average) => spec.size[1],
        Some(Pooling::Max(_)) | None => spec.outputs[0].shape.width,
    }
}

/// Tiles worth trying for a spec, best guess first.
pub(super) fn tiles(spec: &ConvSpec, caps: &Capabilities) -> Vec<Tile> {
    let width = columns(spec);
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
            let planar = spec.k_ranges.iter().any(|r| !is_packed(&r.from));
            let shapes = match spec.pooling {
                _ if planar => [(4, 2), (8, 4), (7, 4), (4, 4)],
                Some(_) => [(7, 4), (4, 4), (8, 4), (4, 2)],
                None => [(7, 4), (14, 4), (7, 8), (4, 4)],
            };
            for (pixels, most) in best_first(shapes, width) {
                let quads = quads(most);
                let strip = best_strip(spec, pixels, quads, lanes as usize);
                let tile = Tile { pixels, quads, lanes: Some(lanes), workgroup: lanes, max_taps: 16, strip };
                if !tiles.contains(&tile) {
                    tiles.push(tile);
                }
            }
        }
        None => {
            let workgroup = if caps.software { 8 } else { 64.min(caps.max_workgroup_invocations) };
            for (pixels, most) in best_first([(4, 2), (7, 2), (2, 4), (1, 2)], width) {
                let strip = 2;
                tiles.push(Tile { pixels, quads: quads(most), lanes: None, workgroup, max_taps: 16, strip });
            }
        }
    }
    tiles
}

/// Pooled rows a strip of a software adapter should have: neighbours in a column both compute the conv rows where their windows
/// overlap, so the longest strip computes the fewest; but the last one may reach below the image, lanes of a subgroup may have
/// none, and every core wants work.
fn best_strip(spec: &ConvSpec, pixels: usize, quads: usize, lanes: usize) -> usize {
    let (Some(pool), out) = (spec.max_pool(), spec.outputs[0].shape) else { return 1 };
    let overlap = pool.kernel[0].saturating_sub(pool.stride[0]);
    let workgroups =
        |strip: usize| (out.width.div_ceil(pixels) * out.height.div_ceil(strip) * out.batch).div_ceil(lanes);
    let enough =
        |strip: &usize| workgroups(*strip) * spec.out_channels.div_ceil(4 * quads) >= ENOUGH_WORKGROUPS;
    let conv_rows = |strip: &usize| workgroups(*strip) * (strip * pool.stride[0] + overlap);
    (2..=LONGEST_STRIP).filter(enough).min_by_key(conv_rows).unwrap_or(2)
}

/// The shapes whose pixels fit rows of that width, those that waste less than a seventh first, else by waste.
pub(super) fn best_first(shapes: [(usize, usize); 4], width: usize) -> Vec<(usize, usize)> {
    let covered = |pixels: usize| width.div_ceil(pixels) * pixels;
    let mut shapes: Vec<_> = shapes.into_iter().map(|(p, q)| (p.min(width), q)).collect();
    shapes.sort_by_key(|&(p, _)| if covered(p) * 7 < width * 8 { 0 } else { covered(p) });
    shapes
}
