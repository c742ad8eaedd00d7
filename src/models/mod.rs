//! From the tensors of a checkpoint to the network they are the weights of.
//!
//! Each naming scheme has a file that maps names; the graph itself is built in one place. Shapes decide what they can,
//! `config.json` the rest, and anything missing, left over, misshapen or contradictory is an error that names it. What neither
//! shows is taken by the family's convention, listed in [`Model::assumed`], and can be stated otherwise ([`Assume`]).

mod assume;
mod config;
mod detect;
mod error;
mod head;
mod hugging_face;
mod iresnet;
mod key;
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
mod state_dict;
mod steps;
mod stray;
mod timm;
mod torchvision;

pub use assume::{Assume, Assumption, in_words};
pub use error::{MAX_SIDE, ModelError};
pub use key::Key;
pub use stray::normalises;

use crate::checkpoint::Checkpoint;
use crate::graph::{Graph, GraphError, Shape};
use crate::preprocess::Preprocess;
use assume::Conventions;
use reader::{Finished, Reader};
use scheme::Built;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
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
    /// Pooled features, of a network without a head too, or a layer's map: values for another program to use.
    Features,
}

/// How logits become scores of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scores {
    /// Softmax: an image has one label.
    #[default]
    Softmax,
    /// A sigmoid for each class: an image may have several labels, or the network has one class.
    Sigmoid,
    /// None: the values are those of a regression.
    Raw,
}

/// A network as its checkpoint has it, and what goes with it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The original network: batch norms and residual connections in place. Nodes carry the names of their tensors;
    /// weights borrow the checkpoint. Input `[channels, height, width]`, output `[classes, 1, 1]`, or the features (see [`Output`]).
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
    /// How logits become scores: [`Scores::Sigmoid`] where `config.json` has the `problem_type` of several labels, and for one class.
    pub scores: Scores,
    /// What the network rests on and no tensor or config file shows, by key.
    pub assumed: Vec<Assumption>,
    /// Names of tensors, and of metadata, that are no part of the network: counters, queues, weights of a loss, other networks
    /// beside the one that was named.
    pub ignored: Vec<String>,
    /// In a converted file, names of the original's blocks and poolings, each with the node of [`Model::graph`] that computes its
    /// value. Empty for other files.
    pub layers: BTreeMap<String, String>,
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
    load_assuming(checkpoint, size, &Assume::default())
}

/// [`load`] with assumptions in place of conventions. They count for more than those under `"rmnet"` in `config.json`.
///
/// # Errors
/// As [`load`]; [`ModelError::Assumption`] for one that the file contradicts, or that nothing of the network depends on.
pub fn load_assuming(
    checkpoint: &Checkpoint,
    size: Option<[usize; 2]>,
    assume: &Assume,
) -> Result<Model, ModelError> {
    let config = checkpoint.config();
    let stated = assume.over(config)?;
    let mut foreign = None;
    match saved::load(checkpoint) {
        Some(Ok((graph, about))) => {
            // Its strides and the like are written out. What a config beside it states is of the file that it came from.
            Conventions::new(assume.clone()).finish("file of rmnet")?;
            return from_saved(graph, about, size);
        }
        Some(Err(saved::SavedError::Foreign)) => {
            foreign = Some(format!("metadata `{}`", saved::METADATA_KEY))
        }
        Some(Err(error)) => return Err(error.into()),
        None => {}
    }
    let architecture = timm::architecture(config)?;
    let (dict, scheme) = detect::network(checkpoint, stated.get(Key::Prefix))?;
    if let Some(name) = architecture {
        timm::check(name, scheme)?;
    }
    config::model_type(config, scheme.model_types)?;
    let naming = match scheme.naming {
        Naming::Torchvision if architecture.is_some() => Naming::Timm,
        naming => naming,
    };
    let configured = stated_preprocess(checkpoint, scheme.model_types)?;
    let of_family = configured.is_none();
    let preprocess = configured.unwrap_or_else(|| (scheme.preprocess)(&dict));
    let size = size.unwrap_or(preprocess.size);
    check_size(size)?;
    let preprocess = preprocess.with_size(size);

    let mut reader = Reader::new(dict, naming, stated);
    let built = (scheme.build)(&mut reader, config, size)?;
    let preprocess = match of_family {
        true => preprocess.for_channels(built.graph.input_shape().channels),
        false => preprocess,
    };
    let family = format!("{naming} {}", built.family);
    let Finished { mut assumed, mut ignored } = reader.finish(&family, built.graph.input_shape().channels)?;
    ignored.extend(foreign);
    if of_family {
        assumed.push(Assumption { key: Key::Preprocess, value: preprocess.to_string(), stated: false });
    }
    names_are_text(&built.graph)?;
    let labels = built.classes.map(|n| config::labels(config, n)).transpose()?.flatten();
    match (architecture, built.classes) {
        (Some(_), classes) => timm::agrees(config, classes.unwrap_or(0))?,
        (None, Some(classes)) => config::agrees(config, "num_classes", &json!(classes))?,
        (None, None) => {}
    }
    let output = match (naming, built.classes) {
        (Naming::InsightFace, _) => Output::Embedding,
        (_, Some(_)) => Output::Logits,
        (_, None) => Output::Features,
    };
    let scores = config::scores(config, built.classes)?;
    let Built { graph, blocks, .. } = built;
    let layers = BTreeMap::new();
    Ok(Model { graph, family, naming, blocks, preprocess, labels, output, scores, assumed, ignored, layers })
}

