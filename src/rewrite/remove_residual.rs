//! Reserving and merging (RMNet, arXiv 2111.00687): a residual block becomes a chain of convolutions, exactly.
//!
//! `relu(conv_n(.. relu(conv_1(x))) + shortcut(x))`, `C` channels in x:
//! * every convolution but the last gets `C` more output channels *in front*, a Dirac block over x (reserve);
//! * the last gets `C` more input channels, a Dirac block for an identity shortcut, the projection's 1x1 weights at the
//!   centre tap otherwise; the biases add (merge).

use super::{BlockReport, Outcome, Rewritten, Shortcut};
use crate::graph::{Activation, Block, BlockWeight, Conv2d, Graph, GraphError, Op, ValueId, Weight};

/// Removes every residual connection it can remove exactly, leaves the others, and says which and why.
///
/// Expects batch norms folded and activations fused.
///
/// # Errors
/// [`GraphError`] when a rewritten node does not fit, which a well-formed graph never gives.
pub fn remove_residual(graph: &Graph) -> Result<Rewritten, GraphError> {
    let consumers = graph.consumers();
    let non_negative = graph.non_negative();
    let mut chains: Vec<Option<Chain>> = vec![None; graph.nodes().len()];
    let mut reports = vec![];
    for v in graph.values() {
        let Op::Add(_) = graph.node(v).op else { continue };
        let block = graph.node(v).name.clone();
        match find_chain(graph, &consumers, v) {
            Ok(chain) => {
                reports.push(BlockReport {
                    block,
                    output: graph.node(*chain.main.last().expect("a main path")).name.clone(),
                    outcome: Outcome::Removed {
                        shortcut: chain.shortcut(graph),
                        reserved: graph.shape(chain.input).channels,
                        convs: chain.main.len(),
                    },
                });
                chains[v.index()] = Some(chain);
            }
            Err(reason) => {
                reports.push(BlockReport { output: block.clone(), block, outcome: Outcome::Kept { reason } });
            }
        }
    }

    // Nodes that a chain replaces: its convolutions and its projection are rebuilt where the Add was.
    let mut replaced = vec![false; graph.nodes().len()];
    for chain in chains.iter().flatten() {
        for v in chain.main.iter().chain(&chain.projection) {
            replaced[v.index()] = true;
        }
    }
    let mut new = Graph::new(graph.input_shape());
    let mut map: Vec<Option<ValueId>> = vec![None; graph.nodes().len()];
    map[0] = Some(ValueId(0));
    for v in graph.values().skip(1).filter(|v| !replaced[v.index()]) {
        let node = graph.node(v);
        let at = |v: ValueId| map[v.index()].expect("operands come first");
        let value = match &chains[v.index()] {
            Some(chain) => {
                let Op::Add(activation) = node.op else { unreachable!("chains stand at Adds") };
                let x_non_negative = non_negative[chain.input.index()].iter().all(|&b| b);
                let mut value = at(chain.input);
                for (name, conv) in chain.convert(graph, activation, x_non_negative) {
                    value = new.push(name, Op::Conv2d(conv), &[value])?;
                }
                value
            }
            None => {
                let inputs: Vec<ValueId> = node.inputs.iter().map(|&v| at(v)).collect();
                new.push(node.name.clone(), node.op.clone(), &inputs)?
            }
        };
        map[v.index()] = Some(value);
    }
    debug_assert_eq!(map[graph.output().index()], Some(new.output()));
    Ok(Rewritten { graph: new, blocks: reports })
}

/// A block that can be converted: `main` from `input` to the Add, and the projection beside it if there is one.
#[derive(Clone)]
struct Chain {
    input: ValueId,
    main: Vec<ValueId>,
    projection: Option<ValueId>,
}

fn find_chain(graph: &Graph, consumers: &[Vec<ValueId>], add: ValueId) -> Result<Chain, String> {
    let node = graph.node(add);
    let [lhs, rhs] = [path(graph, consumers, node.inputs[0]), path(graph, consumers, node.inputs[1])];
    // The input is the last value that both paths go through; the main path is the longer one.
    let (input, l, r) = lhs
        .iter()
        .enumerate()
        .find_map(|(i, v)| rhs.iter().position(|w| w == v).map(|j| (*v, i, j)))
        .ok_or("its two operands do not come from one value through convolutions alone")?;
    let (mut main, mut side) = (lhs[..l].to_vec(), rhs[..r].to_vec());
    if main.len() < side.len() {
        std::mem::swap(&mut main, &mut side);
    }
    main.reverse();
    if main.is_empty() {
        return Err("no convolution on either path".into());
    }
    if side.len() > 1 {
        return Err(format!("its shortcut has {} convolutions, at most one can be merged", side.len()));
    }
    let chain = Chain { input, main, projection: side.first().copied() };
    chain.check(graph)?;
    Ok(chain)
}

