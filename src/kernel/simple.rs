//! Kernels that are plain WGSL behind a prelude of constants: max pooling, global average, matrix times vector.

use super::access::Access;
use super::precision::{Words, parameter_elements};
use super::prelude::Source;
use super::spec::{AverageSpec, ConvSpec, Operand, Output, PoolSpec};
use super::{BUSY, Capabilities, Function, Kernel, Packing, Shader, Values, files, layout};
use std::sync::Arc;

/// A spec that stores the channels of a buffer as they are.
fn stored(shape: &super::BufferShape) -> ConvSpec {
    ConvSpec {
        k_ranges: vec![],
        adds: vec![],
        in_place: 0,
        out_channels: shape.channels,
        size: [shape.height, shape.width],
        activation: vec![(0..shape.channels, Function::Identity)],
        pool: None,
        outputs: vec![Output { channels: 0..shape.channels, shape: *shape, first_channel: 0 }],
    }
}

/// Folds a one-dimensional grid over x and y.
fn fold(invocations: usize, workgroup: u32, caps: &Capabilities) -> [u32; 3] {
    let workgroups = invocations.div_ceil(workgroup as usize);
    let rows = workgroups.div_ceil(caps.max_workgroups as usize).max(1);
    [workgroups.div_ceil(rows) as u32, rows as u32, 1]
}

/// Invocations of a workgroup of a kernel that shares nothing.
fn workgroup(caps: &Capabilities) -> u32 {
    if caps.software { 8 } else { 64.min(caps.max_workgroup_invocations) }
}

/// A shader that maps a buffer to another, element by element or window by window.
fn mapping(about: String, from: &Operand, to: &super::BufferShape, access: &Arc<dyn Access>) -> Source {
    let mut s = Source::new(about, access);
    s.constant("OUT_QUADS", to.channels.div_ceil(4));
    s.reads([from].into_iter());
    s.writes([to].into_iter());
    s.quads(('V', 0), format!("in{}", from.buffer), from);
    s.outputs(&stored(to));
    s
}

pub(super) fn max_pool(spec: &PoolSpec, caps: &Capabilities, access: &Arc<dyn Access>) -> Kernel {
    let (from, to, pool) = (&spec.from, &spec.to, &spec.pool);
    let invocations = to.batch * to.channels.div_ceil(4) * to.height * to.width;
    let workgroup = workgroup(caps);
    let grid = fold(invocations, workgroup, caps);
    let mut s = mapping(format!("{spec:?}"), from, to, access);
    s.constants(&[
        ("WORKGROUP", workgroup as usize),
        ("GRID_X", grid[0] as usize),
        ("INVOCATIONS", invocations),
        ("IN_HEIGHT", from.shape.height),
        ("IN_WIDTH", from.shape.width),
        ("OUT_HEIGHT", to.height),
        ("OUT_WIDTH", to.width),
        ("WINDOW_Y", pool.kernel[0]),
        ("WINDOW_X", pool.kernel[1]),
        ("STEP_Y", pool.stride[0]),
        ("STEP_X", pool.stride[1]),
        ("PAD_Y", pool.padding[0]),
        ("PAD_X", pool.padding[1]),
    ]);
    s.file(files::MAX_POOL);
    Kernel::one("max_pool".into(), Shader::new(s, "max_pool", grid), Packing::None)
}

/// Invocations that share the mean of a map: a power of two, of at least four pixels each where they are more than one. A
/// software adapter has no idle ones.
fn average_slices(pixels: usize, caps: &Capabilities) -> usize {
    if caps.software {
        return 1;
    }
    let most = (pixels / 4).clamp(1, caps.max_workgroup_invocations.min(256) as usize);
    1 << most.ilog2()
}

pub(super) fn average(spec: &AverageSpec, caps: &Capabilities, access: &Arc<dyn Access>) -> Kernel {
    let (from, to) = (&spec.from, &spec.to);
    let means = to.batch * to.channels.div_ceil(4);
    let pixels = from.shape.height * from.shape.width;
    let slices = average_slices(pixels, caps);
    let workgroup = workgroup(caps).max(slices as u32);
    let grid = fold(means * slices, workgroup, caps);
    let mut s = mapping(format!("{spec:?}"), from, to, access);
    s.constants(&[
        ("WORKGROUP", workgroup as usize),
        ("GRID_X", grid[0] as usize),
        (if slices == 1 { "INVOCATIONS" } else { "MEANS" }, means),
        ("PIXELS", pixels),
    ]);
    let mut name = "average".to_string();
    if slices == 1 {
        s.file(files::AVERAGE);
    } else {
        s.constants(&[("GROUP_QUADS", workgroup as usize / slices), ("SLICES", slices)]);
        s.file(files::REDUCE_SLICES);
        s.file(files::AVERAGE_SLICES);
        name += &format!(" {slices} slices");
    }
    Kernel::one(name, Shader::new(s, "average", grid), Packing::None)
}

