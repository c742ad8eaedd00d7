//! Rebuilds the graph with the kept channels.

use super::PruneError;
use super::channels::Channels;
use super::order::Order;
use super::weights::{group_inputs, is_diagonal, stays_inside};
use crate::graph::{Activation, Block, BlockWeight, Conv2d, Graph, Node, Op, ValueId, Weight};
use std::collections::HashMap;
use std::ops::Range;

/// Values of removed channels, to be folded into the biases of their readers.
pub(super) enum Fill<'a> {
    /// Known constants by channel number, folded where that is exact.
    Constants(Vec<Option<f64>>),
    /// Means by layer, folded into every reader.
    Means(&'a HashMap<String, Vec<f64>>),
}

/// Rebuilds every node with the kept rows and inputs. Without `fill` biases are only selected, which suffices for counting.
pub(super) fn rebuild(
    graph: &Graph,
    channels: &Channels,
    order: &Order,
    fill: Option<&Fill<'_>>,
) -> Result<Graph, PruneError> {
    let mut new = Graph::new(graph.input_shape());
    let mut map: Vec<Option<ValueId>> = vec![None; graph.nodes().len()];
    map[0] = Some(ValueId::INPUT);
    for v in graph.values().skip(1) {
        let node = graph.node(v);
        // A value without kept channels has no readers left.
        if order.kept(v).is_empty() {
            continue;
        }
        let empty = || PruneError::Empty { layer: node.name.clone() };
        let op = select(graph, channels, order, v, node, fill)?;
        let inputs: Option<Vec<ValueId>> = node.inputs.iter().map(|i| map[i.index()]).collect();
        map[v.index()] = Some(new.push(node.name.clone(), op, &inputs.ok_or_else(empty)?)?);
    }
    Ok(new)
}

fn select(
    graph: &Graph,
    channels: &Channels,
    order: &Order,
    v: ValueId,
    node: &Node,
    fill: Option<&Fill<'_>>,
) -> Result<Op, PruneError> {
    let refuse = || PruneError::Order { layer: node.name.clone() };
    let kept = order.kept(v);
    Ok(match &node.op {
        Op::Conv2d(conv) => Op::Conv2d(select_conv(graph, channels, order, v, conv, fill)),
        Op::Slice(range) => {
            let first = order.position(node.inputs[0], range.start + kept[0]).ok_or_else(refuse)?;
            let place = |c: &usize| order.position(node.inputs[0], range.start + c);
            if kept.iter().enumerate().any(|(i, c)| place(c) != Some(first + i)) {
                return Err(refuse());
            }
            Op::Slice(first..first + kept.len())
        }
        Op::Gate { first } => {
            let gates = order.kept(node.inputs[1]);
            let start = kept.iter().position(|c| *c == first + gates[0]).ok_or_else(refuse)?;
            if gates.iter().enumerate().any(|(i, g)| kept.get(start + i) != Some(&(first + g))) {
                return Err(refuse());
            }
            Op::Gate { first: start }
        }
        Op::Add(a) if order.kept(node.inputs[0]) == order.kept(node.inputs[1]) => {
            Op::Add(activations(&[(0..node.shape.channels, a.clone())], kept).remove(0).1)
        }
        Op::Add(_) => return Err(refuse()),
        Op::Activation(a) => {
            Op::Activation(activations(&[(0..node.shape.channels, a.clone())], kept).remove(0).1)
        }
        op => op.clone(),
    })
}

fn select_conv(
    graph: &Graph,
    channels: &Channels,
    order: &Order,
    v: ValueId,
    conv: &Conv2d,
    fill: Option<&Fill<'_>>,
) -> Conv2d {
    let x = graph.node(v).inputs[0];
    let kept = order.kept(v);
    let mut has_bias = conv.has_bias;
    let mut bias: Vec<f64> = kept.iter().map(|o| conv.bias[*o]).collect();
    // Blocks that hand on or add come first, the order in which `remove_residual` builds them.
    let mut blocks = diagonals(order, v, x, conv);
    for block in &conv.blocks {
        if !is_diagonal(block) {
            blocks.extend(dense(order, v, x, block));
        }
        // The removed channels of the block, with the values that replace them.
        let Some(fill) = fill else { continue };
        let exact = stays_inside(conv) || !matches!(block.weight, BlockWeight::Dense { .. });
        let gone = |i: usize| {
            let value = match fill {
                Fill::Constants(known) => known[channels.at(x, i)].filter(|_| exact),
                Fill::Means(means) => means.get(&graph.node(x).name).map(|m| m[i]),
            };
            value.filter(|k| *k != 0.0 && order.position(x, i).is_none())
        };
        let gone: Vec<Option<f64>> = block.input.clone().map(gone).collect();
        if gone.iter().any(Option::is_some) {
            has_bias = true;
            for (o, bias) in kept.iter().zip(&mut bias).filter(|(o, _)| block.out.contains(o)) {
                *bias += share(block, o - block.out.start, &gone);
            }
        }
    }
    Conv2d {
        in_channels: order.kept(x).len(),
        out_channels: kept.len(),
        blocks,
        bias,
        has_bias,
        activation: activations(&conv.activation, kept),
        ..conv.clone()
    }
}

