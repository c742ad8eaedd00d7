//! `--merge`: whether neighbouring 1x1 convolutions are multiplied into one.

use super::args::MergeArg;
use super::passed_over::{self, Skipped};
use super::report::nanoseconds;
use super::timed::ms;
use super::{Failure, giga};
use rmnet::models::Model;
use rmnet::{Mode, Options, benchmark_merge};
use serde::Serialize;
use std::time::Duration;

/// The decision, and how it was made.
#[derive(Default, Serialize)]
pub struct Merge {
    pub merged: bool,
    /// The measurement it is based on, if any.
    #[serde(flatten)]
    measured: Option<Measured>,
    /// Whether a measurement was requested although there is nothing to merge.
    #[serde(skip)]
    no_neighbours: bool,
}

/// The two forms, timed.
#[derive(Serialize)]
struct Measured {
    device: String,
    #[serde(rename = "apart_ns", serialize_with = "nanoseconds")]
    apart: Duration,
    #[serde(rename = "merged_ns", serialize_with = "nanoseconds")]
    merged: Duration,
    passed_over: Vec<Skipped>,
    /// Dispatches without and with merging.
    #[serde(skip)]
    dispatches: [usize; 2],
    /// Multiply-accumulates without and with merging.
    #[serde(skip)]
    macs: [usize; 2],
}

impl Merge {
    /// A note on the measurement, if one was requested.
    pub fn note(&self) -> Option<String> {
        if self.no_neighbours {
            return Some("merge: no neighbouring 1x1 convolutions".into());
        }
        let Measured { device, apart, merged, dispatches, macs, .. } = self.measured.as_ref()?;
        Some(format!(
            "merge: {} ({:.2} ms merged, {:.2} ms apart, {} and {} dispatches, {:.2} and {:.2} GMAC, on {device})",
            if self.merged { "yes, it is faster" } else { "no, it is not faster" },
            ms(*merged),
            ms(*apart),
            dispatches[1],
            dispatches[0],
            giga(macs[1]),
            giga(macs[0]),
        ))
    }
}

/// Decides whether to merge. `auto` measures both forms with `options`.
pub fn decide(arg: MergeArg, model: &Model, options: &Options) -> Result<Merge, Failure> {
    if arg != MergeArg::Never && options.mode == Mode::Residual {
        return Err(Failure::usage("--merge works on the residual-free forms: not with --mode residual"));
    }
    if arg != MergeArg::Auto {
        return Ok(Merge { merged: arg == MergeArg::Always, ..Merge::default() });
    }
    let Some(timing) = benchmark_merge(model, options)? else {
        return Ok(Merge { no_neighbours: true, ..Merge::default() });
    };
    if !timing.passed_over.is_empty() {
        passed_over::say_on_cpu(&timing.passed_over);
    }
    let merged = timing.pays();
    let measured = Measured {
        passed_over: Skipped::each(&timing.passed_over),
        device: timing.device,
        apart: timing.apart,
        merged: timing.merged,
        dispatches: timing.dispatches,
        macs: timing.macs,
    };
    Ok(Merge { merged, measured: Some(measured), no_neighbours: false })
}
