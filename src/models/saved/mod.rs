//! The block form: a rewritten graph as a `.safetensors` file that loads back bit for bit.
//!
//! Tensors are F32, folded once from f64. The chain itself is JSON in the file's metadata under [`METADATA_KEY`]: every node with its
//! operation, operands and the names of its tensors. In the literal form, which has plain weights, there is one `<layer>.weight` and
//! `<layer>.bias` per convolution, as other runtimes expect.

mod error;
mod json;
mod layer;

pub use error::{METADATA_KEY, SavedError};

use super::{Assumption, MAX_INPUT_SIDE, Model, OutputKind, Scores};
use crate::checkpoint::Checkpoint;
use crate::graph::{Graph, Shape, ValueId};
use crate::output;
use crate::preprocess::Preprocess;
use error::VERSION;
use json::{key, nodes};
use layer::{SavedNode, read_op, saved_op};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

/// Maximum channels of the input.
const MAX_INPUT_CHANNELS: usize = 1 << 16;

/// The metadata of a model besides its graph.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// Family of the original checkpoint, as readable text.
    pub family: String,
    /// How an image becomes its input.
    pub preprocess: Preprocess,
    /// Class names, if known.
    pub labels: Option<Vec<String>>,
    /// Kind of the output; logits if the file does not state it.
    #[serde(default)]
    pub output: OutputKind,
    /// How logits become scores; by softmax if the file does not state it.
    #[serde(default)]
    pub scores: Scores,
    /// The assumptions made about the original checkpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<Assumption>,
    /// Names of the original's blocks and poolings, each with the node of the chain that computes its value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layers: BTreeMap<String, String>,
}

impl About {
    /// Metadata of a network that computes logits, without further properties.
    pub fn new(family: impl Into<String>, preprocess: Preprocess) -> About {
        About {
            family: family.into(),
            preprocess,
            labels: None,
            output: OutputKind::Logits,
            scores: Scores::Softmax,
            assumed: vec![],
            layers: BTreeMap::new(),
        }
    }

    /// The metadata of a model.
    pub fn model(model: &Model) -> About {
        About {
            family: model.family.clone(),
            preprocess: model.preprocess.clone(),
            labels: model.labels.clone(),
            output: model.output,
            scores: model.scores,
            assumed: model.assumed.clone(),
            layers: model.layers.clone(),
        }
    }
}

#[derive(Serialize)]
struct SavedChain {
    version: u32,
    #[serde(flatten)]
    about: About,
    input: [usize; 3],
    nodes: Vec<SavedNode>,
}

/// Writes a graph to `path` atomically, through a temporary file beside it.
///
/// # Errors
/// [`SavedError::Unsaveable`] for a batch norm that was not folded, [`SavedError::Overflow`] for a weight that overflows f32,
/// [`SavedError::Write`] if the file cannot be written.
pub fn save(path: &Path, graph: &Graph, about: &About) -> Result<(), SavedError> {
    if let Some(layer) = graph.overflow() {
        return Err(SavedError::Overflow { layer: layer.into() });
    }
    let mut tensors = vec![];
    let mut nodes = vec![];
    for node in &graph.nodes()[1..] {
        let inputs = node.inputs.iter().map(|v| v.index()).collect();
        nodes.push(SavedNode { name: node.name.clone(), inputs, op: saved_op(node, &mut tensors)? });
    }
    let Shape { channels, height, width } = graph.input_shape();
    let chain =
        SavedChain { version: VERSION, about: about.clone(), input: [channels, height, width], nodes };
    let metadata = HashMap::from([(METADATA_KEY.to_string(), serde_json::to_string(&chain)?)]);

    output::write_whole(path, |partial| {
        safetensors::serialize_to_file(tensors, Some(metadata), partial).map_err(std::io::Error::other)
    })
    .map_err(|e| SavedError::Write { path: path.into(), reason: e.to_string() })
}

/// Loads a graph written by [`save`]; `None` if the file has no such metadata.
///
/// # Errors
/// [`SavedError`] names the tensor or layer, what was expected and what was found.
pub fn load(checkpoint: &Checkpoint) -> Option<Result<(Graph, About), SavedError>> {
    checkpoint.metadata(METADATA_KEY).map(|json| read(checkpoint, json))
}

