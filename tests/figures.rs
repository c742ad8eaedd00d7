//! Dispatch counts, memory and multiplies of full-size networks, as docs/benchmarks.md states them.

mod common;

use common::seeded::{self, Arch};
use rmnet::checkpoint::Checkpoint;
use rmnet::models;
use rmnet::plan::{self, Plan, PlanOptions};
use rmnet::rewrite::{self, Mode, Outcome};

const MIB: f64 = (1 << 20) as f64;

fn plan_of(arch: Arch, mode: Mode, options: &PlanOptions) -> (Plan, usize) {
    let checkpoint = Checkpoint::from_bytes(seeded::checkpoint(arch, 1), None).unwrap();
    let model = models::load(&checkpoint, None).unwrap();
    let rewritten = rewrite::for_mode(&model.graph, mode).unwrap();
    assert!(rewritten.blocks.iter().all(|b| matches!(b.outcome, Outcome::Removed { .. })));
    let plan = plan::compile(&rewritten.graph, options).unwrap();
    plan::check(&plan).unwrap();
    (plan, model.graph.macs())
}

#[test]
fn a_basic_block_is_two_dispatches_and_a_bottleneck_three() {
    for (name, arch, dispatches, bytes) in [
        ("ResNet-18", seeded::RESNET18, 19, 1.75),
        ("ResNet-50", seeded::RESNET50, 51, 5.5),
        ("ResNeXt-50", seeded::RESNEXT50, 51, 8.0),
    ] {
        let (plan, original_macs) = plan_of(arch, Mode::Structured, &PlanOptions::default());
        assert_eq!(plan.dispatches.len(), dispatches, "{name}");
        let (planned, bound) = (plan.activation_bytes() as f64 / MIB, plan.lower_bound as f64 / MIB);
        println!("{name}: {dispatches} dispatches, {planned:.2} MiB planned, {bound:.2} MiB lower bound");
        assert!(planned <= bytes, "{name}: {planned} MiB");
        assert!(planned <= 1.25 * bound, "{name}: {planned} MiB over a bound of {bound}");
        assert_eq!(plan.macs(), original_macs, "{name}: a Dirac multiplies nothing");
    }
}

#[test]
fn whole_slots_alone_stay_near_the_bound() {
    let options = PlanOptions { split: false, ..PlanOptions::default() };
    let (plan, _) = plan_of(seeded::RESNET18, Mode::Structured, &options);
    assert!(plan.activation_bytes() as f64 / MIB <= 1.95);
}

#[test]
fn the_other_forms_take_more() {
    let (residual, _) = plan_of_residual(seeded::RESNET18);
    let (literal, _) = plan_of(seeded::RESNET18, Mode::Literal, &PlanOptions::default());
    assert_eq!(residual.dispatches.len(), 22, "three projections are dispatches of their own");
    assert!(literal.macs() as f64 > 1.7 * residual.macs() as f64);
    assert!(literal.activation_bytes() > residual.activation_bytes());
}

fn plan_of_residual(arch: Arch) -> (Plan, usize) {
    let checkpoint = Checkpoint::from_bytes(seeded::checkpoint(arch, 1), None).unwrap();
    let model = models::load(&checkpoint, None).unwrap();
    let graph = rewrite::for_mode(&model.graph, Mode::Residual).unwrap().graph;
    let plan = plan::compile(&graph, &PlanOptions::default()).unwrap();
    plan::check(&plan).unwrap();
    (plan, model.graph.macs())
}
