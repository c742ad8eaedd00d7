//! Images: pixels in the caller's memory, and PNG and JPEG files.

use super::pointers;
use super::status::{Failure, answer, call, rmnet_status, silence_decoders};
use rmnet::images::{self, ColorMode, Orientation, Pixels};
use rmnet::{ImageView, PixelFormat, Size};
use std::ffi::{c_char, c_void};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::ptr;

/// Maximum bytes of an image file, as the program has it.
const MAX_FILE: u64 = 256 << 20;

/// The order of a pixel's bytes in memory.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum rmnet_pixel_format {
    /// One byte: luma.
    RMNET_GRAY8 = 1,
    /// Red, green, blue.
    RMNET_RGB8 = 2,
    /// Blue, green, red.
    RMNET_BGR8 = 3,
    /// Red, green, blue, alpha.
    RMNET_RGBA8 = 4,
    /// Blue, green, red, alpha, as in the frames of most window systems and cameras.
    RMNET_BGRA8 = 5,
}

/// What is done about the orientation that a camera wrote into a file (EXIF).
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum rmnet_orientation {
    /// The image is turned upright.
    RMNET_ORIENTATION_APPLY = 0,
    /// Pixels stay in the order of the file.
    RMNET_ORIENTATION_IGNORE = 1,
}

/// An image in memory: rows of interleaved 8-bit pixels, the top row first. It borrows the pixels, which
/// whoever made it keeps until the call that it is passed to returns. The struct stays as it is in later
/// versions.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct rmnet_pixels {
    /// The first pixel of the top row.
    pub data: *const u8,
    /// Bytes at `data`: `height * stride`, of which the gap after the last row may be missing. Without gaps
    /// exactly the bytes of the pixels.
    pub len: usize,
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Bytes from the start of one row to the start of the next; 0 for rows without gaps.
    pub stride: usize,
    /// A value of rmnet_pixel_format.
    pub format: i32,
}

/// The views of a caller's images.
///
/// # Safety
/// The pixels of each are memory that nobody changes or frees for `'a`.
pub(crate) unsafe fn views<'a>(images: &[rmnet_pixels]) -> Result<Vec<ImageView<'a>>, Failure> {
    let view = |(index, image): (usize, &rmnet_pixels)| {
        let format = match image.format {
            1 => PixelFormat::Gray8,
            2 => PixelFormat::Rgb8,
            3 => PixelFormat::Bgr8,
            4 => PixelFormat::Rgba8,
            5 => PixelFormat::Bgra8,
            other => {
                return Err(Failure::usage(format!(
                    "image {index}: expected a format from RMNET_GRAY8 (1) to RMNET_BGRA8 (5), found {other}"
                )));
            }
        };
        let row = image.width.saturating_mul(format.bytes());
        let stride = if image.stride == 0 { row } else { image.stride };
        if stride < row {
            return Err(Failure::usage(format!(
                "image {index}: expected a stride of at least {row} bytes, a row of {} pixels, found {stride}",
                image.width
            )));
        }
        let needed = image.height.saturating_sub(1).saturating_mul(stride).saturating_add(row);
        if image.len < needed || (stride == row && image.len > needed) {
            return Err(Failure::usage(format!(
                "image {index}: expected {needed} bytes, {} rows of {stride}, found a length of {}",
                image.height, image.len
            )));
        }
        // SAFETY: as promised by the caller.
        let data = unsafe { pointers::values(image.data, image.len, &format!("image {index}: data")) }?;
        Ok(ImageView::new(data, Size::new(image.height, image.width), format).with_stride(stride))
    };
    images.iter().enumerate().map(view).collect()
}

/// A decoded image file. Made by rmnet_image_open() or rmnet_image_decode(), freed by
/// rmnet_image_free(). It does not change: any number of threads may read it.
pub struct rmnet_image {
    pixels: Pixels,
}

/// Reads a PNG or JPEG file.
///
/// `channels` is 1, 3 or 4, the channels of the network that the image is for: shape[1] of
/// rmnet_session_input_shape(). 4 is for images with transparency. `orientation` is a value of
/// rmnet_orientation. `path` is UTF-8, on Unix any bytes. The file has at most 256 MiB, and decoding
/// takes at most 512 MiB. On success `*image` is an image that the caller frees with
/// rmnet_image_free(); on failure it is NULL.
///
/// RMNET_ERROR_USAGE: a pointer is NULL, or `channels` or `orientation` is another number.
/// RMNET_ERROR_INPUT: the file cannot be read, is no PNG or JPEG file, is damaged, or is too large.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_image_open(
    path: *const c_char,
    channels: usize,
    orientation: i32,
    image: *mut *mut rmnet_image,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        pointers::store(image, ptr::null_mut(), "image")?;
        let path = pointers::path(path, "path")?;
        let (mode, orientation) = (color_mode(channels)?, known_orientation(orientation)?);
        let named = |e: &dyn std::fmt::Display| Failure::input(format!("{}: {e}", path.display()));
        let bytes = read(&path).map_err(|e| named(&e))?;
        silence_decoders();
        let pixels = images::decode(&bytes, mode, orientation).map_err(|e| named(&e))?;
        pointers::store(image, Box::into_raw(Box::new(rmnet_image { pixels })), "image")
    })
}

