//! `convert`: writes the residual-free model.

use super::args::{ConvertArgs, FormatArg};
use super::{Failure, Report, check_target, device, inspect, load, merge, mib};
use rmnet::models::saved::{self, About};
use rmnet::rewrite::{self, Form, Mode, Outcome};
use rmnet::{Options, onnx};
use serde_json::json;

pub fn convert(args: &ConvertArgs) -> Result<Report, Failure> {
    check_target(&args.output, &[&args.model.checkpoint])?;
    let model = load(&args.model)?;
    let mode = if args.literal || args.format == FormatArg::Onnx { Mode::Literal } else { Mode::Structured };
    let timed = Options { mode, device: device(args.adapter.as_deref()), ..Options::default() };
    let decided = merge::decide(args.merge, &model, &timed)?;
    let form = Form { mode, merge: decided.merge };
    let rewritten = rewrite::for_mode(&model.graph, form).map_err(Failure::input)?;
    let about = About {
        family: model.family.clone(),
        preprocess: model.preprocess.clone(),
        labels: model.labels.clone(),
        output: model.output,
    };
    let format = match args.format {
        FormatArg::Safetensors => {
            saved::save(&args.output, &rewritten.graph, &about).map_err(Failure::input)?;
            "safetensors"
        }
        FormatArg::Onnx => {
            onnx::write(&args.output, &rewritten.graph, &about).map_err(Failure::input)?;
            "onnx"
        }
    };
    let bytes = std::fs::metadata(&args.output).map_err(Failure::input)?.len();
    let removed = rewritten.blocks.iter().filter(|b| !matches!(b.outcome, Outcome::Kept { .. })).count();
    let kept: Vec<_> = rewritten
        .blocks
        .iter()
        .filter_map(|b| match &b.outcome {
            Outcome::Kept { reason } => Some((b.block.clone(), reason.clone())),
            Outcome::Removed { .. } | Outcome::Summed { .. } => None,
        })
        .collect();
    let mut text = format!(
        "{}: {removed} of {} residual connections removed, {mode} form, {format}, {}",
        args.output.display(),
        rewritten.blocks.len(),
        mib(bytes as usize)
    );
    if let Some(note) = &decided.note {
        text += &format!("\n{note}");
    }
    if rewritten.deviation > 0.0 {
        text += &format!("\n{}", inspect::near_dirac(&rewritten));
    }
    for (block, reason) in &kept {
        text += &format!("\n  kept {block}: {reason}");
    }
    let kept: Vec<_> =
        kept.into_iter().map(|(block, reason)| json!({ "block": block, "reason": reason })).collect();
    let json = json!({
        "output": args.output, "format": format, "form": mode.to_string(), "bytes": bytes, "blocks": rewritten.blocks.len(),
        "removed": removed, "kept": kept, "merge": decided.json,
        "deviation": rewritten.deviation,
    });
    Ok(Report { text, json })
}
