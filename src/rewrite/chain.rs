//! Residual blocks that can become chains: the main path from a value to the Add, and the shortcut that bypasses it.

use super::Shortcut;
use crate::graph::{Block, BlockWeight, Conv2d, Graph, Op, ValueId};
use std::collections::HashMap;

/// A convertible block: the steps of its main path from `input` to the Add, and its shortcut.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) input: ValueId,
    pub(super) main: Vec<Step>,
    pub(super) side: Side,
}

/// A convolution, or a gate together with the nodes that compute it from the gated value.
#[derive(Clone, PartialEq)]
pub(super) struct Step {
    pub(super) value: ValueId,
    /// In order; empty for a convolution.
    pub(super) gate: Vec<ValueId>,
}

#[derive(Clone)]
pub(super) enum Side {
    Identity,
    Projection { conv: ValueId, mean: Option<ValueId> },
}

pub(super) fn find_chain(graph: &Graph, consumers: &[Vec<ValueId>], add: ValueId) -> Result<Chain, String> {
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

/// The steps from `end` backwards through nodes with a single reader. The last step is the value that the path starts from.
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
                // The gated value has two readers: the gate, and the first node that computes the gate's factors.
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

/// The nodes that compute a gate from the value it multiplies, in order; empty if other nodes are involved.
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

pub(super) fn conv_of(graph: &Graph, v: ValueId) -> &Conv2d {
    match &graph.node(v).op {
        Op::Conv2d(conv) => conv,
        _ => unreachable!("the step is a convolution"),
    }
}

impl Chain {
    /// Every node that the chain replaces, except the Add.
    pub(super) fn values(&self) -> impl Iterator<Item = ValueId> {
        let side = match self.side {
            Side::Identity => [None, None],
            Side::Projection { conv, mean } => [Some(conv), mean],
        };
        let main = self.main.iter().flat_map(|s| s.gate.iter().copied().chain([s.value]));
        main.chain(side.into_iter().flatten())
    }

    /// The convolution that the shortcut is merged into; `None` if the last step is a gate.
    pub(super) fn merging(&self) -> Option<ValueId> {
        self.main.last().filter(|s| s.gate.is_empty()).map(|s| s.value)
    }

    /// Name of the node that computes the block's value.
    pub(super) fn output<'g>(&self, graph: &'g Graph, add: ValueId) -> &'g str {
        &graph.node(self.merging().unwrap_or(add)).name
    }

    pub(super) fn shortcut(&self, graph: &Graph) -> Shortcut {
        match self.side {
            Side::Identity => Shortcut::Identity,
            Side::Projection { conv, mean: None } => {
                Shortcut::Projection { stride: conv_of(graph, conv).stride }
            }
            Side::Projection { mean: Some(_), .. } => Shortcut::PooledProjection,
        }
    }

    /// Checks that reserving and merging computes the same function; the error says why not.
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
            // Nothing is reserved yet, so the gate would also multiply the carried channels.
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

    /// Checks that a projection, optionally preceded by `mean`, can be merged beside a main path of `stride`.
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
        // The means are computed by the reserving convolution at which the main path strides.
        let strided = self.convs().find(|v| conv_of(graph, *v).stride == [2, 2]);
        if projection.stride != [1, 1] || stride != [2, 2] || strided.is_none() {
            return Err(format!("{}: a 2x2 mean beside a main path of stride {stride:?}", name(mean)));
        }
        if strided == self.merging() {
            return Err(format!("{}: the main path strides only where it ends", name(mean)));
        }
        Ok(())
    }

    /// The shortcut as a block, its bias, and whether the bias is learned.
    pub(super) fn side(&self, graph: &Graph, out_channels: usize) -> (BlockWeight, Vec<f64>, bool) {
        match self.side {
            Side::Identity => (BlockWeight::Dirac, vec![0.0; out_channels], false),
            Side::Projection { conv, .. } => {
                let projection = conv_of(graph, conv);
                (side_weight(projection).expect("checked"), projection.bias.clone(), projection.has_bias)
            }
        }
    }
}

/// The block weight of a 1x1 shortcut: one dense weight, or a factor per channel.
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
