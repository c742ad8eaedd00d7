//! timm's `config.json`: which of its many networks the file is. Most differences leave no trace in the tensors, so an
//! architecture is accepted by name, and every other one is refused by name.

use super::ModelError;
use super::config;
use super::resnet::ResNet;
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

/// Without the tag of the weights.
fn plain(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_ascii_lowercase()
}

/// Refuses `model_args` that are not `neutral`, and another pooling than the average.
pub(super) fn arguments(
    config: Option<&Value>,
    neutral: impl Fn(&str, &Value) -> bool,
) -> Result<(), ModelError> {
    if config::get(config, "architecture").is_none() {
        return Ok(());
    }
    if let Some(pool) = config::get(config, "global_pool").filter(|p| **p != json!("avg")) {
        return unsupported("a timm network with another pooling", format!("`global_pool` is {pool}"));
    }
    let Some(args) = config::get(config, "model_args") else { return Ok(()) };
    let args = args.as_object().ok_or_else(|| config::wrong("model_args", "an object", args))?;
    match args.iter().find(|(key, value)| !value.is_null() && !neutral(key, value)) {
        Some((key, value)) => unsupported(
            "a timm network with other arguments",
            format!("config.json has `model_args.{key}` {value}, which changes the network"),
        ),
        None => Ok(()),
    }
}

/// Refuses a config with another number of input channels than the tensors.
pub(super) fn inputs_agree(config: Option<&Value>, channels: usize) -> Result<(), ModelError> {
    config::agrees(config::get(config, "model_args"), "in_chans", &json!(channels))
}

/// Refuses a config with another number of classes than the tensors.
pub(super) fn agrees(config: Option<&Value>, classes: usize) -> Result<(), ModelError> {
    match config::get(config, "num_classes") {
        Some(_) => config::agrees(config, "num_classes", &json!(classes)),
        None => config::agrees(config::get(config, "pretrained_cfg"), "num_classes", &json!(classes)),
    }
}

/// Refuses arguments of a ResNet that change it.
pub(super) fn resnet_arguments(config: Option<&Value>) -> Result<(), ModelError> {
    arguments(config, neutral)
}

/// Refuses a config that contradicts the tensors of a ResNet.
pub(super) fn resnet_agrees(config: Option<&Value>, net: &ResNet) -> Result<(), ModelError> {
    let args = config::get(config, "model_args");
    config::agrees(args, "layers", &json!(net.depths))?;
    config::agrees(args, "cardinality", &json!(net.groups))?;
    inputs_agree(config, net.in_channels)
}

/// An argument that leaves the function of the network as its tensors and its architecture say.
fn neutral(key: &str, value: &Value) -> bool {
    match key {
        // Shown by shapes, or only of use in training.
        "channels" | "layers" | "cardinality" | "base_width" | "num_classes" | "in_chans" | "pretrained"
        | "block_reduce_first" | "drop_rate" | "drop_path_rate" | "drop_block_rate" | "zero_init_last"
        | "scriptable" | "exportable" | "stem_width" => true,
        "global_pool" => value == "avg",
        "output_stride" => value == 32,
        "stem_type" => value == "",
        "act_layer" => value == "relu" || value == "ReLU",
        "norm_layer" => value == "batchnorm2d" || value == "batchnorm" || value == "BatchNorm2d",
        "down_kernel_size" => value == 1,
        "aa_layer" => value == "",
        "block_args" => value.as_object().is_some_and(|o| o.is_empty()),
        "avg_down" | "replace_stem_pool" => value == false,
        _ => false,
    }
}

/// Why an architecture is not supported, whatever its tensors are called.
fn refused(name: &str) -> Option<&'static str> {
    let families = [
        ("ecares", "ECA-ResNet: efficient channel attention in its blocks"),
        ("seres", "SE-ResNet: squeeze-and-excitation in its blocks"),
        ("legacy_seres", "SE-ResNet: squeeze-and-excitation in its blocks"),
        ("senet", "SE-ResNet: squeeze-and-excitation in its blocks"),
        ("legacy_senet", "SE-ResNet: squeeze-and-excitation in its blocks"),
        ("skres", "SK-ResNet: selective kernels in its blocks"),
        ("resnetaa", "anti-aliased ResNet: average pooling before its strides"),
        ("resnetblur", "anti-aliased ResNet: blur pooling before its strides"),
        ("resnetrs", "ResNet-RS: deep stem, average-pool shortcuts, squeeze-and-excitation"),
        ("resnest", "ResNeSt: split attention in its blocks"),
        ("res2ne", "Res2Net: hierarchical convolutions in its blocks"),
    ];
    if let Some((_, why)) = families.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        return Some(why);
    }
    if name.starts_with("resnetv2") {
        let plain = !["bit", "_gn", "evos", "evob"].iter().any(|v| name.contains(v));
        return Some(match plain {
            true => "pre-activation ResNetV2: batch norm and ReLU before each convolution",
            false => "pre-activation ResNetV2 with GroupNorm or weight-standardised convolutions",
        });
    }
    if name.starts_with("resne") && name.ends_with("_gn") {
        return Some("GroupNorm in place of batch norm");
    }
    None
}

