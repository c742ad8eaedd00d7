//! Functions of single values, which end a convolution or are applied as its input is gathered.

/// NaN stays NaN, which `f32::max` would make 0: what overflowed shows in the logits.
pub(super) fn relu(v: f32) -> f32 {
    if v < 0.0 { 0.0 } else { v }
}

/// NaN stays NaN here too.
pub(super) fn relu6(v: f32) -> f32 {
    v.clamp(0.0, 6.0)
}
