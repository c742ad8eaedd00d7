//! Builders of convolution dispatches, before they are bound to buffers.

use super::channel_view::ChannelView;
use super::weights::KWeight;
use crate::graph::{Activation, Conv2d};
use std::ops::Range;

/// Maximum size (64 x 64) of a diagonal stored as a dense weight, zeros included, to save a dispatch.
const MAX_DENSE_DIAGONAL: usize = 64 * 64;

/// Whether a diagonal of `channels` input channels may be stored as a dense K range.
pub(super) fn fits_dense_diagonal(out_channels: usize, channels: usize) -> bool {
    out_channels.saturating_mul(channels) <= MAX_DENSE_DIAGONAL
}

/// A K range under construction.
#[derive(Clone)]
pub(super) struct KRangeBuilder {
    pub(super) from: ChannelView,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) padding_end: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) groups: usize,
    pub(super) weight: KWeight,
}

impl KRangeBuilder {
    /// A K range with the window of a convolution.
    pub(super) fn window(conv: &Conv2d, from: ChannelView, groups: usize, weight: KWeight) -> KRangeBuilder {
        let &Conv2d { kernel, stride, padding, padding_end, dilation, .. } = conv;
        KRangeBuilder { from, kernel, stride, padding, padding_end, dilation, groups, weight }
    }

    /// A 1x1 K range.
    pub(super) fn pointwise(
        from: ChannelView,
        stride: [usize; 2],
        groups: usize,
        weight: KWeight,
    ) -> KRangeBuilder {
        let none = [0, 0];
        let dilation = [1, 1];
        KRangeBuilder {
            from,
            kernel: [1, 1],
            stride,
            padding: none,
            padding_end: none,
            dilation,
            groups,
            weight,
        }
    }
}

/// Maximum number of operands tried as the first of a part.
const MAX_STARTS: usize = 64;

/// A convolution dispatch under construction.
pub(super) struct ConvBuilder {
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    pub(super) k_ranges: Vec<KRangeBuilder>,
    pub(super) adds: Vec<(ChannelView, usize)>,
    pub(super) bias: Vec<f64>,
    pub(super) activation: Vec<(Range<usize>, Activation)>,
}

impl ConvBuilder {
    /// An empty sum: no operands, bias 0, no activation.
    pub(super) fn new(channels: usize, size: [usize; 2]) -> ConvBuilder {
        ConvBuilder {
            channels,
            size,
            k_ranges: vec![],
            adds: vec![],
            bias: vec![0.0; channels],
            activation: vec![(0..channels, Activation::Identity)],
        }
    }

    /// The buffers it reads, each once.
    pub(super) fn buffers(&self) -> Vec<usize> {
        let k_ranges = self.k_ranges.iter().map(|t| &t.from);
        let mut all: Vec<usize> = k_ranges.chain(self.adds.iter().map(|a| &a.0)).flat_map(buffers).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Splits off K ranges and added values that together read at least two and at most `most` buffers, as a linear sum without bias:
    /// adding its result to the rest gives the original sum. `None`, without changes, if no two buffers fit.
    pub(super) fn split_off(&mut self, most: usize) -> Option<ConvBuilder> {
        let views = || self.k_ranges.iter().map(|t| &t.from).chain(self.adds.iter().map(|a| &a.0));
        // Operands that would exceed `most` are skipped, so the first operand determines which others fit.
        let taken = (0..views().count().min(MAX_STARTS)).map(|first| {
            let mut taken: Vec<usize> = vec![];
            for view in views().skip(first) {
                let new: Vec<usize> = buffers(view).filter(|b| !taken.contains(b)).collect();
                if taken.len() + new.len() <= most {
                    taken.extend(new);
                }
            }
            taken
        });
        let taken = taken.max_by_key(Vec::len).filter(|taken| taken.len() > 1)?;
        let fits = |view: &ChannelView| buffers(view).all(|b| taken.contains(&b));
        let mut part = ConvBuilder::new(self.channels, self.size);
        part.k_ranges = self.k_ranges.extract_if(.., |t| fits(&t.from)).collect();
        part.adds = self.adds.extract_if(.., |a| fits(&a.0)).collect();
        Some(part)
    }
}

fn buffers(view: &ChannelView) -> impl Iterator<Item = usize> {
    [view.buffer].into_iter().chain(view.gate.as_ref().map(|g| g.buffer))
}
