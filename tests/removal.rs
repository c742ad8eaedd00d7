//! Removal and planning on random networks, judged by the f64 oracle and the plan checker.

mod common;

use common::random::{f32_error, images, network};
use common::{difference, fixtures};
use proptest::prelude::*;
use rmnet::graph::{Activation, Block, BlockWeight, Conv2d, Graph, Op};
use rmnet::plan::{self, Place, PlanError, PlanOptions, PlanTarget};
use rmnet::reference;
use rmnet::rewrite::{self, Mode, Outcome};
use rmnet::rewrite::{Form, fuse_linear, literal};
use rmnet::verify::F32_LOGITS_BOUND;

/// Rounding of f64 through a few dozen layers; a wrong tap or shift is off by far more.
const F64_BOUND: f64 = 1e-12;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn structured_and_literal_forms_are_the_same_function(seed: u64) {
        let original = network(seed);
        let input: Vec<f64> = images(&original, 2, seed).iter().map(|v| f64::from(*v)).collect();
        let expected = reference::run(&original, &input, 2);
        let removed = rewrite::for_mode(&original, Mode::Structured).unwrap();
        let residual = rewrite::for_mode(&original, Mode::Residual).unwrap().graph;
        let plain = literal(&removed.graph).unwrap();
        let merged = fuse_linear(&removed.graph).unwrap();
        let forms =
            [("structured", &removed.graph), ("residual", &residual), ("literal", &plain), ("merged", &merged)];
        for (name, graph) in forms {
            let (_, relative) = difference(&reference::run(graph, &input, 2), &expected);
            prop_assert!(relative < F64_BOUND, "{name}: {relative:e}\n{graph}");
        }
        let adds = |g: &Graph| g.nodes().iter().filter(|n| matches!(n.op, Op::Add(_))).count();
        let kept = removed.blocks.iter().filter(|b| matches!(b.outcome, Outcome::Kept { .. })).count();
        prop_assert_eq!(adds(&removed.graph), kept);
        prop_assert!(removed.blocks.len() <= adds(&original));
        // A 2x2 mean at an odd size has no plain form.
        let mean = |c: &Conv2d| c.blocks.iter().any(|b| matches!(b.weight, BlockWeight::AvgPool2x2));
        let all_dense = plain.convs().all(|(_, c)| c.as_plain().is_some() || mean(c));
        prop_assert!(all_dense);
    }

    #[test]
    fn every_plan_passes_the_checker(seed: u64, batch in 1usize..4, split: bool) {
        let original = network(seed);
        let merge = [Mode::Structured, Mode::Literal].map(|mode| Form { mode, merge: true });
        for form in [Mode::Structured, Mode::Literal, Mode::Residual].map(Form::from).into_iter().chain(merge) {
            let rewritten = rewrite::for_mode(&original, form).unwrap();
            let options = PlanOptions { batch, split, ..PlanOptions::default() };
            let plan = plan::compile(&rewritten.graph, &options).unwrap();
            plan::check(&plan).unwrap();
            prop_assert!(plan.activation_bytes() >= plan.lower_bound);
            // Memory is not saved by copies.
            let uncut = plan::compile(&rewritten.graph, &PlanOptions { split: false, ..options.clone() }).unwrap();
            prop_assert!(plan.dispatches.len() <= uncut.dispatches.len(), "{plan}");
            if form.merge {
                continue;
            }
            let keep = rewritten.blocks.iter().map(|b| b.output.clone()).collect();
            let plan = plan::compile(&rewritten.graph, &PlanOptions { keep, ..options }).unwrap();
            plan::check(&plan).unwrap();
        }
    }

    /// Moving one buffer to another slot either leaves a sound plan or is found: here, where the slot is in use, found.
    /// An adapter that binds few buffers gets more dispatches, and the same function, or a refusal.
    #[test]
    fn sums_of_many_buffers_are_computed_in_parts(seed: u64, max_storage_buffers in 0u32..8) {
        let original = network(seed);
        let input = images(&original, 2, seed);
        let target = PlanTarget { max_storage_buffers, ..PlanTarget::default() };
        for mode in [Mode::Structured, Mode::Residual] {
            let graph = rewrite::for_mode(&original, mode).unwrap().graph;
            let plan = match plan::compile(&graph, &PlanOptions { batch: 2, target, ..PlanOptions::default() }) {
                Ok(plan) => plan,
                // One operand, its gate, the weights and the result.
                Err(PlanError::TooManyBuffers { .. }) if max_storage_buffers < 4 => continue,
                Err(error) => panic!("{max_storage_buffers}: {error}"),
            };
            plan::check(&plan).unwrap();
            let most = plan.dispatches.iter().map(|d| d.reads.len() + d.writes.len()).max().unwrap_or(0);
            prop_assert!(most < max_storage_buffers as usize, "{plan}");
            let found = common::cpu(&plan).run(&input).unwrap();
            let relative = f32_error(&original, &input, 2, &found);
            prop_assert!(relative < F32_LOGITS_BOUND, "{relative:e}\n{plan}\n{graph}");
        }
    }

    #[test]
    fn the_checker_finds_a_clobbered_slot(seed: u64) {
        let graph = rewrite::for_mode(&network(seed), Mode::Structured).unwrap().graph;
        let plan = plan::compile(&graph, &PlanOptions::default()).unwrap();
        for t in 1..plan.dispatches.len() {
            // Send the result of dispatch t - 1 into a slot that dispatch t writes.
            let (made, next) = (&plan.dispatches[t - 1], &plan.dispatches[t]);
            let (from, to) = (made.writes[0], next.writes[0]);
            if !next.reads.contains(&from) || plan.buffer(to).place == Place::Output {
                continue;
            }
            let mut broken = plan.clone();
            broken.slots.iter_mut().for_each(|bytes| *bytes = usize::MAX);
            broken.buffers[from.0].place = plan.buffer(to).place;
            prop_assert!(plan::check(&broken).is_err(), "dispatch {t}");
        }
    }
}

