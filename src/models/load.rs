//! Loads the model of an opened checkpoint.

use super::architecture::Built;
use super::assume::Conventions;
use super::build::reader::{Finished, TensorReader};
use super::config::Config;
use super::namings::timm;
use super::{Assume, Assumption, Key, MAX_INPUT_SIDE, Model, ModelError, Naming, OutputKind};
use super::{detect, saved};
use crate::checkpoint::Checkpoint;
use crate::graph::{Graph, GraphError, Shape};
use crate::preprocess::Preprocess;
use crate::size::Size;
use std::collections::BTreeMap;
use std::path::Path;

/// Options for loading a model.
///
/// ```
/// use rmnet::{Checkpoint, LoadOptions, Model};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let checkpoint = Checkpoint::open(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits"))?;
/// let model = Model::load(&checkpoint, &LoadOptions::default().size([64, 48]))?;
/// assert_eq!(model.input_shape(), [3, 64, 48]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
#[non_exhaustive]
pub struct LoadOptions {
    /// Size of the network's input. By default the config's input size, or else the size usual for the network: 32x32 for CIFAR networks,
    /// 224x224 for most others.
    pub size: Option<Size>,
    /// Assumptions that replace conventions. They take precedence over those under `"rmnet"` in `config.json`.
    pub assume: Assume,
}

impl LoadOptions {
    /// Sets [`LoadOptions::size`], as [`Size`] or `[height, width]`.
    pub fn size(mut self, size: impl Into<Size>) -> LoadOptions {
        self.size = Some(size.into());
        self
    }

    /// Sets [`LoadOptions::assume`].
    pub fn assume(mut self, assume: Assume) -> LoadOptions {
        self.assume = assume;
        self
    }
}

impl Model {
    /// Opens a checkpoint, a file or a folder ([`Checkpoint::open`]), and loads its network.
    ///
    /// # Errors
    /// As [`Model::load`], and [`ModelError::Checkpoint`].
    pub fn open(path: impl AsRef<Path>) -> Result<Model, ModelError> {
        Model::load(&Checkpoint::open(path)?, &LoadOptions::default())
    }

    /// Builds the network of a checkpoint. Weights are not copied, so models of several sizes share them. Batch-norm vectors and biases are
    /// converted to f64.
    ///
    /// # Errors
    /// [`ModelError`] names the tensor, config key or network at fault; [`ModelError::Assumption`] if the file contradicts an assumption,
    /// or if nothing in the network depends on it.
    pub fn load(checkpoint: &Checkpoint, options: &LoadOptions) -> Result<Model, ModelError> {
        let size = options.size.map(Size::array);
        let assume = &options.assume;
        load_assuming(checkpoint, size, assume)
    }
}

/// [`Model::load`] without assumptions, at `[height, width]`.
///
/// # Errors
/// As [`Model::load`].
pub fn load(checkpoint: &Checkpoint, size: Option<[usize; 2]>) -> Result<Model, ModelError> {
    load_assuming(checkpoint, size, &Assume::default())
}

fn load_assuming(
    checkpoint: &Checkpoint,
    size: Option<[usize; 2]>,
    assume: &Assume,
) -> Result<Model, ModelError> {
    let config = Config::read(checkpoint.config());
    let stated = assume.over(&config)?;
    let foreign = match saved::load(checkpoint) {
        Some(Ok((graph, about))) => {
            // A saved file states its own strides and other properties. Assumptions in a config beside it belong to the original file.
            Conventions::new(assume.clone()).finish("file of rmnet")?;
            return from_saved(graph, about, size);
        }
        Some(Err(saved::SavedError::Foreign)) => Some(format!("metadata `{}`", saved::METADATA_KEY)),
        Some(Err(error)) => return Err(error.into()),
        None => None,
    };
    let mut model = from_published(checkpoint, &config, stated, size)?;
    model.ignored.extend(foreign);
    Ok(model)
}

