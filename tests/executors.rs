//! The CPU executor on random networks, judged by the f64 oracle.

mod common;

use common::difference;
use common::random::{images, network};
use proptest::prelude::*;
use rmnet::cpu::CpuExecutor;
use rmnet::graph::Graph;
use rmnet::plan::{self, Options};
use rmnet::reference;
use rmnet::rewrite::{self, Mode};

/// Rounding of f32 through the random networks' few layers; a wrong tap is off by far more.
const F32_BOUND: f64 = 2e-5;

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Values of a graph by name, in f64.
fn oracle(graph: &Graph, input: &[f32], batch: usize, name: &str) -> Vec<f64> {
    let wanted = graph.find(name).expect("a node of that name");
    let mut found = vec![];
    reference::visit(graph, &widened(input), batch, |v, value| {
        if v == wanted {
            found = value.to_vec();
        }
    });
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_cpu_computes_what_the_oracle_does(seed: u64, batch in 1usize..4, split: bool) {
        let original = network(seed);
        let input = images(&original, batch, seed);
        let expected = reference::run(&original, &widened(&input), batch);
        for mode in [Mode::Structured, Mode::Literal, Mode::Residual] {
            let rewritten = rewrite::for_mode(&original, mode).unwrap();
            let keep: Vec<String> = rewritten.blocks.iter().map(|b| b.output.clone()).collect();
            let options = Options { batch, split, keep: keep.clone(), ..Options::default() };
            let plan = plan::compile(&rewritten.graph, &options).unwrap();
            let cpu = CpuExecutor::new(&plan);
            for _ in 0..2 {
                let logits = cpu.run(&input).unwrap();
                let (_, relative) = difference(&widened(&logits), &expected);
                prop_assert!(relative < F32_BOUND, "{mode}: {relative:e}\n{plan}");
            }
            for name in keep {
                let value = cpu.read_kept(&name).unwrap();
                let expected = oracle(&rewritten.graph, &input, batch, &name);
                let (_, relative) = difference(&widened(&value), &expected);
                prop_assert!(relative < F32_BOUND, "{mode} {name}: {relative:e}\n{plan}");
            }
        }
    }
}
