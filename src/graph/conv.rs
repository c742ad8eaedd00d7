//! Convolution with block weights.
//!
//! A weight is a sum of blocks, each over a range of output channels and a range of input channels. Reserving a channel range
//! adds a [`BlockWeight::Dirac`] block; merging a projection shortcut adds a [`BlockWeight::Pointwise`] block. Only the `literal`
//! pass multiplies blocks out, for comparison and export.

use super::{Activation, Weight};
use crate::order::sort_by_key;
use std::ops::Range;
use std::sync::Arc;

/// The weight of a block.
#[derive(Clone, Debug)]
pub enum BlockWeight {
    /// An ordinary kernel of the convolution's size, `[out, in / groups, height, width]`.
    Dense {
        /// The kernel.
        weight: Weight,
        /// Number of groups of this block: its output and input range are cut into that many equal parts.
        groups: usize,
    },
    /// A 1x1 kernel `[out, in, 1, 1]` at the centre tap of the convolution's window.
    Pointwise(Weight),
    /// The identity at the centre tap: output channel `i` of the block is input channel `i`.
    Dirac,
    /// A factor per channel at the centre tap: output channel `i` of the block is input channel `i` times factor `i`.
    Diagonal(Arc<[f64]>),
    /// The mean of the 2x2 window `[2y..2y + 2, 2x..2x + 2]` of input channel `i`, over the elements inside; only in a
    /// convolution of stride 2, as in average-pool shortcuts.
    AvgPool2x2,
}

/// One block of a convolution's weight. Blocks may overlap; they sum.
#[derive(Clone, Debug)]
pub struct Block {
    /// Output channels the block adds to.
    pub out: Range<usize>,
    /// Input channels the block reads.
    pub input: Range<usize>,
    /// The weight that the input channels are multiplied by.
    pub weight: BlockWeight,
}

/// Maximum blocks of a convolution's weight, and ranges of its activation. Passes create a handful.
pub const MAX_BLOCKS: usize = 1024;

/// Maximum of every number that describes a window: far beyond any network, far below overflow.
pub(super) const MAX_WINDOW: usize = 4096;

/// A 2-D convolution (cross-correlation, as in PyTorch) with zero padding, bias and a fused activation.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// Channels read.
    pub in_channels: usize,
    /// Channels written.
    pub out_channels: usize,
    /// `[height, width]` of the window.
    pub kernel: [usize; 2],
    /// `[vertical, horizontal]`.
    pub stride: [usize; 2],
    /// Rows of zeros above and columns of zeros to the left.
    pub padding: [usize; 2],
    /// Rows of zeros below and columns of zeros to the right: equal to `padding`, except for TensorFlow's "SAME" at stride 2.
    pub padding_end: [usize; 2],
    /// The padding follows from the input size as in TensorFlow's "SAME" ([`Conv2d::padded_same`]), and is recomputed for another
    /// size.
    pub same: bool,
    /// Some taps represent 2x2 means, as the literal form writes them. They are means only on inputs of even height and width;
    /// other sizes are refused.
    pub even: bool,
    /// Distance between taps, `[vertical, horizontal]`.
    pub dilation: [usize; 2],
    /// The weight. Parts of the matrix that no block covers are zero.
    pub blocks: Vec<Block>,
    /// One value per output channel.
    pub bias: Vec<f64>,
    /// Whether the bias is learned. A layer without a learned bias has a `bias` of zeros, but zeros may also be learned. Passes
    /// copy this; only [`Conv2d::parameters`] depends on it.
    pub has_bias: bool,
    /// Ranges that partition the output channels, in order, each with its activation.
    pub activation: Vec<(Range<usize>, Activation)>,
}

impl Conv2d {
    /// A plain convolution with one dense block, dilation 1, no bias and no activation.
    pub fn dense(weight: Weight, groups: usize, stride: [usize; 2], padding: [usize; 2]) -> Conv2d {
        let [out, per_group, kh, kw] = weight.shape();
        Conv2d {
            in_channels: per_group * groups,
            out_channels: out,
            kernel: [kh, kw],
            stride,
            padding,
            padding_end: padding,
            same: false,
            even: false,
            dilation: [1, 1],
            blocks: vec![Block {
                out: 0..out,
                input: 0..per_group * groups,
                weight: BlockWeight::Dense { weight, groups },
            }],
            bias: vec![0.0; out],
            has_bias: false,
            activation: vec![(0..out, Activation::Identity)],
        }
    }

    /// The same convolution with TensorFlow's "SAME" padding for an input of `[height, width]`. The output has
    /// `ceil(side / stride)` rows and columns; an odd row or column of zeros is added at the end.
    ///
    /// # Panics
    /// When a side, a stride or a window is 0.
    pub fn padded_same(self, input: [usize; 2]) -> Conv2d {
        let all = |i: usize| {
            let span = self.dilation[i] * (self.kernel[i] - 1) + 1;
            let last = (input[i].div_ceil(self.stride[i]) - 1) * self.stride[i];
            (last + span).saturating_sub(input[i])
        };
        let all = [all(0), all(1)];
        let padding = all.map(|n| n / 2);
        let padding_end = all.map(|n| n.div_ceil(2));
        Conv2d { padding, padding_end, same: true, ..self }
    }

