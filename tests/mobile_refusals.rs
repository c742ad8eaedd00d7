//! Refusals of MobileNetV2 and RepVGG.

mod common;

use common::spoil::*;
use serde_json::{Value, json};

/// A MobileNetV2 of a sixteenth of the published widths. Its names: those of the stem, the last convolution, the classifier,
/// and by number of the block and of its layer (0 for the expansion) those within a block.
fn mobilenet(ends: [[&str; 2]; 2], classifier: &str, layer: impl Fn(usize, usize) -> [String; 2]) -> File {
    let mut f = File::default();
    let [stem, last] = ends.map(|e| e.map(String::from));
    f.unit(stem, [2, 3, 3, 3]);
    let stages = [(1, 1), (2, 2), (2, 3), (4, 4), (6, 3), (10, 3), (20, 1)];
    let outs = stages.iter().flat_map(|(width, depth)| std::iter::repeat_n(*width, *depth));
    let mut input = 2;
    for (i, out) in outs.enumerate() {
        let expanded = if i == 0 { input } else { 6 * input };
        if i > 0 {
            f.unit(layer(i, 0), [expanded, input, 1, 1]);
        }
        f.unit(layer(i, 1), [expanded, 1, 3, 3]);
        f.unit(layer(i, 2), [out, expanded, 1, 1]);
        input = out;
    }
    f.unit(last, [80, input, 1, 1]);
    f.set(&format!("{classifier}.weight"), &[5, 80]);
    f.set(&format!("{classifier}.bias"), &[5]);
    f
}

fn tv_mobilenet() -> File {
    mobilenet(
        [["features.0.0", "features.0.1"], ["features.18.0", "features.18.1"]],
        "classifier.1",
        |i, layer| {
            let at = if i == 0 { layer - 1 } else { layer };
            let project = [at, at + 1].map(|n| format!("features.{}.conv.{n}", i + 1));
            if layer == 2 { project } else { [0, 1].map(|n| format!("features.{}.conv.{at}.{n}", i + 1)) }
        },
    )
}

fn timm_mobilenet() -> File {
    let f = mobilenet([["conv_stem", "bn1"], ["conv_head", "bn2"]], "classifier", |i, layer| {
        let first = [1, 2, 3, 4, 3, 3, 1].iter().scan(0, |end, depth| {
            *end += depth;
            Some(*end)
        });
        let ends: Vec<usize> = first.collect();
        let stage = ends.iter().filter(|end| **end <= i).count();
        let index = i - if stage == 0 { 0 } else { ends[stage - 1] };
        let (conv, norm) = match (i, layer) {
            (0, 1) => ("conv_dw", "bn1"),
            (0, _) => ("conv_pw", "bn2"),
            (_, 0) => ("conv_pw", "bn1"),
            (_, 1) => ("conv_dw", "bn2"),
            _ => ("conv_pwl", "bn3"),
        };
        [conv, norm].map(|what| format!("blocks.{stage}.{index}.{what}"))
    });
    File { config: Some(json!({ "architecture": "mobilenetv2_100.ra_in1k", "num_classes": 5 })), ..f }
}

fn hf_mobilenet() -> File {
    let unit = |at: &str| ["convolution", "normalization"].map(|w| format!("mobilenet_v2.{at}.{w}"));
    let [stem, last] = [unit("conv_stem.first_conv"), unit("conv_1x1")];
    let ends = [&stem, &last].map(|e| [e[0].as_str(), e[1].as_str()]);
    let f = mobilenet(ends, "classifier", |i, layer| {
        let block = if i == 0 { "conv_stem".into() } else { format!("layer.{}", i - 1) };
        unit(&format!("{block}.{}", ["expand_1x1", "conv_3x3", "reduce_1x1"][layer]))
    });
    let config = json!({
        "model_type": "mobilenet_v2", "depth_multiplier": 0.0625, "depth_divisible_by": 1, "min_depth": 1,
        "finegrained_output": false, "num_channels": 3, "image_size": 96, "hidden_act": "relu6",
    });
    File { config: Some(config), ..f }
}

/// Four stages of two blocks: 4, 6, 6 and 8 channels.
fn repvgg(stem: &str, stage: impl Fn(usize) -> String, parts: [&str; 3], head: &str) -> File {
    let mut f = File::default();
    let mut block = |name: String, [input, out]: [usize; 2], identity: bool| {
        for (part, side) in [(parts[0], 3), (parts[1], 1)] {
            f.unit(["conv", "bn"].map(|w| format!("{name}.{part}.{w}")), [out, input, side, side]);
        }
        if identity {
            f.norm(&format!("{name}.{}", parts[2]), out);
        }
    };
    block(stem.into(), [3, 4], false);
    for (s, [input, out]) in [[4, 4], [4, 6], [6, 6], [6, 8]].into_iter().enumerate() {
        block(format!("{}.0", stage(s)), [input, out], false);
        block(format!("{}.1", stage(s)), [out, out], true);
    }
    f.set(&format!("{head}.weight"), &[5, 8]);
    f.set(&format!("{head}.bias"), &[5]);
    f
}

