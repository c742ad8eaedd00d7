//! Winograd convolution on software Vulkan in three shaders: input transform, GEMM, output transform. The GEMM is the shader of
//! [`conv`](super::conv), run as a 1x1 convolution over tiles in which every place (element) of a transformed tile is a group of
//! channels.
//!
//! A 1x1 convolution summed into the same outputs is treated as the centre tap of a 3x3.
//!
//! The scratch buffer holds transformed inputs, `[place][plane][tile]`, then sums, `[place][quad of outputs][tile]`, in quads. All three
//! shaders read their sizes from a header in front of the weights.

use super::super::choice::{FamilyId, TileId};
use super::super::family::{Family, KernelTarget, Offer, convolution};
use super::super::layout::RangeKind;
use super::super::prelude::planes;
use super::super::spec::{ConvSpec, KRange, Spec};
use super::super::winograd::WinogradTransform;
use super::super::{Arena, Capabilities, Limits, Role, Shader, files};
use super::conv::{best_tile, binding, bounds, plain, products, shader, source};
use super::layout::{self, KernelParts, PAIR, RANGE_SIZES, read, step, tables};
use super::winograd_weights::WinogradPasses;

/// Offsets of the header in pairs. First come sizes and output table of the GEMM, then, from `SIZES`, the sizes of the transforms.
const SIZES: usize = layout::SIZES + 1;
/// The sizes of each K range; the tables of outputs and adds.
const RANGES: usize = SIZES + 2;
const TABLES: usize = RANGES + RANGE_SIZES * MAX_RANGES;
/// Maximum number of K ranges.
const MAX_RANGES: usize = 2;

/// Maximum bytes of scratch: larger ones leave the caches, and cost memory.
const MAX_SCRATCH_BYTES: usize = 32 << 20;

/// See the head of this file.
pub(in super::super) struct Winograd(pub(in super::super) WinogradTransform);

impl Family for Winograd {
    fn id(&self) -> FamilyId {
        match self.0 {
            WinogradTransform::F2x3 => FamilyId::SoftwareWinograd2,
            WinogradTransform::F4x3 => FamilyId::SoftwareWinograd4,
        }
    }

    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let (Some(conv), Some(arena)) = (convolution(spec), target.arena) else { return vec![] };
        kernel(conv, self.0, target.caps, arena).map(KernelParts::offer).into_iter().collect()
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        bytes_of(spec, self.0).unwrap_or(0)
    }

    fn covers(&self) -> &'static str {
        "what software-conv does, of one or two 3x3 of stride 1, or one and a 1x1"
    }
}

/// Tiles of an image, `[down, across]`.
fn tiles(spec: &ConvSpec, transform: WinogradTransform) -> [usize; 2] {
    spec.size.map(|n| n.div_ceil(transform.outputs()))
}

/// Whether a K range is a 3x3 of stride 1 or a pointwise convolution.
fn takes_part(range: &KRange) -> bool {
    let window = (range.kernel, range.stride, range.dilation) == ([3, 3], [1, 1], [1, 1]);
    window || (range.is_pointwise())
}

/// Whether the kernel computes the spec. Transformed weights are 4 or 16/9 times the weights, and more where channels do not fill a tile.
/// The kernel has alternatives, so weights beyond WebGPU's binding limit are declined instead of making the planner split a layer.
fn computes(spec: &ConvSpec, transform: WinogradTransform) -> bool {
    let any = spec.k_ranges.iter().any(|r| r.kernel == [3, 3]);
    any && spec.k_ranges.len() <= MAX_RANGES
        && spec.k_ranges.iter().all(takes_part)
        && plain(spec) == Some(RangeKind::Dense)
        && bytes(spec, transform) <= Limits::WEBGPU.max_binding_bytes
}

/// Quads of input channels of a K range.
fn input_planes(range: &KRange) -> usize {
    range.from.channels.div_ceil(4)
}

/// Quads of input channels of all K ranges together.
fn all_planes(spec: &ConvSpec) -> usize {
    spec.k_ranges.iter().map(input_planes).sum()
}

/// Pairs of a tile of output channels of a place.
fn block(spec: &ConvSpec, quads: usize) -> usize {
    quads / 2 + RANGE_SIZES + all_planes(spec) * step(quads)
}

/// `[biases, weights]`: their offsets in pairs.
fn parts(spec: &ConvSpec) -> [usize; 2] {
    let biases = TABLES + spec.outputs.len() + spec.adds.len();
    [biases, biases + spec.out_channels.div_ceil(8)]
}

fn bytes(spec: &ConvSpec, transform: WinogradTransform) -> u64 {
    let (_, quads) = best_tile(spec, RangeKind::Dense, spec.size[1]);
    let blocks = transform.inputs().pow(2) * spec.out_channels.div_ceil(4 * quads);
    ((parts(spec)[1] + blocks * block(spec, quads)) * PAIR * 4) as u64
}

/// Bytes of packed weights; `None` where it does not compute the spec.
pub(super) fn bytes_of(spec: &ConvSpec, transform: WinogradTransform) -> Option<u64> {
    computes(spec, transform).then(|| bytes(spec, transform))
}

