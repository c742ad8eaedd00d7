//! Register tiles whose weights are loaded once per subgroup: [`direct`](super::super::direct) with tiles for SIMD lanes.
//!
//! Used for what `software-conv` does not compute. Loads cost far more than multiplications, which favours large tiles; but drivers
//! compile a shader at its first dispatch, in time that grows faster than the tile.

use super::super::choice::FamilyId;
use super::super::direct::{Tile, kernel, quads_within_groups};
use super::super::family::{Family, KernelTarget, Offer, Rank, best_first, convolution};
use super::super::layout::WeightLayout;
use super::super::spec::{ConvSpec, Spec};
use super::super::weights::Weights;

/// See the head of this file.
pub(in super::super) struct Direct;

impl Family for Direct {
    fn id(&self) -> FamilyId {
        FamilyId::SoftwareDirect
    }

    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let (Some(conv), Some(lanes)) = (convolution(spec), target.caps.lanes()) else { return vec![] };
        let offer = |tile: Tile| {
            Offer::new(Rank::Usual, tile.id(), move |choice| kernel(choice, conv, &tile, target))
        };
        tiles(conv, lanes).into_iter().map(offer).collect()
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        let of = |tile: Tile| WeightLayout::new(spec, &tile.order()).bytes();
        [4, 8].into_iter().flat_map(|lanes| tiles(spec, lanes)).map(of).max().unwrap_or(0)
    }

    fn covers(&self) -> &'static str {
        "every convolution and sum but matrix times vector, on software with subgroups of 4 or 8"
    }
}

/// Workgroups needed to keep all cores busy to the end of a dispatch.
const MIN_WORKGROUPS: usize = 64;
/// Maximum pooled rows of a strip: longer ones save little.
const MAX_STRIP: usize = 8;

/// Tiles worth trying for a spec, best guess first. Tiles larger than the first are up to a fifth faster but take three to four times as
/// long to compile (llvmpipe 22.3), so they are left to tuning.
fn tiles(spec: &ConvSpec, lanes: u32) -> Vec<Tile> {
    // At stride 2, a tile of 4 pixels reads a planar operand in octets. With half the channels the tile compiles in half the time (0.1 s
    // less) and runs a tenth slower.
    let planar = spec.k_ranges.iter().any(|r| !r.from.is_packed());
    let shapes = match spec.pool {
        _ if planar => [(4, 2), (8, 4), (7, 4), (4, 4)],
        Some(_) => [(7, 4), (4, 4), (8, 4), (4, 2)],
        None => [(7, 4), (14, 4), (7, 8), (4, 4)],
    };
    best_first(shapes, spec.outputs[0].shape.width)
        .into_iter()
        .map(|(pixels, most)| {
            let quads = quads_within_groups(spec, most);
            let strip = best_strip(spec, pixels, quads, lanes as usize);
            Tile { pixels, quads, lanes: Some(lanes), split_k: 1, workgroup: lanes, strip }
        })
        .collect()
}

/// Pooled rows per strip. Vertically neighbouring strips both compute the conv rows where their windows overlap, so longer strips compute
/// fewer rows in total; but the last strip may reach below the image, lanes may be idle, and every core needs work.
fn best_strip(spec: &ConvSpec, pixels: usize, quads: usize, lanes: usize) -> usize {
    let (Some(pool), out) = (spec.pool, spec.outputs[0].shape) else { return 1 };
    let overlap = pool.kernel[0].saturating_sub(pool.stride[0]);
    let workgroups =
        |strip: usize| (out.width.div_ceil(pixels) * out.height.div_ceil(strip) * out.batch).div_ceil(lanes);
    let enough = |strip: &usize| workgroups(*strip) * spec.out_channels.div_ceil(4 * quads) >= MIN_WORKGROUPS;
    let conv_rows = |strip: &usize| workgroups(*strip) * (strip * pool.stride[0] + overlap);
    (2..=MAX_STRIP).filter(enough).min_by_key(conv_rows).unwrap_or(2)
}
