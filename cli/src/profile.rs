//! `profile`: the time of every dispatch, its share of the roofline, and what bounds it.

use super::args::ProfileArgs;
use super::report::nanoseconds;
use super::timed::{About, Timed, ms};
use super::{Failure, Report, check_target, write};
use rmnet::bench::{self, Bound, DispatchProfile, Peak};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

pub fn profile(args: &ProfileArgs) -> Result<Report, Failure> {
    if let Some(path) = &args.trace {
        check_target(path, &[&args.timed.model.checkpoint])?;
    }
    let timed = Timed::new(&args.timed)?;
    let profile = bench::profile(&timed.session, &timed.input, args.timed.measured())?;
    if let Some(path) = &args.trace {
        write(path, profile.trace().to_string())?;
    }
    Report::of(&ProfileReport {
        about: timed.about(&args.timed),
        gpu_time: profile.gpu_time,
        peak: profile.peak,
        total: profile.total(),
        dispatches: profile.dispatches,
    })
}

#[derive(Serialize)]
struct ProfileReport<'a> {
    #[serde(flatten)]
    about: About<'a>,
    /// Whether times are GPU times; else host times.
    gpu_time: bool,
    peak: Peak,
    #[serde(rename = "profile")]
    dispatches: Vec<DispatchProfile>,
    #[serde(rename = "total_ns", serialize_with = "nanoseconds")]
    total: Duration,
}

impl fmt::Display for ProfileReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}\n{} time, medians of {} runs; peaks measured: {:.1} GFLOP/s, {:.1} GB/s\n",
            self.about,
            if self.gpu_time { "GPU" } else { "host" },
            self.dispatches.first().map_or(0, |d| d.time.count),
            self.peak.flops / 1e9,
            self.peak.bytes_per_second / 1e9
        )?;
        writeln!(
            f,
            "{:>3} {:<38} {:>9} {:>6} {:>8} {:>8} {:>8}  {:<8} kernel",
            "", "dispatch", "ms", "%", "GFLOP/s", "MiB", "of roof", "bound by"
        )?;
        for (i, d) in self.dispatches.iter().enumerate() {
            let seconds = d.time.p50.as_secs_f64().max(1e-9);
            writeln!(
                f,
                "{i:>3} {:<38} {:>9.3} {:>6.1} {:>8.1} {:>8.2} {:>6.0} %  {:<8} {}",
                d.name,
                ms(d.time.p50),
                100.0 * seconds / self.total.as_secs_f64().max(1e-9),
                2.0 * d.macs as f64 / seconds / 1e9,
                d.bytes as f64 / f64::from(1 << 20),
                d.roofline * 100.0,
                match d.bound {
                    Bound::Compute => "compute",
                    Bound::Memory => "memory",
                },
                d.kernel
            )?;
        }
        write!(f, "    {:<38} {:>9.3}", "sum", ms(self.total))
    }
}
