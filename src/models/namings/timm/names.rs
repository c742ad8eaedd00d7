//! Names of timm's architectures: which are known, and which properties they imply, as tables of patterns for [`fits`].

use crate::models::families::resnet::BlockKind;

/// The properties that a ResNet's name implies and that its tensors show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) deep_stem: bool,
    /// Average-pool shortcuts.
    pub(super) avg_down: bool,
    pub(super) squeeze_excite: bool,
    /// A convolution in place of the max-pool.
    pub(super) conv_pool: bool,
}

const PLAIN: Variant = Variant { deep_stem: false, avg_down: false, squeeze_excite: false, conv_pool: false };
/// ResNet-C and -S.
const DEEP: Variant = Variant { deep_stem: true, ..PLAIN };
/// ResNet-D and -T.
const DEEP_AVG: Variant = Variant { avg_down: true, ..DEEP };
const SE: Variant = Variant { squeeze_excite: true, ..PLAIN };
const SE_DEEP: Variant = Variant { squeeze_excite: true, ..DEEP };
const SE_DEEP_AVG: Variant = Variant { squeeze_excite: true, ..DEEP_AVG };
/// ResNet-RS.
const RS: Variant = Variant { conv_pool: true, ..SE_DEEP_AVG };

/// ResNet, ResNeXt, Wide ResNet and their variants. `_v1b` to `_v1s` are gluon's spelling of the letters.
const RESNETS: &[(&str, Variant)] = &[
    // CIFAR networks in torchvision's names, as timm's config describes them.
    ("cifar_resnet*", PLAIN),
    ("test_resnet", DEEP_AVG),
    ("@wide_resnet#_#", PLAIN),
    ("@resnetrs#", RS),
    ("@resnet#{,_v1b}", PLAIN),
    ("@resnet#{c,s,_v1c,_v1s}", DEEP),
    ("@resnet#{d,t,tn,_v1d,_v1e}", DEEP_AVG),
    ("@resnext#_#x#d", PLAIN),
    ("@resnext#{c,s}_#x#d", DEEP),
    ("@resnext#{d,t,tn}_#x#d", DEEP_AVG),
    ("@seresnet#{,_v1b}", SE),
    ("@seresnet#{c,s,_v1c,_v1s}", SE_DEEP),
    ("@seresnet#{d,t,tn,_v1d,_v1e}", SE_DEEP_AVG),
    ("@seresnext#_#x#d", SE),
    ("@seresnext#{c,s}_#x#d", SE_DEEP),
    ("@seresnext#{d,t,tn}_#x#d", SE_DEEP_AVG),
];

/// ResNetV2, and whether it has the deep stem together with average-pool shortcuts.
const RESNETS_V2: &[(&str, bool)] = &[("resnetv2_#", false), ("resnetv2_#{d,t}", true)];

const MOBILENETS_V2: &[&str] = &["mobilenetv2_{035,050,075,100,110d,120d,140}"];

const REPVGGS: &[&str] = &["repvgg_{a0,a1,a2,b0,b1,b1g4,b2,b2g4,b3,b3g4,d2se}"];

/// Why an architecture is not supported, whatever its tensors are called.
const REFUSED: &[(&str, &str)] = &[
    ("ecares*", "ECA-ResNet: efficient channel attention in its blocks"),
    ("legacy_se*", "the older SE-ResNet: a max-pool that rounds its size up"),
    ("senet*", "SENet-154: 3x3 convolutions in its shortcuts"),
    ("skres*", "SK-ResNet: selective kernels in its blocks"),
    ("resnetaa*", "anti-aliased ResNet: average pooling before its strides"),
    ("seresnetaa*", "anti-aliased SE-ResNet: average pooling before its strides"),
    ("seresnextaa*", "anti-aliased SE-ResNeXt: average pooling before its strides"),
    ("resnetblur*", "anti-aliased ResNet: blur pooling before its strides"),
    ("resnest*", "ResNeSt: split attention in its blocks"),
    ("res2ne*", "Res2Net: hierarchical convolutions in its blocks"),
    (
        "resnetv2*{bit,_gn,_evo,_frn}*",
        "pre-activation ResNetV2 with other norms than batch norm, or weight-standardised",
    ),
    ("resne*_gn", "GroupNorm in place of batch norm"),
];

