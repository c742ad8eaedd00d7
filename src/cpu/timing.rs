//! Times of dispatches, and the processor's peak throughput.

use super::{CpuError, CpuExecutor};
use rayon::prelude::*;
use rmnet_simd::{Kernels, Term, Tile};
use std::time::{Duration, Instant};

/// Depth of the multiplied tiles, whose weights fit in the nearest cache.
const DEPTH: usize = 128;
/// Number of tiles multiplied.
const TILES: usize = 4000;
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

    /// Measures the processor: f32 multiplications and additions per second of the convolution kernel on all threads of the executor, and
    /// bytes copied (read and written) per second.
    pub fn peak(&self) -> (f64, f64) {
        self.threads.run(|| peak(self.kernels, self.threads.count()))
    }
}

fn peak(kernels: &Kernels, threads: usize) -> (f64, f64) {
    let seconds = best(|| (0..threads).into_par_iter().for_each(|_| multiply(kernels)));
    let flops =
        (2 * kernels.pixels() * kernels.vectors() * kernels.lanes * DEPTH * TILES * threads) as f64 / seconds;
    let from = vec![1.0f32; COPIED];
    let mut to = vec![0.0f32; COPIED];
    let part = COPIED.div_ceil(threads);
    let copy = best(|| {
        let parts = to.par_chunks_mut(part).zip(from.par_chunks(part));
        parts.for_each(|(to, from)| to.copy_from_slice(from));
    });
    (flops, (2 * COPIED * size_of::<f32>()) as f64 / copy)
}

/// The largest tile, again and again on the same values.
fn multiply(kernels: &Kernels) {
    let (pixels, channels) = (kernels.pixels(), kernels.vectors() * kernels.lanes);
    let weights = vec![0.5f32; DEPTH * channels];
    let row = [1.0f32; DEPTH];
    let rows = vec![row.as_ptr(); pixels];
    let mut out = vec![0.0f32; pixels * channels];
    let terms = [Term { first: 0, segments: 1, depth: DEPTH, offset: 0 }];
    let tile = Tile {
        terms: &terms,
        rows: rows.as_ptr(),
        weights: weights.as_ptr(),
        bias: std::ptr::null(),
        next: weights.as_ptr(),
        channels,
        initial: std::ptr::null(),
        initial_step: 0,
        out: out.as_mut_ptr(),
        out_step: channels,
        low: f32::NEG_INFINITY,
        high: f32::INFINITY,
    };
    let kernel = kernels.dense(pixels, kernels.vectors());
    for _ in 0..TILES {
        // SAFETY: the kernels are the executor's, found on this processor; weights, rows and output have the lengths of the tile.
        unsafe { kernel(std::hint::black_box(&tile)) };
    }
    std::hint::black_box(out);
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
