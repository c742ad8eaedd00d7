//! Decodes PNG and JPEG files to the same pixels as Pillow's `Image.open(file).convert(mode)`.
//!
//! A damaged or truncated file is refused, never decoded in part. EXIF orientation is applied on request, as by Pillow's
//! `ImageOps.exif_transpose`.
//!
//! ```
//! use rmnet::images::{self, ColorMode, Orientation};
//!
//! let bytes = std::fs::read("assets/digits/images/0374_7.png")?;
//! let pixels = images::decode(&bytes, ColorMode::Rgb, Orientation::Apply)?;
//! assert_eq!(pixels.data.len(), pixels.width * pixels.height * 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod guard;
mod jpeg;
mod orientation;
mod pillow;
mod png;

pub use crate::size::MAX_IMAGE_SIDE;
#[doc(hidden)] // The program's panic hook asks it.
pub use guard::is_decoding;

/// Maximum memory for decoding one image, in bytes: 512 MiB. It includes the pixels in the stored and the requested mode, a copy that is
/// turned upright, and the decoder's own memory, but not the bytes of the file.
pub const MAX_BYTES: usize = 512 << 20;

/// The channels of a pixel, with Pillow's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColorMode {
    /// One channel, `L`: colour becomes luma by ITU-R 601.
    Gray,
    /// Three channels, `RGB`: transparency is dropped.
    Rgb,
    /// Four channels, `RGBA`: only images that have transparency are accepted.
    Rgba,
}

impl ColorMode {
    /// The mode with this number of channels (1, 3 or 4); `None` for other numbers.
    pub fn of_channels(channels: usize) -> Option<ColorMode> {
        match channels {
            1 => Some(ColorMode::Gray),
            3 => Some(ColorMode::Rgb),
            4 => Some(ColorMode::Rgba),
            _ => None,
        }
    }

    /// Bytes of a pixel.
    pub fn channels(self) -> usize {
        match self {
            ColorMode::Gray => 1,
            ColorMode::Rgb => 3,
            ColorMode::Rgba => 4,
        }
    }
}

/// How a file's EXIF orientation is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// The image is turned upright.
    #[default]
    Apply,
    /// Pixels stay in the order of the file, as in loaders that ignore EXIF.
    Ignore,
}

/// A decoded image: rows of interleaved 8-bit pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes of a pixel: 1, 3 or 4.
    pub channels: usize,
    /// `height * width * channels` bytes.
    pub data: Vec<u8>,
}

/// The supported file formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG, including the first image of an MPO file.
    Jpeg,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Png => "PNG",
            Format::Jpeg => "JPEG",
        })
    }
}

/// Why a file cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Neither PNG nor JPEG.
    #[error("expected a PNG or JPEG image, found {found}")]
    Format {
        /// The format that the first bytes indicate.
        found: String,
    },
    /// A file that violates its format's rules, or ends too early.
    #[error("a {format} image that is damaged or cut short: {reason}")]
    Damaged {
        /// Its format.
        format: Format,
        /// What is wrong, and where.
        reason: String,
    },
    /// An intact file of a kind that is not supported.
    #[error("a {format} image of a kind that is not supported: {mode}")]
    Unsupported {
        /// Its format.
        format: Format,
        /// The kind, by its name.
        mode: String,
    },
    /// Too many pixels.
    #[error("expected an image of sides up to {MAX_IMAGE_SIDE} that decodes in {} MiB, found {width}x{height} pixels{needs}", MAX_BYTES >> 20)]
    TooLarge {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// The memory that would be needed, as a clause; empty if a side is too long.
        needs: String,
    },
    /// [`ColorMode::Rgba`] was requested for an image without transparency.
    #[error("expected an image with an alpha channel, found {found}")]
    NoAlpha {
        /// Kind of its pixels.
        found: String,
    },
}

/// The format, from the first bytes of a file.
pub fn format(bytes: &[u8]) -> Option<Format> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(Format::Png)
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Some(Format::Jpeg)
    } else {
        None
    }
}

/// Size and memory of an image, from the headers of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Pixels in a row, as the file stores them.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Maximum bytes of memory of [`decode`], including its result: up to [`MAX_BYTES`].
    pub bytes: usize,
}

/// The memory that [`decode`] will need, from the headers of a file only, for programs that decode several images at a time in bounded
/// memory.
///
/// # Errors
/// As [`decode`], for errors that the headers show, such as an image that is too large.
pub fn needs(bytes: &[u8], mode: ColorMode) -> Result<Needs, ImageError> {
    let format = known_format(bytes)?;
    let needs = match format {
        Format::Png => png::needs,
        Format::Jpeg => jpeg::needs,
    };
    guard::guarded(|| needs(bytes, mode)).unwrap_or_else(|| Err(panicked(format)))
}