fn own_repvgg() -> File {
    let parts = ["rbr_dense", "rbr_1x1", "rbr_identity"];
    repvgg("stage0", |s| format!("stage{}", s + 1), parts, "linear")
}

fn timm_repvgg() -> File {
    let f = repvgg("stem", |s| format!("stages.{s}"), ["conv_kxk", "conv_1x1", "identity"], "head.fc");
    File { config: Some(json!({ "architecture": "repvgg_a0.rvgg_in1k", "num_classes": 5 })), ..f }
}

#[test]
fn mobilenets_that_are_not_what_their_names_say() {
    refused(
        tv_mobilenet,
        &[
            (
                |f| f.remove("features.5.conv.2.weight"),
                &["missing", "`features.5.conv.2.weight`", "[any, 12, 1, 1]"],
            ),
            (|f| f.rename("features.18.", "features.20."), &["MobileNetV2 of 16 blocks", "stride", "17"]),
            (|f| f.set("features.19.0.weight", &[1]), &["MobileNetV2 of 18 blocks"]),
            (|f| f.set("features.1.conv.0.0.weight", &[2, 2, 3, 3]), &["[2, 1, 3, 3]", "found [2, 2, 3, 3]"]),
            (
                |f| f.set("features.2.conv.1.0.weight", &[6, 1, 5, 5]),
                &["`features.2.conv.1.0.weight`", "[6, 1, 3, 3]"],
            ),
            (|f| f.set("features.2.conv.0.0.bias", &[6]), &["unexpected", "`features.2.conv.0.0.bias`"]),
            // A second block of another width: other stages than the published ones.
            (
                |f| {
                    f.unit(["2", "3"].map(|n| format!("features.3.conv.{n}")), [3, 12, 1, 1]);
                    f.set("features.4.conv.0.0.weight", &[12, 3, 1, 1]);
                },
                &["`features.3.conv.2.weight`", "[2 as the first block of its stage, 12, 1, 1]"],
            ),
            (
                |f| put(f, "architecture", json!("mobilenetv2_100")),
                &["`mobilenetv2_100`", "timm does not use"],
            ),
        ],
    );
    refused(
        timm_mobilenet,
        &[
            (|f| put(f, "architecture", json!("mnasnet_100")), &["`mnasnet_100`", "MobileNetV2"]),
            (|f| put(f, "architecture", json!("mobilenetv2_200")), &["`mobilenetv2_200`"]),
            (|f| put(f, "architecture", json!("resnet18")), &["`resnet18`"]),
            (|f| put(f, "num_classes", json!(6)), &["`num_classes` is 6"]),
            (|f| put(f, "global_pool", json!("max")), &["`global_pool`"]),
            (|f| put(f, "model_args", json!({ "in_chans": 1 })), &["`in_chans` is 1", "expected 3"]),
            (|f| put(f, "model_args", json!({ "output_stride": 16 })), &["model_args.output_stride"]),
            (|f| put(f, "model_args", json!({ "pad_type": "same" })), &["model_args.pad_type"]),
            (|f| put(f, "model_args", json!({ "act_layer": "relu" })), &["model_args.act_layer"]),
            (|f| put(f, "model_args", json!({ "bn_eps": 0.001 })), &["model_args.bn_eps"]),
            (
                |f| f.set("blocks.3.1.se.conv_reduce.weight", &[1]),
                &["squeeze", "`blocks.3.1.se.conv_reduce.weight`"],
            ),
            (|f| f.set("blocks.7.0.conv_dw.weight", &[1]), &["unexpected", "`blocks.7.0.conv_dw.weight`"]),
            (|f| f.rename("blocks.3.0.", "blocks.3.9."), &["missing", "`blocks.3.0.conv_pw.weight`"]),
            (|f| f.rename("blocks.3.3.", "blocks.3.99999999999."), &["unexpected", "blocks.3.99999999999"]),
            (
                |f| f.set("blocks.2.0.conv_dw.weight", &[12, 1, 5, 5]),
                &["[12, 1, 3, 3]", "[12, 1, 5, 5]", "timm"],
            ),
        ],
    );
    refused(
        hf_mobilenet,
        &[
            (|f| put(f, "model_type", json!("mobilenet_v1")), &["`model_type`", "\"mobilenet_v2\""]),
            (|f| put(f, "hidden_act", json!("swish")), &["activation", "\"swish\""]),
            (|f| put(f, "tf_padding", json!("same")), &["`tf_padding`", "true or false"]),
            (|f| put(f, "layer_norm_eps", json!("small")), &["`layer_norm_eps`", "a number"]),
            (|f| put(f, "output_stride", json!(0)), &["`output_stride`", "a whole number from 1"]),
            (|f| put(f, "output_stride", json!(15.5)), &["`output_stride`", "a whole number from 1"]),
            (|f| put(f, "first_layer_is_expansion", json!(false)), &["`first_layer_is_expansion`", "true"]),
            (|f| put(f, "num_channels", json!(4)), &["`num_channels` is 4", "expected 3"]),
            (
                |f| put(f, "depth_multiplier", json!(0.125)),
                &["`depth_multiplier` is 0.125, which gives 4", "2 channels of conv_stem.first_conv"],
            ),
            (
                |f| put(f, "depth_multiplier", Value::Null),
                &["`depth_multiplier` is left to its default, which gives 32"],
            ),
            (|f| put(f, "depth_divisible_by", json!(0)), &["`depth_divisible_by`"]),
            (|f| put(f, "min_depth", json!(3)), &["`depth_multiplier`", "which gives 3"]),
            (
                |f| put(f, "expand_ratio", json!(4.0)),
                &["`expand_ratio` is 4.0, which gives 4", "6 channels of layer.0.expand_1x1"],
            ),
            (
                |f| put(f, "finegrained_output", json!(true)),
                &["`finegrained_output` is true, which gives 1280", "80 channels of conv_1x1"],
            ),
            (|f| put(f, "id2label", json!({ "0": "a" })), &["`id2label`", "0 to 4"]),
            (
                |f| f.remove("mobilenet_v2.layer.3.conv_3x3.convolution.weight"),
                &[
                    "missing",
                    "`mobilenet_v2.layer.3.conv_3x3.convolution.weight`",
                    "[12, 1, 3, 3]",
                    "Hugging Face",
                ],
            ),
            (
                |f| f.rename("mobilenet_v2.layer.15.", "mobilenet_v2.layer.16."),
                &["missing", "`mobilenet_v2.layer.15."],
            ),
        ],
    );
}