/// The contribution of constant inputs to row `r` of a block.
fn share(block: &Block, r: usize, inputs: &[Option<f64>]) -> f64 {
    match &block.weight {
        BlockWeight::Dirac | BlockWeight::AvgPool2x2 => inputs[r].unwrap_or(0.0),
        BlockWeight::Diagonal(factors) => inputs[r].map_or(0.0, |k| factors[r] * k),
        BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) => {
            let taps = weight.shape()[2] * weight.shape()[3];
            let row = weight.row(r);
            let inputs = group_inputs(block, r).map(|i| inputs[i - block.input.start]);
            let terms = row.chunks_exact(taps).zip(inputs);
            terms.filter_map(|(w, k)| Some(k? * w.iter().sum::<f64>())).sum()
        }
    }
}

/// All blocks with one input per row: one block for every run of consecutive rows and inputs.
fn diagonals(order: &Order, v: ValueId, x: ValueId, conv: &Conv2d) -> Vec<Block> {
    let mut found = vec![];
    let kinds: [fn(&BlockWeight) -> bool; 3] = [
        |w| matches!(w, BlockWeight::Dirac),
        |w| matches!(w, BlockWeight::AvgPool2x2),
        |w| matches!(w, BlockWeight::Diagonal(_)),
    ];
    for kind in kinds {
        let mut pairs = vec![];
        for block in conv.blocks.iter().filter(|b| kind(&b.weight)) {
            for (r, (o, i)) in block.out.clone().zip(block.input.clone()).enumerate() {
                if let (Some(out), Some(input)) = (order.position(v, o), order.position(x, i)) {
                    let factor = if let BlockWeight::Diagonal(f) = &block.weight { f[r] } else { 1.0 };
                    pairs.push((out, input, factor));
                }
            }
        }
        // Sorted along each diagonal of the matrix.
        pairs.sort_by_key(|&(out, input, _)| (input as isize - out as isize, out));
        for run in pairs.chunk_by(|a, b| b.0 == a.0 + 1 && b.1 == a.1 + 1) {
            let (out, input, _) = run[0];
            let weight = match conv.blocks.iter().find(|b| kind(&b.weight)).map(|b| &b.weight) {
                Some(BlockWeight::Diagonal(_)) => {
                    BlockWeight::Diagonal(run.iter().map(|(.., factor)| *factor).collect())
                }
                Some(other) => other.clone(),
                None => continue,
            };
            found.push(Block { out: out..out + run.len(), input: input..input + run.len(), weight });
        }
    }
    found.sort_by_key(|b| (b.out.start, b.input.start));
    found
}

/// The kept part of a block with many inputs per row.
fn dense(order: &Order, v: ValueId, x: ValueId, block: &Block) -> Vec<Block> {
    match &block.weight {
        BlockWeight::Pointwise(weight) => {
            let part = |w: Weight| BlockWeight::Pointwise(w);
            parts(order, v, x, block, &block.out, &block.input, weight, &part)
        }
        BlockWeight::Dense { weight, groups: 1 } => {
            let part = |weight: Weight| BlockWeight::Dense { weight, groups: 1 };
            parts(order, v, x, block, &block.out, &block.input, weight, &part)
        }
        BlockWeight::Dense { weight, groups } => grouped(order, v, x, block, weight, *groups),
        _ => unreachable!("diagonal blocks are taken apart before"),
    }
}

