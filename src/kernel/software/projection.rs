//! A projection beside windows of stride 1, as in the first block of a stage: a direct convolution writes its sums to the output, and
//! Winograd's passes, which save products for windows alone, add theirs in place.

use super::super::spec::{Add, ConvSpec, Operand};
use super::super::winograd::Minimal;
use super::super::{Arena, Capabilities, Function, Kernel, Packing, Role, Rounding, Values};
use super::conv;
use super::layout::SoftwareLayout;
use super::winograd::{self, WinogradPasses};

/// What a binding's offset must be a multiple of, on any adapter.
const ALIGNMENT: u64 = 256;

/// Some of the K ranges of a spec, on their own.
#[derive(Clone, Debug)]
struct Part {
    /// Their numbers.
    ranges: Vec<usize>,
    spec: ConvSpec,
}

/// How the weights of both kernels are laid out, one after the other.
#[derive(Clone, Debug)]
pub(in super::super) struct ProjectionThenWinograd {
    projections: (Part, SoftwareLayout),
    windows: (Part, WinogradPasses),
}

/// Projections and windows; `None` where there are not both, or the output cannot hold a sum in between.
fn parts(spec: &ConvSpec) -> Option<[Part; 2]> {
    let ranges = 0..spec.k_ranges.len();
    let (projections, windows): (Vec<_>, Vec<_>) = ranges.partition(|&n| spec.k_ranges[n].is_pointwise());
    let [output] = &spec.outputs[..] else { return None };
    if projections.is_empty() || windows.is_empty() || spec.in_place > 0 {
        return None;
    }
    let (channels, first_channel) = (spec.out_channels, output.first_channel);
    let own =
        Operand { buffer: 0, shape: output.shape, first_channel, channels, stride: 1, mean_pool: false };
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
    Some([Part { ranges: projections, spec: before }, Part { ranges: windows, spec: after }])
}

/// The kernel for a flattened spec whose buffers are all in the arena, and its time in products of the direct convolution.
pub(super) fn kernel(spec: &ConvSpec, caps: &Capabilities, arena: &Arena) -> Option<(f64, Kernel)> {
    let [before, after] = parts(spec)?;
    let (cost_before, first) = conv::kernel(&before.spec, caps, arena)?;
    let fits = |m: &Minimal| bytes_of(&before, &after, *m).is_some();
    let passes = Minimal::ALL.into_iter().filter(fits);
    let passes = passes.filter_map(|m| winograd::kernel(&after.spec, m, caps, arena));
    let (cost_after, second) = passes.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let (Packing::Software(sums), Packing::WinogradPasses(passes)) = (first.packing, second.packing) else {
        unreachable!("how those two are packed");
    };
    let packing = ProjectionThenWinograd { projections: (before, sums), windows: (after, passes) };
    let mut shaders = first.shaders;
    for mut shader in second.shaders {
        for binding in &mut shader.bindings {
            if let Role::Weights(from) = &mut binding.role {
                *from += packing.windows_from();
            }
        }
        shaders.push(shader);
    }
    let name = format!("{} after projection", second.name);
    let kernel =
        Kernel { name, shaders, scratch: second.scratch, packing: Packing::ProjectionThenWinograd(Box::new(packing)) };
    Some((cost_before + cost_after, kernel))
}

/// The most bytes of packed weights, on any adapter.
pub(super) fn packed_weight_bytes(spec: &ConvSpec) -> u64 {
    let Some([before, after]) = parts(spec) else { return 0 };
    Minimal::ALL.into_iter().filter_map(|m| bytes_of(&before, &after, m)).max().unwrap_or(0)
}

/// Bytes of packed weights of both. As there, no planner should have to split a layer for a kernel that has alternatives.
fn bytes_of(before: &Part, after: &Part, minimal: Minimal) -> Option<u64> {
    let sums = conv::packed_weight_bytes(&before.spec).next_multiple_of(ALIGNMENT);
    let both = sums + winograd::bytes_of(&after.spec, minimal)?;
    (both <= Capabilities::WEBGPU.max_binding_bytes).then_some(both)
}

impl ProjectionThenWinograd {
    /// Where the weights of the windows begin, in bytes.
    fn windows_from(&self) -> u64 {
        self.projections.1.bytes().next_multiple_of(ALIGNMENT)
    }

    pub(in super::super) fn bytes(&self) -> u64 {
        self.windows_from() + self.windows.1.bytes()
    }

    pub(in super::super) fn pack(&self, values: &Values<'_>) -> Vec<u32> {
        let of = |part: &Part| part.ranges.iter().map(|&n| values.k_ranges[n]).collect::<Vec<_>>();
        let (projections, sums) = &self.projections;
        let none = vec![0.0; values.bias.len()];
        let mut words =
            sums.pack(&projections.spec, &Values { k_ranges: &of(projections), bias: &none, ..*values });
        words.resize(self.windows_from() as usize / 4, 0);
        let (windows, passes) = &self.windows;
        words.extend(passes.pack(&windows.spec, &Values { k_ranges: &of(windows), ..*values }));
        words
    }

    /// A product of a projection passes the roundings of its own sum, then those of a value that the passes add.
    pub(in super::super) fn rounding(&self) -> Rounding {
        let summed: usize = self.projections.0.spec.k_ranges.iter().map(|r| r.from.channels).sum();
        let passes = self.windows.1.rounding();
        Rounding { passed: passes.passed + Rounding::DIRECT.passed, most: passes.most + summed, ..passes }
    }
}
