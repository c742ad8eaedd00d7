//! Reserving and merging (RMNet, arXiv 2111.00687): a residual block becomes a chain of convolutions, exactly.
//!
//! `relu(conv_n(.. relu(conv_1(x))) + shortcut(x))`, `C` channels in x:
//! * every convolution but the last gets `C` more output channels *in front*, a Dirac block over x (reserve);
//! * the last gets `C` more input channels, a Dirac block for an identity shortcut, the projection's 1x1 weights at the
//!   centre tap otherwise; the biases add (merge).
//!
//! Other operations skip the reserved channels: a gate (squeeze-and-excitation) multiplies only the block's own channels; if it is the
//! last step, a 1x1 convolution after it merges. An average-pool shortcut is reserved as 2x2 means.

use super::{BlockReport, Outcome, Rewritten, Shortcut};
use crate::graph::{Activation, Block, BlockWeight, Conv2d, Graph, GraphError, Op, ValueId};
use std::collections::HashMap;
use std::ops::Range;

/// Removes every residual connection that can be removed exactly, and reports the others with the reasons.
///
/// Expects batch norms folded and activations fused.
///
/// # Errors
/// [`GraphError`] when a rewritten node does not fit, which a well-formed graph never gives.
pub fn remove_residual(graph: &Graph) -> Result<Rewritten, GraphError> {
    remove_after(graph, vec![])
}

