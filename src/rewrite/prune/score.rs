//! What a channel is worth.

use super::channels::{Channels, carries, convs};
use super::weights::is_diagonal;
use super::{Criterion, PruneError};
use crate::graph::{BlockWeight, Conv2d, Graph, Op, ValueId};
use crate::rewrite::Rewritten;
use std::collections::HashMap;

/// Squared batch-norm scales of an original graph, per layer of the chain that [`for_mode`](crate::rewrite::for_mode) made of
/// it and output channel: those that were folded into the layer, a merged shortcut's and a summed branch's included.
pub fn batch_norm_scales(original: &Graph, rewritten: &Rewritten) -> HashMap<String, Vec<f64>> {
    let consumers = original.consumers();
    let chain = &rewritten.graph;
    let mut scales: HashMap<String, Vec<f64>> = HashMap::new();
    for v in original.values() {
        let Op::BatchNorm(bn) = &original.node(v).op else { continue };
        let source = original.node(v).inputs[0];
        let folded =
            matches!(original.node(source).op, Op::Conv2d(_)) && consumers[source.index()].len() == 1;
        // The layer that computes it now: the convolution it was folded into, else the first that takes in what follows.
        let mut at = if folded { source } else { v };
        let layer = loop {
            let name = &original.node(at).name;
            if let Some(block) = rewritten.blocks.iter().find(|b| b.block == *name) {
                break Some(block.output.clone());
            }
            if chain.find(name).is_some() {
                break Some(name.clone());
            }
            match consumers[at.index()].as_slice() {
                [reader] => at = *reader,
                _ => break None,
            }
        };
        let Some(layer) = layer else { continue };
        let Some(channels) = chain.find(&layer).map(|v| chain.shape(v).channels) else { continue };
        let squares = scales.entry(layer).or_insert_with(|| vec![0.0; channels]);
        // Reserved channels stand in front.
        if let Some(first) = channels.checked_sub(bn.weight.len()) {
            squares[first..].iter_mut().zip(&bn.weight).for_each(|(s, w)| *s += w * w);
        }
    }
    scales
}

/// Scores of channels, given which classes are there.
pub(super) struct Scores<'a> {
    graph: &'a Graph,
    channels: &'a Channels,
    criterion: &'a Criterion,
    /// What a computed channel has of its own, by convolution: a square for batch-norm scales, a norm for L1, a mean.
    own: HashMap<ValueId, Vec<f64>>,
    /// Mean score of each convolution's computed channels, all channels there.
    scale: HashMap<ValueId, f64>,
}

impl<'a> Scores<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        channels: &'a Channels,
        criterion: &'a Criterion,
    ) -> Result<Scores<'a>, PruneError> {
        let mut own = HashMap::new();
        for (v, conv, _) in convs(graph) {
            let name = &graph.node(v).name;
            let values = match criterion {
                Criterion::BatchNorm(scales) => scales.get(name).cloned(),
                Criterion::L1 => Some(kernel_norms(conv)),
                Criterion::Mean(means) => means.magnitude.get(name).cloned(),
            };
            let Some(values) = values else { continue };
            if values.len() != conv.out_channels {
                let why = format!("layer {name} needs {} values, has {}", conv.out_channels, values.len());
                return Err(PruneError::Criterion { criterion: criterion.name(), why });
            }
            own.insert(v, values);
        }
        let mut scores = Scores { graph, channels, criterion, own, scale: HashMap::new() };
        let raw = scores.raw(&vec![true; channels.members.len()]);
        for (v, conv, _) in convs(graph) {
            let computed = (0..conv.out_channels).filter(|o| !carries(conv, *o));
            let values: Vec<f64> = computed.map(|o| raw[channels.at(v, o)]).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            scores.scale.insert(v, if mean > 0.0 { mean } else { 1.0 });
        }
        Ok(scores)
    }

    /// Whether the criterion says anything of a convolution.
    pub(super) fn judges(&self, v: ValueId) -> bool {
        self.own.contains_key(&v)
    }

    pub(super) fn criterion(&self) -> &'static str {
        self.criterion.name()
    }

    /// Per class, the sum over its computed channels, each over the mean of its layer.
    pub(super) fn of(&self, alive: &[bool]) -> Vec<f64> {
        let raw = self.raw(alive);
        let mut sums = vec![0.0; alive.len()];
        for (v, conv, _) in convs(self.graph) {
            let handed_on = (0..conv.out_channels).map(|o| carries(conv, o));
            for (o, carried) in handed_on.enumerate() {
                let class = self.channels.class(v, o);
                // A class that only hands on is worth what it hands on, once.
                let first = self.channels.members[class][0] == self.channels.at(v, o);
                if !carried || first {
                    sums[class] += raw[self.channels.at(v, o)] / self.scale[&v];
                }
            }
        }
        sums
    }

    /// Per channel, as its layer counts.
    fn raw(&self, alive: &[bool]) -> Vec<f64> {
        let mut raw = vec![0.0; self.channels.count()];
        for v in self.graph.values().skip(1) {
            let node = self.graph.node(v);
            let Op::Conv2d(conv) = &node.op else {
                let first = if let Op::Slice(range) = &node.op { range.start } else { 0 };
                for c in 0..node.shape.channels {
                    raw[self.channels.at(v, c)] = raw[self.channels.at(node.inputs[0], first + c)];
                }
                continue;
            };
            let x = node.inputs[0];
            let own = self.own.get(&v);
            let mut values: Vec<f64> = own.cloned().unwrap_or_else(|| vec![0.0; conv.out_channels]);
            let carried = |o: usize, i: usize| {
                let (to, from) = (self.channels.class(v, o), self.channels.class(x, i));
                (to != from && alive[from]).then(|| raw[self.channels.at(x, i)])
            };
            let diagonal = conv.blocks.iter().filter(|b| is_diagonal(b));
            let pairs = diagonal.flat_map(|b| b.out.clone().zip(b.input.clone()));
            match self.criterion {
                Criterion::BatchNorm(_) => {
                    for (o, i) in pairs {
                        // A row that hands on with a scale of its own has been judged by it.
                        if !(own.is_some() && carries(conv, o) && values[o] > 0.0) {
                            values[o] += carried(o, i).map_or(0.0, |r| r * r);
                        }
                    }
                    values.iter_mut().for_each(|v| *v = v.sqrt());
                }
                Criterion::L1 => {
                    for (o, i) in pairs {
                        values[o] += carried(o, i).unwrap_or(0.0);
                    }
                }
                Criterion::Mean(_) => {}
            }
            let first = self.channels.at(v, 0);
            raw[first..first + values.len()].copy_from_slice(&values);
        }
        raw
    }
}

impl Criterion {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Criterion::BatchNorm(_) => "bn",
            Criterion::L1 => "l1",
            Criterion::Mean(_) => "mean",
        }
    }
}

/// L1 norm of every row of the blocks that multiply.
fn kernel_norms(conv: &Conv2d) -> Vec<f64> {
    let mut norms = vec![0.0; conv.out_channels];
    for block in &conv.blocks {
        if let BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) = &block.weight {
            for (r, o) in block.out.clone().enumerate() {
                norms[o] += weight.row(r).iter().map(|w| w.abs()).sum::<f64>();
            }
        }
    }
    norms
}
