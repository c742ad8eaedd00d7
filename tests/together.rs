//! Runs beside runs: from an app's own pool, beside a pool that is busy. None hangs, and none gives another one's values.

mod common;

use common::devices;
use rayon::prelude::*;
use rmnet::checkpoint::Checkpoint;
use rmnet::models::{self, Model};
use rmnet::{Device, Error, Options, Session, Threads};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Far beyond what any of these takes.
const HANGS: Duration = Duration::from_secs(120);

/// What `work` gives, done on a thread of its own.
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(HANGS) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: nothing after {HANGS:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("a panic"))
        }
    }
}

fn digits() -> Model {
    models::load(&Checkpoint::open("assets/digits").unwrap(), None).unwrap()
}

/// An input of its own for every number.
fn input(session: &Session, number: usize) -> Vec<f32> {
    (0..session.input_len()).map(|i| ((i * 37 + number * 11) % 101) as f32 / 50.5 - 1.0).collect()
}

fn pool(threads: usize) -> Arc<rayon::ThreadPool> {
    Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

/// Runs `jobs` inputs in an app's rayon loop, each three times, and compares with what one after another gave.
fn run_in_a_loop(session: &Session, pool: &rayon::ThreadPool, jobs: usize) {
    let inputs: Vec<Vec<f32>> = (0..jobs).map(|i| input(session, i)).collect();
    let expected: Vec<Vec<f32>> = inputs.iter().map(|i| session.run(i).unwrap()).collect();
    for _ in 0..3 {
        let found: Vec<Vec<f32>> =
            pool.install(|| inputs.par_iter().map(|i| session.run(i).unwrap()).collect());
        assert_eq!(found, expected);
    }
}

#[test]
fn an_apps_own_rayon_loop_over_one_session_ends() {
    for (name, device) in devices() {
        let session = Session::new(&digits(), &Options::default().device(device)).unwrap();
        let session = Arc::new(session);
        for threads in [1, 2, 4, 8] {
            let session = session.clone();
            in_time(&format!("{name}, {threads} threads"), move || {
                run_in_a_loop(&session, &pool(threads), 2 * threads + 3);
            });
        }
    }
}

#[test]
fn so_it_does_where_the_session_computes_on_the_apps_own_pool() {
    for threads in [1, 2, 4, 8] {
        in_time(&format!("{threads} threads"), move || {
            let pool = pool(threads);
            let options = Options::default().device(Device::Cpu).threads(Threads::of_pool(pool.clone()));
            let session = Session::new(&digits(), &options).unwrap();
            let plural = if threads == 1 { "" } else { "s" };
            assert_eq!(session.device_name(), format!("cpu, {threads} thread{plural}"));
            let alone = session.memory();
            run_in_a_loop(&session, &pool, 2 * threads + 3);
            // From outside at the same time as well.
            std::thread::scope(|scope| {
                (0..3).for_each(|_| drop(scope.spawn(|| session.run(&input(&session, 5)).unwrap())));
                run_in_a_loop(&session, &pool, threads);
            });
            let after = session.memory();
            assert!(after.activations <= rmnet::cpu::RUNS_AT_ONCE * alone.activations, "{alone:?} {after:?}");
        });
    }
}

#[test]
fn a_pool_that_is_busy_keeps_nobody_waiting() {
    for (name, device) in devices() {
        // A software GPU compiles for a second or more.
        let all: &[usize] = if device == Device::Cpu { &[1, 2, 4, 8] } else { &[1, 4] };
        for &threads in all {
            let device = device.clone();
            in_time(&format!("{name}, {threads} threads"), move || {
                let pool = pool(threads);
                let stop = Arc::new(AtomicBool::new(false));
                // Every thread but the one that calls has a job that lasts.
                for _ in 1..threads {
                    let stop = stop.clone();
                    pool.spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    });
                }
                let logits = pool.install(|| {
                    let session = Session::new(&digits(), &Options::default().device(device)).unwrap();
                    session.run(&input(&session, 0)).unwrap()
                });
                stop.store(true, Ordering::Relaxed);
                assert_eq!(logits.len(), 10);
            });
        }
    }
}

