//! Limits of a preprocessing's numbers and memory. Numbers from any source are checked, so that for any 8-bit image the values are finite
//! and at most [`MAX_VALUE`].

use super::{MAX_IMAGE_SIDE, Preprocess, PreprocessError, Resize, Size, UnsupportedKey, resample};
use std::ops::{Range, RangeInclusive};

/// The largest magnitude of a preprocessed value, which f16 can represent.
pub const MAX_VALUE: f32 = 65504.0;

/// Maximum memory for preparing one image, in bytes: 512 MiB. It includes copies made by resizing and the resulting values, but not the
/// image itself.
pub const MAX_BYTES: usize = 512 << 20;

/// The longest side before the crop: a crop keeps at least a hundredth of it.
pub(super) const MAX_SCALED: usize = 100 * MAX_IMAGE_SIDE;

/// Range of factors and divisors.
pub(super) const FACTOR: RangeInclusive<f64> = 1e-6..=1e6;
/// Range of subtracted numbers.
pub(super) const SHIFT: RangeInclusive<f64> = -1e6..=1e6;
/// Range of the fraction of a side that a crop keeps, as stated by a config.
pub(super) const CROP_PCT: RangeInclusive<f64> = 0.01..=100.0;
/// Range of the same fraction, as computed from two sides.
const CROPPED: RangeInclusive<f64> = 1.0 / MAX_IMAGE_SIDE as f64..=MAX_IMAGE_SIDE as f64;

/// A config's names of the numbers.
pub(super) struct Keys {
    pub rescale: &'static str,
    pub offset: &'static str,
    pub mean: &'static str,
    pub std: &'static str,
}

impl Keys {
    /// The names of [`Preprocess`] itself, used by saved files.
    pub const OWN: Keys = Keys { rescale: "rescale", offset: "offset", mean: "mean", std: "std" };
}

fn refuse<T>(key: &str, expected: impl Into<String>, found: impl ToString) -> Result<T, PreprocessError> {
    Err(PreprocessError::Config { key: key.into(), expected: expected.into(), found: found.to_string() })
}

/// `1e-6 to 1e6`
pub(super) fn between(range: &RangeInclusive<f64>) -> String {
    format!("{:?} to {:?}", range.start(), range.end())
}

impl Preprocess {
    /// Refuses numbers that are out of range or contradict each other, naming their keys in the config.
    pub(super) fn check_numbers(&self, keys: &Keys) -> Result<(), PreprocessError> {
        let number = |key: &str, v: f64, range: RangeInclusive<f64>| match range.contains(&v) {
            true => Ok(()),
            false => refuse(key, format!("a number from {}", between(&range)), v),
        };
        number("crop_pct", self.crop_pct, CROPPED)?;
        number(keys.rescale, self.rescale, FACTOR)?;
        number(keys.offset, self.offset, SHIFT)?;
        for (key, values, range) in [(keys.mean, &self.mean, SHIFT), (keys.std, &self.std, FACTOR)] {
            if values.is_empty() || !values.iter().all(|v| range.contains(v)) {
                let expected = format!("numbers from {}, one or one per channel", between(&range));
                return refuse(key, expected, format!("{values:?}"));
            }
        }
        let (mean, std) = (self.mean.len(), self.std.len());
        if mean != std && mean > 1 && std > 1 {
            let expected = format!("{mean} numbers, as many as `{}`, or one", keys.mean);
            return refuse(keys.std, expected, format!("{std} numbers"));
        }
        for channel in self.per_channel(mean.max(std))? {
            for v in [0, 255] {
                let value = self.value(v, channel);
                if !(-MAX_VALUE..=MAX_VALUE).contains(&value) {
                    let [mean, std] = channel;
                    let key = format!("{}, {}, {}", keys.rescale, keys.mean, keys.std);
                    let found = format!("{value} of a pixel of {v}, by {}, {mean} and {std}", self.rescale);
                    return refuse(
                        &key,
                        format!("numbers that give values from -{MAX_VALUE} to {MAX_VALUE}"),
                        found,
                    );
                }
            }
        }
        Ok(())
    }

