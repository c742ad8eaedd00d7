//! The report of `demo`.

use crate::mib;
use crate::passed_over::Skipped;
use crate::report::nanoseconds;
use crate::timed::ms;
use rmnet::Mode;
use rmnet::verify;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

#[derive(Serialize)]
pub struct DemoReport<'a> {
    pub family: &'a str,
    /// The device that is shown in detail.
    pub device: String,
    pub blocks: usize,
    pub removed: usize,
    pub images: Vec<Prediction>,
    pub right: usize,
    pub modes: Modes,
    /// The structured form on every device.
    pub devices: Vec<DeviceEntry>,
    pub passed_over: Vec<Skipped>,
    /// Why the CPU was chosen, if nobody asked for it.
    #[serde(skip)]
    pub why_cpu: Option<String>,
}

/// The predicted class of an image.
#[derive(Serialize)]
pub struct Prediction {
    pub image: &'static str,
    pub label: &'static str,
    pub predicted: String,
    pub probability: f64,
}

impl Prediction {
    pub fn is_right(&self) -> bool {
        self.predicted == self.label
    }
}

/// The forms of the network, on the device that is shown in detail.
#[derive(Serialize)]
pub struct Modes {
    pub residual: Figures,
    pub structured: Figures,
}

/// One form on one device.
#[derive(Clone, Copy, Serialize)]
pub struct Figures {
    pub dispatches: usize,
    /// Time of a run of all images.
    #[serde(rename = "time_ns", serialize_with = "nanoseconds")]
    pub time: Duration,
    pub activation_bytes: usize,
    pub weight_bytes: usize,
    /// Largest difference from the logits of the original network in f64.
    pub max_abs_difference: f64,
    /// `max_abs_difference` divided by the largest of these logits.
    pub relative_difference: f64,
}

impl Figures {
    /// Whether the logits match those of the original network.
    fn agrees(&self) -> bool {
        self.relative_difference <= verify::F32_LOGITS_BOUND
    }

    fn off(&self) -> String {
        format!("logits are off by {:.1e} of the largest", self.relative_difference)
    }
}

#[derive(Serialize)]
pub struct DeviceEntry {
    pub device: String,
    /// Value of `--adapter` that selects this device alone.
    pub adapter: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Result of running on a device.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Outcome {
    Ran(Figures),
    Refused { problem: String },
}

impl DemoReport<'_> {
    /// Devices whose logits do not match those of the original network.
    fn wrong_devices(&self) -> impl Iterator<Item = String> {
        self.devices.iter().filter_map(|entry| match &entry.outcome {
            Outcome::Ran(figures) if !figures.agrees() => {
                Some(format!("{}: {}", entry.device, figures.off()))
            }
            _ => None,
        })
    }

    /// All forms and devices whose logits do not match those of the original network.
    pub fn disagree(&self) -> Vec<String> {
        let residual = &self.modes.residual;
        let form = (!residual.agrees()).then(|| format!("residual form: {}", residual.off()));
        self.wrong_devices().chain(form).collect()
    }

    fn form(&self, f: &mut fmt::Formatter<'_>, mode: Mode, figures: &Figures) -> fmt::Result {
        writeln!(
            f,
            "{:<11} {:>2} dispatches, {:>8.2} ms for {} images, {} of activations, {} of weights, off by {:.1e}",
            mode.to_string(),
            figures.dispatches,
            ms(figures.time),
            self.images.len(),
            mib(figures.activation_bytes),
            mib(figures.weight_bytes),
            figures.relative_difference
        )
    }

    fn device_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = "structured form on every device here";
        let names = self.devices.iter().map(|entry| entry.device.chars().count());
        let width = names.chain([title.len()]).max().unwrap_or(0);
        writeln!(f, "\n{title:<width$} {:>9} {:>12} {:>10} {:>8}", "ms", "activations", "weights", "off by")?;
        self.devices.iter().try_for_each(|entry| {
            write!(f, "{:<width$} ", entry.device)?;
            match &entry.outcome {
                Outcome::Refused { problem } => writeln!(f, "  cannot be used: {problem}"),
                Outcome::Ran(figures) => writeln!(
                    f,
                    "{:>9.2} {:>12} {:>10} {:>8.1e}{}",
                    ms(figures.time),
                    mib(figures.activation_bytes),
                    mib(figures.weight_bytes),
                    figures.relative_difference,
                    if figures.agrees() { "" } else { "  WRONG" }
                ),
            }
        })
    }
}

impl fmt::Display for DemoReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DemoReport { family, device, blocks, removed, images, right, modes, .. } = self;
        writeln!(f, "{family} (bundled handwritten digits)")?;
        writeln!(f, "removed {removed} of {blocks} residual connections\ndevice: {device}")?;
        if let Some(why) = &self.why_cpu {
            writeln!(f, "{why}")?;
        }
        writeln!(f, "\n{:<14} {:>5} {:>9}", "image", "label", "predicted")?;
        images.iter().try_for_each(|image| writeln!(f, "{image}"))?;
        writeln!(f, "{right} of {} as they should be\n", images.len())?;
        self.form(f, Mode::Residual, &modes.residual)?;
        self.form(f, Mode::Structured, &modes.structured)?;
        self.device_table(f)?;
        let bound = verify::F32_LOGITS_BOUND;
        match self.wrong_devices().next() {
            None => write!(
                f,
                "all agree: off by at most {bound:.0e} of the original network's largest logit, which is computed in f64"
            ),
            Some(_) => {
                write!(f, "NOT all agree: the bound is {bound:.0e} of the original network's largest logit")
            }
        }
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prediction { image, label, predicted, probability } = self;
        let mark = if self.is_right() { "" } else { "  wrong" };
        write!(f, "{image:<14} {label:>5} {predicted:>9}  {:>5.1} %{mark}", probability * 100.0)
    }
}
