//! Reads preprocessing from config files.

use super::files::{HuggingFace, Numbers, SizeKey, Timm};
use super::limits::{self, CROP_PCT, FACTOR, Keys, SHIFT};
use super::processors::{CONVNEXT, Extent, IMAGENET, NEUTRAL, Processor, READ, Rule};
use super::{
    CropRule, Interpolation, MAX_IMAGE_SIDE, Preprocess, PreprocessError, Resize, Size, UnsupportedKey,
    scaled,
};
use crate::field::{Field, shown};
use serde_json::Value;
use std::ops::RangeInclusive;

/// Hugging Face's names of the numbers.
const KEYS: Keys =
    Keys { rescale: "rescale_factor", offset: "rescale_offset", mean: "image_mean", std: "image_std" };

impl Preprocess {
    /// From timm's `pretrained_cfg`: the image is resized so that it covers `floor(input_size / crop_pct)`, then cropped.
    ///
    /// # Errors
    /// [`PreprocessError::Config`] names a number that is out of range. An unknown value is kept in [`Preprocess::unsupported`].
    pub fn from_timm(config: &Value) -> Result<Preprocess, PreprocessError> {
        let config = Timm::read(config);
        let mut unsupported = None;
        let size = match config.input_size.read() {
            Ok(None) => Size::new(224, 224),
            Ok(Some([channels, height, width])) => {
                side("input_size", channels)?;
                Size::new(side("input_size", height)?, side("input_size", width)?)
            }
            Err(other) => return Err(wrong("input_size", "[channels, height, width]", other)),
        };
        let crop_pct = percentage(&config.crop_pct, 0.875)?;
        let scaled = size.map(|s| scaled(s, crop_pct));
        let resize = match (config.crop_mode.found(), config.crop_mode.get().map(String::as_str)) {
            (None, _) | (_, Some("center")) => Resize::cover(scaled),
            (_, Some("squash")) => Resize::Exact(scaled),
            (Some(mode), _) => {
                note(&mut unsupported, "crop_mode", "\"center\" or \"squash\"", mode);
                Resize::cover(scaled)
            }
        };
        let named = config.interpolation.get().map(String::as_str);
        let interpolation = match (config.interpolation.found(), named) {
            (None, _) | (_, Some("bicubic")) => Interpolation::Bicubic,
            (_, Some("nearest")) => Interpolation::Nearest,
            (_, Some("bilinear")) => Interpolation::Bilinear,
            (_, Some("lanczos")) => Interpolation::Lanczos,
            (_, Some("box")) => Interpolation::Box,
            (_, Some("hamming")) => Interpolation::Hamming,
            (Some(value), _) => {
                let expected = "nearest, bilinear, bicubic, lanczos, box or hamming";
                note(&mut unsupported, "interpolation", expected, value);
                Interpolation::Bicubic
            }
        };
        let preprocess = Preprocess {
            size,
            resize,
            interpolation,
            crop_rule: CropRule::Torchvision,
            crop_pct,
            mean: numbers(&config.mean, "mean", &IMAGENET[0], &SHIFT)?,
            std: numbers(&config.std, "std", &IMAGENET[1], &FACTOR)?,
            unsupported,
            ..Preprocess::imagenet()
        };
        preprocess.check_sides()?;
        preprocess.check_numbers(&Keys::OWN)?;
        Ok(preprocess)
    }

    /// From Hugging Face's `preprocessor_config.json`, or the `image_processor` of a `processor_config.json`. A file that names no class is
    /// read as ConvNext's, which ResNet uses.
    ///
    /// Supported are the processors of ConvNext, ViT, DeiT, BiT, CLIP, MobileNetV1 and V2, MobileViT, LeViT, PoolFormer, EfficientNet,
    /// BEiT, PVT, SegFormer, DPT and SigLIP, under their old and new names; keys that a file leaves out have the class's defaults.
    ///
    /// # Errors
    /// [`PreprocessError::Config`] names a number that is out of range. An unknown key that may change pixels is kept in
    /// [`Preprocess::unsupported`].
    pub fn from_hugging_face(config: &Value) -> Result<Preprocess, PreprocessError> {
        Preprocess::from_hugging_face_as(config, "ConvNextImageProcessor")
    }

