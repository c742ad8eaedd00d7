//! Classes of channels that must be removed together, and which of them may be removed.

use super::PruneOptions;
use super::weights::{group_inputs, groups, is_diagonal};
use crate::graph::{Conv2d, Graph, Op, ValueId};

/// Numbers all channels of all values, and groups those that must be kept or removed together into classes.
pub(super) struct Channels {
    /// Number of each value's first channel, and the count of all.
    base: Vec<usize>,
    class: Vec<usize>,
    /// Per class, its channels in order.
    pub(super) members: Vec<Vec<usize>>,
    /// Per class, whether it is part of the input or the output.
    pub(super) fixed: Vec<bool>,
    /// Per class, the class that it is carried from or that is added to it, if another.
    pub(super) from: Vec<Option<usize>>,
}

impl Channels {
    pub(super) fn new(graph: &Graph, options: &PruneOptions) -> Channels {
        let mut base = vec![0];
        for node in graph.nodes() {
            base.push(base[base.len() - 1] + node.shape.channels);
        }
        let count = base[base.len() - 1];
        let mut parent: Vec<usize> = (0..count).collect();
        let mut gated = vec![false; count];
        let at = |v: ValueId, c: usize| base[v.index()] + c;
        for v in graph.values().skip(1) {
            let node = graph.node(v);
            let x = node.inputs[0];
            match &node.op {
                Op::Conv2d(conv) => {
                    for (b, block) in conv.blocks.iter().enumerate() {
                        if is_diagonal(block) {
                            for (o, i) in block.out.clone().zip(block.input.clone()) {
                                let joins = gated[at(x, i)] && !carries(conv, o);
                                if options.coupled || joins {
                                    union(&mut parent, at(v, o), at(x, i));
                                }
                            }
                        } else if groups(block) > 1 {
                            for (r, o) in block.out.clone().enumerate() {
                                for i in group_inputs(&conv.blocks[b], r) {
                                    union(&mut parent, at(v, o), at(x, i));
                                }
                            }
                        }
                    }
                }
                Op::Slice(range) => {
                    for (c, i) in range.clone().enumerate() {
                        gated[at(v, c)] = gated[at(x, i)];
                        union(&mut parent, at(v, c), at(x, i));
                    }
                }
                _ => {
                    for c in 0..node.shape.channels {
                        gated[at(v, c)] = gated[at(x, c)];
                        union(&mut parent, at(v, c), at(x, c));
                    }
                    match (&node.op, node.inputs.get(1)) {
                        (Op::Gate { first }, Some(gate)) => {
                            for g in 0..graph.shape(*gate).channels {
                                gated[at(v, first + g)] = true;
                                union(&mut parent, at(v, first + g), at(*gate, g));
                            }
                        }
                        (_, Some(other)) => {
                            (0..node.shape.channels)
                                .for_each(|c| union(&mut parent, at(v, c), at(*other, c)));
                        }
                        _ => {}
                    }
                }
            }
        }
        // Classes in the order of their first channels: a root is the least of its members.
        let mut class = vec![0; count];
        let mut members: Vec<Vec<usize>> = vec![];
        for e in 0..count {
            let root = find(&mut parent, e);
            if root == e {
                class[e] = members.len();
                members.push(vec![]);
            } else {
                class[e] = class[root];
            }
            members[class[e]].push(e);
        }
        let mut fixed = vec![false; members.len()];
        for v in [ValueId::INPUT, graph.output()] {
            (0..graph.shape(v).channels).for_each(|c| fixed[class[at(v, c)]] = true);
        }
        let from = vec![None; members.len()];
        let mut channels = Channels { base, class, members, fixed, from };
        channels.follow(graph);
        channels
    }

