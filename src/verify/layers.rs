//! Compares every layer of an executor with f64, on the layer's actual input.

use super::precision::with_weights;
use crate::graph::{Activation, BlockWeight, Conv2d, Graph, Node, Op, Shape, ValueId, Weight};
use crate::kernel::{Precision, Rounding};
use crate::reference;
use crate::tensor::Tensor;
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
    /// Largest ratio of a difference to its bound `(K + 2) * 2^-24 * sum |w||x| + ulp / 2`, where K is the number of terms of the
    /// sum and the layer's kernel may state a wider bound. Above 1 the layer is wrong. In f16 the bound also includes the
    /// rounding of weights, of the value itself, and of operands read through views or kept as copies.
    pub of_bound: f64,
}

impl LayerCheck {
    /// Whether every element lies within its rounding bound.
    pub fn passed(&self) -> bool {
        self.of_bound <= 1.0
    }
}

/// Compares each layer of `graph` with its f64 evaluation on the inputs that the executor used.
///
/// `input` and `values` are planar f32 of `batch` images, `values` by node name as the executor stored them in `precision`.
/// `rounding` gives the rounding bound of the kernel that computed a node.
///
/// # Panics
/// When a value is missing or has another length than its shape.
pub fn check_layers(
    graph: &Graph,
    input: &[f32],
    batch: usize,
    values: &HashMap<String, Vec<f32>>,
    precision: Precision,
    rounding: impl Fn(&str) -> Rounding,
) -> Vec<LayerCheck> {
    let of = |v: ValueId| -> Vec<f64> {
        let name = &graph.node(v).name;
        let found = if v == ValueId::INPUT { input } else { values[name].as_slice() };
        assert_eq!(found.len(), batch * graph.shape(v).len(), "{name}");
        found.iter().map(|x| f64::from(*x)).collect()
    };
    let views = views(graph);
    let check =
        |v: ValueId| check_layer(graph, v, batch, &of, precision, rounding(&graph.node(v).name), &views);
    graph.values().skip(1).map(check).collect()
}

fn check_layer(
    graph: &Graph,
    v: ValueId,
    batch: usize,
    of: &dyn Fn(ValueId) -> Vec<f64>,
    precision: Precision,
    rounding: Rounding,
    views: &[bool],
) -> LayerCheck {
    let node = graph.node(v);
    let inputs: Vec<Vec<f64>> = node.inputs.iter().map(|&i| of(i)).collect();
    let shapes: Vec<Shape> = node.inputs.iter().map(|&i| graph.shape(i)).collect();
    let layer = Layer { node, shapes: &shapes, batch };
    let expected = layer.run(&node.op, &inputs);
    let magnitudes: Vec<Vec<f64>> = inputs.iter().map(|x| x.iter().map(|v| v.abs()).collect()).collect();
    let (size, terms) = layer.sums(&magnitudes, &expected, rounding);
    let weights = layer.rounded_weights(&magnitudes, precision);
    let copied = copied(graph, v, &magnitudes, &shapes, batch, precision, views);
    let stored = if v == graph.output() { Precision::F32 } else { precision };
    let plane = node.shape.height * node.shape.width;
    let mut check = LayerCheck { layer: node.name.clone(), max_abs: 0.0, of_bound: 0.0 };
    for (i, (found, want)) in of(v).iter().zip(&expected).enumerate() {
        let k = terms[i / plane % node.shape.channels];
        let (factor, own) = activation_error(&node.op, i / plane % node.shape.channels, *want);
        let sum = factor * (rounding.of(k) * U * size[i] + weights[i] + copied[i]) + own;
        let bound = sum + U * want.abs() + f64::from(f32::MIN_POSITIVE);
        let bound = bound + stored.rounding(want.abs() + bound);
        let difference = (found - want).abs();
        let ratio = if difference.is_nan() { f64::INFINITY } else { difference / bound };
        check.max_abs = if difference.is_nan() { f64::INFINITY } else { check.max_abs.max(difference) };
        check.of_bound = check.of_bound.max(ratio);
    }
    check
}

/// A layer with the shapes of its operands.
struct Layer<'g> {
    node: &'g Node,
    shapes: &'g [Shape],
    batch: usize,
}

