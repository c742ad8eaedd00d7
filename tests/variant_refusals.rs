//! Refusals of the variants of ResNet that timm has: parts missing, and configs that deny what the tensors show.

mod common;

use common::spoil::{File, put, refused, timm, torchvision};
use serde_json::json;

/// The same with the parts that timm's variants have: a deep stem, average-pool shortcuts, squeeze-and-excitation, a
/// convolution in place of the max-pool.
fn resnet_rs() -> File {
    let mut f = torchvision();
    f.remove("conv1.weight");
    f.unit(["conv1.0", "conv1.1"].map(String::from), [2, 3, 3, 3]);
    f.unit(["conv1.3", "conv1.4"].map(String::from), [3, 2, 3, 3]);
    f.set("conv1.6.weight", &[4, 3, 3, 3]);
    f.unit(["maxpool.0", "maxpool.1"].map(String::from), [4, 4, 3, 3]);
    f.rename("layer2.0.downsample.1", "layer2.0.downsample.2");
    f.rename("layer2.0.downsample.0", "layer2.0.downsample.1");
    for (stage, channels) in [(1, 4), (2, 8)] {
        for (layer, shape) in [("fc1", [2, channels, 1, 1]), ("fc2", [channels, 2, 1, 1])] {
            f.set(&format!("layer{stage}.0.se.{layer}.weight"), &shape);
            f.set(&format!("layer{stage}.0.se.{layer}.bias"), &shape[..1]);
        }
    }
    let args = json!({ "layers": [1, 1] });
    f.config = Some(json!({ "architecture": "resnetrs50", "num_classes": 5, "model_args": args }));
    f
}

/// Two stages of one bottleneck each: stem of 4, inner widths 2, outer ones 4 and 8.
fn resnet_v2() -> File {
    let mut f = File::default();
    f.set("stem.conv.weight", &[4, 3, 7, 7]);
    for (stage, [input, out]) in [(0, [4, 4]), (1, [4, 8])] {
        let name = |what: &str| format!("stages.{stage}.blocks.0.{what}");
        for (i, shape) in [[2, input, 1, 1], [2, 2, 3, 3], [out, 2, 1, 1]].iter().enumerate() {
            f.norm(&name(&format!("norm{}", i + 1)), shape[1]);
            f.set(&name(&format!("conv{}.weight", i + 1)), shape);
        }
        f.set(&name("downsample.conv.weight"), &[out, input, 1, 1]);
    }
    f.norm("norm", 8);
    f.set("head.fc.weight", &[5, 8, 1, 1]);
    f.set("head.fc.bias", &[5]);
    let args = json!({ "layers": [1, 1] });
    f.config = Some(json!({ "architecture": "resnetv2_50", "num_classes": 5, "model_args": args }));
    f
}

