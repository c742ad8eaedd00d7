//! Projection plus 3x3 windows of stride 1, as in the first block of a stage: a direct convolution writes the projection to the output,
//! then the Winograd passes, which save products for windows only, add their sums in place.

use super::super::choice::FamilyId;
use super::super::family::{Family, KernelTarget, Offer, convolution};
use super::super::spec::{Add, ConvSpec, Operand, Spec};
use super::super::weights::Weights;
use super::super::winograd::WinogradTransform;
use super::super::{Arena, Capabilities, ConvParameters, Function, Limits, Role, Rounding};
use super::conv;
use super::layout::{KernelParts, SoftwareLayout};
use super::winograd;
use super::winograd_weights::WinogradPasses;

/// Alignment of binding offsets that every adapter accepts.
const ALIGNMENT: u64 = 256;

/// A subset of a spec's K ranges as a spec of its own.
#[derive(Clone, Debug)]
struct SubSpec {
    /// Indices of the K ranges.
    ranges: Vec<usize>,
    spec: ConvSpec,
}

/// See the head of this file.
pub(in super::super) struct Projection(pub(in super::super) WinogradTransform);

impl Family for Projection {
    fn id(&self) -> FamilyId {
        match self.0 {
            WinogradTransform::F2x3 => FamilyId::SoftwareProjection2,
            WinogradTransform::F4x3 => FamilyId::SoftwareProjection4,
        }
    }

    /// Offers only the cheaper of both transforms.
    fn offers<'a>(&self, spec: &'a Spec, target: &'a KernelTarget<'a>) -> Vec<Offer<'a>> {
        let (Some(conv), Some(arena)) = (convolution(spec), target.arena) else { return vec![] };
        let kernels = WinogradTransform::ALL
            .into_iter()
            .filter_map(|m| Some((m, kernel(conv, m, target.caps, arena)?)));
        let best = kernels.min_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost));
        best.filter(|(transform, _)| *transform == self.0).map(|(_, made)| made.offer()).into_iter().collect()
    }

    fn weight_bytes(&self, spec: &ConvSpec) -> u64 {
        let bytes = |[before, after]: [SubSpec; 2]| bytes_of(&before, &after, self.0);
        parts(spec).and_then(bytes).unwrap_or(0)
    }

    fn covers(&self) -> &'static str {
        "what software-conv does, of 1x1 beside 3x3 of stride 1, into one buffer that nothing is added to in place"
    }
}

/// Weight layout: those of the projections, then those of the windows.
#[derive(Clone, Debug)]
struct ProjectionThenWinograd {
    projections: (SubSpec, SoftwareLayout),
    windows: (SubSpec, WinogradPasses),
}

/// `[projections, windows]`; `None` where one of them is empty or the output cannot hold an intermediate sum.
fn parts(spec: &ConvSpec) -> Option<[SubSpec; 2]> {
    let ranges = 0..spec.k_ranges.len();
    let (projections, windows): (Vec<_>, Vec<_>) = ranges.partition(|&n| spec.k_ranges[n].is_pointwise());
    let [output] = &spec.outputs[..] else { return None };
    if projections.is_empty() || windows.is_empty() || spec.in_place > 0 {
        return None;
    }
    let (channels, first_channel) = (spec.out_channels, output.first_channel);
    let own =
        Operand { buffer: 0, shape: output.shape, first_channel, channels, stride: 1, avg_pool_2x2: false };
    let of = |ranges: &[usize]| ranges.iter().map(|&n| spec.k_ranges[n]).collect();
    let before = ConvSpec {
        k_ranges: of(&projections),
        adds: vec![],
        activation: vec![(0..channels, Function::Identity)],
        ..spec.clone()
    };
    let own = Add { from: own, first_out: 0, gate: None };
    let adds = [own].into_iter().chain(spec.adds.iter().copied()).collect();
    let after = ConvSpec { k_ranges: of(&windows), adds, in_place: 1, ..spec.clone() };
    Some([SubSpec { ranges: projections, spec: before }, SubSpec { ranges: windows, spec: after }])
}

/// The kernel for a flattened spec whose buffers are all in the arena.
fn kernel(
    spec: &ConvSpec,
    transform: WinogradTransform,
    caps: &Capabilities,
    arena: &Arena,
) -> Option<KernelParts<ProjectionThenWinograd>> {
    let [before, after] = parts(spec)?;
    bytes_of(&before, &after, transform)?;
    let first = conv::kernel(&before.spec, caps, arena)?;
    let second = winograd::kernel(&after.spec, transform, caps, arena)?;
    let layout =
        ProjectionThenWinograd { projections: (before, first.layout), windows: (after, second.layout) };
    let mut shaders = first.shaders;
    for mut shader in second.shaders {
        for binding in &mut shader.bindings {
            if let Role::Weights(from) = &mut binding.role {
                *from += layout.windows_from();
            }
        }
        shaders.push(shader);
    }
    Some(KernelParts {
        cost: first.cost + second.cost,
        tile: second.tile,
        shaders,
        scratch: second.scratch,
        layout,
    })
}

/// Bytes of packed weights of both. `None` beyond WebGPU's binding limit: this kernel has alternatives, so it must not make the planner
/// split a layer.
fn bytes_of(before: &SubSpec, after: &SubSpec, transform: WinogradTransform) -> Option<u64> {
    let sums = conv::bytes(&before.spec).next_multiple_of(ALIGNMENT);
    let both = sums + winograd::bytes_of(&after.spec, transform)?;
    (both <= Limits::WEBGPU.max_binding_bytes).then_some(both)
}

impl ProjectionThenWinograd {
    /// Byte offset of the windows' weights.
    fn windows_from(&self) -> u64 {
        self.projections.1.bytes().next_multiple_of(ALIGNMENT)
    }
}

impl Weights for ProjectionThenWinograd {
    fn bytes(&self) -> u64 {
        self.windows_from() + self.windows.1.bytes()
    }

    fn pack(&self, _: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32> {
        let of = |part: &SubSpec| part.ranges.iter().map(|&n| values.k_ranges[n]).collect::<Vec<_>>();
        let (projections, sums) = &self.projections;
        let none = vec![0.0; values.bias.len()];
        let mut words = sums
            .pack(&projections.spec, &ConvParameters { k_ranges: &of(projections), bias: &none, ..*values });
        words.resize(self.windows_from() as usize / 4, 0);
        let (windows, passes) = &self.windows;
        words.extend(passes.pack(&windows.spec, &ConvParameters { k_ranges: &of(windows), ..*values }));
        words
    }

    /// A product of a projection has the roundings of its own sum and those of a value added by the passes.
    fn rounding(&self) -> Rounding {
        let summed: usize = self.projections.0.spec.k_ranges.iter().map(|r| r.from.channels).sum();
        let passes = self.windows.1.rounding();
        Rounding {
            extra_roundings: passes.extra_roundings + Rounding::DIRECT.extra_roundings,
            max_terms: passes.max_terms + summed,
            ..passes
        }
    }
}
