//! Convolution with block weights.
//!
//! A weight is a sum of blocks, each over a range of output channels and a range of input channels. Reserving a channel
//! range adds a [`BlockWeight::Dirac`] block; merging a projection shortcut adds a [`BlockWeight::Pointwise`] one. Neither
//! is ever multiplied out, except by the `literal` pass that is there to be compared with.

use super::Activation;
use crate::tensor::Tensor;
use std::ops::Range;
use std::sync::Arc;

/// A convolution weight as stored, times a factor per output channel that batch norm left behind.
///
/// Rows are formed in f64 whenever they are read, so folding a batch norm or multiplying blocks out copies nothing, and a
/// checkpoint can stay memory-mapped until it is uploaded or written.
#[derive(Clone, Debug)]
pub struct Weight {
    shape: [usize; 4],
    source: Source,
    row_scale: Option<Arc<[f64]>>,
}

#[derive(Clone, Debug)]
enum Source {
    Tensor(Tensor),
    Flattened(Arc<Conv2d>),
}

impl Weight {
    /// The tensor as it is, `[out, in / groups, height, width]`.
    ///
    /// # Panics
    /// When the tensor is not of rank 4.
    pub fn new(tensor: Tensor) -> Weight {
        let &[o, i, h, w] = tensor.shape() else {
            panic!("a convolution weight is OIHW, found {:?}", tensor.shape());
        };
        Weight { shape: [o, i, h, w], source: Source::Tensor(tensor), row_scale: None }
    }

    /// All blocks of a convolution multiplied out into one kernel of `groups` groups, Dirac ones and zeros included.
    ///
    /// # Panics
    /// When a block reads an input channel outside the group of its output channel.
    pub fn flattened(conv: &Conv2d, groups: usize) -> Weight {
        let shape = [conv.out_channels, conv.in_channels / groups, conv.kernel[0], conv.kernel[1]];
        Weight { shape, source: Source::Flattened(Arc::new(conv.clone())), row_scale: None }
    }

    /// The same weight with row `o` multiplied by `scale[o]`.
    ///
    /// # Panics
    /// When `scale` has not one factor per output channel.
    pub fn scaled(&self, scale: &[f64]) -> Weight {
        assert_eq!(scale.len(), self.shape[0], "one factor per output channel");
        let row_scale = match &self.row_scale {
            None => scale.into(),
            Some(old) => old.iter().zip(scale).map(|(a, b)| a * b).collect(),
        };
        Weight { row_scale: Some(row_scale), ..self.clone() }
    }

    /// `[out, in / groups, height, width]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// One output channel in f64: `[in / groups, height, width]`, row-major.
    pub fn row(&self, out: usize) -> Vec<f64> {
        let n: usize = self.shape[1..].iter().product();
        let mut row = match &self.source {
            Source::Tensor(tensor) => tensor.range_f64(out * n..(out + 1) * n).collect(),
            Source::Flattened(conv) => flat_row(conv, out, self.shape),
        };
        if let Some(scale) = &self.row_scale {
            row.iter_mut().for_each(|v| *v *= scale[out]);
        }
        row
    }

    /// Output channels `rows` rounded once to f32, OIHW.
    pub fn rows_f32(&self, rows: Range<usize>) -> Vec<f32> {
        let n: usize = self.shape[1..].iter().product();
        let mut values = vec![0.0; rows.len() * n];
        for (row, to) in rows.zip(values.chunks_exact_mut(n.max(1))) {
            match &self.source {
                Source::Tensor(tensor) => {
                    let scale = self.row_scale.as_ref().map_or(1.0, |s| s[row]);
                    tensor.scaled_f32(row * n..(row + 1) * n, scale, to);
                }
                Source::Flattened(_) => {
                    to.iter_mut().zip(self.row(row)).for_each(|(to, v)| *to = v as f32);
                }
            }
        }
        values
    }

    /// All rows in f64, OIHW.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.shape[0]).flat_map(|o| self.row(o)).collect()
    }
}

/// Row `out` of a convolution's blocks as one kernel: what each block adds, at the group's own input channels.
fn flat_row(conv: &Conv2d, out: usize, [rows, cols, kh, kw]: [usize; 4]) -> Vec<f64> {
    let taps = kh * kw;
    let groups = conv.in_channels / cols;
    let first = out / (rows / groups) * cols;
    let centre = conv.centre().map_or(0, |[y, x]| y * kw + x);
    let mut flat = vec![0.0; cols * taps];
    for block in conv.blocks.iter().filter(|b| b.out.contains(&out)) {
        let r = out - block.out.start;
        match &block.weight {
            BlockWeight::Dirac => flat[(block.input.start + r - first) * taps + centre] += 1.0,
            BlockWeight::Pointwise(w) => {
                for (c, v) in w.row(r).into_iter().enumerate() {
                    flat[(block.input.start + c - first) * taps + centre] += v;
                }
            }
            BlockWeight::Dense { weight, groups } => {
                let width = block.input.len() / groups;
                let start = block.input.start + r / (block.out.len() / groups) * width - first;
                for (f, v) in flat[start * taps..].iter_mut().zip(weight.row(r)) {
                    *f += v;
                }
            }
        }
    }
    flat
}

