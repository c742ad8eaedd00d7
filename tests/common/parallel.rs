//! Several threads for one test: drivers compile a shader on one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `work` gives for every item, in their order, on as many threads as there are processors.
///
/// # Panics
/// Where `work` does.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let take = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(n) else { return };
            let result = work(item);
            *results[n].lock().expect("only this thread has it") = Some(result);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| (0..threads.min(items.len())).for_each(|_| drop(scope.spawn(take))));
    let done =
        |result: Mutex<Option<R>>| result.into_inner().expect("unpoisoned").expect("every item is done");
    results.into_iter().map(done).collect()
}
