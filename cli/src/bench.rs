//! `bench`: cold start and warm runs, beside what the device could do; compared with an earlier report where asked.

use super::args::BenchArgs;
use super::timed::{Timed, ms};
use super::{Failure, Report, mib, versioned};
use rmnet::bench::{self, Comparison, Peak, Repeat, Stats};
use rmnet::files;
use serde_json::{Value, json};
use std::fmt::Write;

/// The most bytes of an earlier report.
const MAX_BASELINE: u64 = 1 << 20;

pub fn bench(args: &BenchArgs) -> Result<Report, Failure> {
    // Read first: a baseline that cannot be used should not cost a measurement.
    let baseline = args.baseline.as_deref().map(read).transpose()?;
    let timed = Timed::new(&args.timed)?;
    let warm = bench::warm(&timed.session, &timed.input, Repeat::WARM_UP, args.timed.measured())?;
    // Before the peak is measured: that takes buffers of its own, larger than many a network's.
    let process = bench::peak_memory();
    let peak = Peak::measure(&timed.session)?;
    let (session, memory) = (&timed.session, timed.session.memory());
    let share = warm.flops / peak.flops;
    let startup = session.startup();
    let total = timed.load + timed.open + timed.first_run;

    let mut text = timed.title(&args.timed);
    if let Some(note) = &timed.merge.note {
        let _ = write!(text, "\n{note}");
    }
    let _ = writeln!(text, "\n\ncold");
    let mut cold = json!({ "load_ns": nanos(timed.load), "open_ns": nanos(timed.open),
        "first_run_ns": nanos(timed.first_run), "total_ns": nanos(total) });
    let _ = writeln!(text, "  load       {:>10.2} ms", ms(timed.load));
    let _ = write!(text, "  open       {:>10.2} ms", ms(timed.open));
    if let Some((upload, compile)) = startup {
        let _ = write!(text, "   of it upload {:.2} ms, shaders {:.2} ms", ms(upload), ms(compile));
        cold["upload_ns"] = nanos(upload).into();
        cold["compile_ns"] = nanos(compile).into();
    }
    let _ = writeln!(
        text,
        "\n  first run  {:>10.2} ms\n  file to first logits {:.2} ms",
        ms(timed.first_run),
        ms(total)
    );
    let _ = writeln!(
        text,
        "\n{:<12} {:>9} {:>9} {:>9} {:>9} {:>9}   ms, {} runs",
        "warm", "min", "mean", "p50", "p90", "p99", warm.end_to_end.count
    );
    let mut row = |name: &str, s: &Stats| {
        let _ = writeln!(
            text,
            "  {name:<10} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
            ms(s.min),
            ms(s.mean),
            ms(s.p50),
            ms(s.p90),
            ms(s.p99)
        );
    };
    row("end to end", &warm.end_to_end);
    if let Some(gpu) = &warm.gpu {
        row("gpu", gpu);
    }
    if session.is_on_gpu() {
        row("submit", &warm.submit);
        row("encode", &warm.encode);
        row("wait", &warm.wait);
        row("readback", &warm.readback);
    }
    let _ = writeln!(
        text,
        "  {:.1} images/s; {:.1} GFLOP/s, {:.0} % of {:.1} measured{}",
        warm.images_per_second,
        warm.flops / 1e9,
        share * 100.0,
        peak.flops / 1e9,
        warm.drift
            .map_or(String::new(), |d| format!("; last third {:+.1} % against the first", (d - 1.0) * 100.0)),
    );
    let _ = write!(
        text,
        "\nmemory: {} of activations{}, {} of weights{}; copies at {:.1} GB/s",
        mib(memory.activations),
        match memory.scratch {
            0 => String::new(),
            bytes => format!(", {} between shaders of a kernel", mib(bytes)),
        },
        mib(memory.weights),
        process.map_or(String::new(), |b| format!(", {} of the process at most", mib(b as usize))),
        peak.bytes_per_second / 1e9
    );

    let mut json = timed.about(&args.timed);
    json["cold"] = cold;
    json["warm"] = json!(warm);
    json["peak"] = json!(peak);
    json["share_of_peak"] = share.into();
    json["memory"] = json!({ "activation_bytes": memory.activations, "scratch_bytes": memory.scratch,
        "weight_bytes": memory.weights, "process_bytes": process });
    let Some((path, before)) = baseline else { return Ok(Report { text, json }) };
    let found = bench::compare(&before, &versioned(json.clone()))
        .map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    json["baseline"] = found.iter().map(entry).collect();
    let _ = write!(text, "\n\nagainst {}", path.display());
    for c in &found {
        let _ = write!(
            text,
            "\n  {:<24} {:>9.3} ms before, {:>9.3} now, {:+.1} %",
            c.figure,
            c.before as f64 / 1e6,
            c.now as f64 / 1e6,
            (c.ratio() - 1.0) * 100.0
        );
    }
    // The median moves with whatever else the machine does, the shortest time hardly: both have to be slower.
    let limit = 1.0 + f64::from(args.threshold) / 100.0;
    let of = |part: &str| found.iter().filter(|c| c.figure.contains(part)).collect::<Vec<_>>();
    let slower = ["end_to_end", "gpu"].into_iter().find(|part| {
        let figures = of(part);
        !figures.is_empty() && figures.iter().all(|c| c.ratio() > limit)
    });
    match slower {
        None => Ok(Report { text, json }),
        Some(part) => {
            let message = format!(
                "{part}: median and shortest time are more than {} % over the baseline",
                args.threshold
            );
            Err(Failure { code: 7, message, report: Some((text, json)) })
        }
    }
}

fn entry(c: &Comparison) -> Value {
    json!({ "figure": c.figure, "before_ns": c.before, "now_ns": c.now, "ratio": c.ratio() })
}

fn nanos(time: std::time::Duration) -> u64 {
    time.as_nanos() as u64
}

fn read(path: &std::path::Path) -> Result<(&std::path::Path, Value), Failure> {
    let refuse = |e: String| Failure::input(format!("{}: {e}", path.display()));
    let text = files::read_text(path, MAX_BASELINE).map_err(|e| refuse(e.to_string()))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|e| refuse(format!("not a report of `rmnet bench --json`: {e}")))?;
    match value.get("warm") {
        Some(_) => Ok((path, value)),
        None => Err(refuse("expected a report of `rmnet bench --json`, found no `warm` in it".into())),
    }
}
