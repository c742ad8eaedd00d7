//! Time of every dispatch, compared with the device's peak.

use super::Repeat;
use super::peak::Peak;
use super::stats::{Stats, nanoseconds};
use crate::session::{Error, Session};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The resource that bounds a dispatch at peak throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Its arithmetic takes longer than its memory traffic.
    Compute,
    /// Its memory traffic takes longer than its arithmetic.
    Memory,
}

/// One dispatch.
#[derive(Clone, Debug, Serialize)]
pub struct DispatchProfile {
    /// Its layers.
    pub name: String,
    /// The kernel that runs it.
    pub kernel: String,
    /// Its time.
    pub time: Stats,
    /// Start in the median run, measured from the start of the first dispatch.
    #[serde(rename = "begin_ns", serialize_with = "nanoseconds")]
    pub begin: Duration,
    /// Multiply-accumulates.
    pub macs: usize,
    /// Bytes of its operands, weights and results, each counted once.
    pub bytes: usize,
    /// What bounds it at the device's peak rates.
    pub bound: Bound,
    /// The shortest time possible at the device's peak rates, divided by the median time: 1 is optimal.
    pub roofline: f64,
}

/// All dispatches of a run, in order.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    /// Name of the device.
    pub device: String,
    /// Whether times are GPU times; else host times, on the CPU executor.
    pub gpu_time: bool,
    /// The device's measured peak rates.
    pub peak: Peak,
    /// One per dispatch.
    pub dispatches: Vec<DispatchProfile>,
}

/// Times every dispatch over some runs of `input`.
///
/// # Errors
/// [`Error::NoTimestamps`] where the adapter has none; else as [`Session::run`].
pub fn profile(session: &Session, input: &[f32], runs: Repeat) -> Result<Profile, Error> {
    let peak = Peak::measure(session)?;
    // The first run compiles and touches memory for the first time.
    session.dispatch_times(input)?.ok_or(Error::NoTimestamps)?;
    let mut all: Vec<Vec<[Duration; 2]>> = vec![];
    runs.each(|| {
        all.push(session.dispatch_times(input)?.ok_or(Error::NoTimestamps)?);
        Ok::<_, Error>(())
    })?;
    let whole = |run: &Vec<[Duration; 2]>| run.last().map_or(Duration::ZERO, |last| last[1]);
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|i| whole(&all[*i]));
    let median = &all[order[order.len() / 2]];
    let plan = session.plan();
    let bytes = |id: &crate::plan::BufferId| plan.buffer(*id).shape.bytes();
    let weights = session.weight_bytes_by_dispatch();
    let kernels = session.kernels();
    let dispatches = plan
        .dispatches
        .iter()
        .enumerate()
        .map(|(i, d)| {
            let times: Vec<Duration> = all.iter().map(|run| run[i][1].saturating_sub(run[i][0])).collect();
            let time = Stats::of(&times).expect("at least one run");
            let macs = d.macs(plan.batch);
            let moved: usize = d.reads.iter().chain(&d.writes).map(bytes).sum();
            let bytes = moved + weights[i];
            let (compute, memory) = (2.0 * macs as f64 / peak.flops, bytes as f64 / peak.bytes_per_second);
            DispatchProfile {
                name: d.name.clone(),
                kernel: kernels[i].clone(),
                begin: median[i][0],
                macs,
                bytes,
                bound: if compute >= memory { Bound::Compute } else { Bound::Memory },
                roofline: compute.max(memory) / time.p50.as_secs_f64().max(1e-9),
                time,
            }
        })
        .collect();
    Ok(Profile { device: session.device_name(), gpu_time: session.is_on_gpu(), peak, dispatches })
}

impl Profile {
    /// Median times of all dispatches together.
    pub fn total(&self) -> Duration {
        self.dispatches.iter().map(|d| d.time.p50).sum()
    }

    /// The median run in the trace format that Chrome and Perfetto open.
    pub fn trace(&self) -> Value {
        let micros = |t: Duration| t.as_nanos() as f64 / 1e3;
        let named = |name: &str, id: u32| json!({ "name": name, "ph": "M", "pid": 1, "tid": id, "args": { "name": self.device } });
        let events = self.dispatches.iter().map(|d| {
            json!({
                "name": d.name, "cat": d.kernel, "ph": "X", "pid": 1, "tid": 1,
                "ts": micros(d.begin), "dur": micros(d.time.p50),
                "args": { "macs": d.macs, "bytes": d.bytes, "roofline": d.roofline, "bound": d.bound },
            })
        });
        let head = [named("process_name", 0), named("thread_name", 1)];
        json!({ "displayTimeUnit": "ns", "traceEvents": head.into_iter().chain(events).collect::<Vec<_>>() })
    }
}
