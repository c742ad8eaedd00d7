//! `inspect`: the checkpoint's family, the outcome of each block, and the graph before and after.

use super::args::{InspectArgs, PassArg};
use super::assumed::Assumed;
use super::report::as_object;
use super::{Failure, Report, dimensions, draw, giga, load_at};
use rmnet::graph::Graph;
use rmnet::models::{Model, OutputKind, Scores};
use rmnet::rewrite::{self, BlockReport, Mode, Outcome, Rewritten};
use serde::Serialize;
use std::fmt;

pub fn inspect(args: &InspectArgs) -> Result<Report, Failure> {
    let model = load_at(&args.model, args.model.size)?;
    let removed = rewrite::for_mode(&model.graph, Mode::Structured).map_err(Failure::input)?;
    Report::of(&InspectReport {
        family: &model.family,
        input: dimensions(model.graph.input_shape()),
        parameters: model.graph.parameters(),
        statistics: model.graph.statistics(),
        macs: model.graph.macs(),
        macs_after_removal: removed.graph.macs(),
        blocks: removed.blocks.iter().map(Block::of).collect(),
        assumed: Assumed::of(&model),
        scores: model.scores,
        output: model.output,
        recognised: &removed.recognised,
        deviation: removed.deviation,
        graphs: graphs(args, &model, &removed)?,
        graphs_alone: args.pass.is_some() || args.dot || args.svg,
    })
}

/// The requested graphs, as text or as pictures, each with its title.
fn graphs(
    args: &InspectArgs,
    model: &Model,
    removed: &Rewritten,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let drawn = |graph: &Graph| match (args.dot, args.svg) {
        (true, _) => draw::dot(graph),
        (_, true) => draw::svg(graph),
        _ => graph.to_string(),
    };
    let stages: &[PassArg] = match args.pass {
        Some(ref pass) => std::slice::from_ref(pass),
        None if args.dot || args.svg => &[PassArg::Remove],
        None => &[PassArg::Original, PassArg::Remove],
    };
    let graph = |stage: &PassArg| {
        Ok(match stage {
            PassArg::Original => ("original", drawn(&model.graph)),
            PassArg::Fold => ("fold", drawn(&rewrite::for_mode(&model.graph, Mode::Residual)?.graph)),
            PassArg::Remove => ("remove", drawn(&removed.graph)),
            PassArg::Literal => ("literal", drawn(&rewrite::literal(&removed.graph)?)),
        })
    };
    stages.iter().map(graph).collect::<Result<_, rmnet::graph::GraphError>>().map_err(Failure::input)
}

#[derive(Serialize)]
struct InspectReport<'a> {
    family: &'a str,
    /// `[channels, height, width]`
    input: [usize; 3],
    parameters: usize,
    /// Running means and variances, which are not counted as parameters.
    statistics: usize,
    macs: usize,
    macs_after_removal: usize,
    blocks: Vec<Block<'a>>,
    #[serde(flatten)]
    assumed: Assumed<'a>,
    scores: Scores,
    output: OutputKind,
    /// Layers of a plain chain whose carried channels were recovered.
    recognised: &'a [String],
    deviation: f64,
    #[serde(serialize_with = "as_object")]
    graphs: Vec<(&'static str, String)>,
    /// Whether the text shows only graphs.
    #[serde(skip)]
    graphs_alone: bool,
}

/// The outcome of a block.
#[derive(Serialize)]
struct Block<'a> {
    block: &'a str,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

impl<'a> Block<'a> {
    fn of(report: &'a BlockReport) -> Block<'a> {
        Block { block: &report.block, outcome: &report.outcome }
    }
}

impl fmt::Display for InspectReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.graphs_alone {
            self.summary(f)?;
        }
        for (title, graph) in &self.graphs {
            if self.graphs.len() > 1 {
                writeln!(f, "\n{title}")?;
            }
            f.write_str(graph)?;
        }
        Ok(())
    }
}

impl InspectReport<'_> {
    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "family      {}", self.family)?;
        writeln!(f, "input       {:?}", self.input)?;
        writeln!(f, "parameters  {:.3} M", self.parameters as f64 / 1e6)?;
        let macs = (giga(self.macs), giga(self.macs_after_removal));
        writeln!(f, "MACs        {:.3} G, {:.3} G after removal", macs.0, macs.1)?;
        f.write_str(&self.assumed.rows())?;
        if !self.recognised.is_empty() {
            let layers = self.recognised.len();
            writeln!(f, "chain       carried channels found again in {layers} layers of plain weights")?;
        }
        if self.deviation > 0.0 {
            writeln!(f, "            {}", near_dirac(self.deviation))?;
        }
        writeln!(f, "\nblocks")?;
        self.blocks.iter().try_for_each(|b| writeln!(f, "  {:<36} {}", b.block, b.outcome))
    }
}

/// The note on a chain whose weights are replaced by exact Diracs.
pub fn near_dirac(deviation: f64) -> String {
    format!(
        "the file's carried channels are off 1 (and their biases off 0) by up to {deviation:.1e}, the rounding of whoever wrote it; they \
         run as exact copies, so the result is the file's to f32 rounding, not bit for bit"
    )
}
