//! Software Vulkan: a CPU that pretends to be a GPU, whose invocations are SIMD lanes.
//!
//! There compiling a shader takes longer than running it: an unrolled register tile takes llvmpipe 0.2 to 0.5 s, a ResNet-18 has 17
//! convolutions of 13 shapes, and a driver compiles at the first dispatch, one shader at a time. So one shader computes convolutions
//! of any shape ([`conv`]), and all buffers between dispatches are ranges of one ([`Arena`]). Around it, Winograd's minimal filtering
//! is shaders of its own ([`winograd`]), also beside a projection ([`projection`]).

mod access;
mod conv;
mod layout;
mod projection;
mod winograd;

pub(super) use access::SoftwareAccess;
pub(super) use layout::SoftwareLayout;
pub(super) use projection::ProjectionThenWinograd;
pub(super) use winograd::WinogradPasses;

use super::spec::ConvSpec;
use super::winograd::Minimal;
use super::{Arena, Capabilities, Kernel};

/// Every kernel for a flattened spec by the convolution that is one shader for many shapes, the one with the least to do first. None
/// where it does not compute such a spec, or some of its buffers are not in the arena.
pub(super) fn kernels(spec: &ConvSpec, caps: &Capabilities, arena: &Arena) -> Vec<Kernel> {
    let passes = Minimal::ALL.map(|m| winograd::kernel(spec, m, caps, arena));
    let whole = [conv::kernel(spec, caps, arena), projection::kernel(spec, caps, arena)];
    let mut all: Vec<_> = whole.into_iter().chain(passes).flatten().collect();
    all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    all.into_iter().map(|(_, kernel)| kernel).collect()
}

/// The most bytes of packed weights for a spec, on any adapter.
pub(super) fn packed_weight_bytes(spec: &ConvSpec) -> u64 {
    let others = winograd::packed_weight_bytes(spec).max(projection::packed_weight_bytes(spec));
    conv::packed_weight_bytes(spec).max(others)
}
