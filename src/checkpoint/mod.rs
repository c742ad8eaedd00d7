//! An opened checkpoint (safetensors, sharded safetensors, PyTorch pickles): its tensors as borrowed views, and the config files
//! beside it.
//!
//! The header, offsets and element types are checked once, here. Later code reads tensors without copying. A file stays in
//! memory, or mapped, as long as any of its tensors lives.
//!
//! Pickles are read without executing any of their code. They need the feature `pickle`, which the `rmnet` program enables.
//!
//! ```
//! use rmnet::Checkpoint;
//!
//! let header = br#"{"fc.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
//! let mut file = (header.len() as u64).to_le_bytes().to_vec();
//! file.extend(header);
//! file.extend([1.0f32, -2.0].iter().flat_map(|v| v.to_le_bytes()));
//!
//! let checkpoint = Checkpoint::from_bytes(file, None)?;
//! assert_eq!(checkpoint.tensor("fc.bias").unwrap().to_f64(), [1.0, -2.0]);
//! # Ok::<(), rmnet::error::CheckpointError>(())
//! ```

mod error;
mod header;
mod kind;
mod open;
#[cfg(feature = "pickle")]
mod pickle;
mod shards;

pub use error::CheckpointError;

use crate::tensor::{Owner, Tensor};
use open::Access;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Metadata key of the chain written by `convert`.
pub const RMNET_METADATA: &str = "rmnet";

/// The storage format of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// One or several `.safetensors` files.
    Safetensors,
    /// The zip archive that `torch.save` has written since PyTorch 1.6.
    PyTorchZip,
    /// The concatenated pickles and storages that `torch.save` wrote before 1.6.
    PyTorchLegacy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::PyTorchZip => "PyTorch zip",
            Format::PyTorchLegacy => "PyTorch legacy",
        })
    }
}

/// A tensor of an unsupported type or form: integers, booleans, 8-bit floats, sparse, quantized.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OtherTensor {
    dtype: String,
    shape: Vec<usize>,
}

/// The contents of a file.
#[derive(Default)]
struct Contents {
    tensors: BTreeMap<String, Tensor>,
    others: BTreeMap<String, OtherTensor>,
    metadata: BTreeMap<String, String>,
}

/// An opened checkpoint: tensors by name, metadata and config files.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    origin: String,
    path: Option<PathBuf>,
    format: Format,
    tensors: BTreeMap<String, Tensor>,
    others: BTreeMap<String, OtherTensor>,
    metadata: BTreeMap<String, String>,
    config: Option<Value>,
    /// Name and content of the preprocessor config file.
    preprocessor: Option<(&'static str, Value)>,
    file_size: usize,
}

