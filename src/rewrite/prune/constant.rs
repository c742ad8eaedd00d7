//! Finds constant channels, and which of them can be folded exactly into their readers' biases.
//!
//! A batch-norm scale of zero makes a row of zeros, so the channel is `activation(bias)` everywhere. A reader without padding, or
//! one that reads only its own position, adds the same amount at every pixel, which its bias can include. A padded reader does
//! not, unless the constant is 0.

use super::channels::{Channels, carries, convs};
use super::weights::{NonZero, group_inputs, is_diagonal, stays_inside};
use crate::graph::{BlockWeight, Conv2d, Graph, Op, ValueId};

/// Constants known without an input.
pub(super) struct Constants {
    /// Per channel.
    value: Vec<Option<f64>>,
    /// Per class, whether it can be removed exactly.
    pub(super) removable: Vec<bool>,
    /// Per class that is constant but must stay: the constant, and the padded layer that reads it.
    pub(super) stays: Vec<Option<(f64, String)>>,
}

impl Constants {
    pub(super) fn of(graph: &Graph, channels: &Channels, nonzero: &NonZero) -> Constants {
        let value = propagate(graph, channels, nonzero, |_| None);
        let mut removable: Vec<bool> = channels.fixed.iter().map(|f| !f).collect();
        let mut stays = vec![None; removable.len()];
        for (v, conv, x) in convs(graph) {
            for (b, block) in conv.blocks.iter().enumerate() {
                for c in 0..block.input.len() {
                    let i = block.input.start + c;
                    let class = channels.class(x, i);
                    if !is_diagonal(block) && !nonzero.column(v, b, c) {
                        continue; // multiplied by zeros
                    }
                    let constant = value[channels.at(x, i)];
                    let own_position = !matches!(block.weight, BlockWeight::Dense { .. });
                    let exact = own_position || stays_inside(conv) || constant == Some(0.0);
                    if constant.is_none() || !exact {
                        removable[class] = false;
                    }
                    if let (false, Some(constant)) = (exact, constant) {
                        stays[class] = Some((constant, graph.node(v).name.clone()));
                    }
                }
            }
        }
        // A row that only hands on a channel is removed with it, so the readers of that row must permit removal too.
        loop {
            let mut changed = false;
            for (v, conv, x) in convs(graph) {
                for block in conv.blocks.iter().filter(|b| is_diagonal(b)) {
                    for (o, i) in block.out.clone().zip(block.input.clone()) {
                        let (to, from) = (channels.class(v, o), channels.class(x, i));
                        if removable[from] && !removable[to] && carries(conv, o) {
                            removable[from] = false;
                            stays[from] = stays[to].clone();
                            changed = true;
                        }
                    }
                }
            }
            if !changed {
                break;
            }
        }
        Constants { value, removable, stays }
    }

    /// The constants of removed channels: the known value, else 0, propagated to the channels that carry them.
    pub(super) fn where_gone(
        &self,
        graph: &Graph,
        channels: &Channels,
        nonzero: &NonZero,
        alive: &[bool],
    ) -> Vec<Option<f64>> {
        propagate(graph, channels, nonzero, |e| {
            (!alive[channels.class_of(e)]).then(|| self.value[e].unwrap_or(0.0))
        })
    }
}

/// Propagates constants from the input on. `assume` overrides the value of computed channels.
fn propagate(
    graph: &Graph,
    channels: &Channels,
    nonzero: &NonZero,
    assume: impl Fn(usize) -> Option<f64>,
) -> Vec<Option<f64>> {
    let mut value: Vec<Option<f64>> = vec![None; channels.count()];
    for v in graph.values().skip(1) {
        let node = graph.node(v);
        let of = |i: usize, c: usize| value[channels.at(node.inputs[i], c)];
        let found: Vec<Option<f64>> = match &node.op {
            Op::Conv2d(conv) => {
                let sums = sums(conv, nonzero, v, |c| of(0, c));
                let activation = conv.activation.iter().flat_map(|(r, a)| r.clone().map(move |o| (r, o, a)));
                activation
                    .zip(sums)
                    .map(|((range, o, a), sum)| {
                        let given = if carries(conv, o) { None } else { assume(channels.at(v, o)) };
                        given.or(sum.map(|s| a.apply(o - range.start, s)))
                    })
                    .collect()
            }
            Op::Slice(range) => range.clone().map(|c| of(0, c)).collect(),
            Op::Gate { first } => {
                let gates = graph.shape(node.inputs[1]).channels;
                let gated = |c: usize| match (of(0, c), c.checked_sub(*first).filter(|g| *g < gates)) {
                    (Some(0.0), _) => Some(0.0),
                    (Some(x), Some(g)) => of(1, g).map(|gate| x * gate),
                    (x, _) => x,
                };
                (0..node.shape.channels).map(gated).collect()
            }
            Op::Add(a) => (0..node.shape.channels).map(|c| Some(a.apply(c, of(0, c)? + of(1, c)?))).collect(),
            Op::Activation(a) => (0..node.shape.channels).map(|c| Some(a.apply(c, of(0, c)?))).collect(),
            Op::Input(_) | Op::BatchNorm(_) => vec![None; node.shape.channels],
            Op::MaxPool(_) | Op::AvgPool2x2 | Op::GlobalAverage => {
                (0..node.shape.channels).map(|c| of(0, c)).collect()
            }
        };
        let first = channels.at(v, 0);
        value[first..first + found.len()].copy_from_slice(&found);
    }
    value
}

/// Per row, the bias plus the contribution of constant inputs; `None` if another input contributes.
fn sums(
    conv: &Conv2d,
    nonzero: &NonZero,
    v: ValueId,
    input: impl Fn(usize) -> Option<f64>,
) -> Vec<Option<f64>> {
    let mut sums: Vec<Option<f64>> = conv.bias.iter().map(|b| Some(*b)).collect();
    for (b, block) in conv.blocks.iter().enumerate() {
        for (r, o) in block.out.clone().enumerate() {
            let Some(sum) = sums[o] else { continue };
            sums[o] = match &block.weight {
                BlockWeight::Dirac | BlockWeight::AvgPool2x2 => input(block.input.start + r).map(|k| sum + k),
                BlockWeight::Diagonal(factors) => input(block.input.start + r).map(|k| sum + factors[r] * k),
                BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) => {
                    let inputs: Option<Vec<f64>> = match nonzero.row(v, b, r) {
                        true => group_inputs(block, r).map(&input).collect(),
                        false => Some(vec![]),
                    };
                    let pointwise = matches!(block.weight, BlockWeight::Pointwise(_));
                    match inputs {
                        Some(k) if k.iter().all(|k| *k == 0.0) => Some(sum),
                        Some(k) if pointwise || stays_inside(conv) => {
                            let taps = weight.shape()[2] * weight.shape()[3];
                            let row = weight.row(r);
                            let terms = row.chunks_exact(taps).zip(k);
                            Some(sum + terms.map(|(w, k)| k * w.iter().sum::<f64>()).sum::<f64>())
                        }
                        _ => None,
                    }
                }
            };
        }
    }
    sums
}