/// The same, preceded by the reports of the previous pass. A report whose value was absorbed into a block, and no longer exists in the
/// new graph, refers to that block's value.
pub(super) fn remove_after(graph: &Graph, earlier: Vec<BlockReport>) -> Result<Rewritten, GraphError> {
    let consumers = graph.consumers();
    let (chains, reports) = find_chains(graph, &consumers);
    // Nodes that a chain replaces: its convolutions and its projection are rebuilt where the Add was.
    // By the Add of the first such chain.
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

/// By Add, the chain that removes it, and a report of every Add.
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

/// The graph with every chain in place of its Add and of the nodes it replaces.
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

/// A block that can be converted: the steps of its main path from `input` to the Add, and the shortcut beside it.
#[derive(Clone)]
struct Chain {
    input: ValueId,
    main: Vec<Step>,
    side: Side,
}

/// A convolution, or a gate with the nodes that compute it from what it multiplies.
#[derive(Clone, PartialEq)]
struct Step {
    value: ValueId,
    /// In order; empty for a convolution.
    gate: Vec<ValueId>,
}

#[derive(Clone)]
enum Side {
    Identity,
    Projection { conv: ValueId, mean: Option<ValueId> },
}

fn find_chain(graph: &Graph, consumers: &[Vec<ValueId>], add: ValueId) -> Result<Chain, String> {
    let node = graph.node(add);
    let [lhs, rhs] = [path(graph, consumers, node.inputs[0]), path(graph, consumers, node.inputs[1])];
    // The input is the last value that both paths go through; the main path is the longer one.
    let right: HashMap<ValueId, usize> = rhs.iter().enumerate().rev().map(|(j, t)| (t.value, j)).collect();
    let (input, l, r) = lhs
        .iter()
        .enumerate()
        .find_map(|(i, s)| right.get(&s.value).map(|j| (s.value, i, *j)))
        .ok_or("its two operands do not come from one value through convolutions alone")?;
    let (mut main, mut side) = (lhs[..l].to_vec(), rhs[..r].to_vec());
    let is_mean = |s: &Step| matches!(graph.node(s.value).op, Op::AvgPool2x2);
    if main.len() < side.len() || main.iter().any(is_mean) {
        std::mem::swap(&mut main, &mut side);
    }
    main.reverse();
    let is_conv = |s: &Step| matches!(graph.node(s.value).op, Op::Conv2d(_));
    if !main.iter().any(is_conv) {
        return Err("no convolution on either path".into());
    }
    if main.iter().any(is_mean) {
        return Err("an average pool stands on its main path".into());
    }
    let side = match side.as_slice() {
        [] => Side::Identity,
        [conv] if is_conv(conv) => Side::Projection { conv: conv.value, mean: None },
        [conv, mean] if is_conv(conv) && is_mean(mean) => {
            Side::Projection { conv: conv.value, mean: Some(mean.value) }
        }
        more => {
            let names: Vec<&str> = more.iter().rev().map(|s| graph.node(s.value).name.as_str()).collect();
            return Err(format!("its shortcut is {}, one 1x1 can be merged", names.join(" then ")));
        }
    };
    let chain = Chain { input, main, side };
    chain.check(graph)?;
    Ok(chain)
}

/// Steps from `end` backwards through nodes that only one other reads, and the value they start from.
fn path(graph: &Graph, consumers: &[Vec<ValueId>], end: ValueId) -> Vec<Step> {
    let mut steps = vec![];
    let (mut v, mut readers) = (end, 1);
    loop {
        let node = graph.node(v);
        let mut step = Step { value: v, gate: vec![] };
        let own = consumers[v.index()].len() == readers;
        readers = 1;
        let known = match node.op {
            Op::Conv2d(_) | Op::AvgPool2x2 => true,
            Op::Gate { first: 0 } => {
                step.gate = gate_nodes(graph, consumers, v);
                // What is gated is read by the gate and by what computes it.
                readers = 2;
                !step.gate.is_empty() && graph.shape(node.inputs[1]).channels == node.shape.channels
            }
            _ => false,
        };
        steps.push(step);
        if !(own && known) {
            return steps;
        }
        v = node.inputs[0];
    }
}

/// The nodes that compute a gate from the value it multiplies, in order; empty where they are not that alone.
fn gate_nodes(graph: &Graph, consumers: &[Vec<ValueId>], gate: ValueId) -> Vec<ValueId> {
    let &[gated, mut v] = graph.node(gate).inputs.as_slice() else { return vec![] };
    let mut nodes = vec![];
    while v != gated {
        let node = graph.node(v);
        let inner = matches!(node.op, Op::Conv2d(_) | Op::GlobalAverage);
        if !inner || consumers[v.index()].len() != 1 {
            return vec![];
        }
        nodes.push(v);
        v = node.inputs[0];
    }
    nodes.reverse();
    nodes
}

fn conv_of(graph: &Graph, v: ValueId) -> &Conv2d {
    match &graph.node(v).op {
        Op::Conv2d(conv) => conv,
        _ => unreachable!("the step is a convolution"),
    }
}

impl Chain {
    /// Every node that the chain stands for, but for the Add.
    fn values(&self) -> impl Iterator<Item = ValueId> {
        let side = match self.side {
            Side::Identity => [None, None],
            Side::Projection { conv, mean } => [Some(conv), mean],
        };
        let main = self.main.iter().flat_map(|s| s.gate.iter().copied().chain([s.value]));
        main.chain(side.into_iter().flatten())
    }

    /// The convolution that merges; `None` where a gate stands last.
    fn merging(&self) -> Option<ValueId> {
        self.main.last().filter(|s| s.gate.is_empty()).map(|s| s.value)
    }

    /// Name of the node that computes the block's value.
    fn output<'g>(&self, graph: &'g Graph, add: ValueId) -> &'g str {
        &graph.node(self.merging().unwrap_or(add)).name
    }

    fn shortcut(&self, graph: &Graph) -> Shortcut {
        match self.side {
            Side::Identity => Shortcut::Identity,
            Side::Projection { conv, mean: None } => {
                Shortcut::Projection { stride: conv_of(graph, conv).stride }
            }
            Side::Projection { mean: Some(_), .. } => Shortcut::PooledProjection,
        }
    }

    /// Whether reserving and merging computes the same function, and why not where it does not.
    fn check(&self, graph: &Graph) -> Result<(), String> {
        let stride = self.check_main(graph)?;
        match self.side {
            Side::Identity if stride != [1, 1] => {
                Err(format!("an identity shortcut beside a main path of stride {stride:?}"))
            }
            Side::Identity => Ok(()),
            Side::Projection { conv, mean } => self.check_projection(graph, conv, mean, stride),
        }
    }

    /// The convolutions of the main path, in order.
    fn convs(&self) -> impl Iterator<Item = ValueId> {
        self.main.iter().filter(|s| s.gate.is_empty()).map(|s| s.value)
    }

    /// Checks that the main path can carry a shortcut and merge it; returns its stride.
    fn check_main(&self, graph: &Graph) -> Result<[usize; 2], String> {
        let name = |v: ValueId| &graph.node(v).name;
        if let Some(gate) = self.main.first().filter(|s| !s.gate.is_empty()) {
            // It would multiply what is carried past it as well: there is nothing reserved yet.
            return Err(format!("{}: a gate stands before the first convolution", name(gate.value)));
        }
        let mut stride = [1, 1];
        for v in self.convs() {
            let conv = conv_of(graph, v);
            conv.centre().ok_or_else(|| {
                format!(
                    "{}: a {}x{} window padded by {:?} has no tap over its own position to carry the shortcut",
                    name(v),
                    conv.kernel[0],
                    conv.kernel[1],
                    conv.padding
                )
            })?;
            let (x, y) = (graph.shape(graph.node(v).inputs[0]), graph.shape(v));
            if conv.strided_size(x.size()) != y.size() {
                return Err(format!(
                    "{}: padded by {:?} and {:?}, it has not one output for every input at its stride",
                    name(v),
                    conv.padding,
                    conv.padding_end
                ));
            }
            stride = [stride[0] * conv.stride[0], stride[1] * conv.stride[1]];
        }
        if let Some(last) = self.merging()
            && !conv_of(graph, last).is_linear()
        {
            return Err(format!("{}: an activation stands between it and the Add", name(last)));
        }
        Ok(stride)
    }

    /// Checks that a projection, behind a `mean` if there is one, can be merged beside a main path of `stride`.
    fn check_projection(
        &self,
        graph: &Graph,
        v: ValueId,
        mean: Option<ValueId>,
        stride: [usize; 2],
    ) -> Result<(), String> {
        let name = |v: ValueId| &graph.node(v).name;
        let projection = conv_of(graph, v);
        if projection.kernel != [1, 1] || projection.padding != [0, 0] || projection.padding_end != [0, 0] {
            let [h, w] = projection.kernel;
            return Err(format!("{}: a {h}x{w} shortcut, only 1x1 without padding can be merged", name(v)));
        }
        if side_weight(projection).is_none() {
            return Err(format!("{}: a grouped shortcut", name(v)));
        }
        if !projection.is_linear() {
            return Err(format!("{}: an activation stands between it and the Add", name(v)));
        }
        let Some(mean) = mean else {
            if projection.stride != stride {
                let found = projection.stride;
                return Err(format!("{}: stride {found:?} beside a main path of stride {stride:?}", name(v)));
            }
            return Ok(());
        };
        // The means are taken where the main path strides, in a convolution that reserves.
        let strided = self.convs().find(|v| conv_of(graph, *v).stride == [2, 2]);
        if projection.stride != [1, 1] || stride != [2, 2] || strided.is_none() {
            return Err(format!("{}: a 2x2 mean beside a main path of stride {stride:?}", name(mean)));
        }
        if strided == self.merging() {
            return Err(format!("{}: the main path strides only where it ends", name(mean)));
        }
        Ok(())
    }

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
        // ReLU leaves a non-negative x as it is, so that the literal form is conv + ReLU and nothing else.
        let carry = if x_non_negative { Activation::Relu } else { Activation::Identity };
        let mut value = x;
        for (i, step) in self.main.iter().enumerate() {
            let node = graph.node(step.value);
            if !step.gate.is_empty() {
                value = rebuild_gate(graph, step, new, value, reserved)?;
                continue;
            }
            let own = conv_of(graph, step.value);
            // Input channels: [x ; h] after the first convolution; x alone before it, where both parts read x.
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
        // A gate stands last.
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

    /// The last convolution with the shortcut added; its own input begins at channel `before`.
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

    /// A convolution that also carries the `reserved` channels; its own input begins at channel `before`.
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

    /// The block that adds the shortcut, its bias, and whether that is learned.
    fn side(&self, graph: &Graph, out_channels: usize) -> (BlockWeight, Vec<f64>, bool) {
        match self.side {
            Side::Identity => (BlockWeight::Dirac, vec![0.0; out_channels], false),
            Side::Projection { conv, .. } => {
                let projection = conv_of(graph, conv);
                (side_weight(projection).expect("checked"), projection.bias.clone(), projection.has_bias)
            }
        }
    }
}

/// A 1x1 shortcut as the block it becomes: one dense weight, or a factor per channel.
fn side_weight(projection: &Conv2d) -> Option<BlockWeight> {
    match (projection.as_plain(), projection.blocks.as_slice()) {
        (Some((weight, 1)), _) => Some(BlockWeight::Pointwise(weight.clone())),
        (_, [Block { out, weight: BlockWeight::Diagonal(factors), .. }])
            if out.len() == projection.out_channels =>
        {
            Some(BlockWeight::Diagonal(factors.clone()))
        }
        _ => None,
    }
}

/// The gate of `[reserved ; own]` channels: computed from the own ones, and applied to them alone.
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
