//! Why a graph could not be saved, or a saved one not loaded.

use crate::graph::GraphError;
use crate::preprocess::PreprocessError;
use std::path::PathBuf;

/// Key of the chain in a file's metadata.
pub const METADATA_KEY: &str = crate::checkpoint::RMNET_METADATA;

/// Version of the chain's format.
pub(super) const VERSION: u32 = 1;

/// Why a graph could not be saved, or a saved one not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SavedError {
    /// The metadata was written by another program and is not a chain.
    #[error("metadata `{METADATA_KEY}` is no chain that rmnet wrote")]
    Foreign,
    /// The chain in the metadata cannot be parsed.
    #[error("metadata `{METADATA_KEY}`: {0}")]
    Chain(#[from] serde_json::Error),
    /// A later or unknown version.
    #[error("metadata `{METADATA_KEY}`: expected version {VERSION}, found {found}")]
    Version {
        /// What the file says.
        found: u32,
    },
    /// A tensor that the chain names is missing, has another shape or dtype, or holds NaN or an infinity.
    #[error("tensor {tensor} of layer {layer}: expected {expected}, found {found}")]
    Tensor {
        /// The layer.
        layer: String,
        /// The tensor.
        tensor: String,
        /// Shape and dtype that the chain requires.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A tensor that no layer of the chain reads.
    #[error("unexpected tensor `{tensor}` of shape {found:?}: no layer of the chain reads it")]
    Unexpected {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// Other metadata that does not fit the chain.
    #[error("metadata `{METADATA_KEY}`: {what}: expected {expected}, found {found}")]
    Mismatch {
        /// What is compared.
        what: &'static str,
        /// What the chain requires.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A preprocessing with numbers that are out of range.
    #[error("metadata `{METADATA_KEY}`: {0}")]
    Preprocess(#[from] PreprocessError),
    /// A chain whose operations do not fit each other.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weight or bias that overflows f32.
    #[error("{layer}: a weight or bias, folded with its batch norm, is beyond f32")]
    Overflow {
        /// The layer.
        layer: String,
    },
    /// An operation that the format does not support.
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