#[test]
fn kept_values_are_those_of_the_run_that_gives_them() {
    for (name, device) in devices() {
        in_time(&name, move || {
            let model = digits();
            let keep = model.blocks.clone();
            let options = Options::default().device(device).keep(keep.clone());
            let session = Session::new(&model, &options).unwrap();
            let inputs: Vec<Vec<f32>> = (0..4).map(|i| input(&session, i)).collect();
            let expected: Vec<_> = inputs.iter().map(|i| session.run_keeping(i).unwrap()).collect();
            let keys: Vec<&String> = expected[0].kept.keys().collect();
            assert_eq!(keys, keep.iter().collect::<Vec<_>>());
            assert!((1..4).all(|i| expected[i].kept != expected[0].kept));
            std::thread::scope(|scope| {
                for (input, expected) in inputs.iter().zip(&expected) {
                    let session = &session;
                    scope.spawn(move || {
                        for _ in 0..25 {
                            assert_eq!(session.run_keeping(input).unwrap(), *expected);
                            assert_eq!(session.run(input).unwrap(), expected.output);
                            let values = pollster::block_on(session.run_keeping_async(input)).unwrap();
                            assert_eq!(values, *expected);
                        }
                    });
                }
            });
        });
    }
}

#[test]
fn values_are_kept_by_blocks_and_by_nodes_and_unknown_names_list_them() {
    let model = digits();
    let block = model.blocks[1].clone();
    for mode in [rmnet::Mode::Structured, rmnet::Mode::Residual, rmnet::Mode::Literal] {
        let options =
            |keep: &[&String]| Options::default().device(Device::Cpu).mode(mode).keep(keep.iter().copied());
        let prepared = rmnet::prepare(&model, &options(&[&block]), rmnet::plan::PlanTarget::CPU).unwrap();
        let node = &prepared.kept[&block];
        let session = Session::new(&model, &options(&[&block, node])).unwrap();
        let values = session.run_keeping(&input(&session, 1)).unwrap();
        assert_eq!(values.kept[&block], values.kept[node], "{mode}");
        let [_, channels, ..] = session.output_shape();
        assert_eq!(values.output.len(), channels);

        let error = Session::new(&model, &options(&[&"nothing".into()])).expect_err("no such value");
        let Error::Keep { name, names } = &error else { panic!("{error}") };
        assert!(name == "nothing" && names.contains(node), "{names:?}");
        assert!(error.to_string().contains(&names[0]), "{error}");
    }
}

#[test]
fn a_crowd_of_runs_gives_its_memory_back() {
    for (name, device) in devices() {
        in_time(&name.clone(), move || {
            let session = Session::new(&digits(), &Options::default().device(device)).unwrap();
            let input = input(&session, 0);
            session.run(&input).unwrap();
            let alone = session.memory();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| (0..40).for_each(|_| drop(session.run(&input).unwrap())));
                }
            });
            (0..8).for_each(|_| drop(session.run(&input).unwrap()));
            let after = session.memory();
            assert!(after.transfer <= 2 * alone.transfer, "{name}: {alone:?} {after:?}");
            assert!(after.activations <= 2 * alone.activations, "{name}: {alone:?} {after:?}");
            assert_eq!(after.weights, alone.weights);
        });
    }
}

#[test]
fn inputs_that_are_not_finite_are_refused_unless_told_not_to_look() {
    let by_kind = BTreeMap::from([("NaN", f32::NAN), ("inf", f32::INFINITY), ("-inf", f32::NEG_INFINITY)]);
    let mut hidden = 0;
    for (name, device) in devices() {
        let options = Options::default().batch(2).device(device);
        let session = Session::new(&digits(), &options).unwrap();
        let [_, channels, height, width] = session.input_shape();
        let mut unseen = 0;
        let trusting = Session::new(&digits(), &options.check_input(false)).unwrap();
        for (text, bad) in &by_kind {
            let mut input = input(&session, 2);
            let at = [1, channels - 1, height / 2, width - 1];
            let index = ((at[0] * channels + at[1]) * height + at[2]) * width + at[3];
            input[index] = *bad;
            for error in [
                session.run(&input).unwrap_err(),
                pollster::block_on(session.run_async(&input)).unwrap_err(),
                session.run_keeping(&input).unwrap_err(),
                session.run_timed(&input).unwrap_err(),
            ] {
                let Error::InputNotFinite { at: found, value } = error else { panic!("{name}: {error}") };
                assert_eq!((found, value.to_bits()), (at, bad.to_bits()), "{name}");
                let message = error.to_string();
                assert!(message.contains(text) && message.contains("image 1"), "{name}: {message}");
            }
            // What it is there for: without it some of them give logits as if nothing were wrong, or an error of the output.
            unseen += usize::from(trusting.run(&input).is_ok());
        }
        println!("{name}: {unseen} of 3 unseen without the check");
        hidden += unseen;
    }
    // What the check is there for.
    assert!(hidden > 0, "every one shows in the output");
}
