//! How the invocations of a workgroup are divided.

use super::super::Capabilities;
use super::super::layout::WeightLayout;
use super::Tile;

/// Invocation index = (channel_tile * split_k + k_part) * pixel_tiles + pixel_tile.
pub(super) struct WorkgroupSplit {
    /// Tiles of pixels.
    pub(super) pixel_tiles: usize,
    /// Parts of K; their partial sums are added at the end.
    pub(super) split_k: usize,
    /// Tiles of output channels.
    pub(super) channel_tiles: usize,
}

impl WorkgroupSplit {
    /// Divides a map of `pixel_tiles` tiles evenly over as few workgroups as hold them. Where that leaves invocations idle, a workgroup
    /// takes several tiles of output channels: the number that best fills multiples of the usual workgroup size.
    pub(super) fn new(
        tile: &Tile,
        layout: &WeightLayout,
        caps: &Capabilities,
        pixel_tiles: usize,
    ) -> WorkgroupSplit {
        let (usual, split_k) = (tile.workgroup as usize, tile.split_k);
        let most = usual / split_k;
        // Invocations that share weights through the subgroup must have the same output channels.
        if tile.lanes.is_some() {
            return WorkgroupSplit { pixel_tiles: most, split_k, channel_tiles: 1 };
        }
        let pixel_tiles = pixel_tiles.div_ceil(pixel_tiles.div_ceil(most));
        let each = pixel_tiles * split_k;
        let memory = caps.limits.max_workgroup_memory as usize / (tile.sums_bytes() * each);
        let invocations = (2 * usual).min(caps.limits.max_workgroup_invocations as usize) / each;
        let used = |channel_tiles: usize| {
            let all = channel_tiles * each;
            all as f64 / all.next_multiple_of(usual) as f64
        };
        let channel_tiles = 1..=invocations.min(memory).min(layout.tiles);
        let channel_tiles = channel_tiles.rev().max_by(|&a, &b| used(a).total_cmp(&used(b))).unwrap_or(1);
        WorkgroupSplit { pixel_tiles, split_k, channel_tiles }
    }

    pub(super) fn workgroup(&self) -> usize {
        self.pixel_tiles * self.split_k * self.channel_tiles
    }

    /// The split as shader constants.
    pub(super) fn constants(&self, layout: &WeightLayout) -> [(&'static str, usize); 5] {
        [
            ("WORKGROUP", self.workgroup()),
            ("GROUP_PIXEL_TILES", self.pixel_tiles),
            ("SPLIT_K", self.split_k),
            ("GROUP_CHANNEL_TILES", self.channel_tiles),
            ("CHANNEL_TILES", layout.tiles),
        ]
    }
}
