//! timm's `config.json`: which of its many networks the file is. Most differences leave no trace in the tensors, so an
//! architecture is accepted by name, and every other one is refused by name.

use super::ModelError;
mod names;

use names::{blocks, refused, variant};
pub(super) use names::{plain, resnet};

use super::assume::Conventions;
use super::config;
use super::key::Key;
use super::resnet::{Kind, ResNet, Stem};
use super::scheme::Scheme;
use serde_json::{Value, json};

fn unsupported<T>(what: impl Into<String>, why: impl Into<String>) -> Result<T, ModelError> {
    Err(ModelError::Unsupported { what: what.into(), why: why.into() })
}

/// The architecture that a config names.
///
/// # Errors
/// [`ModelError::Config`] when it is no name, [`ModelError::Unsupported`] when it is known not to be supported.
pub(super) fn architecture(config: Option<&Value>) -> Result<Option<&str>, ModelError> {
    let Some(value) = config::get(config, "architecture") else { return Ok(None) };
    let name = value.as_str().ok_or_else(|| config::wrong("architecture", "a name", value))?;
    match refused(&plain(name)) {
        Some(why) => unsupported(format!("timm `{name}`"), why),
        None => Ok(Some(name)),
    }
}

/// Refuses an architecture that the scheme of the tensors has not.
pub(super) fn check(name: &str, scheme: &Scheme) -> Result<(), ModelError> {
    (scheme.timm)(&plain(name)).or_else(|why| unsupported(format!("timm `{name}`"), why))
}

/// Refuses `model_args` that are neither of any family nor `neutral` in this one, and another pooling than the average.
pub(super) fn arguments(
    config: Option<&Value>,
    neutral: impl Fn(&str, &Value) -> bool,
) -> Result<(), ModelError> {
    if let Some(pool) = config::get(config, "global_pool").filter(|p| **p != json!("avg")) {
        return unsupported("a timm network with another pooling", format!("`global_pool` is {pool}"));
    }
    if config::get(config, "architecture").is_none() {
        return Ok(());
    }
    let Some(args) = config::get(config, "model_args") else { return Ok(()) };
    let args = args.as_object().ok_or_else(|| config::wrong("model_args", "an object", args))?;
    match args.iter().find(|(key, value)| !value.is_null() && !of_all(key, value) && !neutral(key, value)) {
        Some((key, value)) => unsupported(
            "a timm network with other arguments",
            format!("config.json has `model_args.{key}` {value}, which changes the network"),
        ),
        None => Ok(()),
    }
}

/// An argument of every family that leaves the function of a network as its tensors and its architecture say.
fn of_all(key: &str, value: &Value) -> bool {
    match key {
        // Shown by shapes, or only of use in training.
        "num_classes" | "in_chans" | "pretrained" | "drop_rate" | "drop_path_rate" => true,
        "global_pool" => value == "avg",
        "output_stride" => value == 32,
        _ => false,
    }
}

/// Refuses a config with another number of input channels than the tensors.
pub(super) fn inputs_agree(config: Option<&Value>, channels: usize) -> Result<(), ModelError> {
    config::agrees(config::get(config, "model_args"), "in_chans", &json!(channels))
}

/// Refuses a config with another number of classes than the tensors; without a head they are 0.
pub(super) fn agrees(config: Option<&Value>, classes: usize) -> Result<(), ModelError> {
    config::agrees(config::get(config, "model_args"), "num_classes", &json!(classes))?;
    match config::get(config, "num_classes") {
        Some(_) => config::agrees(config, "num_classes", &json!(classes)),
        // The weights as published had a head.
        None if classes == 0 => Ok(()),
        None => config::agrees(config::get(config, "pretrained_cfg"), "num_classes", &json!(classes)),
    }
}

/// Refuses arguments of a ResNet that change it.
pub(super) fn resnet_arguments(config: Option<&Value>) -> Result<(), ModelError> {
    arguments(config, neutral)
}

/// What the config of a ResNet says of it that its tensors do not show.
pub(super) fn resnet_known(
    conventions: &mut Conventions,
    config: Option<&Value>,
    stages: usize,
) -> Result<(), ModelError> {
    if config::get(config, "architecture").is_none() {
        return Ok(());
    }
    conventions.known(Key::AntiAlias, 0)?;
    let args = config::get(config, "model_args");
    if config::get(args, "act_layer").is_some() {
        conventions.known(Key::Activation, "relu")?;
    }
    let Some(reached) = config::get(args, "output_stride").and_then(Value::as_u64) else { return Ok(()) };
    // A stage that would stride further dilates the stages after it.
    let (mut stride, mut dilation) = (4, 1);
    let mut steps = vec![];
    for stage in 0..stages {
        let own = if stage == 0 { 1 } else { 2 };
        if stride >= reached {
            dilation *= own;
            steps.push((1, dilation));
        } else {
            stride *= own;
            steps.push((own, dilation));
        }
    }
    let list =
        |of: fn(&(u64, u64)) -> u64| steps.iter().map(|s| of(s).to_string()).collect::<Vec<_>>().join(",");
    conventions.known(Key::Dilation, list(|s| s.1))?;
    conventions.known(Key::StageStrides, list(|s| s.0))
}

