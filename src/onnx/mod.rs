//! Writes graphs as ONNX models, for other runtimes.
//!
//! The model has one input and one output, both f32. The input is `input`, `[N, channels, height, width]`. The output is `logits`,
//! `[N, classes]` (also for an embedding), or `features` if the network ends with another value ([`OutputChoice`](crate::OutputChoice)):
//! `[N, channels]` for a vector and `[N, channels, height, width]` for a map. The number of images `N` is dynamic; height and width are
//! those of the graph. Any graph can be written. A residual-free graph in the literal form
//! ([`Mode::Literal`](crate::rewrite::Mode::Literal)) becomes a chain of Conv and Relu, without an Add. Weights are folded in f64 and
//! rounded to f32 once. Only operators that ONNX Runtime, OpenVINO and ncnn's pnnx support are used. If the channels of a convolution have
//! several activations, these are written as
//! * PRelu for any of identity, ReLU and PReLU (slopes 1, 0 and the PReLU's own),
//! * Relu or PRelu, then Min with a constant per channel, if some are ReLU6.
//!
//! The file's metadata has the keys `family`, `preprocess` (JSON of [`Preprocess`](crate::preprocess::Preprocess)) and, if class names are
//! known, `labels` (a JSON array).

mod constant;
mod lower;
pub mod proto;

