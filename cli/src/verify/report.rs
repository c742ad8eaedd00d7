//! The report of `verify`: a certificate, or why there is none.

use crate::assumed::Assumed;
use crate::device_context::UsedTuning;
use crate::passed_over::Skipped;
use crate::report::as_text;
use crate::{inspect, precision_note};
use rmnet::Precision;
use rmnet::verify::{BlockCheck, BlockOutcome, Difference, LayerCheck, LayerRange, LogitsBound};
use serde::Serialize;
use std::fmt;

#[derive(Serialize)]
pub struct Certificate<'a> {
    pub family: &'a str,
    #[serde(flatten)]
    pub assumed: Assumed<'a>,
    pub verified: bool,
    pub failures: Vec<String>,
    pub seed: u64,
    /// Bound on blocks and logits in f64.
    pub f64_bound: f64,
    pub deviation: f64,
    pub f32_logits_bound: f64,
    pub batch: usize,
    #[serde(serialize_with = "as_text")]
    pub precision: Precision,
    /// Bound on the device's logits.
    pub logits_bound: f64,
    /// Present if the precision has its own bound and every layer fits.
    pub logits_bound_parts: Option<LogitsBound>,
    /// One entry per layer, if the precision may be too narrow.
    pub ranges: Vec<LayerRange>,
    /// `None` if nothing ran on a device.
    pub device: Option<String>,
    pub blocks: Vec<BlockCheck>,
    pub logits_f64: Difference,
    pub logits_device: Option<Difference>,
    /// With `--bisect`.
    pub layers: Option<Vec<LayerCheck>>,
    pub tuning: Option<UsedTuning>,
    pub passed_over: Option<Vec<Skipped>>,
    /// `[channels, height, width]`
    #[serde(skip)]
    pub input: [usize; 3],
    /// Whether the input was generated from `seed`.
    #[serde(skip)]
    pub is_noise: bool,
}

/// Layers whose values the precision cannot hold.
pub fn overflowing(ranges: &[LayerRange], precision: Precision) -> impl Iterator<Item = &LayerRange> {
    ranges.iter().filter(move |r| !r.fits(precision))
}

fn over(d: Difference, bound: f64) -> bool {
    d.relative.is_nan() || d.relative > bound
}

/// A table cell for a difference: a dash if nothing was compared.
fn cell(difference: Option<Difference>) -> String {
    difference.map_or_else(|| "-".into(), |d| format!("{:.1e}", d.relative))
}

impl Certificate<'_> {
    /// The certificate with its verdict and failures.
    pub fn judged(mut self) -> Self {
        let mut failures = self.over_bounds();
        failures.extend(self.overflows());
        failures.extend(self.layers.iter().flatten().find(|l| !l.passed()).map(|first| {
            format!("first layer over its bound: {} ({:.1} times)", first.layer, first.of_bound)
        }));
        self.failures = failures;
        self.verified = self.failures.is_empty();
        self
    }

    /// Blocks and logits that differ by more than their bounds.
    fn over_bounds(&self) -> Vec<String> {
        let of_blocks = self.blocks.iter().map(|b| (b.block.as_str(), b.f64));
        let mut failures: Vec<String> = of_blocks
            .chain([("logits", self.logits_f64)])
            .filter(|(_, d)| over(*d, self.f64_bound))
            .map(|(what, d)| format!("{what}: f64 difference {:.1e}", d.relative))
            .collect();
        let bound = self.logits_bound;
        failures.extend(
            self.logits_device
                .filter(|d| over(*d, bound))
                .map(|d| format!("logits on the device: difference {:.1e}, bound {bound:.1e}", d.relative)),
        );
        failures
    }

    /// Overflows of the precision: on the device, and by the ranges in f64.
    fn overflows(&self) -> impl Iterator<Item = String> {
        let precision = self.precision;
        let not_finite = |b: &&BlockCheck| b.executor.is_some_and(|d| !d.max_abs.is_finite());
        let on_device = self.blocks.iter().find(not_finite).map(|first| {
            format!(
                "{}: the first block that is not finite on the device, {precision} overflows in it",
                first.block
            )
        });
        let mut layers = overflowing(&self.ranges, precision);
        let in_f64 = layers.next().map(|first| {
            let more = match layers.count() {
                0 => String::new(),
                more => format!(", and {more} more layers (marked above)"),
            };
            format!(
                "{}: values up to {:.4e} on this input, {precision} ends at 65504{more}",
                first.layer, first.largest
            )
        });
        on_device.into_iter().chain(in_f64)
    }
}

impl fmt::Display for Certificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, input {:?}, ", self.family, self.input)?;
        match self.is_noise {
            true => writeln!(f, "seed {}", self.seed)?,
            false => writeln!(f, "batch {}", self.batch)?,
        }
        self.assumed.fmt(f)?;
        if let Some(device) = &self.device {
            writeln!(f, "device: {device}{}", precision_note(self.precision))?;
        }
        if let Some(tuning) = &self.tuning {
            writeln!(f, "{tuning}")?;
        }
        self.block_table(f)?;
        self.range_table(f)?;
        self.layer_table(f)?;
        if self.deviation > 0.0 {
            writeln!(f, "\n{}", inspect::near_dirac(self.deviation))?;
        }
        let verdict = if self.verified { "verified" } else { "FAILED" };
        write!(f, "\n{verdict}: f64 bound {:e} per block", self.f64_bound)?;
        if self.logits_device.is_some() {
            write!(f, ", {} logits bound {:.2e}", self.precision, self.logits_bound)?;
        }
        if self.assumed.by_convention() {
            f.write_str("; of the network with what is assumed above, which no tensor can prove")?;
        }
        Ok(())
    }
}

impl Certificate<'_> {
    /// Every block, and the logits.
    fn block_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<36} {:<8} {:>10} {:>10}  {:>10}",
            "block", "residual", "f64 abs", "f64 rel", "device rel"
        )?;
        let mut row = |what: &str, outcome: &str, f64: Difference, device: Option<Difference>| {
            let device = cell(device);
            writeln!(
                f,
                "{what:<36} {outcome:<8} {:>10.1e} {:>10.1e}  {device:>10}",
                f64.max_abs, f64.relative
            )
        };
        for b in &self.blocks {
            let outcome = match &b.outcome {
                BlockOutcome::Removed => "removed",
                BlockOutcome::Summed => "summed",
                BlockOutcome::Kept { .. } => "kept",
            };
            row(&b.block, outcome, b.f64, b.executor)?;
        }
        row("logits", "", self.logits_f64, self.logits_device)
    }

    /// The largest value of every layer, and what a precision does to the logits.
    fn range_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranges.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:<36} {:>12}", "layer", "largest")?;
        for r in &self.ranges {
            let over = if r.fits(self.precision) { "" } else { "  overflows" };
            writeln!(f, "{:<36} {:>12.4e}{over}", r.layer, r.largest)?;
        }
        match &self.logits_bound_parts {
            Some(l) => writeln!(
                f,
                "\nlogits in {}: rounded weights move them by {:.1e}, rounded values by a standard deviation of {:.1e}",
                self.precision, l.weights, l.deviation
            ),
            None => f.write_str("\nnot run on a device: its logits would be no numbers\n"),
        }
    }

    fn layer_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(layers) = &self.layers else { return Ok(()) };
        writeln!(f, "\n{:<36} {:>10} {:>10}", "layer on the device, on its own input", "abs", "of bound")?;
        layers
            .iter()
            .try_for_each(|l| writeln!(f, "{:<36} {:>10.1e} {:>10.3}", l.layer, l.max_abs, l.of_bound))
    }
}
