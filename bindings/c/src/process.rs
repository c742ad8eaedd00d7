//! Forks. A child process has none of its parent's threads, so that a call which waits for one would never return.

use super::status::Failure;
use std::sync::atomic::{AtomicU32, Ordering};

/// The process that first started threads or drivers; 0 before that.
static STARTED_IN: AtomicU32 = AtomicU32::new(0);

/// Notes that the call starts threads or drivers, which a child of this process will not have.
pub fn started() {
    let this = std::process::id();
    let _ = STARTED_IN.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed);
}

/// Refuses calls in a child of the process that called [`started`].
pub fn check() -> Result<(), Failure> {
    match STARTED_IN.load(Ordering::Relaxed) {
        0 => Ok(()),
        first if first == std::process::id() => Ok(()),
        _ => Err(Failure::usage(
            "this process was forked from one that had opened a session or listed the adapters, and has none of its threads and \
             devices: fork before that, or call exec after the fork",
        )),
    }
}
