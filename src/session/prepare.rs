//! From a loaded model to a checked plan.

use super::{Error, Options};
use crate::graph::Graph;
use crate::models::Model;
use crate::plan::{self, CheckedPlan, Plan, PlanTarget};
use crate::rewrite::{self, BlockReport, Rewritten};
use std::collections::{BTreeMap, BTreeSet};

/// A network rewritten, planned and checked for one device and one set of [`Options`]: everything short of packed weights and compiled
/// shaders. Sessions are opened from it as often as an app likes ([`Session::from_prepared`](super::Session::from_prepared)); weights
/// are not copied.
#[derive(Clone, Debug)]
#[must_use]
pub struct Prepared {
    #[doc(hidden)]
    pub rewritten: Rewritten,
    #[doc(hidden)]
    pub plan: CheckedPlan,
    /// Of every name of [`Options::keep`] the node of the rewritten graph that makes the value.
    #[doc(hidden)]
    pub kept: BTreeMap<String, String>,
    /// The model that ends with the output asked for.
    pub(super) model: Model,
    pub(super) options: Options,
}

impl Prepared {
    /// Rewrites and plans a model for the CPU, and replays the plan.
    ///
    /// # Errors
    /// [`Error::Output`] and [`Error::Keep`] where the model has no such value as [`Options::output`] or [`Options::keep`] names;
    /// [`Error::Plan`] names the layer that cannot be planned, with the figures.
    #[cfg(all(feature = "cpu", not(target_arch = "wasm32")))]
    pub fn for_cpu(model: &Model, options: &Options) -> Result<Prepared, Error> {
        prepare(model, options, PlanTarget::CPU)
    }

    /// Rewrites and plans a model within a GPU's limits, and replays the plan.
    ///
    /// # Errors
    /// As [`Prepared::for_cpu`]; a buffer beyond the adapter's limits is [`Error::Plan`] with the figures.
    #[cfg(feature = "gpu")]
    pub fn for_gpu(gpu: &crate::gpu::Gpu, model: &Model, options: &Options) -> Result<Prepared, Error> {
        prepare(model, options, gpu.plan_target())
    }

    /// The plan: dispatches, slots, bytes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The graph that runs.
    pub fn graph(&self) -> &Graph {
        &self.rewritten.graph
    }

    /// What became of every residual block, in order.
    pub fn blocks(&self) -> &[BlockReport] {
        &self.rewritten.blocks
    }
}

/// Rewrites and plans a model for `target`, and replays the plan. Needs no device.
///
/// # Errors
/// As [`Prepared::for_cpu`].
pub fn prepare(model: &Model, options: &Options, target: PlanTarget) -> Result<Prepared, Error> {
    let model = options.output.of(model)?.into_owned();
    let rewritten = rewrite::for_mode(&model.graph, options.form())?;
    let kept = kept(&model, &rewritten, &options.keep)?;
    let nodes: BTreeSet<&String> = kept.values().collect();
    let planned = plan::PlanOptions {
        batch: options.batch,
        keep: nodes.into_iter().cloned().collect(),
        target,
        precision: options.precision,
        ..plan::PlanOptions::default()
    };
    let plan = CheckedPlan::new(plan::compile(&rewritten.graph, &planned)?)?;
    Ok(Prepared { rewritten, plan, kept, model, options: options.clone() })
}

/// The node of each name: of a block, of a module whose output is a block's, or of a layer of the original that a converted file names,
/// the node that gives its value; else the node itself.
fn kept(model: &Model, rewritten: &Rewritten, names: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let (graph, blocks) = (&rewritten.graph, &rewritten.blocks);
    let block = |name: &str| blocks.iter().find(|b| b.block == name).map(|b| &b.output);
    let node = |name: &String| {
        let module = super::output::module_output(model, name);
        let candidates = [block(name), model.layers.get(name), Some(name), module.as_deref().and_then(block)];
        candidates.into_iter().flatten().find(|n| graph.find(n).is_some()).cloned()
    };
    let unknown = |name: &String| {
        let nodes = graph.nodes().iter().map(|n| &n.name);
        let names = blocks.iter().map(|b| &b.block).chain(nodes).cloned().collect();
        Error::Keep { name: name.clone(), names }
    };
    names.iter().map(|name| Ok((name.clone(), node(name).ok_or_else(|| unknown(name))?))).collect()
}
