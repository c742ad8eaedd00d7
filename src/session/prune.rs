//! Prunes a loaded model: rewrites it, ranks channels, removes some, and plans the result.

use super::Error;
use crate::graph::{Graph, Op};
use crate::memory;
use crate::models::{Model, Naming};
use crate::plan::{self, Plan};
use crate::reference;
use crate::rewrite::prune::{ChannelMeans, Criterion, PruneOptions, Pruned, batch_norm_scales, prune};
use crate::rewrite::{self, Mode};
use std::collections::BTreeMap;

/// How channels are ranked; see [`Criterion`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judge<'a> {
    /// Batch-norm scales of the checkpoint.
    BatchNorm,
    /// L1 norms of the kernels.
    L1,
    /// Mean activations on these images, planar `[images, channels, height, width]`.
    Mean(&'a [f32]),
}

/// A pruned model, and its plan before and after.
#[derive(Clone, Debug)]
pub struct PrunedModel {
    /// The pruned chain, with the names, labels and preprocessing of the original. It runs like any other model.
    pub model: Model,
    /// Report of the removed channels.
    pub pruned: Pruned,
    /// Plans of the structured form for one image, before and after pruning.
    pub plans: [Plan; 2],
    /// Number of learned values ([`Graph::parameters`]), before and after pruning.
    pub parameters: [usize; 2],
}

/// Removes residual connections, then prunes channels. Needs no device.
///
/// # Errors
/// [`Error::Prune`] names the option, layer or criterion; [`Error::Calibration`] if the data is not a whole number of images;
/// [`Error::OutOfMemory`] if there is too little memory to run one image in f64.
pub fn prune_model(model: &Model, judge: Judge<'_>, options: &PruneOptions) -> Result<PrunedModel, Error> {
    let rewritten = rewrite::for_mode(&model.graph, Mode::Structured)?;
    let chain = &rewritten.graph;
    let criterion = match judge {
        Judge::BatchNorm => Criterion::BatchNorm(batch_norm_scales(&model.graph, &rewritten)),
        Judge::L1 => Criterion::L1,
        Judge::Mean(images) => Criterion::Mean(channel_means(chain, images)?),
    };
    let pruned = prune(chain, &criterion, options)?;
    let planned = |graph: &Graph| -> Result<Plan, Error> {
        let plan = plan::compile(graph, &plan::PlanOptions::default())?;
        plan::check(&plan)?;
        Ok(plan)
    };
    let plans = [planned(chain)?, planned(&pruned.graph)?];
    let parameters = [chain.parameters(), pruned.graph.parameters()];
    let model = Model {
        graph: pruned.graph.clone(),
        family: format!("{}, pruned", model.family),
        naming: Naming::Saved,
        blocks: vec![],
        layers: BTreeMap::new(),
        ..model.clone()
    };
    Ok(PrunedModel { model, pruned, plans, parameters })
}

/// Mean of every channel of convolutions, pools and gates over images and pixels, computed in f64 on the CPU.
fn channel_means(graph: &Graph, images: &[f32]) -> Result<ChannelMeans, Error> {
    let image = graph.input_shape().len();
    if images.is_empty() || !images.len().is_multiple_of(image) {
        return Err(Error::Calibration { image, found: images.len() });
    }
    memory::ask("a run in f64", reference::bytes(graph, 1))?;
    let count = images.len() / image;
    let mut means = ChannelMeans::default();
    for image in images.chunks(image) {
        let input: Vec<f64> = image.iter().map(|v| f64::from(*v)).collect();
        reference::visit(graph, &input, 1, |v, value| {
            let node = graph.node(v);
            if matches!(node.op, Op::Input(_)) {
                return;
            }
            let pixels = node.shape.height * node.shape.width;
            let fresh = || vec![0.0; node.shape.channels];
            let mean = means.mean.entry(node.name.clone()).or_insert_with(fresh);
            let magnitude = means.magnitude.entry(node.name.clone()).or_insert_with(fresh);
            for (c, plane) in value.chunks(pixels).enumerate() {
                let share = 1.0 / (count * pixels) as f64;
                mean[c] += share * plane.iter().sum::<f64>();
                magnitude[c] += share * plane.iter().map(|v| v.abs()).sum::<f64>();
            }
        });
    }
    Ok(means)
}
