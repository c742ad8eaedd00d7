//! What a dispatch computes, as plain data: shapes, layouts, windows, without names, weights or buffers.
//!
//! Dispatches with equal specs share a pipeline.
//!
//! Layouts:
//! * [`Layout::Packed`]: `[batch][ceil(channels / 4)][height][width][4]`, lanes past the last channel zero. All activations, in f32 or f16.
//! * [`Layout::Planar`]: `[batch][channels][height][width]`, the layout apps use. The network's input and logits, in f32.

use super::Precision;
use crate::graph::{Activation, MaxPool};
use std::fmt;
use std::ops::Range;

/// A pointwise function; its parameters are part of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `x`
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` where `x >= 0`, else `slope * x`, with a slope per output channel (`ConvParameters::slopes`).
    PRelu,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
}

impl From<&Activation> for Function {
    fn from(activation: &Activation) -> Function {
        match activation {
            Activation::Identity => Function::Identity,
            Activation::Relu => Function::Relu,
            Activation::Relu6 => Function::Relu6,
            Activation::PRelu(_) => Function::PRelu,
            Activation::Sigmoid => Function::Sigmoid,
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Function::Identity => "identity",
            Function::Relu => "relu",
            Function::Relu6 => "relu6",
            Function::PRelu => "prelu",
            Function::Sigmoid => "sigmoid",
        })
    }
}

/// Order of the elements of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[batch][ceil(channels / 4)][height][width][4]`, padded lanes zero.
    Packed,
    /// `[batch][channels][height][width]`.
    Planar,
}

/// Shape and layout of a whole buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferShape {
    /// Images.
    pub batch: usize,
    /// Channels of one image, without padding.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Order of elements.
    pub layout: Layout,
    /// Type of elements; [`Precision::F32`] where the layout is planar.
    pub precision: Precision,
}

impl BufferShape {
    /// Elements including padding, saturating at [`usize::MAX`].
    pub fn elements(&self) -> usize {
        let channels = match self.layout {
            Layout::Packed => self.channels.checked_next_multiple_of(4).unwrap_or(usize::MAX),
            Layout::Planar => self.channels,
        };
        [channels, self.height, self.width].iter().fold(self.batch, |n, f| n.saturating_mul(*f))
    }

    /// Bytes including padding, saturating at [`usize::MAX`].
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.precision.bytes())
    }

    /// Index of element (`image`, `channel`, `y`, `x`).
    pub fn index(&self, image: usize, channel: usize, y: usize, x: usize) -> usize {
        match self.layout {
            Layout::Planar => ((image * self.channels + channel) * self.height + y) * self.width + x,
            Layout::Packed => {
                let quads = self.channels.div_ceil(4);
                (((image * quads + channel / 4) * self.height + y) * self.width + x) * 4 + channel % 4
            }
        }
    }
}

/// A view of a channel range of a buffer: `v[c, i, j] = buffer[first + c, s*i, s*j]` with `s = stride`, or the means of its 2x2 windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// Index among the dispatch's read buffers; unused for an in-place add, which reads the output.
    pub buffer: usize,
    /// The whole buffer.
    pub shape: BufferShape,
    /// First channel read. In a packed buffer a multiple of 4, except for values added without a gate.
    pub first_channel: usize,
    /// Channels read.
    pub channels: usize,
    /// Stride of rows and columns, at least 1.
    pub stride: usize,
    /// 2x2 average pooling at stride 2: the view has the mean of each window's elements inside the buffer, and `stride` is 1. Only in 1x1
    /// K ranges without padding that are ungrouped or depthwise.
    pub avg_pool_2x2: bool,
}

impl Operand {
    /// Whether its buffer is packed.
    pub fn is_packed(&self) -> bool {
        self.shape.layout == Layout::Packed
    }

    /// `[height, width]` of the view.
    pub fn size(&self) -> [usize; 2] {
        let step = if self.avg_pool_2x2 { 2 } else { self.stride };
        [self.shape.height.div_ceil(step), self.shape.width.div_ceil(step)]
    }
}

/// One range of the K dimension of an implicit GEMM: a convolution of an operand's view, with zero padding.
///
/// Its weight is passed separately, f32, `[out_channels, channels / groups, kernel_h, kernel_w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KRange {
    /// The convolved operand.
    pub from: Operand,
    /// Applied to the operand before padding: `function(scale * x + shift)`, with a scale and shift per channel. Only
    /// [`Function::Identity`], `Relu` and `Relu6`, and only for packed buffers and ungrouped ranges.
    pub prologue: Option<Function>,
    /// `[height, width]` of the window.
    pub kernel: [usize; 2],
    /// Stride over the view's rows and columns.
    pub stride: [usize; 2],
    /// Zeros above and to the left of the view.
    pub padding: [usize; 2],
    /// Zeros below and to the right of the view.
    pub padding_end: [usize; 2],
    /// Distance between taps, in rows and columns of the view.
    pub dilation: [usize; 2],
    /// Number of groups of output and input channels.
    pub groups: usize,
}

impl KRange {
    /// Whether every output pixel reads exactly the view's pixel at the same position.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.padding_end == [0, 0]
    }
}

/// A value added before the activation: channel `c` of the view is added to output channel `first_out + c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Add {
    /// What is added.
    pub from: Operand,
    /// First output channel; a multiple of 4 where there is a gate.
    pub first_out: usize,
    /// A factor per image and channel: `[batch, channels, 1, 1]`.
    pub gate: Option<Operand>,
}

impl Add {
    /// Whether its quads align with quads of output channels.
    pub fn is_aligned(&self) -> bool {
        let starts = !self.from.is_packed() || self.from.first_channel.is_multiple_of(4);
        starts && self.first_out.is_multiple_of(4)
    }
}

