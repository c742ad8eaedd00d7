//! Register tiles: what one invocation computes.

use super::Capabilities;
use super::layout::{Kind, kind};
use super::spec::ConvSpec;

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
    /// Widest kernel whose horizontal taps are unrolled.
    pub(super) max_taps: usize,
    /// Pooled rows an invocation walks down, where a max pool is fused.
    pub(super) strip: usize,
}

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

/// Tiles worth trying for a spec whose rows are `width` wide, best guess first.
pub(super) fn tiles(spec: &ConvSpec, width: usize, caps: &Capabilities) -> Vec<Tile> {
    let lanes = caps.subgroup_size.filter(|&n| caps.software && (n == 4 || n == 8));
    let wide = spec.out_channels.div_ceil(4).next_power_of_two();
    let mut tiles = Vec::new();
    match lanes {
        Some(lanes) => {
            for most in [4, 8, 2] {
                let quads = quads_within_groups(spec, most.min(wide));
                for pixels in widths(width) {
                    let tile =
                        Tile { pixels, quads, lanes: Some(lanes), workgroup: lanes, max_taps: 4, strip: 7 };
                    if !tiles.contains(&tile) {
                        tiles.push(tile);
                    }
                }
            }
        }
        None => {
            let workgroup = if caps.software { 8 } else { 64.min(caps.max_workgroup_invocations) };
            let quads = quads_within_groups(spec, 2.min(wide));
            for pixels in widths(width).into_iter().filter(|&p| p <= 7) {
                tiles.push(Tile { pixels, quads, lanes: None, workgroup, max_taps: 4, strip: 2 });
            }
        }
    }
    tiles
}

/// Pixels per invocation for rows of that width: those that waste least first.
fn widths(width: usize) -> Vec<usize> {
    let mut widths = [4, 7, 8, 6, 5, 3, 2, 1].to_vec();
    widths.retain(|&p| p <= width);
    widths.sort_by_key(|&p| if p < 4 { (8, 0) } else { (0, width.div_ceil(p) * p) });
    widths.truncate(3);
    widths
}
