//! Tuning and kept shaders: what a tuning names runs, what it does not name runs as ever, and files are refused by what is wrong.

mod common;

use common::{devices, difference, fixtures};
use rmnet::gpu::{Gpu, TunedKernel, Tuning};
use rmnet::kernel::{Choice, Spec};
use rmnet::plan::CheckedPlan;
use rmnet::tune::{Progress, tune};
use rmnet::{Device, Options, Session, prepare};

const FIXTURE: &str = "tests/fixtures/tv_basic_odd_widths";
/// A kernel that no adapter is offered.
const STALE: &str = "stem 1px x 4oc";
/// Of f32 logits, over the largest.
const BOUND: f64 = 1e-5;

fn gpus() -> Vec<(String, Gpu)> {
    let open = |(name, device)| match device {
        Device::Gpu(choice) => Some((name, Gpu::new(&choice).expect("an adapter that was found"))),
        _ => None,
    };
    let gpus: Vec<_> = devices().into_iter().filter_map(open).collect();
    assert!(!gpus.is_empty(), "no Vulkan adapter");
    gpus
}

fn plan(gpu: &Gpu, f: &fixtures::Fixture) -> CheckedPlan {
    let options = Options::default().batch(f.batch);
    prepare(&f.model, &options, gpu.plan_target()).expect("a plan").plan
}

fn session(gpu: &Gpu, f: &fixtures::Fixture, tuning: Tuning) -> Session {
    let options = Options::default().batch(f.batch).tuning(tuning);
    Session::with_gpu(gpu, &f.model, &options).expect("a session")
}

#[track_caller]
fn logits_are_right(session: &Session, f: &fixtures::Fixture) {
    let logits: Vec<f64> = session.run(&f.input).expect("a run").iter().map(|v| f64::from(*v)).collect();
    let (_, relative) = difference(&logits, &f.logits);
    assert!(relative < BOUND, "{relative:e}");
}

/// The last candidate for every dispatch that has several; with the names of all kernels that must then run.
fn last_candidates(gpu: &Gpu, plan: &CheckedPlan) -> (Tuning, Vec<String>, usize) {
    let (mut tuning, mut named) = (Tuning::default(), 0);
    let kernels = plan.dispatches.iter().enumerate().map(|(i, d)| {
        let kernels = gpu.candidates(plan, i).expect("kernels");
        let last = kernels.last().expect("at least one").choice;
        if kernels.len() > 1 {
            named += 1;
            tuning.set(gpu.adapter(), &d.spec, choice(last));
        }
        last.to_string()
    });
    let kernels = kernels.collect();
    assert!(named > 3, "{named}");
    (tuning, kernels, named)
}

fn choice(kernel: Choice) -> TunedKernel {
    TunedKernel { kernel, time_ns: 1, default: kernel, default_ns: 2 }
}

#[test]
fn what_a_tuning_names_runs() {
    let f = fixtures::load(FIXTURE);
    for (name, gpu) in gpus() {
        let (tuning, kernels, named) = last_candidates(&gpu, &plan(&gpu, &f));
        let plain = session(&gpu, &f, Tuning::default());
        let tuned = session(&gpu, &f, tuning);
        assert_eq!(tuned.kernels(), kernels, "{name}");
        assert_ne!(tuned.kernels(), plain.kernels(), "{name}");
        assert_eq!(tuned.tuned().map(|t| (t.dispatches, t.unknown.len())), Some((named, 0)), "{name}");
        assert_eq!(plain.tuned().map(|t| t.dispatches), Some(0), "{name}");
        logits_are_right(&tuned, &f);
    }
}

#[test]
fn entries_of_another_adapter_or_driver_or_of_kernels_that_are_gone_do_not_run() {
    let f = fixtures::load(FIXTURE);
    let (_, gpu) = gpus().remove(0);
    let (tuning, _, named) = last_candidates(&gpu, &plan(&gpu, &f));
    let plain = session(&gpu, &f, Tuning::default()).kernels();
    let (whole, own) = (tuning.to_json(), gpu.adapter());
    for part in [&own.name, &own.driver, env!("CARGO_PKG_VERSION")] {
        // As JSON has it, with its quotes: a name is part of a driver's on some adapters.
        let foreign = whole.replace(&format!("\"{part}\""), "\"another\"");
        assert_ne!(foreign, whole);
        let foreign = session(&gpu, &f, Tuning::from_json(&foreign).expect("a tuning"));
        assert_eq!(foreign.kernels(), plain, "{part}");
        assert_eq!(foreign.tuned().map(|t| t.dispatches), Some(0), "{part}");
    }
    let nowhere: Choice = STALE.parse().expect("a kernel");
    let mut gone = Tuning::default();
    for d in plan(&gpu, &f).dispatches.iter().filter(|d| tuning.get(own, &d.spec).is_some()) {
        gone.set(own, &d.spec, choice(nowhere));
    }
    let gone = session(&gpu, &f, gone);
    assert_eq!(gone.kernels(), plain);
    let told = gone.tuned().expect("on a GPU");
    assert_eq!((told.dispatches, told.unknown.len()), (0, named));
    assert_eq!(told.unknown[0].1, nowhere);
    // The CPU executor has no kernels and does not read a tuning.
    let options = Options::default().batch(f.batch).device(Device::Cpu).tuning(tuning);
    let cpu = Session::new(&f.model, &options).expect("a session");
    assert!(cpu.tuned().is_none());
}

