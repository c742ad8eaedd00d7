//! Preprocessing as config files describe it.

use super::{CropRule, Interpolation, MAX_SIDE, Preprocess, PreprocessError, Resize};
use serde_json::Value;

const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

impl Preprocess {
    /// torchvision's for ImageNet: shortest side to 256, bilinear, the central 224x224, ImageNet mean and deviation.
    pub fn imagenet() -> Preprocess {
        Preprocess {
            size: [224, 224],
            resize: Resize::Shortest(256),
            interpolation: Interpolation::Bilinear,
            crop_rule: CropRule::Torchvision,
            crop_pct: 0.875,
            rescale: 1.0 / 255.0,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }

    /// For CIFAR networks that say nothing: warped to 32x32, CIFAR-10's mean and deviation as most training code has them.
    pub fn cifar() -> Preprocess {
        Preprocess {
            size: [32, 32],
            resize: Resize::Exact([32, 32]),
            crop_pct: 1.0,
            mean: [0.4914, 0.4822, 0.4465],
            std: [0.2023, 0.1994, 0.2010],
            ..Preprocess::imagenet()
        }
    }

    /// Hugging Face's for MobileNets: shortest side to 256, bilinear, the central 224x224, values from -1 to 1.
    pub fn mobilenet() -> Preprocess {
        Preprocess {
            crop_rule: CropRule::HuggingFace,
            mean: [0.5; 3],
            std: [0.5; 3],
            ..Preprocess::imagenet()
        }
    }

    /// From timm's `pretrained_cfg`: the image is resized so that it covers `floor(input_size / crop_pct)`, then cropped.
    ///
    /// # Errors
    /// [`PreprocessError::Config`] names a key that is not understood.
    pub fn from_timm(config: &Value) -> Result<Preprocess, PreprocessError> {
        let size = match get(config, "input_size") {
            None => [224, 224],
            Some(value) => match value.as_array().map(Vec::as_slice) {
                Some([_, height, width]) => [side("input_size", height)?, side("input_size", width)?],
                _ => return Err(wrong("input_size", "[channels, height, width]", value)),
            },
        };
        let crop_pct = percentage(config, 0.875)?;
        let scaled = size.map(|s| super::scaled(s, crop_pct));
        let resize = match get(config, "crop_mode") {
            None => Resize::cover(scaled),
            Some(mode) => match mode.as_str() {
                Some("center") => Resize::cover(scaled),
                Some("squash") => Resize::Exact(scaled),
                _ => return Err(wrong("crop_mode", "\"center\" or \"squash\"", mode)),
            },
        };
        let interpolation = match get(config, "interpolation") {
            None => Interpolation::Bicubic,
            Some(value) => match value.as_str() {
                Some("nearest") => Interpolation::Nearest,
                Some("bilinear") => Interpolation::Bilinear,
                Some("bicubic") => Interpolation::Bicubic,
                Some("lanczos") => Interpolation::Lanczos,
                _ => return Err(wrong("interpolation", "nearest, bilinear, bicubic or lanczos", value)),
            },
        };
        Ok(Preprocess {
            size,
            resize,
            interpolation,
            crop_rule: CropRule::Torchvision,
            crop_pct,
            rescale: 1.0 / 255.0,
            mean: triple(config, "mean", IMAGENET_MEAN, false)?,
            std: triple(config, "std", IMAGENET_STD, true)?,
        })
    }

    /// From Hugging Face's `preprocessor_config.json`.
    ///
    /// ConvNext processors, which ResNet uses, resize the shortest side to `size / crop_pct` and crop, or warp from 384
    /// on. Others resize to `size` and crop to `crop_size`. What a MobileNet processor leaves out is as
    /// [`Preprocess::mobilenet`] has it.
    ///
    /// # Errors
    /// [`PreprocessError::Config`] names a key that is not understood, or one that would leave the size of the result to
    /// the image.
    pub fn from_hugging_face(config: &Value) -> Result<Preprocess, PreprocessError> {
        let kind = get(config, "image_processor_type").or_else(|| get(config, "feature_extractor_type"));
        let is = |name: &str| kind.and_then(Value::as_str).is_some_and(|k| k.starts_with(name));
        let convnext = is("ConvNext") || get(config, "crop_pct").is_some();
        let mobilenet = is("MobileNet");
        let number_is_shortest = convnext || mobilenet;
        let flag = |key: &str, default: bool| match get(config, key) {
            None => Ok(default),
            Some(v) => v.as_bool().ok_or_else(|| wrong(key, "true or false", v)),
        };
        let crop = match get(config, "crop_size") {
            Some(value) if flag("do_center_crop", mobilenet)? => Some(match value {
                Value::Number(_) => [side("crop_size", value)?; 2],
                _ => height_width(value).unwrap_or_else(|| Err(wrong("crop_size", "a size", value)))?,
            }),
            None if mobilenet && flag("do_center_crop", true)? => Some(Preprocess::mobilenet().size),
            _ => None,
        };

        let (size, resize, crop_pct) = if !flag("do_resize", true)? {
            let extent = get(config, "size").map(|v| extent(v, number_is_shortest)).transpose()?;
            match (crop, extent) {
                (Some(crop), _) => (crop, Resize::None, 1.0),
                (None, Some(Extent::Exact(size))) => (size, Resize::Required, 1.0),
                (None, Some(Extent::Shortest(s))) => ([s, s], Resize::Required, 1.0),
                (None, None) => ([224, 224], Resize::Required, 1.0),
            }
        } else {
            let value = get(config, "size");
            let default = if mobilenet { 256 } else { 224 };
            match value
                .map(|v| extent(v, number_is_shortest))
                .transpose()?
                .unwrap_or(Extent::Shortest(default))
            {
                Extent::Shortest(s) if convnext && s < 384 => {
                    let pct = percentage(config, 224.0 / 256.0)?;
                    (crop.unwrap_or([s, s]), Resize::Shortest(super::scaled(s, pct)), pct)
                }
                Extent::Shortest(s) if convnext => (crop.unwrap_or([s, s]), Resize::Exact([s, s]), 1.0),
                Extent::Exact(s) => {
                    let crop = crop.unwrap_or(s);
                    (crop, Resize::Exact(s), crop[0] as f64 / s[0] as f64)
                }
                Extent::Shortest(s) => match crop {
                    Some(crop) => (crop, Resize::Shortest(s), crop[0].min(crop[1]) as f64 / s as f64),
                    None => {
                        let value = value.unwrap_or(&Value::Null);
                        return Err(wrong("size", "a height and width, or a crop_size beside it", value));
                    }
                },
            }
        };

        let interpolation = match get(config, "resample") {
            None if mobilenet => Interpolation::Bilinear,
            None => Interpolation::Bicubic,
            Some(value) => match value.as_u64() {
                Some(0) => Interpolation::Nearest,
                Some(1) => Interpolation::Lanczos,
                Some(2) => Interpolation::Bilinear,
                Some(3) => Interpolation::Bicubic,
                _ => return Err(wrong("resample", "0, 1, 2 or 3", value)),
            },
        };
        let rescale = match get(config, "rescale_factor") {
            _ if !flag("do_rescale", true)? => 1.0,
            None => 1.0 / 255.0,
            Some(v) => v.as_f64().ok_or_else(|| wrong("rescale_factor", "a number", v))?,
        };
        let (mean, std) = match mobilenet {
            true => (Preprocess::mobilenet().mean, Preprocess::mobilenet().std),
            false => (IMAGENET_MEAN, IMAGENET_STD),
        };
        let (mean, std) = match flag("do_normalize", true)? {
            true => (triple(config, "image_mean", mean, false)?, triple(config, "image_std", std, true)?),
            false => ([0.0; 3], [1.0; 3]),
        };
        let crop_rule = CropRule::HuggingFace;
        Ok(Preprocess { size, resize, interpolation, crop_rule, crop_pct, rescale, mean, std })
    }
}

/// What `size` of a Hugging Face config asks for.
enum Extent {
    Shortest(usize),
    Exact([usize; 2]),
}

/// A number was the shortest side for ConvNext and MobileNet processors and a square for others.
fn extent(value: &Value, number_is_shortest: bool) -> Result<Extent, PreprocessError> {
    if value.is_number() {
        let s = side("size", value)?;
        return Ok(if number_is_shortest { Extent::Shortest(s) } else { Extent::Exact([s, s]) });
    }
    if let Some(s) = get(value, "shortest_edge") {
        return Ok(Extent::Shortest(side("size.shortest_edge", s)?));
    }
    match height_width(value) {
        Some(size) => size.map(Extent::Exact),
        None => Err(wrong("size", "a shortest_edge, or a height and width", value)),
    }
}

/// `{"height": h, "width": w}`
fn height_width(value: &Value) -> Option<Result<[usize; 2], PreprocessError>> {
    let (height, width) = (get(value, "height")?, get(value, "width")?);
    Some(side("height", height).and_then(|h| Ok([h, side("width", width)?])))
}

fn get<'c>(config: &'c Value, key: &str) -> Option<&'c Value> {
    config.get(key).filter(|v| !v.is_null())
}

