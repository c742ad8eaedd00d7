//! A network through rewriting, planning and the CPU executor, judged by the f64 oracle within derived bounds.

use crate::common::random::Rng;
use crate::source::Source;
use rmnet::Precision;
use rmnet::cpu::{CpuError, CpuExecutor};
use rmnet::graph::{Activation, BlockWeight, Conv2d, Graph, Op, Shape, Weight};
use rmnet::kernel::WinogradTransform;
use rmnet::plan::{self, CheckedPlan, Plan, PlanError, PlanOptions, PlanTarget, Values};
use rmnet::reference;
use rmnet::rewrite::{self, Form, Mode, Rewritten};
use rmnet::tensor::Tensor;
use rmnet::verify;
use std::collections::HashMap;

/// Largest work that is run: the oracle is plain loops, and one input should not take a second.
const MAX_MACS: usize = 2_000_000;
/// Values of all layers together. What a few bytes of a file can ask for beyond is refused elsewhere.
const MAX_VALUES: usize = 1 << 20;
/// Nodes of a network: some passes take a time that grows with their square.
const MAX_NODES: usize = 400;

/// Whether a network is small enough to be run here.
pub fn is_small(graph: &Graph) -> bool {
    let mut values = 0usize;
    let mut macs = 0usize;
    for node in graph.nodes() {
        let Shape { channels, height, width } = node.shape;
        let n = channels.saturating_mul(height).saturating_mul(width);
        values = values.saturating_add(n);
        if let Op::Conv2d(c) = &node.op {
            let window = c.kernel[0].saturating_mul(c.kernel[1]).saturating_mul(c.in_channels);
            macs = macs.saturating_add(n.saturating_mul(window.min(1 << 20)));
        }
    }
    values <= MAX_VALUES && macs <= MAX_MACS && graph.nodes().len() <= MAX_NODES
}

/// What is run of a network.
pub struct Run {
    pub form: Form,
    pub options: PlanOptions,
}

impl Run {
    pub fn choose(s: &mut Source) -> Run {
        let mode = *s.pick(&[Mode::Structured, Mode::Literal, Mode::Residual]);
        let form = Form { mode, merge: s.one_in(4) };
        let mut target = *s.pick(&[PlanTarget::CPU, PlanTarget::default()]);
        if s.one_in(4) {
            target.max_storage_buffers = s.within(0, 9) as u32;
        }
        let precision = if s.one_in(4) { Precision::F16 } else { Precision::F32 };
        let options =
            PlanOptions { batch: s.within(1, 3), keep: vec![], target, split: !s.one_in(4), precision };
        Run { form, options }
    }
}

/// Rewrites, plans, checks, runs and judges a network.
///
/// # Panics
/// Where any of it is wrong.
pub fn judge(original: &Graph, s: &mut Source) {
    if !is_small(original) {
        return;
    }
    let run = Run::choose(s);
    let seed = s.seed();
    let rewritten = rewrite::for_mode(original, run.form).expect("a network that was built is rewritten");
    if !is_small(&rewritten.graph) {
        return;
    }
    let Some(plan) = planned(&rewritten.graph, &run.options) else { return };
    let batch = run.options.batch;
    let input: Vec<f32> =
        Rng(seed).values(batch * original.input_shape().len()).iter().map(|v| *v as f32).collect();
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
    let exact = Exact::of(original, &wide, batch, run.options.precision);
    same_function(&rewritten, &exact, &wide, batch);
    on_cpu(&rewritten, &plan, &run.options, &input, &exact);
}

/// The plan of a graph, which the checker accepts, or `None` where the target is too small for it.
pub fn planned(graph: &Graph, options: &PlanOptions) -> Option<Plan> {
    match plan::compile(graph, options) {
        Ok(plan) => {
            if let Err(e) = plan::check(&plan) {
                panic!("a plan of ours is refused: {e}\n{plan}\n{graph}");
            }
            Some(plan)
        }
        Err(e @ PlanError::EmptyBatch) => panic!("{e}"),
        Err(PlanError::TooManyBuffers { .. } | PlanError::BindingTooLarge { .. }) => {
            assert!(options.target != PlanTarget::CPU, "the CPU has no limits");
            None
        }
        // Named, with the figures.
        Err(e) => {
            drop(e.to_string());
            None
        }
    }
}

/// Values of a network in f64, and how large the sums are that they are made of.
pub struct Exact {
    pub output: Vec<f64>,
    /// By how much the output may move, element by element, for every unit of relative rounding that each layer adds.
    pub magnitudes: Vec<f64>,
    /// Roundings on the longest way to the output at most: `K + 4` of every layer.
    pub roundings: f64,
    /// The largest magnitude anywhere.
    pub largest: f64,
}

