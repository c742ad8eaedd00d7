//! What a preprocessing may say, and the memory it may take. Every number is checked wherever it comes from, so that for any 8-bit image the
//! values are finite and no larger than [`MAX_VALUE`].

use super::{MAX_IMAGE_SIDE, Preprocess, PreprocessError, Resize, Size, UnsupportedKey, resample};
use std::ops::{Range, RangeInclusive};

/// The largest magnitude of a value that an image becomes: f16 holds it too.
pub const MAX_VALUE: f32 = 65504.0;

/// The most memory that preparing one image may take beside the image itself, in bytes: 512 MiB. The copies of resizing and the
/// values in the end count.
pub const MAX_BYTES: usize = 512 << 20;

/// The longest side before the crop: a hundredth of it is the least a crop keeps.
pub(super) const MAX_SCALED: usize = 100 * MAX_IMAGE_SIDE;

/// What 8-bit values are multiplied by; what divides them.
pub(super) const FACTOR: RangeInclusive<f64> = 1e-6..=1e6;
/// What is subtracted.
pub(super) const SHIFT: RangeInclusive<f64> = -1e6..=1e6;
/// The share of a side that a crop keeps, as a config says it.
pub(super) const CROP_PCT: RangeInclusive<f64> = 0.01..=100.0;
/// The same as it follows from two sides.
const CROPPED: RangeInclusive<f64> = 1.0 / MAX_IMAGE_SIDE as f64..=MAX_IMAGE_SIDE as f64;

/// What a config calls its numbers.
pub(super) struct Keys {
    pub rescale: &'static str,
    pub offset: &'static str,
    pub mean: &'static str,
    pub std: &'static str,
}

impl Keys {
    /// Of [`Preprocess`] itself, as saved files have them.
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
    /// Refuses numbers out of range, or such as do not go with one another, by their keys in the config.
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

    /// Refuses a key that is not understood, and sizes of 0 or so large that the result cannot be held.
    pub(super) fn check_sizes(&self) -> Result<(), PreprocessError> {
        if let Some(UnsupportedKey { key, expected, found }) = self.unsupported.clone() {
            return Err(PreprocessError::Config { key, expected, found });
        }
        self.check_sides()
    }

    /// The same of sizes alone.
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

    /// Refuses a result that is too large whatever the image is.
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

    /// Bytes of the values that an image becomes.
    fn result_bytes(&self, channels: usize) -> u64 {
        let [height, width] = self.size.array();
        [channels, height, width].into_iter().fold(4u64, |bytes, n| bytes.saturating_mul(n as u64))
    }

    /// The memory that [`Preprocess::apply`] takes at most for an image of `size` and a network of `channels`, in bytes, the values that it
    /// gives included and the image itself not; a copy of it in another format or without gaps, where one is made, is not counted.
    ///
    /// # Errors
    /// [`PreprocessError`] as [`Preprocess::apply`] has it, where the sizes are refused, or take more than [`MAX_BYTES`].
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

    /// What is kept of an image of a size.
    pub(super) fn window(&self, image: Size) -> Window {
        let size = self.resize.output_size(image);
        let (top, rows) = self.crop_rule.place(size.height, self.size.height);
        let (left, columns) = self.crop_rule.place(size.width, self.size.width);
        Window { size, top, left, rows, columns }
    }
}

/// Where the result lies in a resized image.
pub(super) struct Window {
    /// Size of the image once it is resized.
    pub size: Size,
    /// Rows of padding above.
    pub top: usize,
    /// Columns of padding on the left.
    pub left: usize,
    /// Rows of the resized image that are kept.
    pub rows: Range<usize>,
    /// Columns of it.
    pub columns: Range<usize>,
}