#[test]
fn tuning_measures_every_convolution_with_a_choice_once() {
    let f = fixtures::load(FIXTURE);
    for (name, gpu) in gpus() {
        let plan = plan(&gpu, &f);
        let mut seen = vec![];
        let found = tune(&gpu, &plan, |p: Progress<'_>| {
            assert_eq!(p.done, seen.len());
            seen.push((p.of, p.dispatch.to_string()));
        })
        .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(seen.len(), found.choices.len(), "{name}");
        assert!(seen.iter().all(|(of, _)| *of == seen.len()), "{name}");
        let measured: usize = found.choices.iter().map(|c| c.dispatches.len()).sum();
        assert_eq!(measured + found.without_choice, plan.dispatches.len(), "{name}");
        for c in &found.choices {
            let Spec::Conv(_) = &c.spec else { panic!("{name}: no convolution") };
            let first = plan.dispatches.iter().position(|d| d.name == c.dispatches[0]).expect("a dispatch");
            let kernels = gpu.candidates(&plan, first).expect("kernels");
            let choices: Vec<Choice> = kernels.iter().map(|k| k.choice).collect();
            assert_eq!(c.tried.iter().map(|t| t.kernel).collect::<Vec<_>>(), choices, "{name}");
            // Every kernel there is gives the right answer, so every one was timed.
            for t in &c.tried {
                let time = t.outcome.as_ref().unwrap_or_else(|e| panic!("{name} {}: {e}", t.kernel));
                assert!(!time.is_zero(), "{name} {}", t.kernel);
                assert!(c.chosen_time() <= *time || c.chosen == 0, "{name} {}", t.kernel);
            }
        }
        let [default, chosen] = found.totals();
        assert!(chosen <= default, "{name}");
        let tuned = session(&gpu, &f, found.tuning(&gpu));
        assert_eq!(tuned.tuned().map(|t| t.dispatches), Some(measured), "{name}");
        logits_are_right(&tuned, &f);
    }
}

/// An app's device without timestamps: the host's time of repeated dispatches.
#[test]
fn a_device_without_timestamps_is_tuned_by_the_hosts_time() {
    let f = fixtures::load(FIXTURE);
    let app = common::adapters().remove(0);
    let (device, queue) = app.into_device();
    let gpu = Gpu::from_device(device, queue);
    let found = tune(&gpu, &plan(&gpu, &f), |_| {}).expect("measured");
    assert!(!found.gpu_time && found.choices.len() > 3);
    assert!(found.choices.iter().all(|c| !c.default_time().is_zero() && !c.chosen_time().is_zero()));
    logits_are_right(&session(&gpu, &f, found.tuning(&gpu)), &f);
}

#[test]
fn kept_shaders_change_no_logits_and_foreign_ones_are_a_fresh_start() {
    let f = fixtures::load(FIXTURE);
    for (name, gpu) in gpus() {
        assert!(gpu.pipeline_cache().is_none(), "{name}: only where it is asked for");
        let first = with_cache(&gpu, &[]);
        logits_are_right(&session(&first, &f, Tuning::default()), &f);
        let Some(mut bytes) = first.pipeline_cache() else {
            assert!(gpu.pipeline_cache_name().is_none(), "{name}");
            continue;
        };
        let again = with_cache(&gpu, &bytes);
        logits_are_right(&session(&again, &f, Tuning::default()), &f);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        for foreign in [&bytes[..], b"not a cache"] {
            let fresh = with_cache(&gpu, foreign);
            logits_are_right(&session(&fresh, &f, Tuning::default()), &f);
        }
    }
}

fn with_cache(gpu: &Gpu, bytes: &[u8]) -> Gpu {
    // SAFETY: what an adapter gave above, or bytes that do not open.
    unsafe { gpu.clone().with_pipeline_cache(bytes) }
}
