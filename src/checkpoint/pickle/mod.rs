//! Reads PyTorch's pickles, as written by `torch.save`, without executing code.
//!
//! [`machine`] interprets the opcodes of a pickle. A name in [`globals`] stands for a tensor, a storage, a dictionary or an
//! opaque value; any other name is refused. [`flatten`] names the tensors found, and [`view`] maps them to byte ranges of the
//! file. Values are copied only if they are not in row-major little-endian order, so pages can leave memory once read, as with
//! safetensors.
//!
//! The crate `pytorch-reader` does not fit: it copies tensors into memory and keeps its own file handle, so tensors could not
//! borrow a memory map, and a file could not come from memory.

mod archive;
mod construct;
mod flatten;
mod globals;
mod legacy;
mod machine;
mod operands;
mod value;
mod view;

use super::{CheckpointError, Contents, Format, OtherTensor};
use crate::tensor::Owner;
use archive::Archive;
use legacy::Legacy;
use value::Pickle;
use view::{Placed, Source};

/// Why a pickle is not read.
#[derive(Debug)]
enum Refusal {
    /// It names a class or function that is not part of a tensor.
    Global(String),
    /// Any other reason, in words.
    Reason(String),
}

/// Text from the file for a message: printable and truncated.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(120)]).escape_debug().to_string();
    text.chars().take(160).collect()
}

fn refuse<T>(reason: String) -> Result<T, Refusal> {
    Err(Refusal::Reason(reason))
}

/// The tensors of a file of `format`, which must be a PyTorch format.
pub(super) fn read(owner: &Owner, origin: &str, format: Format) -> Result<Contents, CheckpointError> {
    let contents = match format {
        Format::PyTorchLegacy => read_legacy(owner),
        _ => read_archive(owner),
    };
    contents.map_err(|refusal| match refusal {
        Refusal::Global(global) => CheckpointError::Global { origin: origin.into(), global },
        Refusal::Reason(reason) => CheckpointError::Pickle { origin: origin.into(), reason },
    })
}

fn read_archive(owner: &Owner) -> Result<Contents, Refusal> {
    let archive = Archive::open(owner.bytes())?;
    let big_endian = archive.is_big_endian()?;
    let bytes = archive.entry("data.pkl").unwrap_or_default();
    let pickle = machine::run(bytes)?;
    if pickle.length < bytes.len() {
        return refuse(format!("{} bytes after the end of the pickle", bytes.len() - pickle.length));
    }
    let storage = |key: &[u8]| archive.storage(key);
    contents(&pickle, Source::new(owner, &storage, big_endian))
}

fn read_legacy(owner: &Owner) -> Result<Contents, Refusal> {
    let legacy = Legacy::open(owner.bytes())?;
    let storage = |key: &[u8]| legacy.storage(key);
    contents(&legacy.pickle, Source::new(owner, &storage, false))
}

fn contents(pickle: &Pickle, mut source: Source) -> Result<Contents, Refusal> {
    let mut contents = Contents::default();
    for (name, record) in flatten::tensors(pickle)? {
        if super::is_counter(&name) {
            continue;
        }
        let placed = source.place(record);
        let placed = placed
            .map_err(|reason| Refusal::Reason(format!("tensor `{}`: {reason}", shown(name.as_bytes()))))?;
        match placed {
            Placed::Tensor(tensor) => drop(contents.tensors.insert(name, tensor)),
            Placed::Other(dtype) => {
                contents.others.insert(name, OtherTensor { dtype, shape: record.shape.clone() });
            }
        }
    }
    if contents.tensors.is_empty() && contents.others.is_empty() {
        return refuse("no tensor in it; expected a state dict".into());
    }
    Ok(contents)
}
