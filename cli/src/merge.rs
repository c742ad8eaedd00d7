//! `--merge`: whether neighbouring 1x1 convolutions are multiplied into one.

use super::args::MergeArg;
use super::{Failure, device_context};
use rmnet::models::Model;
use rmnet::{Mode, Options, benchmark_merge};
use serde_json::{Value, json};

/// What was decided, and how.
pub struct Merge {
    pub merge: bool,
    /// For people, where something was measured.
    pub note: Option<String>,
    pub json: Value,
}

/// Decides, by measuring both forms as `options` has them where that was asked.
pub fn decide(arg: MergeArg, model: &Model, options: &Options) -> Result<Merge, Failure> {
    if arg != MergeArg::Never && options.mode == Mode::Residual {
        return Err(Failure::usage("--merge works on the residual-free forms: not with --mode residual"));
    }
    let plain = |merge: bool| Merge { merge, note: None, json: json!({ "merged": merge }) };
    if arg != MergeArg::Auto {
        return Ok(plain(arg == MergeArg::Always));
    }
    let Some(timing) = benchmark_merge(model, options)? else {
        return Ok(Merge { note: Some("merge: no neighbouring 1x1 convolutions".into()), ..plain(false) });
    };
    if !timing.passed_over.is_empty() {
        device_context::say_on_cpu(&timing.passed_over);
    }
    let merge = timing.pays();
    let ms = |d: std::time::Duration| d.as_secs_f64() * 1e3;
    let note = format!(
        "merge: {} ({:.2} ms merged, {:.2} ms apart, {} and {} dispatches, {:.2} and {:.2} GMAC, on {})",
        if merge { "yes, it is faster" } else { "no, it is not faster" },
        ms(timing.merged),
        ms(timing.apart),
        timing.dispatches[1],
        timing.dispatches[0],
        timing.macs[1] as f64 / 1e9,
        timing.macs[0] as f64 / 1e9,
        timing.device
    );
    let json = json!({
        "merged": merge, "device": timing.device, "apart_ns": timing.apart.as_nanos() as u64,
        "merged_ns": timing.merged.as_nanos() as u64, "passed_over": device_context::passed_over_json(&timing.passed_over),
    });
    Ok(Merge { merge, note: Some(note), json })
}
