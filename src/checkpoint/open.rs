//! Finding and mapping the file, and the JSON files beside it.

use super::CheckpointError;
#[cfg(not(target_arch = "wasm32"))]
use crate::tensor::Bytes;
use crate::tensor::Owner;
use serde_json::Value;
use std::fs;
use std::io::{self, Read};
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

/// The file that a path means: itself, or the one that a folder holds.
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
        if let Ok(name) = file.file_name().into_string()
            && file.path().is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    match choose(&names) {
        Some(one) if one.len() == 1 => Ok(path.join(one[0])),
        Some(several) => {
            let found = several.iter().map(|name| name.to_string()).collect();
            Err(CheckpointError::Ambiguous { folder: path.to_path_buf(), found })
        }
        None => Err(CheckpointError::NoFile { folder: path.to_path_buf() }),
    }
}

/// Whether a path is the index of a sharded checkpoint.
pub(super) fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".index.json")
}

/// The file of weights among the files of a folder, or those of the kind that goes first where there are several.
/// An index goes before the several files that it is the index of.
fn choose(names: &[String]) -> Option<Vec<&str>> {
    let ending = |ends: &[&str]| -> Option<Vec<&str>> {
        let named = |name: &&String| ends.iter().any(|end| name.ends_with(end));
        let found: Vec<&str> = names.iter().filter(named).map(String::as_str).collect();
        (!found.is_empty()).then_some(found)
    };
    let exactly = |name: &str| names.iter().find(|n| *n == name).map(|n| vec![n.as_str()]);
    let files = |index: &str, ends: &[&str]| match (ending(&[index]), ending(ends)) {
        // One shard alone is not the checkpoint.
        (_, Some(files)) if files.len() == 1 && !files[0].contains("-of-") => Some(files),
        (Some(index), _) => Some(index),
        (None, files) => files,
    };
    exactly("model.safetensors")
        .or_else(|| files(".safetensors.index.json", &[".safetensors"]))
        .or_else(|| exactly("pytorch_model.bin"))
        .or_else(|| files(".bin.index.json", &[".pth", ".pt", ".bin", ".ckpt", ".tar"]))
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
    let found = fs::metadata(path).map_err(io_error(path))?;
    // A pipe would be waited for.
    if !found.is_file() {
        return Err(not_regular(path));
    }
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

/// The most bytes of a config file.
const MAX_CONFIG: u64 = 1 << 20;

/// The JSON object in a config file; `None` where there is no such file.
pub(super) fn json(path: &Path) -> Result<Option<Value>, CheckpointError> {
    json_up_to(path, MAX_CONFIG)
}

/// The JSON object in a file of at most so many bytes; `None` where there is no such file.
pub(super) fn json_up_to(path: &Path, most: u64) -> Result<Option<Value>, CheckpointError> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error(path)(e)),
    };
    // A pipe would be waited for, a device read without end.
    if !found.is_file() {
        return Err(not_regular(path));
    }
    let mut bytes = vec![];
    let mut file = fs::File::open(path).map_err(io_error(path))?.take(most + 1);
    file.read_to_end(&mut bytes).map_err(io_error(path))?;
    if bytes.len() as u64 > most {
        let reason = format!("expected a JSON file of {most} bytes at most");
        return Err(io_error(path)(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    parse(text, &path.display().to_string()).map(Some)
}

/// `preprocessor_config.json` of a folder, else `processor_config.json`: in that, the part for images where it has parts.
pub(super) fn preprocessor(folder: &Path) -> Result<Option<Value>, CheckpointError> {
    if let Some(config) = json(&folder.join("preprocessor_config.json"))? {
        return Ok(Some(config));
    }
    let config = json(&folder.join("processor_config.json"))?;
    Ok(config.map(|mut config| match config.get_mut("image_processor") {
        Some(images @ Value::Object(_)) => images.take(),
        _ => config,
    }))
}

/// The JSON object in a text.
pub(super) fn parse(text: &[u8], origin: &str) -> Result<Value, CheckpointError> {
    let refuse = |reason: String| CheckpointError::Config { origin: origin.into(), reason };
    let value: Value = serde_json::from_slice(text).map_err(|e| refuse(e.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(refuse("found another kind of value".into())) }
}