/// Refuses layers whose names, which are those of a file's tensors, have characters that no name needs: they are printed, and written
/// into shaders and other files.
fn names_are_text(graph: &Graph) -> Result<(), GraphError> {
    match graph.nodes().iter().find(|n| n.name.chars().any(char::is_control)) {
        None => Ok(()),
        Some(node) => Err(GraphError {
            node: node.name.escape_debug().to_string(),
            expected: "a name without control characters".into(),
            found: "some".into(),
        }),
    }
}

fn check_size(size: [usize; 2]) -> Result<(), ModelError> {
    match size.iter().all(|s| (1..=MAX_SIDE).contains(s)) {
        true => Ok(()),
        false => Err(ModelError::Size { size }),
    }
}

fn from_saved(graph: Graph, about: saved::About, size: Option<[usize; 2]>) -> Result<Model, ModelError> {
    names_are_text(&graph)?;
    let saved::About { family, preprocess, labels, output, scores, assumed, layers } = about;
    let (graph, preprocess) = match size {
        Some([h, w]) => {
            check_size([h, w])?;
            let resized = graph.resized(h, w)?;
            let (map, whole) = (resized.shape(resized.output()), graph.shape(graph.output()));
            // Features may be a map, whose size follows the input's unless a layer reads a whole map.
            let free =
                output == Output::Features && map.channels == whole.channels && !reads_whole_map(&graph);
            if map != whole && !free {
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
    let (naming, blocks, ignored) = (Naming::Saved, vec![], vec![]);
    Ok(Model { graph, family, naming, blocks, preprocess, labels, output, scores, assumed, ignored, layers })
}

/// Whether a convolution's window covers its whole input, as a linear layer of a flattened map becomes one.
fn reads_whole_map(graph: &Graph) -> bool {
    graph
        .convs()
        .any(|(node, conv)| conv.kernel != [1, 1] && conv.kernel == graph.shape(node.inputs[0]).size())
}

/// The preprocessing of the config files, where they have one. A processor's file that names no class is the network's.
fn stated_preprocess(
    checkpoint: &Checkpoint,
    model_types: &[&str],
) -> Result<Option<Preprocess>, ModelError> {
    let config = checkpoint.config();
    // Older timm files have no inner object.
    let flat = || config.filter(|c| c.get("input_size").is_some());
    let stated = config.and_then(|c| c.get("pretrained_cfg")).filter(|v| !v.is_null());
    if let Some(other) = stated.filter(|v| !v.is_object()) {
        return Err(config::wrong("pretrained_cfg", "an object", other));
    }
    let timm = stated.or_else(flat);
    let class = match model_types.contains(&"mobilenet_v2") {
        true => "MobileNetV2ImageProcessor",
        false => "ConvNextImageProcessor",
    };
    Ok(match (timm, checkpoint.preprocessor_config()) {
        (Some(timm), _) => {
            let wrong = |source| ModelError::Preprocess { file: "config.json", source };
            Some(Preprocess::from_timm(timm).map_err(wrong)?)
        }
        (None, Some(hugging_face)) => {
            let wrong = |source| ModelError::Preprocess { file: checkpoint.preprocessor_file(), source };
            Some(Preprocess::from_hugging_face_as(hugging_face, class).map_err(wrong)?)
        }
        (None, None) => None,
    })
}
