//! From the tensors of a checkpoint to the network they are the weights of.
//!
//! Each naming scheme has a file that maps names; the graph itself is built in one place. Shapes decide what they can,
//! `config.json` the rest, and anything missing, left over, misshapen or contradictory is an error that names it: a
//! network that loads is the one the file was trained as.

mod config;
mod detect;
mod error;
mod hugging_face;
mod iresnet;
mod layers;
mod mobilenet_v2;
mod reader;
mod repvgg;
mod resnet;
mod resnet_v2;
mod rmnet;
pub mod saved;
mod scheme;
mod sequential;
mod timm;
mod torchvision;

pub use error::{MAX_SIDE, ModelError};

use crate::checkpoint::Checkpoint;
use crate::graph::{Graph, Shape};
use crate::preprocess::Preprocess;
use reader::Reader;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt;
use std::path::Path;

/// Whose names the tensors have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Naming {
    /// torchvision, and CIFAR networks that follow it.
    Torchvision,
    /// timm: of ResNets, torchvision's names with a `config.json` that gives the architecture.
    Timm,
    /// Hugging Face transformers.
    HuggingFace,
    /// insightface: IResNet (ArcFace).
    InsightFace,
    /// The repository of the RMNet paper.
    RmNet,
    /// Numbers, as `torch.nn.Sequential` gives them, with a list of the modules in `config.json`.
    Sequential,
    /// The repository of a network's authors: RepVGG's.
    Original,
    /// A file that [`saved::save`] wrote.
    Saved,
}

impl fmt::Display for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Naming::Torchvision => "torchvision",
            Naming::Timm => "timm",
            Naming::HuggingFace => "Hugging Face",
            Naming::InsightFace => "insightface",
            Naming::RmNet => "RMNet repository",
            Naming::Sequential => "nn.Sequential",
            Naming::Original => "original",
            Naming::Saved => "rmnet",
        })
    }
}

/// What the values that a network gives are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Output {
    /// A score per class.
    #[default]
    Logits,
    /// A direction: two images are alike where the cosine between theirs is near 1.
    Embedding,
}

/// A network as its checkpoint has it, and what goes with it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The original network: batch norms and residual connections in place. Nodes carry the names of their tensors;
    /// weights borrow the checkpoint. Input `[channels, height, width]`, output `[classes, 1, 1]` (see [`Output`]).
    pub graph: Graph,
    /// For people, such as `torchvision ResNet, BasicBlock [2, 2, 2, 2]`.
    pub family: String,
    /// Whose names the tensors have.
    pub naming: Naming,
    /// Names of the blocks in order, residual or of parallel branches; the node of that name is the block's output, after its
    /// last ReLU. The sum is the node `{block}.add`, or that very node where no activation follows it (MobileNetV2). Empty for
    /// chains, which have none.
    pub blocks: Vec<String>,
    /// How an image becomes the input.
    pub preprocess: Preprocess,
    /// Class names, where a config file has them.
    pub labels: Option<Vec<String>>,
    /// What the output is.
    pub output: Output,
}

impl Model {
    /// Opens a checkpoint file or folder ([`Checkpoint::open`]) and loads its network ([`load`]).
    ///
    /// # Errors
    /// [`ModelError`] names the file, tensor, config key or network that stands in the way.
    pub fn open(path: impl AsRef<Path>, size: Option<[usize; 2]>) -> Result<Model, ModelError> {
        load(&Checkpoint::open(path)?, size)
    }
}

