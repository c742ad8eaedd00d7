//! Block weights multiplied out: what the paper's scripts do, kept to compare with and to export.

use crate::graph::{Block, BlockWeight, Conv2d, Graph, GraphError, Op, Weight};
use crate::tensor::{Dtype, Tensor};

/// Turns every block weight into one plain kernel of `dtype`, Dirac ones and zeros included. F32 is what a file of plain
/// weights holds; F64 keeps the function to the last bit. A weight that is plain already is left as it is.
///
/// # Errors
/// [`GraphError`] when a rewritten node does not fit, which a well-formed graph never gives.
pub fn literal(graph: &Graph, dtype: Dtype) -> Result<Graph, GraphError> {
    let mut new = Graph::new(graph.input_shape());
    for node in &graph.nodes()[1..] {
        let op = match &node.op {
            Op::Conv2d(conv) if conv.as_plain().is_none() => Op::Conv2d(flatten(conv, dtype)),
            op => op.clone(),
        };
        new.push(node.name.clone(), op, &node.inputs)?;
    }
    Ok(new)
}

/// The number of groups that a plain form of the convolution can have: that of its grouped block where every other block
/// falls into whole groups of the same width (reserved channels are then groups of their own), else 1.
fn common_groups(conv: &Conv2d) -> usize {
    let width = conv.blocks.iter().find_map(|b| match &b.weight {
        BlockWeight::Dense { groups, .. } if *groups > 1 => {
            Some((b.input.len() / groups, b.out.len() / groups))
        }
        _ => None,
    });
    let Some((per_in, per_out)) = width else { return 1 };
    let aligned = |b: &Block| {
        b.input.start.is_multiple_of(per_in)
            && b.input.len().is_multiple_of(per_in)
            && b.out.start.is_multiple_of(per_out)
            && b.out.len().is_multiple_of(per_out)
            && b.input.start / per_in == b.out.start / per_out
            && match &b.weight {
                BlockWeight::Dense { groups, .. } => b.input.len() / groups == per_in,
                BlockWeight::Pointwise(_) => false,
                BlockWeight::Dirac => per_in == per_out,
            }
    };
    if conv.blocks.iter().all(aligned) { conv.in_channels / per_in } else { 1 }
}

/// One plain kernel with the same function.
fn flatten(conv: &Conv2d, dtype: Dtype) -> Conv2d {
    let groups = common_groups(conv);
    let [kh, kw] = conv.kernel;
    let taps = kh * kw;
    let cols = conv.in_channels / groups;
    let rows_per_group = conv.out_channels / groups;
    let mut flat = vec![0.0f64; conv.out_channels * cols * taps];
    // Position of (output row, input channel, tap) in the flat kernel of `groups` groups.
    let at = |row: usize, input: usize, tap: usize| {
        let first = row / rows_per_group * cols;
        (row * cols + input - first) * taps + tap
    };
    let centre = conv.centre().map_or(0, |[y, x]| y * kw + x);
    for block in &conv.blocks {
        for r in 0..block.out.len() {
            let row = block.out.start + r;
            match &block.weight {
                BlockWeight::Dirac => flat[at(row, block.input.start + r, centre)] += 1.0,
                BlockWeight::Pointwise(w) => {
                    for (c, v) in w.row(r).enumerate() {
                        flat[at(row, block.input.start + c, centre)] += v;
                    }
                }
                BlockWeight::Dense { weight, groups } => {
                    let width = block.input.len() / groups;
                    let first = block.input.start + r / (block.out.len() / groups) * width;
                    for (j, v) in weight.row(r).enumerate() {
                        flat[at(row, first + j / taps, j % taps)] += v;
                    }
                }
            }
        }
    }
    let shape = vec![conv.out_channels, cols, kh, kw];
    let tensor = match dtype {
        Dtype::F64 => Tensor::from_f64(shape, flat),
        _ => Tensor::from_f32(shape, flat.into_iter().map(|v| v as f32).collect()),
    };
    let plain = Conv2d::dense(Weight::new(tensor), groups, conv.stride, conv.padding);
    Conv2d { dilation: conv.dilation, bias: conv.bias.clone(), activation: conv.activation.clone(), ..plain }
}
