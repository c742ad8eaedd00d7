//! Plans: those of random networks are accepted by the checker, and a changed one that is accepted runs.

use crate::common::plan_fields::{Seen, fields, spoil};
use crate::common::random::Rng;
use crate::judge::{Run, is_small, planned};
use crate::network::network;
use crate::source::Source;
use rmnet::Precision;
use rmnet::cpu::CpuExecutor;
use rmnet::plan::{CheckedPlan, Plan};
use rmnet::rewrite;

pub fn plan(data: &[u8]) {
    let s = &mut Source::new(data);
    let original = network(s);
    if !is_small(&original) {
        return;
    }
    let Run { form, mut options } = Run::choose(s);
    let graph = rewrite::for_mode(&original, form).expect("a network is rewritten").graph;
    if !is_small(&graph) {
        return;
    }
    let names = graph.nodes()[1..].iter().map(|n| n.name.clone());
    options.keep = names.filter(|_| s.one_in(5)).collect();
    let Some(plan) = planned(&graph, &options) else { return };
    let _ = (plan.to_string(), plan.macs(), plan.activation_bytes());
    let input = Rng(s.seed()).values(options.batch * original.input_shape().len());
    let input: Vec<f32> = input.iter().map(|v| *v as f32).collect();
    let expected = values(&plan, &input);
    for _ in 0..s.within(1, 6) {
        let mut changed = plan.clone();
        let (mut what, mut seen) = (String::new(), Seen::Always);
        for _ in 0..if s.one_in(4) { 2 } else { 1 } {
            if changed.dispatches.is_empty() || changed.buffers.is_empty() {
                return;
            }
            let (next, by) = change(&mut changed, s);
            what += &format!("{next}; ");
            if by == Seen::Graph {
                seen = Seen::Graph;
            }
        }
        // A checker that is slow or that panics shows here, whatever it thinks of the plan.
        if is_large(&changed) {
            continue;
        }
        let found = values(&changed, &input);
        // What the checker can see without the graph, it sees. Rounding to f16 may hide a difference or show one.
        if seen == Seen::Always && options.precision == Precision::F32 && found.is_some() {
            assert!(found == expected, "{what} is accepted and changes the result\n{plan}\n{changed}");
        }
    }
}

fn change(plan: &mut Plan, s: &mut Source) -> (String, Seen) {
    if s.one_in(3) {
        return spoil(plan, s.within(0, usize::from(u16::MAX)));
    }
    let mut fields = fields(plan);
    let at = s.below(fields.len());
    let (name, seen, old) = fields.swap_remove(at);
    let n = *old;
    *old = match s.below(11) {
        0 => 0,
        1 => 1,
        2 => n.wrapping_sub(1),
        3 => n.wrapping_add(1),
        4 => n.wrapping_add(4),
        5 => n.saturating_sub(4),
        6 => n.wrapping_mul(2),
        7 => n / 2,
        8 => usize::MAX,
        9 => usize::MAX / 2,
        _ => s.within(0, 64),
    };
    (format!("{name}: {n} to {}", *old), seen)
}

/// Slots may be larger than they need to be, and windows larger than is sensible; not here.
fn is_large(plan: &Plan) -> bool {
    let bytes = plan.slots.iter().fold(0usize, |sum, n| sum.saturating_add(*n));
    bytes > 64 << 20
}

/// What a plan gives that is checked and fits the machine.
fn values(plan: &Plan, input: &[f32]) -> Option<Vec<Vec<u32>>> {
    let executor = CpuExecutor::new(&CheckedPlan::new(plan.clone()).ok()?).ok()?;
    let values = executor.run_keeping(input).ok()?;
    let bits = |v: Vec<f32>| v.into_iter().map(|v| if v.is_nan() { 1 } else { v.to_bits() }).collect();
    Some(std::iter::once(values.output).chain(values.kept.into_values()).map(bits).collect())
}
