//! `inspect`: what the checkpoint is, what becomes of each block, the graph before and after.

use super::args::{InspectArgs, PassArg};
use super::{Failure, Report, assumed, draw, load_at};
use rmnet::rewrite::{self, BlockReport, Mode, Outcome, Rewritten, Shortcut};
use serde_json::json;
use std::fmt::Write;

pub fn inspect(args: &InspectArgs) -> Result<Report, Failure> {
    let model = load_at(&args.model, args.model.size)?;
    let folded = rewrite::for_mode(&model.graph, Mode::Residual).map_err(Failure::input)?.graph;
    let removed = rewrite::for_mode(&model.graph, Mode::Structured).map_err(Failure::input)?;
    let mut text = String::new();
    let shape = model.graph.input_shape();
    let parameters = model.graph.parameters();
    let macs = (model.graph.macs(), removed.graph.macs());
    let drawing = args.dot || args.svg;
    if args.pass.is_none() && !drawing {
        let _ = writeln!(text, "family      {}", model.family);
        let _ = writeln!(text, "input       {shape}");
        let _ = writeln!(text, "parameters  {:.3} M", parameters as f64 / 1e6);
        let _ = writeln!(text, "MACs        {:.3} G, {:.3} G after removal", giga(macs.0), giga(macs.1));
        text += &assumed::rows(&model);
        if !removed.recognised.is_empty() {
            let layers = removed.recognised.len();
            let _ = writeln!(
                text,
                "chain       carried channels found again in {layers} layers of plain weights"
            );
        }
        if removed.deviation > 0.0 {
            let _ = writeln!(text, "            {}", near_dirac(&removed));
        }
        let _ = writeln!(text, "\nblocks");
        for block in &removed.blocks {
            let _ = writeln!(text, "  {:<36} {}", block.block, outcome(block));
        }
    }
    let stages: &[PassArg] = match args.pass {
        Some(ref pass) => std::slice::from_ref(pass),
        None if drawing => &[PassArg::Remove],
        None => &[PassArg::Original, PassArg::Remove],
    };
    let mut graphs = serde_json::Map::new();
    for stage in stages {
        let (title, graph) = match stage {
            PassArg::Original => ("original", model.graph.clone()),
            PassArg::Fold => ("fold", folded.clone()),
            PassArg::Remove => ("remove", removed.graph.clone()),
            PassArg::Literal => ("literal", rewrite::literal(&removed.graph).map_err(Failure::input)?),
        };
        let drawn = match (args.dot, args.svg) {
            (true, _) => draw::dot(&graph),
            (_, true) => draw::svg(&graph),
            _ => graph.to_string(),
        };
        if stages.len() > 1 {
            let _ = writeln!(text, "\n{title}");
        }
        text += &drawn;
        graphs.insert(title.into(), drawn.into());
    }
    let blocks: Vec<_> = removed
        .blocks
        .iter()
        .map(|b| match &b.outcome {
            Outcome::Removed { reserved, convs, shortcut } => json!({
                "block": b.block, "outcome": "removed", "reserved_channels": reserved, "convolutions": convs,
                "shortcut": match shortcut {
                    Shortcut::Identity => "identity",
                    Shortcut::Projection { .. } => "projection",
                    Shortcut::PooledProjection => "pooled projection",
                },
            }),
            Outcome::Summed { branches } => {
                json!({ "block": b.block, "outcome": "summed", "branches": branches })
            }
            Outcome::Kept { reason } => json!({ "block": b.block, "outcome": "kept", "reason": reason }),
        })
        .collect();
    let json = json!({
        "family": model.family, "input": [shape.channels, shape.height, shape.width], "parameters": parameters,
        "statistics": model.graph.statistics(),
        "macs": macs.0, "macs_after_removal": macs.1, "blocks": blocks,
        "assumed": assumed::json(&model), "ignored": model.ignored, "scores": model.scores, "output": model.output,
        "recognised": removed.recognised, "deviation": removed.deviation, "graphs": graphs,
    });
    Ok(Report { text: text.trim_end().into(), json })
}

/// What is said of a chain that is taken for one with exact Diracs.
pub fn near_dirac(rewritten: &Rewritten) -> String {
    format!(
        "the file's carried channels are off 1 (and their biases off 0) by up to {:.1e}, the rounding of whoever wrote it; they \
         run as exact copies, so the result is the file's to f32 rounding, not bit for bit",
        rewritten.deviation
    )
}

fn giga(macs: usize) -> f64 {
    macs as f64 / 1e9
}

/// One line on what became of a block.
pub fn outcome(block: &BlockReport) -> String {
    match &block.outcome {
        Outcome::Removed { shortcut, reserved, convs } => {
            let kind = match shortcut {
                Shortcut::Identity => "identity".into(),
                Shortcut::Projection { stride } => format!("projection /{}", stride[0]),
                Shortcut::PooledProjection => "pooled projection /2".into(),
            };
            format!("removed: {kind} shortcut, {reserved} channels carried through {convs} convolutions")
        }
        Outcome::Summed { branches } => format!("summed: {branches} parallel branches in one convolution"),
        Outcome::Kept { reason } => format!("kept: {reason}"),
    }
}
