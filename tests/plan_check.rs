//! The plan checker: every number of a plan is spoilt in turn. What changes the result and can be seen without the graph is
//! refused, what is accepted runs, and nothing panics.

mod common;

use common::fixtures;
use common::random::{images, network};
use proptest::prelude::*;
use rmnet::cpu::CpuExecutor;
use rmnet::kernel::{BufferShape, Function, Layout, Operand, Pooling, Spec};
use rmnet::plan::{self, BufferId, CheckedPlan, Options, Place, Plan, Target};
use rmnet::rewrite::{self, Mode};

/// Whether a plan spoilt there and still accepted has to give the same values. What only the graph tells, such as where a window
/// begins or which of two like buffers is meant, is `verify`'s to see.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Always,
    /// By the graph alone.
    Graph,
}
use Seen::{Always, Graph};

type Field<'a> = (String, Seen, &'a mut usize);

fn shape<'a>(name: &str, s: &'a mut BufferShape, fields: &mut Vec<Field<'a>>) {
    fields.push((format!("{name}.batch"), Always, &mut s.batch));
    fields.push((format!("{name}.channels"), Always, &mut s.channels));
    fields.push((format!("{name}.height"), Always, &mut s.height));
    fields.push((format!("{name}.width"), Always, &mut s.width));
}

fn operand<'a>(name: &str, o: &'a mut Operand, fields: &mut Vec<Field<'a>>) {
    shape(&format!("{name}.shape"), &mut o.shape, fields);
    fields.push((format!("{name}.buffer"), Graph, &mut o.buffer));
    fields.push((format!("{name}.first_channel"), Graph, &mut o.first_channel));
    fields.push((format!("{name}.channels"), Graph, &mut o.channels));
    fields.push((format!("{name}.stride"), Graph, &mut o.stride));
}

/// Every number of a plan.
fn fields(plan: &mut Plan) -> Vec<Field<'_>> {
    let mut f: Vec<Field<'_>> = vec![("batch".into(), Always, &mut plan.batch)];
    for (i, b) in plan.buffers.iter_mut().enumerate() {
        shape(&format!("buffer {i}"), &mut b.shape, &mut f);
        if let Place::Slot(s) = &mut b.place {
            f.push((format!("buffer {i}.slot"), Always, s));
        }
    }
    plan.slots.iter_mut().enumerate().for_each(|(i, s)| f.push((format!("slot {i}"), Always, s)));
    for (i, kept) in plan.kept.iter_mut().enumerate() {
        for part in &mut kept.parts {
            f.push((format!("kept {i}.buffer"), Graph, &mut part.buffer.0));
            f.push((format!("kept {i}.first_channel"), Graph, &mut part.first_channel));
            f.push((format!("kept {i}.channels"), Graph, &mut part.channels));
            f.push((format!("kept {i}.stride"), Graph, &mut part.stride));
        }
    }
    for (t, d) in plan.dispatches.iter_mut().enumerate() {
        let at = |what: &str| format!("dispatch {t}.{what}");
        d.reads.iter_mut().for_each(|b| f.push((at("reads"), Graph, &mut b.0)));
        d.writes.iter_mut().for_each(|b| f.push((at("writes"), Graph, &mut b.0)));
        d.in_place.iter_mut().for_each(|b| f.push((at("in_place buffer"), Graph, &mut b.0)));
        if let Some(w) = &mut d.weights {
            let shapes = w.k_ranges.iter_mut().flat_map(|k| &mut k.shape);
            shapes.for_each(|n| f.push((at("weight shape"), Always, n)));
        }
        match &mut d.spec {
            Spec::Conv(c) => {
                for k in &mut c.k_ranges {
                    operand(&at("k"), &mut k.from, &mut f);
                    k.kernel.iter_mut().for_each(|n| f.push((at("kernel"), Always, n)));
                    f.push((at("groups"), Always, &mut k.groups));
                    for window in [&mut k.stride, &mut k.padding, &mut k.padding_end, &mut k.dilation] {
                        window.iter_mut().for_each(|n| f.push((at("window"), Graph, n)));
                    }
                }
                for a in &mut c.adds {
                    operand(&at("add"), &mut a.from, &mut f);
                    f.push((at("first_out"), Graph, &mut a.first_out));
                    a.gate.iter_mut().for_each(|g| operand(&at("gate"), g, &mut f));
                }
                f.push((at("in_place"), Always, &mut c.in_place));
                f.push((at("out_channels"), Always, &mut c.out_channels));
                c.size.iter_mut().for_each(|n| f.push((at("size"), Always, n)));
                for (range, _) in &mut c.activation {
                    f.push((at("activation.start"), Always, &mut range.start));
                    f.push((at("activation.end"), Always, &mut range.end));
                }
                for o in &mut c.outputs {
                    shape(&at("output.shape"), &mut o.shape, &mut f);
                    f.push((at("output.start"), Always, &mut o.channels.start));
                    f.push((at("output.end"), Always, &mut o.channels.end));
                    f.push((at("output.first_channel"), Always, &mut o.first_channel));
                }
                if let Some(Pooling::Max(p)) = &mut c.pooling {
                    for n in [&mut p.kernel, &mut p.stride, &mut p.padding].into_iter().flatten() {
                        f.push((at("fused pool"), Graph, n));
                    }
                }
            }
            Spec::MaxPool(p) => {
                operand(&at("pool"), &mut p.from, &mut f);
                shape(&at("pool.to"), &mut p.to, &mut f);
                for n in [&mut p.pool.kernel, &mut p.pool.stride, &mut p.pool.padding].into_iter().flatten() {
                    f.push((at("pool window"), Graph, n));
                }
            }
            Spec::Average(a) => {
                operand(&at("average"), &mut a.from, &mut f);
                shape(&at("average.to"), &mut a.to, &mut f);
            }
        }
    }
    f
}

