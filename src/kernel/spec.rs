//! What one dispatch computes, as plain data: shapes, layouts, windows. No names, no weights, no buffers.
//!
//! Two dispatches of equal spec run the same pipeline, so a spec is also the key under which pipelines are shared.
//!
//! Layouts:
//! * [`Layout::Packed`]: `[batch][ceil(channels / 4)][height][width][4]`, lanes past the last channel zero. All activations, in f32 or f16.
//! * [`Layout::Planar`]: `[batch][channels][height][width]`, as an app has it. The network's input and its logits, in f32.

use super::Precision;
use crate::graph::{Activation, MaxPool};
use std::fmt;
use std::ops::Range;

/// A pointwise function, by kind: what it is parametrised with comes with the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// `x`
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` where it is at least zero, else `slope * x`, with a slope per output channel ([`ConvParameters::slopes`](super::Values)).
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
    /// Channels of one image, padding not counted.
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
    /// Elements, padding counted, at most [`usize::MAX`].
    pub fn elements(&self) -> usize {
        let channels = match self.layout {
            Layout::Packed => self.channels.checked_next_multiple_of(4).unwrap_or(usize::MAX),
            Layout::Planar => self.channels,
        };
        [channels, self.height, self.width].iter().fold(self.batch, |n, f| n.saturating_mul(*f))
    }

    /// Bytes, padding counted, at most [`usize::MAX`].
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.precision.bytes())
    }

    /// Where element (`image`, `channel`, `y`, `x`) lies, in elements from the start.
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

/// A channel range of a buffer, every `stride`-th row and column of it: the view `v[c, i, j] = buffer[first + c, s*i, s*j]`;
/// or the means of its 2x2 windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// Which of the dispatch's read buffers; for an in-place add, unused (the buffer is the output).
    pub buffer: usize,
    /// The whole buffer.
    pub shape: BufferShape,
    /// First channel read; a multiple of 4 in a packed buffer, but for what is added without a gate.
    pub first_channel: usize,
    /// Channels read.
    pub channels: usize,
    /// Distance of rows and columns read, at least 1.
    pub stride: usize,
    /// The view is of 2x2 means at stride 2, over the elements inside, and `stride` is 1. Only in 1x1 K ranges without
    /// padding that are not grouped, or depthwise.
    pub avg_pool_2x2: bool,
}

impl Operand {
    /// Whether its buffer is in quads.
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
/// Its weight is handed over apart from the spec, f32, `[out_channels, channels / groups, kernel_h, kernel_w]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KRange {
    /// What is convolved.
    pub from: Operand,
    /// The operand's elements are taken as `function(scale * x + shift)`, a scale and shift per channel, before the zeros of
    /// the padding. Only [`Function::Identity`], `Relu` and `Relu6`; only of a packed buffer, not grouped.
    pub prologue: Option<Function>,
    /// `[height, width]` of the window.
    pub kernel: [usize; 2],
    /// Applied to the view's rows and columns.
    pub stride: [usize; 2],
    /// Zeros above and to the left of the view.
    pub padding: [usize; 2],
    /// Zeros below and to the right of it.
    pub padding_end: [usize; 2],
    /// Distance between taps, in rows and columns of the view.
    pub dilation: [usize; 2],
    /// Output and input channels are cut into that many equal parts.
    pub groups: usize,
}

impl KRange {
    /// Whether every output element reads the view's element at its own position.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.padding_end == [0, 0]
    }
}

/// A value added before the activation: output channel `first_out + c` gets channel `c` of the view at its own position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Add {
    /// What is added.
    pub from: Operand,
    /// First output channel that gets it; a multiple of 4 where there is a gate.
    pub first_out: usize,
    /// A factor per image and channel that it is multiplied by: `[batch, channels, 1, 1]`.
    pub gate: Option<Operand>,
}

impl Add {
    /// Whether whole quads of it are added to whole quads of output channels.
    pub fn is_aligned(&self) -> bool {
        let starts = !self.from.is_packed() || self.from.first_channel.is_multiple_of(4);
        starts && self.first_out.is_multiple_of(4)
    }
}

/// One buffer a dispatch writes, with the output channels that go there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// Output channels of the dispatch; starts at a multiple of 4.
    pub channels: Range<usize>,
    /// The whole buffer.
    pub shape: BufferShape,
    /// Channel of the buffer where the range goes; a multiple of 4 where the buffer is packed. Not zero only where one buffer is
    /// filled by several dispatches: each with its share of weights under the binding limit, or each with some channels of the output.
    pub first_channel: usize,
}

/// `out = pool(activation(sum of K ranges + bias + sum of adds))`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvSpec {
    /// What is multiplied; empty for a plain sum.
    pub k_ranges: Vec<KRange>,
    /// What is added.
    pub adds: Vec<Add>,
    /// So many of the first adds are of the (only) output buffer itself: each of its channels goes to the output channel of
    /// that number, so that an element is read and written by one owner. Channels that none of them covers are overwritten.
    pub in_place: usize,
    /// Output channels computed by this dispatch.
    pub out_channels: usize,
    /// `[height, width]` before pooling.
    pub size: [usize; 2],
    /// Partition of the output channels.
    pub activation: Vec<(Range<usize>, Function)>,
    /// Max pool of the activated result, fused.
    pub pool: Option<MaxPool>,
    /// Where the result goes: a partition of the output channels.
    pub outputs: Vec<Output>,
}

/// Max pooling as a dispatch of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolSpec {
    /// What is pooled (stride 1 views only).
    pub from: Operand,
    /// The window.
    pub pool: MaxPool,
    /// The buffer written, same channels.
    pub to: BufferShape,
}

/// Mean over height and width.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AverageSpec {
    /// What is averaged (stride 1 views only).
    pub from: Operand,
    /// The buffer written, `[batch, channels, 1, 1]`.
    pub to: BufferShape,
}

/// What a dispatch computes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Spec {
    /// Sum of convolutions and values, with its epilogue.
    Conv(ConvSpec),
    /// Max pooling on its own.
    MaxPool(PoolSpec),
    /// Global average.
    Average(AverageSpec),
}

impl ConvSpec {
    /// Element type of its packed weights: [`Precision::F16`] where it reads or writes a buffer of that.
    pub fn precision(&self) -> Precision {
        let adds = self.adds.iter().flat_map(|a| [Some(&a.from), a.gate.as_ref()]).flatten();
        let operands = self.k_ranges.iter().map(|k| &k.from).chain(adds);
        precision(operands.map(|o| &o.shape).chain(self.outputs.iter().map(|o| &o.shape)))
    }

    /// The same with its maps as one row each, where every output element reads the views' elements at its own position only.
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

    /// Whether a convolution is a matrix times a few vectors.
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

    /// Whether slopes come with the weights.
    pub fn has_slopes(&self) -> bool {
        self.activation.iter().any(|(range, f)| *f == Function::PRelu && !range.is_empty())
    }
}

impl Spec {
    /// Element type of its packed buffers; see [`ConvSpec::precision`].
    pub fn precision(&self) -> Precision {
        precision(self.operands().into_iter().map(|o| &o.shape).chain(&self.outputs()))
    }

    /// Shapes of the buffers written, in binding order.
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
