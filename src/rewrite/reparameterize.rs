//! Merges parallel linear branches into one convolution, such as the 3x3, 1x1 and batch norm of a RepVGG block (arXiv
//! 2101.03697). Channels that no kernel computes, such as the reserved channels of an RM-RepVGG block, remain a separate block.

use super::{BlockReport, Outcome, Rewritten};
use crate::graph::{Activation, Block, BlockWeight, Conv2d, Graph, GraphError, Op, ValueId, Weight};
use std::ops::Range;

/// Sums parallel branches into one convolution that takes the activation of the last Add. A sum is a tree of Adds, all linear
/// except the last, whose leaves are linear convolutions of one value with the same stride and with windows around the same
/// centre. The result is dense where a branch has a kernel, and Dirac or diagonal on the other rows. All other Adds stay.
///
/// Expects batch norms folded and activations not yet fused.
///
/// # Errors
/// [`GraphError`] when a rewritten node does not fit, which a well-formed graph never gives.
pub fn reparameterize(graph: &Graph) -> Result<Rewritten, GraphError> {
    let consumers = graph.consumers();
    let mut sums: Vec<Option<Vec<ValueId>>> = vec![None; graph.nodes().len()];
    let mut replaced = vec![false; graph.nodes().len()];
    // Backwards, so that the outermost Add of a tree takes the whole tree.
    for v in graph.values().rev() {
        if replaced[v.index()] || !matches!(graph.node(v).op, Op::Add(_)) {
            continue;
        }
        let Some((inner, leaves)) = collect(graph, &consumers, v) else { continue };
        let alone = leaves.iter().all(|l| consumers[l.index()].len() == 1);
        if alone && sum(graph, &leaves).is_some() {
            inner.iter().chain(&leaves).filter(|n| **n != v).for_each(|n| replaced[n.index()] = true);
            sums[v.index()] = Some(leaves);
        }
    }
    let mut new = Graph::new(graph.input_shape());
    let mut map: Vec<Option<ValueId>> = vec![None; graph.nodes().len()];
    map[0] = Some(ValueId::INPUT);
    let mut blocks = vec![];
    for v in graph.values().skip(1).filter(|v| !replaced[v.index()]) {
        let node = graph.node(v);
        let at = |v: ValueId| map[v.index()].expect("operands come first");
        let value = match (&sums[v.index()], &node.op) {
            (Some(leaves), Op::Add(activation)) => {
                let (conv, x) = sum(graph, leaves).expect("found before");
                let activation = vec![(0..conv.out_channels, activation.clone())];
                let conv = Conv2d { activation, ..conv };
                // A ReLU that is the only reader of a linear sum will be fused into it, so the block ends at the ReLU.
                let end = match consumers[v.index()].as_slice() {
                    [reader] if conv.is_linear() && matches!(graph.node(*reader).op, Op::Activation(_)) => {
                        *reader
                    }
                    _ => v,
                };
                blocks.push(BlockReport {
                    block: graph.node(end).name.clone(),
                    output: node.name.clone(),
                    outcome: Outcome::Summed { branches: leaves.len() },
                });
                new.push(node.name.clone(), Op::Conv2d(conv), &[at(x)])?
            }
            _ => {
                let inputs: Vec<ValueId> = node.inputs.iter().map(|&v| at(v)).collect();
                new.push(node.name.clone(), node.op.clone(), &inputs)?
            }
        };
        map[v.index()] = Some(value);
    }
    Ok(Rewritten { graph: new, blocks, recognised: vec![], deviation: 0.0 })
}

/// Maximum branches of a sum: RepVGG has three, MobileOne a few more.
const MAX_BRANCHES: usize = 64;

/// `v` and the linear Adds below it that have no other reader, and the operands that they sum, in order; `None` if there are more
/// than [`MAX_BRANCHES`] Adds.
fn collect(graph: &Graph, consumers: &[Vec<ValueId>], v: ValueId) -> Option<(Vec<ValueId>, Vec<ValueId>)> {
    let (mut adds, mut leaves) = (vec![], vec![]);
    let mut open = vec![v];
    while let Some(next) = open.pop() {
        let inner = next == v
            || matches!(graph.node(next).op, Op::Add(Activation::Identity))
                && consumers[next.index()].len() == 1;
        if !inner {
            leaves.push(next);
            continue;
        }
        adds.push(next);
        if adds.len() > MAX_BRANCHES {
            return None;
        }
        open.extend(graph.node(next).inputs.iter().rev());
    }
    Some((adds, leaves))
}

