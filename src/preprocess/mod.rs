//! From an 8-bit image to the values a network was trained on: resize, central crop, rescale, normalise.
//!
//! The resampling equals Pillow's pixel for pixel, the sizes and crops those of torchvision, timm or Hugging Face.
//!
//! ```
//! use rmnet::preprocess::Preprocess;
//!
//! let preprocess = Preprocess::imagenet();
//! let grey = vec![128; 320 * 240 * 3];
//! let input = preprocess.apply(&grey, 320, 240)?;
//! assert_eq!(input.len(), 3 * 224 * 224);
//! # Ok::<(), rmnet::preprocess::PreprocessError>(())
//! ```

mod config;
mod files;
mod limits;
mod processors;
mod resample;

pub use limits::{MAX_BYTES, MAX_VALUE};
pub use resample::Interpolation;

use limits::{Keys, MAX_SCALED, Window};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;

/// The longest side, in pixels, of an image and of a network's input.
pub const MAX_SIDE: usize = 1 << 16;

/// How an image is brought near the size of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Not at all; the crop alone gives the size.
    None,
    /// Not at all; the image must be of the input's size.
    Required,
    /// The shorter side to this length, the other in proportion (rounded down).
    Shortest(usize),
    /// The smallest size in proportion that covers `[height, width]` (rounded to nearest).
    Cover([usize; 2]),
    /// Warped to `[height, width]`.
    Exact([usize; 2]),
}

impl Resize {
    /// timm's choice: by the shorter side where the target is a square.
    fn cover(size: [usize; 2]) -> Resize {
        if size[0] == size[1] { Resize::Shortest(size[0]) } else { Resize::Cover(size) }
    }

    /// The size that an image of `[height, width]` is resized to.
    pub fn output_size(self, image: [usize; 2]) -> [usize; 2] {
        match self {
            Resize::None | Resize::Required => image,
            Resize::Exact(size) => size,
            Resize::Shortest(to) => {
                let (short, long) = (image[0].min(image[1]), image[0].max(image[1]));
                let long = (to as f64 * long as f64 / short as f64) as usize;
                if image[1] <= image[0] { [long, to] } else { [to, long] }
            }
            Resize::Cover(size) => {
                let ratio = |i: usize| image[i] as f64 / size[i] as f64;
                let ratio = ratio(0).min(ratio(1));
                image.map(|side| ((side as f64 / ratio).round_ties_even() as usize).max(1))
            }
        }
    }
}

/// Where a central crop lies when the margins cannot be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropRule {
    /// The near margin is half the difference rounded half to even; padding is rounded down.
    Torchvision,
    /// The near margin is rounded down; padding is rounded up.
    HuggingFace,
}

impl CropRule {
    /// For one axis: pixels of zero padding in front, and the range of the image kept.
    fn place(self, image: usize, crop: usize) -> (usize, Range<usize>) {
        if crop >= image {
            let missing = crop - image;
            let before = match self {
                CropRule::Torchvision => missing / 2,
                CropRule::HuggingFace => missing.div_ceil(2),
            };
            return (before, 0..image);
        }
        let spare = image - crop;
        let half = spare / 2;
        let start = match self {
            CropRule::Torchvision => half + (spare % 2) * (half % 2),
            CropRule::HuggingFace => half,
        };
        (0, start..start + crop)
    }
}

/// How an image becomes an input. It belongs to the model: another resize costs accuracy.
///
/// `mean` and `std` have one number for all channels, or one each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// `[height, width]` of the result: the central crop, padded with zeros where the resized image is smaller.
    pub size: [usize; 2],
    /// The resize before the crop.
    pub resize: Resize,
    /// How it samples.
    pub interpolation: Interpolation,
    /// Where the crop lies.
    pub crop_rule: CropRule,
    /// The share of a resized side that the crop keeps: [`Preprocess::with_size`] keeps it too.
    pub crop_pct: f64,
    /// Multiplies the 8-bit values first, mostly 1/255.
    pub rescale: f64,
    /// Subtracted after that from all channels: 1 for the processors that have `rescale_offset`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: f64,
    /// Subtracted next, per channel.
    #[serde(deserialize_with = "one_or_more")]
    pub mean: Vec<f64>,
    /// Divides after that, per channel.
    #[serde(deserialize_with = "one_or_more")]
    pub std: Vec<f64>,
    /// Divides by `std` once more, as EfficientNet's processor does with `include_top`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub divide_twice: bool,
    /// Puts the channels in reverse order last: BGR of RGB.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reverse_channels: bool,
    /// A key of the config that is not understood and may change pixels: images are refused by its name. Tensors need no
    /// preprocessing, so loading a network does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<UnsupportedKey>,
}