/// Whether an architecture is a plain ResNet, ResNeXt or Wide ResNet.
pub(super) fn resnet(name: &str) -> Result<(), &'static str> {
    const DEEP: &str = "a deep stem of three convolutions (and in ResNet-D average-pool shortcuts)";
    let known = |known: bool| if known { Ok(()) } else { Err(UNKNOWN) };
    // CIFAR networks in torchvision's names, as timm's config describes them.
    if name.starts_with("cifar_resnet") {
        return Ok(());
    }
    let plain = ["tv_", "gluon_", "ssl_", "swsl_", "ig_"].iter().find_map(|p| name.strip_prefix(p));
    let plain = plain.unwrap_or(name);
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if let Some(widths) = plain.strip_prefix("wide_resnet") {
        return known(widths.split_once('_').is_some_and(|(depth, factor)| digits(depth) && digits(factor)));
    }
    let grouped = plain.starts_with("resnext");
    let Some(rest) = plain.strip_prefix("resnext").or_else(|| plain.strip_prefix("resnet")) else {
        return Err(UNKNOWN);
    };
    let rest = rest.strip_suffix("_v1b").unwrap_or(rest);
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if after.len() == rest.len() {
        return Err(UNKNOWN);
    }
    let (variant, shape) = after.split_at(after.find('_').unwrap_or(after.len()));
    if ["c", "d", "t", "s", "e"].contains(&variant) || ["_v1c", "_v1d", "_v1e", "_v1s"].contains(&shape) {
        return Err(DEEP);
    }
    let cardinality = |s: &str| {
        s.split_once('x').is_some_and(|(n, w)| digits(n) && w.strip_suffix('d').is_some_and(digits))
    };
    let shaped = match grouped {
        true => shape.strip_prefix('_').is_some_and(cardinality),
        false => shape.is_empty(),
    };
    known(shaped && variant.is_empty())
}

const UNKNOWN: &str = "not among the plain ResNet, ResNeXt and Wide ResNet architectures known here";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_architectures_are_accepted_by_name() {
        for name in [
            "resnet18",
            "resnet26",
            "resnet34",
            "resnet50",
            "resnet101",
            "resnet152",
            "resnet200",
            "resnet50.a1_in1k",
            "tv_resnet152",
            "gluon_resnet50_v1b",
            "resnext50_32x4d",
            "resnext101_32x16d",
            "resnext101_64x4d",
            "ig_resnext101_32x8d",
            "swsl_resnet18",
            "wide_resnet50_2",
            "cifar_resnet20",
            "wide_resnet101_2",
        ] {
            assert_eq!((refused(&plain(name)), resnet(&plain(name))), (None, Ok(())), "{name}");
        }
    }

    #[test]
    fn every_other_architecture_is_refused_by_name() {
        for (name, why) in [
            ("resnetaa50", "anti-aliased"),
            ("resnetaa50d", "anti-aliased"),
            ("resnetblur18", "blur"),
            ("ecaresnet50t", "channel attention"),
            ("seresnet50", "squeeze"),
            ("seresnext26d_32x4d", "squeeze"),
            ("legacy_seresnet18", "squeeze"),
            ("skresnet18", "selective"),
            ("resnetrs50", "ResNet-RS"),
            ("resnet50_gn", "GroupNorm"),
            ("resnet18d", "deep stem"),
            ("resnet50c", "deep stem"),
            ("resnet10t", "deep stem"),
            ("resnet50s", "deep stem"),
            ("resnext50d_32x4d", "deep stem"),
            ("gluon_resnet50_v1d", "deep stem"),
            ("resnetv2_50", "batch norm and ReLU before"),
            ("resnetv2_50x1_bit", "weight-standardised"),
            ("mobilenetv2_100", "not among"),
            ("repvgg_a0", "not among"),
            ("resnest50d", "ResNeSt"),
            ("res2net50_26w_4s", "Res2Net"),
            ("resnet51q", "not among"),
            ("resnet32ts", "not among"),
            ("test_resnet", "not among"),
            ("resnet50_clip", "not among"),
            ("resnext50", "not among"),
            ("resnet", "not among"),
            ("wide_resnet", "not among"),
            ("vit_base_patch16_224", "not among"),
            ("", "not among"),
        ] {
            let found = refused(&plain(name)).or(resnet(&plain(name)).err());
            let found = found.unwrap_or_else(|| panic!("{name} is accepted"));
            assert!(found.contains(why), "{name}: {found}");
        }
    }
}