fn wrong(key: &str, expected: &str, found: &Value) -> PreprocessError {
    PreprocessError::Config { key: key.into(), expected: expected.into(), found: found.to_string() }
}

fn side(key: &str, value: &Value) -> Result<usize, PreprocessError> {
    let side = value.as_u64().and_then(|v| usize::try_from(v).ok());
    side.filter(|s| (1..=MAX_SIDE).contains(s))
        .ok_or_else(|| wrong(key, &format!("a side from 1 to {MAX_SIDE} pixels"), value))
}

fn percentage(config: &Value, default: f64) -> Result<f64, PreprocessError> {
    let Some(value) = get(config, "crop_pct") else { return Ok(default) };
    // Below a hundredth, nothing of an image would be left.
    let pct = value.as_f64().filter(|p| (0.01..=100.0).contains(p));
    pct.ok_or_else(|| wrong("crop_pct", "a share above 0, mostly up to 1", value))
}

/// Three numbers, or one for all; deviations are divided by and so not 0.
fn triple(config: &Value, key: &str, default: [f64; 3], divisor: bool) -> Result<[f64; 3], PreprocessError> {
    let Some(value) = get(config, key) else { return Ok(default) };
    let refuse = || wrong(key, if divisor { "three numbers above 0" } else { "three numbers" }, value);
    let number = |v: &Value| v.as_f64().filter(|v| (*v as f32).is_finite() && (!divisor || *v as f32 > 0.0));
    let numbers: Option<Vec<f64>> = match value {
        Value::Array(list) => list.iter().map(number).collect(),
        other => number(other).map(|v| vec![v]),
    };
    match numbers.as_deref() {
        Some([a, b, c]) => Ok([*a, *b, *c]),
        Some([all]) => Ok([*all; 3]),
        _ => Err(refuse()),
    }
}
