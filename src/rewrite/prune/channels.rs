//! Classes of channels that must be removed together, and which classes may be removed.

use super::PruneOptions;
use super::weights::{group_inputs, groups, is_diagonal};
use crate::graph::{Conv2d, Graph, Op, ValueId};

/// Numbers all channels of all values, and groups channels that must be kept or removed together into classes.
pub(super) struct Channels {
    /// Number of each value's first channel, then the total count.
    base: Vec<usize>,
    class: Vec<usize>,
    /// Per class, its channels in order.
    pub(super) members: Vec<Vec<usize>>,
    /// Per class, whether it is part of the input or the output.
    pub(super) fixed: Vec<bool>,
    /// Per class, the class it is carried from or that is added to it, if it is another class.
    pub(super) from: Vec<Option<usize>>,
}

impl Channels {
    pub(super) fn new(graph: &Graph, options: &PruneOptions) -> Channels {
        let mut base = vec![0];
        for node in graph.nodes() {
            base.push(base[base.len() - 1] + node.shape.channels);
        }
        let count = base[base.len() - 1];
        let mut joined = Joined { base: &base, parent: (0..count).collect(), gated: vec![false; count] };
        for v in graph.values().skip(1) {
            joined.join(graph, v, options.coupled);
        }
        let mut parent = joined.parent;
        // Classes are in the order of their first channels: the root is the smallest member.
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
            (0..graph.shape(v).channels).for_each(|c| fixed[class[base[v.index()] + c]] = true);
        }
        let from = vec![None; members.len()];
        let mut channels = Channels { base, class, members, fixed, from };
        channels.follow(graph);
        channels
    }

    /// Fills in `from`.
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

    /// Marks classes that have lost all their inputs or all their readers as removed, until none is left.
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
        // A class is removed when none of its convolution rows has an input left; most classes have one row.
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

/// Whether row `o` only hands on one channel.
pub(super) fn carries(conv: &Conv2d, o: usize) -> bool {
    let mut over = conv.blocks.iter().filter(|b| b.out.contains(&o));
    matches!((over.next(), over.next()), (Some(block), None) if is_diagonal(block))
}

/// The channels joined into classes so far: a union-find forest.
struct Joined<'b> {
    base: &'b [usize],
    parent: Vec<usize>,
    /// By channel, whether a gate multiplies it.
    gated: Vec<bool>,
}

impl Joined<'_> {
    fn at(&self, v: ValueId, c: usize) -> usize {
        self.base[v.index()] + c
    }

    /// Puts a channel of `v` and one of `x` into one class.
    fn unite(&mut self, (v, o): (ValueId, usize), (x, i): (ValueId, usize)) {
        let (a, b) = (self.at(v, o), self.at(x, i));
        union(&mut self.parent, a, b);
    }

    /// Puts a channel that `v` hands on into the class of the operand's channel; it is gated if the operand's channel is.
    fn hand_on(&mut self, (v, o): (ValueId, usize), (x, i): (ValueId, usize)) {
        let to = self.at(v, o);
        self.gated[to] = self.gated[self.at(x, i)];
        self.unite((v, o), (x, i));
    }

    /// Joins the channels of a node with the operand channels that can only be removed together with them.
    fn join(&mut self, graph: &Graph, v: ValueId, coupled: bool) {
        let node = graph.node(v);
        let x = node.inputs[0];
        match &node.op {
            Op::Conv2d(conv) => self.join_conv(conv, v, x, coupled),
            Op::Slice(range) => {
                range.clone().enumerate().for_each(|(c, i)| self.hand_on((v, c), (x, i)));
            }
            op => {
                let channels = 0..node.shape.channels;
                channels.clone().for_each(|c| self.hand_on((v, c), (x, c)));
                match (op, node.inputs.get(1)) {
                    (Op::Gate { first }, Some(gate)) => {
                        for g in 0..graph.shape(*gate).channels {
                            let gated = self.at(v, first + g);
                            self.gated[gated] = true;
                            self.unite((v, first + g), (*gate, g));
                        }
                    }
                    (_, Some(other)) => channels.for_each(|c| self.unite((v, c), (*other, c))),
                    _ => {}
                }
            }
        }
    }

    /// Joins rows of a convolution with inputs of their group. Rows of diagonal blocks are joined if `coupled`, or if their input
    /// is gated and the row adds to it.
    fn join_conv(&mut self, conv: &Conv2d, v: ValueId, x: ValueId, coupled: bool) {
        for block in &conv.blocks {
            if is_diagonal(block) {
                for (o, i) in block.out.clone().zip(block.input.clone()) {
                    let joins = self.gated[self.at(x, i)] && !carries(conv, o);
                    if coupled || joins {
                        self.unite((v, o), (x, i));
                    }
                }
            } else if groups(block) > 1 {
                for (r, o) in block.out.clone().enumerate() {
                    for i in group_inputs(block, r) {
                        self.unite((v, o), (x, i));
                    }
                }
            }
        }
    }
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
