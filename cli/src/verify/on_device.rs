//! Runs the network on the device to verify.

use super::Subject;
use crate::Failure;
use crate::args::VerifyArgs;
use crate::device_context::{DeviceContext, UsedTuning};
use crate::passed_over::Skipped;
use rmnet::Error;
use rmnet::plan::Values;
use rmnet::verify::{self, LayerCheck};
use std::collections::HashMap;

/// A device's results, and how far its layers differ.
pub struct OnDevice {
    pub name: String,
    /// By name of the rewritten graph's node.
    pub values: HashMap<String, Vec<f32>>,
    pub logits: Vec<f32>,
    /// With `--bisect`.
    pub layers: Option<Vec<LayerCheck>>,
    pub tuning: Option<UsedTuning>,
    pub passed_over: Vec<Skipped>,
}

/// Runs the normal plan for the logits, and a plan that keeps values: block ends, or every layer.
pub fn run(args: &VerifyArgs, subject: &Subject) -> Result<OnDevice, Failure> {
    let Subject { model, rewritten, input, batch } = subject;
    let batch = *batch;
    let device_context = DeviceContext::open(&args.device)?;
    let options = device_context.options().batch(batch);
    let precision = options.precision;
    let session = device_context.session(model, &options)?;
    let logits = values(session.run_keeping(input))?.output;
    let graph = &rewritten.graph;
    let keep: Vec<String> = match args.bisect {
        true => graph.nodes()[1..].iter().map(|n| n.name.clone()).collect(),
        false => rewritten.blocks.iter().map(|b| b.output.clone()).collect(),
    };
    let keeping = device_context.session(model, &options.keep(keep))?;
    device_context.keep_shaders();
    let Values { output, kept, .. } = values(keeping.run_keeping(input))?;
    let mut values: HashMap<String, Vec<f32>> = kept.into_iter().collect();
    if args.bisect {
        // A kept value that is read through a view is a copy in the plan's precision; the output itself is f32.
        values.insert(graph.node(graph.output()).name.clone(), output);
    }
    let rounding = |name: &str| keeping.rounding(name);
    let layers = args.bisect.then(|| verify::check_layers(graph, input, batch, &values, precision, rounding));
    Ok(OnDevice {
        name: session.device_name(),
        values,
        logits,
        layers,
        tuning: device_context.tuning(&session),
        passed_over: device_context.passed_over(),
    })
}

/// The values of a run, finite or not, so that the check can find what is wrong.
fn values(run: Result<Values, Error>) -> Result<Values, Error> {
    match run {
        Err(Error::NotFinite { values, .. }) => Ok(values),
        result => result,
    }
}
