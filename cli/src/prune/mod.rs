//! `prune`: writes the residual-free model with fewer channels.

mod report;

use super::args::{CriterionArg, FormatArg, PruneArgs};
use super::image_input::Inputs;
use super::{Failure, Report, assumed, check_overwrite, check_target, load_at};
use report::PruneReport;
use rmnet::models::Model;
use rmnet::models::saved::{self, About};
use rmnet::rewrite::prune::{AtLeast, PruneOptions, PruneTarget};
use rmnet::{Judge, prune_model};

pub fn prune(args: &PruneArgs) -> Result<Report, Failure> {
    check_files(args)?;
    let options = options(args)?;
    let (model, images) = model_and_images(args)?;
    let judge = match args.criterion {
        CriterionArg::Bn => Judge::BatchNorm,
        CriterionArg::L1 => Judge::L1,
        CriterionArg::Mean => Judge::Mean(&images),
    };
    let found = prune_model(&model, judge, &options)?;
    saved::save(&args.out, &found.pruned.graph, &About::model(&found.model)).map_err(Failure::input)?;
    let bytes = std::fs::metadata(&args.out).map_err(Failure::input)?.len();
    Report::of(&PruneReport::of(&args.out, bytes, &found))
}

/// Refuses files that cannot be written or should not be overwritten.
fn check_files(args: &PruneArgs) -> Result<(), Failure> {
    let read = args.calibration.iter().chain([&args.model.checkpoint]);
    check_target(&args.out, &read.map(|p| p.as_path()).collect::<Vec<_>>())?;
    if FormatArg::of(&args.out) == Some(FormatArg::Onnx) {
        let why = "prune writes safetensors; `rmnet convert` makes an ONNX model of that";
        return Err(Failure::usage(format!("-o {}: {why}", args.out.display())));
    }
    check_overwrite(&args.out, FormatArg::Safetensors)
}

/// The options of the command line; refuses a criterion that does not match the calibration images.
fn options(args: &PruneArgs) -> Result<PruneOptions, Failure> {
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
    Ok(PruneOptions {
        target,
        keep_at_least: args.keep_at_least.unwrap_or(AtLeast::Channels(1)),
        limits: args.limit.clone(),
        multiple: args.multiple,
        coupled: args.coupled,
        reserved: args.reserved,
    })
}

/// The network, and the calibration images that its criterion needs.
fn model_and_images(args: &PruneArgs) -> Result<(Model, Vec<f32>), Failure> {
    let inputs = Inputs::open(&args.calibration, None)?;
    if args.criterion != CriterionArg::Mean {
        let model = load_at(&args.model, args.model.size)?;
        assumed::note(&model);
        return Ok((model, vec![]));
    }
    let model = load_at(&args.model, inputs.size(args.model.size)?)?;
    assumed::note(&model);
    let images =
        inputs.batches(model.graph.input_shape(), &model.preprocess, args.exif.into())?.read_all()?.1;
    Ok((model, images))
}
