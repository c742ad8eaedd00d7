//! timm's `config.json`: which of its many ResNets the file is. Most differences leave no trace in the tensors, so an
//! architecture is accepted by name, and every other one is refused by name.

use super::ModelError;
use super::config;
use super::resnet::Built;
use serde_json::{Value, json};

/// Refuses an architecture, or an argument of it, that is not a plain ResNet, ResNeXt or Wide ResNet.
pub(super) fn check(config: &Value) -> Result<(), ModelError> {
    let unsupported = |what: String, why: String| Err(ModelError::Unsupported { what, why });
    if let Some(value) = config::get(Some(config), "architecture") {
        let name = value.as_str().ok_or_else(|| config::wrong("architecture", "a name", value))?;
        if let Some(why) = refused(name) {
            return unsupported(format!("timm `{name}`"), why.into());
        }
    }
    if let Some(pool) = config::get(Some(config), "global_pool").filter(|p| **p != json!("avg")) {
        return unsupported("a timm ResNet with another pooling".into(), format!("`global_pool` is {pool}"));
    }
    let Some(args) = config::get(Some(config), "model_args") else { return Ok(()) };
    let args = args.as_object().ok_or_else(|| config::wrong("model_args", "an object", args))?;
    for (key, value) in args {
        if !value.is_null() && !neutral(key, value) {
            return unsupported(
                "a timm ResNet with other arguments".into(),
                format!("config.json has `model_args.{key}` {value}, which changes the network"),
            );
        }
    }
    Ok(())
}

/// Refuses a config that contradicts the tensors.
pub(super) fn agrees(config: &Value, built: &Built) -> Result<(), ModelError> {
    let args = config.get("model_args");
    config::agrees(args, "layers", &json!(built.depths))?;
    config::agrees(args, "cardinality", &json!(built.groups))?;
    config::agrees(args, "in_chans", &json!(built.in_channels))?;
    let trained = config.get("pretrained_cfg");
    match config::get(Some(config), "num_classes") {
        Some(_) => config::agrees(Some(config), "num_classes", &json!(built.classes)),
        None => config::agrees(trained, "num_classes", &json!(built.classes)),
    }
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

/// Why an architecture is not supported; `None` where it is.
fn refused(name: &str) -> Option<&'static str> {
    const DEEP: &str = "a deep stem of three convolutions (and in ResNet-D average-pool shortcuts)";
    let name = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
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
        ("mobilenetv2", "MobileNetV2"),
        ("repvgg", "RepVGG"),
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

    // CIFAR networks in torchvision's names, as timm's config describes them.
    if name.starts_with("cifar_resnet") {
        return None;
    }
    let plain = ["tv_", "gluon_", "ssl_", "swsl_", "ig_"].iter().find_map(|p| name.strip_prefix(p));
    let plain = plain.unwrap_or(&name);
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let unknown = "not among the plain ResNet, ResNeXt and Wide ResNet architectures known here";
    if let Some(widths) = plain.strip_prefix("wide_resnet") {
        let known = widths.split_once('_').is_some_and(|(depth, factor)| digits(depth) && digits(factor));
        return (!known).then_some(unknown);
    }
    let grouped = plain.starts_with("resnext");
    let Some(rest) = plain.strip_prefix("resnext").or_else(|| plain.strip_prefix("resnet")) else {
        return Some(unknown);
    };
    let rest = rest.strip_suffix("_v1b").unwrap_or(rest);
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if after.len() == rest.len() {
        return Some(unknown);
    }
    let (variant, shape) = after.split_at(after.find('_').unwrap_or(after.len()));
    if ["c", "d", "t", "s", "e"].contains(&variant) || ["_v1c", "_v1d", "_v1e", "_v1s"].contains(&shape) {
        return Some(DEEP);
    }
    let cardinality = |s: &str| {
        s.split_once('x').is_some_and(|(n, w)| digits(n) && w.strip_suffix('d').is_some_and(digits))
    };
    let known = match grouped {
        true => shape.strip_prefix('_').is_some_and(cardinality),
        false => shape.is_empty(),
    };
    (!(known && variant.is_empty())).then_some(unknown)
}

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
            assert_eq!(refused(name), None, "{name}");
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
            ("mobilenetv2_100", "MobileNetV2"),
            ("repvgg_a0", "RepVGG"),
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
            let found = refused(name).unwrap_or_else(|| panic!("{name} is accepted"));
            assert!(found.contains(why), "{name}: {found}");
        }
    }
}