#[test]
fn variants_that_are_not_whole() {
    refused(
        resnet_rs,
        &[
            (|f| f.remove("conv1.3.weight"), &["missing", "`conv1.3.weight`", "[any, 2, 3, 3]", "timm"]),
            (|f| f.remove("conv1.4.running_var"), &["missing", "`conv1.4.running_var`", "[3]"]),
            (|f| f.set("conv1.weight", &[4, 3, 7, 7]), &["unexpected", "`conv1.weight`"]),
            (|f| f.set("conv1.0.weight", &[2, 3, 7, 7]), &["`conv1.0.weight`", "[any, any, 3, 3]"]),
            (|f| f.set("maxpool.0.weight", &[5, 4, 3, 3]), &["`maxpool.0.weight`", "[4, 4, 3, 3]"]),
            (|f| f.remove("maxpool.1.bias"), &["missing", "`maxpool.1.bias`"]),
            (
                |f| f.remove("layer1.0.se.fc1.weight"),
                &["missing", "`layer1.0.se.fc1.weight`", "[any, 4, 1, 1]"],
            ),
            (|f| f.remove("layer2.0.se.fc2.bias"), &["missing", "`layer2.0.se.fc2.bias`", "[8]"]),
            (
                |f| f.set("layer2.0.se.fc2.weight", &[4, 2, 1, 1]),
                &["`layer2.0.se.fc2.weight`", "[8, 2, 1, 1]", "[4, 2, 1, 1]"],
            ),
            (|f| f.norm("layer1.0.se.bn", 2), &["unexpected", "`layer1.0.se.bn.bias`"]),
            (|f| f.remove("layer2.0.downsample.2.weight"), &["missing", "`layer2.0.downsample.2.weight`"]),
            (
                |f| f.set("layer2.0.downsample.1.weight", &[8, 4, 3, 3]),
                &["`layer2.0.downsample.1.weight`", "[8, 4, 1, 1]"],
            ),
            // One shortcut with a pool, another without.
            (
                |f| {
                    f.unit(["downsample.0", "downsample.1"].map(|w| format!("layer3.0.{w}")), [8, 8, 1, 1]);
                    f.unit(["conv1", "bn1"].map(|w| format!("layer3.0.{w}")), [8, 8, 3, 3]);
                    f.unit(["conv2", "bn2"].map(|w| format!("layer3.0.{w}")), [8, 8, 3, 3]);
                    f.tensors.retain(|name, _| !name.contains(".se."));
                    f.config = None;
                },
                &["`layer3.0.downsample.1.weight`", "[8, 8, 1, 1]", "found [8]"],
            ),
        ],
    );
    refused(
        resnet_v2,
        &[
            (
                |f| f.remove("stem.conv.weight"),
                &["missing", "`stem.conv.weight`", "[any, any, 7, 7]", "timm"],
            ),
            (
                |f| {
                    f.rename("stem.conv", "stem.conv1");
                    f.config = None;
                },
                &["`stem.conv1.weight`", "[any, any, 3, 3]"],
            ),
            (|f| f.norm("stem.norm", 4), &["unexpected", "`stem.norm.bias`"]),
            (|f| f.remove("norm.weight"), &["missing", "`norm.weight`", "[8]"]),
            (
                |f| f.remove("stages.1.blocks.0.downsample.conv.weight"),
                &["missing", "`stages.1.blocks.0.downsample.conv.weight`", "[8, 4, 1, 1]"],
            ),
            (
                |f| f.norm("stages.1.blocks.0.downsample.norm", 8),
                &["unexpected", "`stages.1.blocks.0.downsample.norm.bias`"],
            ),
            (
                |f| f.remove("stages.0.blocks.0.conv2.weight"),
                &["missing", "`stages.0.blocks.0.conv2.weight`", "[any, 2, 3, 3]"],
            ),
            (
                |f| f.rename("stages.1.blocks.0", "stages.1.blocks.1"),
                &["missing", "`stages.1.blocks.0.norm1"],
            ),
            (|f| f.norm("stages.0.blocks.0.norm2", 3), &["`stages.0.blocks.0.norm2.weight`", "[2]"]),
            (|f| f.set("head.fc.weight", &[5, 9]), &["`head.fc.weight`", "[any, 8]", "[5, 9]"]),
        ],
    );
}

