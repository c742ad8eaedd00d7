//! The values of options, and how they are parsed.

use clap::ValueEnum;
use rmnet::images::Orientation;
use rmnet::models::MAX_INPUT_SIDE;
use rmnet::rewrite::prune::AtLeast;
use std::path::Path;

/// Which form of the network runs.
#[derive(Clone, Copy, Default, ValueEnum)]
pub enum ModeArg {
    /// No residual connection, block weights
    #[default]
    Structured,
    /// No residual connection, Dirac weights multiplied out
    Literal,
    /// The original graph, with its Adds fused as usual
    Residual,
}

/// Whether neighbouring linear 1x1 convolutions are multiplied into one.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum MergeArg {
    /// If it is faster: both forms are first timed on the device
    Auto,
    /// Wherever there are such neighbours
    Always,
    /// Nowhere
    #[default]
    Never,
}

/// Kind of file that `convert` writes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// Weights, with the chain as JSON in the metadata, which rmnet can read
    Safetensors,
    /// For ONNX Runtime, OpenVINO and others; implies `--literal`
    Onnx,
}

impl FormatArg {
    /// As the command line and file names spell it.
    pub fn name(self) -> &'static str {
        match self {
            FormatArg::Safetensors => "safetensors",
            FormatArg::Onnx => "onnx",
        }
    }

    /// The format that a file name's extension stands for.
    pub fn of(path: &Path) -> Option<FormatArg> {
        let extension = path.extension()?;
        [FormatArg::Safetensors, FormatArg::Onnx]
            .into_iter()
            .find(|f| extension.eq_ignore_ascii_case(f.name()))
    }
}

/// Whether an image's EXIF orientation is applied.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ExifArg {
    /// Turn images upright, like Pillow's `exif_transpose`
    #[default]
    Apply,
    /// Keep the pixels in the file's order, like loaders that ignore EXIF
    Ignore,
}

impl From<ExifArg> for Orientation {
    fn from(exif: ExifArg) -> Orientation {
        match exif {
            ExifArg::Apply => Orientation::Apply,
            ExifArg::Ignore => Orientation::Ignore,
        }
    }
}

/// One shard of the inputs: number `index`, from 1, of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub index: usize,
    pub of: usize,
}

/// `I/N`
pub fn shard(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((index, of)) if index >= 1 && index <= of => Ok(Shard { index, of }),
        _ => Err("expected I/N with I from 1 to N, as 2/4".into()),
    }
}

/// Element type of stored values.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// IEEE 754 binary32
    #[default]
    F32,
    /// IEEE 754 binary16: half the memory
    F16,
}

/// A stage between the checkpoint and the network that runs.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum PassArg {
    /// As in the checkpoint
    Original,
    /// Batch norm and activations folded into convolutions
    Fold,
    /// Residual connections removed
    Remove,
    /// Block weights multiplied out
    Literal,
}

/// How the importance of a channel is measured.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CriterionArg {
    /// Scales of the batch norms
    #[default]
    Bn,
    /// L1 norms of the kernels
    L1,
    /// Mean activations on calibration images; a removed channel's mean is added to the biases of its readers
    Mean,
}

pub fn at_least(text: &str) -> Result<AtLeast, String> {
    let refuse = |_| format!("expected a number of channels or a share such as 0.25, found `{text}`");
    match text.parse::<usize>() {
        Ok(count) => Ok(AtLeast::Channels(count)),
        Err(_) => text.parse().map(AtLeast::Share).map_err(refuse),
    }
}

pub fn limit(text: &str) -> Result<(String, f64), String> {
    let refuse = || format!("expected LAYER=R, a layer and a share of its channels, found `{text}`");
    let (layer, share) = text.rsplit_once('=').ok_or_else(refuse)?;
    Ok((layer.into(), share.parse().map_err(|_| refuse())?))
}

pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err(format!("expected seconds from 0 to 3600, such as 0.5, found `{text}`")),
    }
}

pub fn size(text: &str) -> Result<[usize; 2], String> {
    let parts: Vec<&str> = text.split(['x', 'X']).collect();
    let number = |s: &str| match s.parse::<usize>() {
        Ok(n @ 1..=MAX_INPUT_SIDE) => Ok(n),
        _ => Err(format!("expected HxW, each from 1 to {MAX_INPUT_SIDE}, found `{text}`")),
    };
    match parts.as_slice() {
        [side] => Ok([number(side)?; 2]),
        [h, w] => Ok([number(h)?, number(w)?]),
        _ => Err(format!("expected HxW, found `{text}`")),
    }
}