#[test]
fn repvggs_that_are_not_what_their_names_say() {
    refused(
        own_repvgg,
        &[
            (
                |f| f.remove("stage0.rbr_dense.conv.weight"),
                &["missing", "`stage0.rbr_dense.conv.weight`", "original"],
            ),
            (
                |f| f.remove("stage2.0.rbr_1x1.conv.weight"),
                &["missing", "`stage2.0.rbr_1x1.conv.weight`", "[6, 4, 1, 1]"],
            ),
            (|f| f.remove("stage3.1.rbr_identity.bias"), &["missing", "`stage3.1.rbr_identity.bias`", "[6]"]),
            (|f| f.norm("stage3.0.rbr_identity", 6), &["unexpected", "`stage3.0.rbr_identity.bias`"]),
            (|f| f.norm("stage5.0.rbr_identity", 6), &["unexpected", "`stage5.0.rbr_identity.bias`"]),
            (|f| f.rename("stage4.0.", "stage4.2."), &["missing", "`stage4.0.rbr_dense.conv.weight`"]),
            (|f| f.set("stage4.1.rbr_dense.conv.weight", &[8, 3, 3, 3]), &["a divisor of 8", "[8, 3, 3, 3]"]),
            (
                |f| f.set("stage4.1.rbr_dense.conv.weight", &[6, 2, 3, 3]),
                &["a multiple of 4 groups", "[6, 2, 3, 3]"],
            ),
            (|f| f.set("stage4.1.rbr_dense.conv.weight", &[8, 8, 5, 5]), &["[any, 8, 3, 3]", "[8, 8, 5, 5]"]),
            // A deployed block with its branches left in.
            (
                |f| {
                    f.set("stage1.1.rbr_reparam.weight", &[4, 4, 3, 3]);
                    f.set("stage1.1.rbr_reparam.bias", &[4]);
                },
                &["unexpected", "`stage1.1.rbr_1x1.bn.bias`"],
            ),
            (
                |f| f.set("stage1.1.rbr_reparam.weight", &[4, 4, 3, 3]),
                &["missing", "`stage1.1.rbr_reparam.bias`"],
            ),
            (
                |f| f.set("stage1.1.se.down.weight", &[2, 4, 1, 1]),
                &["missing", "`stage1.1.se.down.bias`", "[2]"],
            ),
            (|f| f.remove("linear.weight"), &["missing", "`linear.weight`", "[any, 8]"]),
            (|f| put(f, "architecture", json!("repvgg_a0")), &["`repvgg_a0`", "timm does not use"]),
        ],
    );
    refused(
        timm_repvgg,
        &[
            (|f| put(f, "architecture", json!("mobileone_s0")), &["`mobileone_s0`", "RepVGG"]),
            (|f| put(f, "architecture", json!("repvgg_c9")), &["`repvgg_c9`"]),
            (|f| put(f, "model_args", json!({ "act_layer": "silu" })), &["model_args.act_layer", "silu"]),
            (|f| put(f, "model_args", json!({ "output_stride": 8 })), &["model_args.output_stride"]),
            (|f| put(f, "model_args", json!({ "in_chans": 1 })), &["`in_chans` is 1", "expected 3"]),
            (
                |f| f.remove("stages.0.1.identity.weight"),
                &["missing", "`stages.0.1.identity.weight`", "timm"],
            ),
            (
                |f| f.set("stages.4.0.conv_kxk.conv.weight", &[1]),
                &["unexpected", "`stages.4.0.conv_kxk.conv.weight`"],
            ),
        ],
    );
}
