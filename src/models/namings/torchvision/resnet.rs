//! torchvision's names: `conv1`, `bn1`, `layer{1-4}.{i}.conv{n}/bn{n}`, `downsample.{0,1}`, `fc`. timm uses the same names, and for its
//! variants also `conv1.{0-6}` for a deep stem, `downsample.{1,2}` after an average pool, `se.fc{1,2}`, `maxpool.{0,1}`.

use crate::models::architecture::{Architecture, Built};
use crate::models::build::layers;
use crate::models::build::reader::TensorReader;
use crate::models::build::state_dict::StateDict;
use crate::models::config::Config;
use crate::models::families::resnet::{self, ResNetLayout, ResNetNames, Stem};
use crate::models::namings::{hugging_face, timm};
use crate::models::{Key, ModelError, Naming};
use crate::preprocess::Preprocess;

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::Torchvision,
    own_prefix: "",
    shown_by: "torchvision or timm ResNet names (`conv1.weight`, `layer1.0.conv1.weight`)",
    matches: |dict| {
        let starts = |prefix: &str| dict.names().any(|n| n.starts_with(prefix));
        let stage =
            |n: &str| n.strip_prefix("layer").is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()));
        starts("layer1.") || dict.names().any(stage) && starts("conv1.")
    },
    preprocess: |dict| match is_cifar(dict) {
        true => Preprocess::cifar(),
        false => Preprocess::imagenet(),
    },
    build,
    model_types: &["resnet"],
    timm: timm::resnet::named,
};

struct Torchvision {
    /// Whether a shortcut begins with an average pool, followed by a convolution and its batch norm.
    avg_down: bool,
}

impl ResNetNames for Torchvision {
    fn stem(&self) -> [String; 4] {
        ["conv1", "bn1", "relu", "maxpool"].map(String::from)
    }

    fn block(&self, stage: usize, index: usize) -> String {
        format!("layer{}.{index}", stage + 1)
    }

    fn block_of(&self, tensor: &str) -> Option<(usize, usize)> {
        let mut parts = tensor.strip_prefix("layer")?.split('.');
        let stage: usize = parts.next()?.parse().ok()?;
        let index = parts.next()?.parse().ok()?;
        parts.next()?;
        Some((stage.checked_sub(1)?, index))
    }

    fn unit(&self, block: &str, i: usize) -> [String; 3] {
        ["conv", "bn", "relu"].map(|what| format!("{block}.{what}{}", i + 1))
    }

    fn activations(&self, block: &str, i: usize) -> Vec<String> {
        // torchvision's blocks share one activation module; timm's have one after each unit.
        let numbered = |what: &str| format!("{block}.{what}{}", i + 1);
        vec![numbered("relu"), numbered("act"), format!("{block}.relu"), format!("{block}.prelu")]
    }

    fn shortcut(&self, block: &str) -> [String; 3] {
        let module = |i: usize| format!("{block}.downsample.{i}");
        // The pool's name is not used without a pool.
        if self.avg_down { [0, 1, 2].map(module) } else { [2, 0, 1].map(module) }
    }

    fn head(&self) -> [String; 2] {
        ["avgpool", "fc"].map(String::from)
    }
}

/// Builds basic blocks, bottlenecks or both, grouped or wide, with or without squeeze-and-excitation, and with any stem and shortcut.
fn build(reader: &mut TensorReader<'_>, config: &Config, size: [usize; 2]) -> Result<Built, ModelError> {
    let has = |test: &dyn Fn(&str) -> bool| reader.names().any(test);
    let stem = match reader.shape("conv1.weight") {
        Some([_, _, 3, 3]) => Stem::Cifar,
        _ if has(&|name| name == "conv1.0.weight") => Stem::Deep,
        _ => Stem::Plain,
    };
    // Without a pool this is the batch norm's vector.
    let avg_down = has(&|name| {
        name.ends_with(".downsample.1.weight") && reader.shape(name).is_some_and(|shape| shape.len() == 4)
    });
    // Slopes of a PReLU, since nothing else has a vector under these names.
    let slopes = has(&|name| {
        let module = name.strip_suffix(".weight").and_then(|name| name.rsplit('.').next());
        let module = module.map(|m| m.trim_end_matches(|c: char| c.is_ascii_digit()));
        matches!(module, Some("relu" | "act" | "prelu"))
            && reader.shape(name).is_some_and(|shape| shape.len() == 1)
    });
    let layout = ResNetLayout {
        stem,
        conv_pool: stem != Stem::Cifar && has(&|name| name == "maxpool.0.weight"),
        first_stage_stride: 1,
        grouped: true,
        avg_down,
        squeeze_excite: has(&|name| name.contains(".se.fc1.")),
    };
    if slopes {
        reader.conventions.known(Key::Activation, "prelu")?;
    }
    timm::resnet::arguments(&config.timm)?;
    let names = Torchvision { avg_down };
    let stages = layers::stage_depths(reader.names(), |n| names.block_of(n)).len();
    timm::resnet::known(&mut reader.conventions, &config.timm, stages)?;
    hugging_face::resnet::known(&mut reader.conventions, &config.hugging_face)?;
    let net = resnet::build(reader, &names, layout, size)?;
    timm::resnet::agrees(&config.timm, &net)?;
    hugging_face::resnet::agrees(&config.hugging_face, &net)?;
    Ok(net.into())
}

/// Whether the stem is the 3x3 one of CIFAR networks.
fn is_cifar(dict: &StateDict<'_>) -> bool {
    dict.tensor("conv1.weight").is_some_and(|t| matches!(t.shape(), [_, _, 3, 3]))
}