impl Layer<'_> {
    /// Evaluates `op` in f64 on the layer's operands, in place of the layer's own operation.
    fn run(&self, op: &Op, inputs: &[Vec<f64>]) -> Vec<f64> {
        let operands: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        reference::apply(op, &operands, self.shapes, self.node.shape, self.batch)
    }

    /// Per output element the sum of the magnitudes of its terms, and per channel the number of terms.
    fn sums(&self, magnitudes: &[Vec<f64>], expected: &[f64], rounding: Rounding) -> (Vec<f64>, Vec<usize>) {
        let Layer { node, shapes, batch } = *self;
        match &node.op {
            Op::Conv2d(conv) => {
                let size = match rounding.reach {
                    None => self.run(&Op::Conv2d(magnitude(conv)), magnitudes),
                    Some(reach) => {
                        let near = [near(conv, &magnitudes[0], shapes[0], node.shape, reach)];
                        let shape = Shape { channels: shapes[0].channels, ..node.shape };
                        let operands: Vec<&[f64]> = near.iter().map(Vec::as_slice).collect();
                        let all_taps = Op::Conv2d(all_taps(conv));
                        reference::apply(&all_taps, &operands, &[shape], node.shape, batch)
                    }
                };
                (size, terms(conv))
            }
            Op::GlobalAverage => {
                let n = shapes[0].height * shapes[0].width;
                (self.run(&node.op, magnitudes), vec![n; node.shape.channels])
            }
            Op::Add(_) => {
                (self.run(&Op::Add(Activation::Identity), magnitudes), vec![2; node.shape.channels])
            }
            Op::AvgPool2x2 => (self.run(&node.op, magnitudes), vec![4; node.shape.channels]),
            // A product of two values, each rounded where it is stored.
            Op::Gate { .. } => (self.run(&node.op, magnitudes), vec![1; node.shape.channels]),
            _ => (expected.iter().map(|v| v.abs()).collect(), vec![1; node.shape.channels]),
        }
    }

    /// Maximum change of the output when the weights are rounded to `precision`.
    fn rounded_weights(&self, magnitudes: &[Vec<f64>], precision: Precision) -> Vec<f64> {
        match &self.node.op {
            Op::Conv2d(conv) if precision != Precision::F32 => {
                let moved = |w: f64| if w == 0.0 { 0.0 } else { precision.rounding(w.abs()) };
                let moved = Conv2d { bias: vec![0.0; conv.out_channels], ..moved_by(conv, moved) };
                self.run(&Op::Conv2d(moved), magnitudes)
            }
            _ => vec![0.0; self.batch * self.node.shape.len()],
        }
    }
}

/// Per value, whether readers may see it through a view that is computed in f32 as it is loaded, while the kept value is a copy
/// in the plan's precision. True of the input, means, gated products, batch norms and functions.
fn views(graph: &Graph) -> Vec<bool> {
    let mut views: Vec<bool> = vec![];
    for node in graph.nodes() {
        let of = |i: usize| views[node.inputs[i].index()];
        let exact = |a: &Activation| !matches!(a, Activation::PRelu(_) | Activation::Sigmoid);
        let view = match &node.op {
            Op::Input(_) | Op::AvgPool2x2 | Op::Gate { .. } | Op::BatchNorm(_) => true,
            Op::Activation(a) => of(0) || !exact(a),
            Op::Slice(_) => of(0),
            Op::Conv2d(conv) => conv.blocks.iter().any(|b| match b.weight {
                BlockWeight::Dense { .. } | BlockWeight::Pointwise(_) => false,
                BlockWeight::Dirac => of(0) || !conv.activation.iter().all(|(_, a)| exact(a)),
                BlockWeight::Diagonal(_) | BlockWeight::AvgPool2x2 => true,
            }),
            Op::Add(_) | Op::MaxPool(_) | Op::GlobalAverage => false,
        };
        views.push(view);
    }
    views
}

