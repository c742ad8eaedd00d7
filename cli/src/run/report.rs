//! The report of `run`: a head, one entry per input, and both together.

use crate::assumed::Assumed;
use crate::device_context::UsedTuning;
use crate::merge::Merge;
use crate::passed_over::Skipped;
use crate::report::as_text;
use crate::{precision_note, terminal};
use rmnet::models::Scores;
use rmnet::{OutputChoice, Precision};
use serde::Serialize;
use std::fmt;

/// The part of the report that is known before the first input has run.
#[derive(Serialize)]
pub struct RunHead<'a> {
    pub family: &'a str,
    pub device: String,
    #[serde(serialize_with = "as_text")]
    pub precision: Precision,
    pub batch: usize,
    /// `None` if the output is not logits.
    pub classes: Option<usize>,
    #[serde(serialize_with = "as_text")]
    pub output_value: &'a OutputChoice,
    /// `[channels, height, width]`
    pub output_shape: [usize; 3],
    pub merge: &'a Merge,
    pub tuning: Option<UsedTuning>,
    pub passed_over: Vec<Skipped>,
    /// Kernel families that are not used because the driver computes them wrong.
    pub quarantined: Vec<String>,
    #[serde(flatten)]
    pub assumed: Assumed<'a>,
}

impl fmt::Display for RunHead<'_> {
    /// Lines, each with its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} on {}{}", self.family, self.device, precision_note(self.precision))?;
        if let Some(tuning) = &self.tuning {
            writeln!(f, "{tuning}")?;
        }
        if let Some(note) = self.merge.note() {
            writeln!(f, "{note}")?;
        }
        self.assumed.fmt(f)
    }
}

/// The whole report in one object, for `--json`. The text is printed input by input.
#[derive(Serialize)]
pub struct RunReport<'a> {
    #[serde(flatten)]
    pub head: RunHead<'a>,
    pub images: Vec<InputReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The report of a shard without inputs.
#[derive(Serialize)]
pub struct NoInputs {
    pub images: [InputReport; 0],
}

impl fmt::Display for NoInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no inputs in this shard")
    }
}

/// The report on one input.
#[derive(Serialize)]
#[serde(untagged)]
pub enum InputReport {
    /// The error is printed on standard error, not in the text.
    Unreadable {
        input: String,
        error: String,
    },
    Classified {
        input: String,
        scores: Scores,
        /// The most probable class first.
        top: Vec<TopClass>,
    },
    Embedding {
        input: String,
        norm: f64,
        /// Cosine similarity with the first image's embedding.
        cosine_with_first: f64,
        /// Number of values.
        #[serde(skip)]
        length: usize,
    },
    Features {
        input: String,
        shape: Vec<usize>,
        norm: f64,
    },
}

/// One of the most probable classes of an image.
#[derive(Serialize)]
pub struct TopClass {
    pub class: usize,
    pub label: String,
    /// `None` if scores are raw.
    pub probability: Option<f64>,
    pub logit: f32,
}

impl fmt::Display for InputReport {
    /// Lines, each with its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputReport::Unreadable { .. } => Ok(()),
            InputReport::Classified { input, top, .. } => {
                writeln!(f, "{}", terminal::line(input))?;
                top.iter().try_for_each(|TopClass { label, probability, logit, .. }| {
                    let label = terminal::line(label);
                    match probability {
                        Some(p) => writeln!(f, "  {:>6.2} %  {label}", p * 100.0),
                        None => writeln!(f, "  {logit:>8.4}  {label}"),
                    }
                })
            }
            InputReport::Embedding { input, norm, cosine_with_first, length } => writeln!(
                f,
                "{}\n  {length} values of norm {norm:.4}, cosine with the first image {cosine_with_first:.4} (--logits writes the values)",
                terminal::line(input)
            ),
            InputReport::Features { input, shape, norm } => writeln!(
                f,
                "{}\n  {shape:?}, norm {norm:.4} (--logits writes the values)",
                terminal::line(input)
            ),
        }
    }
}

/// The length of an image's embedding, and its cosine similarity with the first image's.
pub fn embedding(name: &str, values: &[f32], first: &[f32]) -> InputReport {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norm = dot(values, values).sqrt();
    let cosine_with_first = dot(values, first) / (norm * dot(first, first).sqrt());
    InputReport::Embedding { input: name.into(), norm, cosine_with_first, length: values.len() }
}

/// An image's features: their shape and length.
pub fn features(name: &str, values: &[f32], shape: [usize; 3]) -> InputReport {
    let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let shape = if shape[1..] == [1, 1] { &shape[..1] } else { &shape[..] };
    InputReport::Features { input: name.into(), shape: shape.to_vec(), norm }
}
