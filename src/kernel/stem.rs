//! The first convolution of a network on a GPU: few planar input channels, a large window with small stride, often followed by a max
//! pool.
//!
//! A workgroup computes a rectangle of one image for a block of output channels. It stages the rectangle's input once; every invocation
//! slides the window along a strip of conv pixels, so that a staged element serves several taps and a weight several pixels. With a fused
//! max pool, conv values are exchanged through the same memory, and only conv pixels shared by two rectangles are computed twice.

use super::choice::{Choice, FamilyId, TileId};
use super::family::{
    Family, KernelTarget, MIN_RESIDENT_INVOCATIONS, Offer, Rank, best_guess_first, convolution,
};
use super::layout::{WeightLayout, WeightOrder};
use super::prelude::{Reach, ShaderSource};
use super::spec::{ConvSpec, Spec};
use super::weights::Weights;
use super::{Capabilities, Class, Kernel, Shader, files};
use crate::graph::MaxPool;

/// Maximum input channels, and taps per side of the window, limited by workgroup memory and the length of the unrolled text.
const MAX_CHANNELS: usize = 8;
const MAX_TAPS: usize = 11;

/// See the head of this file.
pub(super) struct Stem;

impl Family for Stem {
    fn id(&self) -> FamilyId {
        FamilyId::Stem
    }

    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let Some(conv) = convolution(spec) else { return vec![] };
        let offer = |shape: StemTile| {
            Offer::new(Rank::Special, shape.tile(), move |choice| kernel(choice, conv, &shape, target))
        };
        shapes(conv, target.caps).into_iter().map(offer).collect()
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        offered(spec).map(|shape| shape.layout(spec).bytes()).max().unwrap_or(0)
    }

    fn covers(&self) -> &'static str {
        "one convolution of up to 8 channels in planes, of a window up to 11x11 and more than 1x1, not grouped; nothing added; max pools"
    }
}

/// Tile of a workgroup, and of each of its invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StemTile {
    /// Strips side by side.
    across: usize,
    /// Rows of strips.
    down: usize,
    /// Conv pixels per strip (per invocation).
    strip: usize,
    /// Invocations per strip, each for different output channels.
    parts: usize,
    /// Quads of output channels of an invocation.
    own_quads: usize,
}

/// From the most products per load to the most workgroups. The exchanged conv values, one quad per invocation and pixel, take at most 16
/// KiB.
const SHAPES: [StemTile; 4] = [
    StemTile { across: 2, down: 16, strip: 8, parts: 4, own_quads: 2 },
    StemTile { across: 2, down: 8, strip: 8, parts: 8, own_quads: 2 },
    StemTile { across: 2, down: 16, strip: 8, parts: 4, own_quads: 1 },
    StemTile { across: 4, down: 8, strip: 4, parts: 4, own_quads: 1 },
];

impl StemTile {
    fn tile(&self) -> TileId {
        let [rows, columns] = self.conv();
        TileId::new(rows * columns, 4 * self.quads())
    }

    /// Invocations with the same output channels.
    fn lanes(&self) -> usize {
        self.across * self.down
    }

    fn workgroup(&self) -> usize {
        self.lanes() * self.parts
    }

    /// Quads of output channels per workgroup.
    fn quads(&self) -> usize {
        self.parts * self.own_quads
    }

    /// Conv pixels, `[down, across]`.
    fn conv(&self) -> [usize; 2] {
        [self.down, self.across * self.strip]
    }

    /// Stored pixels, `[down, across]`: the whole pooling windows within the conv pixels; 0 where there are none.
    fn stored(&self, spec: &ConvSpec) -> [usize; 2] {
        let (pool, conv) = (pool(spec), self.conv());
        [0, 1].map(|i| conv[i].checked_sub(pool.kernel[i]).map_or(0, |rest| rest / pool.stride[i] + 1))
    }

    /// Conv rows needed by the stored pixels.
    fn rows(&self, spec: &ConvSpec) -> usize {
        let pool = pool(spec);
        (self.stored(spec)[0] - 1) * pool.stride[0] + pool.kernel[0]
    }

    /// Staged rows and columns of the operand's view: rows a multiple of the stride, columns an odd number.
    fn patch(&self, spec: &ConvSpec) -> [usize; 2] {
        let range = &spec.k_ranges[0];
        let conv = [self.rows(spec), self.conv()[1]];
        let [rows, columns] =
            [0, 1].map(|i| (conv[i] - 1) * range.stride[i] + (range.kernel[i] - 1) * range.dilation[i] + 1);
        [rows.next_multiple_of(range.stride[0]), columns | 1]
    }

    /// f32 of workgroup memory: the staged input, later reused for one quad of every conv pixel.
    fn memory(&self, spec: &ConvSpec) -> usize {
        let staged = spec.k_ranges[0].from.channels * self.patch(spec).iter().product::<usize>();
        let pooled = if spec.pool.is_some() { 4 * self.strip * self.workgroup() } else { 0 };
        staged.max(pooled)
    }

    /// Which elements of the row under a strip's windows are read; strides and dilations may skip some.
    fn columns_read(&self, spec: &ConvSpec) -> Vec<bool> {
        let range = &spec.k_ranges[0];
        let (stride, dilation, taps) = (range.stride[1], range.dilation[1], range.kernel[1]);
        let mut read = vec![false; (self.strip - 1) * stride + (taps - 1) * dilation + 1];
        for pixel in 0..self.strip {
            (0..taps).for_each(|tap| read[pixel * stride + tap * dilation] = true);
        }
        read
    }