/// Bytes of tensors that any chain may read, however small its file is: 64 MiB.
const FREE_READS: usize = 64 << 20;

/// How often a chain may read each byte of its file.
const MAX_READS: usize = 4;

/// Refuses a chain that reads the same tensors too often: [`save`] writes one tensor per use.
fn check_reads(checkpoint: &Checkpoint, nodes: &[SavedNode]) -> Result<(), SavedError> {
    let bytes = |name: &str| checkpoint.tensor(name).map_or(0, |t| t.len().saturating_mul(t.dtype().size()));
    let read = nodes.iter().flat_map(SavedNode::tensors).map(bytes).fold(0, usize::saturating_add);
    let most = checkpoint.file_size().saturating_mul(MAX_READS).saturating_add(FREE_READS);
    if read <= most {
        return Ok(());
    }
    let expected = format!("at most {most} bytes, {MAX_READS} times the file's and {FREE_READS}");
    Err(SavedError::Mismatch { what: "tensors that layers read", expected, found: read.to_string() })
}

fn read(checkpoint: &Checkpoint, json: &str) -> Result<(Graph, About), SavedError> {
    // Metadata of this crate has nodes or at least a version, even if it is invalid otherwise.
    let parsed = serde_json::from_str::<Value>(json);
    let ours = match &parsed {
        Ok(v) => v.get("nodes").is_some() || v.get("version").is_some_and(Value::is_u64),
        Err(_) => json.contains("\"nodes\""),
    };
    if !ours {
        return Err(SavedError::Foreign);
    }
    let chain = parsed?;
    let version = key(&chain, "version")?;
    if version != VERSION {
        return Err(SavedError::Version { found: version });
    }
    let about = About::deserialize(&chain)?;
    let chain = SavedChain { version, about, input: key(&chain, "input")?, nodes: nodes(&chain)? };
    chain.about.preprocess.check_own()?;
    if chain.about.family.chars().any(char::is_control) {
        let (expected, found) =
            ("text without control characters".into(), format!("{:?}", chain.about.family));
        return Err(SavedError::Mismatch { what: "family", expected, found });
    }
    let [channels, height, width] = chain.input;
    let bounds = [MAX_INPUT_CHANNELS, MAX_INPUT_SIDE, MAX_INPUT_SIDE];
    if chain.input.iter().zip(bounds).any(|(n, most)| !(1..=most).contains(n)) {
        let expected = format!("channels from 1 to {MAX_INPUT_CHANNELS}, sides from 1 to {MAX_INPUT_SIDE}");
        return Err(SavedError::Mismatch { what: "input", expected, found: format!("{:?}", chain.input) });
    }
    let read: HashSet<&str> = chain.nodes.iter().flat_map(SavedNode::tensors).collect();
    if let Some((name, tensor)) = checkpoint.tensors().find(|(name, _)| !read.contains(name)) {
        return Err(SavedError::Unexpected { tensor: name.into(), found: tensor.shape().to_vec() });
    }
    check_reads(checkpoint, &chain.nodes)?;
    let mut graph = Graph::new(Shape { channels, height, width });
    for node in chain.nodes {
        let inputs: Vec<ValueId> = node.inputs.into_iter().map(ValueId).collect();
        let operand = inputs.first().filter(|v| v.index() < graph.nodes().len());
        let channels = operand.map_or(0, |v| graph.shape(*v).channels);
        let op = read_op(checkpoint, &node.name, node.op, channels)?;
        graph.push(node.name, op, &inputs)?;
    }
    let same = |what, expected: String, found: String| match expected == found {
        true => Ok(()),
        false => Err(SavedError::Mismatch { what, expected, found }),
    };
    let size = format!("{:?}", [height, width]);
    same("preprocess.size", size, format!("{:?}", chain.about.preprocess.size.array()))?;
    if let Some((name, node)) = chain.about.layers.iter().find(|(_, node)| graph.find(node).is_none()) {
        let expected = format!("a node of the chain for {name}");
        return Err(SavedError::Mismatch { what: "layers", expected, found: node.clone() });
    }
    if let Some(labels) = &chain.about.labels {
        let classes = graph.shape(graph.output()).len();
        same("labels", format!("{classes} names"), format!("{} names", labels.len()))?;
    }
    Ok((graph, chain.about))
}
