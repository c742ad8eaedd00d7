//! How large a plan may be. What it needs is held against what the graph itself has, so that a few bytes of a file do not make
//! gigabytes of weights.

use super::{Plan, PlanError};
use crate::graph::{Graph, MAX_VALUES};

/// The most channel ranges of all values of a network together.
pub(super) const MAX_CHANNEL_VIEWS: usize = 1 << 22;

/// Bytes of weights that any plan may have: 64 MiB.
pub const FREE_WEIGHT_BYTES: usize = 64 << 20;

/// How many times the bytes of a graph's own tensors the weights of its plan may take. The literal form of a MobileNetV2, whose
/// depthwise kernels become dense ones, takes some tens.
pub const MAX_WEIGHT_GROWTH: usize = 256;

/// The most images of a batch: all values of a run are at most [`MAX_VALUES`], and every size can be counted.
///
/// # Errors
/// [`PlanError::TooLarge`] where one image is too many.
pub(super) fn most_images(graph: &Graph) -> Result<usize, PlanError> {
    let values = graph.value_count().max(1);
    if values > MAX_VALUES {
        let layer = graph.nodes()[graph.output().index()].name.clone();
        return Err(too_large(layer, "values of one image", values, MAX_VALUES));
    }
    // Copies take a value's bytes again, padding up to four times.
    let counted = isize::MAX as usize / values.saturating_mul(64).saturating_add(graph.macs());
    Ok(counted.min(MAX_VALUES / values))
}

/// Refuses weights that are out of proportion to the tensors they are made of.
pub(super) fn check_weights(plan: &Plan, graph: &Graph) -> Result<(), PlanError> {
    let most = graph.stored_bytes().saturating_mul(MAX_WEIGHT_GROWTH).saturating_add(FREE_WEIGHT_BYTES);
    let mut bytes = 0usize;
    for d in &plan.dispatches {
        bytes = bytes.saturating_add(d.weights.as_ref().map_or(0, |w| w.bytes()));
        if bytes > most {
            return Err(too_large(d.name.clone(), "bytes of weights up to there", bytes, most));
        }
    }
    Ok(())
}

/// The error for a layer with which something comes to more than it may.
pub(super) fn too_large(layer: String, what: &'static str, found: usize, most: usize) -> PlanError {
    PlanError::TooLarge { layer, what, found, most }
}
