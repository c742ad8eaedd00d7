//! The plan checker: every number of a plan is spoilt in turn. What changes the result and can be seen without the graph is
//! refused, what is accepted runs, and nothing panics.

mod common;

use common::fixtures;
use common::plan_fields::{Seen, Seen::Always, fields, spoil};
use common::random::{images, network};
use proptest::prelude::*;
use rmnet::cpu::CpuExecutor;
use rmnet::kernel::Spec;
use rmnet::plan::{self, BufferId, CheckedPlan, Plan, PlanOptions};
use rmnet::rewrite::{self, Mode};

fn planned(seed: u64) -> (Plan, Vec<f32>) {
    let original = network(seed);
    let mode = [Mode::Structured, Mode::Residual, Mode::Literal][seed as usize % 3];
    let graph = rewrite::for_mode(&original, mode).unwrap().graph;
    let keep = graph.nodes().iter().skip(1).step_by(5).map(|n| n.name.clone()).collect();
    let plan = plan::compile(&graph, &PlanOptions { batch: 2, keep, ..PlanOptions::default() }).unwrap();
    plan::check(&plan).unwrap();
    (plan, images(&original, 2, seed))
}

#[test]
fn a_plan_whose_weights_are_gone_runs_nowhere() {
    let (plan, _) = planned(3);
    let mut spoilt = plan.clone();
    spoilt.dispatches.iter_mut().for_each(|d| d.weights = None);
    plan::check(&spoilt).expect("as a plan it holds");
    let error = CheckedPlan::new(spoilt).unwrap_err();
    assert!(error.to_string().contains("without weights"), "{error}");
    // So it is with the plan that an executor gives back.
    let executor = CpuExecutor::new(&CheckedPlan::new(plan).unwrap()).unwrap();
    CheckedPlan::new(executor.plan().clone()).unwrap_err();
}

/// The output and the kept values.
fn values(plan: &Plan, input: &[f32]) -> Option<Vec<Vec<f32>>> {
    // A slot may be larger than it needs to be, but not beyond the machine.
    let executor = CpuExecutor::new(&CheckedPlan::new(plan.clone()).ok()?).ok()?;
    let values = executor.run_keeping(input).ok()?;
    Some(std::iter::once(values.output).chain(values.kept.into_values()).collect())
}

fn judge(plan: &Plan, spoilt: &Plan, input: &[f32], what: &str, seen: Seen) -> Result<(), TestCaseError> {
    if plan::check(spoilt).is_err() {
        return Ok(());
    }
    let found = values(spoilt, input);
    if seen == Always && found.is_some() {
        prop_assert!(
            found == values(plan, input),
            "{what} is accepted and changes the result\n{plan}\n{spoilt}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_number_can_be_spoilt_unseen(seed: u64, picks in prop::collection::vec(any::<(u32, u8)>(), 64)) {
        let (plan, input) = planned(seed);
        let count = fields(&mut plan.clone()).len();
        for (pick, how) in picks {
            let mut spoilt = plan.clone();
            let (name, seen, old) = fields(&mut spoilt).swap_remove(pick as usize % count);
            let n = *old;
            let new = [0, 1, n.wrapping_sub(1), n + 1, n + 4, n.saturating_sub(4), 2 * n, n / 2, usize::MAX, usize::MAX / 2];
            *old = new[how as usize % new.len()];
            let what = format!("{name}: {n} to {}", *old);
            if *old != n && (*old < 1 << 20 || !name.starts_with("slot")) {
                judge(&plan, &spoilt, &input, &what, seen)?;
            }
        }
    }

    #[test]
    fn no_part_can_be_spoilt_unseen(seed: u64, picks in prop::collection::vec(any::<u16>(), 64)) {
        let (plan, input) = planned(seed);
        for pick in picks {
            let mut spoilt = plan.clone();
            let (what, seen) = spoil(&mut spoilt, pick as usize);
            judge(&plan, &spoilt, &input, &what, seen)?;
        }
    }
}

#[test]
fn what_kernels_would_misread_is_refused() {
    let graph = &fixtures::load("tests/fixtures/timm_resnetv2_18").model.graph;
    let graph = rewrite::for_mode(graph, Mode::Structured).unwrap().graph;
    let keep = vec![graph.nodes()[5].name.clone()];
    let plan = plan::compile(&graph, &PlanOptions { keep, ..PlanOptions::default() }).unwrap();
    plan::check(&plan).unwrap();
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut spoilt = plan.clone();
        change(&mut spoilt);
        plan::check(&spoilt).expect_err("a spoilt plan").to_string()
    };
    let error = refused(&|p| p.kept[0].parts[0].buffer = BufferId(99_999));
    assert!(error.contains("is in buffer 99999"), "{error}");
    let conv = |p: &mut Plan, change: &dyn Fn(&mut rmnet::kernel::ConvSpec)| {
        p.dispatches.iter_mut().for_each(|d| {
            if let Spec::Conv(c) = &mut d.spec {
                change(c);
            }
        });
    };
    let error = refused(&|p| conv(p, &|c| c.k_ranges.iter_mut().for_each(|k| k.groups = 0)));
    assert!(error.contains("in 0 groups"), "{error}");
    let error = refused(&|p| {
        conv(p, &|c| {
            for k in c.k_ranges.iter_mut().filter(|k| k.from.is_packed()) {
                (k.from.first_channel, k.from.channels) = (k.from.first_channel + 1, k.from.channels - 1);
            }
        })
    });
    assert!(error.contains("between multiples of 4"), "{error}");
    let error = refused(&|p| {
        conv(p, &|c| {
            for a in &mut c.adds[..c.in_place] {
                (a.from.first_channel, a.from.channels) = (a.from.first_channel + 1, a.from.channels - 1);
            }
        })
    });
    assert!(error.contains("between multiples of 4"), "{error}");
    let error = refused(&|p| {
        p.dispatches.iter_mut().for_each(|d| {
            if let Spec::Average(a) = &mut d.spec {
                a.from.channels = 1;
            }
        });
    });
    assert!(error.contains("averages"), "{error}");
    let error = refused(&|p| conv(p, &|c| c.pool = None));
    assert!(error.contains("an output is not of the size"), "{error}");
}