/// The model of a checkpoint that another library wrote.
fn from_published(
    checkpoint: &Checkpoint,
    config: &Config,
    stated: Assume,
    size: Option<[usize; 2]>,
) -> Result<Model, ModelError> {
    let named = timm::architecture(&config.timm)?;
    let (dict, architecture) = detect::network(checkpoint, config, stated.get(Key::Prefix))?;
    if let Some(name) = named {
        timm::check(name, architecture)?;
    }
    config.hugging_face.type_agrees(architecture.model_types)?;
    let naming = match architecture.naming {
        Naming::Torchvision if named.is_some() => Naming::Timm,
        naming => naming,
    };
    let configured = stated_preprocess(checkpoint, config, architecture.model_types)?;
    let of_family = configured.is_none();
    let preprocess = configured.unwrap_or_else(|| (architecture.preprocess)(&dict));
    let size = size.unwrap_or(preprocess.size.array());
    check_size(size)?;
    let preprocess = preprocess.with_size(size);

    let mut reader = TensorReader::new(dict, naming, stated);
    let built = (architecture.build)(&mut reader, config, size)?;
    let preprocess = match of_family {
        true => preprocess.for_channels(built.graph.input_shape().channels),
        false => preprocess,
    };
    let family = format!("{naming} {}", built.family);
    let Finished { mut assumed, ignored } = reader.finish(&family, built.graph.input_shape().channels)?;
    if of_family {
        assumed.push(Assumption { key: Key::Preprocess, value: preprocess.to_string(), stated: false });
    }
    names_are_text(&built.graph)?;
    let labels = built.classes.map(|n| config.results.labels(n)).transpose()?.flatten();
    match (named, built.classes) {
        (Some(_), classes) => config.timm.classes_agree(classes.unwrap_or(0))?,
        (None, Some(classes)) => config.timm.num_classes.agrees("num_classes", &classes)?,
        (None, None) => {}
    }
    let output = output_kind(naming, built.classes);
    let scores = config.results.scores(built.classes)?;
    let Built { graph, blocks, .. } = built;
    let layers = BTreeMap::new();
    Ok(Model { graph, family, naming, blocks, preprocess, labels, output, scores, assumed, ignored, layers })
}

/// The kind of a network's output, from its naming scheme and whether it has a classifier.
fn output_kind(naming: Naming, classes: Option<usize>) -> OutputKind {
    match (naming, classes) {
        (Naming::InsightFace, _) => OutputKind::Embedding,
        (_, Some(_)) => OutputKind::Logits,
        (_, None) => OutputKind::Features,
    }
}

/// Refuses layers with control characters in their names. Names come from the file's tensors, and are printed and written into shaders and
/// other files.
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
    match size.iter().all(|s| (1..=MAX_INPUT_SIDE).contains(s)) {
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
            // Features may be a map. Its size depends on the input size, unless a layer reads a whole map.
            let free =
                output == OutputKind::Features && map.channels == whole.channels && !reads_whole_map(&graph);
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

/// Whether a convolution's window covers its whole input, as for a linear layer over a flattened map.
fn reads_whole_map(graph: &Graph) -> bool {
    graph
        .convs()
        .any(|(node, conv)| conv.kernel != [1, 1] && conv.kernel == graph.shape(node.inputs[0]).size())
}

/// The preprocessing of the config files, if they state one. A processor's file without a class is read as the network's default class.
fn stated_preprocess(
    checkpoint: &Checkpoint,
    config: &Config,
    model_types: &[&str],
) -> Result<Option<Preprocess>, ModelError> {
    let published = &config.timm.pretrained_cfg;
    published.checked("pretrained_cfg", "an object")?;
    // Older timm files have no inner object.
    let flat = || checkpoint.config().filter(|_| config.timm.input_size.is_given());
    let class = match model_types.contains(&"mobilenet_v2") {
        true => "MobileNetV2ImageProcessor",
        false => "ConvNextImageProcessor",
    };
    Ok(match (published.found().or_else(flat), checkpoint.preprocessor_config()) {
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