/// The sum of the leaves as one convolution, and the value it reads; `None` if the leaves are not branches of one value.
fn sum(graph: &Graph, leaves: &[ValueId]) -> Option<(Conv2d, ValueId)> {
    let (convs, source) = branches(graph, leaves)?;
    let even = convs.iter().any(|c| c.even);
    // The widest window contains the others; all windows must have the same centre.
    let widest = *convs.iter().max_by_key(|c| c.kernel)?;
    // All kernels must share the group count and the range of rows that they compute.
    let (groups, rows) = convs.iter().find_map(|c| match c.blocks.as_slice() {
        [Block { weight: BlockWeight::Dense { groups, .. }, out, .. }] => Some((*groups, out.clone())),
        _ => None,
    })?;
    if groups > 1 && rows.len() < widest.out_channels {
        return None;
    }
    let mut blocks = vec![];
    let mut bias = vec![0.0; widest.out_channels];
    let mut has_bias = false;
    // For rows that no kernel computes: the factor of the row's own channel at the centre tap.
    let mut factors = vec![0.0; widest.out_channels];
    for conv in convs {
        let pointwise = conv.kernel == [1, 1];
        let same_window = conv.kernel == widest.kernel && conv.dilation == widest.dilation;
        if conv.stride != widest.stride || !(pointwise || same_window) {
            return None;
        }
        let [block] = conv.blocks.as_slice() else { return None };
        match &block.weight {
            BlockWeight::Dense { weight, groups: g } => {
                if *g != groups || block.out != rows || block.input != (0..conv.in_channels) {
                    return None;
                }
                match same_window {
                    true => blocks.push(block.clone()),
                    false => blocks.extend(pointwise_groups(weight, groups, rows.start)),
                }
            }
            BlockWeight::Diagonal(_) | BlockWeight::Dirac if block.out == block.input => {
                // A row of a grouped kernel has no place for inputs of other groups.
                let (per_out, per_in) = (conv.out_channels / groups, conv.in_channels / groups);
                if groups > 1 && block.out.clone().any(|c| c / per_out != c / per_in) {
                    return None;
                }
                let factor = |i: usize| match &block.weight {
                    BlockWeight::Diagonal(factors) => factors[i],
                    _ => 1.0,
                };
                block.out.clone().enumerate().for_each(|(i, o)| factors[o] += factor(i));
                blocks.push(block.clone());
            }
            _ => return None,
        }
        bias.iter_mut().zip(&conv.bias).for_each(|(sum, b)| *sum += b);
        has_bias |= conv.has_bias;
    }
    let sum = Conv2d { blocks, bias, has_bias, even, ..widest.clone() };
    let blocks = summed_blocks(&sum, groups, rows, &factors);
    Some((Conv2d { blocks, ..sum }, source))
}

/// The leaves as linear convolutions with a centre tap, and the single value that they read.
fn branches<'g>(graph: &'g Graph, leaves: &[ValueId]) -> Option<(Vec<&'g Conv2d>, ValueId)> {
    let mut convs = vec![];
    let mut source = None;
    for v in leaves {
        let Op::Conv2d(conv) = &graph.node(*v).op else { return None };
        let x = graph.node(*v).inputs[0];
        if *source.get_or_insert(x) != x || !conv.is_linear() {
            return None;
        }
        conv.centre()?;
        convs.push(conv);
    }
    Some((convs, source?))
}

/// The blocks of a sum: one kernel for `rows`, and the factors of the rows before and after it.
fn summed_blocks(sum: &Conv2d, groups: usize, rows: Range<usize>, factors: &[f64]) -> Vec<Block> {
    let mut dense = Weight::flattened(sum, groups);
    if rows.len() < sum.out_channels {
        let inputs: Vec<usize> = (0..sum.in_channels).collect();
        dense = dense.selected(&rows.clone().collect::<Vec<_>>(), &inputs);
    }
    let dense = BlockWeight::Dense { weight: dense, groups };
    let (before, after) = (0..rows.start, rows.end..sum.out_channels);
    carried(factors, before)
        .into_iter()
        .chain([Block { out: rows, input: 0..sum.in_channels, weight: dense }])
        .chain(carried(factors, after))
        .collect()
}

/// A block of rows that each multiply their own channel by a factor.
fn carried(factors: &[f64], rows: Range<usize>) -> Option<Block> {
    let factors = &factors[rows.clone()];
    let weight = match factors.iter().all(|f| *f == 1.0) {
        true => BlockWeight::Dirac,
        false => BlockWeight::Diagonal(factors.into()),
    };
    let any = factors.iter().any(|f| *f != 0.0);
    any.then(|| Block { out: rows.clone(), input: rows, weight })
}

/// A grouped 1x1 weight as pointwise blocks, one per group, for rows from `first` on.
fn pointwise_groups(weight: &Weight, groups: usize, first: usize) -> impl Iterator<Item = Block> + use<'_> {
    let [out, per_in, ..] = weight.shape();
    let per_out = out / groups;
    let inputs: Vec<usize> = (0..per_in).collect();
    (0..groups).map(move |g| Block {
        out: first + g * per_out..first + (g + 1) * per_out,
        input: g * per_in..(g + 1) * per_in,
        weight: BlockWeight::Pointwise(
            weight.selected(&(g * per_out..(g + 1) * per_out).collect::<Vec<_>>(), &inputs),
        ),
    })
}
