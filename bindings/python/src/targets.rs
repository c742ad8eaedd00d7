//! Files to write: models, in place of nothing or of a model of the same format.

use crate::errors::Failure;
use std::io::Read;
use std::path::Path;

/// A file format of models.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    Onnx,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Onnx => "onnx",
        }
    }

    /// The format that a file name ends in, `.safetensors` or `.onnx`.
    pub fn of(path: &Path) -> Result<Format, Failure> {
        let formats = [Format::Safetensors, Format::Onnx];
        let named = |f: &Format| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(f.name()));
        formats.into_iter().find(named).ok_or_else(|| {
            let path = path.display();
            Failure::option(format!("{path}: expected a name that ends in .safetensors or .onnx"))
        })
    }
}

/// Refuses a file that is read, or that would be read as a part of the checkpoint; one that is no model; and one that cannot be written.
pub fn check(target: &Path, checkpoint: &Path, format: Format) -> Result<(), Failure> {
    if let (Ok(read), Ok(found)) = (checkpoint.canonicalize(), target.canonicalize()) {
        let is_index = read.to_string_lossy().ends_with(".index.json");
        let folder = if is_index { read.parent() } else { Some(read.as_path()) };
        let weights = format == Format::Safetensors && found.parent() == folder;
        if read == found || weights {
            let why =
                "expected a file of its own to write, found one that is read from, or beside what is read";
            return Err(Failure::option(format!("{}: {why}", target.display())));
        }
    }
    check_overwrite(target, format)?;
    let unwritable = |e: std::io::Error| Failure::file(format!("cannot write {}: {e}", target.display()), &e);
    rmnet::output::try_write(target).map_err(unwritable)
}

/// Refuses to overwrite a file that is not a model of the format, by its first bytes.
fn check_overwrite(target: &Path, format: Format) -> Result<(), Failure> {
    let Ok(file) = rmnet::files::open(target) else { return Ok(()) };
    let length = file.metadata().map_or(0, |m| m.len());
    let mut start = vec![];
    file.take(9).read_to_end(&mut start).map_err(|e| Failure::file(e.to_string(), &e))?;
    let ours = match (format, start.as_slice()) {
        (_, []) => true,
        // The length of the header, then the `{` of its JSON object.
        (Format::Safetensors, &[a, b, c, d, e, f, g, h, b'{']) => {
            u64::from_le_bytes([a, b, c, d, e, f, g, h]) < length
        }
        // The field `ir_version`, a small number.
        (Format::Onnx, &[0x08, version, ..]) => version < 0x80,
        _ => false,
    };
    match ours {
        true => Ok(()),
        false => Err(Failure::option(format!(
            "{}: there is a file that is no {} model, it is not overwritten",
            target.display(),
            format.name()
        ))),
    }
}
