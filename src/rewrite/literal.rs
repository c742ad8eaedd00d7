//! Multiplies block weights out into plain kernels, as the paper's scripts do, for comparison and export.

use crate::graph::{Block, BlockWeight, Conv2d, Graph, GraphError, Op, Weight};

/// Turns every block weight into one plain kernel, including its Dirac blocks and zeros. Values are computed when they are read.
/// A layer whose 2x2 means are multiplied out is marked for even sizes ([`Conv2d::even`]).
///
/// Left as they are:
/// * plain weights;
/// * 2x2 means at an odd height or width, where the last row or column averages fewer elements, and 2x2 means in a window that is
///   smaller than 3x3 or dilated, which has no taps for them;
/// * layers with a block at the centre tap whose window strides and whose padding follows the input size ([`Conv2d::same`]),
///   since at another size that tap is elsewhere;
/// * kernels of more than 2^28 values, which no file stores except as blocks.
///
/// # Errors
/// [`GraphError`] when a rewritten node does not fit, which a well-formed graph never gives.
pub fn literal(graph: &Graph) -> Result<Graph, GraphError> {
    let mut new = Graph::new(graph.input_shape());
    for node in &graph.nodes()[1..] {
        let op = match &node.op {
            Op::Conv2d(conv)
                if conv.as_plain().is_none() && expressible(conv, graph.shape(node.inputs[0]).size()) =>
            {
                Op::Conv2d(flatten(conv))
            }
            op => op.clone(),
        };
        new.push(node.name.clone(), op, &node.inputs)?;
    }
    Ok(new)
}

/// Maximum values of a multiplied-out kernel: 1 GiB.
const MAX_LITERAL: usize = 1 << 28;

/// Whether plain taps can express the blocks for an input of `[height, width]`.
fn expressible(conv: &Conv2d, input: [usize; 2]) -> bool {
    let even = input.iter().all(|n| n.is_multiple_of(2));
    let window = conv.kernel.iter().all(|k| *k >= 3) && conv.dilation == [1, 1];
    let centred = conv.blocks.iter().any(|b| !matches!(b.weight, BlockWeight::Dense { .. }));
    let moves = conv.same && conv.stride != [1, 1] && centred;
    let sizes = [conv.out_channels, conv.in_channels / common_groups(conv), conv.kernel[0], conv.kernel[1]];
    let small = sizes.iter().fold(1, |n: usize, d| n.saturating_mul(*d)) <= MAX_LITERAL;
    small && !moves && (!has_means(conv) || even && window)
}

fn has_means(conv: &Conv2d) -> bool {
    conv.blocks.iter().any(|b| matches!(b.weight, BlockWeight::AvgPool2x2))
}

/// The number of groups that the plain form can have: the group count of the grouped block if every other block falls into whole
/// groups of the same width (reserved channels then form groups of their own); one group per channel for a 1x1 window without any
/// kernel, as in an unfused activation or batch norm; else 1.
fn common_groups(conv: &Conv2d) -> usize {
    let width = conv.blocks.iter().find_map(|b| match &b.weight {
        BlockWeight::Dense { groups, .. } if *groups > 1 => {
            Some((b.input.len() / groups, b.out.len() / groups))
        }
        _ => None,
    });
    let computed = |b: &Block| matches!(b.weight, BlockWeight::Dense { .. } | BlockWeight::Pointwise(_));
    let alone = conv.kernel == [1, 1] && !conv.blocks.iter().any(computed);
    let width = width.or_else(|| alone.then_some((1, 1)));
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
                BlockWeight::Dirac | BlockWeight::Diagonal(_) | BlockWeight::AvgPool2x2 => per_in == per_out,
            }
    };
    let groups = conv.in_channels / per_in;
    let whole = conv.in_channels == groups * per_in && conv.out_channels == groups * per_out;
    if whole && conv.blocks.iter().all(aligned) { groups } else { 1 }
}

/// One plain kernel with the same function.
pub(crate) fn flatten(conv: &Conv2d) -> Conv2d {
    let groups = common_groups(conv);
    let plain = Conv2d::dense(Weight::flattened(conv, groups), groups, conv.stride, conv.padding);
    Conv2d {
        padding_end: conv.padding_end,
        same: conv.same,
        even: conv.even || has_means(conv),
        dilation: conv.dilation,
        bias: conv.bias.clone(),
        has_bias: conv.has_bias,
        activation: conv.activation.clone(),
        ..plain
    }
}