/// A 1x1 convolution of these blocks.
fn pointwise(in_channels: usize, out_channels: usize, blocks: Vec<Block>, activation: Activation) -> Conv2d {
    Conv2d {
        in_channels,
        out_channels,
        blocks,
        bias: vec![0.5; out_channels],
        activation: vec![(0..out_channels, activation)],
        ..Conv2d::pointwise_function(in_channels, Activation::Identity)
    }
}

/// An Add beside a convolution whose rows come from several blocks takes each row's own share of the other operand.
#[test]
fn an_add_beside_a_convolution_in_blocks() {
    use common::random::{Builder, Rng};
    use rmnet::graph::{Shape, ValueId, Weight};
    use rmnet::tensor::Tensor;

    let mut b = Builder::new(3, Shape { channels: 3, height: 9, width: 7 });
    let x = b.conv(ValueId::INPUT, 8, 3, 1, 1);
    let x = b.relu(x);
    let half = |rng: &mut Rng| {
        let values = rng.values(4 * 8).iter().map(|v| *v as f32).collect();
        BlockWeight::Pointwise(Weight::new(Tensor::from_f32(vec![4, 8, 1, 1], values)))
    };
    let blocks = vec![
        Block { out: 0..4, input: 0..8, weight: half(&mut b.rng) },
        Block { out: 4..8, input: 0..8, weight: half(&mut b.rng) },
    ];
    let conv = pointwise(8, 8, blocks, Activation::Identity);
    let y = b.push("conv", Op::Conv2d(conv), &[x]);
    let sum = b.push("add", Op::Add(Activation::Relu), &[x, y]);
    b.head(sum, 3);
    let input = images(&b.graph, 1, 5);
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
    let expected = reference::run(&b.graph, &wide, 1);
    let graph = rewrite::fuse_activation(&rewrite::fold_batch_norm(&b.graph).unwrap()).unwrap();
    let plan = plan::compile(&graph, &PlanOptions::default()).unwrap();
    plan::check(&plan).unwrap();
    let found = common::cpu(&plan).run(&input).unwrap();
    let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
    assert!(difference(&found, &expected).1 < 1e-5);
}

/// Rows that are handed on beside rows of the layer's own are buffers apart, but not where they are the output, nor their mean.
#[test]
fn outputs_of_rows_handed_on_are_one_buffer() {
    use common::random::Builder;
    use rmnet::graph::{Shape, ValueId, Weight};
    use rmnet::tensor::Tensor;

    for averaged in [false, true] {
        let mut b = Builder::new(7, Shape { channels: 3, height: 5, width: 6 });
        let x = b.conv(ValueId::INPUT, 8, 3, 1, 1);
        let x = b.relu(x);
        let values = b.rng.values(16 * 8).iter().map(|v| *v as f32).collect();
        let weight = BlockWeight::Pointwise(Weight::new(Tensor::from_f32(vec![16, 8, 1, 1], values)));
        let blocks = vec![
            Block { out: 0..16, input: 0..8, weight },
            Block { out: 0..8, input: 0..8, weight: BlockWeight::Dirac },
        ];
        let conv = pointwise(8, 16, blocks, Activation::Relu);
        let y = b.push("conv", Op::Conv2d(conv), &[x]);
        if averaged {
            b.push("mean", Op::GlobalAverage, &[y]);
        }
        let input = images(&b.graph, 2, 5);
        let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
        let expected = reference::run(&b.graph, &wide, 2);
        let graph = rewrite::fuse_activation(&rewrite::fold_batch_norm(&b.graph).unwrap()).unwrap();
        let plan = plan::compile(&graph, &PlanOptions { batch: 2, ..PlanOptions::default() }).unwrap();
        plan::check(&plan).unwrap();
        let found = common::cpu(&plan).run(&input).unwrap();
        let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
        assert!(difference(&found, &expected).1 < 1e-5, "averaged: {averaged}");
    }
}