/// Whether a convolution is a matrix times a few vectors.
pub(super) fn is_gemv(spec: &ConvSpec) -> bool {
    let [range] = &spec.k_ranges[..] else { return false };
    range.kernel == [1, 1]
        && range.padding == [0, 0]
        && range.padding_end == [0, 0]
        && range.groups == 1
        && range.map.is_none()
        && !range.from.mean_pool
        && range.from.size() == [1, 1]
        && range.from.shape.batch <= 4
        && spec.pool.is_none()
}

/// Quads of output channels that a workgroup may have.
const GEMV_QUADS: [usize; 2] = [4, 8];

/// Quads of output channels of a workgroup, and slices of K for each. A GPU gets eight slices, and where that leaves much of a
/// large card idle more of them, as long as each has four quads of K; and where workgroups are few, smaller ones.
fn gemv_shape(spec: &ConvSpec, caps: &Capabilities) -> (usize, usize) {
    if caps.software {
        return (GEMV_QUADS[1], 1);
    }
    let from = &spec.k_ranges[0].from;
    let groups = |quads: usize| spec.out_channels.div_ceil(4).div_ceil(quads) * from.shape.batch;
    let [few, many] = GEMV_QUADS;
    let quads = if groups(many) >= 128 { many } else { few };
    let most = caps.max_workgroup_invocations.min(256) as usize;
    let mut slices = 8;
    while groups(quads) * quads * slices < BUSY
        && 2 * slices * quads <= most
        && from.channels.div_ceil(4) >= 4 * (2 * slices)
    {
        slices *= 2;
    }
    (quads, slices)
}

pub(super) fn gemv(spec: &ConvSpec, caps: &Capabilities, access: &Arc<dyn Access>) -> Kernel {
    let range = &spec.k_ranges[0];
    let out_quads = spec.out_channels.div_ceil(4);
    let (quads, slices) = gemv_shape(spec, caps);
    let grid = [out_quads.div_ceil(quads) as u32, range.from.shape.batch as u32, 1];
    let layout = GemvLayout { quads };
    let slopes = layout.elements(spec) - parameter_elements(spec.precision()) * out_quads;
    let mut s = Source::new(format!("{spec:?}"), access);
    s.constants(&[
        ("WORKGROUP", quads * slices),
        ("GROUP_QUADS", quads),
        ("SLICES", slices),
        ("IN_QUADS", range.from.channels.div_ceil(4)),
    ]);
    s.convolution(spec, slopes);
    s.quads(('V', 0), format!("in{}", range.from.buffer), &range.from);
    s.file(if slices == 1 { files::REDUCE_NONE } else { files::REDUCE_SLICES });
    s.file(files::GEMV);
    Kernel::one(format!("gemv {slices} slices"), Shader::new(s, "gemv", grid), Packing::Gemv(layout))
}

/// How the weights of a matrix are laid out: what a workgroup reads in one piece, since memory that is read in strides of a page
/// comes at a third of the speed.
#[derive(Clone, Copy, Debug)]
pub(super) struct GemvLayout {
    /// Quads of output channels of a workgroup.
    quads: usize,
}

/// The most bytes of packed weights, on any adapter.
pub(super) fn gemv_bytes(spec: &ConvSpec) -> u64 {
    GEMV_QUADS.map(|quads| GemvLayout { quads }.bytes(spec)).into_iter().max().unwrap_or(0)
}

impl GemvLayout {
    /// Elements of the weight binding: a quad of weights each.
    fn elements(self, spec: &ConvSpec) -> usize {
        let inputs = spec.k_ranges[0].from.channels.next_multiple_of(4);
        let parameters = parameter_elements(spec.precision()) * (1 + usize::from(spec.has_slopes()));
        let quads = spec.out_channels.div_ceil(4);
        parameters * quads + inputs * quads.next_multiple_of(self.quads)
    }

    pub(super) fn bytes(self, spec: &ConvSpec) -> u64 {
        (self.elements(spec) * 4 * spec.precision().bytes()) as u64
    }

    /// Bias; then for every workgroup one row of its output channels per input channel, of which there are whole quads; then the
    /// slopes of the activation.
    pub(super) fn pack(self, spec: &ConvSpec, values: &Values<'_>) -> Vec<u32> {
        let &Values { k_ranges: [weight], bias, .. } = values else { panic!("one weight per K range") };
        let inputs = spec.k_ranges[0].from.channels;
        let (quads, parameter) = (spec.out_channels.div_ceil(4), parameter_elements(spec.precision()));
        let mut packed = Words::new(self.elements(spec), spec.precision());
        packed.parameters(0, bias);
        if spec.has_slopes() {
            let at = self.elements(spec) - parameter * quads;
            packed.parameters(at, &layout::slopes(spec, values.slopes));
        }
        for (c, weights) in weight.chunks_exact(inputs).enumerate() {
            let (group, lane) = (c / 4 / self.quads, c / 4 % self.quads);
            let first = parameter * quads + group * inputs.next_multiple_of(4) * self.quads;
            for (i, &w) in weights.iter().enumerate() {
                packed.weight(first + i * self.quads + lane, c % 4, w);
            }
        }
        packed.finish()
    }
}