/// What a block multiplies its input range by.
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
}

/// One block of a convolution's weight. Blocks may overlap; they sum.
#[derive(Clone, Debug)]
pub struct Block {
    /// Output channels the block adds to.
    pub out: Range<usize>,
    /// Input channels the block reads.
    pub input: Range<usize>,
    /// What it multiplies them by.
    pub weight: BlockWeight,
}

/// Bound on every number of a window: far beyond any network, far below overflow.
pub(super) const LARGEST_WINDOW: usize = 4096;

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
    /// Rows above and below, columns left and right, of zeros.
    pub padding: [usize; 2],
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// The weight; parts of the matrix that no block covers are zero.
    pub blocks: Vec<Block>,
    /// One value per output channel.
    pub bias: Vec<f64>,
    /// A partition of the output channels, in order.
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
            dilation: [1, 1],
            blocks: vec![Block {
                out: 0..out,
                input: 0..per_group * groups,
                weight: BlockWeight::Dense { weight, groups },
            }],
            bias: vec![0.0; out],
            activation: vec![(0..out, Activation::Identity)],
        }
    }

    /// The index of the centre tap, where the window has one and padding puts it over the output's own position.
    ///
    /// Only there do [`BlockWeight::Dirac`] and [`BlockWeight::Pointwise`] read `x[stride * i, stride * j]`.
    pub fn centre(&self) -> Option<[usize; 2]> {
        let axis = |i: usize| {
            let k = self.kernel[i];
            (k % 2 == 1 && self.padding[i] == self.dilation[i] * (k / 2)).then_some(k / 2)
        };
        Some([axis(0)?, axis(1)?])
    }

    /// The activation where all output channels share one.
    pub fn uniform_activation(&self) -> Option<Activation> {
        let first = self.activation.first()?.1;
        self.activation.iter().all(|(_, a)| *a == first).then_some(first)
    }

    /// The only block, where it is dense and covers the whole weight: a convolution as checkpoints have it.
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
            Some((input[i] + 2 * self.padding[i]).checked_sub(span)? / self.stride[i] + 1)
        };
        Some([axis(0)?, axis(1)?])
    }

    /// Multiplications per output pixel: dense and pointwise blocks only, a Dirac multiplies nothing.
    pub fn macs_per_pixel(&self) -> usize {
        self.blocks
            .iter()
            .map(|b| match &b.weight {
                BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) => {
                    weight.shape().iter().product()
                }
                BlockWeight::Dirac => 0,
            })
            .sum()
    }

    /// Whether the parts fit each other; if not, what was expected and what was found.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let refuse = |expected: &str, found: String| Err((expected.to_string(), found));
        if self.stride.contains(&0) || self.dilation.contains(&0) || self.kernel.contains(&0) {
            return refuse(
                "a kernel, stride and dilation of at least 1",
                format!("kernel {:?}, stride {:?}, dilation {:?}", self.kernel, self.stride, self.dilation),
            );
        }
        let window = [self.kernel, self.stride, self.padding, self.dilation];
        if window.iter().flatten().any(|v| *v > LARGEST_WINDOW) {
            return refuse(
                &format!("a kernel, stride, padding and dilation of at most {LARGEST_WINDOW}"),
                format!("{window:?}"),
            );
        }
        if self.bias.len() != self.out_channels {
            return refuse(
                "one bias per output channel",
                format!("{} of {}", self.bias.len(), self.out_channels),
            );
        }
        let mut next = 0;
        for (range, _) in &self.activation {
            if range.start != next || range.end < range.start {
                return refuse(
                    "activations that partition the output channels",
                    format!("{:?}", self.activation),
                );
            }
            next = range.end;
        }
        if next != self.out_channels {
            return refuse(
                "activations that partition the output channels",
                format!("{:?}", self.activation),
            );
        }
        for block in &self.blocks {
            let (o, i) = (block.out.len(), block.input.len());
            let inside = |r: &std::ops::Range<usize>, end| r.start <= r.end && r.end <= end;
            if !inside(&block.out, self.out_channels) || !inside(&block.input, self.in_channels) {
                return refuse("blocks inside the weight", format!("{:?} x {:?}", block.out, block.input));
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
                    if weight.shape() != [o, i, 1, 1] || self.centre().is_none() {
                        return refuse(
                            &format!("a pointwise weight [{o}, {i}, 1, 1] at a centre tap"),
                            format!(
                                "{:?} in a window {:?} padded by {:?}",
                                weight.shape(),
                                self.kernel,
                                self.padding
                            ),
                        );
                    }
                }
                BlockWeight::Dirac => {
                    if o != i || self.centre().is_none() {
                        return refuse(
                            "a Dirac of as many inputs as outputs at a centre tap",
                            format!("{o} x {i}, window {:?} padded by {:?}", self.kernel, self.padding),
                        );
                    }
                }
            }
        }
        Ok(())
    }
}