    /// [`Preprocess::from_hugging_face`], reading a file that names no class as one of `class`, as transformers uses the network's class.
    ///
    /// # Errors
    /// As [`Preprocess::from_hugging_face`].
    pub fn from_hugging_face_as(config: &Value, class: &str) -> Result<Preprocess, PreprocessError> {
        let file = config.get("image_processor").filter(|inner| inner.is_object()).unwrap_or(config);
        let config = &HuggingFace::read(file);
        let mut reader = Reader::new(config, class);
        let processor = reader.processor;
        reader.other_keys(file);
        let (size, resize, crop_pct) = reader.geometry()?;
        let interpolation = reader.resample()?;
        // Numbers are checked even if they are not used.
        let factor = rescale_factor(&config.rescale_factor)?;
        let rescales = reader.flag("do_rescale", &config.do_rescale, true);
        let [mean, std] = &processor.normal;
        let image_mean = numbers(&config.image_mean, "image_mean", mean, &SHIFT)?;
        let image_std = numbers(&config.image_std, "image_std", std, &FACTOR)?;
        let normalises = processor.normalises && reader.flag("do_normalize", &config.do_normalize, true);
        let (offset, divide_twice) = match processor.efficient {
            true => (
                f64::from(reader.flag("rescale_offset", &config.rescale_offset, false)),
                reader.flag("include_top", &config.include_top, true),
            ),
            false => (0.0, false),
        };
        let reverse_channels = processor.flip.is_some_and(|default| {
            reader.flag("do_flip_channel_order", &config.do_flip_channel_order, default)
        });
        let (mean, std, divide_twice) = match (normalises, divide_twice) {
            (true, twice) => (image_mean, image_std, twice),
            (false, true) => (vec![0.0], image_std, false),
            (false, false) => (vec![0.0], vec![1.0], false),
        };
        let preprocess = Preprocess {
            size,
            resize,
            interpolation,
            crop_rule: CropRule::HuggingFace,
            crop_pct,
            rescale: if rescales { factor } else { 1.0 },
            offset: if rescales { offset } else { 0.0 },
            mean,
            std,
            divide_twice,
            reverse_channels,
            unsupported: reader.unsupported,
        };
        preprocess.check_sides()?;
        preprocess.check_numbers(&KEYS)?;
        Ok(preprocess)
    }
}

/// A processor's config, and its first key that is not understood.
struct Reader<'a> {
    config: &'a HuggingFace,
    processor: Processor,
    /// Whether the config names its class.
    named: bool,
    unsupported: Option<UnsupportedKey>,
}

impl<'a> Reader<'a> {
    /// A reader for the processor that the config names, or else for the processor `class`.
    fn new(config: &'a HuggingFace, class: &str) -> Reader<'a> {
        let mut unsupported = None;
        let named = [
            ("image_processor_type", &config.image_processor_type),
            ("feature_extractor_type", &config.feature_extractor_type),
        ];
        let named = named.into_iter().find_map(|(key, name)| Some((key, name.found()?, name.get())));
        let processor = match named {
            None => Processor::named(class).unwrap_or(CONVNEXT),
            Some((key, found, name)) => name.and_then(|name| Processor::named(name)).unwrap_or_else(|| {
                note(&mut unsupported, key, "the processor of an image classifier", found);
                CONVNEXT
            }),
        };
        Reader { config, processor, named: named.is_some(), unsupported }
    }

    fn note(&mut self, key: &str, expected: &str, found: &Value) {
        note(&mut self.unsupported, key, expected, found);
    }

    fn flag(&mut self, key: &str, field: &Field<bool>, default: bool) -> bool {
        match field.read() {
            Ok(flag) => flag.copied().unwrap_or(default),
            Err(found) => {
                self.note(key, "true or false", found);
                default
            }
        }
    }

    /// Notes the first unread key that may change pixels: keys that are off or neutral are skipped.
    fn other_keys(&mut self, file: &Value) {
        let Processor { efficient, flip, .. } = self.processor;
        for (key, value) in file.as_object().into_iter().flatten() {
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                // DPT's value for any size.
                _ => key == "ensure_multiple_of" && value.as_u64() == Some(1),
            };
            let read = READ.contains(&key.as_str())
                || NEUTRAL.contains(&key.as_str())
                || key.starts_with('_')
                || (efficient && matches!(key.as_str(), "rescale_offset" | "include_top"))
                || (flip.is_some() && key == "do_flip_channel_order");
            if !off && !read {
                self.note(key, "a key that is known to this processor, or none", value);
            }
        }
    }