impl fmt::Display for Preprocess {
    /// `to 256 at the shorter side, bilinear, cropped to 224x224, mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
        match self.resize {
            Resize::None => f.write_str("not resized")?,
            Resize::Required => f.write_str("of that size")?,
            Resize::Shortest(side) => write!(f, "to {side} at the shorter side, {}", self.interpolation)?,
            Resize::Cover([h, w]) => write!(f, "to cover {h}x{w}, {}", self.interpolation)?,
            Resize::Exact([h, w]) => write!(f, "to {h}x{w}, {}", self.interpolation)?,
        }
        let [h, w] = self.size;
        write!(f, ", cropped to {h}x{w}, mean {}, deviation {}", numbers(&self.mean), numbers(&self.std))
    }
}

/// A key of a preprocessing config that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsupportedKey {
    /// The key.
    pub key: String,
    /// What it may be.
    pub expected: String,
    /// Its value.
    pub found: String,
}

fn is_zero(v: &f64) -> bool {
    *v == 0.0
}

fn is_false(v: &bool) -> bool {
    !*v
}

/// A number or a list of them.
fn one_or_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Numbers {
        One(f64),
        Each(Vec<f64>),
    }
    Ok(match Numbers::deserialize(deserializer)? {
        Numbers::One(v) => vec![v],
        Numbers::Each(list) => list,
    })
}

/// An 8-bit image: rows of interleaved pixels.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    /// `height * width * channels` bytes.
    pub pixels: &'a [u8],
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes of a pixel: 1 (gray), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
}

#[cfg(feature = "images")]
impl<'a> From<&'a crate::images::Pixels> for ImageView<'a> {
    fn from(image: &'a crate::images::Pixels) -> ImageView<'a> {
        ImageView { pixels: &image.data, width: image.width, height: image.height, channels: image.channels }
    }
}

/// An image or a config that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// A key of a config file that is not understood.
    #[error("preprocessing config: `{key}`: expected {expected}, found {found}")]
    Config {
        /// The key.
        key: String,
        /// What it may be.
        expected: String,
        /// Its value.
        found: String,
    },
    /// Bytes that are not an image of the size said.
    #[error("image of {width}x{height}: expected {expected}, found {found}")]
    Image {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// What is asked for.
        expected: String,
        /// What was given.
        found: String,
    },
}

/// A side before the crop: `floor(side / crop_pct)`, as timm and Hugging Face compute it.
fn scaled(side: usize, crop_pct: f64) -> usize {
    ((side as f64 / crop_pct) as usize).clamp(1, MAX_SCALED)
}

impl Preprocess {
    /// The same for an input of `size` (`[height, width]`): the resize scales in proportion to the crop.
    pub fn with_size(&self, size: [usize; 2]) -> Preprocess {
        if size == self.size {
            return self.clone();
        }
        let to = size.map(|s| scaled(s, self.crop_pct));
        let resize = match self.resize {
            Resize::None | Resize::Required => self.resize,
            Resize::Exact(_) => Resize::Exact(to),
            Resize::Shortest(_) | Resize::Cover(_) => Resize::cover(to),
        };
        Preprocess { size, resize, ..self.clone() }
    }

    /// The same for a network of `channels` inputs where no config says its `mean` and `std`: for one channel those of gray
    /// images, the means of the three.
    pub fn for_channels(self, channels: usize) -> Preprocess {
        let gray = |v: &[f64]| vec![v.iter().sum::<f64>() / v.len().max(1) as f64];
        match channels {
            1 => Preprocess { mean: gray(&self.mean), std: gray(&self.std), ..self },
            _ => self,
        }
    }

    /// Judges what does not depend on an image: whether images of `channels` can be prepared at all. Then the values of any image are
    /// finite, and no larger than [`MAX_VALUE`].
    ///
    /// # Errors
    /// [`PreprocessError::Config`] as [`Preprocess::apply_view`] has it.
    pub fn check(&self, channels: usize) -> Result<(), PreprocessError> {
        self.check_sizes()?;
        self.check_numbers(&Keys::OWN)?;
        self.check_result(channels)?;
        self.tables(channels).map(drop)
    }

    /// Judges numbers and sizes alone, by the names they have here: those of a saved file.
    ///
    /// # Errors
    /// [`PreprocessError::Config`] names the number that is out of range.
    pub(crate) fn check_own(&self) -> Result<(), PreprocessError> {
        self.check_sides()?;
        self.check_numbers(&Keys::OWN)
    }

