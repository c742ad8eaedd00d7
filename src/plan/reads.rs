//! The operands of a dispatch, and the buffers that they name.

use super::BufferId;
use super::channel_view::ChannelView;
use super::conv_builder::KRangeBuilder;
use crate::kernel::{Add, KRange, Operand};
use std::collections::HashMap;
use std::ops::Range;

/// The buffers that a dispatch reads, each once.
#[derive(Default)]
pub(super) struct Reads {
    pub(super) buffers: Vec<BufferId>,
    /// Position in `buffers` by buffer.
    bound: HashMap<usize, usize>,
}

impl Reads {
    /// The operand with its buffer replaced by the position in `buffers`.
    fn bind(&mut self, operand: Operand) -> Operand {
        let buffer = *self.bound.entry(operand.buffer).or_insert_with(|| {
            self.buffers.push(BufferId(operand.buffer));
            self.buffers.len() - 1
        });
        Operand { buffer, ..operand }
    }

    /// A K range of the spec.
    pub(super) fn k_range(&mut self, t: &KRangeBuilder) -> KRange {
        KRange {
            from: self.bind(t.from.operand()),
            prologue: t.from.prologue.as_ref().map(|m| m.function),
            kernel: t.kernel,
            stride: t.stride,
            padding: t.padding,
            padding_end: t.padding_end,
            dilation: t.dilation,
            groups: t.groups,
        }
    }

    /// The part of a view that is added to `rows` of a sum, if the view is added from channel `first_out` on; `None` if they do not
    /// overlap.
    pub(super) fn add(&mut self, view: &ChannelView, first_out: usize, rows: &Range<usize>) -> Option<Add> {
        let (lo, hi) = (rows.start.max(first_out), rows.end.min(first_out + view.channels));
        if lo >= hi {
            return None;
        }
        let part = view.sub(lo - first_out..hi - first_out);
        let from = self.bind(part.operand());
        let gate = part.gate.as_ref().map(|g| {
            let gate = ChannelView::whole(g.buffer, g.shape, false).operand();
            self.bind(Operand { first_channel: g.first_channel, channels: part.channels, ..gate })
        });
        Some(Add { from, first_out: lo - rows.start, gate })
    }
}