    /// Rectangles of an image, `[down, across]`.
    fn rectangles(&self, spec: &ConvSpec) -> [usize; 2] {
        let (out, stored) = (spec.outputs[0].shape, self.stored(spec));
        [out.height.div_ceil(stored[0]), out.width.div_ceil(stored[1])]
    }

    /// Number of invocations for a spec.
    fn invocations(&self, spec: &ConvSpec) -> usize {
        let rectangles = spec.outputs[0].shape.batch * self.rectangles(spec).iter().product::<usize>();
        rectangles * spec.out_channels.div_ceil(4 * self.quads()) * self.workgroup()
    }

    /// Whether at most a quarter of the computed channels is padding.
    fn fills_channels(&self, spec: &ConvSpec) -> bool {
        3 * spec.out_channels.next_multiple_of(4 * self.quads()) <= 4 * spec.out_channels
    }

    /// The weight order, that of a register tile that takes a row of taps and a plane per step.
    fn layout(&self, spec: &ConvSpec) -> WeightLayout {
        WeightLayout::new(spec, &WeightOrder { quads: self.quads(), lanes: None, max_taps: MAX_TAPS })
    }
}

/// The fused max pool; a 1x1 pool where there is none.
fn pool(spec: &ConvSpec) -> MaxPool {
    spec.pool.unwrap_or(MaxPool { kernel: [1, 1], stride: [1, 1], padding: [0, 0] })
}

/// The kernel for a spec and a shape that [`shapes`] gives for it.
fn kernel(choice: Choice, spec: &ConvSpec, shape: &StemTile, target: &KernelTarget<'_>) -> Kernel {
    let caps = target.caps;
    let layout = shape.layout(spec);
    let (range, weights, out) = (&spec.k_ranges[0], &layout.ranges[0], &spec.outputs[0].shape);
    let [down, across] = shape.rectangles(spec);
    let rectangles = down * across * out.batch;
    let fold = rectangles.div_ceil(caps.limits.max_workgroups as usize).max(1);
    let grid = [rectangles.div_ceil(fold) as u32, layout.tiles as u32, fold as u32];
    let [patch_height, patch_width] = shape.patch(spec);
    let [stored_height, stored_width] = shape.stored(spec);
    let pool = pool(spec);
    let mut s = ShaderSource::of_one(&target.access);
    s.constants(&[
        ("RECTANGLES", rectangles),
        ("RECTANGLES_DOWN", down),
        ("RECTANGLES_ACROSS", across),
        ("GRID_X", grid[0] as usize),
        ("STRIPS_DOWN", shape.down),
        ("STRIPS_ACROSS", shape.across),
        ("STRIP", shape.strip),
        ("PARTS", shape.parts),
        ("OWN_QUADS", shape.own_quads),
        ("TILE_WEIGHTS", layout.block),
        ("PATCH_HEIGHT", patch_height),
        ("PATCH_WIDTH", patch_width),
        ("STORED_HEIGHT", stored_height),
        ("STORED_WIDTH", stored_width),
        ("OUT_HEIGHT", out.height),
        ("OUT_WIDTH", out.width),
        ("WINDOW_Y", pool.kernel[0]),
        ("WINDOW_X", pool.kernel[1]),
        ("POOL_STEP_Y", pool.stride[0]),
        ("POOL_STEP_X", pool.stride[1]),
        ("POOL_PAD_Y", pool.padding[0]),
        ("POOL_PAD_X", pool.padding[1]),
    ]);
    s.constant("COLUMN_READ", shape.columns_read(spec));
    s.convolution(spec, layout.slopes);
    s.constant("R0_WEIGHTS", weights.offset);
    s.k_range(0, range, Reach::ANY, weights.prologue);
    s.file(files::STEM);
    Kernel::one(choice, Shader::new(s, "conv2d", grid), layout)
}

/// Every tile for a spec on any adapter: one dense convolution of a few planes with more than one tap, nothing added.
fn offered(spec: &ConvSpec) -> impl Iterator<Item = StemTile> {
    let can = match &spec.k_ranges[..] {
        [r] => {
            !r.from.is_packed()
                && r.from.channels <= MAX_CHANNELS
                && !r.from.avg_pool_2x2
                && r.prologue.is_none()
                && r.groups == 1
                && r.kernel != [1, 1]
                && r.kernel.iter().all(|&taps| taps <= MAX_TAPS)
                && spec.adds.is_empty()
        }
        _ => false,
    };
    SHAPES.into_iter().filter(move |shape| can && !shape.stored(spec).contains(&0))
}

/// The tiles for a spec on an adapter, best guess first: the first that saturates a discrete card, else the one with the most
/// invocations. Integrated GPUs have registers for half of the largest strips only. None on software adapters, whose invocations are SIMD
/// lanes that share the caches anyway.
fn shapes(spec: &ConvSpec, caps: &Capabilities) -> Vec<StemTile> {
    if caps.class == Class::Software {
        return vec![];
    }
    let fits = |s: &StemTile| {
        s.workgroup() <= caps.limits.max_workgroup_invocations as usize
            && s.memory(spec) * 4 <= caps.limits.max_workgroup_memory as usize
    };
    let mut shapes: Vec<StemTile> = offered(spec).filter(fits).collect();
    let worthwhile = |s: &StemTile| {
        let suits = if caps.class == Class::Discrete {
            s.invocations(spec) >= MIN_RESIDENT_INVOCATIONS
        } else {
            s.own_quads == 1
        };
        suits && s.fills_channels(spec)
    };
    best_guess_first(&mut shapes, worthwhile, |s| s.invocations(spec));
    shapes
}
