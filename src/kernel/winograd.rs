//! Winograd F(2x2, 3x3) in one shader: 16 products per 2x2 tile of outputs instead of 36. A workgroup computes 16 GEMMs, one per place
//! (element) of the transformed 4x4 tile. [`transform`] has the matrices and the rounding bound; software adapters use separate transform
//! shaders ([`software`](super::software)).

mod transform;

pub use transform::WinogradTransform;

use super::choice::{Choice, FamilyId, TileId};
use super::family::{Family, KernelTarget, Offer, Rank, convolution};
use super::prelude::{Reach, ShaderSource};
use super::spec::{ConvSpec, Spec};
use super::weights::Weights;
use super::{
    Capabilities, Class, ConvParameters, Kernel, Limits, Precision, Rounding, Shader, files, layout,
};

/// Workgroup size: 4 x 4 invocations per place.
const WORKGROUP: usize = 256;

/// See the head of this file.
pub(super) struct WinogradFused;

impl Family for WinogradFused {
    fn id(&self) -> FamilyId {
        FamilyId::WinogradFused
    }

    /// First choice where it saturates a discrete card; elsewhere selected only by a tuning.
    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let Some(conv) = convolution(spec) else { return vec![] };
        let rank = if is_first(conv, target.caps) { Rank::Special } else { Rank::Last };
        let offer = |shape: WinogradTile| {
            Offer::new(rank, shape.tile(), move |choice| kernel(choice, conv, &shape, target))
        };
        shapes(conv, target.caps).into_iter().map(offer).collect()
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        offered(spec).map(|shape| WinogradLayout::new(spec, &shape).bytes()).max().unwrap_or(0)
    }

    fn covers(&self) -> &'static str {
        "one 3x3 of stride 1 over at least 8 channels of a packed f32 buffer, not grouped or scaled; no fused max pool"
    }
}

/// Tile of a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WinogradTile {
    /// Tiles of 2x2 pixels.
    tiles: usize,
    /// Quads of output channels.
    quads: usize,
}

const SHAPES: [WinogradTile; 2] =
    [WinogradTile { tiles: 16, quads: 8 }, WinogradTile { tiles: 32, quads: 8 }];

/// Minimum workgroups of the first tile, and minimum channels, for this to be the best guess on a discrete card. On 132 multiprocessors
/// it is then up to 1.1 times as fast as direct tiles, and slower below, or where tiles reach far over the edge of a map.
const MIN_WINOGRAD_WORKGROUPS: usize = 200;
const MIN_WINOGRAD_CHANNELS: usize = 128;

impl WinogradTile {
    fn tile(&self) -> TileId {
        TileId::new(4 * self.tiles, 4 * self.quads)
    }

    /// vec4 of workgroup memory: transformed inputs and weights of a step; later 16 tiles x 4 quads of every place.
    fn memory(&self) -> usize {
        (16 * self.tiles + 64 * self.quads).max(16 * 16 * 4)
    }
}

/// Tiles of an image, `[down, across]`.
fn tiles(spec: &ConvSpec) -> [usize; 2] {
    spec.size.map(|n| n.div_ceil(2))
}

/// Tiles of all images.
fn all_tiles(spec: &ConvSpec) -> usize {
    spec.outputs[0].shape.batch * tiles(spec).iter().product::<usize>()
}

/// Order of packed weights. Per tile of output channels: `quads` vec4 of bias; then, by quad of input channels, place and input channel,
/// `quads` vec4 of transformed weights. After the tiles: the slopes of the activation.
#[derive(Clone, Debug)]
struct WinogradLayout {
    quads: usize,
    tiles: usize,
    block: usize,
    channels: usize,
    adds: usize,
    slopes: usize,
    total: usize,
}

impl WinogradLayout {
    fn new(spec: &ConvSpec, shape: &WinogradTile) -> WinogradLayout {
        let channels = spec.k_ranges[0].from.channels;
        let block = shape.quads * (1 + channels.div_ceil(4) * 64);
        let tiles = spec.out_channels.div_ceil(4 * shape.quads);
        let slopes = tiles * block;
        let total = slopes + if spec.has_slopes() { spec.out_channels.div_ceil(4) } else { 0 };
        WinogradLayout { quads: shape.quads, tiles, block, channels, adds: spec.adds.len(), slopes, total }
    }
}

impl Weights for WinogradLayout {
    fn bytes(&self) -> u64 {
        (self.total * 16) as u64
    }

    fn rounding(&self) -> Rounding {
        WinogradTransform::F2x3.rounding(self.channels, self.adds)
    }

