//! Inputs of `run`, `verify` and `prune`: images from files, folders and standard input, or a tensor.
//!
//! [`Inputs::open`] first examines what the command line names, so that a tensor can set the size of the network. Pixels are read
//! batch by batch ([`Batches`]).

mod batches;
mod budget;
mod tensor;

pub use batches::{Batches, Input};

use super::Failure;
use super::args::Shard;
use budget::{Budget, Share};
use rmnet::{files, images};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tensor::TensorInput;

/// Maximum bytes of an image file, and of all image files read at a time.
const MAX_IMAGE_FILE: usize = 256 << 20;

/// Maximum bytes of a tensor read from standard input; a tensor in a file is memory-mapped.
const MAX_PIPED_TENSOR: u64 = 4 << 30;

/// The inputs named on the command line.
pub struct Inputs {
    kind: Kind,
    /// Number of files in folders that are not images.
    skipped: usize,
}

enum Kind {
    Images(Vec<Source>),
    Tensor(TensorInput),
}

/// An image that is not yet decoded.
pub struct Source {
    name: String,
    place: Place,
}

enum Place {
    File(PathBuf),
    /// Read from standard input.
    Read(Vec<u8>),
}

/// The type of an input, detected from its first bytes.
#[derive(PartialEq, Eq)]
enum Content {
    Image,
    Tensor,
    Other,
}

/// Number of bytes that [`Content::of`] examines.
const START: usize = 12;

impl Content {
    fn of(start: &[u8]) -> Content {
        // A safetensors file begins with the header's length and `{`.
        let tensor = |s: &[u8]| s.len() > 8 && s[8] == b'{' && s[4..8] == [0; 4];
        match start {
            s if images::format(s).is_some() => Content::Image,
            s if tensor(s) => Content::Tensor,
            _ => Content::Other,
        }
    }

    fn of_file(path: &Path) -> io::Result<Content> {
        let mut start = vec![];
        files::open(path)?.take(START as u64).read_to_end(&mut start)?;
        Ok(Content::of(&start))
    }
}

impl Inputs {
    /// Examines the paths: any number of images and folders of images, or one tensor. Images are not decoded here.
    pub fn open(paths: &[PathBuf], shard: Option<Shard>) -> Result<Inputs, Failure> {
        let (mut sources, mut skipped) = (vec![], 0);
        let mut stdin = false;
        for path in paths {
            let found = if path.as_os_str() == "-" {
                if std::mem::replace(&mut stdin, true) {
                    return Err(Failure::usage("-: standard input is read once, found it named twice"));
                }
                piped("-", io::stdin().lock())?
            } else {
                match fs::metadata(path) {
                    Ok(m) if m.is_dir() => {
                        let members = members(path, &mut skipped)?;
                        sources.extend(members.into_iter().map(Source::file));
                        continue;
                    }
                    Ok(m) if !m.is_file() => {
                        let why = "expected a regular file or a folder, found a pipe, a device or the like; `-` reads standard input";
                        return Err(Failure::input(format!("{}: {why}", path.display())));
                    }
                    _ if is_tensor(path) => Found::Tensor(TensorInput::open(path)?),
                    // A missing file is reported when it is read.
                    _ => Found::Image(Source::file(path.clone())),
                }
            };
            match found {
                Found::Image(source) => sources.push(source),
                Found::Tensor(_) if paths.len() > 1 => {
                    return Err(Failure::usage(format!(
                        "{}: a tensor is run alone, found {} inputs",
                        path.display(),
                        paths.len()
                    )));
                }
                Found::Tensor(_) if shard.is_some() => {
                    let path = path.display();
                    return Err(Failure::usage(format!(
                        "--shard: images are shared out, found a tensor, {path}"
                    )));
                }
                Found::Tensor(tensor) => return Ok(Inputs { kind: Kind::Tensor(tensor), skipped }),
            }
        }
        if let Some(Shard { index, of }) = shard {
            sources = sources.into_iter().skip(index - 1).step_by(of).collect();
        }
        Ok(Inputs { kind: Kind::Images(sources), skipped })
    }

