//! Names of timm's architectures: which are known, and what they say about a network.

use crate::models::resnet::Kind;

/// Without the tag of the weights.
pub(in crate::models) fn plain(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_ascii_lowercase()
}

/// The blocks of a published ResNet or ResNetV2, by the number of layers in its name.
pub(super) fn blocks(name: &str) -> Option<(Kind, [usize; 4])> {
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

/// Why an architecture is not supported, whatever its tensors are called.
pub(super) fn refused(name: &str) -> Option<&'static str> {
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
pub(in crate::models) fn resnet(name: &str) -> Result<(), &'static str> {
    variant(name).map(|_| ())
}

/// What the name of a ResNet says about it, and its tensors show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) deep_stem: bool,
    /// Average-pool shortcuts.
    pub(super) pooled: bool,
    /// Squeeze-and-excitation.
    pub(super) excited: bool,
    /// A convolution in place of the max-pool.
    pub(super) conv_pool: bool,
}

pub(super) fn variant(name: &str) -> Result<Variant, &'static str> {
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