/// The blocks of a published ResNet or ResNetV2, by the number of layers in its name.
const DEPTHS: &[(&str, BlockKind, [usize; 4])] = &[
    ("10", BlockKind::Basic, [1, 1, 1, 1]),
    ("14", BlockKind::Bottleneck, [1, 1, 1, 1]),
    ("18", BlockKind::Basic, [2, 2, 2, 2]),
    ("26", BlockKind::Bottleneck, [2, 2, 2, 2]),
    ("34", BlockKind::Basic, [3, 4, 6, 3]),
    ("50", BlockKind::Bottleneck, [3, 4, 6, 3]),
    ("101", BlockKind::Bottleneck, [3, 4, 23, 3]),
    ("152", BlockKind::Bottleneck, [3, 8, 36, 3]),
    ("200", BlockKind::Bottleneck, [3, 24, 36, 3]),
    ("269", BlockKind::Bottleneck, [3, 30, 48, 8]),
    ("270", BlockKind::Bottleneck, [4, 29, 53, 4]),
    ("350", BlockKind::Bottleneck, [4, 36, 72, 4]),
    ("420", BlockKind::Bottleneck, [4, 44, 87, 4]),
];

/// Optional prefixes of a name, for the source of the weights: `@` in a pattern.
const SOURCES: [&str; 6] = ["tv_", "gluon_", "ssl_", "swsl_", "ig_", ""];

/// Whether a name fits a pattern: in it `#` stands for one or more digits, `*` for anything, `{a,b}` for `a` or `b`, `@` for one of
/// [`SOURCES`], and any other character for itself.
fn fits(name: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    let Some(first) = rest.next() else { return name.is_empty() };
    let rest = rest.as_str();
    let begins = |word: &str, rest: &str| name.strip_prefix(word).is_some_and(|name| fits(name, rest));
    match first {
        '#' => {
            let after = name.trim_start_matches(|c: char| c.is_ascii_digit());
            after.len() < name.len() && fits(after, rest)
        }
        '*' => {
            rest.is_empty() || (0..=name.len()).any(|at| name.is_char_boundary(at) && fits(&name[at..], rest))
        }
        '@' => SOURCES.iter().any(|source| begins(source, rest)),
        '{' => {
            let (words, rest) = rest.split_once('}').expect("a pattern closes what it opens");
            words.split(',').any(|word| begins(word, rest))
        }
        _ => name.strip_prefix(first).is_some_and(|name| fits(name, rest)),
    }
}

/// The entry of a table that fits a name.
fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(pattern, _)| fits(name, pattern)).map(|(_, what)| *what)
}

/// The name in lower case, without the tag of the weights.
pub(super) fn plain(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_ascii_lowercase()
}

/// The blocks of a published ResNet or ResNetV2 of this name.
pub(super) fn blocks(name: &str) -> Option<(BlockKind, [usize; 4])> {
    // CIFAR networks count their layers differently.
    if name.starts_with("cifar") {
        return None;
    }
    let families = ["resnetrs", "resnetv2_", "resnet", "resnext"];
    let (_, rest) = families.iter().find_map(|family| name.split_once(family))?;
    let number = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    DEPTHS.iter().find(|(layers, ..)| *layers == number).map(|(_, kind, depths)| (*kind, *depths))
}

/// Why an architecture is not supported, whatever its tensors are called.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    find(REFUSED, name)
}

/// The properties that a ResNet's name implies; `None` for other networks.
pub(super) fn resnet_variant(name: &str) -> Option<Variant> {
    find(RESNETS, name)
}

/// Whether a ResNetV2 of this name has the deep stem together with average-pool shortcuts; `None` for other networks.
pub(super) fn resnet_v2_is_deep(name: &str) -> Option<bool> {
    find(RESNETS_V2, name)
}

