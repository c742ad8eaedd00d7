//! From f64 evaluations: whether a network's values fit a precision, and how rounding them changes the logits.

use crate::graph::{Block, BlockWeight, Conv2d, Graph, Op, Weight};
use crate::kernel::Precision;
use crate::reference;
use crate::tensor::Tensor;
use serde::Serialize;

/// The largest value of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRange {
    /// Name of the node.
    pub layer: String,
    /// Largest magnitude in f64; infinite if a value is NaN.
    pub largest: f64,
}

impl LayerRange {
    /// Whether a precision can store it.
    pub fn fits(&self, precision: Precision) -> bool {
        !precision.stored(self.largest as f32).is_nan()
    }
}

/// The largest value of every layer that is stored between dispatches: all but the input and the output, which are always f32.
///
/// # Panics
/// When `input` does not hold `batch` images of the graph's input shape.
pub fn ranges(graph: &Graph, input: &[f64], batch: usize) -> Vec<LayerRange> {
    let mut ranges = vec![];
    reference::visit(graph, input, batch, |v, value| {
        if v.index() > 0 && v != graph.output() {
            let larger = |m: f64, x: &f64| if x.is_nan() { f64::INFINITY } else { m.max(x.abs()) };
            let largest = value.iter().fold(0.0, larger);
            ranges.push(LayerRange { layer: graph.node(v).name.clone(), largest });
        }
    });
    ranges
}

/// Probability that rounding alone moves a logit by more than [`LogitsBound::bound`].
const CHANCE: f64 = 1e-6;
/// Number of evaluations with every stored value perturbed.
const SAMPLES: u64 = 4;

/// Bounds on how far logits may differ from f64, relative to the largest logit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogitsBound {
    /// Largest change of a logit by rounding the weights, computed exactly.
    pub weights: f64,
    /// Standard deviation of the logit that the rounding of stored values moves most.
    pub deviation: f64,
    /// The bound that is checked.
    pub bound: f64,
}

/// The bound on the logits of a network stored in a precision.
///
/// The effect of rounded weights is the same in every run, so it is computed. The rounding of a stored value `x` is an error in
/// `+-rounding(x)`. If these errors are independent and unbiased, their first-order sum `e` in a logit obeys Hoeffding's
/// inequality `P(|e| > z * r) <= 2 exp(-z^2 / 2)`, where `r` is the root of the sum of the squared bounds. `r` is `sqrt(3)` times
/// the standard deviation under uniform errors, which is estimated by evaluations with every stored value perturbed. `z` is
/// chosen for a probability of one in a million over all logits. [`F32_LOGITS_BOUND`](super::F32_LOGITS_BOUND) is added for the
/// rounding of f32 sums.
///
/// # Panics
/// When `input` does not hold `batch` images of the graph's input shape.
pub fn bound_logits(graph: &Graph, input: &[f64], batch: usize, precision: Precision) -> LogitsBound {
    let rounded = rounded(graph, precision);
    let exact = reference::run(graph, input, batch);
    let centre = reference::run(&rounded, input, batch);
    let largest = exact.iter().fold(0.0f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
    let weights = exact.iter().zip(&centre).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / largest;
    let mut squares = vec![0.0; centre.len()];
    for seed in 1..=SAMPLES {
        let mut uniform = uniform(seed);
        let mut logits = vec![];
        reference::visit_mut(&rounded, input, batch, |v, value| {
            if v == graph.output() {
                logits = value.to_vec();
            } else if v.index() > 0 {
                value.iter_mut().for_each(|x| *x += precision.rounding(x.abs()) * uniform());
            }
        });
        squares.iter_mut().zip(logits.iter().zip(&centre)).for_each(|(s, (l, c))| *s += (l - c).powi(2));
    }
    let variance = squares.iter().fold(0.0f64, |m, s| m.max(*s)) / SAMPLES as f64;
    let deviation = variance.sqrt() / largest;
    let z = (2.0 * (2.0 * centre.len() as f64 / CHANCE).ln()).sqrt();
    let bound = weights + z * 3f64.sqrt() * deviation + super::F32_LOGITS_BOUND;
    LogitsBound { weights, deviation, bound }
}

/// The graph with its weights as a precision stores them. Biases stay.
fn rounded(graph: &Graph, precision: Precision) -> Graph {
    let mut new = Graph::new(graph.input_shape());
    for node in &graph.nodes()[1..] {
        let op = match &node.op {
            Op::Conv2d(conv) => Op::Conv2d(with_weights(conv, |w| f64::from(precision.stored(w as f32)))),
            op => op.clone(),
        };
        new.push(node.name.clone(), op, &node.inputs).expect("shapes are those of a graph");
    }
    new
}

/// A convolution of `change(w)` for every weight `w`.
pub(super) fn with_weights(conv: &Conv2d, change: impl Fn(f64) -> f64) -> Conv2d {
    let all = |w: &Weight| {
        let values = w.to_f64().into_iter().map(&change).collect();
        Weight::new(Tensor::from_f64(w.shape().to_vec(), values))
    };
    let change = |b: &Block| Block {
        weight: match &b.weight {
            BlockWeight::Dense { weight, groups } => {
                BlockWeight::Dense { weight: all(weight), groups: *groups }
            }
            BlockWeight::Pointwise(w) => BlockWeight::Pointwise(all(w)),
            BlockWeight::Dirac => BlockWeight::Dirac,
            BlockWeight::Diagonal(factors) => {
                BlockWeight::Diagonal(factors.iter().map(|f| change(*f)).collect())
            }
            BlockWeight::AvgPool2x2 => BlockWeight::AvgPool2x2,
        },
        ..b.clone()
    };
    Conv2d { blocks: conv.blocks.iter().map(change).collect(), ..conv.clone() }
}

/// Values uniform in -1..1 (SplitMix64).
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}