/// Parts that are no numbers: each spoilt in one way, with whether that is seen.
fn spoil(plan: &mut Plan, pick: usize) -> (String, Seen) {
    let t = pick / 18 % plan.dispatches.len();
    let b = pick / 18 % plan.buffers.len();
    let d = &mut plan.dispatches[t];
    let flip = |o: &mut Operand| o.mean_pool = !o.mean_pool;
    match (pick % 18, &mut d.spec) {
        (0, _) => drop(plan.dispatches.remove(t)),
        (1, _) => plan.dispatches.insert(t, plan.dispatches[t].clone()),
        (2, _) => d.weights = None,
        (3, _) => d.in_place = d.in_place.xor(d.reads.first().copied()),
        (4, _) => drop(d.reads.pop()),
        (5, _) => drop(d.writes.pop()),
        (6, _) => d.writes.extend(d.writes.clone()),
        (7, _) => plan.buffers[b].place = Place::Input,
        (8, _) => plan.buffers[b].place = Place::Output,
        (9, _) => drop(plan.buffers.remove(b)),
        (10, Spec::Conv(c)) => c.k_ranges.iter_mut().for_each(|k| flip(&mut k.from)),
        (10, Spec::MaxPool(p)) => flip(&mut p.from),
        (10, Spec::Average(a)) => flip(&mut a.from),
        (11, Spec::Conv(c)) => c.adds.iter_mut().for_each(|a| flip(&mut a.from)),
        (12, Spec::Conv(c)) => c.k_ranges.iter_mut().for_each(|k| k.map = k.map.xor(Some(Function::Relu))),
        (13, Spec::Conv(c)) => drop(c.outputs.pop()),
        (14, Spec::Conv(c)) => drop(c.k_ranges.pop()),
        (15, _) => {
            let layout = &mut plan.buffers[b].shape.layout;
            *layout = if *layout == Layout::Packed { Layout::Planar } else { Layout::Packed };
        }
        // The mean of one pixel is that pixel.
        (16, Spec::Conv(c)) if c.size != [1, 1] && c.max_pool().is_none() => {
            c.pooling = if c.pooling.is_none() { Some(Pooling::Average) } else { None };
        }
        // An operand moved by one channel: between quads, where nothing but an add without a gate may begin.
        (_, Spec::Conv(c)) => {
            for a in c.adds.iter_mut().filter(|a| a.from.channels > 1) {
                (a.from.first_channel, a.from.channels) = (a.from.first_channel + 1, a.from.channels - 1);
            }
            return (format!("an add of dispatch {t}"), Graph);
        }
        (_, Spec::MaxPool(p)) => p.from.channels = 1,
        (_, Spec::Average(a)) => a.from.channels = 1,
    }
    (format!("{} of dispatch {t} or buffer {b}", pick % 18), Always)
}

fn planned(seed: u64) -> (Plan, Vec<f32>) {
    let original = network(seed);
    let mode = [Mode::Structured, Mode::Residual, Mode::Literal][seed as usize % 3];
    let graph = rewrite::for_mode(&original, mode).unwrap().graph;
    let keep = graph.nodes().iter().skip(1).step_by(5).map(|n| n.name.clone()).collect();
    let target =
        Target { averaged_pixels: if seed.is_multiple_of(2) { usize::MAX } else { 0 }, ..Target::default() };
    let plan = plan::compile(&graph, &Options { batch: 2, keep, target, ..Options::default() }).unwrap();
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
    let planned = |averaged_pixels: usize| {
        let target = Target { averaged_pixels, ..Target::default() };
        let plan =
            plan::compile(&graph, &Options { keep: keep.clone(), target, ..Options::default() }).unwrap();
        plan::check(&plan).unwrap();
        plan
    };
    let (plan, fused) = (planned(0), planned(usize::MAX));
    let refused_of = |plan: &Plan, change: &dyn Fn(&mut Plan)| {
        let mut spoilt = plan.clone();
        change(&mut spoilt);
        plan::check(&spoilt).expect_err("a spoilt plan").to_string()
    };
    let refused = |change: &dyn Fn(&mut Plan)| refused_of(&plan, change);
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
    // The map of an average may be of any size; without it the map would not fit what is written.
    let error = refused_of(&fused, &|p| {
        conv(p, &|c| {
            if c.pooling == Some(Pooling::Average) {
                c.pooling = None;
            }
        });
    });
    assert!(error.contains("an output is not of the size"), "{error}");
}
