//! Preprocessing of networks whose checkpoints do not state it.

use super::processors::IMAGENET;
use super::{CropRule, Interpolation, Preprocess, Resize, Size};

impl Preprocess {
    /// torchvision's preprocessing for ImageNet: shorter side to 256, bilinear, central 224x224, ImageNet mean and deviation.
    pub fn imagenet() -> Preprocess {
        Preprocess {
            size: Size::new(224, 224),
            resize: Resize::Shortest(256),
            interpolation: Interpolation::Bilinear,
            crop_rule: CropRule::Torchvision,
            crop_pct: 0.875,
            rescale: 1.0 / 255.0,
            offset: 0.0,
            mean: IMAGENET[0].to_vec(),
            std: IMAGENET[1].to_vec(),
            divide_twice: false,
            reverse_channels: false,
            unsupported: None,
        }
    }

    /// For CIFAR networks: warped to 32x32, with CIFAR-10's mean and deviation as in most training code.
    pub fn cifar() -> Preprocess {
        Preprocess {
            size: Size::new(32, 32),
            resize: Resize::Exact(Size::new(32, 32)),
            crop_pct: 1.0,
            mean: vec![0.4914, 0.4822, 0.4465],
            std: vec![0.2023, 0.1994, 0.2010],
            ..Preprocess::imagenet()
        }
    }

    /// Hugging Face's preprocessing for MobileNets: shorter side to 256, bilinear, central 224x224, values from -1 to 1.
    pub fn mobilenet() -> Preprocess {
        Preprocess {
            crop_rule: CropRule::HuggingFace,
            mean: vec![0.5; 3],
            std: vec![0.5; 3],
            ..Preprocess::imagenet()
        }
    }
}