    /// Number of inputs; for a tensor, the number of images in it.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Images(sources) => sources.len(),
            Kind::Tensor(tensor) => tensor.len(),
        }
    }

    /// Number of files in folders that are not images by their first bytes.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The input size of the network: the tensor's own, else the value of `--size`.
    pub fn size(&self, asked: Option<[usize; 2]>) -> Result<Option<[usize; 2]>, Failure> {
        match &self.kind {
            Kind::Images(_) => Ok(asked),
            Kind::Tensor(tensor) => tensor.size(asked).map(Some),
        }
    }
}

enum Found {
    Image(Source),
    Tensor(TensorInput),
}

impl Source {
    fn file(path: PathBuf) -> Source {
        Source { name: path.display().to_string(), place: Place::File(path) }
    }
}

/// Whether a regular file holds a tensor, by its name or its first bytes.
fn is_tensor(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"))
        || Content::of_file(path).is_ok_and(|c| c == Content::Tensor)
}

/// Reads standard input, whose type is detected from its first bytes before the rest is read.
fn piped(name: &str, mut from: impl Read) -> Result<Found, Failure> {
    let refuse = |e: String| Failure::input(format!("{name}: {e}"));
    let mut bytes = vec![];
    (&mut from).take(START as u64).read_to_end(&mut bytes).map_err(|e| refuse(e.to_string()))?;
    let content = Content::of(&bytes);
    let most = match content {
        Content::Image => MAX_IMAGE_FILE as u64,
        Content::Tensor => MAX_PIPED_TENSOR,
        Content::Other => {
            let why = images::decode(&bytes, images::ColorMode::Rgb, Default::default());
            return Err(refuse(
                why.map_or_else(|e| e.to_string() + ", and no .safetensors", |_| String::new()),
            ));
        }
    };
    from.take(most + 1 - START as u64).read_to_end(&mut bytes).map_err(|e| refuse(e.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(refuse(format!("expected up to {} MiB, found more", most >> 20)));
    }
    Ok(match content {
        Content::Tensor => Found::Tensor(TensorInput::from_bytes(name, bytes)?),
        _ => Found::Image(Source { name: name.into(), place: Place::Read(bytes) }),
    })
}

/// The images of a folder, by name. Subfolders are ignored. Files that neither begin like an image nor have an image's extension
/// are counted as skipped.
fn members(folder: &Path, skipped: &mut usize) -> Result<Vec<PathBuf>, Failure> {
    let refuse = |e: String| Failure::input(format!("{}: {e}", folder.display()));
    let mut images = vec![];
    for entry in fs::read_dir(folder).map_err(|e| refuse(e.to_string()))? {
        let path = entry.map_err(|e| refuse(e.to_string()))?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let named = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        let named = named.is_some_and(|e| matches!(&*e, "png" | "jpg" | "jpeg" | "jpe" | "jfif" | "mpo"));
        // Reading a pipe in a folder could block forever.
        let regular = fs::metadata(&path).map_or(named, |m| m.is_file());
        if !hidden && regular && (named || Content::of_file(&path).is_ok_and(|c| c == Content::Image)) {
            images.push(path);
        } else {
            *skipped += 1;
        }
    }
    if images.is_empty() {
        return Err(refuse("expected a folder of images, found no PNG or JPEG image in it (folders inside are not looked into)".into()));
    }
    images.sort();
    Ok(images)
}

/// A file in memory, with its share of the budget for files.
struct Loaded<'s> {
    bytes: std::borrow::Cow<'s, [u8]>,
    _share: Option<Share<'s>>,
}

impl Source {
    fn read<'s>(&'s self, budget: &'s Budget) -> Result<Loaded<'s>, String> {
        let path = match &self.place {
            Place::Read(bytes) => return Ok(Loaded { bytes: bytes.into(), _share: None }),
            Place::File(path) => path,
        };
        let file = files::open(path).map_err(|e| e.to_string())?;
        let length = file.metadata().map_err(|e| e.to_string())?.len();
        let share = usize::try_from(length).ok().and_then(|n| budget.take(n)).ok_or_else(|| {
            format!("expected an image file of up to {} MiB, found {length} bytes", budget.total() >> 20)
        })?;
        // Reads no more than was reserved; a file that grows meanwhile is incomplete.
        let bytes = files::read_from(file, length).map_err(|e| e.to_string())?;
        Ok(Loaded { bytes: bytes.into(), _share: Some(share) })
    }
}
