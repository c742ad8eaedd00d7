//! timm's `config.json`: which of its many networks the file is. Most differences leave no trace in the tensors, so an
//! architecture is accepted by name, and every other one is refused by name.

use super::ModelError;
use super::assume::{Conventions, Key};
use super::config;
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

/// Without the tag of the weights.
pub(super) fn plain(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_ascii_lowercase()
}

/// Refuses `model_args` that are neither of any family nor `neutral` in this one, and another pooling than the average.
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

/// The blocks of a published ResNet or ResNetV2, by the number of layers in its name.
fn blocks(name: &str) -> Option<(Kind, [usize; 4])> {
    let families = ["resnetrs", "resnetv2_", "resnet", "resnext"];
    // CIFAR networks count their layers otherwise.
    let rest = match name.starts_with("cifar") {
        true => None,
        false => families.iter().find_map(|f| name.split_once(f)).map(|(_, rest)| rest),
    };
    let digits = rest?.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(match digits {
        "10" => (Kind::Basic, [1, 1, 1, 1]),
        "14" => (Kind::Bottleneck, [1, 1, 1, 1]),
        "18" => (Kind::Basic, [2, 2, 2, 2]),
        "26" => (Kind::Bottleneck, [2, 2, 2, 2]),
        "34" => (Kind::Basic, [3, 4, 6, 3]),
        "50" => (Kind::Bottleneck, [3, 4, 6, 3]),
        "101" => (Kind::Bottleneck, [3, 4, 23, 3]),
        "152" => (Kind::Bottleneck, [3, 8, 36, 3]),
        "200" => (Kind::Bottleneck, [3, 24, 36, 3]),
        "269" => (Kind::Bottleneck, [3, 30, 48, 8]),
        "270" => (Kind::Bottleneck, [4, 29, 53, 4]),
        "350" => (Kind::Bottleneck, [4, 36, 72, 4]),
        "420" => (Kind::Bottleneck, [4, 44, 87, 4]),
        _ => return None,
    })
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

/// Why an architecture is not supported, whatever its tensors are called.
fn refused(name: &str) -> Option<&'static str> {
    let families = [
        ("ecares", "ECA-ResNet: efficient channel attention in its blocks"),
        ("legacy_se", "the older SE-ResNet: a max-pool that rounds its size up"),
        ("senet", "SENet-154: 3x3 convolutions in its shortcuts"),
        ("skres", "SK-ResNet: selective kernels in its blocks"),
        ("resnetaa", "anti-aliased ResNet: average pooling before its strides"),
        ("seresnetaa", "anti-aliased SE-ResNet: average pooling before its strides"),
        ("seresnextaa", "anti-aliased SE-ResNeXt: average pooling before its strides"),
        ("resnetblur", "anti-aliased ResNet: blur pooling before its strides"),
        ("resnest", "ResNeSt: split attention in its blocks"),
        ("res2ne", "Res2Net: hierarchical convolutions in its blocks"),
    ];
    if let Some((_, why)) = families.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        return Some(why);
    }
    if name.starts_with("resnetv2") && ["bit", "_gn", "_evo", "_frn"].iter().any(|v| name.contains(v)) {
        return Some("pre-activation ResNetV2 with other norms than batch norm, or weight-standardised");
    }
    if name.starts_with("resne") && name.ends_with("_gn") {
        return Some("GroupNorm in place of batch norm");
    }
    None
}

/// Whether an architecture is a ResNet, ResNeXt, Wide ResNet or one of their variants.
pub(super) fn resnet(name: &str) -> Result<(), &'static str> {
    variant(name).map(|_| ())
}

/// What the name of a ResNet says about it, and its tensors show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Variant {
    deep_stem: bool,
    /// Average-pool shortcuts.
    pooled: bool,
    /// Squeeze-and-excitation.
    excited: bool,
    /// A convolution in place of the max-pool.
    conv_pool: bool,
}

fn variant(name: &str) -> Result<Variant, &'static str> {
    let known = |known: bool, variant: Variant| if known { Ok(variant) } else { Err(UNKNOWN) };
    let plain = Variant::default();
    // CIFAR networks in torchvision's names, as timm's config describes them.
    if name.starts_with("cifar_resnet") {
        return Ok(plain);
    }
    if name == "test_resnet" {
        return Ok(Variant { deep_stem: true, pooled: true, ..plain });
    }
    let name =
        ["tv_", "gluon_", "ssl_", "swsl_", "ig_"].iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name);
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if let Some(widths) = name.strip_prefix("wide_resnet") {
        let sound = widths.split_once('_').is_some_and(|(depth, factor)| digits(depth) && digits(factor));
        return known(sound, plain);
    }
    if let Some(depth) = name.strip_prefix("resnetrs") {
        return known(
            digits(depth),
            Variant { deep_stem: true, pooled: true, excited: true, conv_pool: true },
        );
    }
    let (excited, name) = name.strip_prefix("se").map_or((false, name), |rest| (true, rest));
    let grouped = name.starts_with("resnext");
    let Some(rest) = name.strip_prefix("resnext").or_else(|| name.strip_prefix("resnet")) else {
        return Err(UNKNOWN);
    };
    // `50`, `50d`, `50_v1d` of gluon, `50_32x4d`, `50d_32x4d`.
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if after.len() == rest.len() {
        return Err(UNKNOWN);
    }
    let (letter, shape) = match after.strip_prefix("_v1") {
        Some(letter) if ["b", "c", "d", "e", "s"].contains(&letter) => (letter, ""),
        _ => after.split_at(after.find('_').unwrap_or(after.len())),
    };
    let (deep_stem, pooled) = match letter {
        "" => (false, false),
        "b" if after == "_v1b" => (false, false),
        "e" if after == "_v1e" => (true, true),
        "c" | "s" => (true, false),
        "d" | "t" | "tn" => (true, true),
        _ => return Err(UNKNOWN),
    };
    let cardinality = |s: &str| {
        s.split_once('x').is_some_and(|(n, w)| digits(n) && w.strip_suffix('d').is_some_and(digits))
    };
    let shaped = match grouped {
        true => shape.strip_prefix('_').is_some_and(cardinality),
        false => shape.is_empty(),
    };
    known(shaped, Variant { deep_stem, pooled, excited, conv_pool: false })
}

