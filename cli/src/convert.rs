//! `convert`: writes the residual-free model.

use super::args::{ConvertArgs, FormatArg};
use super::assumed::Assumed;
use super::merge::{self, Merge};
use super::report::as_text;
use super::{
    Failure, Report, check_overwrite, check_target, device, inspect, load, mib, output_shape, removed,
};
use rmnet::models::saved;
use rmnet::rewrite::{BlockReport, Form, Mode, Outcome};
use rmnet::{Options, OutputChoice, converted, onnx};
use serde::Serialize;
use std::fmt;

pub fn convert(args: &ConvertArgs) -> Result<Report, Failure> {
    check_target(&args.out, &[&args.model.checkpoint])?;
    let format = format(args)?;
    check_overwrite(&args.out, format)?;
    let model = load(&args.model)?;
    let mode = if args.literal || format == FormatArg::Onnx { Mode::Literal } else { Mode::Structured };
    let options = Options::default().mode(mode).device(device(args.adapter.as_deref())?);
    let decided = merge::decide(args.merge, &model, &options)?;
    let form = Form { mode, merge: decided.merged };
    let (rewritten, about) = converted(&model, form).map_err(Failure::input)?;
    match format {
        FormatArg::Safetensors => {
            saved::save(&args.out, &rewritten.graph, &about).map_err(Failure::input)?;
        }
        FormatArg::Onnx => onnx::write(&args.out, &rewritten.graph, &about).map_err(Failure::input)?,
    }
    let bytes = std::fs::metadata(&args.out).map_err(Failure::input)?.len();
    Report::of(&ConvertReport {
        output: args.out.to_string_lossy().into_owned(),
        format: format.name(),
        form: mode,
        bytes,
        blocks: rewritten.blocks.len(),
        removed: removed(&rewritten.blocks),
        kept: rewritten.blocks.iter().filter_map(Kept::of).collect(),
        assumed: Assumed::of(&model),
        merge: decided,
        output_value: &args.model.output,
        output_shape: output_shape(&rewritten.graph),
        deviation: rewritten.deviation,
    })
}

#[derive(Serialize)]
struct ConvertReport<'a> {
    /// The file written.
    output: String,
    format: &'static str,
    #[serde(serialize_with = "as_text")]
    form: Mode,
    bytes: u64,
    blocks: usize,
    removed: usize,
    kept: Vec<Kept<'a>>,
    #[serde(flatten)]
    assumed: Assumed<'a>,
    merge: Merge,
    #[serde(serialize_with = "as_text")]
    output_value: &'a OutputChoice,
    /// `[channels, height, width]`
    output_shape: [usize; 3],
    deviation: f64,
}

/// A block that keeps its residual connection.
#[derive(Serialize)]
struct Kept<'a> {
    block: &'a str,
    reason: &'a str,
}

impl<'a> Kept<'a> {
    fn of(report: &'a BlockReport) -> Option<Kept<'a>> {
        match &report.outcome {
            Outcome::Kept { reason } => Some(Kept { block: &report.block, reason }),
            _ => None,
        }
    }
}

impl fmt::Display for ConvertReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConvertReport { output, format, form, bytes, blocks, removed, deviation, .. } = self;
        let size = mib(*bytes as usize);
        write!(
            f,
            "{output}: {removed} of {blocks} residual connections removed, {form} form, {format}, {size}"
        )?;
        if let Some(note) = self.merge.note() {
            write!(f, "\n{note}")?;
        }
        if *deviation > 0.0 {
            write!(f, "\n{}", inspect::near_dirac(*deviation))?;
        }
        self.kept.iter().try_for_each(|Kept { block, reason }| write!(f, "\n  kept {block}: {reason}"))
    }
}

/// The requested format, or the one that the file's extension stands for; an error if the two differ.
fn format(args: &ConvertArgs) -> Result<FormatArg, Failure> {
    match (args.format, FormatArg::of(&args.out)) {
        (Some(asked), Some(named)) if asked != named => Err(Failure::usage(format!(
            "-o {}: the name says {}, --format {}",
            args.out.display(),
            named.name(),
            asked.name()
        ))),
        (asked, named) => Ok(asked.or(named).unwrap_or(FormatArg::Safetensors)),
    }
}
