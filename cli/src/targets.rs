//! Files that a verb writes.

use super::args::FormatArg;
use super::failure::Failure;
use std::io::Read;
use std::path::Path;

/// Refuses a target that is not a regular file, that is one of the files read, or that cannot be written. Called before anything
/// that takes long.
pub fn check_target(target: &Path, read: &[&Path]) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::usage(format!("{}: {why}", target.display())));
    if std::fs::metadata(target).is_ok_and(|found| !found.is_file()) {
        return refuse("expected a file to write, found something that is no regular file");
    }
    let same = |p: &Path| match (p.canonicalize(), target.canonicalize()) {
        // From a folder, weights and configs are read; with an index, the shards beside it.
        (Ok(read), Ok(target)) => {
            let kind = target.extension().is_some_and(|e| e == "safetensors" || e == "json");
            let is_index = read.to_string_lossy().ends_with(".index.json");
            let folder = if is_index { read.parent() } else { Some(read.as_path()) };
            read == target || (kind && target.parent() == folder)
        }
        _ => false,
    };
    if read.iter().any(|p| same(p)) {
        return refuse(
            "expected a file of its own to write, found one that is read from, or beside what is read",
        );
    }
    rmnet::output::try_write(target).map_err(unwritable(target))
}

/// Writes a file completely or not at all.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    rmnet::output::write_whole(path, |partial| std::fs::write(partial, bytes)).map_err(unwritable(path))
}

pub fn unwritable(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    move |e| Failure::input(format!("cannot write {}: {e}", path.display()))
}

/// Refuses to overwrite a file that is not a model of the given format.
pub fn check_overwrite(target: &Path, format: FormatArg) -> Result<(), Failure> {
    let Ok(file) = rmnet::files::open(target) else { return Ok(()) };
    let mut start = vec![];
    let length = file.metadata().map_or(0, |m| m.len());
    file.take(9).read_to_end(&mut start).map_err(Failure::input)?;
    let ours = match (format, start.as_slice()) {
        (_, []) => true,
        // The length of the header, then the `{` of its JSON object.
        (FormatArg::Safetensors, &[a, b, c, d, e, f, g, h, b'{']) => {
            u64::from_le_bytes([a, b, c, d, e, f, g, h]) < length
        }
        // The field `ir_version`, a small number.
        (FormatArg::Onnx, &[0x08, version, ..]) => version < 0x80,
        _ => false,
    };
    if ours {
        return Ok(());
    }
    let name = format.name();
    Err(Failure::usage(format!(
        "{}: there is a file that is no {name} model, it is not overwritten",
        target.display()
    )))
}