impl Exact {
    /// A layer computes `|found - exact| <= |W| |x - x'| + (K + 2) u |W| |x|`: with `M` the network of absolute weights on absolute
    /// values, the output is off by at most `sum of (K + 2) * u * M` to first order. Where a value or a weight is so small that its
    /// rounding is absolute, `M` has the least value whose rounding is as large in its place ([`floor`]).
    pub fn of(graph: &Graph, input: &[f64], batch: usize, precision: Precision) -> Exact {
        let floor = floor(precision);
        let mut values: Vec<Vec<f64>> = vec![];
        let mut sizes: Vec<Vec<f64>> = vec![];
        let mut exact = Exact { output: vec![], magnitudes: vec![], roundings: 0.0, largest: 0.0 };
        for node in graph.nodes() {
            let shapes: Vec<Shape> = node.inputs.iter().map(|v| graph.shape(*v)).collect();
            let of = |all: &[Vec<f64>], op: &Op| match op {
                Op::Input(_) => input.to_vec(),
                op => {
                    let operands: Vec<&[f64]> =
                        node.inputs.iter().map(|v| all[v.index()].as_slice()).collect();
                    reference::apply(op, &operands, &shapes, node.shape, batch)
                }
            };
            let value = of(&values, &node.op);
            let (op, activations) = absolute(&node.op, node.shape.channels, floor);
            let winograd = may_be_winograd(&node.op);
            if let (Some(_), [v]) = (winograd, &node.inputs[..]) {
                spread(&mut sizes[v.index()], graph.shape(*v));
            }
            let mut size = of(&sizes, &op);
            size.iter_mut().for_each(|m| *m *= winograd.unwrap_or(1.0));
            let plane = node.shape.height * node.shape.width;
            for (i, m) in size.iter_mut().enumerate() {
                let c = i / plane % node.shape.channels;
                *m = grown(&activations, c, m.abs()).max(floor);
                if let Op::Gate { .. } = node.op {
                    *m *= 2.0;
                }
                // What overflows shows nothing.
                exact.largest = if m.is_finite() { exact.largest.max(*m) } else { f64::INFINITY };
            }
            exact.roundings += terms(&node.op, &shapes) + 4.0;
            values.push(value);
            sizes.push(size);
        }
        let at = graph.output().index();
        exact.output = values.swap_remove(at);
        exact.magnitudes = sizes.swap_remove(at);
        exact
    }

    /// The first element further off than `unit` of rounding allows.
    pub fn off(&self, found: impl ExactSizeIterator<Item = f64>, unit: f64) -> Option<String> {
        assert_eq!(found.len(), self.output.len(), "values of the output");
        let expected = self.output.iter().zip(&self.magnitudes);
        found.zip(expected).enumerate().find_map(|(i, (found, (&exact, &size)))| {
            let bound = 4.0 * unit * self.roundings * size;
            let off = (found - exact).abs();
            (off.is_nan() || off > bound)
                .then(|| format!("element {i}: found {found}, expected {exact} +- {bound:e}"))
        })
    }
}

/// By how much the sums of a convolution may grow that the CPU executor may compute by Winograd's algorithm, in this form or in another one
/// with more channels. Each output may then be off by as much as the largest one near it.
fn may_be_winograd(op: &Op) -> Option<f64> {
    match op {
        Op::Conv2d(c) if c.kernel == [3, 3] && c.stride == [1, 1] => {
            Some(WinogradTransform::F4x3.rounding(1, 0).gain)
        }
        _ => None,
    }
}

/// Gives all elements of a plane the largest of its magnitudes.
fn spread(sizes: &mut [f64], shape: Shape) {
    for plane in sizes.chunks_exact_mut(shape.height * shape.width) {
        let largest = plane.iter().fold(0.0, |most: f64, v| most.max(*v));
        plane.fill(largest);
    }
}

type Parts = Vec<(std::ops::Range<usize>, Activation)>;

/// The linear part of a layer with absolute weights, and what comes after it.
fn absolute(op: &Op, channels: usize, floor: f64) -> (Op, Parts) {
    let whole = |a: &Activation| vec![(0..channels, a.clone())];
    match op {
        Op::Conv2d(conv) => {
            let linear =
                Conv2d { activation: vec![(0..channels, Activation::Identity)], ..magnitude(conv, floor) };
            (Op::Conv2d(linear), conv.activation.clone())
        }
        Op::BatchNorm(bn) => {
            let (scale, _) = bn.affine();
            let scale: Vec<f64> = scale.iter().map(|v| v.abs()).collect();
            let shift = (0..channels).map(|c| bn.bias[c].abs() + bn.mean[c].abs() * scale[c]).collect();
            (Op::Conv2d(Conv2d::diagonal(scale, shift)), vec![])
        }
        Op::Activation(a) => (Op::Activation(Activation::Identity), whole(a)),
        Op::Add(a) => (Op::Add(Activation::Identity), whole(a)),
        op => (op.clone(), vec![]),
    }
}

/// The magnitude of an activation's value, by that of its argument.
fn grown(activations: &Parts, c: usize, size: f64) -> f64 {
    match activations.iter().find(|(r, _)| r.contains(&c)) {
        Some((r, Activation::PRelu(slopes))) => size * slopes[c - r.start].abs().max(1.0),
        Some((_, Activation::Sigmoid)) => 1.0 + size,
        _ => size,
    }
}

