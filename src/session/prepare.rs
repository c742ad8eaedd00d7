//! From a loaded model to a checked plan.

use super::{Error, Options};
use crate::graph::Graph;
use crate::models::Model;
use crate::plan::{self, CheckedPlan, Plan, PlanTarget};
use crate::rewrite::{self, BlockReport, Rewritten};
use std::collections::BTreeMap;

/// A network rewritten, planned and checked for one device and one set of [`Options`]: everything except packed weights and compiled
/// shaders. Any number of sessions can be opened from it ([`Session::from_prepared`](super::Session::from_prepared)). It does not copy
/// weights.
#[derive(Clone, Debug)]
#[must_use]
pub struct Prepared {
    #[doc(hidden)]
    pub rewritten: Rewritten,
    #[doc(hidden)]
    pub plan: CheckedPlan,
    /// Maps each name of [`Options::keep`] to the node of the rewritten graph that computes the value.
    #[doc(hidden)]
    pub kept: BTreeMap<String, String>,
    /// The model, cut off after the requested output.
    pub(super) model: Model,
    pub(super) options: Options,
}

impl Prepared {
    /// Rewrites and plans a model for the CPU, and checks the plan.
    ///
    /// # Errors
    /// [`Error::Output`] and [`Error::Keep`] if the model has no value named by [`Options::output`] or [`Options::keep`]; [`Error::Plan`]
    /// names the layer that cannot be planned, with figures.
    #[cfg(feature = "cpu")]
    pub fn for_cpu(model: &Model, options: &Options) -> Result<Prepared, Error> {
        prepare(model, options, PlanTarget::CPU)
    }

    /// Rewrites and plans a model within a GPU's limits, and checks the plan.
    ///
    /// # Errors
    /// As [`Prepared::for_cpu`]; a buffer that exceeds the adapter's limits is [`Error::Plan`] with figures.
    #[cfg(feature = "gpu")]
    pub fn for_gpu(gpu: &crate::gpu::Gpu, model: &Model, options: &Options) -> Result<Prepared, Error> {
        prepare(model, options, gpu.plan_target())
    }

    /// The plan: dispatches, slots, bytes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The rewritten graph.
    pub fn graph(&self) -> &Graph {
        &self.rewritten.graph
    }

    /// How every residual block was rewritten, in order.
    pub fn blocks(&self) -> &[BlockReport] {
        &self.rewritten.blocks
    }
}

/// Rewrites and plans a model for `target`, and checks the plan. Needs no device.
///
/// # Errors
/// As [`Prepared::for_cpu`].
pub fn prepare(model: &Model, options: &Options, target: PlanTarget) -> Result<Prepared, Error> {
    let model = options.output.of(model)?.into_owned();
    let rewritten = rewrite::for_mode(&model.graph, options.form())?;
    let kept = kept(&model, &rewritten, &options.keep)?;
    let mut nodes: Vec<String> = kept.values().cloned().collect();
    nodes.sort_unstable();
    nodes.dedup();
    let planned = plan::PlanOptions {
        batch: options.batch,
        keep: nodes,
        target,
        precision: options.precision,
        ..plan::PlanOptions::default()
    };
    let plan = CheckedPlan::new(plan::compile(&rewritten.graph, &planned)?)?;
    Ok(Prepared { rewritten, plan, kept, model, options: options.clone() })
}

/// Maps each name to the node that computes its value. A name is looked up as a block, as a layer of the original stored in a converted
/// file, as a node, and as a module whose output is a block's, in this order.
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
    let mut kept = BTreeMap::new();
    for name in names {
        kept.insert(name.clone(), node(name).ok_or_else(|| unknown(name))?);
    }
    Ok(kept)
}
