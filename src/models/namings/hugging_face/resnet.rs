//! Hugging Face's names: `resnet.embedder`, `resnet.encoder.stages.{s}.layers.{i}.layer.{n}`, `classifier.1`, and the `config.json`, which
//! states where blocks stride.

use crate::models::architecture::{self, Architecture, Built};
use crate::models::assume::Conventions;
use crate::models::build::layers;
use crate::models::build::reader::TensorReader;
use crate::models::config::{Config, HuggingFaceConfig, wrong};
use crate::models::families::resnet::{self, BlockKind, ResNet, ResNetLayout, ResNetNames, Stem};
use crate::models::{Key, ModelError, Naming};
use crate::preprocess::Preprocess;
use serde_json::Value;

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::HuggingFace,
    own_prefix: BODY,
    shown_by: "Hugging Face ResNet names (`resnet.embedder.embedder.convolution.weight`)",
    matches: |dict| {
        let layer = |n: &str| {
            n.starts_with("embedder.embedder.convolution.")
                || n.starts_with("encoder.stages.") && n.contains(".layer.0.convolution.")
        };
        // RegNet uses the same names for different blocks.
        let other = dict.prefix().ends_with("regnet.");
        dict.names().any(|n| {
            n.starts_with("resnet.embedder.") || n.starts_with("resnet.encoder.") || layer(n) && !other
        })
    },
    preprocess: |_| Preprocess::imagenet(),
    build,
    model_types: &["resnet"],
    timm: architecture::not_in_timm,
};

/// Prefix of the names, which a bare `ResNetModel` or `ResNetBackbone` does not have.
const BODY: &str = "resnet.";

struct HuggingFaceNames {
    /// [`BODY`] or empty.
    body: &'static str,
}

impl ResNetNames for HuggingFaceNames {
    fn stem(&self) -> [String; 4] {
        let embedder = |what: &str| format!("{}embedder.{what}", self.body);
        ["embedder.convolution", "embedder.normalization", "embedder.activation", "pooler"].map(embedder)
    }

    fn block(&self, stage: usize, index: usize) -> String {
        format!("{}encoder.stages.{stage}.layers.{index}", self.body)
    }

    fn block_of(&self, tensor: &str) -> Option<(usize, usize)> {
        let mut parts = tensor.strip_prefix(self.body)?.strip_prefix("encoder.stages.")?.split('.');
        let stage = parts.next()?.parse().ok()?;
        (parts.next()? == "layers").then_some(())?;
        let index = parts.next()?.parse().ok()?;
        parts.next()?;
        Some((stage, index))
    }

    fn unit(&self, block: &str, i: usize) -> [String; 3] {
        ["convolution", "normalization", "activation"].map(|what| format!("{block}.layer.{i}.{what}"))
    }

    fn activations(&self, block: &str, i: usize) -> Vec<String> {
        vec![format!("{block}.layer.{i}.activation"), format!("{block}.activation")]
    }

    fn shortcut(&self, block: &str) -> [String; 3] {
        ["pooler", "convolution", "normalization"].map(|what| format!("{block}.shortcut.{what}"))
    }

    fn head(&self) -> [String; 2] {
        [format!("{}pooler", self.body), "classifier.1".into()]
    }
}

/// Builds the network from the tensors, with the strides of `config.json` (by default the library's defaults).
fn build(reader: &mut TensorReader<'_>, config: &Config, size: [usize; 2]) -> Result<Built, ModelError> {
    let config = &config.hugging_face;
    activation(config)?;
    let body = if reader.names().any(|name| name.starts_with(BODY)) { BODY } else { "" };
    let layout = ResNetLayout {
        stem: Stem::Plain,
        conv_pool: false,
        first_stage_stride: 1,
        grouped: false,
        avg_down: false,
        squeeze_excite: false,
    };
    if config.hidden_sizes.found().is_some() {
        known(&mut reader.conventions, config)?;
        let strided = config.downsample_in_bottleneck.flag("downsample_in_bottleneck")?.unwrap_or(false);
        reader.conventions.known(Key::StrideIn, if strided { "1x1" } else { "3x3" })?;
        let stages = layers::stage_depths(reader.names(), |n| HuggingFaceNames { body }.block_of(n)).len();
        let strided = config.downsample_in_first_stage.flag("downsample_in_first_stage")?.unwrap_or(false);
        let first = if strided { "2" } else { "1" };
        let strides: Vec<&str> = (0..stages).map(|stage| if stage == 0 { first } else { "2" }).collect();
        reader.conventions.known(Key::StageStrides, strides.join(","))?;
    }
    let net = resnet::build(reader, &HuggingFaceNames { body }, layout, size)?;
    kind_agrees(config, &net)?;
    shapes_agree(config, &net)?;
    Ok(net.into())
}

/// Adopts the activation that the config states, as the library does.
pub(in crate::models) fn known(
    conventions: &mut Conventions,
    config: &HuggingFaceConfig,
) -> Result<(), ModelError> {
    match config.hidden_act.get() {
        Some(act) => conventions.known(Key::Activation, act),
        None => Ok(()),
    }
}

fn kind_agrees(config: &HuggingFaceConfig, net: &ResNet) -> Result<(), ModelError> {
    let layer_type = match net.kind {
        Some(BlockKind::Basic) => "basic",
        Some(BlockKind::Bottleneck) => "bottleneck",
        None => "both",
    };
    config.layer_type.agrees("layer_type", layer_type)
}

/// Refuses a config that contradicts the tensors.
fn shapes_agree(config: &HuggingFaceConfig, net: &ResNet) -> Result<(), ModelError> {
    config.depths.agrees("depths", &net.depths)?;
    config.hidden_sizes.agrees("hidden_sizes", &net.widths)?;
    config.embedding_size.agrees("embedding_size", &net.stem_channels)?;
    config.num_channels.agrees("num_channels", &net.in_channels)
}

/// Checks such a config beside a ResNet with another library's names. Refuses contradicting shapes, and strides that the other library does
/// not have.
pub(in crate::models) fn agrees(config: &HuggingFaceConfig, net: &ResNet) -> Result<(), ModelError> {
    activation(config)?;
    kind_agrees(config, net)?;
    let strided = [
        ("downsample_in_bottleneck", &config.downsample_in_bottleneck),
        ("downsample_in_first_stage", &config.downsample_in_first_stage),
    ];
    for (key, flag) in strided {
        if flag.flag(key)? == Some(true) {
            return Err(wrong(key, "false, as the tensor names say", &Value::Bool(true)));
        }
    }
    shapes_agree(config, net)
}

/// Refuses an activation that this crate cannot run.
fn activation(config: &HuggingFaceConfig) -> Result<(), ModelError> {
    config.activation("ResNet", ["relu", "relu6"]).map(drop)
}
