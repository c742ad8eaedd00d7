//! The threads that work is distributed over: a pool of this crate, or one of the app.
//!
//! If the app uses rayon too, its pool is never used implicitly: work is passed to this crate's pool as one job, and the calling thread
//! sleeps until the job is done. With rayon's own waiting, a calling thread of the app's pool would run other work meanwhile; a run could
//! then start on the stack of another run that waits.

#[cfg(feature = "cpu")]
mod crew;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod handover;
#[cfg(target_arch = "wasm32")]
mod one;
#[cfg(not(target_arch = "wasm32"))]
mod pool;

#[cfg(feature = "cpu")]
pub(crate) use crew::Crew;
pub use error::ThreadsError;
#[cfg(target_arch = "wasm32")]
pub use one::Threads;
#[cfg(not(target_arch = "wasm32"))]
pub use pool::Threads;

/// Calls `f` for every part, on the pool of the calling thread, which is one of its threads.
#[cfg(feature = "cpu")]
pub(crate) fn each<T: Send>(parts: Vec<T>, f: impl Fn(T) + Send + Sync) {
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        parts.into_par_iter().for_each(f);
    }
    #[cfg(target_arch = "wasm32")]
    parts.into_iter().for_each(f);
}

/// `[f(0), f(1), ..]`, `n` values, computed on the shared threads, or on the calling thread if those cannot be started.
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

/// Calls `f(i, part)` for each successive part of `size` values, on the shared threads, or on the calling thread if those cannot be
/// started. A shorter rest at the end is skipped.
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
