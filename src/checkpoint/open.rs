//! Finds and maps the file and the JSON files beside it.

use super::CheckpointError;
use crate::files;
#[cfg(not(target_arch = "wasm32"))]
use crate::tensor::Bytes;
use crate::tensor::Owner;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
#[cfg(not(target_arch = "wasm32"))]
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_path_buf();
    move |source| CheckpointError::Io { path, source }
}

fn not_regular(path: &Path) -> CheckpointError {
    let reason = "expected a regular file or a folder, found something else";
    io_error(path)(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// The file that a path stands for: itself, or the weights file in a folder.
pub(super) fn find(path: &Path) -> Result<PathBuf, CheckpointError> {
    let found = fs::metadata(path).map_err(io_error(path))?;
    if found.is_file() {
        return Ok(path.to_path_buf());
    }
    if !found.is_dir() {
        return Err(not_regular(path));
    }
    let mut names = vec![];
    for entry in fs::read_dir(path).map_err(io_error(path))? {
        let file = entry.map_err(io_error(path))?;
        if file.path().is_file() {
            names.push(file.file_name());
        }
    }
    names.sort();
    match choose(&names) {
        Some(one) if one.len() == 1 => Ok(path.join(one[0])),
        Some(several) => {
            let found = several.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            Err(CheckpointError::Ambiguous { folder: path.to_path_buf(), found })
        }
        None => Err(CheckpointError::NoFile { folder: path.to_path_buf() }),
    }
}

/// Whether a path is the index of a sharded checkpoint.
pub(super) fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".index.json")
}

/// The weights file among the files of a folder, or all files of the first kind that has several. An index takes precedence over
/// the shards that it lists.
fn choose(names: &[OsString]) -> Option<Vec<&OsStr>> {
    let ends_with = |name: &OsStr, end: &str| name.as_encoded_bytes().ends_with(end.as_bytes());
    let ending = |ends: &[&str]| -> Option<Vec<&OsStr>> {
        let named = |name: &&OsStr| ends.iter().any(|end| ends_with(name, end));
        let found: Vec<&OsStr> = names.iter().map(OsString::as_os_str).filter(named).collect();
        (!found.is_empty()).then_some(found)
    };
    let exactly = |name: &str| names.iter().find(|n| *n == name).map(|n| vec![n.as_os_str()]);
    let files = |index: &str, ends: &[&str]| match (ending(&[index]), ending(ends)) {
        // One shard alone is not the checkpoint.
        (_, Some(files)) if files.len() == 1 && !files[0].to_string_lossy().contains("-of-") => Some(files),
        (Some(index), _) => Some(index),
        (None, files) => files,
    };
    exactly("model.safetensors")
        .or_else(|| files(".safetensors.index.json", &[".safetensors"]))
        .or_else(|| exactly("pytorch_model.bin"))
        .or_else(|| files(".bin.index.json", &[".pth", ".pt", ".bin", ".ckpt", ".tar"]))
}

/// A memory-mapped file.
#[cfg(not(target_arch = "wasm32"))]
struct Mapped(memmap2::Mmap);

#[cfg(not(target_arch = "wasm32"))]
impl Bytes for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Weights are read once, to be packed. Without this the whole file would stay in memory beside the packed weights while it
    /// is mapped.
    fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            assert!(range.start <= range.end && range.end <= self.0.len(), "a range of the file");
            // Whole pages only: a neighbour on a shared page may still be read, and most tensors are smaller than a page.
            const PAGE: usize = 4096;
            let range = range.start.next_multiple_of(PAGE)..range.end / PAGE * PAGE;
            if range.is_empty() {
                return;
            }
            // SAFETY: the range is inside the map, which is backed by a file and never written. Dropped pages are reloaded from
            // the file with the same bytes, also for slices borrowed now, since the file does not change (see [`Access::Mapped`]).
            let released = unsafe {
                self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
            // This is only advice: if it is refused, the memory stays in use until the file is closed.
            released.unwrap_or_else(|e| log::debug!("a mapped file stays in memory: {e}"));
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

/// How files are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read into memory.
    Copied,
    /// Memory-mapped, so that only what is read is loaded. Nobody may change or shorten the file while its bytes are in use.
    #[cfg(not(target_arch = "wasm32"))]
    Mapped,
}

/// The bytes of a file.
pub(super) fn bytes(path: &Path, access: Access) -> Result<Owner, CheckpointError> {
    let file = files::open(path).map_err(io_error(path))?;
    #[cfg(not(target_arch = "wasm32"))]
    if access == Access::Mapped && file.metadata().map_err(io_error(path))?.len() > 0 {
        // SAFETY: the map is read-only, and the contract of `Access::Mapped` is that nobody changes the file meanwhile.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io_error(path))?;
        return Ok(Arc::new(Mapped(map)));
    }
    let _ = access;
    Ok(Arc::new(files::read_from(file, u64::MAX - 1).map_err(io_error(path))?))
}

/// Maximum bytes of a config file.
const MAX_CONFIG: u64 = 1 << 20;

/// The JSON object in a config file; `None` where there is no such file.
pub(super) fn json(path: &Path) -> Result<Option<Value>, CheckpointError> {
    json_up_to(path, MAX_CONFIG)
}

/// The JSON object in a file of at most `most` bytes; `None` if there is no such file.
pub(super) fn json_up_to(path: &Path, most: u64) -> Result<Option<Value>, CheckpointError> {
    let bytes = match files::read(path, most) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error(path)(e)),
    };
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    parse(text, &path.display().to_string()).map(Some)
}

/// `preprocessor_config.json` of a folder, else `processor_config.json`, of which only the image part is taken if it has parts.
pub(super) fn preprocessor(folder: &Path) -> Result<Option<(&'static str, Value)>, CheckpointError> {
    if let Some(config) = json(&folder.join(PREPROCESSOR))? {
        return Ok(Some((PREPROCESSOR, config)));
    }
    let config = json(&folder.join(PROCESSOR))?;
    Ok(config.map(|config| (PROCESSOR, image_part(config))))
}

/// The part of a processor's config that is about images; the whole if it has no parts.
pub(super) fn image_part(mut config: Value) -> Value {
    match config.get_mut("image_processor") {
        Some(images @ Value::Object(_)) => images.take(),
        _ => config,
    }
}

/// Hugging Face's preprocessing config.
pub(super) const PREPROCESSOR: &str = "preprocessor_config.json";
/// Hugging Face's preprocessing config of networks that read more than images.
const PROCESSOR: &str = "processor_config.json";

/// The JSON object in a text.
pub(super) fn parse(text: &[u8], origin: &str) -> Result<Value, CheckpointError> {
    let refuse = |reason: String| CheckpointError::Config { origin: origin.into(), reason };
    let text = std::str::from_utf8(text).map_err(|e| refuse(e.to_string()))?;
    let value: Value = serde_json::from_str(text).map_err(|e| refuse(e.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(refuse("found another kind of value".into())) }
}
