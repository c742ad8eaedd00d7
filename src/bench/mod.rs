//! Benchmarks: the time of a session, its distribution, and the machine's peak.
//!
//! Cold start (load, plan, open, upload, compile, first run) is reported apart from warm runs. Warm runs are timed one by one,
//! from host tensor to host logits, with the GPU's own time beside them where the adapter has timestamps.

mod baseline;
mod in_flight;
mod peak;
mod profile;
mod stats;

pub use baseline::{Comparison, compare};
pub use in_flight::{InFlight, in_flight};
pub use peak::Peak;
pub use profile::{Bound, DispatchProfile, Profile, profile};
pub use stats::{Stats, drift};

use crate::plan::Phases;
use crate::session::{Error, Session};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long something is repeated: until both minimums are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Minimum number of runs.
    pub runs: usize,
    /// Minimum time.
    pub time: Duration,
}

impl Repeat {
    /// Warm-up before a measurement: 10 runs and half a second.
    pub const WARM_UP: Repeat = Repeat { runs: 10, time: Duration::from_millis(500) };
    /// A measurement: 30 runs and three seconds.
    pub const MEASURED: Repeat = Repeat { runs: 30, time: Duration::from_secs(3) };

    fn each<E>(self, mut run: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        let start = Instant::now();
        let mut runs = 0;
        while runs < self.runs || start.elapsed() < self.time {
            run()?;
            runs += 1;
        }
        Ok(())
    }
}

/// Warm runs of a session.
#[derive(Clone, Debug, Serialize)]
pub struct Warm {
    /// Time from host tensor to host logits of every run, in order, so that runs of several processes can be combined.
    #[serde(rename = "runs_ns", serialize_with = "stats::all_nanoseconds")]
    pub runs: Vec<Duration>,
    /// Statistics of `runs`.
    pub end_to_end: Stats,
    /// Copying the input and submitting.
    pub submit: Stats,
    /// Recording commands, which overlaps with the device's work.
    pub encode: Stats,
    /// Waiting for the device.
    pub wait: Stats,
    /// Copying the logits.
    pub readback: Stats,
    /// GPU time from the start of the compute pass to its end, measured in separate runs interleaved with the others.
    pub gpu: Option<Stats>,
    /// Median of the last third of the end-to-end times, divided by the median of the first third.
    pub drift: Option<f64>,
    /// Images of a run divided by the median end-to-end time.
    pub images_per_second: f64,
    /// Multiplications and additions of the plan per second of the median GPU time, or of the median end-to-end time where GPU
    /// time is unknown.
    pub flops: f64,
}

/// Times warm runs of `input`.
///
/// # Errors
/// [`Error::Unsteady`] when two runs on one input give different logits; else as [`Session::run`].
pub fn warm(session: &Session, input: &[f32], warm_up: Repeat, measured: Repeat) -> Result<Warm, Error> {
    let expected = session.run(input)?;
    warm_up.each(|| session.run(input).map(drop))?;
    let mut times = vec![];
    let mut phases: Vec<Phases> = vec![];
    let mut gpu = vec![];
    measured.each(|| {
        let start = Instant::now();
        let (logits, phase) = session.run_timed(input)?;
        times.push(start.elapsed());
        phases.push(phase);
        if logits != expected {
            return Err(Error::Unsteady);
        }
        gpu.extend(session.gpu_time(input)?);
        Ok(())
    })?;
    let of = |phase: fn(&Phases) -> Duration| {
        Stats::of(&phases.iter().map(phase).collect::<Vec<_>>()).expect("at least one run")
    };
    let end_to_end = Stats::of(&times).expect("at least one run");
    let gpu = Stats::of(&gpu);
    let plan = session.plan();
    let seconds = gpu.as_ref().unwrap_or(&end_to_end).p50.as_secs_f64();
    Ok(Warm {
        submit: of(|p| p.submit),
        encode: of(|p| p.encode),
        wait: of(|p| p.wait),
        readback: of(|p| p.readback),
        drift: drift(&times),
        images_per_second: plan.batch as f64 / end_to_end.p50.as_secs_f64(),
        flops: 2.0 * plan.macs() as f64 / seconds,
        runs: times,
        end_to_end,
        gpu,
    })
}

/// The largest resident size this process had, in bytes; `None` where the system does not report it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}