impl Checkpoint {
    /// Opens a weights file, the index of a sharded checkpoint, or a folder that holds one of these.
    ///
    /// The format is detected from the contents: safetensors, or a PyTorch pickle in either form. A folder is searched in this
    /// order: `model.safetensors`; the only `*.safetensors`, or the index of several; `pytorch_model.bin`; the only `*.pth`,
    /// `*.pt`, `*.bin`, `*.ckpt` or `*.tar`, or the index of several `*.bin`.
    ///
    /// The file is read into memory and stays there as long as the checkpoint or any of its tensors lives;
    /// [`Checkpoint::open_mapped`] needs less memory. It must be a regular file: a pipe or a device is refused. `config.json` and
    /// `preprocessor_config.json` (or else `processor_config.json`) are read from the same folder if they exist, also when `path`
    /// is the file.
    ///
    /// A tensor of a pickle is named by the keys that lead to it, joined with dots: `state_dict.conv1.weight`,
    /// `optimizer.state.0.exp_avg`. Values other than tensors are left out, and so are tensors in objects other than dictionaries
    /// and lists.
    ///
    /// # Errors
    /// [`CheckpointError`] when the file is unreadable or the folder ambiguous; when the contents do not fit the file or one
    /// another; when a pickle names a class or function that is not part of a tensor; when a config file is not a JSON object or
    /// is over 1 MiB.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open_with(path.as_ref(), Access::Copied)
    }

    /// Like [`Checkpoint::open`], but memory-mapped. The file is read when a model is loaded and again when its weights are
    /// packed or written, and its pages are released after each, so a slow disk may be read twice. Converting a file takes much
    /// less memory than the file's size.
    ///
    /// ```no_run
    /// # use rmnet::Checkpoint;
    /// // SAFETY: the file is this app's own, and nothing writes it after its download.
    /// let checkpoint = unsafe { Checkpoint::open_mapped("resnet50.safetensors") }?;
    /// # Ok::<(), rmnet::error::CheckpointError>(())
    /// ```
    ///
    /// # Safety
    /// No process may change or shorten the file (or any of its shards) while the checkpoint, one of its tensors, or a network
    /// loaded from it lives; a network counts until its graph is dropped. Reading bytes that change meanwhile is undefined
    /// behaviour, and reading bytes that are gone ends the process by SIGBUS (Unix) or an exception (Windows). Replacing the file
    /// by another of the same name, as by a rename, is safe: the mapping keeps the old contents.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub unsafe fn open_mapped(path: impl AsRef<Path>) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open_with(path.as_ref(), Access::Mapped)
    }

    fn open_with(path: &Path, access: Access) -> Result<Checkpoint, CheckpointError> {
        let file = open::find(path)?;
        let origin = file.display().to_string();
        let (contents, format, size) = if open::is_index(&file) {
            shards::open(&file, access)?
        } else {
            let owner = open::bytes(&file, access)?;
            let (contents, format) = read(&owner, &origin)?;
            (contents, format, owner.size())
        };
        let mut checkpoint = Self::new(contents, format, size, origin);
        let folder = file.parent().unwrap_or(Path::new(""));
        checkpoint.config = open::json(&folder.join("config.json"))?;
        checkpoint.preprocessor = open::preprocessor(folder)?;
        checkpoint.path = Some(file);
        Ok(checkpoint)
    }

    /// A checkpoint from the bytes of a file, safetensors or a PyTorch pickle, and optionally the text of its `config.json`.
    ///
    /// Nothing is copied: `bytes` may be a `Vec<u8>`, a `&'static [u8]` or a memory map.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], except those of the file system.
    pub fn from_bytes<B>(bytes: B, config: Option<&str>) -> Result<Checkpoint, CheckpointError>
    where
        B: AsRef<[u8]> + Send + Sync + 'static,
    {
        let owner: Owner = Arc::new(bytes);
        let (contents, format) = read(&owner, "bytes")?;
        let mut checkpoint = Self::new(contents, format, owner.size(), "bytes".into());
        checkpoint.config = config.map(|text| open::parse(text.as_bytes(), "config")).transpose()?;
        Ok(checkpoint)
    }

    /// The same checkpoint with the text of a `preprocessor_config.json`, or of a `processor_config.json`, of which the image part is taken.
    ///
    /// # Errors
    /// [`CheckpointError::Config`] when the text is not a JSON object.
    pub fn with_preprocessor_config(mut self, text: &str) -> Result<Checkpoint, CheckpointError> {
        let config = open::image_part(open::parse(text.as_bytes(), "preprocessor config")?);
        self.preprocessor = Some((open::PREPROCESSOR, config));
        Ok(self)
    }

    fn new(contents: Contents, format: Format, file_size: usize, origin: String) -> Checkpoint {
        let Contents { tensors, others, metadata } = contents;
        Checkpoint {
            origin,
            path: None,
            format,
            tensors,
            others,
            metadata,
            config: None,
            preprocessor: None,
            file_size,
        }
    }

    /// The tensor of a name.
    #[doc(hidden)]
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors of F16, BF16, F32 and F64 with their names, sorted by name.
    #[doc(hidden)]
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, t)| (name.as_str(), t))
    }

    /// The tensors whose names begin with `prefix`.
    pub(crate) fn tensors_from<'a>(&'a self, prefix: &str) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        let range = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        let prefix = prefix.to_string();
        let named = self.tensors.range::<str, _>(range).map(|(name, t)| (name.as_str(), t));
        named.take_while(move |(name, _)| name.starts_with(&prefix))
    }

    /// Tensors of unsupported types or forms, sorted by name: name, dtype and shape.
    ///
    /// The dtype is spelled as in safetensors (`I64`, `BOOL`, `F8_E4M3`), or names the form that a pickle stores (`sparse`,
    /// `quantized`). `num_batches_tracked` is left out.
    #[doc(hidden)]
    pub fn others(&self) -> impl ExactSizeIterator<Item = (&str, &str, &[usize])> {
        self.others.iter().map(|(name, t)| (name.as_str(), t.dtype.as_str(), t.shape.as_slice()))
    }

    /// The names of [`Checkpoint::tensors`], sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A value of the `__metadata__` map of a safetensors header.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The whole `__metadata__` map; empty where the file has none.
    #[doc(hidden)]
    pub fn metadata_map(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// `config.json`, a JSON object, if there is one.
    #[doc(hidden)]
    pub fn config(&self) -> Option<&Value> {
        self.config.as_ref()
    }

    /// `preprocessor_config.json`, a JSON object, if there is one; else the image part of `processor_config.json`.
    #[doc(hidden)]
    pub fn preprocessor_config(&self) -> Option<&Value> {
        self.preprocessor.as_ref().map(|(_, config)| config)
    }

    /// The name of the file that [`Checkpoint::preprocessor_config`] was read from.
    pub(crate) fn preprocessor_file(&self) -> &'static str {
        self.preprocessor.as_ref().map_or(open::PREPROCESSOR, |(file, _)| file)
    }

    /// The storage format.
    #[doc(hidden)]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Size of the file in bytes, or of all shards together.
    pub fn file_size(&self) -> usize {
        self.file_size
    }

    /// The opened file, or the index of a sharded checkpoint; `None` for a checkpoint from memory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The file's path as text, or `bytes`: for messages.
    #[doc(hidden)]
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// The contents of a file of any format.
fn read(owner: &Owner, origin: &str) -> Result<(Contents, Format), CheckpointError> {
    let format = kind::recognise(owner.bytes(), origin)?;
    let contents = match format {
        Format::Safetensors => header::read(owner, origin)?,
        #[cfg(feature = "pickle")]
        _ => pickle::read(owner, origin, format)?,
        #[cfg(not(feature = "pickle"))]
        _ => {
            let reason = "rmnet was built without its feature `pickle`; save the state dict with \
                          `safetensors.torch.save_file`";
            return Err(CheckpointError::Pickle { origin: origin.into(), reason: reason.into() });
        }
    };
    Ok((contents, format))
}

/// Whether a tensor is a batch norm's counter of training batches, which does not affect inference.
fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

#[cfg(test)]
mod tests;
