//! Several threads for one test: drivers compile a shader on one.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local!(static WORKER: Cell<usize> = const { Cell::new(0) });

/// Number of threads that [`in_parallel`] has.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Which of these threads this is; 0 elsewhere.
pub fn worker() -> usize {
    WORKER.get()
}

/// What `work` gives for every item, in their order, on as many threads as there are processors.
///
/// # Panics
/// Where `work` does.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let take = |worker: usize| {
        WORKER.set(worker);
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(n) else { return };
            let result = work(item);
            *results[n].lock().expect("only this thread has it") = Some(result);
        }
    };
    let take = &take;
    std::thread::scope(|scope| {
        (0..workers().min(items.len())).for_each(|worker| drop(scope.spawn(move || take(worker))));
    });
    let done =
        |result: Mutex<Option<R>>| result.into_inner().expect("unpoisoned").expect("every item is done");
    results.into_iter().map(done).collect()
}