/// Maximum change of the output because the kept value of an operand was rounded while the layer read it unrounded through a
/// view, or the reverse. A plain convolution reads the network's input unrounded.
fn copied(
    graph: &Graph,
    v: ValueId,
    magnitudes: &[Vec<f64>],
    shapes: &[Shape],
    batch: usize,
    precision: Precision,
    views: &[bool],
) -> Vec<f64> {
    let node = graph.node(v);
    let mut moved = vec![0.0; batch * node.shape.len()];
    let plain = matches!(&node.op, Op::Conv2d(c) if c.as_plain().is_some());
    let rounded = |x: &ValueId| views[x.index()] && !(plain && *x == ValueId::INPUT);
    if precision == Precision::F32 || !node.inputs.iter().any(rounded) {
        return moved;
    }
    let op = match &node.op {
        Op::Conv2d(conv) => {
            Op::Conv2d(Conv2d { bias: vec![0.0; conv.out_channels], ..moved_by(conv, f64::abs) })
        }
        Op::BatchNorm(bn) => {
            let scale: Vec<f64> = bn.affine().0.iter().map(|s| s.abs()).collect();
            let bias = vec![0.0; scale.len()];
            Op::Conv2d(Conv2d::diagonal(scale, bias))
        }
        Op::Add(_) => Op::Add(Activation::Identity),
        Op::Activation(_) => Op::Activation(Activation::Identity),
        op => op.clone(),
    };
    for i in (0..node.inputs.len()).filter(|i| rounded(&node.inputs[*i])) {
        let mut operands = magnitudes.to_vec();
        operands[i].iter_mut().for_each(|x| *x = precision.rounding(*x));
        // In a sum only the rounded operand counts; in a product the other operand multiplies the error.
        if let Op::Add(_) = op {
            operands[1 - i].fill(0.0);
        }
        let operands: Vec<&[f64]> = operands.iter().map(Vec::as_slice).collect();
        let more = reference::apply(&op, &operands, shapes, node.shape, batch);
        moved.iter_mut().zip(more).for_each(|(m, more)| *m += more);
    }
    moved
}

/// The factor by which a layer's activation can enlarge an error of its argument, and the rounding it adds itself, at channel `c`
/// where the output is `value`.
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

/// Per output element and input channel, the largest input within `reach` of the window's centre: what the kernel may have
/// summed.
fn near(conv: &Conv2d, x: &[f64], shape: Shape, out: Shape, reach: usize) -> Vec<f64> {
    let rows = |axis: usize, at: usize, size: usize| {
        let half = conv.kernel[axis] / 2 * conv.dilation[axis];
        let reach = reach.max(half);
        let centre = at * conv.stride[axis] + half;
        let first = centre.saturating_sub(conv.padding[axis] + reach);
        first.min(size)..(centre + reach + 1).saturating_sub(conv.padding[axis]).min(size)
    };
    let mut near = Vec::with_capacity(x.len() / shape.len() * shape.channels * out.height * out.width);
    for plane in x.chunks(shape.height * shape.width) {
        for y in 0..out.height {
            for x in 0..out.width {
                let columns = rows(1, x, shape.width);
                let window = rows(0, y, shape.height)
                    .flat_map(|y| &plane[y * shape.width + columns.start..y * shape.width + columns.end]);
                near.push(window.fold(0.0, |m: f64, v| m.max(*v)));
            }
        }
    }
    near
}

