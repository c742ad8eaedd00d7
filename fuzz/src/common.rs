//! What the tests of the main crate have for random networks and for pickles.

#[allow(dead_code)]
#[path = "../../tests/common/pickle.rs"]
pub mod pickle;
#[allow(dead_code)]
#[path = "../../tests/common/plan_fields.rs"]
pub mod plan_fields;
#[allow(dead_code)]
#[path = "../../tests/common/random.rs"]
pub mod random;

/// What `random` takes from the module it is in.
fn difference(found: &[f64], expected: &[f64]) -> (f64, f64) {
    let d = rmnet::verify::Difference::between(found.iter().copied(), expected);
    (d.max_abs, d.relative)
}
