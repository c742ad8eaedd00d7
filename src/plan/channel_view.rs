//! The planner's representation of values: channel ranges of buffers, seen through views.

use crate::graph::{Activation, Block, BlockWeight, Conv2d};
use crate::kernel::{BufferShape, Function, Layout, Operand};
use std::ops::Range;
use std::sync::Arc;

/// A channel range of a virtual buffer, seen through a view: an optional prologue, then average pooling or a stride; or a gate.
#[derive(Clone, Debug)]
pub(super) struct ChannelView {
    pub(super) buffer: usize,
    pub(super) shape: BufferShape,
    pub(super) first_channel: usize,
    pub(super) channels: usize,
    /// Every `stride`-th row and column.
    pub(super) stride: usize,
    /// 2x2 average pooling at stride 2 (then `stride` is 1).
    pub(super) avg_pool_2x2: bool,
    pub(super) prologue: Option<Arc<Prologue>>,
    pub(super) gate: Option<Gate>,
    /// Whether no stored element is below zero.
    pub(super) non_negative: bool,
}

/// `function(scale * x + shift)`, per channel of a view.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prologue {
    pub(super) function: Function,
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

/// Channels of a `[batch, channels, 1, 1]` buffer by which a view's channels are multiplied.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) buffer: usize,
    pub(super) shape: BufferShape,
    pub(super) first_channel: usize,
}

impl ChannelView {
    /// A whole buffer, unmodified.
    pub(super) fn whole(buffer: usize, shape: BufferShape, non_negative: bool) -> ChannelView {
        ChannelView {
            buffer,
            shape,
            first_channel: 0,
            channels: shape.channels,
            stride: 1,
            avg_pool_2x2: false,
            prologue: None,
            gate: None,
            non_negative,
        }
    }

    /// A range of its channels.
    pub(super) fn sub(&self, range: Range<usize>) -> ChannelView {
        let prologue = self.prologue.as_ref().map(|m| {
            let (scale, shift) = (m.scale[range.clone()].to_vec(), m.shift[range.clone()].to_vec());
            Arc::new(Prologue { function: m.function, scale, shift })
        });
        let gate =
            self.gate.as_ref().map(|g| Gate { first_channel: g.first_channel + range.start, ..g.clone() });
        let first_channel = self.first_channel + range.start;
        ChannelView { first_channel, channels: range.len(), prologue, gate, ..self.clone() }
    }

    /// Every `stride`-th row and column; `None` if the view cannot be strided.
    pub(super) fn strided(&self, stride: usize) -> Option<ChannelView> {
        let possible = stride == 1 || !self.avg_pool_2x2 && self.gate.is_none();
        possible.then(|| ChannelView { stride: self.stride * stride, ..self.clone() })
    }

    /// Its 2x2 average pooling; `None` if the view cannot be pooled.
    pub(super) fn avg_pooled(&self) -> Option<ChannelView> {
        let packed = self.shape.layout == Layout::Packed;
        let possible = packed && self.stride == 1 && !self.avg_pool_2x2 && self.gate.is_none();
        possible.then(|| ChannelView { avg_pool_2x2: true, ..self.clone() })
    }

    /// The view with a prologue applied; `None` if it cannot have one, or not this one.
    pub(super) fn with_prologue(&self, prologue: Prologue) -> Option<ChannelView> {
        if self.shape.layout != Layout::Packed || self.avg_pool_2x2 || self.gate.is_some() {
            return None;
        }
        let prologue = match self.prologue.as_deref() {
            None => prologue,
            Some(Prologue { function: Function::Identity, scale, shift }) => {
                let shift =
                    shift.iter().zip(&prologue.scale).zip(&prologue.shift).map(|((b, s), t)| s * b + t);
                let shift = shift.collect();
                let scale = scale.iter().zip(&prologue.scale).map(|(a, s)| a * s).collect();
                Prologue { function: prologue.function, scale, shift }
            }
            Some(_) => return None,
        };
        let loadable = matches!(prologue.function, Function::Identity | Function::Relu | Function::Relu6);
        loadable.then(|| ChannelView { prologue: Some(Arc::new(prologue)), ..self.clone() })
    }

    /// The view itself, if a K range of one tap can read it with this stride.
    pub(super) fn tapped(&self, stride: [usize; 2]) -> Option<ChannelView> {
        let possible = self.gate.is_none() && (!self.avg_pool_2x2 || stride == [1, 1]);
        possible.then(|| self.clone())
    }

    /// Whether it shows the buffer's elements unmodified.
    pub(super) fn is_plain(&self) -> bool {
        self.stride == 1 && !self.avg_pool_2x2 && self.prologue.is_none() && self.gate.is_none()
    }

    /// Whether an epilogue can add it, or a grouped convolution read it, apart from its gate.
    pub(super) fn is_strided(&self) -> bool {
        !self.avg_pool_2x2 && self.prologue.is_none()
    }

    /// Whether no element seen through the view is below zero.
    pub(super) fn is_non_negative(&self) -> bool {
        match &self.prologue {
            None => self.non_negative,
            Some(prologue) => prologue.function != Function::Identity,
        }
    }

    /// The operand, with the buffer's virtual number.
    pub(super) fn operand(&self) -> Operand {
        Operand {
            buffer: self.buffer,
            shape: self.shape,
            first_channel: self.first_channel,
            channels: self.channels,
            stride: self.stride,
            avg_pool_2x2: self.avg_pool_2x2,
        }
    }

