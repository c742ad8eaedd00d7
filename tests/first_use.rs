//! The first use of the crate in a process, in an app's own rayon loop: that is where the shared threads are made.

use rayon::prelude::*;
use rmnet::{Device, Options, Session};
use std::process::Command;
use std::time::{Duration, Instant};

/// Makes this test of a process of its own.
const THREADS: &str = "RMNET_FIRST_USE_THREADS";

fn begin(threads: usize) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let options = Options::default().device(Device::Cpu);
    let logits: Vec<Vec<f32>> = pool.install(|| {
        (0..16)
            .into_par_iter()
            .map(|_| {
                let session = Session::open("assets/digits", &options).unwrap();
                session.run(&vec![0.25; session.input_len()]).unwrap()
            })
            .collect()
    });
    assert!(logits.iter().all(|l| *l == logits[0]));
}

#[test]
fn the_first_use_may_be_in_an_apps_own_loop() {
    if let Ok(threads) = std::env::var(THREADS) {
        return begin(threads.parse().expect("a number"));
    }
    for threads in [1, 2, 4, 8] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_first_use_may_be_in_an_apps_own_loop"])
            .env(THREADS, threads.to_string())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > Duration::from_secs(60) => {
                    child.kill().unwrap();
                    panic!("{threads} threads: nothing after {:?}", start.elapsed());
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        assert!(status.success(), "{threads} threads: {status}");
    }
}
