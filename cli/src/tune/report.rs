//! The report of `tune`.

use crate::precision_note;
use crate::report::{as_text, nanoseconds};
use crate::timed::ms;
use rmnet::kernel::Choice;
use rmnet::tune::{Tried, TunedConv};
use rmnet::{Mode, Precision};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

#[derive(Serialize)]
pub struct TuneReport<'a> {
    pub family: &'a str,
    pub device: String,
    pub driver: &'a str,
    #[serde(serialize_with = "as_text")]
    pub mode: Mode,
    #[serde(serialize_with = "as_text")]
    pub precision: Precision,
    pub batch: usize,
    /// `[channels, height, width]`
    pub input: [usize; 3],
    /// Whether times are GPU times; else host times.
    pub gpu_time: bool,
    /// File in which the choice is stored.
    pub file: String,
    pub choices: Vec<Chosen<'a>>,
    /// Dispatches with only one kernel.
    pub without_choice: usize,
    #[serde(rename = "default_total_ns", serialize_with = "nanoseconds")]
    pub default_total: Duration,
    #[serde(rename = "total_ns", serialize_with = "nanoseconds")]
    pub total: Duration,
    /// Whether the choices add shaders on a software adapter, which makes the start slower.
    #[serde(skip)]
    pub slower_start: bool,
}

/// The kernel chosen for one distinct convolution, and the candidates.
#[derive(Serialize)]
pub struct Chosen<'a> {
    dispatches: &'a [String],
    spec: String,
    default: Choice,
    #[serde(rename = "default_ns", serialize_with = "nanoseconds")]
    default_time: Duration,
    kernel: Choice,
    #[serde(rename = "time_ns", serialize_with = "nanoseconds")]
    time: Duration,
    tried: Vec<TriedKernel<'a>>,
    #[serde(skip)]
    as_default: bool,
}

#[derive(Serialize)]
struct TriedKernel<'a> {
    kernel: Choice,
    #[serde(flatten)]
    outcome: TriedOutcome<'a>,
}

#[derive(Serialize)]
enum TriedOutcome<'a> {
    #[serde(rename = "time_ns", serialize_with = "nanoseconds")]
    Time(Duration),
    /// Why it was excluded.
    #[serde(rename = "refused")]
    Refused(&'a str),
}

impl<'a> Chosen<'a> {
    pub fn of(c: &'a TunedConv) -> Chosen<'a> {
        let tried = |t: &'a Tried| TriedKernel {
            kernel: t.kernel,
            outcome: match &t.outcome {
                Ok(time) => TriedOutcome::Time(*time),
                Err(why) => TriedOutcome::Refused(why),
            },
        };
        Chosen {
            dispatches: &c.dispatches,
            spec: c.spec.key(),
            default: c.tried[0].kernel,
            default_time: c.default_time(),
            kernel: c.tried[c.chosen].kernel,
            time: c.chosen_time(),
            tried: c.tried.iter().map(tried).collect(),
            as_default: c.chosen == 0,
        }
    }
}

impl fmt::Display for TuneReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TuneReport { family, device, driver, mode, batch, input: [_, height, width], .. } = self;
        let precision = precision_note(self.precision);
        writeln!(
            f,
            "{family}, {mode} form{precision}, batch {batch}, {height}x{width}\non {device} ({driver})"
        )?;
        self.table(f)?;
        for c in &self.choices {
            for t in &c.tried {
                if let TriedOutcome::Refused(why) = t.outcome {
                    writeln!(f, "refused: `{}` for {}: {why}", t.kernel, c.dispatches[0])?;
                }
            }
        }
        if self.without_choice > 0 {
            writeln!(f, "{} more dispatches have one kernel each", self.without_choice)?;
        }
        if self.slower_start {
            f.write_str(
                "on this software adapter each kernel but the default is a shader of its own, which the driver compiles when it first\n\
                 runs: a tuned start takes longer\n",
            )?;
        }
        write!(f, "kept in {}", self.file)
    }
}

impl TuneReport<'_> {
    /// Writes a row per convolution, and the total.
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} time of a dispatch, medians\n\n{:<38} {:<44} {:>9}  {:<44} {:>9} {:>7}",
            if self.gpu_time { "GPU" } else { "host" },
            "layer",
            "default",
            "ms",
            "chosen",
            "ms",
            "gain"
        )?;
        for c in &self.choices {
            let layer = match c.dispatches.len() - 1 {
                0 => c.dispatches[0].clone(),
                more => format!("{} and {more} more", c.dispatches[0]),
            };
            let default = c.default.to_string();
            let chosen = if c.as_default { "as default".into() } else { c.kernel.to_string() };
            row(f, &layer, [&default, &chosen], [c.default_time, c.time])?;
        }
        row(f, "of a run, these together", ["", ""], [self.default_total, self.total])
    }
}

/// A row of the table: kernels and times, the default's first.
fn row(f: &mut fmt::Formatter<'_>, layer: &str, kernels: [&str; 2], times: [Duration; 2]) -> fmt::Result {
    let [default, chosen] = kernels;
    let [before, now] = times;
    let gain = before.as_secs_f64() / now.as_secs_f64().max(1e-9);
    writeln!(f, "{layer:<38} {default:<44} {:>9.3}  {chosen:<44} {:>9.3} {gain:>6.2}x", ms(before), ms(now))
}
