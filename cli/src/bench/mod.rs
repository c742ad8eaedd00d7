//! `bench`: cold start and warm runs, compared with the device's peak and optionally with an earlier report.

mod report;

use super::args::BenchArgs;
use super::report::{to_json, versioned};
use super::timed::Timed;
use super::{Failure, Report};
use report::{Baseline, BenchReport, Cold, Memory};
use rmnet::bench::{self, Peak, Repeat};
use rmnet::files;
use serde_json::Value;
use std::path::Path;

/// Maximum bytes of an earlier report.
const MAX_BASELINE: u64 = 1 << 20;

pub fn bench(args: &BenchArgs) -> Result<Report, Failure> {
    // Read first, so that an unusable baseline does not cost a measurement.
    let before = args.baseline.as_deref().map(read).transpose()?;
    let timed = Timed::new(&args.timed)?;
    let mut report = measure(&timed, args)?;
    let (Some(path), Some(before)) = (&args.baseline, before) else { return Report::of(&report) };
    let found = bench::compare(&before, &versioned(to_json(&report)?))
        .map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    let baseline = report.baseline.insert(Baseline::new(path, &found));
    match baseline.slower(args.threshold) {
        None => Report::of(&report),
        Some(part) => {
            let message = format!(
                "{part}: median and shortest time are more than {} % over the baseline",
                args.threshold
            );
            Err(Failure { code: 7, message, report: Some(Report::of(&report)?) })
        }
    }
}

/// Everything but the comparison.
fn measure<'a>(timed: &'a Timed, args: &BenchArgs) -> Result<BenchReport<'a>, Failure> {
    let session = &timed.session;
    let warm = bench::warm(session, &timed.input, Repeat::WARM_UP, args.timed.measured())?;
    let at_once = |n: u16| bench::in_flight(session, &timed.input, n.into(), args.timed.measured());
    let in_flight = args.in_flight.map(at_once).transpose()?;
    // Taken before the peak is measured, which needs buffers larger than those of many networks.
    let process = bench::peak_memory();
    let peak = Peak::measure(session)?;
    let memory = session.memory();
    let (upload, compile) = session.startup().unzip();
    Ok(BenchReport {
        about: timed.about(&args.timed),
        cold: Cold {
            load: timed.load,
            open: timed.open,
            upload,
            compile,
            first_run: timed.first_run,
            total: timed.load + timed.open + timed.first_run,
        },
        share_of_peak: warm.flops / peak.flops,
        warm,
        in_flight,
        peak,
        memory: Memory {
            activations: memory.activations,
            scratch: memory.scratch,
            weights: memory.weights,
            process,
        },
        baseline: None,
        on_gpu: session.is_on_gpu(),
    })
}

/// An earlier report.
fn read(path: &Path) -> Result<Value, Failure> {
    let refuse = |e: String| Failure::input(format!("{}: {e}", path.display()));
    let text = files::read_text(path, MAX_BASELINE).map_err(|e| refuse(e.to_string()))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|e| refuse(format!("not a report of `rmnet bench --json`: {e}")))?;
    match value.get("warm") {
        Some(_) => Ok(value),
        None => Err(refuse("expected a report of `rmnet bench --json`, found no `warm` in it".into())),
    }
}