/// A buffer written by a dispatch, and the output channels stored in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// Range of the dispatch's output channels; starts at a multiple of 4.
    pub channels: Range<usize>,
    /// The whole buffer.
    pub shape: BufferShape,
    /// First channel in the buffer; a multiple of 4 where the buffer is packed. Nonzero only where several dispatches fill one buffer,
    /// because the weights exceed a binding or because each computes some channels of the output.
    pub first_channel: usize,
}

/// `out = pool(activation(sum of K ranges + bias + sum of adds))`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvSpec {
    /// The convolved operands; empty for a plain sum.
    pub k_ranges: Vec<KRange>,
    /// What is added.
    pub adds: Vec<Add>,
    /// The first `in_place` adds read the (only) output buffer itself, each channel at its own position, so that an element is read and
    /// written by the same invocation. Channels not covered by them are overwritten.
    pub in_place: usize,
    /// Number of output channels of this dispatch.
    pub out_channels: usize,
    /// `[height, width]` before pooling.
    pub size: [usize; 2],
    /// Functions by ranges that partition the output channels.
    pub activation: Vec<(Range<usize>, Function)>,
    /// Max pool of the activated result, fused.
    pub pool: Option<MaxPool>,
    /// The written buffers, whose ranges partition the output channels.
    pub outputs: Vec<Output>,
}

/// Max pooling as a separate dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolSpec {
    /// The pooled operand (stride 1 only).
    pub from: Operand,
    /// The window.
    pub pool: MaxPool,
    /// The written buffer, with the same channels.
    pub to: BufferShape,
}

/// Global average pooling: mean over height and width.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AverageSpec {
    /// The averaged operand (stride 1 only).
    pub from: Operand,
    /// The written buffer, `[batch, channels, 1, 1]`.
    pub to: BufferShape,
}

/// What a dispatch computes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// Sum of convolutions and values, with its epilogue.
    Conv(ConvSpec),
    /// Max pooling.
    MaxPool(PoolSpec),
    /// Global average.
    Average(AverageSpec),
}

impl ConvSpec {
    /// Element type of its packed weights: [`Precision::F16`] if it reads or writes an f16 buffer.
    pub fn precision(&self) -> Precision {
        let adds = self.adds.iter().flat_map(|a| [Some(&a.from), a.gate.as_ref()]).flatten();
        let operands = self.k_ranges.iter().map(|k| &k.from).chain(adds);
        precision(operands.map(|o| &o.shape).chain(self.outputs.iter().map(|o| &o.shape)))
    }

    /// The same spec with height x width flattened to one row, if every output pixel reads only the pixels at its own position.
    pub(super) fn flattened(&self) -> ConvSpec {
        let plain = |o: &Operand| o.stride == 1 && !o.avg_pool_2x2 && o.size() == self.size;
        let pointwise = self.k_ranges.iter().all(|r| r.is_pointwise() && plain(&r.from));
        let mut flat = self.clone();
        if pointwise && self.adds.iter().all(|a| plain(&a.from)) && self.pool.is_none() {
            let row = [1, self.size[0] * self.size[1]];
            flat.size = row;
            let ranges = flat.k_ranges.iter_mut().map(|r| &mut r.from.shape);
            let adds = flat.adds.iter_mut().map(|a| &mut a.from.shape);
            let outputs = flat.outputs.iter_mut().map(|o| &mut o.shape);
            for shape in ranges.chain(adds).chain(outputs) {
                [shape.height, shape.width] = row;
            }
        }
        flat
    }

    /// Whether the convolution is a matrix times up to four vectors.
    pub(super) fn is_matrix_vector(&self) -> bool {
        let [range] = &self.k_ranges[..] else { return false };
        range.kernel == [1, 1]
            && range.padding == [0, 0]
            && range.padding_end == [0, 0]
            && range.groups == 1
            && range.prologue.is_none()
            && !range.from.avg_pool_2x2
            && range.from.size() == [1, 1]
            && range.from.shape.batch <= 4
            && self.pool.is_none()
    }

    /// Whether the weights include slopes.
    pub fn has_slopes(&self) -> bool {
        self.activation.iter().any(|(range, f)| *f == Function::PRelu && !range.is_empty())
    }
}

impl Spec {
    /// Element type of its packed buffers; see [`ConvSpec::precision`].
    pub fn precision(&self) -> Precision {
        precision(self.operands().into_iter().map(|o| &o.shape).chain(&self.outputs()))
    }

    /// Shapes of the written buffers, in binding order.
    pub fn outputs(&self) -> Vec<BufferShape> {
        match self {
            Spec::Conv(c) => c.outputs.iter().map(|o| o.shape).collect(),
            Spec::MaxPool(p) => vec![p.to],
            Spec::Average(a) => vec![a.to],
        }
    }

    /// Every operand read, in order: K ranges, adds, gates of adds.
    pub fn operands(&self) -> Vec<&Operand> {
        match self {
            Spec::Conv(c) => {
                let adds = c.adds.iter().map(|a| &a.from);
                let gates = c.adds.iter().filter_map(|a| a.gate.as_ref());
                c.k_ranges.iter().map(|k| &k.from).chain(adds).chain(gates).collect()
            }
            Spec::MaxPool(p) => vec![&p.from],
            Spec::Average(a) => vec![&a.from],
        }
    }
}

fn precision<'a>(mut shapes: impl Iterator<Item = &'a BufferShape>) -> Precision {
    match shapes.any(|s| s.precision == Precision::F16) {
        true => Precision::F16,
        false => Precision::F32,
    }
}
