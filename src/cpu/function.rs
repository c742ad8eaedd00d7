//! Pointwise functions, for epilogues and prologues of convolutions.

/// Propagates NaN, where `f32::max` would give 0, so that an overflow shows in the logits.
pub(super) fn relu(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

/// Propagates NaN too.
pub(super) fn relu6(v: f32) -> f32 {
    v.clamp(0.0, 6.0)
}

pub(super) fn sigmoid(v: f32) -> f32 {
    1.0 / (1.0 + (-v).exp())
}
