//! How far values are from what was expected.

/// The largest absolute difference, and that over the largest magnitude expected.
///
/// # Panics
/// When the lengths differ or a value is not finite: such values are never close.
pub fn difference(found: &[f64], expected: &[f64]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len(), "values compared");
    assert!(!expected.is_empty(), "nothing to compare");
    let mut worst = 0.0f64;
    let mut scale = 0.0f64;
    for (f, e) in found.iter().zip(expected) {
        assert!(f.is_finite() && e.is_finite(), "found {f}, expected {e}");
        worst = worst.max((f - e).abs());
        scale = scale.max(e.abs());
    }
    (worst, if worst == 0.0 { 0.0 } else { worst / scale })
}
