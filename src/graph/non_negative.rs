//! Infers which channels are never negative.

use super::{Activation, Graph, Op, Shape};
use std::ops::Range;
use std::sync::Arc;

/// Disjoint channel ranges, in order.
type Ranges = Arc<[Range<usize>]>;

impl Graph {
    /// For each value, the disjoint channel ranges, in order, that are provably never negative. Values with equal ranges share
    /// them.
    pub fn non_negative(&self) -> Vec<Ranges> {
        let mut facts: Vec<Ranges> = Vec::with_capacity(self.nodes().len());
        let none: Ranges = Arc::new([]);
        for node in self.nodes() {
            let of = |i: usize| &facts[node.inputs[i].index()];
            let all = || -> Ranges { std::iter::once(0..node.shape.channels).collect() };
            let after = |a: &Activation, x: Ranges| if a.non_negative(false) { all() } else { x };
            let fact = match &node.op {
                Op::Input(_) | Op::BatchNorm(_) => none.clone(),
                Op::Conv2d(conv) => {
                    let clamped = conv.activation.iter().filter(|(_, a)| a.non_negative(false));
                    joined(clamped.map(|(range, _)| range.clone()))
                }
                Op::Slice(range) => {
                    let moved = |r: Range<usize>| r.start - range.start..r.end - range.start;
                    joined(shared(of(0), std::slice::from_ref(range)).map(moved))
                }
                Op::Gate { first } => gated(of(0), of(1), self.shape(node.inputs[1]), *first, &node.shape),
                Op::Activation(a) => after(a, of(0).clone()),
                Op::Add(a) if a.non_negative(false) => all(),
                Op::Add(_) => both(of(0), of(1)),
                Op::MaxPool(_) | Op::AvgPool2x2 | Op::GlobalAverage => of(0).clone(),
            };
            facts.push(fact);
        }
        facts
    }
}

/// Ranges in order, touching ones merged and empty ones left out.
fn joined(ranges: impl Iterator<Item = Range<usize>>) -> Ranges {
    let mut all: Vec<Range<usize>> = vec![];
    for range in ranges.filter(|r| !r.is_empty()) {
        match all.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => all.push(range),
        }
    }
    all.into()
}

/// The intersection of two lists of ranges.
fn shared<'a>(a: &'a [Range<usize>], b: &'a [Range<usize>]) -> impl Iterator<Item = Range<usize>> + 'a {
    let (mut i, mut j) = (0, 0);
    std::iter::from_fn(move || {
        while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
            let common = x.start.max(y.start)..x.end.min(y.end);
            if x.end <= y.end {
                i += 1
            } else {
                j += 1
            }
            if common.start < common.end {
                return Some(common);
            }
        }
        None
    })
}

/// The intersection; it reuses `a` or `b` if equal to it.
fn both(a: &Ranges, b: &Ranges) -> Ranges {
    let common = joined(shared(a, b));
    [a, b].into_iter().find(|r| **r == common).cloned().unwrap_or(common)
}

/// Channels of `x` that stay non-negative after a gate on channels `first..first + gate.channels`.
fn gated(x: &Ranges, factors: &Ranges, gate: Shape, first: usize, shape: &Shape) -> Ranges {
    let end = first + gate.channels;
    let inner = factors.iter().map(|r| r.start + first..r.end + first);
    let passed: Vec<Range<usize>> = std::iter::once(0..first)
        .chain(inner)
        .chain(std::iter::once(end..shape.channels))
        .filter(|r| !r.is_empty())
        .collect();
    both(x, &joined(passed.into_iter()))
}
