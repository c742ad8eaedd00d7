//! Plain chains: the structure that the literal form multiplied out is found again, and planned as it was.

mod common;

use common::{difference, fixtures, random};
use proptest::prelude::*;
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::{Block, BlockWeight, Conv2d, Graph, NEAR_DIRAC, Weight};
use rmnet::models::{self, saved};
use rmnet::plan::{self, Options, Plan};
use rmnet::reference;
use rmnet::rewrite::{self, Mode};
use rmnet::tensor::Tensor;

fn planned(graph: &Graph) -> Plan {
    let plan = plan::compile(graph, &Options::default()).unwrap();
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
            saved::About { family: "a chain".into(), preprocess: model.preprocess.clone(), labels: None };
        let structured = rewrite::for_mode(&model.graph, Mode::Structured).unwrap().graph;
        let literal = rewrite::for_mode(&model.graph, Mode::Literal).unwrap().graph;
        let chain = through_a_file(&literal, &about);
        let found = rewrite::for_mode(&chain, Mode::Structured).unwrap();
        let (expected, plan) = (planned(&structured), planned(&found.graph));
        // Carried channels fewer than 4 are not looked for.
        let carried = |b: &Block| matches!(b.weight, BlockWeight::Dirac) && b.out.len() < 4;
        if structured.convs().all(|(_, c)| !c.blocks.iter().any(carried)) {
            assert_eq!(formulas(&plan), formulas(&expected), "{name}");
            assert_eq!((plan.macs(), &plan.slots), (expected.macs(), &expected.slots), "{name}");
            whole += 1;
        }
        // Not one value is another: the oracle adds in another order, no more.
        let input = random::images(&chain, 1, 3).iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (_, off) =
            difference(&reference::run(&found.graph, &input, 1), &reference::run(&chain, &input, 1));
        assert!(off < 1e-12, "{name}: {off:e}");
        let again = rewrite::for_mode(&chain, Mode::Literal).unwrap();
        assert!(again.recognised.is_empty() && again.graph.convs().all(|(_, c)| c.as_plain().is_some()));
    }
    assert!(whole >= 30, "{whole} of all fixtures compared");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn recognising_changes_nothing(seed: u64) {
        let original = random::network(seed);
        let literal = rewrite::for_mode(&original, Mode::Literal).unwrap().graph;
        let (found, _) = rewrite::recognise(&literal).unwrap();
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