/// The magnitude of a convolution whose every tap reads the same element.
fn all_taps(conv: &Conv2d) -> Conv2d {
    let mut all = magnitude(conv);
    for block in &mut all.blocks {
        match &mut block.weight {
            BlockWeight::Dense { weight, .. } => {
                let [out, inputs, height, width] = weight.shape();
                let sums = weight.to_f64().chunks(height * width).map(|taps| taps.iter().sum()).collect();
                *weight = Weight::new(Tensor::from_f64(vec![out, inputs, 1, 1], sums));
            }
            // The mean is at most the largest input.
            mean @ BlockWeight::AvgPool2x2 => *mean = BlockWeight::Dirac,
            BlockWeight::Pointwise(_) | BlockWeight::Dirac | BlockWeight::Diagonal(_) => {}
        }
    }
    let (kernel, stride, padding) = ([1, 1], [1, 1], [0, 0]);
    Conv2d { kernel, stride, padding, padding_end: padding, same: false, dilation: [1, 1], ..all }
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
            BlockWeight::AvgPool2x2 => 4,
        };
        count[block.out.clone()].iter_mut().for_each(|c| *c += n);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In f16 only a plain convolution reads the f32 input; every other layer reads an f16 copy.
    #[test]
    fn a_copy_of_the_input_is_rounded() {
        // f16 rounds 1025.4 to 1025: the mean is 0.25, not 0.35.
        let input = vec![1025.4, -1024.0, 0.0, 0.0];
        let mut graph = Graph::new(Shape { channels: 1, height: 2, width: 2 });
        graph.push("mean", Op::AvgPool2x2, &[ValueId::INPUT]).unwrap();
        let of_bound = |value: f32, precision: Precision| {
            let values = HashMap::from([("mean".to_string(), vec![value])]);
            check_layers(&graph, &input, 1, &values, precision, |_| Rounding::DIRECT)[0].of_bound
        };
        assert!(of_bound(0.25, Precision::F16) <= 1.0);
        assert!(of_bound(0.05, Precision::F16) > 1.0);
        assert!(of_bound(0.25, Precision::F32) > 1.0);
    }

    /// A kept mean is a copy in f16, but the layer after it read the mean in f32.
    #[test]
    fn a_view_is_seen_unrounded() {
        let mut graph = Graph::new(Shape { channels: 1, height: 2, width: 2 });
        let mean = graph.push("mean", Op::AvgPool2x2, &[ValueId::INPUT]).unwrap();
        let weight = Weight::new(Tensor::from_f64(vec![1, 1, 1, 1], vec![1.999]));
        let conv = Conv2d::dense(weight, 1, [1, 1], [0, 0]).with_bias(vec![-1.999 * 1025.0]);
        let conv = graph.push("conv", Op::Conv2d(conv), &[mean]).unwrap();
        graph.push("sum", Op::Add(Activation::Identity), &[conv, conv]).unwrap();
        // f16 rounds the mean, 1025.49, to 1025. Half a unit of the weight's last place moves the sum by 0.5, less than that.
        let input = [1025.0, 1025.0, 1025.0, 1026.96];
        let of_bound = |found: f32| {
            let values = [("mean", 1025.0), ("conv", found), ("sum", 2.0 * found)];
            let values = values.map(|(name, v)| (name.to_string(), vec![v])).into();
            check_layers(&graph, &input, 1, &values, Precision::F16, |_| Rounding::DIRECT)[1].of_bound
        };
        assert!(of_bound(1.999 * 0.49) <= 1.0);
        assert!(of_bound(2.5) > 1.0);
    }

    /// A kernel that sums magnitudes around a window may be wrong by the stated amount even where the window itself is zero.
    #[test]
    fn a_reach_widens_the_bound_as_far_as_it_goes() {
        let weight = Weight::new(Tensor::from_f64(vec![1, 1, 3, 3], vec![-2.0; 9]));
        let mut graph = Graph::new(Shape { channels: 1, height: 9, width: 9 });
        let conv = Op::Conv2d(Conv2d::dense(weight, 1, [1, 1], [1, 1]));
        graph.push("conv", conv, &[ValueId::INPUT]).unwrap();
        // One large element in a corner.
        let mut input = vec![0.0f32; 81];
        input[0] = 1e6;
        let x: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
        let right: Vec<f32> = reference::run(&graph, &x, 1).iter().map(|v| *v as f32).collect();
        let of_bound = |y: usize, error: f64, rounding: Rounding| {
            let mut values = right.clone();
            values[9 * y] += error as f32;
            let values = HashMap::from([("conv".to_string(), values)]);
            check_layers(&graph, &input, 1, &values, Precision::F32, |_| rounding)[0].of_bound
        };
        let wide = Rounding { gain: 3.0, reach: Some(2), ..Rounding::DIRECT };
        // Ten terms, the bias counted; all nine taps may have met the large element.
        let bound = 3.0 * 12.0 * U * 18.0 * 1e6;
        for (error, passes) in [(0.99 * bound, true), (1.01 * bound, false)] {
            assert_eq!(of_bound(2, error, wide) <= 1.0, passes, "{error}");
            assert!(of_bound(2, error, Rounding::DIRECT) > 1.0 && of_bound(3, error, wide) > 1.0);
        }
    }
}
