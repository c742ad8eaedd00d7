//! Images in an app's memory.

use super::resample::PackedImage;
use super::{MAX_BYTES, PreprocessError, Size};
use crate::luma::luma;
use crate::size::MAX_IMAGE_SIDE;
use std::borrow::Cow;

/// The order of a pixel's bytes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelFormat {
    /// One byte: luma.
    Gray8,
    /// Red, green, blue.
    Rgb8,
    /// Blue, green, red.
    Bgr8,
    /// Red, green, blue, alpha.
    Rgba8,
    /// Blue, green, red, alpha, as in the frames of most window systems and cameras.
    Bgra8,
}

impl PixelFormat {
    /// Bytes of a pixel.
    pub const fn bytes(self) -> usize {
        match self {
            PixelFormat::Gray8 => 1,
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => 3,
            PixelFormat::Rgba8 | PixelFormat::Bgra8 => 4,
        }
    }

    /// Byte offsets of red, green and blue; `None` for gray.
    const fn rgb(self) -> Option<[usize; 3]> {
        match self {
            PixelFormat::Gray8 => None,
            PixelFormat::Rgb8 | PixelFormat::Rgba8 => Some([0, 1, 2]),
            PixelFormat::Bgr8 | PixelFormat::Bgra8 => Some([2, 1, 0]),
        }
    }
}

/// An 8-bit image in the app's memory: rows of interleaved pixels, the top row first.
///
/// A network of three channels accepts every format: alpha is dropped, gray is repeated. For a network of one channel, colours become luma
/// (ITU-R 601, as Pillow's `L`). A network of four channels accepts only formats with alpha.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    pixels: &'a [u8],
    size: Size,
    format: PixelFormat,
    stride: usize,
}

impl<'a> ImageView<'a> {
    /// Rows without gaps: `height * width * format.bytes()` bytes. The length is checked when the image is used.
    pub const fn new(pixels: &'a [u8], size: Size, format: PixelFormat) -> ImageView<'a> {
        let stride = size.width.saturating_mul(format.bytes());
        ImageView { pixels, size, format, stride }
    }

    /// Sets the distance between the starts of rows, in bytes, as in frames of GPUs and cameras. The last row may end with its last pixel.
    #[must_use]
    pub const fn with_stride(mut self, stride: usize) -> ImageView<'a> {
        self.stride = stride;
        self
    }

    /// Rows and columns.
    pub const fn size(&self) -> Size {
        self.size
    }

    /// The pixel format.
    pub const fn format(&self) -> PixelFormat {
        self.format
    }

    /// The pixels for a network of `channels`, without gaps. They are only copied if they have another format or gaps.
    pub(super) fn packed(&self, channels: usize) -> Result<PackedImage<'a>, PreprocessError> {
        let ImageView { pixels, size, format, stride } = *self;
        let Size { height, width } = size;
        let refuse =
            |expected: String, found: String| Err(PreprocessError::Image { width, height, expected, found });
        if [height, width].iter().any(|side| !(1..=MAX_IMAGE_SIDE).contains(side)) {
            return refuse(format!("sides from 1 to {MAX_IMAGE_SIDE} pixels"), format!("{width}x{height}"));
        }
        let row = width * format.bytes();
        if stride < row {
            return refuse(
                format!("rows of {row} bytes or more of {format:?}"),
                format!("a stride of {stride}"),
            );
        }
        let needed = (height - 1).saturating_mul(stride).saturating_add(row);
        let fits = if stride == row { pixels.len() == needed } else { pixels.len() >= needed };
        if !fits {
            let least = if stride == row { "" } else { "at least " };
            return refuse(format!("{least}{needed} bytes of {format:?}"), pixels.len().to_string());
        }
        let as_they_are = match channels {
            1 => format == PixelFormat::Gray8,
            3 => format == PixelFormat::Rgb8,
            4 => format == PixelFormat::Rgba8,
            _ => return refuse("a network of 1, 3 or 4 channels".into(), format!("one of {channels}")),
        };
        if channels == 4 && format.bytes() != 4 {
            return refuse("an image with alpha, for a network of 4 channels".into(), format!("{format:?}"));
        }
        if as_they_are && stride == row {
            return Ok(PackedImage { pixels: Cow::Borrowed(pixels), width, height, channels });
        }
        let bytes = height.saturating_mul(width).saturating_mul(channels);
        if bytes > MAX_BYTES {
            let most = format!("an image of up to {} MiB of {channels} channels", MAX_BYTES >> 20);
            return refuse(most, format!("{} MiB", bytes.div_ceil(1 << 20)));
        }
        let mut packed = Vec::with_capacity(bytes);
        for pixels in pixels.chunks(stride).take(height) {
            let pixels = pixels[..row].chunks_exact(format.bytes());
            match (format.rgb(), channels) {
                (None, _) => packed.extend(pixels.flat_map(|p| std::iter::repeat_n(p[0], channels))),
                (Some(at), 1) => packed.extend(pixels.map(|p| luma(at.map(|i| p[i])))),
                (Some(at), 3) => packed.extend(pixels.flat_map(|p| at.map(|i| p[i]))),
                (Some([r, g, b]), _) => packed.extend(pixels.flat_map(|p| [p[r], p[g], p[b], p[3]])),
            }
        }
        Ok(PackedImage { pixels: Cow::Owned(packed), width, height, channels })
    }
}

