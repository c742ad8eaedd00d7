//! The report of `bench`.

use crate::mib;
use crate::report::nanoseconds;
use crate::timed::{About, ms};
use rmnet::bench::{Comparison, InFlight, Peak, Stats, Warm};
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::Path;
use std::time::Duration;

#[derive(Serialize)]
pub struct BenchReport<'a> {
    #[serde(flatten)]
    pub about: About<'a>,
    pub cold: Cold,
    pub warm: Warm,
    /// Runs at a time, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    pub peak: Peak,
    pub share_of_peak: f64,
    pub memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    #[serde(skip)]
    pub on_gpu: bool,
}

/// From the file to the first logits.
#[derive(Serialize)]
pub struct Cold {
    #[serde(rename = "load_ns", serialize_with = "nanoseconds")]
    pub load: Duration,
    #[serde(rename = "open_ns", serialize_with = "nanoseconds")]
    pub open: Duration,
    /// The part of `open` that packs and uploads weights; `None` on the CPU.
    #[serde(
        rename = "upload_ns",
        serialize_with = "some_nanoseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub upload: Option<Duration>,
    /// The part of `open` that compiles shaders; `None` on the CPU.
    #[serde(
        rename = "compile_ns",
        serialize_with = "some_nanoseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub compile: Option<Duration>,
    #[serde(rename = "first_run_ns", serialize_with = "nanoseconds")]
    pub first_run: Duration,
    #[serde(rename = "total_ns", serialize_with = "nanoseconds")]
    pub total: Duration,
}

/// Memory in use, in bytes.
#[derive(Serialize)]
pub struct Memory {
    #[serde(rename = "activation_bytes")]
    pub activations: usize,
    /// Buffers between the shaders of one kernel.
    #[serde(rename = "scratch_bytes")]
    pub scratch: usize,
    #[serde(rename = "weight_bytes")]
    pub weights: usize,
    /// Peak memory of the process, where the system reports it.
    #[serde(rename = "process_bytes")]
    pub process: Option<u64>,
}

/// Changes since an earlier report.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Baseline {
    #[serde(skip)]
    file: String,
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Figure {
    figure: &'static str,
    before_ns: u64,
    now_ns: u64,
    ratio: f64,
}

impl Baseline {
    pub fn new(file: &Path, found: &[Comparison]) -> Baseline {
        let figure = |c: &Comparison| Figure {
            figure: c.figure,
            before_ns: c.before,
            now_ns: c.now,
            ratio: c.ratio(),
        };
        Baseline { file: file.display().to_string(), figures: found.iter().map(figure).collect() }
    }

    /// The first part that is slower than before by more than `percent`, by median and by shortest time. Other load on the
    /// machine moves the median but hardly the shortest time, so both must be slower.
    pub fn slower(&self, percent: u32) -> Option<&'static str> {
        let limit = 1.0 + f64::from(percent) / 100.0;
        ["end_to_end", "gpu"].into_iter().find(|part| {
            let mut figures = self.figures.iter().filter(|c| c.figure.contains(part)).peekable();
            figures.peek().is_some() && figures.all(|c| c.ratio > limit)
        })
    }
}

fn some_nanoseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => nanoseconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

impl fmt::Display for BenchReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.about)?;
        if let Some(note) = self.about.merge.note() {
            write!(f, "\n{note}")?;
        }
        write!(f, "\n\n{}", self.cold)?;
        self.warm_rows(f)?;
        writeln!(
            f,
            "  {:.1} images/s; {:.1} GFLOP/s, {:.0} % of {:.1} measured{}",
            self.warm.images_per_second,
            self.warm.flops / 1e9,
            self.share_of_peak * 100.0,
            self.peak.flops / 1e9,
            self.warm.drift.map_or(String::new(), |d| {
                format!("; last third {:+.1} % against the first", (d - 1.0) * 100.0)
            }),
        )?;
        if let Some(many) = &self.in_flight {
            writeln!(
                f,
                "  {} at a time: {:.1} images/s; {:.3} ms a run, p90 {:.3} ms, p99 {:.3} ms, {} runs",
                many.requests,
                many.images_per_second,
                ms(many.end_to_end.p50),
                ms(many.end_to_end.p90),
                ms(many.end_to_end.p99),
                many.end_to_end.count,
            )?;
        }
        write!(f, "\n{}; copies at {:.1} GB/s", self.memory, self.peak.bytes_per_second / 1e9)?;
        self.baseline.as_ref().map_or(Ok(()), |baseline| write!(f, "\n\n{baseline}"))
    }
}

impl BenchReport<'_> {
    fn warm_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warm = &self.warm;
        writeln!(
            f,
            "\n{:<12} {:>9} {:>9} {:>9} {:>9} {:>9}   ms, {} runs",
            "warm", "min", "mean", "p50", "p90", "p99", warm.end_to_end.count
        )?;
        let mut row = |name: &str, s: &Stats| {
            writeln!(
                f,
                "  {name:<10} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}",
                ms(s.min),
                ms(s.mean),
                ms(s.p50),
                ms(s.p90),
                ms(s.p99)
            )
        };
        row("end to end", &warm.end_to_end)?;
        if let Some(gpu) = &warm.gpu {
            row("gpu", gpu)?;
        }
        if self.on_gpu {
            row("submit", &warm.submit)?;
            row("encode", &warm.encode)?;
            row("wait", &warm.wait)?;
            row("readback", &warm.readback)?;
        }
        Ok(())
    }
}

impl fmt::Display for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cold\n  load       {:>10.2} ms", ms(self.load))?;
        write!(f, "  open       {:>10.2} ms", ms(self.open))?;
        if let (Some(upload), Some(compile)) = (self.upload, self.compile) {
            write!(f, "   of it upload {:.2} ms, shaders {:.2} ms", ms(upload), ms(compile))?;
        }
        writeln!(
            f,
            "\n  first run  {:>10.2} ms\n  file to first logits {:.2} ms",
            ms(self.first_run),
            ms(self.total)
        )
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory: {} of activations", mib(self.activations))?;
        if self.scratch > 0 {
            write!(f, ", {} between shaders of a kernel", mib(self.scratch))?;
        }
        write!(f, ", {} of weights", mib(self.weights))?;
        match self.process {
            Some(bytes) => write!(f, ", {} of the process at most", mib(bytes as usize)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "against {}", self.file)?;
        self.figures.iter().try_for_each(|c| {
            write!(
                f,
                "\n  {:<24} {:>9.3} ms before, {:>9.3} now, {:+.1} %",
                c.figure,
                c.before_ns as f64 / 1e6,
                c.now_ns as f64 / 1e6,
                (c.ratio - 1.0) * 100.0
            )
        })
    }
}