/// Values from `end` backwards through convolutions that only one node reads, and the value they start from.
fn path(graph: &Graph, consumers: &[Vec<ValueId>], end: ValueId) -> Vec<ValueId> {
    let mut values = vec![end];
    let mut v = end;
    while let Op::Conv2d(_) = graph.node(v).op
        && consumers[v.index()].len() == 1
    {
        v = graph.node(v).inputs[0];
        values.push(v);
    }
    values
}

fn conv_of(graph: &Graph, v: ValueId) -> &Conv2d {
    match &graph.node(v).op {
        Op::Conv2d(conv) => conv,
        _ => unreachable!("paths hold convolutions only"),
    }
}

impl Chain {
    fn shortcut(&self, graph: &Graph) -> Shortcut {
        match self.projection {
            None => Shortcut::Identity,
            Some(v) => Shortcut::Projection { stride: conv_of(graph, v).stride },
        }
    }

    /// Whether reserving and merging computes the same function, and why not where it does not.
    fn check(&self, graph: &Graph) -> Result<(), String> {
        let name = |v: ValueId| &graph.node(v).name;
        let mut stride = [1, 1];
        for &v in &self.main {
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
            conv.as_plain().ok_or_else(|| format!("{}: its weight is in blocks already", name(v)))?;
            stride = [stride[0] * conv.stride[0], stride[1] * conv.stride[1]];
        }
        let last = *self.main.last().expect("a main path");
        if conv_of(graph, last).uniform_activation() != Some(Activation::Identity) {
            return Err(format!("{}: an activation stands between it and the Add", name(last)));
        }
        let Some(v) = self.projection else {
            if stride != [1, 1] {
                return Err(format!("an identity shortcut beside a main path of stride {stride:?}"));
            }
            return Ok(());
        };
        let projection = conv_of(graph, v);
        if projection.kernel != [1, 1] || projection.padding != [0, 0] {
            let [h, w] = projection.kernel;
            return Err(format!("{}: a {h}x{w} shortcut, only 1x1 without padding can be merged", name(v)));
        }
        if !matches!(projection.as_plain(), Some((_, 1))) {
            return Err(format!("{}: a grouped shortcut", name(v)));
        }
        if projection.uniform_activation() != Some(Activation::Identity) {
            return Err(format!("{}: an activation stands between it and the Add", name(v)));
        }
        if projection.stride != stride {
            let found = projection.stride;
            return Err(format!("{}: stride {found:?} beside a main path of stride {stride:?}", name(v)));
        }
        Ok(())
    }

    /// The convolutions of the chain, `[reserved ; own]` channels between them.
    fn convert(&self, graph: &Graph, activation: Activation, x_non_negative: bool) -> Vec<(String, Conv2d)> {
        let reserved = graph.shape(self.input).channels;
        // ReLU leaves a non-negative x as it is, so that the literal form is conv + ReLU and nothing else.
        let carry = if x_non_negative { Activation::Relu } else { Activation::Identity };
        let count = self.main.len();
        let mut chain = Vec::with_capacity(count);
        for (i, &v) in self.main.iter().enumerate() {
            let own = conv_of(graph, v);
            let (weight, groups) = own.as_plain().expect("checked");
            let dense = BlockWeight::Dense { weight: weight.clone(), groups };
            // Input channels: [x ; h] after the first convolution; x alone before it, where both parts read x.
            let before = if i == 0 { 0 } else { reserved };
            let in_channels = before + own.in_channels;
            let main_in = before..in_channels;
            let conv = if i + 1 < count {
                let out_channels = reserved + own.out_channels;
                Conv2d {
                    in_channels,
                    out_channels,
                    blocks: vec![
                        Block { out: 0..reserved, input: 0..reserved, weight: BlockWeight::Dirac },
                        Block { out: reserved..out_channels, input: main_in, weight: dense },
                    ],
                    bias: std::iter::repeat_n(0.0, reserved).chain(own.bias.iter().copied()).collect(),
                    activation: std::iter::once((0..reserved, carry))
                        .chain(own.activation.iter().map(|(r, a)| (r.start + reserved..r.end + reserved, *a)))
                        .collect(),
                    ..own.clone()
                }
            } else {
                let (side, bias) = self.side(graph, own.out_channels);
                Conv2d {
                    in_channels,
                    blocks: vec![
                        Block { out: 0..own.out_channels, input: 0..reserved, weight: side },
                        Block { out: 0..own.out_channels, input: main_in, weight: dense },
                    ],
                    bias: own.bias.iter().zip(bias).map(|(a, b)| a + b).collect(),
                    activation: vec![(0..own.out_channels, activation)],
                    ..own.clone()
                }
            };
            chain.push((graph.node(v).name.clone(), conv));
        }
        chain
    }

    fn side(&self, graph: &Graph, out_channels: usize) -> (BlockWeight, Vec<f64>) {
        match self.projection {
            None => (BlockWeight::Dirac, vec![0.0; out_channels]),
            Some(v) => {
                let projection = conv_of(graph, v);
                let (weight, _): (&Weight, usize) = projection.as_plain().expect("checked");
                (BlockWeight::Pointwise(weight.clone()), projection.bias.clone())
            }
        }
    }
}