    /// The size of the result, the resize before the crop, and the fraction of a resized side that the crop keeps.
    fn geometry(&mut self) -> Result<(Size, Resize, f64), PreprocessError> {
        let Processor { rule, crop, crop_pct: default_pct, .. } = self.processor;
        let config = self.config;
        let extent = self.resize_extent()?;
        let crop_size = self.crop_size()?;
        let pct = percentage(&config.crop_pct, default_pct)?;
        let crop = match self.flag("do_center_crop", &config.do_center_crop, crop) {
            true if crop_size.is_none() => {
                self.note("crop_size", "a height and width, as do_center_crop is on", &Value::Null);
                None
            }
            true => crop_size,
            false => None,
        };
        if !self.flag("do_resize", &config.do_resize, true) {
            return Ok(match crop {
                Some(crop) => (crop, Resize::None, 1.0),
                None => (square(extent), Resize::Required, 1.0),
            });
        }
        // A file without a class that states a crop is not read by ConvNext's rule.
        if let (Rule::ConvNext, Extent::Shortest(s)) = (rule, extent)
            && (self.named || crop.is_none() || config.crop_pct.found().is_some())
        {
            return Ok(self.convnext(s, crop, pct));
        }
        let resize = self.resize(extent, pct);
        let kept = |crop: Size, of: Size| crop.height.min(crop.width) as f64 / of.height.min(of.width) as f64;
        Ok(match (resize, crop) {
            (Resize::Exact(size), None) => (size, resize, 1.0),
            (Resize::Exact(size), Some(crop)) => (crop, resize, kept(crop, size)),
            (Resize::Shortest(s), Some(crop)) => (crop, resize, kept(crop, Size::new(s, s))),
            _ => {
                let found = config.size.found().cloned().unwrap_or_default();
                self.note("size", "a height and width, or a crop_size beside it", &found);
                (square(extent), resize, 1.0)
            }
        })
    }

    /// The size to resize to, from the key `size` or by the class's default.
    fn resize_extent(&mut self) -> Result<Extent, PreprocessError> {
        let (config, size) = (self.config, self.processor.size);
        // The class decides how a bare number is read, unless its file says otherwise.
        let default = self.processor.default_to_square;
        let to_square = self.flag("default_to_square", &config.default_to_square, default);
        Ok(match config.size.found() {
            None => size,
            Some(_) => self.extent(&config.size, to_square)?.unwrap_or(size),
        })
    }

    /// The size of a crop, from the key `crop_size` or by the class's default.
    fn crop_size(&mut self) -> Result<Option<Size>, PreprocessError> {
        let (config, crop_size) = (self.config, self.processor.crop_size);
        Ok(match config.crop_size.found() {
            None => crop_size,
            Some(found) => match self.extent(&config.crop_size, true)? {
                Some(Extent::Exact(size)) => Some(size),
                _ => {
                    self.note("crop_size", "a height and width", found);
                    crop_size
                }
            },
        })
    }

    /// ConvNext's geometry for a shortest edge of `s`: from 384 on the image is warped, below that it is resized and cropped.
    fn convnext(&mut self, s: usize, crop: Option<Size>, pct: f64) -> (Size, Resize, f64) {
        if let Some(other) = crop.filter(|c| *c != Size::new(s, s)) {
            let found = Value::from(other.array().to_vec());
            self.note("crop_size", &format!("{s}x{s}, as `size` crops to it"), &found);
        }
        match s < 384 {
            true => (Size::new(s, s), Resize::Shortest(scaled(s, pct)), pct),
            false => (Size::new(s, s), Resize::Exact(Size::new(s, s)), 1.0),
        }
    }

    /// The resize before a crop, by the rule of the class.
    fn resize(&mut self, extent: Extent, pct: f64) -> Resize {
        match (self.processor.rule, extent) {
            (Rule::ConvNext, Extent::Exact(_)) if self.named => {
                let found = self.config.size.found().cloned().unwrap_or_default();
                self.note("size", "a shortest_edge", &found);
                Resize::Exact(square(extent))
            }
            (Rule::Levit, Extent::Shortest(s)) => {
                Resize::Shortest(((256.0 / 224.0 * s as f64) as usize).max(1))
            }
            (Rule::PoolFormer, Extent::Shortest(s)) => Resize::Shortest(scaled(s, pct)),
            (Rule::PoolFormer, Extent::Exact(size)) if size.height == size.width => {
                Resize::Shortest(scaled(size.height, pct))
            }
            (Rule::PoolFormer, Extent::Exact(size)) => Resize::Exact(size.map(|s| scaled(s, pct))),
            (_, Extent::Shortest(s)) => Resize::Shortest(s),
            (_, Extent::Exact(size)) => Resize::Exact(size),
        }
    }