/// Two linear bottlenecks in a row: the projection of the first and the expansion of the second become one convolution, which
/// also hands the block's own output on.
#[test]
fn neighbouring_pointwise_convolutions_are_merged() {
    use rmnet::graph::{Shape, ValueId};

    let mut b = common::random::Builder::new(5, Shape { channels: 8, height: 6, width: 7 });
    let mut x = ValueId::INPUT;
    for _ in 0..2 {
        let h = b.conv(x, 12, 1, 1, 1);
        let h = b.relu(h);
        let h = b.conv(h, 12, 3, 1, 12);
        let h = b.relu(h);
        let h = b.conv(h, 8, 1, 1, 1);
        x = b.push("add", Op::Add(rmnet::graph::Activation::Identity), &[h, x]);
    }
    b.head(x, 3);
    let input: Vec<f64> = images(&b.graph, 2, 5).iter().map(|v| f64::from(*v)).collect();
    let expected = reference::run(&b.graph, &input, 2);
    let apart = rewrite::for_mode(&b.graph, Mode::Structured).unwrap().graph;
    let merged = fuse_linear(&apart).unwrap();
    assert_eq!((apart.convs().count(), merged.convs().count()), (7, 6), "{merged}");
    let (_, relative) = difference(&reference::run(&merged, &input, 2), &expected);
    assert!(relative < F64_BOUND, "{relative:e}");
    let dispatches = |g| plan::compile(g, &PlanOptions::default()).unwrap().dispatches.len();
    // One each, and the average.
    assert_eq!((dispatches(&apart), dispatches(&merged)), (8, 7));
}

/// A MobileNetV2 without its residual connections becomes a MobileNetV1: 1x1 and depthwise convolutions in turn.
#[test]
fn mobilenet_v2_merges_into_mobilenet_v1() {
    let is_pointwise = |v: &rmnet::graph::Node| match &v.op {
        Op::Conv2d(conv) => conv.kernel == [1, 1],
        _ => false,
    };
    // What the classifier reads.
    let pooled = |g: &Graph| g.node(g.output()).inputs[0];
    let mut seen = [0, 0];
    for name in fixtures::names().iter().filter(|n| n.contains("mobilenet_v2")) {
        let f = fixtures::load(name);
        let merged =
            rewrite::for_mode(&f.model.graph, Form { mode: Mode::Structured, merge: true }).unwrap().graph;
        let apart = rewrite::for_mode(&f.model.graph, Mode::Structured).unwrap().graph;
        // One dispatch cannot write what a block hands on beside its own channels where that is no whole number of quads.
        let quads = apart.convs().all(|(n, _)| n.shape.channels % 4 == 0 || n.inputs[0] == pooled(&apart));
        for node in merged.nodes().iter().filter(|n| quads && is_pointwise(n)) {
            let before = merged.node(node.inputs[0]);
            assert!(!is_pointwise(before), "{name}: {} after {}\n{merged}", node.name, before.name);
        }
        let wide: Vec<f64> = f.input.iter().map(|v| f64::from(*v)).collect();
        let expected = reference::run(&f.model.graph, &wide, f.batch);
        let (_, relative) = difference(&reference::run(&merged, &wide, f.batch), &expected);
        assert!(relative < F64_BOUND, "{name}: {relative:e}");
        let options = PlanOptions { batch: f.batch, ..PlanOptions::default() };
        let [apart, plan] = [&apart, &merged].map(|g| plan::compile(g, &options).unwrap());
        plan::check(&plan).unwrap();
        for size in [[64, 64], [224, 224]] {
            let large = merged.resized(size[0], size[1]).unwrap();
            let dispatches = |split| {
                plan::compile(&large, &PlanOptions { split, ..PlanOptions::default() })
                    .unwrap()
                    .dispatches
                    .len()
            };
            assert_eq!(dispatches(true), dispatches(false), "{name} {size:?}: memory saved by copies");
        }
        assert!(
            plan.dispatches.len() < apart.dispatches.len(),
            "{name}: {} dispatches",
            plan.dispatches.len()
        );
        let found = common::cpu(&plan).run(&f.input).unwrap();
        let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
        assert!(difference(&found, &f.logits).1 < F32_LOGITS_BOUND, "{name}");
        seen[usize::from(quads)] += 1;
    }
    assert_eq!(seen, [3, 4]);
}