    /// Whether its quads align with quads of output channels from `first_out` on.
    pub(super) fn quad_aligned(&self, first_out: usize) -> bool {
        let ends = self.first_channel + self.channels == self.shape.channels;
        self.shape.layout == Layout::Packed
            && self.first_channel.is_multiple_of(4)
            && first_out.is_multiple_of(4)
            && (self.channels.is_multiple_of(4) || ends)
    }

    /// A gated view extended to whole quads, and the range of the original channels in it. The added channels have the same gate, as
    /// gates begin at a quad.
    pub(super) fn whole_quads(&self) -> (ChannelView, Range<usize>) {
        let lead = self.first_channel % 4;
        let first_channel = self.first_channel - lead;
        let end = (self.first_channel + self.channels).next_multiple_of(4).min(self.shape.channels);
        let gate = self.gate.as_ref().map(|g| Gate { first_channel: g.first_channel - lead, ..g.clone() });
        let whole = ChannelView { first_channel, channels: end - first_channel, gate, ..self.clone() };
        (whole, lead..lead + self.channels)
    }

    /// The view extended to the start of its first quad, and the number of channels added in front (which need zero weights).
    pub(super) fn quad_start(mut self) -> (ChannelView, usize) {
        if self.shape.layout == Layout::Planar {
            return (self, 0);
        }
        let lead = self.first_channel % 4;
        self.first_channel -= lead;
        self.channels += lead;
        if let Some(prologue) = self.prologue.as_ref().filter(|_| lead > 0) {
            let front =
                |values: &[f64]| std::iter::repeat_n(0.0, lead).chain(values.iter().copied()).collect();
            let (scale, shift) = (front(&prologue.scale), front(&prologue.shift));
            self.prologue = Some(Arc::new(Prologue { function: prologue.function, scale, shift }));
        }
        (self, lead)
    }
}

/// Counts how many of a set of non-empty ranges overlap a given range.
struct RangeOverlaps {
    starts: Vec<usize>,
    ends: Vec<usize>,
}

impl RangeOverlaps {
    fn of<'a>(ranges: impl Iterator<Item = &'a Range<usize>>) -> RangeOverlaps {
        let (mut starts, mut ends): (Vec<usize>, Vec<usize>) = ranges.map(|r| (r.start, r.end)).unzip();
        starts.sort_unstable();
        ends.sort_unstable();
        RangeOverlaps { starts, ends }
    }

    /// Number of ranges that overlap `range`.
    fn with(&self, range: &Range<usize>) -> usize {
        let begun = self.starts.partition_point(|start| *start < range.end);
        begun - self.ends.partition_point(|end| *end <= range.start)
    }
}

/// Output channels, split where blocks begin and end. Rows of an ungrouped dense block, which multiply the same operand, and of a
/// diagonal block that is part of a sum are computed together and not split.
pub(super) fn row_ranges(conv: &Conv2d) -> Vec<Range<usize>> {
    let all = RangeOverlaps::of(conv.blocks.iter().map(|b| &b.out));
    let together = conv.blocks.iter().filter(|b| match &b.weight {
        BlockWeight::Dense { groups, .. } => *groups == 1,
        BlockWeight::Pointwise(_) => true,
        _ => all.with(&b.out) > 1,
    });
    let together = RangeOverlaps::of(together.map(|b| &b.out));
    // A cut goes through a range that begins before it and ends after it.
    let through = |cut: &usize| *cut > 0 && together.with(&(*cut..*cut)) > 0;
    let mut cuts: Vec<usize> = conv.blocks.iter().flat_map(|b| [b.out.start, b.out.end]).collect();
    cuts.retain(|cut| !through(cut));
    cuts.extend([0, conv.out_channels]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|w| w[0]..w[1]).collect()
}

/// The input channels for which a convolution cannot apply a prologue: those of grouped blocks, and those it passes on into a sum.
pub(super) fn channels_without_prologue(conv: &Conv2d) -> impl Iterator<Item = Range<usize>> {
    let all = RangeOverlaps::of(conv.blocks.iter().map(|b| &b.out));
    let handles = move |b: &&Block| match &b.weight {
        BlockWeight::Dense { groups, .. } => *groups == 1,
        BlockWeight::Pointwise(_) => true,
        _ => all.with(&b.out) == 1,
    };
    conv.blocks.iter().filter(move |b| !handles(b)).map(|b| b.input.clone())
}

/// The activations of a channel range, relative to its start.
pub(super) fn clip(
    activation: &[(Range<usize>, Activation)],
    rows: &Range<usize>,
) -> Vec<(Range<usize>, Activation)> {
    activation
        .iter()
        .map(|(r, a)| (r, r.start.max(rows.start)..r.end.min(rows.end), a))
        .filter(|(_, shared, _)| shared.start < shared.end)
        .map(|(r, s, a)| {
            (s.start - rows.start..s.end - rows.start, a.part(s.start - r.start..s.end - r.start))
        })
        .collect()
}

/// The views that make up a channel range of a value: each with the part of it used, and the offset of that part in the range.
pub(super) fn pieces(
    value: &[ChannelView],
    range: Range<usize>,
) -> impl Iterator<Item = (&ChannelView, Range<usize>, usize)> {
    let mut start = 0;
    value.iter().filter_map(move |s| {
        let (first, end) = (start, start + s.channels);
        start = end;
        let (lo, hi) = (range.start.max(first), range.end.min(end));
        (lo < hi).then(|| (s, lo - first..hi - first, lo - range.start))
    })
}
