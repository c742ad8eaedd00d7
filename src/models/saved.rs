//! The block form: a rewritten graph as a `.safetensors` file that loads back bit for bit.
//!
//! Tensors are F32, folded once from f64. The chain itself is JSON in the file's metadata under [`METADATA_KEY`]: every node
//! with its operation, operands and the names of its tensors. A file of plain weights (the literal form) has the same
//! metadata and one `<layer>.weight` and `<layer>.bias` per convolution, as other runtimes expect.

use super::Preprocess;
use crate::checkpoint::Checkpoint;
use crate::graph::{
    Activation, Block, BlockWeight, Conv2d, Graph, GraphError, MaxPool, Node, Op, Shape, ValueId, Weight,
};
use safetensors::View;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Key of the chain in a file's metadata.
pub const METADATA_KEY: &str = crate::checkpoint::RMNET_METADATA;

const VERSION: u32 = 1;

/// Bound on the input's channels, rows and columns: what can be multiplied without overflow.
const LARGEST_SIDE: usize = 1 << 16;

/// Why a graph could not be saved, or a saved one not loaded.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The chain in the metadata is not one of ours.
    #[error("metadata `{METADATA_KEY}`: {0}")]
    Chain(#[from] serde_json::Error),
    /// A later or unknown layout.
    #[error("metadata `{METADATA_KEY}`: expected version {VERSION}, found {found}")]
    Version {
        /// What the file says.
        found: u32,
    },
    /// A tensor that the chain names is missing or has another shape or dtype.
    #[error("tensor {tensor} of layer {layer}: expected {expected}, found {found}")]
    Tensor {
        /// The layer.
        layer: String,
        /// The tensor.
        tensor: String,
        /// Shape and dtype the chain asks for.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// Something beside the chain that does not fit it.
    #[error("metadata `{METADATA_KEY}`: {what}: expected {expected}, found {found}")]
    Mismatch {
        /// What is compared.
        what: &'static str,
        /// What the chain asks for.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A chain whose operations do not fit each other.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An operation the form has no place for.
    #[error("{layer}: {what} cannot be saved; fold it first")]
    Unsaveable {
        /// The layer.
        layer: String,
        /// Its operation.
        what: String,
    },
    /// The file could not be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// What belongs to a model besides its graph.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// Family of the checkpoint it came from, for people.
    pub family: String,
    /// How an image becomes its input.
    pub preprocess: Preprocess,
    /// Class names, if known.
    pub labels: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
struct Chain {
    version: u32,
    #[serde(flatten)]
    about: About,
    input: [usize; 3],
    nodes: Vec<SavedNode>,
}

#[derive(Serialize, Deserialize)]
struct SavedNode {
    name: String,
    inputs: Vec<usize>,
    #[serde(flatten)]
    op: SavedOp,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum SavedOp {
    Conv2d {
        in_channels: usize,
        out_channels: usize,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        dilation: [usize; 2],
        blocks: Vec<SavedBlock>,
        bias: String,
        activation: Vec<(Range<usize>, SavedActivation)>,
    },
    Add {
        activation: SavedActivation,
    },
    Activation {
        activation: SavedActivation,
    },
    MaxPool {
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    },
    GlobalAverage,
}

#[derive(Serialize, Deserialize)]
struct SavedBlock {
    out: Range<usize>,
    input: Range<usize>,
    #[serde(flatten)]
    weight: SavedWeight,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum SavedWeight {
    Dense { tensor: String, groups: usize },
    Pointwise { tensor: String },
    Dirac,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedActivation {
    Identity,
    Relu,
}

impl From<Activation> for SavedActivation {
    fn from(a: Activation) -> SavedActivation {
        match a {
            Activation::Identity => SavedActivation::Identity,
            Activation::Relu => SavedActivation::Relu,
        }
    }
}

impl From<SavedActivation> for Activation {
    fn from(a: SavedActivation) -> Activation {
        match a {
            SavedActivation::Identity => Activation::Identity,
            SavedActivation::Relu => Activation::Relu,
        }
    }
}

/// A tensor of the file, folded to F32 only while it is written.
enum Lazy {
    Weight { weight: Weight, shape: [usize; 4] },
    Bias { values: Vec<f64>, shape: [usize; 1] },
}

impl View for Lazy {
    fn dtype(&self) -> safetensors::Dtype {
        safetensors::Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        match self {
            Lazy::Weight { shape, .. } => shape,
            Lazy::Bias { shape, .. } => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        let mut push = |v: f64| bytes.extend_from_slice(&(v as f32).to_le_bytes());
        match self {
            Lazy::Weight { weight, shape } => {
                (0..shape[0]).for_each(|o| weight.row(o).into_iter().for_each(&mut push))
            }
            Lazy::Bias { values, .. } => values.iter().copied().for_each(&mut push),
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.shape().iter().product::<usize>() * 4
    }
}

/// Writes a graph to `path`, through a file beside it that takes its name when it is whole.
///
/// # Errors
/// [`SavedError::Unsaveable`] for a batch norm that was not folded, [`SavedError::Write`] when the file cannot be written.
pub fn save(path: &Path, graph: &Graph, about: &About) -> Result<(), SavedError> {
    let mut tensors = vec![];
    let mut nodes = vec![];
    for node in &graph.nodes()[1..] {
        let inputs = node.inputs.iter().map(|v| v.index()).collect();
        nodes.push(SavedNode { name: node.name.clone(), inputs, op: saved_op(node, &mut tensors)? });
    }
    let Shape { channels, height, width } = graph.input_shape();
    let chain = Chain { version: VERSION, about: about.clone(), input: [channels, height, width], nodes };
    let metadata = HashMap::from([(METADATA_KEY.to_string(), serde_json::to_string(&chain)?)]);

    let mut partial = path.as_os_str().to_owned();
    partial.push(".tmp");
    let partial = PathBuf::from(partial);
    let failed = |reason: String| SavedError::Write { path: path.into(), reason };
    // The file beside it is made here first, with the permissions that the user's mask gives a new file.
    let write = || -> Result<(), String> {
        let made = std::fs::File::create(&partial).and_then(|f| f.metadata()).map_err(|e| e.to_string())?;
        safetensors::serialize_to_file(tensors, Some(metadata), &partial).map_err(|e| e.to_string())?;
        std::fs::set_permissions(&partial, made.permissions()).map_err(|e| e.to_string())?;
        std::fs::rename(&partial, path).map_err(|e| e.to_string())
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(&partial);
        failed(e)
    })
}

fn saved_op(node: &Node, tensors: &mut Vec<(String, Lazy)>) -> Result<SavedOp, SavedError> {
    Ok(match &node.op {
        Op::Conv2d(conv) => {
            let bias = format!("{}.bias", node.name);
            tensors
                .push((bias.clone(), Lazy::Bias { values: conv.bias.clone(), shape: [conv.out_channels] }));
            let mut blocks = vec![];
            let mut dense = 0;
            for b in &conv.blocks {
                let mut add = |name: String, weight: &Weight| {
                    let lazy = Lazy::Weight { weight: weight.clone(), shape: weight.shape() };
                    tensors.push((name.clone(), lazy));
                    name
                };
                let weight = match &b.weight {
                    BlockWeight::Dense { weight, groups } => {
                        let number = if dense == 0 { String::new() } else { dense.to_string() };
                        dense += 1;
                        let tensor = add(format!("{}.weight{number}", node.name), weight);
                        SavedWeight::Dense { tensor, groups: *groups }
                    }
                    BlockWeight::Pointwise(weight) => {
                        SavedWeight::Pointwise { tensor: add(format!("{}.shortcut", node.name), weight) }
                    }
                    BlockWeight::Dirac => SavedWeight::Dirac,
                };
                blocks.push(SavedBlock { out: b.out.clone(), input: b.input.clone(), weight });
            }
            SavedOp::Conv2d {
                in_channels: conv.in_channels,
                out_channels: conv.out_channels,
                kernel: conv.kernel,
                stride: conv.stride,
                padding: conv.padding,
                dilation: conv.dilation,
                blocks,
                bias,
                activation: conv.activation.iter().map(|(r, a)| (r.clone(), (*a).into())).collect(),
            }
        }
        Op::Add(a) => SavedOp::Add { activation: (*a).into() },
        Op::Activation(a) => SavedOp::Activation { activation: (*a).into() },
        Op::MaxPool(p) => SavedOp::MaxPool { kernel: p.kernel, stride: p.stride, padding: p.padding },
        Op::GlobalAverage => SavedOp::GlobalAverage,
        op @ (Op::BatchNorm(_) | Op::Input(_)) => {
            return Err(SavedError::Unsaveable { layer: node.name.clone(), what: op.to_string() });
        }
    })
}

/// Loads a graph that [`save`] wrote; `None` when the file is no such file.
///
/// # Errors
/// [`SavedError`] names the tensor or layer, what was expected and what was found.
pub fn load(checkpoint: &Checkpoint) -> Option<Result<(Graph, About), SavedError>> {
    checkpoint.metadata(METADATA_KEY).map(|json| read(checkpoint, json))
}

fn read(checkpoint: &Checkpoint, json: &str) -> Result<(Graph, About), SavedError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_str(json)?;
    if version != VERSION {
        return Err(SavedError::Version { found: version });
    }
    let chain: Chain = serde_json::from_str(json)?;
    let [channels, height, width] = chain.input;
    if chain.input.iter().any(|n| !(1..=LARGEST_SIDE).contains(n)) {
        let expected = format!("three numbers from 1 to {LARGEST_SIDE}");
        return Err(SavedError::Mismatch { what: "input", expected, found: format!("{:?}", chain.input) });
    }
    let mut graph = Graph::new(Shape { channels, height, width });
    for node in chain.nodes {
        let op = read_op(checkpoint, &node.name, node.op)?;
        let inputs: Vec<ValueId> = node.inputs.into_iter().map(ValueId).collect();
        graph.push(node.name, op, &inputs)?;
    }
    let same = |what, expected: String, found: String| match expected == found {
        true => Ok(()),
        false => Err(SavedError::Mismatch { what, expected, found }),
    };
    let size = format!("{:?}", [height, width]);
    same("preprocess.size", size, format!("{:?}", chain.about.preprocess.size))?;
    if let Some(labels) = &chain.about.labels {
        let classes = graph.shape(graph.output()).len();
        same("labels", format!("{classes} names"), format!("{} names", labels.len()))?;
    }
    Ok((graph, chain.about))
}

fn read_op(checkpoint: &Checkpoint, layer: &str, op: SavedOp) -> Result<Op, SavedError> {
    Ok(match op {
        SavedOp::Add { activation } => Op::Add(activation.into()),
        SavedOp::Activation { activation } => Op::Activation(activation.into()),
        SavedOp::MaxPool { kernel, stride, padding } => Op::MaxPool(MaxPool { kernel, stride, padding }),
        SavedOp::GlobalAverage => Op::GlobalAverage,
        SavedOp::Conv2d {
            in_channels,
            out_channels,
            kernel: [kh, kw],
            stride,
            padding,
            dilation,
            blocks,
            bias,
            activation,
        } => {
            let weight =
                |name: &str, shape: [usize; 4]| tensor(checkpoint, layer, name, &shape).map(Weight::new);
            let mut read = vec![];
            for SavedBlock { out, input, weight: saved } in blocks {
                let (o, i) = (out.len(), input.len());
                let block = match saved {
                    SavedWeight::Dense { tensor, groups } => {
                        let shape = [o, i / groups.max(1), kh, kw];
                        BlockWeight::Dense { weight: weight(&tensor, shape)?, groups }
                    }
                    SavedWeight::Pointwise { tensor } => {
                        BlockWeight::Pointwise(weight(&tensor, [o, i, 1, 1])?)
                    }
                    SavedWeight::Dirac => BlockWeight::Dirac,
                };
                read.push(Block { out, input, weight: block });
            }
            Op::Conv2d(Conv2d {
                in_channels,
                out_channels,
                kernel: [kh, kw],
                stride,
                padding,
                dilation,
                blocks: read,
                bias: tensor(checkpoint, layer, &bias, &[out_channels])?.to_f64(),
                activation: activation.into_iter().map(|(r, a)| (r, a.into())).collect(),
            })
        }
    })
}

fn tensor(
    checkpoint: &Checkpoint,
    layer: &str,
    name: &str,
    shape: &[usize],
) -> Result<crate::tensor::Tensor, SavedError> {
    let refuse = |found: String| SavedError::Tensor {
        layer: layer.into(),
        tensor: name.into(),
        expected: format!("F32 {shape:?}"),
        found,
    };
    let found = checkpoint.tensor(name).ok_or_else(|| refuse("no such tensor".into()))?;
    if found.shape() != shape || found.dtype() != crate::tensor::Dtype::F32 {
        return Err(refuse(format!("{} {:?}", found.dtype(), found.shape())));
    }
    Ok(found.clone())
}
