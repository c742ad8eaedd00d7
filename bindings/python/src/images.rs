//! Images as Python has them: paths, encoded bytes, and arrays of 8-bit pixels.

use crate::errors::{Failure, raise};
use numpy::{PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use rmnet::images::{self, ColorMode, Orientation};
use rmnet::{ImageView, PixelFormat, Preprocess, Session, Size, threads};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Largest file that is read as an image, as in the program.
const MAX_FILE: u64 = 256 << 20;

/// An image that stays Python's until it is read.
#[derive(FromPyObject)]
enum Image<'py> {
    Encoded(PyBackedBytes),
    Path(PathBuf),
    /// `[height, width, channels]`, contiguous, and whether blue comes before red.
    Pixels(PyReadonlyArray3<'py, u8>, bool),
}

/// Images to run at once, in order.
#[derive(FromPyObject)]
#[pyo3(transparent)]
pub struct Images<'py>(Vec<Image<'py>>);

/// An image that is read without the GIL.
pub enum Source<'a> {
    Encoded(&'a [u8], usize),
    Path(&'a Path),
    Pixels(ImageView<'a>, usize),
}

impl Images<'_> {
    /// The images, counted from `first` for errors to name.
    pub fn sources(&self, py: Python<'_>, first: usize) -> PyResult<Vec<Source<'_>>> {
        let sources = self.0.iter().zip(first..).map(|(image, index)| {
            Ok(match image {
                Image::Encoded(bytes) => Source::Encoded(bytes, index),
                Image::Path(path) => Source::Path(path),
                Image::Pixels(array, bgr) => Source::Pixels(view(array, *bgr, index)?, index),
            })
        });
        raise(py, sources.collect())
    }
}

fn view<'a>(array: &'a PyReadonlyArray3<'_, u8>, bgr: bool, index: usize) -> Result<ImageView<'a>, Failure> {
    let &[height, width, channels] = array.shape() else {
        return Err(Failure::new("InputError", format!("image {index}: expected three dimensions")));
    };
    let format = match (channels, bgr) {
        (1, _) => PixelFormat::Gray8,
        (3, false) => PixelFormat::Rgb8,
        (3, true) => PixelFormat::Bgr8,
        (4, false) => PixelFormat::Rgba8,
        (4, true) => PixelFormat::Bgra8,
        _ => {
            let why =
                format!("image {index}: expected 1, 3 or 4 channels in the last dimension, found {channels}");
            return Err(Failure::new("InputError", why));
        }
    };
    let refused = || Failure::new("InputError", format!("image {index}: expected pixels in C order"));
    // `as_slice` takes columns first too.
    let pixels = array.as_slice().ok().filter(|_| array.is_c_contiguous());
    Ok(ImageView::new(pixels.ok_or_else(refused)?, Size::new(height, width), format))
}

/// The input for a batch of images: decoded, resized and normalised on the threads that all sessions share, whichever compute.
pub fn decoded(session: &Session, sources: &[Source<'_>]) -> Result<Vec<f32>, Failure> {
    let [_, channels, height, width] = session.input_shape();
    let planes = threads::map(sources.len(), |i| planes(session.preprocess(), channels, &sources[i]));
    let mut input = Vec::with_capacity(sources.len() * channels * height * width);
    for image in planes {
        input.extend(image?);
    }
    Ok(input)
}

fn planes(preprocess: &Preprocess, channels: usize, source: &Source<'_>) -> Result<Vec<f32>, Failure> {
    let apply = |view: ImageView<'_>| {
        preprocess.apply(view, channels).map_err(|e| Failure::new("InputError", e.to_string()))
    };
    let decode = |bytes: &[u8]| -> Result<Vec<f32>, Failure> {
        if is_deep_gray(bytes) {
            let why =
                "expected 8 bits a channel, found 16-bit gray, Pillow's mode I;16: scale it to mode L or RGB";
            return Err(Failure::new("DtypeError", why));
        }
        let Some(mode) = ColorMode::of_channels(channels) else {
            let why = format!(
                "the network reads {channels} channels, an image has 1, 3 or 4: pass an array to `run`"
            );
            return Err(Failure::new("InputError", why));
        };
        apply(ImageView::from(&images::decode(bytes, mode, Orientation::Apply)?))
    };
    match source {
        Source::Encoded(bytes, index) => decode(bytes).map_err(|e| e.of(&format!("image {index}"))),
        Source::Pixels(view, index) => apply(*view).map_err(|e| e.of(&format!("image {index}"))),
        Source::Path(path) => {
            let name = path.display().to_string();
            read(path).and_then(|bytes| decode(&bytes)).map_err(|e| e.of(&name))
        }
    }
}

/// Whether a file is a PNG of 16-bit gray. The library clips its values at 255, as Pillow's conversion to 8 bits does, and most such
/// images would be white. The Python half refuses them when Pillow has opened them.
fn is_deep_gray(bytes: &[u8]) -> bool {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR");
    // After width and height: bits of a sample, and 0 for gray.
    header.and_then(|header| header.get(8..10)) == Some(&[16, 0])
}

/// The bytes of an image file.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    rmnet::files::read(path, MAX_FILE).map_err(|e| match e.kind() {
        ErrorKind::FileTooLarge => Failure::new("ImageError", e.to_string()),
        _ => Failure::file(e.to_string(), &e),
    })
}