/// Refuses a config that contradicts the tensors of a ResNet.
pub(super) fn resnet_agrees(config: Option<&Value>, net: &ResNet) -> Result<(), ModelError> {
    let args = config::get(config, "model_args");
    config::agrees(args, "layers", &json!(net.depths))?;
    config::agrees(args, "cardinality", &json!(net.groups))?;
    inputs_agree(config, net.in_channels)?;
    let Some(name) = config::get(config, "architecture").and_then(Value::as_str) else { return Ok(()) };
    let Ok(named) = variant(&plain(name)) else { return Ok(()) };
    let shown = net.layout;
    let parts = [
        ("stem_type", named.deep_stem, shown.stem == Stem::Deep, "a deep stem"),
        ("avg_down", named.pooled, shown.pooled, "average-pool shortcuts"),
        ("block_args", named.excited, shown.excited, "squeeze-and-excitation"),
        ("replace_stem_pool", named.conv_pool, shown.conv_pool, "a convolution in place of the max-pool"),
    ];
    parts.iter().try_for_each(|(key, named, shown, what)| part_agrees(config, key, *named, *shown, what))?;
    depths_agree(config, net.kind, &net.depths)
}

/// Refuses an architecture of other blocks than the tensors have, where no argument changes their number.
pub(super) fn depths_agree(
    config: Option<&Value>,
    kind: Option<Kind>,
    depths: &[usize],
) -> Result<(), ModelError> {
    let args = config::get(config, "model_args");
    let Some(name) = config::get(config, "architecture") else { return Ok(()) };
    let Some((of_name, published)) = name.as_str().and_then(|name| blocks(&plain(name))) else {
        return Ok(());
    };
    if config::get(args, "layers").is_some() || Some(of_name) == kind && published == depths {
        return Ok(());
    }
    let kind = kind.map_or("both kinds of block".into(), |kind| kind.to_string());
    let expected = format!("a network of {kind} {depths:?}, as the tensors have it");
    Err(config::wrong("architecture", &expected, name))
}

/// Refuses a config that says of a part of the network, by the argument `key` or else by the architecture's name (`named`),
/// that it is there where the tensors have not `shown` it, or the other way round.
pub(super) fn part_agrees(
    config: Option<&Value>,
    key: &str,
    named: bool,
    shown: bool,
    what: &str,
) -> Result<(), ModelError> {
    let argument = config::get(config::get(config, "model_args"), key);
    if argument.map_or(named, says) == shown {
        return Ok(());
    }
    let (key, found) = match argument {
        Some(value) => (format!("model_args.{key}"), value),
        None => ("architecture".into(), config::get(config, "architecture").unwrap_or(&Value::Null)),
    };
    let which = if shown { "with" } else { "without" };
    let expected = format!("a network {which} {what}, as the tensors have it");
    Err(ModelError::Config { key, expected, found: found.to_string() })
}

/// Whether an argument asks for something: it is not `false`, an empty name or an empty object.
fn says(argument: &Value) -> bool {
    ![json!(false), json!(""), json!({})].contains(argument)
}

/// An argument of the family that leaves the function of the network as its tensors and its architecture say.
fn neutral(key: &str, value: &Value) -> bool {
    match key {
        // Shown by shapes, or only of use in training.
        "channels" | "layers" | "cardinality" | "base_width" | "block_reduce_first" | "drop_block_rate"
        | "zero_init_last" | "scriptable" | "exportable" | "stem_width" => true,
        // Compared with the tensors.
        "stem_type" => value == "" || value == "deep" || value == "deep_tiered",
        "avg_down" | "replace_stem_pool" => value.is_boolean(),
        "block_args" => *value == json!({}) || *value == json!({ "attn_layer": "se" }),
        "act_layer" => value == "relu" || value == "ReLU",
        "norm_layer" => value == "batchnorm2d" || value == "batchnorm" || value == "BatchNorm2d",
        "down_kernel_size" => value == 1,
        "aa_layer" => value == "",
        // Looked at before the network is built.
        "output_stride" => [8, 16].iter().any(|s| value == s),
        _ => false,
    }
}
