//! Removing channels of a network without residual connections.

use crate::errors::{Failure, outside};
use crate::open::{LoadArgs, Source};
use crate::session::values;
use crate::targets::{self, Format};
use numpy::PyReadonlyArrayDyn;
use pyo3::prelude::*;
use rmnet::models::saved::{self, About};
use rmnet::rewrite::prune::{AtLeast, PruneOptions, PruneTarget};
use rmnet::{Judge, PrunedModel, prune_model};
use std::path::{Path, PathBuf};

/// How much is removed, and where, as Python gives it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct PruneArgs {
    ratio: Option<f64>,
    macs: Option<f64>,
    criterion: String,
    keep_channels: Option<usize>,
    keep_share: Option<f64>,
    limits: Vec<(String, f64)>,
    multiple: usize,
    coupled: bool,
    reserved: bool,
}

/// What was written. Pairs are figures before and after.
#[derive(IntoPyObject)]
pub struct Report {
    bytes: u64,
    channels: usize,
    removed: usize,
    macs: (usize, usize),
    parameters: (usize, usize),
    activation_bytes: (usize, usize),
    dispatches: (usize, usize),
    /// Layer, and channels that it computes.
    layers: Vec<(String, (usize, usize))>,
    /// Layer, and why channels of it had to stay.
    left: Vec<(String, String)>,
}

impl PruneArgs {
    fn options(&self) -> Result<PruneOptions, Failure> {
        let target = match (self.ratio, self.macs) {
            (Some(ratio), None) => PruneTarget::Ratio(ratio),
            (None, Some(macs)) => PruneTarget::Macs(macs),
            _ => return Err(Failure::option("expected one of ratio and macs")),
        };
        let least = match (self.keep_channels, self.keep_share) {
            (_, Some(share)) => AtLeast::Share(share),
            (channels, None) => AtLeast::Channels(channels.unwrap_or(1)),
        };
        Ok(PruneOptions {
            target,
            keep_at_least: least,
            limits: self.limits.clone(),
            multiple: self.multiple,
            coupled: self.coupled,
            reserved: self.reserved,
        })
    }

    fn judge<'a>(&self, calibration: Option<&'a [f32]>) -> Result<Judge<'a>, Failure> {
        match (self.criterion.as_str(), calibration) {
            ("bn", None) => Ok(Judge::BatchNorm),
            ("l1", None) => Ok(Judge::L1),
            ("mean", Some(images)) => Ok(Judge::Mean(images)),
            ("mean", None) => Err(Failure::option("criterion \"mean\" needs calibration images")),
            ("bn" | "l1", Some(_)) => {
                Err(Failure::option("calibration images are for criterion \"mean\" alone"))
            }
            (other, _) => Err(Failure::option(format!(
                "criterion: expected \"bn\", \"l1\" or \"mean\", found {other:?}"
            ))),
        }
    }
}

/// Writes the pruned chain. Pruning is below the library's public face.
#[pyfunction]
pub fn prune(
    py: Python<'_>,
    path: PathBuf,
    out: PathBuf,
    load: LoadArgs,
    options: PruneArgs,
    calibration: Option<PyReadonlyArrayDyn<'_, f32>>,
) -> PyResult<Report> {
    let calibration = calibration.as_ref().map(|array| values(py, array)).transpose()?;
    outside(py, || -> Result<Report, Failure> {
        if Format::of(&out)? == Format::Onnx {
            let why = "prune writes safetensors; `rmnet.convert` makes an ONNX model of that";
            return Err(Failure::option(format!("{}: {why}", out.display())));
        }
        targets::check(&out, &path, Format::Safetensors)?;
        let (judge, options) = (options.judge(calibration)?, options.options()?);
        let model = Source::Path(path).load(&load.options()?)?.model;
        let found = prune_model(&model, judge, &options)?;
        saved::save(&out, &found.pruned.graph, &About::model(&found.model))?;
        report(&out, &found)
    })
}

fn report(out: &Path, found: &PrunedModel) -> Result<Report, Failure> {
    let PrunedModel { pruned, plans, parameters, .. } = found;
    let macs = |i: usize| pruned.layers.iter().map(|l| l.macs[i]).sum::<usize>();
    Ok(Report {
        bytes: std::fs::metadata(out).map_err(|e| Failure::file(e.to_string(), &e))?.len(),
        channels: pruned.channels,
        removed: pruned.removed,
        macs: (macs(0), macs(1)),
        parameters: (*parameters).into(),
        activation_bytes: plans.each_ref().map(|p| p.activation_bytes()).into(),
        dispatches: plans.each_ref().map(|p| p.dispatches.len()).into(),
        layers: pruned.layers.iter().map(|l| (l.layer.clone(), l.own.into())).collect(),
        left: pruned.left.iter().map(|l| (l.layer.clone(), l.reason.clone())).collect(),
    })
}
