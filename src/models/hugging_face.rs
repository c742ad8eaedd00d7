//! Hugging Face's names: `resnet.embedder`, `resnet.encoder.stages.{s}.layers.{i}.layer.{n}`, `classifier.1`, and the
//! `config.json` that says where blocks stride.

use super::assume::Conventions;
use super::key::Key;
use super::layers;
use super::reader::Reader;
use super::resnet::{self, Kind, Layout, Names, ResNet, Stem};
use super::scheme::{self, Built, Scheme};
use super::{ModelError, Naming, config};
use crate::preprocess::Preprocess;
use serde_json::{Value, json};

pub(super) const SCHEME: Scheme = Scheme {
    naming: Naming::HuggingFace,
    own_prefix: BODY,
    shown_by: "Hugging Face ResNet names (`resnet.embedder.embedder.convolution.weight`)",
    matches: |dict| {
        let layer = |n: &str| {
            n.starts_with("embedder.embedder.convolution.")
                || n.starts_with("encoder.stages.") && n.contains(".layer.0.convolution.")
        };
        // RegNet's names are the same, and its blocks are others.
        let other = dict.prefix().ends_with("regnet.");
        dict.names().any(|n| {
            n.starts_with("resnet.embedder.") || n.starts_with("resnet.encoder.") || layer(n) && !other
        })
    },
    preprocess: |_| Preprocess::imagenet(),
    build,
    model_types: &["resnet"],
    timm: scheme::not_in_timm,
};

/// What the names begin with, but for those of a `ResNetModel` or `ResNetBackbone` alone.
const BODY: &str = "resnet.";

struct HuggingFace {
    /// [`BODY`] or nothing.
    body: &'static str,
}

impl Names for HuggingFace {
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

/// The network as the tensors have it, strides as `config.json` says (by default the library's own).
fn build(reader: &mut Reader<'_>, config: Option<&Value>, size: [usize; 2]) -> Result<Built, ModelError> {
    activation(config)?;
    let body = if reader.names().any(|name| name.starts_with(BODY)) { BODY } else { "" };
    let layout = Layout {
        stem: Stem::Plain,
        conv_pool: false,
        first_stage_stride: 1,
        grouped: false,
        pooled: false,
        excited: false,
    };
    if config::get(config, "hidden_sizes").is_some() {
        known(&mut reader.conventions, config)?;
        let flag = |key: &str| config::boolean(config, key).map(|v| v.unwrap_or(false));
        let strided = flag("downsample_in_bottleneck")?;
        reader.conventions.known(Key::StrideIn, if strided { "1x1" } else { "3x3" })?;
        let stages = layers::stage_depths(reader.names(), |n| HuggingFace { body }.block_of(n)).len();
        let first = if flag("downsample_in_first_stage")? { "2" } else { "1" };
        let strides: Vec<&str> = (0..stages).map(|stage| if stage == 0 { first } else { "2" }).collect();
        reader.conventions.known(Key::StageStrides, strides.join(","))?;
    }
    let net = resnet::build(reader, &HuggingFace { body }, layout, size)?;
    kind_agrees(config, &net)?;
    shapes_agree(config, &net)?;
    Ok(net.into())
}

/// What the config of such a network says of it, and the library then builds.
pub(super) fn known(conventions: &mut Conventions, config: Option<&Value>) -> Result<(), ModelError> {
    match config::get(config, "hidden_act").and_then(Value::as_str) {
        Some(act) => conventions.known(Key::Activation, act),
        None => Ok(()),
    }
}

fn kind_agrees(config: Option<&Value>, net: &ResNet) -> Result<(), ModelError> {
    let layer_type = match net.kind {
        Some(Kind::Basic) => "basic",
        Some(Kind::Bottleneck) => "bottleneck",
        None => "both",
    };
    config::agrees(config, "layer_type", &json!(layer_type))
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
    kind_agrees(config, net)?;
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
        Some(act) if act == "relu" || act == "relu6" => Ok(()),
        Some(act) => Err(ModelError::Unsupported {
            what: "a Hugging Face ResNet with another activation".into(),
            why: format!("config.json has `hidden_act` {act}, only \"relu\" and \"relu6\" are known"),
        }),
    }
}