const UNKNOWN: &str = "not among the ResNet architectures known here";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_are_accepted_by_name() {
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
            "test_resnet",
            "wide_resnet101_2",
            "resnet18d",
            "resnet50c",
            "resnet10t",
            "resnet50s",
            "resnext50d_32x4d",
            "gluon_resnet50_v1s",
            "gluon_resnet50_v1e",
            "gluon_seresnext50_32x4d",
            "seresnet50",
            "seresnet152d",
            "seresnext26t_32x4d",
            "seresnext26tn_32x4d",
            "resnetrs50",
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
            ("legacy_seresnet18", "rounds its size up"),
            ("legacy_senet154", "rounds its size up"),
            ("senet154", "3x3 convolutions in its shortcuts"),
            ("seresnetaa50d", "anti-aliased"),
            ("seresnextaa101d_32x8d", "anti-aliased"),
            ("skresnet18", "selective"),
            ("resnet50_gn", "GroupNorm"),
            ("resnetv2_50", "not among"),
            ("resnetv2_50x1_bit", "weight-standardised"),
            ("resnetv2_50d_gn", "other norms"),
            ("resnetv2_50d_evos", "other norms"),
            ("resnetv2_50d_frn", "other norms"),
            ("mobilenetv2_100", "not among"),
            ("repvgg_a0", "not among"),
            ("resnest50d", "ResNeSt"),
            ("res2net50_26w_4s", "Res2Net"),
            ("resnet51q", "not among"),
            ("resnet32ts", "not among"),
            ("resnet50_clip", "not among"),
            ("resnet50_mlp", "not among"),
            ("resnet50e", "not among"),
            ("resnet50b", "not among"),
            ("resnet50_v1f", "not among"),
            ("resnext50", "not among"),
            ("resnext50d", "not among"),
            ("resnext26ts", "not among"),
            ("seresnet33ts", "not among"),
            ("seresnext26ts", "not among"),
            ("seresnet", "not among"),
            ("resnetrs", "not among"),
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

    #[test]
    fn names_say_how_many_blocks_there_are() {
        for (name, kind, depths) in [
            ("seresnet18", Kind::Basic, [2, 2, 2, 2]),
            ("resnet26t", Kind::Bottleneck, [2, 2, 2, 2]),
            ("wide_resnet50_2", Kind::Bottleneck, [3, 4, 6, 3]),
            ("resnext101_32x8d", Kind::Bottleneck, [3, 4, 23, 3]),
            ("gluon_resnet152_v1b", Kind::Bottleneck, [3, 8, 36, 3]),
            ("resnetrs270", Kind::Bottleneck, [4, 29, 53, 4]),
            ("resnetv2_34d", Kind::Basic, [3, 4, 6, 3]),
        ] {
            assert_eq!(blocks(name), Some((kind, depths)), "{name}");
        }
        assert!(["resnet32", "cifar_resnet50", "mobilenetv2_100"].iter().all(|name| blocks(name).is_none()));
    }

    #[test]
    fn names_say_what_a_variant_has() {
        let variant = |name: &str| {
            let Variant { deep_stem, pooled, excited, conv_pool } = variant(name).expect(name);
            [deep_stem, pooled, excited, conv_pool].map(u8::from)
        };
        for (names, parts) in [
            (["resnet50", "gluon_resnet50_v1b", "wide_resnet50_2"], [0, 0, 0, 0]),
            (["resnet50c", "resnet50s", "gluon_resnet50_v1s"], [1, 0, 0, 0]),
            (["resnet50d", "resnet26t", "gluon_resnet50_v1e"], [1, 1, 0, 0]),
            (["seresnet18", "seresnext50_32x4d", "gluon_seresnext101_64x4d"], [0, 0, 1, 0]),
            (["seresnet50t", "seresnet152d", "seresnext26d_32x4d"], [1, 1, 1, 0]),
            (["resnetrs50", "resnetrs152", "resnetrs420"], [1, 1, 1, 1]),
        ] {
            names.iter().for_each(|name| assert_eq!(variant(name), parts, "{name}"));
        }
    }
}