#[test]
fn configs_that_deny_what_the_tensors_show() {
    // What the name of an architecture, or an argument in its place, says that the tensors deny.
    refused(
        || timm("resnet18"),
        &[
            (
                |f| put(f, "architecture", json!("resnet18d")),
                &["`architecture`", "without a deep stem", "resnet18d"],
            ),
            (
                |f| put(f, "architecture", json!("seresnet18")),
                &["`architecture`", "without squeeze-and-excitation"],
            ),
            (
                |f| put(f, "model_args", json!({ "avg_down": true })),
                &["`model_args.avg_down` is true", "without average-pool shortcuts"],
            ),
            (
                |f| put(f, "model_args", json!({ "stem_type": "deep" })),
                &["`model_args.stem_type` is \"deep\"", "without a deep stem"],
            ),
            (
                |f| put(f, "model_args", json!({ "block_args": { "attn_layer": "se" } })),
                &["`model_args.block_args`", "without squeeze-and-excitation"],
            ),
            (
                |f| put(f, "model_args", json!({ "replace_stem_pool": true })),
                &["`model_args.replace_stem_pool`", "without a convolution in place of the max-pool"],
            ),
        ],
    );
    refused(
        resnet_rs,
        &[
            (|f| put(f, "architecture", json!("resnet50")), &["`architecture`", "with a deep stem"]),
            (|f| put(f, "architecture", json!("seresnet50c")), &["`architecture`", "with average-pool"]),
            (
                |f| put(f, "architecture", json!("resnet50d")),
                &["`architecture`", "with squeeze-and-excitation"],
            ),
            (
                |f| put(f, "architecture", json!("seresnet50t")),
                &["`architecture`", "with a convolution in place"],
            ),
            (
                |f| put(f, "model_args", json!({ "avg_down": false })),
                &["`model_args.avg_down` is false", "with average-pool shortcuts"],
            ),
            (
                |f| put(f, "model_args", json!({ "stem_type": "" })),
                &["`model_args.stem_type`", "with a deep stem"],
            ),
            (
                |f| put(f, "model_args", json!({ "block_args": {} })),
                &["`model_args.block_args`", "with squeeze-and-excitation"],
            ),
        ],
    );
    refused(
        resnet_v2,
        &[
            (|f| put(f, "architecture", json!("resnetv2_50d")), &["`architecture`", "without a deep stem"]),
            (
                |f| put(f, "architecture", json!("resnetv2_50d_gn")),
                &["timm `resnetv2_50d_gn`", "other norms"],
            ),
            (|f| put(f, "architecture", json!("resnetv2_50x1_bit")), &["timm `resnetv2_50x1_bit`"]),
            (|f| put(f, "architecture", json!("resnet50")), &["timm `resnet50`", "ResNetV2"]),
            (|f| put(f, "model_args", json!({ "layers": [1, 2] })), &["`layers` is [1,2]", "[1,1]"]),
            (|f| put(f, "model_args", json!({ "basic": true })), &["`basic` is true", "expected false"]),
            (|f| put(f, "model_args", json!({ "in_chans": 1 })), &["`in_chans` is 1", "expected 3"]),
            (|f| put(f, "model_args", json!({ "stem_type": "fixed" })), &["model_args.stem_type", "fixed"]),
            (
                |f| put(f, "model_args", json!({ "stem_type": "tiered" })),
                &["`model_args.stem_type`", "without a deep stem"],
            ),
            (|f| put(f, "model_args", json!({ "avg_down": 1 })), &["model_args.avg_down"]),
            (|f| put(f, "model_args", json!({ "preact": false })), &["model_args.preact", "false"]),
            (|f| put(f, "model_args", json!({ "conv_layer": "std" })), &["model_args.conv_layer"]),
            (|f| put(f, "num_classes", json!(6)), &["`num_classes` is 6", "expected 5"]),
            (
                |f| put(f, "model_args", json!({})),
                &["`architecture` is \"resnetv2_50\"", "Bottleneck [1, 1], as the tensors have it"],
            ),
        ],
    );
}

#[test]
fn arguments_in_place_of_what_the_name_says() {
    let mut f = resnet_rs();
    put(&mut f, "architecture", json!("resnet18"));
    put(
        &mut f,
        "model_args",
        json!({
            "stem_type": "deep_tiered", "avg_down": true, "replace_stem_pool": true, "layers": [1, 1],
            "block_args": { "attn_layer": "se" },
        }),
    );
    assert!(f.load().is_ok());
    // The shortcuts of a ResNetV2, which no tensor shows.
    let mut f = resnet_v2();
    assert_eq!(f.load().unwrap().family, "timm ResNetV2, Bottleneck [1, 1]");
    put(&mut f, "model_args", json!({ "avg_down": true, "layers": [1, 1] }));
    assert_eq!(f.load().unwrap().family, "timm ResNetV2, Bottleneck [1, 1], average-pool shortcuts");
    f.config = None;
    assert_eq!(f.load().unwrap().preprocess.mean, [0.5; 3]);
}
