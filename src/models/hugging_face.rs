//! Hugging Face's names: `resnet.embedder`, `resnet.encoder.stages.{s}.layers.{i}.layer.{n}`, `classifier.1`, and the
//! `config.json` that says where blocks stride.

use super::reader::Reader;
use super::resnet::{self, Kind, Layout, Names, ResNet, Stem};
use super::scheme::{self, Built, Scheme};
use super::{ModelError, Naming, config};
use crate::preprocess::Preprocess;
use serde_json::{Value, json};

pub(super) const SCHEME: Scheme = Scheme {
    naming: Naming::HuggingFace,
    shown_by: "Hugging Face ResNet names (`resnet.embedder.embedder.convolution.weight`)",
    matches: |checkpoint| {
        checkpoint.names().any(|n| n.starts_with("resnet.embedder.") || n.starts_with("resnet.encoder."))
    },
    preprocess: |_| Preprocess::imagenet(),
    build,
    model_types: &["resnet"],
    timm: scheme::not_in_timm,
};

struct HuggingFace;

impl Names for HuggingFace {
    fn stem(&self) -> [String; 4] {
        let embedder = |what: &str| format!("resnet.embedder.{what}");
        ["embedder.convolution", "embedder.normalization", "embedder.activation", "pooler"].map(embedder)
    }

    fn block(&self, stage: usize, index: usize) -> String {
        format!("resnet.encoder.stages.{stage}.layers.{index}")
    }

    fn block_of(&self, tensor: &str) -> Option<(usize, usize)> {
        let mut parts = tensor.strip_prefix("resnet.encoder.stages.")?.split('.');
        let stage = parts.next()?.parse().ok()?;
        (parts.next()? == "layers").then_some(())?;
        let index = parts.next()?.parse().ok()?;
        parts.next()?;
        Some((stage, index))
    }

    fn unit(&self, block: &str, i: usize) -> [String; 3] {
        ["convolution", "normalization", "activation"].map(|what| format!("{block}.layer.{i}.{what}"))
    }

    fn shortcut(&self, block: &str) -> [String; 3] {
        ["pooler", "convolution", "normalization"].map(|what| format!("{block}.shortcut.{what}"))
    }

    fn head(&self) -> [String; 2] {
        ["resnet.pooler", "classifier.1"].map(String::from)
    }
}

/// The network as the tensors have it, strides as `config.json` says (by default the library's own).
fn build(reader: &mut Reader<'_>, config: Option<&Value>, size: [usize; 2]) -> Result<Built, ModelError> {
    activation(config)?;
    let bottleneck = reader.names().any(|name| name.ends_with(".layer.2.convolution.weight"));
    let flag = |key: &str| config::boolean(config, key).map(|v| v.unwrap_or(false));
    let layout = Layout {
        kind: if bottleneck { Kind::Bottleneck } else { Kind::Basic },
        stem: Stem::Plain,
        conv_pool: false,
        stride_in_first: flag("downsample_in_bottleneck")?,
        first_stage_stride: if flag("downsample_in_first_stage")? { 2 } else { 1 },
        grouped: false,
        pooled: false,
        excited: false,
    };
    let layer_type = if bottleneck { "bottleneck" } else { "basic" };
    config::agrees(config, "layer_type", &json!(layer_type))?;
    let net = resnet::build(reader, &HuggingFace, layout, size)?;
    shapes_agree(config, &net)?;
    Ok(net.into())
}

/// Refuses a config that contradicts the tensors.
fn shapes_agree(config: Option<&Value>, net: &ResNet) -> Result<(), ModelError> {
    config::agrees(config, "depths", &json!(net.depths))?;
    config::agrees(config, "hidden_sizes", &json!(net.widths))?;
    config::agrees(config, "embedding_size", &json!(net.stem_channels))?;
    config::agrees(config, "num_channels", &json!(net.in_channels))
}

/// Refuses what such a config says beside a ResNet under another library's names: other shapes, and strides that library has not.
pub(super) fn agrees(config: Option<&Value>, net: &ResNet) -> Result<(), ModelError> {
    activation(config)?;
    let layer_type = if net.layout.kind == Kind::Bottleneck { "bottleneck" } else { "basic" };
    config::agrees(config, "layer_type", &json!(layer_type))?;
    for key in ["downsample_in_bottleneck", "downsample_in_first_stage"] {
        if config::boolean(config, key)? == Some(true) {
            return Err(config::wrong(key, "false, as the tensor names say", &Value::Bool(true)));
        }
    }
    shapes_agree(config, net)
}

/// Refuses an activation that this crate cannot run; the tensors show none.
fn activation(config: Option<&Value>) -> Result<(), ModelError> {
    match config::get(config, "hidden_act") {
        None => Ok(()),
        Some(act) if act == "relu" => Ok(()),
        Some(act) => Err(ModelError::Unsupported {
            what: "a Hugging Face ResNet with another activation".into(),
            why: format!("config.json has `hidden_act` {act}, only \"relu\" is known"),
        }),
    }
}