    /// Fills in where each class comes from.
    fn follow(&mut self, graph: &Graph) {
        for (v, conv, x) in convs(graph) {
            for block in conv.blocks.iter().filter(|b| is_diagonal(b)) {
                for (o, i) in block.out.clone().zip(block.input.clone()) {
                    let (to, from) = (self.class(v, o), self.class(x, i));
                    if to != from && self.from[to].is_none() {
                        self.from[to] = Some(from);
                    }
                }
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.class.len()
    }

    /// The number of a channel.
    pub(super) fn at(&self, v: ValueId, c: usize) -> usize {
        self.base[v.index()] + c
    }

    pub(super) fn class(&self, v: ValueId, c: usize) -> usize {
        self.class[self.at(v, c)]
    }

    pub(super) fn class_of(&self, channel: usize) -> usize {
        self.class[channel]
    }

    /// The value a channel belongs to, and which of its channels it is.
    pub(super) fn locate(&self, channel: usize) -> (ValueId, usize) {
        let v = self.base.partition_point(|b| *b <= channel) - 1;
        (ValueId(v), channel - self.base[v])
    }

    /// Marks classes that have lost all their inputs, or all their readers, until there are no more.
    pub(super) fn close(&self, graph: &Graph, alive: &mut [bool]) {
        loop {
            let before = alive.iter().filter(|a| **a).count();
            self.without_inputs(graph, alive);
            self.without_readers(graph, alive);
            if alive.iter().filter(|a| **a).count() == before {
                return;
            }
        }
    }

    fn without_inputs(&self, graph: &Graph, alive: &mut [bool]) {
        // A class dies when every convolution row of it reads nothing any more; most have one.
        let mut fed: Vec<bool> = self.fixed.clone();
        for (v, conv, x) in convs(graph) {
            let mut covered = vec![false; conv.out_channels];
            for block in &conv.blocks {
                for (r, o) in block.out.clone().enumerate() {
                    covered[o] = true;
                    let inputs = if is_diagonal(block) {
                        block.input.start + r..block.input.start + r + 1
                    } else {
                        group_inputs(block, r)
                    };
                    let class = self.class(v, o);
                    fed[class] = fed[class] || inputs.into_iter().any(|i| alive[self.class(x, i)]);
                }
            }
            (0..conv.out_channels).filter(|o| !covered[*o]).for_each(|o| fed[self.class(v, o)] = true);
        }
        alive.iter_mut().zip(fed).for_each(|(alive, fed)| *alive &= fed);
    }

    fn without_readers(&self, graph: &Graph, alive: &mut [bool]) {
        let mut read: Vec<bool> = self.fixed.clone();
        for (v, conv, x) in convs(graph) {
            for block in &conv.blocks {
                if is_diagonal(block) {
                    for (o, i) in block.out.clone().zip(block.input.clone()) {
                        read[self.class(x, i)] |= alive[self.class(v, o)];
                    }
                    continue;
                }
                let groups = groups(block);
                let (rows, inputs) = (block.out.len() / groups, block.input.len() / groups);
                for g in 0..groups {
                    let first = block.out.start + g * rows;
                    if (first..first + rows).any(|o| alive[self.class(v, o)]) {
                        let first = block.input.start + g * inputs;
                        (first..first + inputs).for_each(|i| read[self.class(x, i)] = true);
                    }
                }
            }
        }
        alive.iter_mut().zip(read).for_each(|(alive, read)| *alive &= read);
    }
}

/// Every convolution with its value and what it reads.
pub(super) fn convs(graph: &Graph) -> impl Iterator<Item = (ValueId, &Conv2d, ValueId)> {
    graph.values().filter_map(|v| match &graph.node(v).op {
        Op::Conv2d(conv) => Some((v, conv, graph.node(v).inputs[0])),
        _ => None,
    })
}

/// Whether row `o` only hands one channel on.
pub(super) fn carries(conv: &Conv2d, o: usize) -> bool {
    let mut over = conv.blocks.iter().filter(|b| b.out.contains(&o));
    matches!((over.next(), over.next()), (Some(block), None) if is_diagonal(block))
}

fn find(parent: &mut [usize], e: usize) -> usize {
    let mut root = e;
    while parent[root] != root {
        root = parent[root];
    }
    let mut e = e;
    while parent[e] != root {
        e = std::mem::replace(&mut parent[e], root);
    }
    root
}

fn union(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (find(parent, a), find(parent, b));
    parent[a.max(b)] = a.min(b);
}