    /// Parses any form of `size` and `crop_size`; `None` if it is absent or not understood.
    fn extent(&mut self, field: &Field<SizeKey>, to_square: bool) -> Result<Option<Extent>, PreprocessError> {
        let Some(found) = field.found() else { return Ok(None) };
        Ok(match field.get() {
            Some(SizeKey::Side(number)) => {
                let s = side("size", &Field::from(Value::Number(number.clone())))?;
                Some(if to_square { Extent::Exact(Size::new(s, s)) } else { Extent::Shortest(s) })
            }
            Some(SizeKey::Both([height, width])) => {
                Some(Extent::Exact(Size::new(side("size", height)?, side("size", width)?)))
            }
            Some(SizeKey::Named { shortest_edge, height, width, others })
                if others.values().all(Value::is_null)
                    && shortest_edge.found().is_some() != height.found().is_some()
                    && height.found().is_some() == width.found().is_some() =>
            {
                Some(match shortest_edge.found() {
                    Some(_) => Extent::Shortest(side("size.shortest_edge", shortest_edge)?),
                    None => Extent::Exact(Size::new(side("height", height)?, side("width", width)?)),
                })
            }
            _ => {
                self.note("size", "a shortest_edge, or a height and width", found);
                None
            }
        })
    }

    fn resample(&mut self) -> Result<Interpolation, PreprocessError> {
        let field = &self.config.resample;
        let Some(value) = field.found() else { return Ok(self.processor.resample) };
        Ok(match field.get() {
            Some(0) => Interpolation::Nearest,
            Some(1) => Interpolation::Lanczos,
            Some(2) => Interpolation::Bilinear,
            Some(3) => Interpolation::Bicubic,
            Some(4) => Interpolation::Box,
            Some(5) => Interpolation::Hamming,
            _ if value.is_number() => return Err(wrong("resample", "a number from 0 to 5", value)),
            _ => {
                self.note("resample", "a number from 0 to 5", value);
                self.processor.resample
            }
        })
    }
}

/// An extent as height and width.
fn square(extent: Extent) -> Size {
    match extent {
        Extent::Exact(size) => size,
        Extent::Shortest(s) => Size::new(s, s),
    }
}

/// The factor of `rescale_factor`, 1 / 255 by default.
fn rescale_factor(field: &Field<f64>) -> Result<f64, PreprocessError> {
    let Some(found) = field.found() else { return Ok(1.0 / 255.0) };
    field
        .get()
        .copied()
        .filter(|v| FACTOR.contains(v))
        .ok_or_else(|| wrong("rescale_factor", &format!("a number from {}", limits::between(&FACTOR)), found))
}

/// Keeps the first key that is not understood.
fn note(unsupported: &mut Option<UnsupportedKey>, key: &str, expected: &str, found: &Value) {
    let (key, expected, found) = (key.into(), expected.into(), shown(found));
    unsupported.get_or_insert(UnsupportedKey { key, expected, found });
}

fn wrong(key: &str, expected: &str, found: &Value) -> PreprocessError {
    PreprocessError::Config { key: key.into(), expected: expected.into(), found: shown(found) }
}

fn side(key: &str, field: &Field<f64>) -> Result<usize, PreprocessError> {
    // Some libraries write whole numbers with a decimal point.
    let whole = field.get().filter(|v| v.fract() == 0.0 && (0.0..=1e9).contains(*v)).map(|v| *v as usize);
    whole.filter(|s| (1..=MAX_IMAGE_SIDE).contains(s)).ok_or_else(|| {
        let expected = format!("a side from 1 to {MAX_IMAGE_SIDE} pixels");
        wrong(key, &expected, field.found().unwrap_or(&Value::Null))
    })
}

fn percentage(field: &Field<f64>, default: f64) -> Result<f64, PreprocessError> {
    let Some(found) = field.found() else { return Ok(default) };
    // With less than a hundredth, nothing of an image would be left.
    let pct = field.get().copied().filter(|p| CROP_PCT.contains(p));
    let expected = format!("a share from {} to {}", CROP_PCT.start(), CROP_PCT.end());
    pct.ok_or_else(|| wrong("crop_pct", &expected, found))
}

/// A number for each channel, or one for all.
fn numbers(
    field: &Field<Numbers>,
    key: &str,
    default: &[f64],
    range: &RangeInclusive<f64>,
) -> Result<Vec<f64>, PreprocessError> {
    let Some(found) = field.found() else { return Ok(default.to_vec()) };
    let list = match field.get() {
        Some(Numbers::One(number)) => vec![*number],
        Some(Numbers::Each(list)) => list.clone(),
        None => vec![],
    };
    let expected = format!("numbers from {}, one or one per channel", limits::between(range));
    match !list.is_empty() && list.iter().all(|number| range.contains(number)) {
        true => Ok(list),
        false => Err(wrong(key, &expected, found)),
    }
}
