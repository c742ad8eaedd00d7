//! Proves that a rewritten network equals the original: per block in f64, and layer by layer on an executor.
//!
//! In f64 the original graph (batch norms and Adds as stored) and the rewritten graph run on the same input, and their values at
//! the end of every block are compared. On an executor every layer is compared with f64 on its actual input, within the rounding
//! bound of its own sum: there are no tuned tolerances, and the first wrong layer is identified.

mod layers;
mod precision;

pub use layers::{LayerCheck, check_layers};
pub use precision::{LayerRange, LogitsBound, bound_logits, ranges};

use crate::graph::Graph;
use crate::kernel::Precision;
use crate::reference;
use crate::rewrite::{BlockReport, Outcome, Rewritten};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Bound on the relative difference of two f64 evaluations of one function. The rounding of sums of up to a few ten thousand
/// terms through a few hundred layers stays below it; a structural error exceeds it by orders of magnitude.
pub const F64_BOUND: f64 = 1e-12;

/// Largest difference of f32 logits from f64 logits, relative to the largest logit, that is accepted as rounding.
pub const F32_LOGITS_BOUND: f64 = 1e-5;

/// [`F32_LOGITS_BOUND`] scaled to another precision by the ratio of the unit roundoffs: the network amplifies the rounding of
/// either precision alike.
pub fn logits_bound(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => F32_LOGITS_BOUND,
        Precision::F16 => F32_LOGITS_BOUND * f64::from(1 << 13),
    }
}

/// Largest relative difference in f64 that a rewritten network may have from its original. It is [`F64_BOUND`], except for a
/// chain whose carried channels are Diracs only up to rounding in its file: each layer then differs by one rounding to f32, as it
/// would if computed in f32.
pub fn f64_bound(rewritten: &Rewritten) -> f64 {
    if rewritten.deviation > 0.0 { F32_LOGITS_BOUND } else { F64_BOUND }
}

/// A difference between two evaluations of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Largest absolute difference.
    pub max_abs: f64,
    /// `max_abs` divided by the largest magnitude of the expected value.
    pub relative: f64,
}

impl Difference {
    /// Compares values. A NaN, or an infinity on one side only, makes the difference infinite.
    ///
    /// # Panics
    /// When the two have different lengths.
    pub fn between(found: impl ExactSizeIterator<Item = f64>, expected: &[f64]) -> Difference {
        assert_eq!(found.len(), expected.len(), "values of one shape");
        let mut max_abs = 0.0f64;
        let mut scale = 0.0f64;
        for (f, &e) in found.zip(expected) {
            let d = if f == e { 0.0 } else { (f - e).abs() };
            max_abs = if d.is_nan() { f64::INFINITY } else { max_abs.max(d) };
            scale = scale.max(e.abs());
        }
        let relative = if max_abs == 0.0 { 0.0 } else { max_abs / scale };
        Difference { max_abs, relative }
    }
}

/// The proof for one residual block.
#[derive(Clone, Debug, Serialize)]
pub struct BlockCheck {
    /// The block.
    pub block: String,
    /// Whether its residual connection was removed; if not, why.
    #[serde(flatten)]
    pub outcome: BlockOutcome,
    /// Rewritten graph in f64 against the original graph in f64, at the block's end.
    pub f64: Difference,
    /// An executor's values against the original graph in f64, if an executor ran.
    pub executor: Option<Difference>,
}

/// The outcome of a block, for a certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum BlockOutcome {
    /// Its residual connection is gone.
    Removed,
    /// Its parallel branches are one convolution.
    Summed,
    /// Unchanged.
    Kept {
        /// Why.
        reason: String,
    },
}

/// Values of the original graph in f64 at the end of every block, and its logits.
pub struct Expected {
    blocks: HashMap<String, Vec<f64>>,
    /// `[batch, classes]`.
    pub logits: Vec<f64>,
}

/// Bytes that [`expected`] and [`check_blocks`] need for `batch` images, their input included.
pub fn bytes(original: &Graph, rewritten: &Rewritten, batch: usize) -> usize {
    let ends = rewritten.blocks.iter().filter_map(|b| original.find(&b.block));
    let kept = ends.map(|v| original.shape(v).len()).sum::<usize>() + original.input_shape().len();
    let run = [original, &rewritten.graph].map(|graph| reference::bytes(graph, batch));
    kept.saturating_mul(8).saturating_mul(batch).saturating_add(run[0].max(run[1]))
}

/// Runs the original graph in f64.
///
/// # Panics
/// When `input` does not hold `batch` images of the graph's input shape.
pub fn expected(original: &Graph, blocks: &[BlockReport], input: &[f64], batch: usize) -> Expected {
    let mut values = HashMap::new();
    let mut logits = vec![];
    let ends: HashSet<&str> = blocks.iter().map(|b| b.block.as_str()).collect();
    reference::visit(original, input, batch, |v, value| {
        let name = &original.node(v).name;
        if ends.contains(name.as_str()) {
            values.insert(name.clone(), value.to_vec());
        }
        if v == original.output() {
            logits = value.to_vec();
        }
    });
    Expected { blocks: values, logits }
}

/// Compares the rewritten graph in f64, block by block, and at the logits.
///
/// `executor` holds an executor's values by [`BlockReport::output`], if one ran.
///
/// # Panics
/// When `input` does not hold `batch` images of the graph's input shape, or a block is not in `expected` or its output not in
/// the graph.
pub fn check_blocks(
    rewritten: &Rewritten,
    expected: &Expected,
    input: &[f64],
    batch: usize,
    executor: &HashMap<String, Vec<f32>>,
) -> (Vec<BlockCheck>, Difference) {
    let graph = &rewritten.graph;
    let mut found: Vec<Option<Difference>> = vec![None; rewritten.blocks.len()];
    let mut logits = Difference::default();
    reference::visit(graph, input, batch, |v, value| {
        let name = graph.node(v).name.as_str();
        for (report, found) in rewritten.blocks.iter().zip(&mut found).filter(|(b, _)| b.output == name) {
            *found = Some(Difference::between(value.iter().copied(), &expected.blocks[&report.block]));
        }
        if v == graph.output() {
            logits = Difference::between(value.iter().copied(), &expected.logits);
        }
    });
    let checks = rewritten
        .blocks
        .iter()
        .zip(found)
        .map(|(report, found)| BlockCheck {
            block: report.block.clone(),
            outcome: match &report.outcome {
                Outcome::Removed { .. } => BlockOutcome::Removed,
                Outcome::Summed { .. } => BlockOutcome::Summed,
                Outcome::Kept { reason } => BlockOutcome::Kept { reason: reason.clone() },
            },
            f64: found.expect("an output of the graph"),
            executor: executor.get(&report.output).map(|values| {
                let values = values.iter().map(|v| f64::from(*v));
                Difference::between(values, &expected.blocks[&report.block])
            }),
        })
        .collect();
    (checks, logits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_seen() {
        let d = |found: &[f64], expected: &[f64]| Difference::between(found.iter().copied(), expected);
        assert_eq!(d(&[1.0, 2.0], &[1.0, 2.0]).max_abs, 0.0);
        assert_eq!(d(&[1.0, 2.5], &[1.0, 2.0]), Difference { max_abs: 0.5, relative: 0.25 });
        assert_eq!(d(&[f64::NAN, 2.0], &[1.0, 2.0]).max_abs, f64::INFINITY);
        assert_eq!(d(&[f64::NAN, 3.0], &[1.0, 2.0]).max_abs, f64::INFINITY);
        assert_eq!(d(&[f64::INFINITY], &[1.0]).relative, f64::INFINITY);
    }
}