    fn pack(&self, spec: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32> {
        let (weight, bias) = (values.k_ranges[0], values.bias);
        assert_eq!(weight.len(), spec.out_channels * self.channels * 9, "weight of a K range");
        assert_eq!(bias.len(), spec.out_channels, "one bias per output channel");
        let factors: Vec<[f64; 9]> =
            (0..16).map(|place| WinogradTransform::F2x3.filter_at(place / 4, place % 4)).collect();
        let mut packed = vec![0.0; self.total * 4];
        if spec.has_slopes() {
            let slopes = layout::slopes(spec, values.slopes);
            packed[self.slopes * 4..][..spec.out_channels].copy_from_slice(&slopes);
        }
        for (c, filters) in weight.chunks_exact(self.channels * 9).enumerate() {
            let (tile, within) = (c / (4 * self.quads), c % (4 * self.quads));
            let block = &mut packed[tile * self.block * 4..][..self.block * 4];
            block[within] = bias[c];
            for (i, filter) in filters.chunks_exact(9).enumerate() {
                for (place, factors) in factors.iter().enumerate() {
                    let run = 1 + (i / 4 * 16 + place) * 4 + i % 4;
                    let value: f64 = factors.iter().zip(filter).map(|(f, w)| f * f64::from(*w)).sum();
                    block[run * self.quads * 4 + within] = value as f32;
                }
            }
        }
        packed.into_iter().map(f32::to_bits).collect()
    }
}

/// The kernel for a spec and a shape that [`shapes`] gives for it.
fn kernel(choice: Choice, spec: &ConvSpec, shape: &WinogradTile, target: &KernelTarget<'_>) -> Kernel {
    let caps = target.caps;
    let layout = WinogradLayout::new(spec, shape);
    let workgroups = all_tiles(spec).div_ceil(shape.tiles);
    let fold = workgroups.div_ceil(caps.limits.max_workgroups as usize).max(1);
    let grid = [workgroups.div_ceil(fold) as u32, layout.tiles as u32, fold as u32];
    let [down, across] = tiles(spec);
    let mut s = ShaderSource::of_one(&target.access);
    s.constants(&[
        ("TILES", all_tiles(spec)),
        ("TILES_DOWN", down),
        ("TILES_ACROSS", across),
        ("GRID_X", grid[0] as usize),
        ("GROUP_TILES", shape.tiles),
        ("GROUP_QUADS", shape.quads),
        ("GROUP_WEIGHTS", layout.block),
    ]);
    s.convolution(spec, layout.slopes);
    // Tiles reach over the edge.
    s.k_range(0, &spec.k_ranges[0], Reach::ANY, 0);
    s.file(files::WINOGRAD_FUSED);
    Kernel::one(choice, Shader::new(s, "conv2d", grid), layout)
}

/// Every tile for a spec under WebGPU's default limits: a dense 3x3 of stride 1 over at least two quads of channels. Transformed weights
/// are 16/9 of the weights; beyond the binding limit the kernel declines, as it has alternatives, instead of making the planner split a
/// layer.
fn offered(spec: &ConvSpec) -> impl Iterator<Item = WinogradTile> {
    let can = match &spec.k_ranges[..] {
        [r] => {
            r.groups == 1
                && r.prologue.is_none()
                && (r.kernel, r.stride, r.dilation) == ([3, 3], [1, 1], [1, 1])
                && r.from.is_packed()
                && r.from.channels >= 8
                && spec.pool.is_none()
                && spec.precision() == Precision::F32
        }
        _ => false,
    };
    let suits = move |shape: &WinogradTile| {
        shape.tiles <= all_tiles(spec).next_power_of_two()
            && 4 * shape.quads <= spec.out_channels.next_power_of_two()
            && WinogradLayout::new(spec, shape).bytes() <= Limits::WEBGPU.max_binding_bytes
    };
    SHAPES.into_iter().filter(move |shape| can && suits(shape))
}

/// Whether this is the best guess for a spec on an adapter. From [`MIN_WINOGRAD_CHANNELS`] channels on, its rounding bound is less than
/// twice that of the direct sum.
fn is_first(spec: &ConvSpec, caps: &Capabilities) -> bool {
    let workgroups =
        |s: &WinogradTile| all_tiles(spec).div_ceil(s.tiles) * spec.out_channels.div_ceil(4 * s.quads);
    let deep = spec.k_ranges.iter().all(|r| spec.out_channels.min(r.from.channels) >= MIN_WINOGRAD_CHANNELS);
    let first = shapes(spec, caps).into_iter().next();
    let computed: usize = tiles(spec).iter().map(|n| 2 * n).product();
    let full = 6 * computed <= 7 * spec.size.iter().product::<usize>();
    caps.class == Class::Discrete
        && deep
        && full
        && first.is_some_and(|s| s == SHAPES[0] && workgroups(&s) >= MIN_WINOGRAD_WORKGROUPS)
}

/// The shapes for a spec on an adapter.
fn shapes(spec: &ConvSpec, caps: &Capabilities) -> Vec<WinogradTile> {
    let fits = |s: &WinogradTile| {
        WORKGROUP <= caps.limits.max_workgroup_invocations as usize
            && s.memory() * 16 <= caps.limits.max_workgroup_memory as usize
    };
    offered(spec).filter(fits).collect()
}
