//! Errors of opening a checkpoint.

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
    /// A folder without any weights file.
    #[error(
        "{}: expected `model.safetensors`, one `*.safetensors` file, `pytorch_model.bin` or one `*.pth`, `*.pt`, `*.bin`, `*.ckpt` or `*.tar` \
         file in this folder, found none",
        folder.display()
    )]
    NoFile {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder with several weights files, none of which takes precedence.
    #[error("{}: expected one file of weights, found {}: name one of them", folder.display(), found.join(", "))]
    Ambiguous {
        /// The folder.
        folder: PathBuf,
        /// The files' names, sorted.
        found: Vec<String>,
    },
    /// The index of a sharded checkpoint and one of its shards contradict each other.
    #[error("{}: {reason}", index.display())]
    Index {
        /// The index.
        index: PathBuf,
        /// What is wrong, with the names of the shard and the tensor.
        reason: String,
    },
    /// A file of another kind, recognised by its first bytes.
    #[error("{origin}: {found}")]
    Unsupported {
        /// The file, or `bytes` for a checkpoint from memory.
        origin: String,
        /// What it is, and what to do about it.
        found: String,
    },
    /// Bytes that are not a valid safetensors file.
    #[error("{origin}: not a valid safetensors file: {reason}")]
    Format {
        /// The file, or `bytes` for a checkpoint from memory.
        origin: String,
        /// What is wrong with it, and the tensor's name where one is at fault.
        reason: String,
    },
    /// A PyTorch file that is damaged or has an unsupported form.
    #[error("{origin}: not a PyTorch checkpoint that can be read: {reason}")]
    Pickle {
        /// The file, or `bytes` for a checkpoint from memory.
        origin: String,
        /// What is wrong with it, and the tensor's name where one is at fault.
        reason: String,
    },
    /// A pickle that names a class or function which is not part of a tensor. None of its code was run.
    #[error(
        "{origin}: refused: the pickle names `{global}`, which is no part of a tensor; none of its code was run. If it holds a whole model or \
         objects of your own beside the weights, save the weights alone in Python: torch.save(model.state_dict(), path)"
    )]
    Global {
        /// The file, or `bytes` for a checkpoint from memory.
        origin: String,
        /// Module and name, joined with a dot.
        global: String,
    },
    /// A config file or index that is not a JSON object.
    #[error("{origin}: expected a JSON object: {reason}")]
    Config {
        /// The file, or `config` for one from memory.
        origin: String,
        /// What the parser said.
        reason: String,
    },
}
