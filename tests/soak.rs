//! Memory, threads and values over many runs, and over many sessions. `RMNET_SOAK=100000` makes so many runs; by default it is a shorter
//! form.
#![cfg(target_os = "linux")]

mod common;

use common::devices;
use rmnet::checkpoint::Checkpoint;
use rmnet::models::{self, Model};
use rmnet::{Device, Options, Session};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What the process holds is measured, so that one test runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn digits() -> Model {
    models::load(&Checkpoint::open("assets/digits").unwrap(), None).unwrap()
}

/// An input of its own for every number.
fn input(session: &Session, number: usize) -> Vec<f32> {
    (0..session.input_len()).map(|i| ((i * 37 + number * 11) % 101) as f32 / 50.5 - 1.0).collect()
}

/// Polls a future once.
fn poll_once<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// The process's bytes in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    4096 * pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Runs that are dropped before they are done, right after they began or half way.
#[test]
fn dropped_runs_leave_nothing_behind() {
    let _alone = alone();
    let runs = std::env::var("RMNET_SOAK").map_or(300, |n| n.parse().expect("a number"));
    for (name, device) in devices() {
        let session = Session::new(&digits(), &Options::default().device(device)).unwrap();
        {
            let input = input(&session, 3);
            let expected = session.run(&input).unwrap();
            let drop_some = |runs: usize| {
                for i in 0..runs {
                    let mut run = Box::pin(session.run_async(&input));
                    let done = i % 3 > 0 && poll_once(&mut run).is_ready();
                    if i % 50 == 49 && !done {
                        assert_eq!(pollster::block_on(run).unwrap(), expected);
                    }
                }
                assert_eq!(session.run(&input).unwrap(), expected);
            };
            drop_some(100);
            let (before, threads_before) = (resident(), threads());
            drop_some(runs);
            let (after, transfer) = (resident(), session.memory().transfer);
            println!("{name}: {runs} dropped runs, {before} to {after} bytes, {} threads", threads());
            assert!(after < before + (16 << 20), "{name}: {before} to {after} bytes");
            assert!(threads() <= threads_before + 1, "{name}: {threads_before} to {} threads", threads());
            let one = 4 * (input.len() + expected.len());
            assert!(transfer <= 6 * one, "{name}: {transfer} of {one}");
        }
    }
}

/// Memory does not grow with the number of runs, nor with that of sessions made and dropped.
#[test]
fn runs_and_sessions_leave_memory_flat() {
    let _alone = alone();
    let runs: usize = std::env::var("RMNET_SOAK").map_or(500, |n| n.parse().expect("a number"));
    for (name, device) in devices() {
        let gpu = match &device {
            Device::Gpu(choice) => Some(rmnet::gpu::Gpu::new(choice).unwrap()),
            _ => None,
        };
        let model = digits();
        let options = Options::default().device(device);
        let open = || match &gpu {
            Some(gpu) => Session::with_gpu(gpu, &model, &options).unwrap(),
            None => Session::new(&model, &options).unwrap(),
        };
        let session = open();
        let input = input(&session, 0);
        let expected = session.run(&input).unwrap();
        let run = |n: usize| (0..n).for_each(|_| assert_eq!(session.run(&input).unwrap(), expected));
        run(200);
        let before = resident();
        run(runs);
        let after = resident();
        println!("{name}: {runs} runs, {before} to {after} bytes");
        assert!(after < before + (8 << 20), "{name}: {before} to {after} bytes in {runs} runs");

        let made = |n: usize| (0..n).for_each(|_| drop(open().run(&input).unwrap()));
        // Drivers keep some of what they compiled. SwiftShader takes seconds to compile: it makes a tenth of them.
        made(3);
        let before = resident();
        let sessions = (runs / if name.contains("SwiftShader") { 1000 } else { 100 }).max(2);
        made(sessions);
        let after = resident();
        println!("{name}: {sessions} sessions, {before} to {after} bytes");
        let each = 64 << 10;
        assert!(
            after < before + (8 << 20) + sessions * each,
            "{name}: {before} to {after} in {sessions} sessions"
        );
    }
}

/// Eight threads on one device, each with inputs of its own.
#[test]
fn eight_threads_leave_memory_flat() {
    let _alone = alone();
    let runs: usize = std::env::var("RMNET_SOAK").map_or(400, |n| n.parse().expect("a number"));
    for (name, device) in devices() {
        let session = Session::new(&digits(), &Options::default().device(device)).unwrap();
        let inputs: Vec<Vec<f32>> = (0..8).map(|i| input(&session, i)).collect();
        let expected: Vec<Vec<f32>> = inputs.iter().map(|i| session.run(i).unwrap()).collect();
        let crowd = |runs: usize| {
            std::thread::scope(|scope| {
                for (input, expected) in inputs.iter().zip(&expected) {
                    let session = &session;
                    scope.spawn(move || {
                        (0..runs / 8).for_each(|_| assert_eq!(session.run(input).unwrap(), *expected));
                    });
                }
            });
        };
        crowd(80);
        let before = resident();
        crowd(runs);
        let after = resident();
        println!("{name}: {runs} runs on 8 threads, {before} to {after} bytes");
        assert!(after < before + (16 << 20), "{name}: {before} to {after} bytes");
    }
}