    /// Refuses an unknown key, and sizes that are 0 or too large.
    pub(super) fn check_sizes(&self) -> Result<(), PreprocessError> {
        if let Some(UnsupportedKey { key, expected, found }) = self.unsupported.clone() {
            return Err(PreprocessError::Config { key, expected, found });
        }
        self.check_sides()
    }

    /// Refuses sizes that are 0 or too large.
    pub(super) fn check_sides(&self) -> Result<(), PreprocessError> {
        let resize = match self.resize {
            Resize::None | Resize::Required => Size::new(1, 1),
            Resize::Shortest(side) => Size::new(side, side),
            Resize::Cover(size) | Resize::Exact(size) => size,
        };
        for (key, size, most) in [("size", self.size, MAX_IMAGE_SIDE), ("resize", resize, MAX_SCALED)] {
            let sides = size.array();
            if sides.iter().any(|s| !(1..=most).contains(s)) {
                return refuse(key, format!("sides from 1 to {most} pixels"), format!("{sides:?}"));
            }
        }
        Ok(())
    }

    /// Refuses a result that is too large for any image.
    pub(super) fn check_result(&self, channels: usize) -> Result<(), PreprocessError> {
        match self.result_bytes(channels) {
            bytes if bytes <= MAX_BYTES as u64 => Ok(()),
            bytes => {
                let expected = format!("a size whose values take up to {} MiB", MAX_BYTES >> 20);
                refuse(
                    "size",
                    expected,
                    format!("{} of {channels} channels, {} MiB", self.size, bytes.div_ceil(1 << 20)),
                )
            }
        }
    }

    /// Bytes of the values for one image.
    fn result_bytes(&self, channels: usize) -> u64 {
        let [height, width] = self.size.array();
        [channels, height, width].into_iter().fold(4u64, |bytes, n| bytes.saturating_mul(n as u64))
    }

    /// Maximum memory of [`Preprocess::apply`] for an image of `size` and a network of `channels`, in bytes. It includes the returned
    /// values, but neither the image itself nor a copy of it in another format or without gaps.
    ///
    /// # Errors
    /// [`PreprocessError`] as for [`Preprocess::apply`], if sizes or an unknown key are refused, or more than [`MAX_BYTES`] are needed.
    pub fn bytes(&self, size: Size, channels: usize) -> Result<usize, PreprocessError> {
        let Size { height, width } = size;
        let refuse =
            |expected: String, found: String| Err(PreprocessError::Image { width, height, expected, found });
        self.check_sizes()?;
        let sides = 1..=MAX_IMAGE_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return refuse(format!("sides from 1 to {MAX_IMAGE_SIDE} pixels"), format!("{width}x{height}"));
        }
        self.check_result(channels)?;
        let Window { size, rows, columns, .. } = self.window(size);
        let size = size.array();
        if size.iter().any(|side| *side > MAX_SCALED) {
            let expected = format!("an image whose sides are up to {MAX_SCALED} pixels once it is resized");
            return refuse(expected, format!("{}x{}", size[1], size[0]));
        }
        let resized = resample::bytes([height, width], channels, size, rows, columns, self.interpolation);
        let bytes = resized.saturating_add(self.result_bytes(channels));
        if bytes > MAX_BYTES as u64 {
            let expected = format!("an image that is prepared in {} MiB", MAX_BYTES >> 20);
            let found = format!(
                "one resized to {}x{}, which takes {} MiB",
                size[1],
                size[0],
                bytes.div_ceil(1 << 20)
            );
            return refuse(expected, found);
        }
        Ok(bytes as usize)
    }

    /// The part of an image of a given size that the crop keeps.
    pub(super) fn window(&self, image: Size) -> Window {
        let size = self.resize.output_size(image);
        let (top, rows) = self.crop_rule.place(size.height, self.size.height);
        let (left, columns) = self.crop_rule.place(size.width, self.size.width);
        Window { size, top, left, rows, columns }
    }
}

/// The position of the result in a resized image.
pub(super) struct Window {
    /// Size of the resized image.
    pub size: Size,
    /// Rows of padding above.
    pub top: usize,
    /// Columns of padding on the left.
    pub left: usize,
    /// Rows of the resized image that are kept.
    pub rows: Range<usize>,
    /// Columns of the resized image that are kept.
    pub columns: Range<usize>,
}
