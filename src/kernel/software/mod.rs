//! Software Vulkan: a CPU that pretends to be a GPU, whose invocations are SIMD lanes.
//!
//! There compiling a shader takes longer than running it: an unrolled register tile takes llvmpipe 0.2 to 0.5 s, a ResNet-18 has 17
//! convolutions of 13 shapes, and a driver compiles at the first dispatch, one shader at a time. So one shader computes convolutions
//! of any shape ([`conv`]), and all buffers between dispatches are ranges of one ([`Arena`](super::Arena)). Around it, Winograd's
//! minimal filtering is shaders of its own ([`winograd`]), also beside a projection ([`projection`]). What is left has register tiles
//! ([`direct`]).

mod access;
mod conv;
mod direct;
mod layout;
mod projection;
mod winograd;

pub(super) use access::SoftwareAccess;
pub(super) use conv::Conv;
pub(super) use direct::Direct;
pub(super) use projection::Projection;
pub(super) use winograd::Winograd;
