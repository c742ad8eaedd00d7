//! The safetensors header: checked by the `safetensors` crate, turned into tensors that borrow the file.

use super::CheckpointError;
use crate::tensor::{Dtype, Owner, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError};
use std::collections::BTreeMap;

/// Bytes of the header's length in front of it.
const LENGTH: usize = 8;

type Read = (BTreeMap<String, Tensor>, BTreeMap<String, String>);

/// The tensors by name, and the `__metadata__` map. `num_batches_tracked` is left out.
pub(super) fn read(owner: &Owner, origin: &str) -> Result<Read, CheckpointError> {
    let bytes = owner.bytes();
    let refuse = |reason: String| CheckpointError::Format { origin: origin.into(), reason };
    let (header_len, metadata) = parse(bytes).map_err(refuse)?;
    let data = LENGTH + header_len;

    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        let dtype = match info.dtype {
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::BF16 => Dtype::BF16,
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::F64 => Dtype::F64,
            other => {
                let found = format!("{other:?}");
                return Err(CheckpointError::Dtype { origin: origin.into(), tensor: name, found });
            }
        };
        let (start, end) = info.data_offsets;
        let tensor = Tensor::from_owner(info.shape.clone(), dtype, owner.clone(), data + start..data + end)
            .map_err(|e| refuse(format!("tensor `{name}`: {e}")))?;
        tensors.insert(name, tensor);
    }
    let map = metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((tensors, map))
}

/// The header's length and contents, or the reason why the file has none that fits it.
fn parse(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    let size = bytes.len();
    let Some(length) = bytes.first_chunk::<LENGTH>() else {
        return Err(format!("expected at least {LENGTH} bytes, found {size}"));
    };
    if let Some(format) = mistaken(bytes) {
        return Err(format);
    }
    let length = u64::from_le_bytes(*length);
    // The crate adds up offsets unchecked, so a header is refused here whose tensors end outside the file.
    let header = usize::try_from(length).ok().and_then(|n| bytes.get(LENGTH..n.checked_add(LENGTH)?));
    let Some(header) = header else {
        return Err(format!(
            "expected a header of {length} bytes as its first 8 bytes say, found a file of {size}"
        ));
    };
    let room = size - LENGTH - header.len();
    if let Ok(metadata) = serde_json::from_slice::<Metadata>(header) {
        let end = metadata.tensors().values().map(|t| t.data_offsets.1).max().unwrap_or(0);
        if end != room {
            let what = if end > room { "truncated" } else { "trailing bytes" };
            return Err(format!("{what}: expected {end} bytes of tensors, found {room}"));
        }
    }
    SafeTensors::read_metadata(bytes).map_err(|e| match e {
        SafeTensorError::InvalidOffset(tensor) => {
            format!(
                "tensor `{tensor}`: its data_offsets overlap another tensor, leave a gap or run backwards"
            )
        }
        SafeTensorError::TensorInvalidInfo => {
            "a tensor's shape and dtype do not fill its data_offsets".into()
        }
        other => other.to_string(),
    })
}

/// A name for files that are often taken for safetensors.
fn mistaken(bytes: &[u8]) -> Option<String> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
        return Some(
            "this is a PyTorch pickle; save the state dict with `safetensors.torch.save_file` first".into(),
        );
    }
    // The fields of an ONNX file begin with the version of its format, a byte, and go on with who wrote it.
    if matches!(bytes, [0x08, _, 0x12, ..]) {
        return Some(
            "this looks like an ONNX file; rmnet writes those, and reads the checkpoint they were made from"
                .into(),
        );
    }
    bytes
        .starts_with(b"version https://git-lfs")
        .then(|| "this is a Git LFS pointer, not the file; fetch it with `git lfs pull`".into())
}
