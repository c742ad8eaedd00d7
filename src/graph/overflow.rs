//! Finds weights that overflow f32 when folded.

use super::{BlockWeight, Graph};
use crate::tensor::all_finite;

impl Graph {
    /// The first convolution with a weight or bias that overflows f32, which no executor can compute. Computes every weight.
    pub(crate) fn overflow(&self) -> Option<&str> {
        let mut over = self.convs().filter(|(_, conv)| {
            let finite = conv.blocks.iter().all(|b| match &b.weight {
                BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) => {
                    weight.each_row_f32(|row| if all_finite(&row) { Ok(()) } else { Err(()) }).is_ok()
                }
                BlockWeight::Diagonal(factors) => factors.iter().all(|f| (*f as f32).is_finite()),
                BlockWeight::Dirac | BlockWeight::AvgPool2x2 => true,
            });
            !finite || conv.bias.iter().any(|b| !(*b as f32).is_finite())
        });
        over.next().map(|(node, _)| node.name.as_str())
    }
}
