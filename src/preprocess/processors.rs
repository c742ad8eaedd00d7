//! Defaults of Hugging Face's image processors, as in transformers 5.24.

use super::Interpolation::{self, Bicubic, Bilinear};
use super::Size;

type Triple = [f64; 3];

/// `IMAGENET_DEFAULT_MEAN` and `IMAGENET_DEFAULT_STD`.
pub(super) const IMAGENET: [Triple; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
/// `IMAGENET_STANDARD_MEAN` and `IMAGENET_STANDARD_STD`.
const STANDARD: [Triple; 2] = [[0.5; 3]; 2];
/// `OPENAI_CLIP_MEAN` and `OPENAI_CLIP_STD`.
const CLIP: [Triple; 2] = [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]];

/// The size to resize to, as stated by `size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The shorter side.
    Shortest(usize),
    /// `[height, width]`.
    Exact(Size),
}

/// How `size` becomes the size of the resized image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// `size` itself.
    Plain,
    /// Below 384: the shorter side to `size / crop_pct`, then a central crop of `size`; else warped to `size`.
    ConvNext,
    /// The shorter side to `256 / 224 * size`.
    Levit,
    /// To `size / crop_pct`; by the shorter side if `size` is a square.
    PoolFormer,
}

/// A class of image processors and its defaults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processor {
    /// Its name without `ImageProcessor`, `FeatureExtractor`, `Fast` and `Pil`.
    pub name: &'static str,
    pub rule: Rule,
    pub size: Extent,
    /// Whether a bare number as `size` means both sides instead of the shorter one.
    pub default_to_square: bool,
    pub crop: bool,
    pub crop_size: Option<Size>,
    pub crop_pct: f64,
    pub resample: Interpolation,
    /// Mean and deviation.
    pub normal: [Triple; 2],
    /// Whether the class normalises at all; if not, its config cannot enable it.
    pub normalises: bool,
    /// Default of `do_flip_channel_order`, if the class has it.
    pub flip: Option<bool>,
    /// Whether the class has `rescale_offset` and `include_top`; `include_top` is on by default.
    pub efficient: bool,
}

const fn square(name: &'static str, side: usize, resample: Interpolation, normal: [Triple; 2]) -> Processor {
    Processor {
        name,
        rule: Rule::Plain,
        size: Extent::Exact(Size::new(side, side)),
        default_to_square: true,
        crop: false,
        crop_size: None,
        crop_pct: 1.0,
        resample,
        normal,
        normalises: true,
        flip: None,
        efficient: false,
    }
}

const fn cropped(
    name: &'static str,
    size: Extent,
    crop: usize,
    resample: Interpolation,
    normal: [Triple; 2],
) -> Processor {
    let default_to_square = matches!(size, Extent::Exact(_));
    let plain = square(name, crop, resample, normal);
    Processor { size, default_to_square, crop: true, crop_size: Some(Size::new(crop, crop)), ..plain }
}

const fn shortest(side: usize) -> Extent {
    Extent::Shortest(side)
}

/// Also used by ResNets and RegNets.
pub(super) const CONVNEXT: Processor = Processor {
    rule: Rule::ConvNext,
    size: shortest(384),
    default_to_square: false,
    crop_pct: 224.0 / 256.0,
    ..square("ConvNext", 384, Bicubic, STANDARD)
};

const PROCESSORS: &[Processor] = &[
    CONVNEXT,
    square("ViT", 224, Bilinear, STANDARD),
    cropped("DeiT", Extent::Exact(Size::new(256, 256)), 224, Bicubic, STANDARD),
    cropped("Bit", shortest(224), 224, Bicubic, CLIP),
    cropped("CLIP", shortest(224), 224, Bicubic, CLIP),
    cropped("ChineseCLIP", shortest(224), 224, Bicubic, CLIP),
    cropped("MobileNetV1", shortest(256), 224, Bilinear, STANDARD),
    cropped("MobileNetV2", shortest(256), 224, Bilinear, STANDARD),
    Processor {
        normalises: false,
        flip: Some(true),
        ..cropped("MobileViT", shortest(224), 256, Bicubic, STANDARD)
    },
    Processor { rule: Rule::Levit, ..cropped("Levit", shortest(224), 224, Bicubic, IMAGENET) },
    Processor {
        rule: Rule::PoolFormer,
        crop_pct: 0.9,
        ..cropped("PoolFormer", shortest(224), 224, Bicubic, IMAGENET)
    },
    Processor {
        crop_size: Some(Size::new(289, 289)),
        efficient: true,
        ..square("EfficientNet", 346, Bicubic, STANDARD)
    },
    Processor { crop_size: Some(Size::new(224, 224)), ..square("Beit", 224, Bicubic, STANDARD) },
    square("Pvt", 224, Bicubic, IMAGENET),
    square("Segformer", 512, Bilinear, IMAGENET),
    square("DPT", 384, Bicubic, STANDARD),
    Processor { default_to_square: false, ..square("Siglip", 224, Bicubic, STANDARD) },
];

impl Processor {
    /// The processor of a class name such as `ConvNextImageProcessorFast`.
    pub(super) fn named(class: &str) -> Option<Processor> {
        let mut name = class;
        for suffix in ["Fast", "Pil", "ImageProcessor", "FeatureExtractor"] {
            name = name.strip_suffix(suffix).unwrap_or(name);
        }
        PROCESSORS.iter().find(|p| p.name == name).copied()
    }
}

/// Keys that never change a pixel, for example names, how images are passed, and the treatment of label maps.
pub(super) const NEUTRAL: &[&str] = &[
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "transformers_version",
    "name_or_path",
    "do_convert_rgb",
    "data_format",
    "input_data_format",
    "device",
    "return_tensors",
    "disable_grouping",
    "image_seq_length",
    "num_labels",
    "do_reduce_labels",
    "reduce_labels",
];

/// Keys that the reader evaluates.
pub(super) const READ: &[&str] = &[
    "do_resize",
    "size",
    "default_to_square",
    "resample",
    "do_center_crop",
    "crop_size",
    "crop_pct",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
];