#[cfg(feature = "images")]
impl<'a> From<&'a crate::images::Pixels> for ImageView<'a> {
    fn from(image: &'a crate::images::Pixels) -> ImageView<'a> {
        let format = match image.channels {
            1 => PixelFormat::Gray8,
            3 => PixelFormat::Rgb8,
            _ => PixelFormat::Rgba8,
        };
        ImageView::new(&image.data, Size::new(image.height, image.width), format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(pixels: &[u8], format: PixelFormat, stride: usize, channels: usize) -> Result<Vec<u8>, String> {
        let image = ImageView::new(pixels, Size::new(2, 2), format).with_stride(stride);
        image.packed(channels).map(|p| p.pixels.into_owned()).map_err(|e| e.to_string())
    }

    #[test]
    fn every_format_becomes_every_number_of_channels() {
        use PixelFormat::*;
        let rgb = [[1, 2, 3], [40, 50, 60], [7, 8, 9], [100, 110, 120]];
        let l = rgb.map(luma);
        // Pillow: Image.new('RGB', (1, 1), (40, 50, 60)).convert('L').getpixel((0, 0)) == 48
        assert_eq!(l[1], 48);
        for stride in [0, 3] {
            let rows = |pixel: &dyn Fn([u8; 3]) -> Vec<u8>| {
                let mut bytes: Vec<u8> = vec![];
                for row in rgb.chunks(2) {
                    row.iter().for_each(|p| bytes.extend(pixel(*p)));
                    bytes.extend(std::iter::repeat_n(99, stride));
                }
                bytes.truncate(bytes.len() - stride);
                bytes
            };
            let made: [(PixelFormat, Vec<u8>); 5] = [
                (Rgb8, rows(&|p| p.to_vec())),
                (Bgr8, rows(&|[r, g, b]| vec![b, g, r])),
                (Rgba8, rows(&|[r, g, b]| vec![r, g, b, 7])),
                (Bgra8, rows(&|[r, g, b]| vec![b, g, r, 7])),
                (Gray8, rows(&|p| vec![p[0]])),
            ];
            for (format, bytes) in made {
                let packed = |channels| packed(&bytes, format, 2 * format.bytes() + stride, channels);
                let gray = format == Gray8;
                let expected = rgb.iter().flat_map(|p| if gray { [p[0]; 3] } else { *p });
                assert_eq!(packed(3).unwrap(), expected.collect::<Vec<u8>>(), "{format:?}");
                let expected = if gray { rgb.map(|p| p[0]) } else { l };
                assert_eq!(packed(1).unwrap(), expected, "{format:?}");
                match format {
                    Rgba8 | Bgra8 => {
                        let expected = rgb.iter().flat_map(|[r, g, b]| [*r, *g, *b, 7]);
                        assert_eq!(packed(4).unwrap(), expected.collect::<Vec<u8>>(), "{format:?}");
                    }
                    _ => assert!(packed(4).unwrap_err().contains("alpha"), "{format:?}"),
                }
                assert!(packed(6).unwrap_err().contains("1, 3 or 4 channels"));
            }
        }
    }

    #[test]
    fn bytes_that_are_no_image_are_refused() {
        use PixelFormat::*;
        for (bytes, stride, word) in
            [(11, 6, "12 bytes"), (13, 6, "12 bytes"), (13, 8, "at least 14"), (14, 5, "stride of 5")]
        {
            let error = packed(&vec![0; bytes], Rgb8, stride, 3).unwrap_err();
            assert!(error.contains(word), "{bytes}, {stride}: {error}");
        }
        assert!(packed(&[0; 14], Rgb8, 8, 3).is_ok() && packed(&[0; 20], Rgb8, 8, 3).is_ok());
        let side = |height, width| ImageView::new(&[], Size::new(height, width), Rgba8).packed(3).err();
        for (height, width) in [(0, 1), (1, 0), (usize::MAX, usize::MAX), (MAX_IMAGE_SIDE + 1, 1)] {
            assert!(side(height, width).unwrap().to_string().contains("sides from 1 to"));
        }
        let far = ImageView::new(&[0; 100], Size::new(9, 9), Gray8).with_stride(usize::MAX);
        assert!(far.packed(1).is_err());
    }
}