/// Builds the network of a checkpoint for inputs of `size` (`[height, width]`), by default the size its config or its
/// kind has: the config's input size, 32 for CIFAR networks, else 224.
///
/// Weights are not copied. Batch-norm vectors and biases are widened to f64.
///
/// # Errors
/// [`ModelError`] names the tensor, config key or network that stands in the way.
pub fn load(checkpoint: &Checkpoint, size: Option<[usize; 2]>) -> Result<Model, ModelError> {
    if let Some(saved) = saved::load(checkpoint) {
        let (graph, about) = saved?;
        return from_saved(graph, about, size);
    }
    let config = checkpoint.config();
    let architecture = timm::architecture(config)?;
    let scheme = detect::scheme(checkpoint)?;
    if let Some(name) = architecture {
        timm::check(name, scheme)?;
    }
    config::model_type(config, scheme.model_types)?;
    if let Some(key) = timm::headless(config) {
        let why =
            format!("config.json has `{key}` 0, and without its last layer it gives no scores to run it for");
        return Err(ModelError::Unsupported { what: "a network without a classifier".into(), why });
    }
    let naming = match scheme.naming {
        Naming::Torchvision if architecture.is_some() => Naming::Timm,
        naming => naming,
    };
    let stated = stated_preprocess(checkpoint, scheme.model_types)?;
    let assumed = stated.is_none();
    let preprocess = stated.unwrap_or_else(|| (scheme.preprocess)(checkpoint));
    let size = size.unwrap_or(preprocess.size);
    check_size(size)?;
    let preprocess = preprocess.with_size(size);

    let mut reader = Reader::new(checkpoint, naming);
    let built = (scheme.build)(&mut reader, config, size)?;
    reader.finish()?;
    let preprocess = match assumed {
        true => preprocess.for_channels(built.graph.input_shape().channels),
        false => preprocess,
    };
    let labels = config::labels(config, built.classes)?;
    match architecture {
        Some(_) => timm::agrees(config, built.classes)?,
        None => config::agrees(config, "num_classes", &json!(built.classes))?,
    }
    let family = format!("{naming} {}", built.family);
    let output = match naming {
        Naming::InsightFace => Output::Embedding,
        _ => Output::Logits,
    };
    Ok(Model { graph: built.graph, family, naming, blocks: built.blocks, preprocess, labels, output })
}

fn check_size(size: [usize; 2]) -> Result<(), ModelError> {
    match size.iter().all(|s| (1..=MAX_SIDE).contains(s)) {
        true => Ok(()),
        false => Err(ModelError::Size { size }),
    }
}

fn from_saved(graph: Graph, about: saved::About, size: Option<[usize; 2]>) -> Result<Model, ModelError> {
    let saved::About { family, preprocess, labels, output } = about;
    let (graph, preprocess) = match size {
        Some([h, w]) => {
            check_size([h, w])?;
            let resized = graph.resized(h, w)?;
            let (map, whole) = (resized.shape(resized.output()), graph.shape(graph.output()));
            if map != whole {
                let Shape { height, width, .. } = graph.input_shape();
                let why = format!("its last layer reads a whole map and would give {map}, not {whole}");
                return Err(ModelError::FixedSize {
                    size: [h, w],
                    expected: format!("{height}x{width}"),
                    why,
                });
            }
            (resized, preprocess.with_size([h, w]))
        }
        None => (graph, preprocess),
    };
    Ok(Model { graph, family, naming: Naming::Saved, blocks: vec![], preprocess, labels, output })
}

/// The preprocessing of the config files, where they have one. A processor's file that names no class is the network's.
fn stated_preprocess(
    checkpoint: &Checkpoint,
    model_types: &[&str],
) -> Result<Option<Preprocess>, ModelError> {
    let config = checkpoint.config();
    // Older timm files have no inner object.
    let flat = || config.filter(|c| c.get("input_size").is_some());
    let timm = config.and_then(|c| c.get("pretrained_cfg")).filter(|v| !v.is_null()).or_else(flat);
    let class = match model_types.contains(&"mobilenet_v2") {
        true => "MobileNetV2ImageProcessor",
        false => "ConvNextImageProcessor",
    };
    Ok(match (timm, checkpoint.preprocessor_config()) {
        (Some(timm), _) => Some(Preprocess::from_timm(timm)?),
        (None, Some(hugging_face)) => Some(Preprocess::from_hugging_face_as(hugging_face, class)?),
        (None, None) => None,
    })
}
