//! A convolution dispatch in the making: what is summed, before it is bound to buffers.

use super::segment::Segment;
use super::weights::KWeight;
use crate::graph::{Activation, Conv2d};
use std::ops::Range;

/// The most values of a diagonal that are worth storing, zeros and all, to save a dispatch: 64 x 64.
const LITTLE: usize = 64 * 64;

/// Whether a diagonal of so many input channels among so many output channels may be a dense K range.
pub(super) fn is_little(out_channels: usize, channels: usize) -> bool {
    out_channels.saturating_mul(channels) <= LITTLE
}

/// One K range in the making.
#[derive(Clone)]
pub(super) struct Term {
    pub(super) from: Segment,
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
    pub(super) padding_end: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) groups: usize,
    pub(super) weight: KWeight,
}

impl Term {
    /// A K range with the window of a convolution.
    pub(super) fn window(conv: &Conv2d, from: Segment, groups: usize, weight: KWeight) -> Term {
        let &Conv2d { kernel, stride, padding, padding_end, dilation, .. } = conv;
        Term { from, kernel, stride, padding, padding_end, dilation, groups, weight }
    }

    /// A 1x1 K range.
    pub(super) fn pointwise(from: Segment, stride: [usize; 2], groups: usize, weight: KWeight) -> Term {
        let none = [0, 0];
        let dilation = [1, 1];
        Term { from, kernel: [1, 1], stride, padding: none, padding_end: none, dilation, groups, weight }
    }
}

/// Terms that are tried as the first of a part.
const MAX_STARTS: usize = 64;

/// A convolution dispatch in the making.
pub(super) struct Sum {
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
    pub(super) terms: Vec<Term>,
    pub(super) adds: Vec<(Segment, usize)>,
    pub(super) bias: Vec<f64>,
    pub(super) activation: Vec<(Range<usize>, Activation)>,
}

impl Sum {
    /// Nothing yet: no term, bias 0, no activation.
    pub(super) fn new(channels: usize, size: [usize; 2]) -> Sum {
        Sum {
            channels,
            size,
            terms: vec![],
            adds: vec![],
            bias: vec![0.0; channels],
            activation: vec![(0..channels, Activation::Identity)],
        }
    }

    /// The buffers it reads, each once.
    pub(super) fn buffers(&self) -> Vec<usize> {
        let terms = self.terms.iter().map(|t| &t.from);
        let mut all: Vec<usize> = terms.chain(self.adds.iter().map(|a| &a.0)).flat_map(buffers).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Takes terms and added values that together read at most `most` buffers, and at least two, as a linear sum without bias
    /// of its own: adding its result to what stays gives the sum. `None`, and nothing taken, where no two buffers fit.
    pub(super) fn split_off(&mut self, most: usize) -> Option<Sum> {
        let segments = || self.terms.iter().map(|t| &t.from).chain(self.adds.iter().map(|a| &a.0));
        // What reads more buffers than are left is passed over: what comes first decides what fits beside it.
        let taken = (0..segments().count().min(MAX_STARTS)).map(|first| {
            let mut taken: Vec<usize> = vec![];
            for segment in segments().skip(first) {
                let new: Vec<usize> = buffers(segment).filter(|b| !taken.contains(b)).collect();
                if taken.len() + new.len() <= most {
                    taken.extend(new);
                }
            }
            taken
        });
        let taken = taken.max_by_key(Vec::len).filter(|taken| taken.len() > 1)?;
        let fits = |segment: &Segment| buffers(segment).all(|b| taken.contains(&b));
        let mut part = Sum::new(self.channels, self.size);
        part.terms = self.terms.extract_if(.., |t| fits(&t.from)).collect();
        part.adds = self.adds.extract_if(.., |a| fits(&a.0)).collect();
        Some(part)
    }
}

fn buffers(segment: &Segment) -> impl Iterator<Item = usize> {
    [segment.buffer].into_iter().chain(segment.gate.as_ref().map(|g| g.buffer))
}
