//! Detects the format of a file from its contents, since extensions such as `.bin` and `.pt` are ambiguous.

use super::{CheckpointError, Format};

/// Bytes in front of a safetensors header, which is a JSON object.
const LENGTH: usize = 8;

/// Offset of the format's magic number in a tar archive.
const TAR_MAGIC: usize = 257;

/// The format of a file. A file of no known kind is reported as safetensors, whose reader then says what is wrong with it.
pub(super) fn recognise(bytes: &[u8], origin: &str) -> Result<Format, CheckpointError> {
    // Checked first, since the length of a safetensors header may look like another format's magic number.
    if is_safetensors(bytes) {
        return Ok(Format::Safetensors);
    }
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") {
        return Ok(Format::PyTorchZip);
    }
    // A pickle of protocol 2 or later, or the magic number in protocol 1.
    if matches!(bytes, [0x80, 2..=5, ..]) || begins(b"L119547037146038801333356L\n") {
        return Ok(Format::PyTorchLegacy);
    }
    match other(bytes) {
        Some(found) => Err(CheckpointError::Unsupported { origin: origin.into(), found: found.into() }),
        None => Ok(Format::Safetensors),
    }
}

fn is_safetensors(bytes: &[u8]) -> bool {
    let Some(length) = bytes.first_chunk::<LENGTH>() else { return false };
    bytes.get(LENGTH) == Some(&b'{') && u64::from_le_bytes(*length) <= (bytes.len() - LENGTH) as u64
}

/// For files that are often mistaken for checkpoints: what the file is, and what to do instead.
fn other(bytes: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    if begins(b"version https://git-lfs") {
        return Some("a Git LFS pointer, not the file it stands for; fetch that with `git lfs pull`");
    }
    let text = bytes.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let tagged = |tag: &[u8]| text.get(..tag.len()).is_some_and(|t| t.eq_ignore_ascii_case(tag));
    if tagged(b"<!doctype") || tagged(b"<html") || tagged(b"<?xml") {
        return Some(
            "a web page, not a checkpoint: the download was answered by a page; fetch the file itself",
        );
    }
    if begins(b"\x89HDF") {
        return Some("an HDF5 file (Keras, TensorFlow); expected safetensors or a PyTorch state dict");
    }
    // An ONNX file begins with the field `ir_version`, one byte, followed by the producer's name.
    if matches!(bytes, [0x08, _, 0x12, ..]) {
        return Some(
            "this looks like an ONNX file; rmnet writes those, and reads the checkpoint they were made from",
        );
    }
    if begins(b"\x93NUMPY") {
        return Some("a NumPy array; expected safetensors or a PyTorch state dict");
    }
    if begins(b"GGUF") {
        return Some("a GGUF file; expected safetensors or a PyTorch state dict");
    }
    if bytes.get(4..8) == Some(b"TFL3") {
        return Some("a TensorFlow Lite model; expected safetensors or a PyTorch state dict");
    }
    if bytes.get(TAR_MAGIC..TAR_MAGIC + 5) == Some(b"ustar") {
        return Some(
            "a tar archive: unpack it, or where PyTorch wrote it before 0.1.10, load it in PyTorch and save it again with torch.save",
        );
    }
    let packed: [&[u8]; 5] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c"];
    if packed.into_iter().any(begins) {
        return Some("a compressed file; unpack it first");
    }
    if begins(b"\x89PNG") || begins(b"\xff\xd8\xff") {
        return Some("an image; expected safetensors or a PyTorch state dict");
    }
    if text.first() == Some(&b'{') {
        return Some(
            "JSON text; expected weights: safetensors, a PyTorch state dict, or an index called `*.index.json`",
        );
    }
    None
}
