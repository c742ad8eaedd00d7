//! Kernels for software Vulkan (llvmpipe, SwiftShader), where invocations are SIMD lanes of a CPU.
//!
//! Compiling a shader takes longer than running it: llvmpipe needs 0.2 to 0.5 s for an unrolled register tile, a ResNet-18 has 17
//! convolutions of 13 shapes, and a driver compiles at the first dispatch, one shader at a time. Therefore one shader computes
//! convolutions of any shape ([`conv`]), and all buffers between dispatches are ranges of one buffer ([`Arena`](super::Arena)). Winograd
//! kernels add transform shaders around it ([`winograd`]), also beside a projection ([`projection`]). Everything else uses register tiles
//! ([`direct`]).

mod access;
mod conv;
mod direct;
mod layout;
mod projection;
mod winograd;
mod winograd_weights;

pub(super) use access::SoftwareAccess;
pub(super) use conv::Conv;
pub(super) use direct::Direct;
pub(super) use projection::Projection;
pub(super) use winograd::Winograd;
