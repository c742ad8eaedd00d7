//! Measures on the target device whether merging neighbouring 1x1 convolutions makes a network faster.

use super::{Error, Options, Session};
#[cfg(feature = "gpu")]
use crate::gpu::PassedOver;
use crate::models::Model;
use crate::verify::{Difference, logits_bound};
use std::time::{Duration, Instant};

/// Minimum number of rounds, and the time after which no further round begins.
const ROUNDS: usize = 7;
const ENOUGH: Duration = Duration::from_secs(2);

/// Times of one network with and without merging, measured alternately.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MergeBenchmark {
    /// The device.
    pub device: String,
    /// [`Session::passed_over`] of the sessions.
    #[cfg(feature = "gpu")]
    pub passed_over: Vec<PassedOver>,
    /// Median time of a run, from the host's input to the host's logits, without merging.
    pub apart: Duration,
    /// The same with neighbouring 1x1 convolutions merged.
    pub merged: Duration,
    /// Number of dispatches, without and with merging.
    pub dispatches: [usize; 2],
    /// Multiply-accumulates of a run, without and with merging.
    pub macs: [usize; 2],
}

impl MergeBenchmark {
    /// Whether merging is faster by more than 2 %; noise rarely changes a median by that much.
    pub fn pays(&self) -> bool {
        self.merged.as_secs_f64() < 0.98 * self.apart.as_secs_f64()
    }
}

/// Runs the network alternately with and without [`Options::merge`] on the device of `options`, at least seven times each, and compares the
/// logits. `None` if there is nothing to merge. It takes the time to open two sessions and to do the runs, and is never done implicitly.
///
/// # Errors
/// As [`Session::new`]; [`Error::Disagree`] when the logits differ by more than rounding.
pub fn benchmark_merge(model: &Model, options: &Options) -> Result<Option<MergeBenchmark>, Error> {
    let open = |merge: bool| Session::new(model, &options.clone().merge(merge));
    let sessions = [open(false)?, open(true)?];
    let [apart, merged] = &sessions;
    let dispatches = [apart, merged].map(|s| s.plan().dispatches.len());
    let macs = [apart, merged].map(|s| s.plan().macs());
    if macs[0] == macs[1] && dispatches[0] == dispatches[1] {
        return Ok(None);
    }
    // A fixed pattern, since the time does not depend on the values.
    let input: Vec<f32> = (0..apart.input_len()).map(|i| ((i * 37) % 101) as f32 / 50.5 - 1.0).collect();
    let logits = [apart.run(&input)?, merged.run(&input)?];
    let expected: Vec<f64> = logits[0].iter().map(|v| f64::from(*v)).collect();
    let found = logits[1].iter().map(|v| f64::from(*v));
    let difference = Difference::between(found, &expected).relative;
    // Each of the two may differ from the exact logits by the bound.
    if difference.is_nan() || difference > 2.0 * logits_bound(options.precision) {
        return Err(Error::Disagree { relative: difference });
    }
    let mut times: [Vec<Duration>; 2] = [vec![], vec![]];
    let start = Instant::now();
    while times[0].len() < ROUNDS || start.elapsed() < ENOUGH && times[0].len() < 200 {
        for (session, times) in sessions.iter().zip(&mut times) {
            let start = Instant::now();
            session.run(&input)?;
            times.push(start.elapsed());
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let [mut of_apart, mut of_merged] = times;
    Ok(Some(MergeBenchmark {
        device: apart.device_name(),
        #[cfg(feature = "gpu")]
        passed_over: apart.passed_over().to_vec(),
        apart: median(&mut of_apart),
        merged: median(&mut of_merged),
        dispatches,
        macs,
    }))
}
