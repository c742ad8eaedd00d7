//! Reserving and merging (RMNet, arXiv 2111.00687): a residual block becomes a chain of convolutions, exactly.
//!
//! Given `relu(conv_n(.. relu(conv_1(x))) + shortcut(x))` with `C` channels in x:
//! * every convolution but the last gets `C` more output channels *in front*, a Dirac block over x (reserve);
//! * the last gets `C` more input channels, a Dirac block for an identity shortcut, the projection's 1x1 weights at the
//!   centre tap otherwise; the biases add (merge).
//!
//! Other operations skip the reserved channels: a gate (squeeze-and-excitation) multiplies only the block's own channels. If a
//! gate is the last step, an added 1x1 convolution merges. An average-pool shortcut is reserved as 2x2 means.

use super::chain::{Chain, Side, Step, conv_of, find_chain};
use super::{BlockReport, Outcome, Rewritten};
use crate::graph::{Activation, Block, BlockWeight, Conv2d, Graph, GraphError, Op, ValueId};
use std::ops::Range;

/// Removes every residual connection that can be removed exactly, and reports why the others are kept.
///
/// Expects batch norms folded and activations fused.
///
/// # Errors
/// [`GraphError`] when a rewritten node does not fit, which a well-formed graph never gives.
pub fn remove_residual(graph: &Graph) -> Result<Rewritten, GraphError> {
    remove_after(graph, vec![])
}

/// [`remove_residual`] with the reports of an earlier pass placed first. If the value of such a report was absorbed into a block
/// and no longer exists in the new graph, the report refers to that block's value instead.
pub(super) fn remove_after(graph: &Graph, earlier: Vec<BlockReport>) -> Result<Rewritten, GraphError> {
    let consumers = graph.consumers();
    let (chains, reports) = find_chains(graph, &consumers);
    // For every node that a chain replaces, the Add of the first such chain, where the chain is rebuilt.
    let mut replaced: Vec<Option<ValueId>> = vec![None; graph.nodes().len()];
    for add in graph.values() {
        for v in chains[add.index()].iter().flat_map(Chain::values) {
            replaced[v.index()].get_or_insert(add);
        }
    }
    let around = |report: BlockReport| {
        let add = graph.find(&report.output).and_then(|v| replaced[v.index()]);
        match add.and_then(|add| Some((chains[add.index()].as_ref()?, add))) {
            Some((chain, add)) => BlockReport {
                block: graph.node(add).name.clone(),
                output: chain.output(graph, add).into(),
                ..report
            },
            None => report,
        }
    };
    let reports = earlier.into_iter().map(around).chain(reports).collect();
    let is_replaced = |v: ValueId| replaced[v.index()].is_some();
    let new = with_chains(graph, &chains, is_replaced)?;
    Ok(Rewritten { graph: new, blocks: reports, recognised: vec![], deviation: 0.0 })
}

/// The chain that removes each Add, by value, and a report of every Add.
fn find_chains(graph: &Graph, consumers: &[Vec<ValueId>]) -> (Vec<Option<Chain>>, Vec<BlockReport>) {
    let mut chains: Vec<Option<Chain>> = vec![None; graph.nodes().len()];
    let mut reports = vec![];
    for v in graph.values() {
        let Op::Add(_) = graph.node(v).op else { continue };
        let block = graph.node(v).name.clone();
        match find_chain(graph, consumers, v) {
            Ok(chain) => {
                reports.push(BlockReport {
                    block,
                    output: chain.output(graph, v).into(),
                    outcome: Outcome::Removed {
                        shortcut: chain.shortcut(graph),
                        reserved: graph.shape(chain.input).channels,
                        convs: chain.main.iter().filter(|s| s.gate.is_empty()).count(),
                    },
                });
                chains[v.index()] = Some(chain);
            }
            Err(reason) => {
                reports.push(BlockReport { output: block.clone(), block, outcome: Outcome::Kept { reason } });
            }
        }
    }
    (chains, reports)
}

/// The graph with every chain built in place of its Add and of the nodes it replaces.
fn with_chains(
    graph: &Graph,
    chains: &[Option<Chain>],
    is_replaced: impl Fn(ValueId) -> bool,
) -> Result<Graph, GraphError> {
    let non_negative = graph.non_negative();
    let mut new = Graph::new(graph.input_shape());
    let mut map: Vec<Option<ValueId>> = vec![None; graph.nodes().len()];
    map[0] = Some(ValueId(0));
    for v in graph.values().skip(1).filter(|v| !is_replaced(*v)) {
        let node = graph.node(v);
        let at = |v: ValueId| map[v.index()].expect("operands come first");
        let value = match &chains[v.index()] {
            Some(chain) => {
                let channels = 0..graph.shape(chain.input).channels;
                let x_non_negative = non_negative[chain.input.index()].first() == Some(&channels);
                chain.rebuild(graph, v, &mut new, at(chain.input), x_non_negative)?
            }
            None => {
                let inputs: Vec<ValueId> = node.inputs.iter().map(|&v| at(v)).collect();
                new.push(node.name.clone(), node.op.clone(), &inputs)?
            }
        };
        map[v.index()] = Some(value);
    }
    debug_assert_eq!(map[graph.output().index()], Some(new.output()));
    Ok(new)
}

