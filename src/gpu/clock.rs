//! Clocks: a stopwatch that also works without one (`Instant::now` panics on `wasm32-unknown-unknown`), and the timestamps of GPUs.

use std::time::Duration;

/// Measures the time since its creation.
pub(crate) struct Stopwatch {
    #[cfg(not(target_arch = "wasm32"))]
    start: std::time::Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch {
            #[cfg(not(target_arch = "wasm32"))]
            start: std::time::Instant::now(),
        }
    }

    /// Time since the start; zero in a browser.
    pub(crate) fn elapsed(&self) -> Duration {
        #[cfg(not(target_arch = "wasm32"))]
        return self.start.elapsed();
        #[cfg(target_arch = "wasm32")]
        return Duration::ZERO;
    }
}

/// Begin and end of each pass, relative to the begin of the first. Refuses timestamps that decrease or are zero.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn durations(gpu: &super::Gpu, ticks: &[u64]) -> Result<Vec<[Duration; 2]>, super::GpuError> {
    let period = f64::from(gpu.queue().get_timestamp_period());
    let first = ticks.first().copied().unwrap_or_default();
    let sound = first > 0 && period > 0.0 && ticks.is_sorted();
    if !sound {
        return Err(super::GpuError::Timestamps { adapter: gpu.adapter().name.clone() });
    }
    let time = |tick: u64| Duration::from_nanos(((tick - first) as f64 * period) as u64);
    Ok(ticks.chunks_exact(2).map(|t| [time(t[0]), time(t[1])]).collect())
}