/// Cost model, in products of the direct convolution: a product of the GEMM, and a transformed quad. Measured on llvmpipe 22.3 (`cargo
/// bench --bench conv -- resnet18`).
const GEMM_PRODUCT_COST: f64 = 1.15;
const TRANSFORM_COST: f64 = 150.0;

/// The kernel for a flattened spec whose buffers are all in the arena. `None` where it does not compute the spec.
pub(super) fn kernel(
    spec: &ConvSpec,
    transform: WinogradTransform,
    caps: &Capabilities,
    arena: &Arena,
) -> Option<KernelParts<WinogradPasses>> {
    let lanes = caps.lanes().filter(|_| caps.shares_buffers())? as usize;
    let bounds = bounds(spec)?;
    if !computes(spec, transform) {
        return None;
    }
    let sizes = GemmSizes::new(spec, transform, lanes);
    if sizes.scratch_bytes() > MAX_SCRATCH_BYTES {
        return None;
    }
    let header = sizes.header(spec, bounds, arena)?;
    let GemmSizes { pixels, quads, image_tiles, tile_row, planes, .. } = sizes;
    let [biases, _] = parts(spec);
    let range = [0, tile_row, 0, planes, 1, 1, tile_row, 1, 1, image_tiles, 0, 0, 1, 1, 1, 1];
    Some(KernelParts {
        cost: sizes.cost(lanes),
        tile: TileId::new(pixels, 4 * quads),
        shaders: sizes.shaders(spec, caps, lanes)?,
        scratch: sizes.scratch_bytes() as u64,
        layout: WinogradPasses {
            transform,
            header,
            biases: biases * PAIR,
            range: range.map(|v| v as u32),
            place: sizes.place_in as u32,
            quads,
            block: block(spec, quads),
            tiles: sizes.out_tiles,
            channels: spec.k_ranges.iter().map(|r| r.from.channels).sum(),
            adds: spec.adds.len(),
        },
    })
}

/// Sizes of the GEMM over all tiles of a batch, and of its scratch buffer.
struct GemmSizes {
    transform: WinogradTransform,
    /// Tiles of an image, down and across, and of the batch.
    down: usize,
    across: usize,
    image_tiles: usize,
    /// Quads of a plane in the scratch buffer: a tile each, in whole workgroups.
    tile_row: usize,
    /// Quads of input channels of all K ranges, and of output channels.
    planes: usize,
    out_quads: usize,
    /// Pixels and quads of output channels of one invocation.
    pixels: usize,
    quads: usize,
    /// Tiles of output channels.
    out_tiles: usize,
    /// Elements of a transformed tile.
    places: usize,
    /// Quads between the inputs, and between the sums, of successive places.
    place_in: usize,
    place_out: usize,
    /// Offset of the sums in the scratch buffer, in quads.
    sums: usize,
    /// Invocations per tile of output channels of a place.
    invocations: usize,
    grid: [u32; 3],
}

impl GemmSizes {
    /// The sizes for a spec, with `lanes` invocations per workgroup.
    fn new(spec: &ConvSpec, transform: WinogradTransform, lanes: usize) -> GemmSizes {
        let batch = spec.outputs[0].shape.batch;
        let [down, across] = tiles(spec, transform);
        let image_tiles = batch * down * across;
        let tile_row = image_tiles.next_multiple_of(lanes);
        let planes = all_planes(spec);
        let out_quads = spec.out_channels.div_ceil(4);
        let (pixels, quads) = best_tile(spec, RangeKind::Dense, image_tiles);
        let out_tiles = out_quads.div_ceil(quads);
        let places = transform.inputs().pow(2);
        let (place_in, place_out) = (planes * tile_row, out_tiles * quads * tile_row);
        let invocations = image_tiles.div_ceil(pixels);
        GemmSizes {
            transform,
            down,
            across,
            image_tiles,
            tile_row,
            planes,
            out_quads,
            pixels,
            quads,
            out_tiles,
            places,
            place_in,
            place_out,
            sums: places * place_in,
            invocations,
            grid: [invocations.div_ceil(lanes) as u32, (places * out_tiles) as u32, 1],
        }
    }

    /// Bytes of the scratch buffer.
    fn scratch_bytes(&self) -> usize {
        (self.sums + self.places * self.place_out) * 16
    }

    /// Estimated cost of the three shaders, in products of the direct convolution.
    fn cost(&self, lanes: usize) -> f64 {
        let transformed = self.places * self.tile_row * (self.planes + self.out_quads);
        GEMM_PRODUCT_COST * products(&self.grid, lanes, (self.pixels, self.quads), 4 * self.planes)
            + TRANSFORM_COST * transformed as f64
    }

    /// Input transform, GEMM and output transform; `None` for a spec without K ranges.
    fn shaders(&self, spec: &ConvSpec, caps: &Capabilities, lanes: usize) -> Option<Vec<Shader>> {
        let workgroups = self.tile_row / lanes;
        let most_planes = spec.k_ranges.iter().map(input_planes).max()?;
        let before = [workgroups, most_planes, spec.k_ranges.len()];
        let after = [workgroups, self.out_quads, 1];
        let between =
            vec![binding("arena", Role::Scratch, true), binding("weights", Role::Weights(0), false)];
        Some(vec![
            transform_shader(self.transform, TransformPass::Input, caps, before),
            shader(RangeKind::Dense, (self.pixels, self.quads), caps, between, self.grid),
            transform_shader(self.transform, TransformPass::Output, caps, after),
        ])
    }

