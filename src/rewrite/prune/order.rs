//! The order of the kept channels.
//!
//! A stream is a channel that block after block adds to. It keeps its position from block to block, so that the channels carried
//! past a block are a range of its input and the Add at the block's end is in place. Streams that last longest come first; where
//! a stream ends, a new one takes its position.

use super::channels::{Channels, carries, convs};
use super::weights::{groups, is_diagonal};
use crate::graph::{Block, Conv2d, Graph, Op, ValueId};
use std::cmp::Reverse;
use std::ops::Range;

/// Per value, the kept channels in their new order.
pub(super) struct Order {
    kept: Vec<Vec<usize>>,
    /// Per value and old channel.
    position: Vec<Vec<Option<usize>>>,
}

impl Order {
    pub(super) fn new(graph: &Graph, channels: &Channels, alive: &[bool]) -> Order {
        let ends = ends(graph, channels, alive);
        // Per class, its position in the first value in which it was ordered.
        let mut lanes: Vec<Option<usize>> = vec![None; alive.len()];
        let mut order = Order { kept: vec![], position: vec![] };
        for v in graph.values() {
            let node = graph.node(v);
            let kept = match &node.op {
                Op::Input(shape) => (0..shape.channels).collect(),
                Op::Conv2d(conv) => {
                    let mut kept = vec![];
                    for rows in ranges(conv) {
                        let rows = lay(channels, alive, &ends, &mut lanes, v, conv, rows, kept.len());
                        kept.extend(rows);
                    }
                    kept
                }
                Op::Slice(range) => {
                    let inside = order.kept[node.inputs[0].index()].iter().filter(|c| range.contains(c));
                    inside.map(|c| c - range.start).collect()
                }
                _ => order.kept[node.inputs[0].index()].clone(),
            };
            let mut position = vec![None; node.shape.channels];
            kept.iter().enumerate().for_each(|(new, old): (usize, &usize)| position[*old] = Some(new));
            order.kept.push(kept);
            order.position.push(position);
        }
        order
    }

    /// The old channels of a value, in their new order.
    pub(super) fn kept(&self, v: ValueId) -> &[usize] {
        &self.kept[v.index()]
    }

    /// The new place of an old channel.
    pub(super) fn position(&self, v: ValueId, channel: usize) -> Option<usize> {
        self.position[v.index()][channel]
    }
}

/// Per class, the node at which its stream ends.
fn ends(graph: &Graph, channels: &Channels, alive: &[bool]) -> Vec<usize> {
    let begin = |members: &Vec<usize>| channels.locate(members[0]).0.index();
    let mut ends: Vec<usize> = channels.members.iter().map(begin).collect();
    let convs: Vec<_> = convs(graph).collect();
    for (v, conv, x) in convs.into_iter().rev() {
        for block in conv.blocks.iter().filter(|b| is_diagonal(b)) {
            for (o, i) in block.out.clone().zip(block.input.clone()) {
                let (to, from) = (channels.class(v, o), channels.class(x, i));
                if alive[to] && alive[from] {
                    ends[from] = ends[from].max(ends[to]);
                }
            }
        }
    }
    ends
}

/// Ranges of output channels that can be ordered independently: cut where blocks begin and end, but not through rows that read
/// the same inputs or that are summed.
fn ranges(conv: &Conv2d) -> Vec<Range<usize>> {
    let overlaps = |a: &Block, b: &Block| a.out.start < b.out.end && b.out.start < a.out.end;
    let shared = |b: &Block| match is_diagonal(b) {
        true => conv.blocks.iter().filter(|o| overlaps(o, b)).count() > 1,
        false => groups(b) == 1,
    };
    let through =
        |cut: &usize| conv.blocks.iter().any(|b| shared(b) && b.out.start < *cut && *cut < b.out.end);
    let mut cuts: Vec<usize> = conv.blocks.iter().flat_map(|b| [b.out.start, b.out.end]).collect();
    cuts.retain(|cut| !through(cut));
    cuts.extend([0, conv.out_channels]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|w| w[0]..w[1]).collect()
}

/// Orders the rows of one range, which starts at kept channel `first` of the value.
#[allow(clippy::too_many_arguments, reason = "a range of a convolution, and what is known of all channels")]
fn lay(
    channels: &Channels,
    alive: &[bool],
    ends: &[usize],
    lanes: &mut [Option<usize>],
    v: ValueId,
    conv: &Conv2d,
    rows: Range<usize>,
    first: usize,
) -> Vec<usize> {
    let class = |o: usize| channels.class(v, o);
    let mut kept: Vec<usize> = rows.clone().filter(|o| alive[class(*o)]).collect();
    // The position of the row's class if it has one, else of the stream that it continues.
    let wanted = |lanes: &[Option<usize>], o: usize| {
        let mut at = Some(class(o));
        while let Some(c) = at {
            if lanes[c].is_some() {
                return lanes[c];
            }
            at = channels.from[c].filter(|from| alive[*from]);
        }
        None
    };
    let mut classes: Vec<usize> = kept.iter().map(|o| class(*o)).collect();
    classes.sort_unstable();
    classes.dedup();
    let follows = kept.iter().all(|o| carries(conv, *o) || lanes[class(*o)].is_some());
    if follows || classes.len() < kept.len() {
        let key =
            |o: &usize| (wanted(lanes, *o).unwrap_or(usize::MAX), Reverse(ends[class(*o)]), class(*o), *o);
        kept.sort_by_key(key);
        for (place, &o) in kept.iter().enumerate() {
            let lane = wanted(lanes, o).unwrap_or(first + place);
            lanes[class(o)].get_or_insert(lane);
        }
        return kept;
    }
    let mut places: Vec<Option<usize>> = vec![None; kept.len()];
    let mut homeless = vec![];
    for o in kept {
        let lane = wanted(lanes, o);
        match lane.and_then(|lane| places.get_mut(lane.checked_sub(first)?)) {
            Some(place @ None) => *place = Some(o),
            _ => homeless.push((lane.unwrap_or(usize::MAX), Reverse(ends[class(o)]), class(o), o)),
        }
    }
    homeless.sort_unstable();
    let mut homeless = homeless.into_iter().map(|(.., o)| o);
    let kept: Vec<usize> = places.into_iter().filter_map(|p| p.or_else(|| homeless.next())).collect();
    kept.iter().enumerate().for_each(|(place, &o)| lanes[class(o)] = Some(first + place));
    kept
}
