//! `profile`: time of every dispatch, its share of the roofline, what bounds it.

use super::args::ProfileArgs;
use super::timed::{Timed, ms};
use super::{Failure, Report, check_target, write};
use rmnet::bench::{self, Bound};
use serde_json::json;
use std::fmt::Write;

pub fn profile(args: &ProfileArgs) -> Result<Report, Failure> {
    if let Some(path) = &args.trace {
        check_target(path, &[&args.timed.model.checkpoint])?;
    }
    let timed = Timed::new(&args.timed)?;
    let profile = bench::profile(&timed.session, &timed.input, args.timed.measured())?;
    if let Some(path) = &args.trace {
        write(path, profile.trace().to_string())?;
    }
    let total = profile.total();
    let mut text = timed.title(&args.timed);
    let _ = writeln!(
        text,
        "\n{} time, medians of {} runs; peaks measured: {:.1} GFLOP/s, {:.1} GB/s\n",
        if profile.gpu_time { "GPU" } else { "host" },
        profile.dispatches.first().map_or(0, |d| d.time.count),
        profile.peak.flops / 1e9,
        profile.peak.bytes_per_second / 1e9
    );
    let _ = writeln!(
        text,
        "{:>3} {:<38} {:>9} {:>6} {:>8} {:>8} {:>8}  {:<8} kernel",
        "", "dispatch", "ms", "%", "GFLOP/s", "MiB", "of roof", "bound by"
    );
    for (i, d) in profile.dispatches.iter().enumerate() {
        let seconds = d.time.p50.as_secs_f64().max(1e-9);
        let _ = writeln!(
            text,
            "{i:>3} {:<38} {:>9.3} {:>6.1} {:>8.1} {:>8.2} {:>6.0} %  {:<8} {}",
            d.name,
            ms(d.time.p50),
            100.0 * seconds / total.as_secs_f64().max(1e-9),
            2.0 * d.macs as f64 / seconds / 1e9,
            d.bytes as f64 / f64::from(1 << 20),
            d.roofline * 100.0,
            match d.bound {
                Bound::Compute => "compute",
                Bound::Memory => "memory",
            },
            d.kernel
        );
    }
    let _ = write!(text, "    {:<38} {:>9.3}", "sum", ms(total));
    let mut json = timed.about(&args.timed);
    json["gpu_time"] = profile.gpu_time.into();
    json["peak"] = json!(profile.peak);
    json["profile"] = json!(profile.dispatches);
    json["total_ns"] = (total.as_nanos() as u64).into();
    Ok(Report { text, json })
}
