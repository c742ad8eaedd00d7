//! Size limits of plans. Weights are limited relative to the graph's tensors, so that a small file cannot expand to gigabytes.

use super::{Plan, PlanError};
use crate::graph::{Graph, MAX_VALUES};

/// Maximum number of channel views of all values of a network together.
pub(super) const MAX_CHANNEL_VIEWS: usize = 1 << 22;

/// Bytes of weights allowed for any plan: 64 MiB.
pub const FREE_WEIGHT_BYTES: usize = 64 << 20;

/// Maximum ratio of a plan's weights to the graph's tensors, in bytes. The literal form of a MobileNetV2, whose depthwise kernels become
/// dense, needs a few tens.
pub const MAX_WEIGHT_GROWTH: usize = 256;

/// Maximum images per batch: all values of a run are at most [`MAX_VALUES`], and no size overflows.
///
/// # Errors
/// [`PlanError::TooLarge`] if a single image exceeds the limit.
pub(super) fn most_images(graph: &Graph) -> Result<usize, PlanError> {
    let values = graph.value_count().max(1);
    if values > MAX_VALUES {
        let layer = graph.nodes()[graph.output().index()].name.clone();
        return Err(too_large(layer, "values of one image", values, MAX_VALUES));
    }
    // Copies double a value's bytes; padding may quadruple them.
    let counted = isize::MAX as usize / values.saturating_mul(64).saturating_add(graph.macs());
    Ok(counted.min(MAX_VALUES / values))
}

/// Refuses weights that are out of proportion to the graph's tensors.
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

/// The error for a layer at which a count exceeds its limit.
pub(super) fn too_large(layer: String, what: &'static str, found: usize, most: usize) -> PlanError {
    PlanError::TooLarge { layer, what, found, most }
}