/// Whether an architecture is a ResNet, ResNeXt, Wide ResNet or one of their variants; if not, why it cannot be read as one.
pub(in crate::models) fn resnet(name: &str) -> Result<(), &'static str> {
    resnet_variant(name).map(drop).ok_or("not among the ResNet architectures known here")
}

/// As [`resnet`], for ResNetV2.
pub(in crate::models) fn resnet_v2(name: &str) -> Result<(), &'static str> {
    resnet_v2_is_deep(name).map(drop).ok_or("not among the ResNetV2 architectures known here")
}

/// As [`resnet`], for MobileNetV2.
pub(in crate::models) fn mobilenet_v2(name: &str) -> Result<(), &'static str> {
    match MOBILENETS_V2.iter().any(|pattern| fits(name, pattern)) {
        true => Ok(()),
        false => Err("not among the MobileNetV2 architectures known here"),
    }
}

/// As [`resnet`], for RepVGG.
pub(in crate::models) fn repvgg(name: &str) -> Result<(), &'static str> {
    match REPVGGS.iter().any(|pattern| fits(name, pattern)) {
        true => Ok(()),
        false => Err("not among the RepVGG architectures known here"),
    }
}

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
            ("seresnet18", BlockKind::Basic, [2, 2, 2, 2]),
            ("resnet26t", BlockKind::Bottleneck, [2, 2, 2, 2]),
            ("wide_resnet50_2", BlockKind::Bottleneck, [3, 4, 6, 3]),
            ("resnext101_32x8d", BlockKind::Bottleneck, [3, 4, 23, 3]),
            ("gluon_resnet152_v1b", BlockKind::Bottleneck, [3, 8, 36, 3]),
            ("resnetrs270", BlockKind::Bottleneck, [4, 29, 53, 4]),
            ("resnetv2_34d", BlockKind::Basic, [3, 4, 6, 3]),
        ] {
            assert_eq!(blocks(name), Some((kind, depths)), "{name}");
        }
        assert!(["resnet32", "cifar_resnet50", "mobilenetv2_100"].iter().all(|name| blocks(name).is_none()));
    }

    #[test]
    fn names_say_what_a_variant_has() {
        let variant = |name: &str| {
            let Variant { deep_stem, avg_down, squeeze_excite, conv_pool } =
                resnet_variant(name).expect(name);
            [deep_stem, avg_down, squeeze_excite, conv_pool].map(u8::from)
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

    #[test]
    fn a_pattern_fits_whole_names() {
        for (pattern, fitting, others) in [
            ("resnet#", ["resnet5", "resnet50"], ["resnet", "resnet50d"]),
            ("a{,b,bc}d", ["ad", "abcd"], ["abc", "acd"]),
            ("a*b", ["ab", "axb"], ["a", "abx"]),
            ("@x#", ["x1", "gluon_x1"], ["gluon_tv_x1", "_x1"]),
        ] {
            assert!(fitting.iter().all(|name| fits(name, pattern)), "{pattern}");
            assert!(!others.iter().any(|name| fits(name, pattern)), "{pattern}");
        }
    }

    #[test]
    fn other_families_are_known_by_name() {
        for (name, deep) in [("resnetv2_18", false), ("resnetv2_50", false), ("resnetv2_34d", true)] {
            assert_eq!(resnet_v2_is_deep(name), Some(deep), "{name}");
        }
        assert_eq!(resnet_v2_is_deep("resnetv2_50t"), Some(true));
        for name in
            ["resnetv2_50x1_bit", "resnetv2_50d_gn", "resnetv2_50s", "resnetv2_", "resnetv2", "resnet50"]
        {
            assert_eq!(resnet_v2_is_deep(name), None, "{name}");
        }
        assert_eq!((mobilenet_v2("mobilenetv2_110d"), repvgg("repvgg_b1g4")), (Ok(()), Ok(())));
        assert!(mobilenet_v2("mobilenetv2_110").is_err() && repvgg("repvgg_b1g").is_err());
    }
}