/// The least magnitude whose relative rounding is no less than what is lost where values are not normal any more: GPUs may
/// take those of f32 for zero.
fn floor(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2f64.powi(-102),
        _ => 2f64.powi(-14),
    }
}

fn magnitude(conv: &Conv2d, floor: f64) -> Conv2d {
    let size = |v: &f64| if *v == 0.0 { 0.0 } else { v.abs().max(floor) };
    let of = |w: &Weight| {
        let values = w.to_f64().iter().map(size).collect();
        Weight::new(Tensor::from_f64(w.shape().to_vec(), values))
    };
    let mut conv = conv.clone();
    for block in &mut conv.blocks {
        block.weight = match &block.weight {
            BlockWeight::Dense { weight, groups } => {
                BlockWeight::Dense { weight: of(weight), groups: *groups }
            }
            BlockWeight::Pointwise(w) => BlockWeight::Pointwise(of(w)),
            BlockWeight::Diagonal(d) => BlockWeight::Diagonal(d.iter().map(size).collect()),
            other => other.clone(),
        };
    }
    conv.bias.iter_mut().for_each(|b| *b = b.abs());
    conv
}

fn terms(op: &Op, shapes: &[Shape]) -> f64 {
    let n = match op {
        Op::Conv2d(c) => c.kernel[0] * c.kernel[1] * c.in_channels + 4 * c.blocks.len(),
        Op::GlobalAverage => shapes[0].height * shapes[0].width,
        _ => 4,
    };
    n as f64
}

/// The rewritten graph gives in f64 what the original gives.
pub fn same_function(rewritten: &Rewritten, exact: &Exact, input: &[f64], batch: usize) {
    if exact.largest > 1e100 {
        return;
    }
    let unit = if rewritten.deviation > 0.0 { 1e-6 } else { f64::EPSILON };
    let found = reference::run(&rewritten.graph, input, batch);
    if let Some(what) = exact.off(found.into_iter(), unit) {
        panic!("the rewritten network is another function: {what}\n{}", rewritten.graph);
    }
}

/// Runs a plan, and one that keeps every layer.
fn on_cpu(rewritten: &Rewritten, plan: &Plan, options: &PlanOptions, input: &[f32], exact: &Exact) {
    let graph = &rewritten.graph;
    let half = options.precision == Precision::F16;
    let batch = options.batch;
    // Sums of a layer's kernel may be larger than the value that comes out: a tenth of the range is well inside of it, and a thousandth where
    // tiles are transformed (in f32), which grows values up to 24 times and weights twice.
    let (most, unit) = if half { (6e3, 2f64.powi(-10)) } else { (1e35, 2f64.powi(-23)) };
    let fits = exact.largest < most;
    let Some(output) = run_on_cpu(plan, input, fits).map(|(output, ..)| output) else { return };
    if !fits {
        return;
    }
    let found = output.iter().map(|v| f64::from(*v));
    if let Some(what) = exact.off(found, unit + rewritten.deviation) {
        panic!("the CPU executor is wrong: {what}\n{plan}\n{graph}");
    }
    let keep: Vec<String> = graph.nodes()[1..].iter().map(|n| n.name.clone()).collect();
    let Some(plan) = planned(graph, &PlanOptions { keep, ..options.clone() }) else { return };
    let Some((output, mut values, executor)) = run_on_cpu(&plan, input, fits) else { return };
    // Kept, what is seen through a view is a copy in the plan's precision; the output itself is f32.
    values.insert(graph.node(graph.output()).name.clone(), output);
    let rounding = |name: &str| executor.rounding(name);
    let checks = verify::check_layers(graph, input, batch, &values, options.precision, rounding);
    if let Some(bad) = checks.iter().find(|c| !c.passed()) {
        panic!("layer {} is {} times its bound off\n{plan}\n{graph}", bad.layer, bad.of_bound);
    }
}

/// The output, the kept values and who computed them; `None` where the run was refused, which it may be where the values do not fit.
pub fn run_on_cpu(
    plan: &Plan,
    input: &[f32],
    fits: bool,
) -> Option<(Vec<f32>, HashMap<String, Vec<f32>>, CpuExecutor)> {
    let checked = CheckedPlan::new(plan.clone())
        .unwrap_or_else(|e| panic!("a plan as it is made is refused: {e}\n{plan}"));
    let executor = match CpuExecutor::new(&checked) {
        Ok(executor) => executor,
        Err(e @ (CpuError::Weights { .. } | CpuError::OutOfMemory(_))) if !fits => return refused(&e),
        Err(e) => panic!("a plan that fits is refused: {e}\n{plan}"),
    };
    match executor.run_keeping(input) {
        Ok(Values { output, kept, .. }) => Some((output, kept.into_iter().collect(), executor)),
        Err(e @ CpuError::Overflow { .. }) if !fits => refused(&e),
        Err(e) => panic!("a run of values that fit is refused: {e}\n{plan}"),
    }
}

fn refused<T>(error: &CpuError) -> Option<T> {
    drop(error.to_string());
    None
}