/// The kept rows and inputs of a range: a block for every run of consecutive rows and every run of consecutive inputs.
#[allow(clippy::too_many_arguments, reason = "a block, a part of it, and where its ends lie")]
fn parts(
    order: &Order,
    v: ValueId,
    x: ValueId,
    block: &Block,
    out: &Range<usize>,
    input: &Range<usize>,
    weight: &Weight,
    part: &dyn Fn(Weight) -> BlockWeight,
) -> Vec<Block> {
    let places = |value: ValueId, range: &Range<usize>, first: usize| {
        let mut places: Vec<(usize, usize)> =
            range.clone().filter_map(|c| Some((order.position(value, c)?, c - first))).collect();
        places.sort_unstable();
        places
    };
    let rows = places(v, out, block.out.start);
    let inputs = places(x, input, input.start);
    let beside = |a: &(usize, usize), b: &(usize, usize)| b.0 == a.0 + 1;
    let mut blocks = vec![];
    for rows in rows.chunk_by(beside) {
        for inputs in inputs.chunk_by(beside) {
            let old = |run: &[(usize, usize)]| run.iter().map(|p| p.1).collect::<Vec<_>>();
            let whole = rows.len() == weight.shape()[0] && inputs.len() == weight.shape()[1];
            let same = |run: &[(usize, usize)]| run.iter().map(|p| p.1).is_sorted();
            let weight = match whole && same(rows) && same(inputs) {
                true => weight.clone(),
                false => weight.selected(&old(rows), &old(inputs)),
            };
            blocks.push(Block {
                out: rows[0].0..rows[0].0 + rows.len(),
                input: inputs[0].0..inputs[0].0 + inputs.len(),
                weight: part(weight),
            });
        }
    }
    blocks
}

/// A grouped block: a single one if whole groups are kept in their order, else a dense block per group.
fn grouped(
    order: &Order,
    v: ValueId,
    x: ValueId,
    block: &Block,
    weight: &Weight,
    groups: usize,
) -> Vec<Block> {
    let (rows, inputs) = (block.out.len() / groups, block.input.len() / groups);
    let of = |g: usize| {
        let (out, input) = (block.out.start + g * rows, block.input.start + g * inputs);
        (out..out + rows, input..input + inputs)
    };
    let lies = |value: ValueId, range: &Range<usize>| {
        let first = order.position(value, range.start)?;
        let whole = range.clone().enumerate().all(|(i, c)| order.position(value, c) == Some(first + i));
        whole.then_some(first)
    };
    let any =
        |value: ValueId, range: &Range<usize>| range.clone().any(|c| order.position(value, c).is_some());
    let kept: Vec<usize> = (0..groups).filter(|g| any(v, &of(*g).0) && any(x, &of(*g).1)).collect();
    let mut places: Vec<(usize, usize, usize)> =
        kept.iter().filter_map(|&g| Some((lies(v, &of(g).0)?, lies(x, &of(g).1)?, g))).collect();
    places.sort_unstable();
    let regular = places.windows(2).all(|w| w[1].0 == w[0].0 + rows && w[1].1 == w[0].1 + inputs);
    if places.len() == kept.len() && regular && !places.is_empty() {
        let (out, input, _) = places[0];
        let selected: Vec<usize> = places.iter().flat_map(|(.., g)| g * rows..(g + 1) * rows).collect();
        let weight = match selected.len() == block.out.len() && selected.is_sorted() {
            true => weight.clone(),
            false => weight.selected(&selected, &(0..inputs).collect::<Vec<_>>()),
        };
        return vec![Block {
            out: out..out + selected.len(),
            input: input..input + places.len() * inputs,
            weight: BlockWeight::Dense { weight, groups: places.len() },
        }];
    }
    let part = |weight: Weight| BlockWeight::Dense { weight, groups: 1 };
    kept.into_iter().flat_map(|g| parts(order, v, x, block, &of(g).0, &of(g).1, weight, &part)).collect()
}

/// The activations of the kept channels, in their new order; neighbours with the same activation share a range.
fn activations(of: &[(Range<usize>, Activation)], kept: &[usize]) -> Vec<(Range<usize>, Activation)> {
    let mut selected: Vec<(Range<usize>, Activation)> = vec![];
    for (new, old) in kept.iter().enumerate() {
        let Some((range, activation)) = of.iter().find(|(r, _)| r.contains(old)) else { continue };
        let one = activation.part(old - range.start..old - range.start + 1);
        match (selected.last_mut(), one) {
            (Some((range, Activation::PRelu(slopes))), Activation::PRelu(slope)) => {
                *slopes = slopes.iter().chain(slope.iter()).copied().collect();
                range.end = new + 1;
            }
            (Some((range, last)), one) if *last == one => range.end = new + 1,
            (_, one) => selected.push((new..new + 1, one)),
        }
    }
    selected
}
