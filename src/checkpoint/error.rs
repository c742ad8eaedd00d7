//! What can be wrong with a checkpoint before any family is looked for.

use std::path::PathBuf;

/// A checkpoint that cannot be opened. Every variant names the file, folder or tensor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A folder without any `.safetensors` file.
    #[error("{}: expected `model.safetensors` or one `*.safetensors` file in this folder, found none", folder.display())]
    NoFile {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder with several `.safetensors` files, none of them `model.safetensors`.
    #[error("{}: expected `model.safetensors` or one `*.safetensors` file, found {}: name one of them", folder.display(), found.join(", "))]
    Ambiguous {
        /// The folder.
        folder: PathBuf,
        /// The files' names, sorted.
        found: Vec<String>,
    },
    /// A checkpoint split over several files.
    #[error(
        "{}: this is the index of a sharded checkpoint; expected one `.safetensors` file (save it again with one shard)",
        path.display()
    )]
    Sharded {
        /// The index.
        path: PathBuf,
    },
    /// Bytes that are not a valid safetensors file.
    #[error("{origin}: not a valid safetensors file: {reason}")]
    Format {
        /// The file, or `bytes` for a checkpoint from memory.
        origin: String,
        /// What is wrong with it, and the tensor's name where one is at fault.
        reason: String,
    },
    /// A tensor of an element type that takes no part in inference.
    #[error("{origin}: tensor `{tensor}`: expected dtype F32, F16, BF16 or F64, found {found}")]
    Dtype {
        /// The file, or `bytes` for a checkpoint from memory.
        origin: String,
        /// The tensor.
        tensor: String,
        /// Its dtype as safetensors spells it.
        found: String,
    },
    /// A `config.json` or `preprocessor_config.json` that is not a JSON object.
    #[error("{origin}: expected a JSON object: {reason}")]
    Config {
        /// The file, or `config` for one from memory.
        origin: String,
        /// What the parser said.
        reason: String,
    },
}
