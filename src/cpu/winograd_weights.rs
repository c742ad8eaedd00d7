//! When a convolution is computed by Winograd's F(4x4, 3x3), and its transformed weights.

use crate::kernel::{ConvSpec, KRange, Precision};

/// Places of the transformed tile.
pub(super) const PLACES: usize = 36;
/// Outputs of a tile along one dimension.
pub(super) const OUTPUTS: usize = 4;
/// Inputs of a tile along one dimension.
pub(super) const INPUTS: usize = 6;
/// Largest transformed filter, in values: 4 MiB. Larger ones do not stay in the cache, and take more memory than they save time.
const FILTER_VALUES: usize = 1 << 20;
/// Fewest channels in and out: with fewer the transforms cost more than the products they save.
const CHANNELS: usize = 16;
/// Transformed inputs and outputs of a block, in values: 1 MiB.
const BLOCK_VALUES: usize = 256 * 1024;

/// Whether a K range is computed this way. Not a matter of the input's size, so that sessions of all sizes share the weights.
pub(super) fn pays(spec: &ConvSpec, k: &KRange) -> bool {
    let (from, out) = (&k.from, spec.out_channels);
    let plain = from.stride == 1 && !from.avg_pool_2x2 && k.prologue.is_none() && k.groups == 1;
    plain
        && k.kernel == [3, 3]
        && k.stride == [1, 1]
        && k.dilation == [1, 1]
        && spec.pool.is_none()
        && spec.precision() == Precision::F32
        && from.channels.min(out) >= CHANNELS
        && from.channels.saturating_mul(out) <= FILTER_VALUES / PLACES
}

/// `G g G'` of a 3x3 filter at all places; `g` is G.
pub(super) fn transformed(filter: &[f32], g: &[[f64; 3]]) -> [f32; PLACES] {
    // G g, then times G'.
    let row = |y: usize, x: usize| (0..3).map(|k| g[y][k] * f64::from(filter[k * 3 + x])).sum();
    let rows: [[f64; 3]; INPUTS] = std::array::from_fn(|y| std::array::from_fn(|x| row(y, x)));
    std::array::from_fn(|place| {
        let (row, g) = (rows[place / INPUTS], g[place % INPUTS]);
        (0..3).map(|x| row[x] * g[x]).sum::<f64>() as f32
    })
}

/// Tiles of a block, for `values` values of a tile's inputs and outputs at one place.
pub(super) fn block_tiles(values: usize) -> usize {
    (BLOCK_VALUES / (PLACES * values.max(1))).max(2 * OUTPUTS)
}

/// Most transformed values of a block.
pub(super) fn block_values(spec: &ConvSpec) -> usize {
    // Channels in and channels of each panel are rounded up to whole vectors of at most 16.
    let cuts = spec.outputs.len() + spec.activation.len() + 1;
    let of = |k: &KRange| {
        let values = k.from.channels.saturating_add(spec.out_channels).saturating_add(16 * cuts);
        BLOCK_VALUES.max(values.saturating_mul(PLACES * 2 * OUTPUTS))
    };
    spec.k_ranges.iter().filter(|k| pays(spec, k)).map(of).max().unwrap_or(0)
}
