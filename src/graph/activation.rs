//! Pointwise functions, fused into another operation or on their own.

use std::ops::Range;
use std::sync::Arc;

/// A pointwise function applied to a channel range.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// `x`
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` where it is at least zero, else `slope * x`; one slope per channel of the range.
    PRelu(Arc<[f64]>),
    /// `1 / (1 + exp(-x))`
    Sigmoid,
}

impl Activation {
    /// The function itself, for channel `channel` of the range it is applied to.
    pub fn apply(&self, channel: usize, x: f64) -> f64 {
        match self {
            Activation::Identity => x,
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::PRelu(slopes) if x < 0.0 => slopes[channel] * x,
            Activation::PRelu(_) => x,
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }

    /// The same function for a part of the range it is applied to.
    pub fn part(&self, channels: Range<usize>) -> Activation {
        match self {
            Activation::PRelu(slopes) => Activation::PRelu(slopes[channels].into()),
            other => other.clone(),
        }
    }

    /// Whether every output is at least zero, given whether every input is.
    pub fn non_negative(&self, input: bool) -> bool {
        match self {
            Activation::Identity | Activation::PRelu(_) => input,
            Activation::Relu | Activation::Relu6 | Activation::Sigmoid => true,
        }
    }

    /// Whether the function does not change any input, given whether inputs are non-negative.
    pub fn preserves(&self, non_negative_input: bool) -> bool {
        match self {
            Activation::Identity => true,
            Activation::Relu | Activation::PRelu(_) => non_negative_input,
            Activation::Relu6 | Activation::Sigmoid => false,
        }
    }

    /// Number of learned values: the slopes of a PReLU.
    pub(super) fn parameters(&self) -> usize {
        match self {
            Activation::PRelu(slopes) => slopes.len(),
            _ => 0,
        }
    }

    /// Whether it fits a range of `channels` channels; if not, what was expected and what was found.
    pub(super) fn check(&self, channels: usize) -> Result<(), (String, String)> {
        match self {
            Activation::PRelu(slopes) if slopes.len() != channels => {
                Err((format!("one slope per channel, {channels}"), format!("{}", slopes.len())))
            }
            _ => Ok(()),
        }
    }
}
