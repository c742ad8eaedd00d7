//! Reads the safetensors header, checked by the `safetensors` crate, as tensors that borrow the file.

use super::{CheckpointError, Contents, OtherTensor};
use crate::tensor::{Dtype, Owner, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError};

/// Bytes of the header's length in front of it.
const LENGTH: usize = 8;

/// The tensors by name, and the `__metadata__` map.
pub(super) fn read(owner: &Owner, origin: &str) -> Result<Contents, CheckpointError> {
    let bytes = owner.bytes();
    let refuse = |reason: String| CheckpointError::Format { origin: origin.into(), reason };
    let (header_len, metadata) = parse(bytes).map_err(refuse)?;
    let data = LENGTH + header_len;

    let mut contents = Contents::default();
    for (name, info) in metadata.tensors() {
        if super::is_counter(&name) {
            continue;
        }
        let dtype = match info.dtype {
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::BF16 => Dtype::BF16,
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::F64 => Dtype::F64,
            other => {
                let other = OtherTensor { dtype: format!("{other:?}"), shape: info.shape.clone() };
                contents.others.insert(name, other);
                continue;
            }
        };
        let (start, end) = info.data_offsets;
        let tensor = Tensor::from_owner(info.shape.clone(), dtype, owner.clone(), data + start..data + end)
            .map_err(|e| refuse(format!("tensor `{}`: {e}", name.escape_debug())))?;
        contents.tensors.insert(name, tensor);
    }
    contents.metadata.extend(metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
    Ok(contents)
}

/// The header's length and contents, or the reason why the file has none that fits it.
fn parse(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    let size = bytes.len();
    let Some(length) = bytes.first_chunk::<LENGTH>() else {
        return Err(format!("expected at least {LENGTH} bytes, found {size}"));
    };
    let length = u64::from_le_bytes(*length);
    // The crate adds up offsets unchecked, so a header whose tensors end outside the file is refused here.
    let header = usize::try_from(length).ok().and_then(|n| bytes.get(LENGTH..n.checked_add(LENGTH)?));
    let Some(header) = header else {
        return Err(format!(
            "expected a header of {length} bytes as its first 8 bytes say, found a file of {size}"
        ));
    };
    let room = size - LENGTH - header.len();
    let text = std::str::from_utf8(header).ok();
    if let Some(metadata) = text.and_then(|text| serde_json::from_str::<Metadata>(text).ok()) {
        let end = metadata.tensors().values().map(|t| t.data_offsets.1).max().unwrap_or(0);
        if end != room {
            let what = if end > room { "truncated" } else { "trailing bytes" };
            return Err(format!("{what}: expected {end} bytes of tensors, found {room}"));
        }
    }
    SafeTensors::read_metadata(bytes).map_err(|e| match e {
        SafeTensorError::InvalidOffset(tensor) => {
            format!(
                "tensor `{}`: its data_offsets overlap another tensor, leave a gap or run backwards",
                tensor.escape_debug()
            )
        }
        SafeTensorError::TensorInvalidInfo => {
            "a tensor's shape and dtype do not fill its data_offsets".into()
        }
        other => other.to_string(),
    })
}
