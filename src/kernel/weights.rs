//! Parameters of convolutions, and the interface of weight layouts: packing and rounding bounds.

use super::Rounding;
use super::spec::ConvSpec;
use crate::tensor::all_finite;
use std::fmt::Debug;

/// The parameters of a convolution dispatch.
#[derive(Clone, Copy, Debug)]
pub struct ConvParameters<'a> {
    /// Per K range, dense `[out_channels, channels / groups, kernel_h, kernel_w]`.
    pub k_ranges: &'a [&'a [f32]],
    /// One per output channel.
    pub bias: &'a [f32],
    /// One per output channel if some range of the activation is [`Function::PRelu`](super::Function::PRelu); else empty.
    pub slopes: &'a [f32],
    /// Per K range, scales and shifts of its prologue, one each per channel. May be empty where no range has a prologue.
    pub prologues: &'a [Option<(Vec<f32>, Vec<f32>)>],
}

impl ConvParameters<'_> {
    /// Whether every weight and bias is finite: folding batch norm may overflow f32.
    pub(crate) fn are_finite(&self) -> bool {
        self.k_ranges.iter().all(|k| all_finite(k)) && all_finite(self.bias)
    }
}

/// The layout of a kernel's packed weights.
pub(super) trait Weights: Debug + Send + Sync {
    /// Bytes of the binding.
    fn bytes(&self) -> u64;

    /// The content of the binding, in 32-bit words.
    ///
    /// # Panics
    /// Where the lengths do not match the spec.
    fn pack(&self, spec: &ConvSpec, values: &ConvParameters<'_>) -> Vec<u32>;

    /// Rounding bound of results.
    fn rounding(&self) -> Rounding {
        Rounding::DIRECT
    }
}
