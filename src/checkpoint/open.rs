//! Finding and mapping the file, and the JSON files beside it.

use super::CheckpointError;
#[cfg(not(target_arch = "wasm32"))]
use crate::tensor::Bytes;
use crate::tensor::Owner;
use serde_json::Value;
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

/// The `.safetensors` file that a path means.
pub(super) fn find(path: &Path) -> Result<PathBuf, CheckpointError> {
    let is_index = |p: &Path| p.to_string_lossy().ends_with(".safetensors.index.json");
    if is_index(path) {
        return Err(CheckpointError::Sharded { path: path.to_path_buf() });
    }
    let found = fs::metadata(path).map_err(io_error(path))?;
    if found.is_file() {
        return Ok(path.to_path_buf());
    }
    if !found.is_dir() {
        let reason = "expected a file to map or a folder, found something that is no regular file";
        return Err(io_error(path)(io::Error::new(io::ErrorKind::InvalidInput, reason)));
    }
    let model = path.join("model.safetensors");
    if model.is_file() {
        return Ok(model);
    }
    let mut files = vec![];
    for entry in fs::read_dir(path).map_err(io_error(path))? {
        let file = entry.map_err(io_error(path))?.path();
        if is_index(&file) {
            return Err(CheckpointError::Sharded { path: file });
        }
        if file.extension().is_some_and(|e| e == "safetensors") && file.is_file() {
            files.push(file);
        }
    }
    match files.len() {
        0 => Err(CheckpointError::NoFile { folder: path.to_path_buf() }),
        1 => Ok(files.remove(0)),
        _ => {
            let name = |f: &PathBuf| f.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut found: Vec<String> = files.iter().map(name).collect();
            found.sort();
            Err(CheckpointError::Ambiguous { folder: path.to_path_buf(), found })
        }
    }
}

/// A mapped file.
#[cfg(not(target_arch = "wasm32"))]
struct Mapped(memmap2::Mmap);

#[cfg(not(target_arch = "wasm32"))]
impl Bytes for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Weights are read once, to be packed: without this the file would be in memory beside them for as long as it is mapped.
    fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            assert!(range.start <= range.end && range.end <= self.0.len(), "a range of the file");
            // Whole pages: a neighbour in the same one may be about to be read, and most tensors are smaller.
            const PAGE: usize = 4096;
            let range = range.start.next_multiple_of(PAGE)..range.end / PAGE * PAGE;
            if range.is_empty() {
                return;
            }
            // SAFETY: inside the map, which is shared with a file and never written: pages that are dropped come back from the file
            // with the same bytes, for slices that are borrowed now as well, since it does not change (see `map`).
            let released = unsafe {
                self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
            // Advice: where it is not taken, the memory stays until the file is closed.
            released.unwrap_or_else(|e| log::debug!("a mapped file stays in memory: {e}"));
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

/// The bytes of a file: mapped, so that only what is read is loaded.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn map(path: &Path) -> Result<Owner, CheckpointError> {
    let file = fs::File::open(path).map_err(io_error(path))?;
    if file.metadata().map_err(io_error(path))?.len() == 0 {
        return Ok(Arc::new(Vec::new()));
    }
    // SAFETY: the map is read-only and private to this process. That no one shortens or rewrites the file meanwhile is
    // the caller's part of the contract (`Checkpoint::open` states it), as for every reader of memory-mapped files.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io_error(path))?;
    Ok(Arc::new(Mapped(map)))
}

/// The bytes of a file, read: there is nothing to map on this target.
#[cfg(target_arch = "wasm32")]
pub(super) fn map(path: &Path) -> Result<Owner, CheckpointError> {
    Ok(Arc::new(fs::read(path).map_err(io_error(path))?))
}

/// The JSON object in a file; `None` where there is no such file.
pub(super) fn json(path: &Path) -> Result<Option<Value>, CheckpointError> {
    match fs::read(path) {
        Ok(bytes) => parse(&bytes, &path.display().to_string()).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error(path)(e)),
    }
}

/// The JSON object in a text.
pub(super) fn parse(text: &[u8], origin: &str) -> Result<Value, CheckpointError> {
    let refuse = |reason: String| CheckpointError::Config { origin: origin.into(), reason };
    let value: Value = serde_json::from_slice(text).map_err(|e| refuse(e.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(refuse("found another kind of value".into())) }
}
