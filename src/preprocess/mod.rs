//! Prepares 8-bit images for a network: resize, central crop, rescale, normalise.
//!
//! Resampling equals Pillow's pixel for pixel; sizes and crops equal those of torchvision, timm or Hugging Face.
//!
//! ```
//! use rmnet::preprocess::{ImageView, PixelFormat, Preprocess, Size};
//!
//! let preprocess = Preprocess::imagenet();
//! let frame = vec![128; 240 * 320 * 4];
//! let image = ImageView::new(&frame, Size::new(240, 320), PixelFormat::Bgra8);
//! let input = preprocess.apply(image, 3)?;
//! assert_eq!(input.len(), 3 * 224 * 224);
//! # Ok::<(), rmnet::preprocess::PreprocessError>(())
//! ```

mod config;
mod defaults;
mod files;
mod image;
mod limits;
mod processors;
mod resample;

pub use crate::size::{MAX_IMAGE_SIDE, Size};
pub use image::{ImageView, PixelFormat};
pub use limits::{MAX_BYTES, MAX_VALUE};
pub use resample::Interpolation;

use crate::field::FromJson;
use files::Numbers;
use limits::{Keys, MAX_SCALED, Window};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::ops::Range;

/// How an image is resized before the crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resize {
    /// No resize: the crop alone determines the size.
    None,
    /// No resize: the image must have the input's size.
    Required,
    /// The shorter side to this length, the other in proportion (rounded down).
    Shortest(usize),
    /// The smallest size of the same proportions that covers this one (rounded to nearest).
    Cover(Size),
    /// Warped to this size.
    Exact(Size),
}

impl Resize {
    /// timm's rule: by the shorter side if the target is a square.
    fn cover(size: Size) -> Resize {
        if size.height == size.width { Resize::Shortest(size.height) } else { Resize::Cover(size) }
    }

    /// The size after resizing an image of the given size.
    pub fn output_size(self, image: Size) -> Size {
        match self {
            Resize::None | Resize::Required => image,
            Resize::Exact(size) => size,
            Resize::Shortest(to) => {
                let (short, long) = (image.height.min(image.width), image.height.max(image.width));
                let long = (to as f64 * long as f64 / short as f64) as usize;
                if image.width <= image.height { Size::new(long, to) } else { Size::new(to, long) }
            }
            Resize::Cover(size) => {
                let ratio = |image: usize, size: usize| image as f64 / size as f64;
                let ratio = ratio(image.height, size.height).min(ratio(image.width, size.width));
                image.map(|side| ((side as f64 / ratio).round_ties_even() as usize).max(1))
            }
        }
    }
}

/// Position of a central crop if the margins cannot be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CropRule {
    /// The top or left margin is half the difference, rounded half to even; padding is rounded down.
    Torchvision,
    /// The top or left margin is rounded down; padding is rounded up.
    HuggingFace,
}

impl CropRule {
    /// For one axis: pixels of zero padding in front, and the range of the image that is kept.
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

/// How an image becomes the input of a network. It belongs to the model: other preprocessing costs accuracy.
///
/// `mean` and `std` have one number for all channels, or one per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Size of the result: the central crop, padded with zeros if the resized image is smaller.
    pub size: Size,
    /// The resize before the crop.
    pub resize: Resize,
    /// The resampling filter.
    pub interpolation: Interpolation,
    /// The position of the crop.
    pub crop_rule: CropRule,
    /// The fraction of a resized side that the crop keeps. [`Preprocess::with_size`] preserves it.
    pub crop_pct: f64,
    /// Factor applied first to the 8-bit values, usually 1/255.
    pub rescale: f64,
    /// Subtracted from all channels after rescaling: 1 for processors with `rescale_offset`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: f64,
    /// Subtracted next, per channel.
    #[serde(deserialize_with = "one_or_more")]
    pub mean: Vec<f64>,
    /// Divisor after that, per channel.
    #[serde(deserialize_with = "one_or_more")]
    pub std: Vec<f64>,
    /// Whether to divide by `std` once more, as EfficientNet's processor does with `include_top`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub divide_twice: bool,
    /// Whether to reverse the order of channels at the end, from RGB to BGR.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reverse_channels: bool,
    /// An unknown key of the config that may change pixels. Preprocessing an image then fails with an error that names it; loading and
    /// running the network on tensors still works.
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
            Resize::Cover(size) => write!(f, "to cover {size}, {}", self.interpolation)?,
            Resize::Exact(size) => write!(f, "to {size}, {}", self.interpolation)?,
        }
        write!(
            f,
            ", cropped to {}, mean {}, deviation {}",
            self.size,
            numbers(&self.mean),
            numbers(&self.std)
        )
    }
}