    /// What `mean` and `std` are for each channel.
    fn per_channel(&self, channels: usize) -> Result<Vec<[f64; 2]>, PreprocessError> {
        let each = |key: &str, values: &[f64]| match values.len() {
            1 => Ok(vec![values[0]; channels]),
            n if n == channels => Ok(values.to_vec()),
            _ => Err(PreprocessError::Config {
                key: key.into(),
                expected: format!("one number, or one for each of {channels} channels"),
                found: format!("{values:?}"),
            }),
        };
        Ok(each("mean", &self.mean)?.into_iter().zip(each("std", &self.std)?).map(|(m, s)| [m, s]).collect())
    }

    /// An 8-bit value as the network reads it, each step rounded to f32 as the reference libraries round it.
    fn value(&self, v: u8, [mean, std]: [f64; 2]) -> f32 {
        let rescaled = (f64::from(v) * self.rescale) as f32 - self.offset as f32;
        let normalised = (rescaled - mean as f32) / std as f32;
        if self.divide_twice { normalised / std as f32 } else { normalised }
    }

    /// The values of all 256 pixel values, for each channel.
    fn tables(&self, channels: usize) -> Result<Vec<Vec<f32>>, PreprocessError> {
        if self.reverse_channels && channels != 3 {
            return Err(PreprocessError::Config {
                key: "do_flip_channel_order".into(),
                expected: "RGB images".into(),
                found: format!("images of {channels} channels"),
            });
        }
        let norms = self.per_channel(channels)?;
        Ok(norms.into_iter().map(|norm| (0..=255).map(|v| self.value(v, norm)).collect()).collect())
    }

    /// The input for one RGB image: `rgb` holds `height` rows of `width` interleaved pixels, the result is planar
    /// `[3, size[0], size[1]]`, row-major.
    ///
    /// # Errors
    /// As [`Preprocess::apply_view`].
    pub fn apply(&self, rgb: &[u8], width: usize, height: usize) -> Result<Vec<f32>, PreprocessError> {
        self.apply_view(ImageView { pixels: rgb, width, height, channels: 3 })
    }

    /// The input for one image, planar `[channels, size[0], size[1]]`, row-major.
    ///
    /// # Errors
    /// [`PreprocessError::Config`] when a key of the config is not understood, a number of `self` is out of range, or `mean` or
    /// `std` do not fit the channels or make values over [`MAX_VALUE`]. [`PreprocessError::Image`] when a side of the image
    /// is 0 or above [`MAX_SIDE`], the bytes are not `channels * width * height`, resizing takes more than [`MAX_BYTES`], or the config
    /// resizes nothing and the image is not of the input's size. Memory is asked for after all that.
    pub fn apply_view(&self, image: ImageView<'_>) -> Result<Vec<f32>, PreprocessError> {
        let ImageView { pixels, width, height, channels } = image;
        let refuse =
            |expected: String, found: String| Err(PreprocessError::Image { width, height, expected, found });
        self.bytes(width, height, channels)?;
        if !matches!(channels, 1 | 3 | 4) {
            return refuse("1, 3 or 4 channels".into(), channels.to_string());
        }
        self.check_numbers(&Keys::OWN)?;
        if pixels.len() != width * height * channels {
            let name = if channels == 3 { "RGB".into() } else { format!("{channels} channels") };
            return refuse(
                format!("{} bytes of {name}", width * height * channels),
                pixels.len().to_string(),
            );
        }
        if self.resize == Resize::Required && [height, width] != self.size {
            let [h, w] = self.size;
            let expected = format!("an image of {w}x{h}, as its config neither resizes nor crops");
            return refuse(expected, format!("{width}x{height}"));
        }
        let tables = self.tables(channels)?;
        let [out_height, out_width] = self.size;
        let Window { size, top, left, rows, columns } = self.window([height, width]);
        let pixels = resample::resize(image, size, rows.clone(), columns.clone(), self.interpolation);

        let mut out = Vec::with_capacity(channels * out_height * out_width);
        for plane in 0..channels {
            let c = if self.reverse_channels { channels - 1 - plane } else { plane };
            let values = &tables[c];
            let start = out.len();
            out.resize(start + out_height * out_width, values[0]);
            for y in 0..rows.len() {
                let from = &pixels[y * columns.len() * channels..(y + 1) * columns.len() * channels];
                let to = &mut out[start + (top + y) * out_width + left..][..columns.len()];
                for (to, pixel) in to.iter_mut().zip(from.chunks_exact(channels)) {
                    *to = values[usize::from(pixel[c])];
                }
            }
        }
        Ok(out)
    }
}
