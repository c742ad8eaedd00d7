//! The operations of nodes.

use super::conv::MAX_WINDOW;
use super::{Activation, Conv2d, Shape};
use std::ops::Range;

/// Inference-time batch norm: `(x - mean) / sqrt(variance + epsilon) * weight + bias` per channel.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// Scale, gamma.
    pub weight: Vec<f64>,
    /// Shift, beta.
    pub bias: Vec<f64>,
    /// Running mean.
    pub mean: Vec<f64>,
    /// Running variance (biased, as stored).
    pub variance: Vec<f64>,
    /// Added to the variance.
    pub epsilon: f64,
}

impl BatchNorm {
    /// The same function as `scale * x + shift` per channel.
    pub fn affine(&self) -> (Vec<f64>, Vec<f64>) {
        let scale: Vec<f64> =
            self.weight.iter().zip(&self.variance).map(|(w, v)| w / (v + self.epsilon).sqrt()).collect();
        let shift = (0..scale.len()).map(|c| self.bias[c] - self.mean[c] * scale[c]).collect();
        (scale, shift)
    }
}

/// Max pooling. Padding counts as minus infinity, so it never wins. The output size rounds down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPool {
    /// `[height, width]` of the window.
    pub kernel: [usize; 2],
    /// `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Rows above and below, columns left and right.
    pub padding: [usize; 2],
}

impl MaxPool {
    /// Whether every window holds at least one input element; if not, what was expected and what was found.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let inside = |v: &usize| (1..=MAX_WINDOW).contains(v);
        let sound = self.kernel.iter().chain(&self.stride).all(inside)
            && self.padding.iter().zip(&self.kernel).all(|(p, k)| *p <= k / 2);
        if sound {
            return Ok(());
        }
        Err((
            "a pooling window and stride of at least 1, padded by at most half the window".into(),
            format!("kernel {:?}, stride {:?}, padding {:?}", self.kernel, self.stride, self.padding),
        ))
    }

    /// Output height and width for an input of `[height, width]`; `None` where the window does not fit.
    pub fn output_size(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let axis = |i: usize| {
            Some((input[i] + 2 * self.padding[i]).checked_sub(self.kernel[i])? / self.stride[i] + 1)
        };
        Some([axis(0)?, axis(1)?])
    }
}

/// The operation of a node.
#[derive(Clone, Debug)]
pub enum Op {
    /// The image batch.
    Input(Shape),
    /// Convolution with fused activation.
    Conv2d(Conv2d),
    /// Batch norm as a checkpoint has it.
    BatchNorm(BatchNorm),
    /// A pointwise function on its own.
    Activation(Activation),
    /// Sum of two values of the same shape, then a pointwise function: the end of a residual connection.
    Add(Activation),
    /// Max pooling.
    MaxPool(MaxPool),
    /// Mean of 2x2 windows at stride 2: `[c, h, w]` to `[c, ceil(h / 2), ceil(w / 2)]`. At an odd edge only the elements
    /// inside count, as `AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)`.
    AvgPool2x2,
    /// A range of the channels.
    Slice(Range<usize>),
    /// `[c, h, w]` times `[g, 1, 1]`: channels `first..first + g` are multiplied by their gate; the others pass unchanged.
    Gate {
        /// First channel that is multiplied.
        first: usize,
    },
    /// Mean over height and width: `[c, h, w]` to `[c, 1, 1]`. The classifier after it is a 1x1 convolution.
    GlobalAverage,
}