    /// The index `[row, column]` of the centre tap, if the window has one and the padding places it at the output's own position.
    ///
    /// Only then do [`BlockWeight::Dirac`] and [`BlockWeight::Pointwise`] read `x[stride * i, stride * j]`.
    pub fn centre(&self) -> Option<[usize; 2]> {
        let axis = |i: usize| {
            let k = self.kernel[i];
            (k % 2 == 1 && self.padding[i] == self.dilation[i] * (k / 2)).then_some(k / 2)
        };
        Some([axis(0)?, axis(1)?])
    }

    /// A 1x1 convolution that multiplies each channel by a factor and adds a bias: batch norm as a convolution.
    pub fn diagonal(scale: Vec<f64>, bias: Vec<f64>) -> Conv2d {
        let channels = scale.len();
        let weight = BlockWeight::Diagonal(scale.into());
        Conv2d::one_block(channels, weight).with_bias(bias)
    }

    /// The same convolution with a learned bias.
    pub fn with_bias(self, bias: Vec<f64>) -> Conv2d {
        Conv2d { bias, has_bias: true, ..self }
    }

    /// A 1x1 convolution that is the identity, followed by `activation`.
    pub fn pointwise_function(channels: usize, activation: Activation) -> Conv2d {
        Conv2d {
            activation: vec![(0..channels, activation)],
            ..Conv2d::one_block(channels, BlockWeight::Dirac)
        }
    }

    fn one_block(channels: usize, weight: BlockWeight) -> Conv2d {
        Conv2d {
            in_channels: channels,
            out_channels: channels,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            padding_end: [0, 0],
            same: false,
            even: false,
            dilation: [1, 1],
            blocks: vec![Block { out: 0..channels, input: 0..channels, weight }],
            bias: vec![0.0; channels],
            has_bias: false,
            activation: vec![(0..channels, Activation::Identity)],
        }
    }

    /// The activation where all output channels share one.
    pub fn uniform_activation(&self) -> Option<Activation> {
        match self.activation.as_slice() {
            [(_, only)] => Some(only.clone()),
            [(_, Activation::PRelu(_)), ..] | [] => None,
            [(_, first), rest @ ..] => rest.iter().all(|(_, a)| a == first).then(|| first.clone()),
        }
    }

    /// Whether every activation is the identity.
    pub fn is_linear(&self) -> bool {
        self.uniform_activation() == Some(Activation::Identity)
    }

    /// The weight and the number of groups, if the only block is dense and covers the whole weight, as in a checkpoint.
    pub fn as_plain(&self) -> Option<(&Weight, usize)> {
        match self.blocks.as_slice() {
            [Block { out, input, weight: BlockWeight::Dense { weight, groups } }]
                if *out == (0..self.out_channels) && *input == (0..self.in_channels) =>
            {
                Some((weight, *groups))
            }
            _ => None,
        }
    }

    /// Output height and width for an input of `[height, width]`; `None` where the window does not fit.
    pub fn output_size(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let axis = |i: usize| {
            let span = self.dilation[i] * (self.kernel[i] - 1) + 1;
            Some((input[i] + self.padding[i] + self.padding_end[i]).checked_sub(span)? / self.stride[i] + 1)
        };
        Some([axis(0)?, axis(1)?])
    }