impl Chain {
    /// Appends the chain, `[reserved ; own]` channels between its steps, and returns the block's value.
    fn rebuild(
        &self,
        graph: &Graph,
        add: ValueId,
        new: &mut Graph,
        x: ValueId,
        x_non_negative: bool,
    ) -> Result<ValueId, GraphError> {
        let Op::Add(activation) = &graph.node(add).op else { unreachable!("chains stand at Adds") };
        let reserved = graph.shape(self.input).channels;
        // ReLU does not change a non-negative x, so in the literal form the whole layer is convolution + ReLU.
        let carry = if x_non_negative { Activation::Relu } else { Activation::Identity };
        let mut value = x;
        for (i, step) in self.main.iter().enumerate() {
            let node = graph.node(step.value);
            if !step.gate.is_empty() {
                value = rebuild_gate(graph, step, new, value, reserved)?;
                continue;
            }
            let own = conv_of(graph, step.value);
            // Input channels: [x ; h] after the first convolution. The first convolution reads x alone, for both parts.
            let before = if i == 0 { 0 } else { reserved };
            let conv = match self.merging() == Some(step.value) {
                true => self.merged(graph, own, before, activation),
                false => self.reserving(own, before, reserved, &carry),
            };
            value = new.push(node.name.clone(), Op::Conv2d(conv), &[value])?;
        }
        if self.merging().is_some() {
            return Ok(value);
        }
        // The last step is a gate.
        let channels = graph.shape(add).channels;
        let (side, bias, side_bias) = self.side(graph, channels);
        let main = Conv2d::pointwise_function(channels, activation.clone());
        let side = Block { out: 0..channels, input: 0..reserved, weight: side };
        let conv = Conv2d {
            in_channels: reserved + channels,
            blocks: std::iter::once(side).chain(shifted(&main, 0, reserved)).collect(),
            bias,
            has_bias: side_bias,
            ..main
        };
        new.push(graph.node(add).name.clone(), Op::Conv2d(conv), &[value])
    }

    /// The last convolution with the shortcut added; its own input starts at channel `before`.
    fn merged(&self, graph: &Graph, own: &Conv2d, before: usize, activation: &Activation) -> Conv2d {
        let (side, bias, side_bias) = self.side(graph, own.out_channels);
        let reserved = graph.shape(self.input).channels;
        let side = Block { out: 0..own.out_channels, input: 0..reserved, weight: side };
        Conv2d {
            in_channels: before + own.in_channels,
            blocks: std::iter::once(side).chain(shifted(own, 0, before)).collect(),
            bias: own.bias.iter().zip(bias).map(|(a, b)| a + b).collect(),
            has_bias: own.has_bias || side_bias,
            activation: vec![(0..own.out_channels, activation.clone())],
            ..own.clone()
        }
    }

    /// A convolution that also carries the `reserved` channels; its own input starts at channel `before`.
    fn reserving(&self, own: &Conv2d, before: usize, reserved: usize, carry: &Activation) -> Conv2d {
        let weight = match self.side {
            Side::Projection { mean: Some(_), .. } if own.stride == [2, 2] => BlockWeight::AvgPool2x2,
            _ => BlockWeight::Dirac,
        };
        let carried = Block { out: 0..reserved, input: 0..reserved, weight };
        Conv2d {
            in_channels: before + own.in_channels,
            out_channels: reserved + own.out_channels,
            blocks: std::iter::once(carried).chain(shifted(own, reserved, before)).collect(),
            bias: std::iter::repeat_n(0.0, reserved).chain(own.bias.iter().copied()).collect(),
            activation: std::iter::once((0..reserved, carry.clone()))
                .chain(own.activation.iter().map(|(r, a)| (moved(r, reserved), a.clone())))
                .collect(),
            ..own.clone()
        }
    }
}

/// A gate on `[reserved ; own]` channels, computed from the own channels and applied only to them.
fn rebuild_gate(
    graph: &Graph,
    step: &Step,
    new: &mut Graph,
    value: ValueId,
    reserved: usize,
) -> Result<ValueId, GraphError> {
    let name = &graph.node(step.value).name;
    let own = reserved..new.shape(value).channels;
    let mut gate = new.push(format!("{name}.own"), Op::Slice(own), &[value])?;
    for v in &step.gate {
        let node = graph.node(*v);
        gate = new.push(node.name.clone(), node.op.clone(), &[gate])?;
    }
    new.push(name.clone(), Op::Gate { first: reserved }, &[value, gate])
}

fn moved(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// The blocks of a convolution, moved along its output and its input channels.
fn shifted(conv: &Conv2d, out: usize, input: usize) -> impl Iterator<Item = Block> + use<'_> {
    conv.blocks.iter().map(move |b| Block {
        out: moved(&b.out, out),
        input: moved(&b.input, input),
        weight: b.weight.clone(),
    })
}