/// Decodes a PNG or JPEG file in memory, the `len` bytes at `bytes`, as rmnet_image_open() does, with the
/// same failures. The bytes are not needed after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_image_decode(
    bytes: *const c_void,
    len: usize,
    channels: usize,
    orientation: i32,
    image: *mut *mut rmnet_image,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        pointers::store(image, ptr::null_mut(), "image")?;
        let bytes = pointers::values(bytes.cast::<u8>(), len, "bytes")?;
        silence_decoders();
        let pixels = images::decode(bytes, color_mode(channels)?, known_orientation(orientation)?)?;
        pointers::store(image, Box::into_raw(Box::new(rmnet_image { pixels })), "image")
    })
}

/// Writes the pixels of an image, for rmnet_session_input_from_pixels(). `pixels->data` is lent: it is
/// valid until the image is freed. RMNET_ERROR_USAGE: a pointer is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_image_pixels(
    image: *const rmnet_image,
    pixels: *mut rmnet_pixels,
) -> rmnet_status {
    // SAFETY: the caller keeps the rules of the header.
    call(|| unsafe {
        let Pixels { width, height, channels, data, .. } = &pointers::given(image, "image")?.pixels;
        let format = match channels {
            1 => rmnet_pixel_format::RMNET_GRAY8,
            3 => rmnet_pixel_format::RMNET_RGB8,
            _ => rmnet_pixel_format::RMNET_RGBA8,
        };
        let view = rmnet_pixels {
            data: data.as_ptr(),
            len: data.len(),
            height: *height,
            width: *width,
            stride: width * channels,
            format: format as i32,
        };
        pointers::store(pixels, view, "pixels")
    })
}

/// Frees an image and its pixels. NULL is legal and does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rmnet_image_free(image: *mut rmnet_image) {
    if !image.is_null() {
        // SAFETY: an image that was made by `Box::into_raw`, and that nobody uses any more.
        answer((), || drop(unsafe { Box::from_raw(image) }));
    }
}

fn color_mode(channels: usize) -> Result<ColorMode, Failure> {
    let unknown = || Failure::usage(format!("channels: expected 1, 3 or 4, found {channels}"));
    ColorMode::of_channels(channels).ok_or_else(unknown)
}

fn known_orientation(value: i32) -> Result<Orientation, Failure> {
    match value {
        0 => Ok(Orientation::Apply),
        1 => Ok(Orientation::Ignore),
        other => Err(Failure::usage(format!(
            "orientation: expected RMNET_ORIENTATION_APPLY (0) or RMNET_ORIENTATION_IGNORE (1), found {other}"
        ))),
    }
}

/// The bytes of a regular file of bounded size. A pipe or a device, whose opening may wait, is refused.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let found = fs::metadata(path).map_err(|e| e.to_string())?;
    if !found.is_file() {
        return Err("expected a regular file".into());
    }
    let mut bytes = vec![];
    let file = File::open(path).map_err(|e| e.to_string())?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(format!("expected a file of at most {} MiB", MAX_FILE >> 20)),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_the_numbers_that_are_read() {
        let data = [0; 4];
        for (number, expected) in [
            (rmnet_pixel_format::RMNET_GRAY8, PixelFormat::Gray8),
            (rmnet_pixel_format::RMNET_RGB8, PixelFormat::Rgb8),
            (rmnet_pixel_format::RMNET_BGR8, PixelFormat::Bgr8),
            (rmnet_pixel_format::RMNET_RGBA8, PixelFormat::Rgba8),
            (rmnet_pixel_format::RMNET_BGRA8, PixelFormat::Bgra8),
        ] {
            let (data, len, format) = (data.as_ptr(), expected.bytes(), number as i32);
            let image = rmnet_pixels { data, len, height: 1, width: 1, stride: 0, format };
            // SAFETY: `data` has four bytes, and no format more.
            let found = unsafe { views(&[image]) }.ok().map(|views| views[0].format());
            assert_eq!(found, Some(expected));
        }
        let apply = rmnet_orientation::RMNET_ORIENTATION_APPLY as i32;
        assert!(matches!(known_orientation(apply), Ok(Orientation::Apply)));
        let ignore = rmnet_orientation::RMNET_ORIENTATION_IGNORE as i32;
        assert!(matches!(known_orientation(ignore), Ok(Orientation::Ignore)));
    }
}