use crate::graph::Graph;
use crate::models::saved::About;
use crate::output;
use constant::Constant;
use lower::{INPUT, Lowered, output_name};
use prost::Message;
use proto::{
    Dimension, FLOAT, GraphProto, ModelProto, OperatorSetIdProto, Size, StringStringEntryProto,
    TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Version of the operator set.
pub const OPSET: i64 = 17;
/// Version of the format, released together with [`OPSET`].
const IR_VERSION: i64 = 8;

/// Maximum bytes of a file, since protobuf counts bytes in 31 bits.
pub const MAX_ONNX_BYTES: usize = i32::MAX as usize;

/// Number of weights that [`OnnxError::TooLarge`] names.
const NAMED: usize = 5;

/// Why a model could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// More bytes than a protobuf message may have.
    #[error(
        "the ONNX model takes {bytes} bytes, over protobuf's limit of {MAX_ONNX_BYTES}; its largest weights: {}; \
         safetensors has no such limit",
        largest.iter().map(|(name, bytes)| format!("{name} ({bytes} bytes)")).collect::<Vec<_>>().join(", ")
    )]
    TooLarge {
        /// Bytes of the whole file.
        bytes: usize,
        /// The largest weights with their bytes, the largest first.
        largest: Vec<(String, usize)>,
    },
    /// A weight or bias that overflows f32.
    #[error("{layer}: a weight or bias, folded with its batch norm, is beyond f32")]
    Overflow {
        /// The layer.
        layer: String,
    },
    /// Preprocessing or labels that cannot be written as JSON.
    #[error("metadata: {0}")]
    Metadata(#[from] serde_json::Error),
    /// The file could not be written.
    #[error("cannot write {path}: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// Writes a graph to `path` as an ONNX model, atomically, through a temporary file beside it.
///
/// Weights are computed and written one row at a time, so only one row is held in memory.
///
/// # Errors
/// [`OnnxError::TooLarge`] and [`OnnxError::Overflow`] before anything is written, [`OnnxError::Write`] when the file cannot be
/// written.
pub fn write(path: &Path, graph: &Graph, about: &About) -> Result<(), OnnxError> {
    if let Some(layer) = graph.overflow() {
        return Err(OnnxError::Overflow { layer: layer.into() });
    }
    let file = FileLayout::new(graph, about)?;
    if file.bytes() > MAX_ONNX_BYTES {
        let mut largest: Vec<_> = file.constants.iter().map(|c| (c.name.clone(), c.bytes())).collect();
        largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        largest.truncate(NAMED);
        return Err(OnnxError::TooLarge { bytes: file.bytes(), largest });
    }
    output::write_whole(path, |partial| {
        let mut to = BufWriter::new(File::create(partial)?);
        file.write(&mut to)?;
        to.flush()
    })
    .map_err(|e| OnnxError::Write { path: path.into(), reason: e.to_string() })
}

/// The layout of a file: its messages without the constants, which are appended one by one. Protobuf allows the fields of a message in any
/// order, so only the lengths of constants are needed in advance.
struct FileLayout {
    /// `ModelProto` without its graph.
    model: Vec<u8>,
    /// `GraphProto` without its initializers.
    graph: Vec<u8>,
    constants: Vec<Constant>,
}

/// Field number of `ModelProto.graph`.
const GRAPH: usize = 7;
/// Field number of `GraphProto.initializer`.
const INITIALIZER: usize = 5;
/// Field number of `TensorProto.raw_data`.
const RAW_DATA: usize = 9;

/// The bytes in front of a length-delimited field: its tag and length.
fn opening(field: usize, length: usize) -> Vec<u8> {
    /// Protobuf's wire type of length-delimited fields.
    const LENGTH_DELIMITED: usize = 2;
    let mut bytes = vec![];
    for varint in [field << 3 | LENGTH_DELIMITED, length] {
        prost::encode_length_delimiter(varint, &mut bytes).expect("a vector grows");
    }
    bytes
}

impl FileLayout {
    fn new(graph: &Graph, about: &About) -> Result<FileLayout, OnnxError> {
        let output = output_name(about.output);
        let Lowered { nodes, constants, .. } = lower::lower(graph, output);
        let shape = graph.input_shape();
        let result = graph.shape(graph.output());
        let dims = match result.size() {
            [1, 1] => vec![result.channels],
            [height, width] => vec![result.channels, height, width],
        };
        let graph = GraphProto {
            node: nodes,
            name: "rmnet".into(),
            initializer: vec![],
            input: vec![images(INPUT, &[shape.channels, shape.height, shape.width])],
            output: vec![images(output, &dims)],
        };
        let mut metadata_props = vec![];
        let mut property = |key: &str, value: String| {
            metadata_props.push(StringStringEntryProto { key: key.into(), value });
        };
        property("family", about.family.clone());
        property("preprocess", serde_json::to_string(&about.preprocess)?);
        if let Some(labels) = &about.labels {
            property("labels", serde_json::to_string(labels)?);
        }
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: None,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            metadata_props,
        };
        Ok(FileLayout { model: model.encode_to_vec(), graph: graph.encode_to_vec(), constants })
    }

    /// Bytes of the whole file, at most [`usize::MAX`].
    fn bytes(&self) -> usize {
        let graph = self.graph_bytes();
        graph.saturating_add(self.model.len() + opening(GRAPH, graph).len())
    }

    fn graph_bytes(&self) -> usize {
        let constant = |c: &Constant| {
            let bytes = tensor_bytes(c);
            bytes.saturating_add(opening(INITIALIZER, bytes).len())
        };
        self.constants.iter().map(constant).fold(self.graph.len(), usize::saturating_add)
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.model)?;
        to.write_all(&opening(GRAPH, self.graph_bytes()))?;
        to.write_all(&self.graph)?;
        for constant in &self.constants {
            to.write_all(&opening(INITIALIZER, tensor_bytes(constant)))?;
            to.write_all(&constant.header().encode_to_vec())?;
            to.write_all(&opening(RAW_DATA, constant.bytes()))?;
            constant.write(to)?;
        }
        Ok(())
    }
}

/// Length of a constant's `TensorProto`, at most [`usize::MAX`].
fn tensor_bytes(constant: &Constant) -> usize {
    let bytes = constant.bytes();
    bytes.saturating_add(constant.header().encoded_len() + opening(RAW_DATA, bytes).len())
}

/// An f32 value with a dynamic number of images `N`.
fn images(name: &str, of_one: &[usize]) -> ValueInfoProto {
    let sizes = of_one.iter().map(|d| Size::Value(*d as i64));
    let dim =
        std::iter::once(Size::Name("N".into())).chain(sizes).map(|s| Dimension { size: Some(s) }).collect();
    let tensor = TensorType { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}
