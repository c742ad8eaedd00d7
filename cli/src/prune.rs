//! `prune`: writes the residual-free model with fewer channels.

use super::args::{CriterionArg, FormatArg, PruneArgs};
use super::image_input::Inputs;
use super::{Failure, Report, assumed, check_overwrite, check_target, load_at, mib};
use rmnet::models::saved::{self, About};
use rmnet::rewrite::prune::{AtLeast, PruneOptions, PruneTarget};
use rmnet::{Judge, PrunedModel, prune_model};
use serde_json::json;
use std::fmt::Write;

pub fn prune(args: &PruneArgs) -> Result<Report, Failure> {
    let read = args.calibration.iter().chain([&args.model.checkpoint]);
    check_target(&args.out, &read.map(|p| p.as_path()).collect::<Vec<_>>())?;
    if FormatArg::of(&args.out) == Some(FormatArg::Onnx) {
        let why = "prune writes safetensors; `rmnet convert` makes an ONNX model of that";
        return Err(Failure::usage(format!("-o {}: {why}", args.out.display())));
    }
    check_overwrite(&args.out, FormatArg::Safetensors)?;
    let calibrated = args.criterion == CriterionArg::Mean;
    if calibrated && args.calibration.is_empty() {
        return Err(Failure::usage("--criterion mean needs --calibration images, found none"));
    }
    if !calibrated && !args.calibration.is_empty() {
        return Err(Failure::usage("--calibration is for --criterion mean alone"));
    }
    let target = match (args.target.ratio, args.target.macs) {
        (Some(ratio), _) => PruneTarget::Ratio(ratio),
        (None, Some(macs)) => PruneTarget::Macs(macs),
        (None, None) => return Err(Failure::usage("expected --ratio or --macs, found neither")),
    };
    let options = PruneOptions {
        target,
        keep_at_least: args.keep_at_least.unwrap_or(AtLeast::Channels(1)),
        limits: args.limit.clone(),
        multiple: args.multiple,
        coupled: args.coupled,
        reserved: args.reserved,
    };
    let inputs = Inputs::open(&args.calibration, None)?;
    let size = if calibrated { inputs.size(args.model.size)? } else { args.model.size };
    let model = load_at(&args.model, size)?;
    assumed::note(&model);
    let images = match calibrated {
        true => inputs.batches(model.graph.input_shape(), &model.preprocess, args.exif.into())?.read_all()?.1,
        false => vec![],
    };
    let judge = match args.criterion {
        CriterionArg::Bn => Judge::BatchNorm,
        CriterionArg::L1 => Judge::L1,
        CriterionArg::Mean => Judge::Mean(&images),
    };
    let PrunedModel { model, pruned, plans, parameters } = prune_model(&model, judge, &options)?;
    let about = About::model(&model);
    saved::save(&args.out, &pruned.graph, &about).map_err(Failure::input)?;
    let bytes = std::fs::metadata(&args.out).map_err(Failure::input)?.len();

    let share = |[before, after]: [usize; 2]| 100.0 * after as f64 / before.max(1) as f64;
    let macs = [0, 1].map(|i| pruned.layers.iter().map(|l| l.macs[i]).sum::<usize>());
    let activations = plans.each_ref().map(|p| p.activation_bytes());
    let dispatches = plans.each_ref().map(|p| p.dispatches.len());
    let mut text = format!(
        "{}: {} of {} channels removed ({:.1} %), {}\n",
        args.out.display(),
        pruned.removed,
        pruned.channels,
        100.0 * pruned.removed as f64 / pruned.channels.max(1) as f64,
        mib(bytes as usize)
    );
    let width = pruned.layers.iter().map(|l| l.layer.len()).max().unwrap_or(0).max(8);
    let _ =
        writeln!(text, "{:<width$} {:>13} {:>13} {:>13} {:>7}", "layer", "own", "reserved", "inputs", "MACs");
    for l in &pruned.layers {
        let change = |[before, after]: [usize; 2]| match before == after {
            true => after.to_string(),
            false => format!("{before} -> {after}"),
        };
        let _ = writeln!(
            text,
            "{:<width$} {:>13} {:>13} {:>13} {:>5.1} %",
            l.layer,
            change(l.own),
            change(l.reserved),
            change(l.inputs),
            share(l.macs)
        );
    }
    for left in &pruned.left {
        let _ = writeln!(text, "  left {}: {}", left.layer, left.reason);
    }
    let _ = write!(
        text,
        "MACs {:.3} -> {:.3} G ({:.1} %), parameters {:.3} -> {:.3} M ({:.1} %)\n\
         activations {} -> {} ({:.1} %), dispatches {} -> {}",
        macs[0] as f64 / 1e9,
        macs[1] as f64 / 1e9,
        share(macs),
        parameters[0] as f64 / 1e6,
        parameters[1] as f64 / 1e6,
        share(parameters),
        mib(activations[0]),
        mib(activations[1]),
        share(activations),
        dispatches[0],
        dispatches[1]
    );
    let pair = |[before, after]: [usize; 2]| json!({ "before": before, "after": after });
    let layers: Vec<_> = pruned
        .layers
        .iter()
        .map(|l| {
            json!({
                "layer": l.layer, "own": pair(l.own), "reserved": pair(l.reserved), "inputs": pair(l.inputs),
                "macs": pair(l.macs), "parameters": pair(l.parameters),
            })
        })
        .collect();
    let left: Vec<_> = pruned.left.iter().map(|l| json!({ "layer": l.layer, "reason": l.reason })).collect();
    let json = json!({
        "output": args.out.to_string_lossy(), "bytes": bytes, "channels": pruned.channels, "removed": pruned.removed,
        "layers": layers, "left": left, "macs": pair(macs), "parameters": pair(parameters),
        "planned_macs": pair(plans.each_ref().map(|p| p.macs())),
        "activation_bytes": pair(activations), "dispatches": pair(dispatches),
    });
    Ok(Report { text, json })
}
