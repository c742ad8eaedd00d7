//! Finds weights that are entirely zero, and the inputs that each row of a convolution reads.

use crate::graph::{Block, BlockWeight, Conv2d, Graph, Op, ValueId};
use std::ops::Range;

/// Per block of a convolution, the rows and input channels that have a nonzero weight.
pub(super) struct NonZero {
    /// By node and block; empty for blocks without stored weights.
    blocks: Vec<Vec<(Vec<bool>, Vec<bool>)>>,
}

impl NonZero {
    /// Reads every weight once.
    pub(super) fn of(graph: &Graph) -> NonZero {
        let scan = |block: &Block| {
            let (BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight)) = &block.weight else {
                return (vec![], vec![]);
            };
            let (mut rows, mut columns) = (vec![false; block.out.len()], vec![false; block.input.len()]);
            let taps = weight.shape()[2] * weight.shape()[3];
            for (r, row) in rows.iter_mut().enumerate() {
                let first = group_inputs(block, r).start;
                for (c, kernel) in weight.row(r).chunks_exact(taps).enumerate() {
                    if kernel.iter().any(|w| *w != 0.0) {
                        *row = true;
                        columns[first + c - block.input.start] = true;
                    }
                }
            }
            (rows, columns)
        };
        let node = |v: ValueId| match &graph.node(v).op {
            Op::Conv2d(conv) => conv.blocks.iter().map(scan).collect(),
            _ => vec![],
        };
        NonZero { blocks: graph.values().map(node).collect() }
    }

    /// Whether row `r` of a dense block has a nonzero weight.
    pub(super) fn row(&self, v: ValueId, block: usize, r: usize) -> bool {
        self.blocks[v.index()][block].0[r]
    }

    /// Whether input `c` of a dense block has a nonzero weight.
    pub(super) fn column(&self, v: ValueId, block: usize, c: usize) -> bool {
        self.blocks[v.index()][block].1[c]
    }
}

/// Whether row `i` of a block reads only input `i`.
pub(super) fn is_diagonal(block: &Block) -> bool {
    matches!(block.weight, BlockWeight::Dirac | BlockWeight::Diagonal(_) | BlockWeight::AvgPool2x2)
}

/// Groups of a block: 1 where all rows read all inputs.
pub(super) fn groups(block: &Block) -> usize {
    match &block.weight {
        BlockWeight::Dense { groups, .. } => *groups,
        _ => 1,
    }
}

/// Input channels of the convolution that row `r` of a dense block reads.
pub(super) fn group_inputs(block: &Block, r: usize) -> Range<usize> {
    let groups = groups(block);
    let (rows, inputs) = (block.out.len() / groups, block.input.len() / groups);
    let first = block.input.start + r / rows * inputs;
    first..first + inputs
}

/// Whether no window reaches past the edge, so that a constant input adds the same amount everywhere.
pub(super) fn stays_inside(conv: &Conv2d) -> bool {
    conv.padding == [0, 0] && conv.padding_end == [0, 0]
}
