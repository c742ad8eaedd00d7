//! Times of dispatches, and the processor's peak throughput.

use super::{CpuError, CpuExecutor};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Side of the multiplied matrices: small enough for every cache, large enough for peak throughput.
const SIDE: usize = 512;
/// Number of f32 values copied: more than the caches hold.
const COPIED: usize = 32 << 20;
/// Number of measurements; the shortest counts.
const MEASUREMENTS: usize = 7;

impl CpuExecutor {
    /// Begin and end of every dispatch of one run, relative to the begin of the first.
    ///
    /// # Errors
    /// As [`CpuExecutor::run`].
    pub fn dispatch_times(&self, input: &[f32]) -> Result<Vec<[Duration; 2]>, CpuError> {
        let mut times = vec![];
        let mut start = None;
        let each = |run: &mut dyn FnMut()| {
            let start = *start.get_or_insert_with(Instant::now);
            let begin = start.elapsed();
            run();
            times.push([begin, start.elapsed()]);
        };
        self.run_each(input, each, |_| ())?;
        Ok(times)
    }

    /// Measures the processor: f32 multiplications and additions per second of the GEMM library on all threads of the executor, and
    /// bytes copied (read and written) per second.
    pub fn peak(&self) -> (f64, f64) {
        self.threads.run(|| peak(self.threads.count()))
    }
}

fn peak(threads: usize) -> (f64, f64) {
    let (a, b) = (vec![1.0f32; SIDE * SIDE], vec![0.5f32; SIDE * SIDE]);
    let mut products = vec![vec![0.0f32; SIDE * SIDE]; threads];
    let multiply = best(|| products.par_iter_mut().for_each(|c| super::product::multiply(SIDE, &a, &b, c)));
    let flops = (2 * SIDE * SIDE * SIDE * threads) as f64 / multiply;
    let from = vec![1.0f32; COPIED];
    let mut to = vec![0.0f32; COPIED];
    let part = COPIED.div_ceil(threads);
    let copy = best(|| {
        let parts = to.par_chunks_mut(part).zip(from.par_chunks(part));
        parts.for_each(|(to, from)| to.copy_from_slice(from));
    });
    (flops, (2 * COPIED * size_of::<f32>()) as f64 / copy)
}

/// Shortest time of `work`, in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..MEASUREMENTS {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
