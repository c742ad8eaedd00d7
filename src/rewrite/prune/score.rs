//! Importance scores of channels.

use super::channels::{Channels, carries, convs};
use super::weights::is_diagonal;
use super::{Criterion, PruneError};
use crate::graph::{BlockWeight, Conv2d, Graph, Op, ValueId};
use crate::rewrite::Rewritten;
use std::collections::HashMap;

/// Squared batch-norm scales of an original graph, per layer of the chain that [`for_mode`](crate::rewrite::for_mode) made of it
/// and per output channel: all scales folded into the layer, including those of a merged shortcut and of a summed branch.
pub fn batch_norm_scales(original: &Graph, rewritten: &Rewritten) -> HashMap<String, Vec<f64>> {
    let consumers = original.consumers();
    let chain = &rewritten.graph;
    let mut scales: HashMap<String, Vec<f64>> = HashMap::new();
    for v in original.values() {
        let Op::BatchNorm(bn) = &original.node(v).op else { continue };
        let source = original.node(v).inputs[0];
        let folded =
            matches!(original.node(source).op, Op::Conv2d(_)) && consumers[source.index()].len() == 1;
        // The layer that computes it now: the convolution it was folded into, else the first later layer that absorbed it.
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

/// Scores of channels, given which classes are alive.
pub(super) struct ChannelScores<'a> {
    graph: &'a Graph,
    channels: &'a Channels,
    criterion: &'a Criterion,
    /// The contribution of each computed channel itself, by convolution: a squared batch-norm scale, an L1 norm or a mean.
    own: HashMap<ValueId, Vec<f64>>,
    /// Mean score of each convolution's computed channels while all channels are alive.
    scale: HashMap<ValueId, f64>,
}

impl<'a> ChannelScores<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        channels: &'a Channels,
        criterion: &'a Criterion,
    ) -> Result<ChannelScores<'a>, PruneError> {
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
        let mut scores = ChannelScores { graph, channels, criterion, own, scale: HashMap::new() };
        let raw = scores.raw(&vec![true; channels.members.len()]);
        for (v, conv, _) in convs(graph) {
            let computed = (0..conv.out_channels).filter(|o| !carries(conv, *o));
            let values: Vec<f64> = computed.map(|o| raw[channels.at(v, o)]).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            scores.scale.insert(v, if mean > 0.0 { mean } else { 1.0 });
        }
        Ok(scores)
    }

    /// Whether the criterion has values for a convolution.
    pub(super) fn judges(&self, v: ValueId) -> bool {
        self.own.contains_key(&v)
    }

    pub(super) fn criterion(&self) -> &'static str {
        self.criterion.name()
    }

    /// Per class, the sum of the scores of its computed channels, each divided by the mean of its layer.
    pub(super) fn of(&self, alive: &[bool]) -> Vec<f64> {
        let raw = self.raw(alive);
        let mut sums = vec![0.0; alive.len()];
        for (v, conv, _) in convs(self.graph) {
            let handed_on = (0..conv.out_channels).map(|o| carries(conv, o));
            for (o, carried) in handed_on.enumerate() {
                let class = self.channels.class(v, o);
                // A class without computed channels takes the score of the first channel it hands on, once.
                let first = self.channels.members[class][0] == self.channels.at(v, o);
                if !carried || first {
                    sums[class] += raw[self.channels.at(v, o)] / self.scale[&v];
                }
            }
        }
        sums
    }

    /// Per channel, before normalisation: its own contribution, those carried to it, and those added to it where it is carried
    /// on.
    fn raw(&self, alive: &[bool]) -> Vec<f64> {
        let (graph, channels) = (self.graph, self.channels);
        let mut own = vec![0.0; channels.count()];
        for (v, values) in &self.own {
            let first = channels.at(*v, 0);
            own[first..first + values.len()].copy_from_slice(values);
        }
        // Pairs of a channel and the channel that carries it on.
        let mut steps: Vec<(usize, usize)> = vec![];
        for v in graph.values().skip(1) {
            let node = graph.node(v);
            let x = node.inputs[0];
            match &node.op {
                Op::Conv2d(conv) => {
                    let diagonal = conv.blocks.iter().filter(|b| is_diagonal(b));
                    for (o, i) in diagonal.flat_map(|b| b.out.clone().zip(b.input.clone())) {
                        let (to, from) = (channels.class(v, o), channels.class(x, i));
                        if to != from && alive[to] && alive[from] {
                            steps.push((channels.at(x, i), channels.at(v, o)));
                        }
                    }
                }
                op => {
                    let first = if let Op::Slice(range) = op { range.start } else { 0 };
                    let pair = |c| (channels.at(x, first + c), channels.at(v, c));
                    steps.extend((0..node.shape.channels).map(pair));
                }
            }
        }
        // A measured mean already includes all that was carried there.
        let measured = matches!(self.criterion, Criterion::Mean(_));
        let (mut past, mut future) = (own.clone(), vec![0.0; own.len()]);
        for &(from, to) in &steps {
            past[to] += if measured && own[to] != 0.0 { 0.0 } else { past[from] };
        }
        for &(from, to) in steps.iter().rev() {
            future[from] += future[to] + own[to];
        }
        let root = matches!(self.criterion, Criterion::BatchNorm(_));
        let sums = past.into_iter().zip(future).map(|(p, f)| p + f);
        sums.map(|s| if root { s.sqrt() } else { s }).collect()
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