/// A key of a preprocessing config that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
    match Numbers::from_json(&Value::deserialize(deserializer)?) {
        Some(Numbers::One(v)) => Ok(vec![v]),
        Some(Numbers::Each(list)) => Ok(list),
        None => Err(serde::de::Error::custom("expected a number or a list of numbers")),
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
    /// The slice does not have the length of one image's values.
    #[error("expected a slice of {expected} values, those of an image, found {found}")]
    Length {
        /// Values of an image.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// An image that cannot be used, for example with the wrong number of bytes.
    #[error("image of {width}x{height}: expected {expected}, found {found}")]
    Image {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
}

/// A side before the crop: `floor(side / crop_pct)`, as timm and Hugging Face compute it.
fn scaled(side: usize, crop_pct: f64) -> usize {
    ((side as f64 / crop_pct) as usize).clamp(1, MAX_SCALED)
}

impl Preprocess {
    /// The same preprocessing for an input of `size`: the resize is scaled in proportion to the crop.
    #[must_use]
    pub fn with_size(&self, size: impl Into<Size>) -> Preprocess {
        let size = size.into();
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

    /// The same preprocessing for a network of `channels` inputs whose `mean` and `std` no config states. For one channel (gray images)
    /// they are averaged over the three channels.
    #[must_use]
    pub fn for_channels(self, channels: usize) -> Preprocess {
        let gray = |v: &[f64]| vec![v.iter().sum::<f64>() / v.len().max(1) as f64];
        match channels {
            1 => Preprocess { mean: gray(&self.mean), std: gray(&self.std), ..self },
            _ => self,
        }
    }

    /// Checks everything that does not depend on an image: whether images can be prepared for `channels` at all. If so, the values of any
    /// image are finite and at most [`MAX_VALUE`].
    ///
    /// # Errors
    /// [`PreprocessError::Config`] as for [`Preprocess::apply`].
    pub fn check(&self, channels: usize) -> Result<(), PreprocessError> {
        self.check_sizes()?;
        self.check_numbers(&Keys::OWN)?;
        self.check_result(channels)?;
        self.tables(channels).map(drop)
    }

    /// Checks numbers and sizes only. Errors use the names of [`Preprocess`], which saved files use.
    ///
    /// # Errors
    /// [`PreprocessError::Config`] names the number that is out of range.
    pub(crate) fn check_own(&self) -> Result<(), PreprocessError> {
        self.check_sides()?;
        self.check_numbers(&Keys::OWN)
    }

    /// `[mean, std]` of each channel.
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

    /// The network's input for an 8-bit value. Each step is rounded to f32, as in the reference libraries.
    fn value(&self, v: u8, [mean, std]: [f64; 2]) -> f32 {
        let rescaled = (f64::from(v) * self.rescale) as f32 - self.offset as f32;
        let normalised = (rescaled - mean as f32) / std as f32;
        if self.divide_twice { normalised / std as f32 } else { normalised }
    }

    /// Lookup tables of each channel, for all 256 pixel values.
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

    /// The input of a network of `channels` for one image, planar `[channels, size.height, size.width]`, row-major.
    ///
    /// # Errors
    /// [`PreprocessError::Config`] if a key of the config is unknown, a number of `self` is out of range, or `mean` and `std` do not fit
    /// the channels or give values above [`MAX_VALUE`]. [`PreprocessError::Image`] if a side of the image is 0 or above [`MAX_IMAGE_SIDE`],
    /// the number of bytes does not match its size, format and stride, its format does not fit the channels, preparing it takes more than
    /// [`MAX_BYTES`], or the config does not resize and the image does not have the input's size.
    pub fn apply(&self, image: ImageView<'_>, channels: usize) -> Result<Vec<f32>, PreprocessError> {
        let mut planes = vec![];
        self.apply_to(image, channels, |len| {
            planes.resize(len, 0.0);
            Ok(&mut planes)
        })?;
        Ok(planes)
    }

    /// [`Preprocess::apply`], written into a slice of `channels * size.height * size.width` values, such as one image's part of a batch.
    ///
    /// # Errors
    /// As [`Preprocess::apply`]; [`PreprocessError::Length`] if the slice has another length.
    pub fn apply_into(
        &self,
        image: ImageView<'_>,
        channels: usize,
        planes: &mut [f32],
    ) -> Result<(), PreprocessError> {
        self.apply_to(image, channels, |expected| match planes.len() {
            found if found == expected => Ok(planes),
            found => Err(PreprocessError::Length { expected, found }),
        })
    }

    /// Writes the input for one image into the slice that `planes` returns for its length. `planes` is called after all other checks.
    fn apply_to<'p>(
        &self,
        image: ImageView<'_>,
        channels: usize,
        planes: impl FnOnce(usize) -> Result<&'p mut [f32], PreprocessError>,
    ) -> Result<(), PreprocessError> {
        let Size { height, width } = image.size();
        if !matches!(channels, 1 | 3 | 4) {
            let (expected, found) = ("a network of 1, 3 or 4 channels".into(), format!("one of {channels}"));
            return Err(PreprocessError::Image { width, height, expected, found });
        }
        self.bytes(image.size(), channels)?;
        self.check_numbers(&Keys::OWN)?;
        if self.resize == Resize::Required && image.size() != self.size {
            let Size { height: h, width: w } = self.size;
            let expected = format!("an image of {w}x{h}, as its config neither resizes nor crops");
            let found = format!("{width}x{height}");
            return Err(PreprocessError::Image { width, height, expected, found });
        }
        let tables = self.tables(channels)?;
        let image = image.packed(channels)?;
        let Size { height: out_height, width: out_width } = self.size;
        let planes = planes(channels * out_height * out_width)?;
        let Window { size, top, left, rows, columns } = self.window(Size::new(height, width));
        let pixels =
            resample::resize(&image, size.array(), rows.clone(), columns.clone(), self.interpolation);
        for (plane, out) in planes.chunks_exact_mut(out_height * out_width).enumerate() {
            let c = if self.reverse_channels { channels - 1 - plane } else { plane };
            let values = &tables[c];
            out.fill(values[0]);
            for y in 0..rows.len() {
                let from = &pixels[y * columns.len() * channels..(y + 1) * columns.len() * channels];
                let to = &mut out[(top + y) * out_width + left..][..columns.len()];
                for (to, pixel) in to.iter_mut().zip(from.chunks_exact(channels)) {
                    *to = values[usize::from(pixel[c])];
                }
            }
        }
        Ok(())
    }
}
