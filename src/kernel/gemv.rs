//! Matrix times vector: a 1x1 convolution of one pixel, a fully connected layer (`shaders/dense/gemv.wgsl`).

use super::choice::{Choice, FamilyId, TileId};
use super::family::{Family, KernelTarget, MIN_RESIDENT_INVOCATIONS, Offer, Rank};
use super::precision::{Precision, Words, parameter_elements};
use super::prelude::ShaderSource;
use super::spec::{ConvSpec, Spec};
use super::weights::Weights;
use super::{Capabilities, Class, ConvParameters, Kernel, Shader, files, layout};

/// See the head of this file.
pub(super) struct Gemv;

impl Family for Gemv {
    fn id(&self) -> FamilyId {
        FamilyId::Gemv
    }

    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let Spec::Conv(conv) = spec else { return vec![] };
        if !conv.is_matrix_vector() {
            return vec![];
        }
        let (quads, split_k) = shape(conv, target.caps);
        let tile = TileId::WHOLE.with_split_k(split_k);
        vec![Offer::new(Rank::Usual, tile, move |choice| kernel(choice, conv, (quads, split_k), target))]
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        let bytes = |quads| GemvLayout::new(spec, quads).bytes();
        if spec.is_matrix_vector() { QUADS.map(bytes).into_iter().max().unwrap_or(0) } else { 0 }
    }

    fn covers(&self) -> &'static str {
        "a 1x1 of up to four images of one pixel, not grouped, scaled or averaged; it alone computes those"
    }
}

/// Possible numbers of quads of output channels per workgroup.
const QUADS: [usize; 2] = [4, 8];

/// `(quads of output channels, parts of K)` per workgroup. A GPU gets eight parts, and more while the invocations do not saturate a
/// discrete card and every part keeps four quads of K. Where workgroups are few, they take fewer quads.
fn shape(spec: &ConvSpec, caps: &Capabilities) -> (usize, usize) {
    if caps.class == Class::Software {
        return (QUADS[1], 1);
    }
    let from = &spec.k_ranges[0].from;
    let groups = |quads: usize| spec.out_channels.div_ceil(4).div_ceil(quads) * from.shape.batch;
    let [few, many] = QUADS;
    let quads = if groups(many) >= 128 { many } else { few };
    let most = caps.limits.max_workgroup_invocations.min(256) as usize;
    let mut split_k = 8;
    while groups(quads) * quads * split_k < MIN_RESIDENT_INVOCATIONS
        && 2 * split_k * quads <= most
        && from.channels.div_ceil(4) >= 4 * (2 * split_k)
    {
        split_k *= 2;
    }
    (quads, split_k)
}

fn kernel(
    choice: Choice,
    spec: &ConvSpec,
    (quads, split_k): (usize, usize),
    target: &KernelTarget<'_>,
) -> Kernel {
    let range = &spec.k_ranges[0];
    let out_quads = spec.out_channels.div_ceil(4);
    let grid = [out_quads.div_ceil(quads) as u32, range.from.shape.batch as u32, 1];
    let layout = GemvLayout::new(spec, quads);
    let slopes = layout.elements - parameter_elements(spec.precision()) * out_quads;
    let mut s = ShaderSource::of_one(&target.access);
    s.constants(&[
        ("WORKGROUP", quads * split_k),
        ("GROUP_QUADS", quads),
        ("SPLIT_K", split_k),
        ("IN_QUADS", range.from.channels.div_ceil(4)),
    ]);
    s.convolution(spec, slopes);
    s.quads(('V', 0), format!("in{}", range.from.buffer), &range.from);
    s.file(if split_k == 1 { files::REDUCE_NONE } else { files::REDUCE_SPLIT_K });
    s.file(files::GEMV);
    Kernel::one(choice, Shader::new(s, "gemv", grid), layout)
}

/// Order of packed weights: the bias; then, per workgroup, one row of its output channels per input channel (padded to whole quads); then
/// the slopes of the activation. A workgroup reads one contiguous block, as reads at a stride of a page run at a third of the speed.
#[derive(Clone, Copy, Debug)]
struct GemvLayout {
    /// Quads of output channels per workgroup.
    quads: usize,
    /// Elements of the weight binding, one quad of weights each.
    elements: usize,
    precision: Precision,
}

impl GemvLayout {
    fn new(spec: &ConvSpec, quads: usize) -> GemvLayout {
        let precision = spec.precision();
        let inputs = spec.k_ranges[0].from.channels.next_multiple_of(4);
        let parameters = parameter_elements(precision) * (1 + usize::from(spec.has_slopes()));
        let out_quads = spec.out_channels.div_ceil(4);
        let elements = parameters * out_quads + inputs * out_quads.next_multiple_of(quads);
        GemvLayout { quads, elements, precision }
    }
}

impl Weights for GemvLayout {
    fn bytes(&self) -> u64 {
        (self.elements * 4 * self.precision.bytes()) as u64
    }

    fn pack(&self, spec: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32> {
        let &ConvParameters { k_ranges: [weight], bias, .. } = values else {
            panic!("one weight per K range")
        };
        let inputs = spec.k_ranges[0].from.channels;
        let (quads, parameter) = (spec.out_channels.div_ceil(4), parameter_elements(self.precision));
        let mut packed = Words::new(self.elements, self.precision);
        packed.parameters(0, bias);
        if spec.has_slopes() {
            let at = self.elements - parameter * quads;
            packed.parameters(at, &layout::slopes(spec, values.slopes));
        }
        for (c, weights) in weight.chunks_exact(inputs).enumerate() {
            let (group, lane) = (c / 4 / self.quads, c / 4 % self.quads);
            let first = parameter * quads + group * inputs.next_multiple_of(4) * self.quads;
            for (i, &w) in weights.iter().enumerate() {
                packed.weight(first + i * self.quads + lane, c % 4, w);
            }
        }
        packed.into_words()
    }
}
