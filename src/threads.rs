//! The threads that work is shared out to: a pool of this crate's own, or one that the app gives.
//!
//! An app may use rayon too. Its pool is never used by surprise: work is handed over to a pool of ours as one job, and the thread
//! that asked sleeps until the job is done. It takes up no other work meanwhile, as rayon's own waiting would let a thread of the
//! app's pool do, so that a run never begins on the stack of another one that waits.

#[cfg(not(target_arch = "wasm32"))]
mod handover;
#[cfg(not(target_arch = "wasm32"))]
mod pool;

#[cfg(not(target_arch = "wasm32"))]
pub use pool::{Threads, ThreadsError};

/// `[f(0), f(1), ..]`, `n` values, computed on the shared threads; on this one where no others are to be had.
pub fn map<T: Send>(n: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    #[cfg(not(target_arch = "wasm32"))]
    if n > 1
        && let Ok(threads) = Threads::shared()
    {
        use rayon::prelude::*;
        return threads.run(|| (0..n).into_par_iter().map(&f).collect());
    }
    (0..n).map(f).collect()
}

/// Calls `f(i, part)` for every `size` values, in parts that do not overlap, on the shared threads; on this one where no others are to
/// be had. What is left at the end, fewer than `size`, is not touched.
pub fn each_part<T: Send>(values: &mut [T], size: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let size = size.max(1);
    #[cfg(not(target_arch = "wasm32"))]
    if values.len() > size
        && let Ok(threads) = Threads::shared()
    {
        use rayon::prelude::*;
        return threads
            .run(|| values.par_chunks_exact_mut(size).enumerate().for_each(|(i, part)| f(i, part)));
    }
    values.chunks_exact_mut(size).enumerate().for_each(|(i, part)| f(i, part));
}
