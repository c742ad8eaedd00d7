//! `convert`: writes the residual-free model.

use super::args::{ConvertArgs, FormatArg};
use super::{
    Failure, Report, assumed, check_overwrite, check_target, device, inspect, load, merge, mib, output_shape,
};
use rmnet::models::saved;
use rmnet::rewrite::{Form, Mode, Outcome};
use rmnet::{Options, converted, onnx};
use serde_json::json;

pub fn convert(args: &ConvertArgs) -> Result<Report, Failure> {
    check_target(&args.out, &[&args.model.checkpoint])?;
    let format = format(args)?;
    check_overwrite(&args.out, format)?;
    let model = load(&args.model)?;
    let mode = if args.literal || format == FormatArg::Onnx { Mode::Literal } else { Mode::Structured };
    let options = Options::default().mode(mode).device(device(args.adapter.as_deref()));
    let decided = merge::decide(args.merge, &model, &options)?;
    let form = Form { mode, merge: decided.merge };
    let (rewritten, about) = converted(&model, form).map_err(Failure::input)?;
    match format {
        FormatArg::Safetensors => {
            saved::save(&args.out, &rewritten.graph, &about).map_err(Failure::input)?;
        }
        FormatArg::Onnx => onnx::write(&args.out, &rewritten.graph, &about).map_err(Failure::input)?,
    }
    let format = format.name();
    let bytes = std::fs::metadata(&args.out).map_err(Failure::input)?.len();
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
        args.out.display(),
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
        "output": args.out.to_string_lossy(), "format": format, "form": mode.to_string(), "bytes": bytes, "blocks": rewritten.blocks.len(),
        "assumed": assumed::json(&model), "ignored": model.ignored, "removed": removed, "kept": kept, "merge": decided.json, "output_value": args.model.output.to_string(),
        "output_shape": output_shape(&rewritten.graph),
        "deviation": rewritten.deviation,
    });
    Ok(Report { text, json })
}

/// The format asked for, or the one that the file's name says; refuses two different ones.
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
