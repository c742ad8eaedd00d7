//! An opened `.safetensors` file, its tensors as borrowed views, and the config files beside it.
//!
//! Everything is checked once, here: the header, the offsets, the element types. What follows reads tensors without
//! copying them; a file stays memory-mapped for as long as any tensor of it lives.
//!
//! ```
//! use rmnet::checkpoint::Checkpoint;
//!
//! let header = br#"{"fc.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
//! let mut file = (header.len() as u64).to_le_bytes().to_vec();
//! file.extend(header);
//! file.extend([1.0f32, -2.0].iter().flat_map(|v| v.to_le_bytes()));
//!
//! let checkpoint = Checkpoint::from_bytes(file, None)?;
//! assert_eq!(checkpoint.tensor("fc.bias").unwrap().to_f64(), [1.0, -2.0]);
//! # Ok::<(), rmnet::checkpoint::CheckpointError>(())
//! ```

mod error;
mod header;
mod open;

pub use error::CheckpointError;

use crate::tensor::{Owner, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Metadata key of the chain that `convert` writes.
pub const RMNET_METADATA: &str = "rmnet";

/// An opened checkpoint: tensors by name, metadata and config files.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    origin: String,
    path: Option<PathBuf>,
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
    config: Option<Value>,
    preprocessor: Option<Value>,
    file_size: usize,
}

impl Checkpoint {
    /// Opens a `.safetensors` file, or the one in a folder: `model.safetensors`, else the only `*.safetensors`.
    ///
    /// The file is memory-mapped and must not change while the checkpoint or a tensor of it lives. It is read when a model is loaded and
    /// again when its weights are packed or written, and leaves memory after each, so that a slow disk may be asked twice. `config.json` and
    /// `preprocessor_config.json` are read from the same folder where they exist, also when `path` is the file.
    ///
    /// # Errors
    /// [`CheckpointError`]: unreadable, ambiguous or sharded; a header that does not fit the file; a tensor that is not
    /// F32, F16, BF16 or F64 (`num_batches_tracked` is ignored); a config file that is not a JSON object.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint, CheckpointError> {
        let file = open::find(path.as_ref())?;
        let owner = open::map(&file)?;
        let mut checkpoint = Self::from_owner(owner, file.display().to_string())?;
        let folder = file.parent().unwrap_or(Path::new(""));
        checkpoint.config = open::json(&folder.join("config.json"))?;
        checkpoint.preprocessor = open::json(&folder.join("preprocessor_config.json"))?;
        checkpoint.path = Some(file);
        Ok(checkpoint)
    }

    /// A checkpoint from the bytes of a `.safetensors` file, with the text of its `config.json` if there is one.
    ///
    /// Nothing is copied: `bytes` may be a `Vec<u8>`, a `&'static [u8]`, a memory map.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], except those of the file system.
    pub fn from_bytes<B>(bytes: B, config: Option<&str>) -> Result<Checkpoint, CheckpointError>
    where
        B: AsRef<[u8]> + Send + Sync + 'static,
    {
        let mut checkpoint = Self::from_owner(Arc::new(bytes), "bytes".into())?;
        checkpoint.config = config.map(|text| open::parse(text.as_bytes(), "config")).transpose()?;
        Ok(checkpoint)
    }

    /// The same checkpoint with the text of a `preprocessor_config.json`.
    ///
    /// # Errors
    /// [`CheckpointError::Config`] when the text is not a JSON object.
    pub fn with_preprocessor_config(mut self, text: &str) -> Result<Checkpoint, CheckpointError> {
        self.preprocessor = Some(open::parse(text.as_bytes(), "preprocessor config")?);
        Ok(self)
    }

    fn from_owner(owner: Owner, origin: String) -> Result<Checkpoint, CheckpointError> {
        let file_size = owner.bytes().len();
        let (tensors, metadata) = header::read(&owner, &origin)?;
        Ok(Checkpoint { origin, path: None, tensors, metadata, config: None, preprocessor: None, file_size })
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors with their names, sorted by name. `num_batches_tracked` is not among them.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, t)| (name.as_str(), t))
    }

    /// All names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A value of the `__metadata__` map of the header.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The whole `__metadata__` map; empty where the file has none.
    pub fn metadata_map(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// `config.json`, a JSON object, where there is one.
    pub fn config(&self) -> Option<&Value> {
        self.config.as_ref()
    }

    /// `preprocessor_config.json`, a JSON object, where there is one.
    pub fn preprocessor_config(&self) -> Option<&Value> {
        self.preprocessor.as_ref()
    }

    /// Bytes of the `.safetensors` file.
    pub fn file_size(&self) -> usize {
        self.file_size
    }

    /// The file opened; `None` for a checkpoint from memory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The file's path as text, or `bytes`: for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

#[cfg(test)]
mod tests;