    /// Height and width of every `stride`-th row and column of an input of `[height, width]`, which a block at the centre tap
    /// reads.
    pub fn strided_size(&self, input: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|i| input[i].div_ceil(self.stride[i]))
    }

    /// Multiplications per output pixel, at most [`usize::MAX`]. Dense, pointwise and diagonal blocks count; Dirac blocks and
    /// means multiply nothing.
    pub fn macs_per_pixel(&self) -> usize {
        self.blocks
            .iter()
            .map(|b| match &b.weight {
                BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) => {
                    weight.shape().iter().fold(1, |n: usize, d| n.saturating_mul(*d))
                }
                BlockWeight::Diagonal(scale) => scale.len(),
                BlockWeight::Dirac | BlockWeight::AvgPool2x2 => 0,
            })
            .fold(0, usize::saturating_add)
    }

    /// Number of learned values: weights, slopes of the activation, and, if the bias is learned, one value per computed channel.
    /// Channels that are only handed on by Dirac blocks or means are not computed.
    pub fn parameters(&self) -> usize {
        let learned = |b: &&Block| !matches!(b.weight, BlockWeight::Dirac | BlockWeight::AvgPool2x2);
        let mut computed: Vec<&Range<usize>> = self.blocks.iter().filter(learned).map(|b| &b.out).collect();
        sort_by_key(&mut computed, |r| r.start);
        let (mut biases, mut end) = (0, 0);
        for rows in computed.into_iter().filter(|_| self.has_bias) {
            biases += rows.end.saturating_sub(rows.start.max(end));
            end = end.max(rows.end);
        }
        let slopes: usize = self.activation.iter().map(|(_, a)| a.parameters()).sum();
        // There are as many weights as multiplications per pixel: each weight is used once.
        self.macs_per_pixel().saturating_add(biases + slopes)
    }

    /// Whether the parts fit each other; if not, what was expected and what was found.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        self.check_numbers()?;
        self.check_activation()?;
        self.blocks.iter().try_for_each(|block| self.check_block(block))
    }

    /// Checks the window, the channels, and the number of blocks, ranges and biases.
    fn check_numbers(&self) -> Result<(), (String, String)> {
        if self.stride.contains(&0) || self.dilation.contains(&0) || self.kernel.contains(&0) {
            return refuse(
                "a kernel, stride and dilation of at least 1",
                format!("kernel {:?}, stride {:?}, dilation {:?}", self.kernel, self.stride, self.dilation),
            );
        }
        if self.in_channels == 0 || self.out_channels == 0 {
            return refuse(
                "at least one input and one output channel",
                format!("{} and {}", self.in_channels, self.out_channels),
            );
        }
        let window = [self.kernel, self.stride, self.padding, self.padding_end, self.dilation];
        if window.iter().flatten().any(|v| *v > MAX_WINDOW) {
            return refuse(
                &format!("a kernel, stride, padding and dilation of at most {MAX_WINDOW}"),
                format!("{window:?}"),
            );
        }
        let parts = self.blocks.len().max(self.activation.len());
        if parts > MAX_BLOCKS {
            return refuse(
                &format!("at most {MAX_BLOCKS} blocks and ranges of activations"),
                parts.to_string(),
            );
        }
        if self.bias.len() != self.out_channels {
            return refuse(
                "one bias per output channel",
                format!("{} of {}", self.bias.len(), self.out_channels),
            );
        }
        Ok(())
    }

    /// Checks that the activations partition the output channels and fit their ranges.
    fn check_activation(&self) -> Result<(), (String, String)> {
        let mut next = 0;
        for (range, activation) in &self.activation {
            if range.start != next || range.end < range.start {
                return refuse(
                    "activations that partition the output channels",
                    format!("{:?}", self.activation),
                );
            }
            activation.check(range.len())?;
            next = range.end;
        }
        if next != self.out_channels {
            return refuse(
                "activations that partition the output channels",
                format!("{:?}", self.activation),
            );
        }
        Ok(())
    }

    /// Checks that a block is inside the weight, and that its kind and shape fit the window.
    fn check_block(&self, block: &Block) -> Result<(), (String, String)> {
        let (o, i) = (block.out.len(), block.input.len());
        let inside = |r: &Range<usize>, end| r.start < r.end && r.end <= end;
        if !inside(&block.out, self.out_channels) || !inside(&block.input, self.in_channels) {
            return refuse(
                "blocks of at least one channel, inside the weight",
                format!("{:?} x {:?}", block.out, block.input),
            );
        }
        match &block.weight {
            BlockWeight::Dense { weight, groups } => {
                let found = weight.shape();
                let divides = *groups > 0 && o.is_multiple_of(*groups) && i.is_multiple_of(*groups);
                let want = [o, if divides { i / groups } else { 0 }, self.kernel[0], self.kernel[1]];
                if !divides || found != want {
                    return refuse(
                        &format!("a dense weight of {groups} groups for {o} x {i} channels, {want:?}"),
                        format!("{found:?}"),
                    );
                }
            }
            BlockWeight::Pointwise(weight) => {
                let found = weight.shape();
                if found != [o, i, 1, 1] || self.centre().is_none() {
                    return refuse(
                        &format!("a pointwise weight [{o}, {i}, 1, 1] at a centre tap"),
                        format!("{found:?} in a window {:?} padded by {:?}", self.kernel, self.padding),
                    );
                }
            }
            BlockWeight::Diagonal(scale) if scale.len() != o => {
                return refuse(&format!("a diagonal of {o} factors"), format!("{}", scale.len()));
            }
            BlockWeight::AvgPool2x2 if self.stride != [2, 2] => {
                return refuse("stride 2 for a 2x2 mean", format!("{:?}", self.stride));
            }
            BlockWeight::Dirac | BlockWeight::Diagonal(_) | BlockWeight::AvgPool2x2 => {
                if o != i || self.centre().is_none() {
                    return refuse(
                        "a diagonal block of as many inputs as outputs at a centre tap",
                        format!("{o} x {i}, window {:?} padded by {:?}", self.kernel, self.padding),
                    );
                }
            }
        }
        Ok(())
    }
}

/// What was expected, and what was found instead.
fn refuse(expected: &str, found: String) -> Result<(), (String, String)> {
    Err((expected.to_string(), found))
}
