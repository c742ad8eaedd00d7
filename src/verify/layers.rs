//! Every layer of an executor against f64, on the input that the layer really had.

use super::precision::with_weights;
use crate::graph::{Activation, BlockWeight, Conv2d, Graph, Op, Shape, ValueId};
use crate::kernel::Precision;
use crate::reference;
use serde::Serialize;
use std::collections::HashMap;

/// Unit roundoff of f32.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// One layer's worst element.
#[derive(Clone, Debug, Serialize)]
pub struct LayerCheck {
    /// Name of the node.
    pub layer: String,
    /// Largest absolute difference from the f64 evaluation of the layer on the same input.
    pub max_abs: f64,
    /// Largest ratio of a difference to its own bound `(K + 2) * 2^-24 * sum |w||x| + ulp / 2`; above 1 the layer is wrong. In
    /// f16 the bound has the rounding of every weight and of the value itself besides.
    pub of_bound: f64,
}

impl LayerCheck {
    /// Whether every element lies within its rounding bound.
    pub fn passed(&self) -> bool {
        self.of_bound <= 1.0
    }
}

/// Judges each layer of `graph` by an executor's values, planar f32 by node name (the input is given apart), as it stored them
/// in `precision`.
///
/// # Panics
/// When a value is missing or has another length than its shape.
pub fn check_layers(
    graph: &Graph,
    input: &[f32],
    batch: usize,
    values: &HashMap<String, Vec<f32>>,
    precision: Precision,
) -> Vec<LayerCheck> {
    let of = |v: ValueId| -> Vec<f64> {
        let name = &graph.node(v).name;
        let found = if v == ValueId::INPUT { input } else { values[name].as_slice() };
        assert_eq!(found.len(), batch * graph.shape(v).len(), "{name}");
        found.iter().map(|x| f64::from(*x)).collect()
    };
    graph.values().skip(1).map(|v| check_layer(graph, v, batch, &of, precision)).collect()
}

fn check_layer(
    graph: &Graph,
    v: ValueId,
    batch: usize,
    of: &dyn Fn(ValueId) -> Vec<f64>,
    precision: Precision,
) -> LayerCheck {
    let node = graph.node(v);
    let inputs: Vec<Vec<f64>> = node.inputs.iter().map(|&i| of(i)).collect();
    let shapes: Vec<Shape> = node.inputs.iter().map(|&i| graph.shape(i)).collect();
    let run = |op: &Op, inputs: &[Vec<f64>]| {
        let operands: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        reference::apply(op, &operands, &shapes, node.shape, batch)
    };
    let expected = run(&node.op, &inputs);
    let magnitudes: Vec<Vec<f64>> = inputs.iter().map(|x| x.iter().map(|v| v.abs()).collect()).collect();
    // The magnitude of every sum, and the number of its terms by channel.
    let (size, terms): (Vec<f64>, Vec<usize>) = match &node.op {
        Op::Conv2d(conv) => (run(&Op::Conv2d(magnitude(conv)), &magnitudes), terms(conv)),
        Op::GlobalAverage => {
            let n = shapes[0].height * shapes[0].width;
            (run(&node.op, &magnitudes), vec![n; node.shape.channels])
        }
        Op::Add(_) => (run(&Op::Add(Activation::Identity), &magnitudes), vec![2; node.shape.channels]),
        Op::MeanPool2 => (run(&node.op, &magnitudes), vec![4; node.shape.channels]),
        // A product of two values, each rounded where it is stored.
        Op::Gate { .. } => (run(&node.op, &magnitudes), vec![1; node.shape.channels]),
        _ => (expected.iter().map(|v| v.abs()).collect(), vec![1; node.shape.channels]),
    };
    // What rounding the weights changes at most. The output is f32 in every precision.
    let weights = match &node.op {
        Op::Conv2d(conv) if precision != Precision::F32 => {
            let moved = |w: f64| if w == 0.0 { 0.0 } else { precision.rounding(w.abs()) };
            run(
                &Op::Conv2d(Conv2d { bias: vec![0.0; conv.out_channels], ..moved_by(conv, moved) }),
                &magnitudes,
            )
        }
        _ => vec![0.0; expected.len()],
    };
    let stored = if v == graph.output() { Precision::F32 } else { precision };
    let plane = node.shape.height * node.shape.width;
    let mut check = LayerCheck { layer: node.name.clone(), max_abs: 0.0, of_bound: 0.0 };
    for (i, (found, want)) in of(v).iter().zip(&expected).enumerate() {
        let k = terms[i / plane % node.shape.channels] as f64;
        let (factor, own) = activation_error(&node.op, i / plane % node.shape.channels, *want);
        let sum = factor * ((k + 2.0) * U * size[i] + weights[i]) + own;
        let bound = sum + U * want.abs() + f64::from(f32::MIN_POSITIVE);
        let bound = bound + stored.rounding(want.abs() + bound);
        let difference = (found - want).abs();
        let ratio = if difference.is_nan() { f64::INFINITY } else { difference / bound };
        check.max_abs = if difference.is_nan() { f64::INFINITY } else { check.max_abs.max(difference) };
        check.of_bound = check.of_bound.max(ratio);
    }
    check
}

/// By how much a layer's activation can enlarge an error of its argument, and its own rounding, at channel `c` where it gives
/// `value`.
fn activation_error(op: &Op, c: usize, value: f64) -> (f64, f64) {
    let activation = match op {
        Op::Conv2d(conv) => {
            conv.activation.iter().find(|(r, _)| r.contains(&c)).map(|(r, a)| (c - r.start, a))
        }
        Op::Add(a) | Op::Activation(a) => Some((c, a)),
        _ => None,
    };
    match activation {
        // A slope times the sum: one more rounding.
        Some((c, Activation::PRelu(slopes))) => (slopes[c].abs().max(1.0), 2.0 * U * value.abs()),
        // The slope is at most 1/4. WGSL gives exp up to 3 + 2 |x| ulp and a quotient up to 2.5; x is ln(s / (1 - s)).
        Some((_, Activation::Sigmoid)) => {
            let x = (value / (1.0 - value)).ln().abs().min(100.0);
            (0.25, 2.0 * U * (0.25 * (3.0 + 2.0 * x) + 4.0))
        }
        _ => (1.0, 0.0),
    }
}

/// The convolution with every weight and bias replaced by its magnitude, and no activation.
fn magnitude(conv: &Conv2d) -> Conv2d {
    let bias = conv.bias.iter().map(|b| b.abs()).collect();
    Conv2d { bias, ..moved_by(conv, f64::abs) }
}

/// A convolution of `weight(w)` for every weight `w`, without activation.
fn moved_by(conv: &Conv2d, weight: impl Fn(f64) -> f64) -> Conv2d {
    let activation = vec![(0..conv.out_channels, Activation::Identity)];
    Conv2d { activation, ..with_weights(conv, weight) }
}

/// Terms of each output channel's sum, the bias included.
fn terms(conv: &Conv2d) -> Vec<usize> {
    let mut count = vec![1; conv.out_channels];
    for block in &conv.blocks {
        let n = match &block.weight {
            BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) => {
                weight.shape()[1..].iter().product()
            }
            BlockWeight::Dirac | BlockWeight::Diagonal(_) => 1,
            BlockWeight::MeanPool2 => 4,
        };
        count[block.out.clone()].iter_mut().for_each(|c| *c += n);
    }
    count
}
