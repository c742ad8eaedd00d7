//! What a run gives.

use super::Kept;
use std::collections::BTreeMap;

/// What one run gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// The output, planar `[batch, channels, height, width]`; logits are `[batch, classes]`.
    pub output: Vec<f32>,
    /// The values that the plan keeps, by the name that each was asked for by: planar `[batch, channels, height, width]`.
    pub kept: BTreeMap<String, Vec<f32>>,
}

impl Kept {
    /// The whole value from its parts, each planar `[batch, channels of the part, height, width]`.
    pub(crate) fn joined(&self, batch: usize, parts: &[Vec<f32>]) -> Vec<f32> {
        let mut whole = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        for image in 0..batch {
            for part in parts {
                let values = part.len() / batch;
                whole.extend_from_slice(&part[image * values..][..values]);
            }
        }
        whole
    }
}
