//! What the invocations of a workgroup have.

use super::super::Capabilities;
use super::super::layout::WeightLayout;
use super::Tile;

/// Invocations in order: tiles of pixels, and of these again for every part of K, and of all that for every tile of output channels.
pub(super) struct Share {
    /// Tiles of pixels.
    pub(super) slots: usize,
    /// Parts of K, whose sums are added in the end.
    pub(super) slices: usize,
    /// Tiles of output channels.
    pub(super) parts: usize,
}

impl Share {
    /// For maps of so many tiles of pixels. Those are dealt evenly to as few workgroups as hold them. Where that leaves invocations
    /// without work a workgroup has several tiles of output channels: as many as fill whole workgroups best.
    pub(super) fn new(tile: &Tile, layout: &WeightLayout, caps: &Capabilities, pixel_tiles: usize) -> Share {
        let (usual, slices) = (tile.workgroup as usize, tile.slices);
        let most = usual / slices;
        // Invocations that hand weights round are of one tile of output channels.
        if tile.lanes.is_some() {
            return Share { slots: most, slices, parts: 1 };
        }
        let slots = pixel_tiles.div_ceil(pixel_tiles.div_ceil(most));
        let each = slots * slices;
        let memory = caps.limits.max_workgroup_memory as usize / (tile.sums_bytes() * each);
        let invocations = (2 * usual).min(caps.limits.max_workgroup_invocations as usize) / each;
        let used = |parts: usize| {
            let all = parts * each;
            all as f64 / all.next_multiple_of(usual) as f64
        };
        let parts = 1..=invocations.min(memory).min(layout.tiles);
        let parts = parts.rev().max_by(|&a, &b| used(a).total_cmp(&used(b))).unwrap_or(1);
        Share { slots, slices, parts }
    }

    pub(super) fn workgroup(&self) -> usize {
        self.slots * self.slices * self.parts
    }

    /// What the shader is told of it.
    pub(super) fn constants(&self, layout: &WeightLayout) -> [(&'static str, usize); 5] {
        [
            ("WORKGROUP", self.workgroup()),
            ("SLOTS", self.slots),
            ("SLICES", self.slices),
            ("PARTS", self.parts),
            ("TILES", layout.tiles),
        ]
    }
}
