//! Plain chains: the structure that the literal form multiplied out is found again, and planned as it was.

mod common;

use common::{difference, fixtures, random};
use proptest::prelude::*;
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::{Block, BlockWeight, Conv2d, Graph, NEAR_DIRAC, Weight};
use rmnet::models::{self, saved};
use rmnet::plan::{self, Plan, PlanOptions};
use rmnet::rewrite::{self, Mode};
use rmnet::tensor::Tensor;
use rmnet::{reference, verify};

fn planned(graph: &Graph) -> Plan {
    let plan = plan::compile(graph, &PlanOptions::default()).unwrap();
    plan::check(&plan).unwrap();
    plan
}

fn formulas(plan: &Plan) -> Vec<String> {
    plan.dispatches.iter().map(|d| plan.formula(d)).collect()
}

/// What a chain is after a file: weights rounded to f32.
fn through_a_file(graph: &Graph, about: &saved::About) -> Graph {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chain.safetensors");
    saved::save(&path, graph, about).unwrap();
    models::load(&Checkpoint::open(&path).unwrap(), None).unwrap().graph
}

#[test]
fn a_literal_chain_is_planned_as_the_structured_one() {
    let mut whole = 0;
    for name in fixtures::names() {
        let model = fixtures::load(&name).model;
        let about =
            saved::About { output: model.output, ..saved::About::new("a chain", model.preprocess.clone()) };
        let structured = rewrite::for_mode(&model.graph, Mode::Structured).unwrap().graph;
        let literal = rewrite::for_mode(&model.graph, Mode::Literal).unwrap().graph;
        let chain = through_a_file(&literal, &about);
        let found = rewrite::for_mode(&chain, Mode::Structured).unwrap();
        let (expected, plan) = (planned(&structured), planned(&found.graph));
        // Carried channels fewer than 4 are not looked for; masks of 0 cut what is carried into pieces, which stay dense.
        let carried = |b: &Block| matches!(b.weight, BlockWeight::Dirac) && b.out.len() < 4;
        let narrow = structured.convs().any(|(_, c)| c.blocks.iter().any(carried));
        if !narrow && !name.ends_with("rmnet_masked") {
            assert_eq!(formulas(&plan), formulas(&expected), "{name}");
            assert_eq!((plan.macs(), &plan.slots), (expected.macs(), &expected.slots), "{name}");
            whole += 1;
        }
        // Not one value is another: the oracle adds in another order, no more.
        let input = random::images(&chain, 1, 3).iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (_, off) =
            difference(&reference::run(&found.graph, &input, 1), &reference::run(&chain, &input, 1));
        assert!(off < verify::f64_bound(&found), "{name}: {off:e}");
        // Channels that are a Dirac's but for rounding: other tools divided a batch norm out of them.
        let near = ["chain_rmnet", "chain_rmnext"].iter().any(|n| name.ends_with(n));
        assert_eq!(found.deviation > 0.0, near, "{name}: {:e}", found.deviation);
        let again = rewrite::for_mode(&chain, Mode::Literal).unwrap();
        assert!(again.recognised.is_empty());
        let is_mean = |b: &Block| matches!(b.weight, BlockWeight::AvgPool2x2);
        for (node, conv) in again.graph.convs() {
            let input = again.graph.shape(node.inputs[0]).size();
            // Means that meet an odd edge are no window's.
            let odd = input.iter().any(|side| side % 2 == 1) && conv.blocks.iter().any(is_mean);
            assert!(odd || conv.as_plain().is_some(), "{name} {}", node.name);
        }
    }
    assert!(whole >= 30, "{whole} of all fixtures compared");
}

#[test]
fn a_chain_fine_tuned_in_pytorch_keeps_its_structure() {
    let original = fixtures::load("tests/fixtures/tv_resnet18").model.graph;
    let tuned = fixtures::load("tests/fixtures/finetuned_resnet18");
    let structured = |graph| rewrite::for_mode(graph, Mode::Structured).unwrap();
    let (before, after) = (structured(&original), structured(&tuned.model.graph));
    assert_eq!(after.recognised.len(), 16, "{:?}", after.recognised);
    assert_eq!(formulas(&planned(&after.graph)), formulas(&planned(&before.graph)));
    // Every layer has learned.
    let literal = rewrite::for_mode(&original, Mode::Literal).unwrap().graph;
    for ((node, a), (_, b)) in literal.convs().zip(tuned.model.graph.convs()) {
        let (a, b) = (a.as_plain().unwrap().0.to_f64(), b.as_plain().unwrap().0.to_f64());
        let (_, moved) = difference(&b, &a);
        assert!(moved > 1e-5, "{}: {moved:e}", node.name);
    }
    let input: Vec<f64> = tuned.input.iter().map(|v| f64::from(*v)).collect();
    let (_, off) = difference(&reference::run(&after.graph, &input, tuned.batch), &tuned.logits);
    assert!(off < 1e-10, "{off:e}");
    let (_, moved) = difference(&reference::run(&original, &input, tuned.batch), &tuned.logits);
    assert!(moved > 1e-3, "another network than before: {moved:e}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn recognising_changes_nothing(seed: u64) {
        let original = random::network(seed);
        let literal = rewrite::for_mode(&original, Mode::Literal).unwrap().graph;
        let found = rewrite::recognise(&literal, 0.0).unwrap().graph;
        let input: Vec<f64> = random::images(&original, 2, seed).iter().map(|v| f64::from(*v)).collect();
        let (_, off) = difference(&reference::run(&found, &input, 2), &reference::run(&literal, &input, 2));
        prop_assert!(off < 1e-12, "{off:e}\n{found}");
        let macs = |g: &Graph| g.macs();
        prop_assert!(macs(&found) <= macs(&literal));
        planned(&found);
    }
}