fn known_format(bytes: &[u8]) -> Result<Format, ImageError> {
    format(bytes).ok_or_else(|| ImageError::Format { found: describe(bytes) })
}

fn panicked(format: Format) -> ImageError {
    ImageError::Damaged { format, reason: "the decoder gave up on its contents".to_string() }
}

/// Decodes a PNG or JPEG file to pixels of `mode`, using at most [`MAX_BYTES`] of memory.
///
/// # Errors
/// [`ImageError`] says why the file is not supported or what is wrong with it. An image that is too large is refused by its headers, before
/// memory is allocated. No file makes this function panic.
pub fn decode(bytes: &[u8], mode: ColorMode, orientation: Orientation) -> Result<Pixels, ImageError> {
    let format = known_format(bytes)?;
    let decoder = match format {
        Format::Png => png::decode,
        Format::Jpeg => jpeg::decode,
    };
    decode_with(decoder, format, bytes, mode, orientation)
}

type Decoder = fn(&[u8], ColorMode) -> Result<Decoded, ImageError>;

/// Pixels in the file's orientation, and that orientation (1 to 8, as in EXIF).
struct Decoded {
    pixels: Pixels,
    orientation: u8,
}

fn decode_with(
    decoder: Decoder,
    format: Format,
    bytes: &[u8],
    mode: ColorMode,
    orientation: Orientation,
) -> Result<Pixels, ImageError> {
    let Decoded { pixels, orientation: stored } =
        guard::guarded(|| decoder(bytes, mode)).unwrap_or_else(|| Err(panicked(format)))?;
    match orientation {
        Orientation::Apply if stored != 1 => {
            check_size(pixels.width, pixels.height, turned(pixels.data.len() as u64))?;
            Ok(orientation::transpose(pixels, stored))
        }
        _ => Ok(pixels),
    }
}

/// Bytes needed to turn an image of `pixels` bytes upright: the image and a copy.
fn turned(pixels: u64) -> u64 {
    2 * pixels
}

/// Refuses sides or memory above the limits; `bytes` is the memory that decoding takes.
fn check_size(width: usize, height: usize, bytes: u64) -> Result<(), ImageError> {
    if width.max(height) > MAX_IMAGE_SIDE {
        return Err(ImageError::TooLarge { width, height, needs: String::new() });
    }
    if bytes > MAX_BYTES as u64 {
        let needs = format!(", which takes {} MiB", bytes.div_ceil(1 << 20));
        return Err(ImageError::TooLarge { width, height, needs });
    }
    Ok(())
}

/// Describes a file that is neither PNG nor JPEG.
fn describe(bytes: &[u8]) -> String {
    let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|b| b.starts_with(magic));
    let known = [
        (at(0, b"GIF8"), "a GIF image"),
        (at(0, b"BM"), "a BMP image"),
        (at(0, b"RIFF") && at(8, b"WEBP"), "a WebP image"),
        (at(0, b"II*\0") || at(0, b"MM\0*"), "a TIFF image"),
        (at(4, b"ftypavif"), "an AVIF image"),
        (at(4, b"ftyphei") || at(4, b"ftypmif1"), "a HEIC image"),
        (at(0, b"\0\0\0\x0cjP  ") || at(0, b"\xff\x4f\xff\x51"), "a JPEG 2000 image"),
        (at(0, b"\xff\x0a") || at(0, b"\0\0\0\x0cJXL "), "a JPEG XL image"),
        (bytes.is_empty(), "an empty file"),
    ];
    known.iter().find(|(is, _)| *is).map_or("a file that is no image", |(_, name)| name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic of a decoder is reported as a damaged file, on this thread and on others.
    #[test]
    fn a_panicking_decoder_is_an_error() {
        // A quiet hook for this test alone would race with other tests: the message on stderr stays.
        let panics: Decoder = |_, _| panic!("index out of bounds");
        let error =
            move || decode_with(panics, Format::Jpeg, b"", ColorMode::Rgb, Orientation::Apply).unwrap_err();
        for found in [error(), std::thread::spawn(error).join().unwrap()] {
            assert!(matches!(&found, ImageError::Damaged { format: Format::Jpeg, .. }), "{found}");
        }
        assert!(!is_decoding());
    }

    #[test]
    fn other_files_are_named() {
        let refuse =
            |bytes: &[u8]| decode(bytes, ColorMode::Rgb, Orientation::Apply).unwrap_err().to_string();
        for (bytes, name) in
            [(&b"GIF89a"[..], "GIF"), (b"RIFF0000WEBPVP8 ", "WebP"), (b"", "empty"), (b"hello", "no image")]
        {
            assert!(refuse(bytes).contains(name), "{}", refuse(bytes));
        }
    }
}