    /// The header in front of the weights, with room for the biases; `None` where an operand is not in the arena.
    fn header(&self, spec: &ConvSpec, bounds: [f32; 2], arena: &Arena) -> Option<Vec<u32>> {
        let [_, first_block] = parts(spec);
        let mut header = self.gemm_words(spec);
        header.extend(self.transform_words(spec, bounds));
        header.resize(RANGES * PAIR, 0);
        let mut first_plane = 0;
        for range in &spec.k_ranges {
            header.extend(range_words(range, first_plane, arena)?);
            first_plane += input_planes(range);
        }
        header.resize(TABLES * PAIR, 0); // Padding for a missing second range.
        header.extend(tables(spec, arena)?);
        header.resize(first_block * PAIR, 0);
        Some(header)
    }

    /// Sizes and output table of the GEMM, which writes its sums without bounds.
    fn gemm_words(&self, spec: &ConvSpec) -> Vec<u32> {
        let out_quads = self.places * self.out_tiles * self.quads;
        let [_, first_block] = parts(spec);
        let sizes = [
            self.invocations,
            self.invocations,
            1,
            self.image_tiles,
            out_quads,
            first_block,
            block(spec, self.quads),
            1,
            1,
            0,
            f32::NEG_INFINITY.to_bits() as usize,
            f32::INFINITY.to_bits() as usize,
            self.grid[0] as usize,
            self.pixels,
            0,
            0,
        ];
        let output = [0, out_quads, self.sums, 0, self.tile_row, self.tile_row, 1, 4 * out_quads];
        sizes.into_iter().chain(output).map(|v| v as u32).collect()
    }

    /// Sizes of the two transforms.
    fn transform_words(&self, spec: &ConvSpec, [low, high]: [f32; 2]) -> [u32; 15] {
        let [biases, _] = parts(spec);
        [
            self.image_tiles,
            self.across,
            self.down,
            self.tile_row,
            self.place_in,
            self.place_out,
            self.sums,
            spec.size[0],
            spec.size[1],
            biases,
            spec.outputs.len(),
            spec.adds.len(),
            low.to_bits() as usize,
            high.to_bits() as usize,
            self.transform.outputs(),
        ]
        .map(|v| v as u32)
    }
}

/// Sizes of a K range whose transformed planes begin at `first_plane`; `None` where its operand is not in the arena.
fn range_words(range: &KRange, first_plane: usize, arena: &Arena) -> Option<Vec<u32>> {
    let (from, [height, width]) = (&range.from, range.from.size());
    let plane = from.shape.height * from.shape.width;
    // A 1x1 is the centre tap of a 3x3 with padding 1.
    let pixel = range.kernel == [1, 1];
    let [pad_y, pad_x] = if pixel { [1, 1] } else { range.padding };
    let words = [
        first_plane,
        read(from, arena)? as usize + from.first_channel / 4 * plane,
        plane,
        planes(&from.shape) * plane,
        input_planes(range),
        from.stride * from.shape.width,
        from.stride,
        height,
        width,
        pad_y,
        pad_x,
    ];
    let mut words: Vec<u32> = words.map(|v| v as u32).into();
    words.resize(RANGE_SIZES * PAIR, 0);
    Some(words)
}

/// The transform before or after the GEMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransformPass {
    Input,
    Output,
}

fn transform_shader(
    transform: WinogradTransform,
    pass: TransformPass,
    caps: &Capabilities,
    grid: [usize; 3],
) -> Shader {
    let lanes = caps.lanes().expect("lanes load for one another") as usize;
    let bindings = vec![
        binding("arena", Role::Arena, true),
        binding("weights", Role::Weights(0), false),
        binding("scratch", Role::Scratch, true),
    ];
    let side = transform.outputs();
    let mut s = source(format!("{pass:?} transform of F({side}x{side}, 3x3)"), caps, bindings, lanes);
    s.constants(&[("TILE_PIXELS", side), ("SIZES", SIZES), ("RANGES", RANGES), ("TABLES", TABLES)]);
    s.file(files::SOFTWARE_WINOGRAD);
    s.file(match transform {
        WinogradTransform::F2x3 => files::SOFTWARE_WINOGRAD_F2,
        WinogradTransform::F4x3 => files::SOFTWARE_WINOGRAD_F4,
    });
    let entry = match pass {
        TransformPass::Input => {
            s.file(files::SOFTWARE_WINOGRAD_INPUT);
            "transform_input"
        }
        TransformPass::Output => {
            s.file(files::SOFTWARE_EPILOGUE);
            s.file(files::SOFTWARE_WINOGRAD_OUTPUT);
            "transform_output"
        }
    };
    Shader::new(s, entry, grid.map(|n| n as u32))
}