/// `[x ; h]` of six carried channels, whose rows have been divided out of a batch norm.
fn deployed(factor: impl Fn(usize) -> f32, bias: f64) -> Conv2d {
    let mut values = vec![0.0f32; 10 * 6 * 9];
    for i in 0..6 {
        values[(i * 6 + i) * 9 + 4] = factor(i);
    }
    for (i, v) in values[6 * 54..].iter_mut().enumerate() {
        *v = (i % 7) as f32 - 3.1;
    }
    let weight = Weight::new(Tensor::from_f32(vec![10, 6, 3, 3], values));
    let mut conv = Conv2d::dense(weight, 1, [1, 1], [1, 1]);
    conv.bias[..6].fill(bias);
    conv
}

#[test]
fn rows_that_rounding_moved_are_taken_for_dirac_within_the_tolerance_only() {
    let first = |conv: &Conv2d, tolerance: f64| {
        let found = conv.recognised([8, 8], tolerance).expect("rows that are carried");
        (found.conv.blocks[0].weight.clone(), found.conv.bias[0], found.deviation)
    };
    let exact = deployed(|_| 1.0, 0.0);
    assert!(matches!(first(&exact, 0.0), (BlockWeight::Dirac, 0.0, 0.0)));
    let near = deployed(|i| if i == 2 { 1.0 + f32::EPSILON } else { 1.0 }, 3e-7);
    assert!(matches!(first(&near, 0.0), (BlockWeight::Diagonal(_), _, 0.0)));
    let (weight, bias, deviation) = first(&near, NEAR_DIRAC);
    assert!(matches!(weight, BlockWeight::Dirac));
    assert_eq!((bias, deviation), (0.0, 3e-7));
    // Beyond the tolerance nothing is changed.
    let far = deployed(|i| if i == 2 { 1.0 + 1e-5 } else { 1.0 }, 3e-7);
    let (weight, bias, deviation) = first(&far, NEAR_DIRAC);
    let BlockWeight::Diagonal(factors) = weight else { panic!("a diagonal") };
    assert_eq!((factors[2], bias, deviation), (f64::from(1.0f32 + 1e-5), 3e-7, 0.0));
}

/// Six outputs that add six inputs, times a factor each, to what they compute of four others.
fn merging(factor: f32) -> Conv2d {
    let mut values = vec![0.0f32; 6 * 10 * 9];
    for o in 0..6 {
        values[(o * 10 + o) * 9 + 4] = if o == 3 { factor } else { 1.0 };
        for (i, v) in values[(o * 10 + 6) * 9..(o + 1) * 90].iter_mut().enumerate() {
            *v = (i % 7) as f32 - 3.1;
        }
    }
    Conv2d::dense(Weight::new(Tensor::from_f32(vec![6, 10, 3, 3], values)), 1, [1, 1], [1, 1])
}

#[test]
fn columns_that_rounding_moved_are_taken_for_dirac_too() {
    let first = |factor: f32, tolerance: f64| {
        let found = merging(factor).recognised([8, 8], tolerance).expect("columns that are added");
        (matches!(found.conv.blocks[0].weight, BlockWeight::Dirac), found.deviation)
    };
    assert_eq!(first(1.0, 0.0), (true, 0.0));
    assert_eq!(first(1.0 + f32::EPSILON, 0.0), (false, 0.0));
    assert_eq!(first(1.0 + f32::EPSILON, NEAR_DIRAC), (true, f64::from(f32::EPSILON)));
    assert_eq!(first(1.0 + 1e-5, NEAR_DIRAC), (false, 0.0));
}

#[test]
fn carried_channels_in_many_pieces_stay_plain() {
    // Runs of four rows, each of which reads on from another input: one run is a range, four would be four dispatches.
    let pieces = |runs: usize| {
        let (rows, inputs) = (4 * runs + 4, 5 * runs);
        let mut values = vec![0.0f32; rows * inputs * 9];
        (0..4 * runs).for_each(|o| values[(o * inputs + o + o / 4) * 9 + 4] = 1.0);
        values[4 * runs * inputs * 9..].fill(0.5);
        Conv2d::dense(Weight::new(Tensor::from_f32(vec![rows, inputs, 3, 3], values)), 1, [1, 1], [1, 1])
    };
    assert!(pieces(1).recognised([8, 8], 0.0).is_some());
    assert!(pieces(4).recognised([8, 8], 0.0).is_none());
}
