//! Every refusal of the loader: a small valid checkpoint, one thing wrong with it, and an error that names that thing.

mod common;

use common::spoil::{File, OutputShape, put, refused, timm, torchvision};
use rmnet::models::ModelError;
use serde_json::{Value, json};

/// One stage of two grouped bottlenecks: 4 inner channels in 2 groups, 8 outer ones.
fn bottleneck() -> File {
    let mut f = File::default();
    f.unit(["conv1", "bn1"].map(String::from), [4, 3, 7, 7]);
    for (i, input) in [(0, 4), (1, 8)] {
        let name = |what: &str| format!("layer1.{i}.{what}");
        f.unit([name("conv1"), name("bn1")], [4, input, 1, 1]);
        f.unit([name("conv2"), name("bn2")], [4, 2, 3, 3]);
        f.unit([name("conv3"), name("bn3")], [8, 4, 1, 1]);
    }
    f.unit(["downsample.0", "downsample.1"].map(|w| format!("layer1.0.{w}")), [8, 4, 1, 1]);
    f.set("fc.weight", &[5, 8]);
    f.set("fc.bias", &[5]);
    f
}

/// Two stages of one basic block each, with the config its library writes.
fn hugging_face() -> File {
    let mut f = File::default();
    let layer = |at: &str| ["convolution", "normalization"].map(|w| format!("resnet.{at}.{w}"));
    f.unit(layer("embedder.embedder"), [4, 3, 7, 7]);
    for (stage, [input, out]) in [(0, [4, 4]), (1, [4, 8])] {
        let name = |what: &str| layer(&format!("encoder.stages.{stage}.layers.0.{what}"));
        f.unit(name("layer.0"), [out, input, 3, 3]);
        f.unit(name("layer.1"), [out, out, 3, 3]);
        if input != out {
            f.unit(name("shortcut"), [out, input, 1, 1]);
        }
    }
    f.set("classifier.1.weight", &[5, 8]);
    f.set("classifier.1.bias", &[5]);
    f.config = Some(json!({
        "model_type": "resnet", "layer_type": "basic", "hidden_act": "relu", "depths": [1, 1],
        "hidden_sizes": [4, 8], "embedding_size": 4, "num_channels": 3,
        "id2label": { "0": "a", "1": "b", "2": "c", "3": "d", "4": "e" },
    }));
    f
}

#[test]
fn tensors_that_are_missing_left_over_or_misshapen() {
    refused(
        torchvision,
        &[
            (|f| f.remove("conv1.weight"), &["missing", "`conv1.weight`", "[any, any, 7, 7]", "torchvision"]),
            (|f| f.remove("bn1.running_mean"), &["missing", "`bn1.running_mean`", "[4]"]),
            (|f| f.remove("layer1.0.conv2.weight"), &["missing", "`layer1.0.conv2.weight`", "[4, 4, 3, 3]"]),
            (|f| f.remove("layer2.0.downsample.0.weight"), &["missing", "`layer2.0.downsample.0.weight`"]),
            (|f| f.remove("fc.weight"), &["missing", "`fc.weight`", "[any, 8]"]),
            (|f| f.rename("layer2.0", "layer2.1"), &["missing", "`layer2.0.conv1.weight`"]),
            (|f| f.rename("layer2", "layer3"), &["missing", "`layer2.0.conv1.weight`"]),
            (|f| f.rename("layer1", "layer99999999999"), &["missing", "`layer1.0.conv1.weight`"]),
            (|f| f.set("extra", &[1]), &["`extra`", "[1]", "no layer of the network", "`head=fc`"]),
            (|f| f.set("conv1.bias", &[4]), &["unexpected", "`conv1.bias`"]),
            (|f| f.set("layer1.0.relu.alpha", &[4]), &["unexpected", "`layer1.0.relu.alpha`"]),
            (
                |f| f.set("conv1.weight", &[4, 3, 6, 6]),
                &["`conv1.weight`", "[any, any, 7, 7]", "[4, 3, 6, 6]"],
            ),
            (|f| f.set("conv1.weight", &[0, 3, 7, 7]), &["`conv1.weight`", "found [0, 3, 7, 7]"]),
            (|f| f.set("layer1.0.conv1.weight", &[4, 4]), &["`layer1.0.conv1.weight`", "found [4, 4]"]),
            (
                |f| f.set("layer1.0.conv1.weight", &[4, 2, 3, 3]),
                &["`layer1.0.conv1.weight`", "expected shape [any, 4, 3, 3]"],
            ),
            (
                |f| f.set("layer1.0.conv2.weight", &[5, 4, 3, 3]),
                &["`layer1.0.conv2.weight`", "expected shape [4, 4, 3, 3]"],
            ),
            (|f| f.set("layer2.0.bn1.weight", &[7]), &["`layer2.0.bn1.weight`", "expected shape [8]"]),
            (
                |f| f.set("layer2.0.downsample.0.weight", &[8, 4, 3, 3]),
                &["`layer2.0.downsample.0.weight`", "expected shape [8, 4, 1, 1]"],
            ),
            (|f| f.set("fc.weight", &[5, 9]), &["`fc.weight`", "[any, 8]", "[5, 9]"]),
            (|f| f.set("fc.bias", &[4]), &["`fc.bias`", "[5]"]),
            (
                |f| f.unit(["downsample.0", "downsample.1"].map(|w| format!("layer1.0.{w}")), [4, 4, 1, 1]),
                &["unexpected", "`layer1.0.downsample.0.weight`", "stride 1"],
            ),
        ],
    );
}

#[test]
fn groups_that_do_not_divide_or_differ() {
    refused(
        bottleneck,
        &[
            (
                |f| f.set("layer1.0.conv2.weight", &[4, 3, 3, 3]),
                &["`layer1.0.conv2.weight`", "divisor of 4", "[4, 3, 3, 3]"],
            ),
            (
                |f| f.set("layer1.1.conv2.weight", &[4, 4, 3, 3]),
                &["`layer1.1.conv2.weight`", "4 inputs / 2 groups"],
            ),
            (
                |f| f.set("layer1.0.conv2.weight", &[5, 2, 3, 3]),
                &["`layer1.0.conv2.weight`", "multiple of 2"],
            ),
            (|f| f.set("layer1.1.conv2.weight", &[4, 0, 3, 3]), &["`layer1.1.conv2.weight`", "[4, 0, 3, 3]"]),
            (|f| f.remove("layer1.1.conv3.weight"), &["missing", "`layer1.1.conv3.weight`", "[8, 4, 1, 1]"]),
        ],
    );
}

#[test]
fn values_that_no_trained_network_has() {
    refused(
        torchvision,
        &[
            (|f| f.value("conv1.weight", 9, f32::NAN), &["`conv1.weight`", "finite", "NaN", "element 9"]),
            (|f| f.value("fc.bias", 2, f32::INFINITY), &["`fc.bias`", "inf", "element 2"]),
            (|f| f.value("bn1.bias", 0, f32::NEG_INFINITY), &["`bn1.bias`", "-inf"]),
            (|f| f.value("bn1.running_var", 3, -0.25), &["`bn1.running_var`", "at least 0", "-0.25"]),
        ],
    );
}

#[test]
fn networks_that_are_recognised_but_not_supported() {
    refused(
        torchvision,
        &[
            (|f| f.set("layer1.0.se.conv.weight", &[1, 1, 3]), &["ECA-ResNet"]),
            (
                |f| f.set("layer1.0.se_module.fc1.weight", &[1, 4, 1, 1]),
                &["older SE-ResNet", "`layer1.0.se_module.fc1.weight`"],
            ),
            (
                |f| f.tensors.retain(|name, _| !name.contains("running_")),
                &["GroupNorm", "`bn1.weight`", "no `running_mean`"],
            ),
            (|f| f.set("layer1.0.prelu.weight", &[4]), &["missing", "`relu.weight`", "[4]"]),
            (
                |f| f.set("layer1.0.running1.weight", &[4]),
                &["unexpected", "`layer1.0.running1.weight`", "RMNet repository"],
            ),
        ],
    );
    let others: &[(&[&str], &str)] = &[
        (&["stages.0.blocks.0.norm1.weight", "norm.weight"], "weight-standardised"),
        (&["stages.0.0.conv_kxk.0.conv.weight"], "MobileOne"),
        (&["stage1.0.rbr_conv.0.conv.weight"], "MobileOne"),
        (&["stage1.blocks.0.rbr_dense.conv.weight", "stage1.blocks.0.post_se.down.weight"], "RepVGGplus"),
        (&["features.0.0.weight", "features.1.conv.0.0.weight"], "MobileNetV2 of 0 blocks"),
        (
            &["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.0.0.se.conv_reduce.weight"],
            "EfficientNet",
        ),
        (&["features.2.conv.0.weight", "features.3.running1.running_mean"], "RMobileNet"),
        (&["0.weight", "0.bias", "2.weight"], "nn.Sequential"),
    ];
    for (names, what) in others {
        let mut f = File::default();
        names.iter().for_each(|n| f.set(n, &[1]));
        let error = f.load().expect_err(what);
        assert!(matches!(error, ModelError::Unsupported { .. }), "{what}: {error}");
        assert!(error.to_string().contains(what), "expected {what:?} in {error}");
    }
}

#[test]
fn networks_that_are_not_known_at_all() {
    let mut f = File::default();
    let error = f.load().unwrap_err().to_string();
    assert!(error.contains("no tensors"), "{error}");
    (0..9).for_each(|i| f.set(&format!("encoder.{i}"), &[1]));
    let error = f.load().unwrap_err().to_string();
    for word in
        ["9 tensors", "`encoder.0`", "`encoder.4`, ...", "`layer1.0.conv1.weight`", "`resnet.embedder"]
    {
        assert!(error.contains(word), "expected {word} in {error}");
    }
}

#[test]
fn timm_architectures_that_share_the_names() {
    for name in [
        "resnetaa50",
        "resnetblur18",
        "ecaresnet26t",
        "seresnetaa50d",
        "senet154",
        "resnet50_gn",
        "resnetv2_18",
        "vgg16",
    ] {
        let error = timm(name).load().expect_err(name);
        assert!(matches!(error, ModelError::Unsupported { .. }), "{name}: {error}");
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    }
}

#[test]
fn timm_arguments_that_change_the_network() {
    refused(
        || timm("resnet18"),
        &[
            (|f| put(f, "model_args", json!({ "output_stride": 4 })), &["model_args.output_stride", "4"]),
            (|f| put(f, "model_args", json!({ "act_layer": "silu" })), &["model_args.act_layer", "silu"]),
            (|f| put(f, "model_args", json!({ "aa_layer": "blurpool" })), &["model_args.aa_layer"]),
            (|f| put(f, "model_args", json!({ "something_new": 1 })), &["model_args.something_new"]),
            (
                |f| put(f, "model_args", json!({ "block_args": { "attn_layer": "eca" } })),
                &["model_args.block_args", "eca"],
            ),
            (|f| put(f, "model_args", json!({ "stem_type": "deeper" })), &["model_args.stem_type", "deeper"]),
            (|f| put(f, "model_args", json!([])), &["`model_args`", "an object"]),
            (|f| put(f, "global_pool", json!("max")), &["`global_pool`", "max"]),
            (|f| put(f, "architecture", json!(1)), &["`architecture`", "a name"]),
        ],
    );
}

#[test]
fn configs_that_contradict_the_tensors() {
    refused(
        || timm("resnet18"),
        &[
            (|f| put(f, "num_classes", json!(6)), &["`num_classes` is 6", "expected 5"]),
            (|f| put(f, "model_args", json!({ "layers": [1, 2] })), &["`layers` is [1,2]", "[1,1]"]),
            (|f| put(f, "model_args", json!({ "cardinality": 32 })), &["`cardinality` is 32", "expected 1"]),
            (|f| put(f, "model_args", json!({ "in_chans": 1 })), &["`in_chans` is 1", "expected 3"]),
            (|f| put(f, "label_names", json!(["a"])), &["`label_names`", "5 names", "a list of 1"]),
            (|f| put(f, "model_args", json!({})), &["`architecture` is \"resnet18\"", "BasicBlock [1, 1]"]),
            (|f| put(f, "num_classes", json!(0)), &["`num_classes` is 0", "expected 5"]),
        ],
    );
    refused(
        hugging_face,
        &[
            (|f| put(f, "depths", json!([1, 2])), &["`depths` is [1,2]", "[1,1]"]),
            (|f| put(f, "hidden_sizes", json!([4, 9])), &["`hidden_sizes` is [4,9]", "[4,8]"]),
            (|f| put(f, "embedding_size", json!(5)), &["`embedding_size` is 5", "expected 4"]),
            (|f| put(f, "num_channels", json!(1)), &["`num_channels` is 1", "expected 3"]),
            (|f| put(f, "layer_type", json!("bottleneck")), &["`layer_type`", "\"basic\""]),
            (|f| put(f, "model_type", json!("regnet")), &["`model_type`", "\"resnet\""]),
            (
                |f| put(f, "downsample_in_bottleneck", json!("yes")),
                &["`downsample_in_bottleneck`", "true or"],
            ),
            (|f| put(f, "id2label", json!({ "0": "a" })), &["`id2label`", "0 to 4", "1 entries"]),
            (|f| put(f, "hidden_act", json!("gelu")), &["activation", "\"gelu\""]),
            // Then stage 0 strides, and its block of equal widths needs a projection.
            (
                |f| put(f, "downsample_in_first_stage", json!(true)),
                &[
                    "missing",
                    "`resnet.encoder.stages.0.layers.0.shortcut.convolution.weight`",
                    "Hugging Face",
                ],
            ),
            (|f| f.remove("classifier.1.weight"), &["missing", "`classifier.1.weight`"]),
            (
                |f| f.set("resnet.embedder.embedder.convolution.weight", &[4, 3, 3, 3]),
                &["[any, any, 7, 7]", "[4, 3, 3, 3]"],
            ),
        ],
    );
}

#[test]
fn preprocessing_that_is_not_understood() {
    fn trained(f: &mut File, key: &str, value: Value) {
        put(f, "pretrained_cfg", json!({ key: value }));
    }
    refused(
        || timm("resnet18"),
        &[
            (|f| trained(f, "input_size", json!([3, 0, 224])), &["`input_size`", "side from 1"]),
            (|f| trained(f, "input_size", json!(224)), &["`input_size`", "[channels, height, width]"]),
            (|f| put(f, "pretrained_cfg", json!(7)), &["`pretrained_cfg`", "an object", "7"]),
            (|f| put(f, "pretrained_cfg", json!([])), &["`pretrained_cfg`", "an object", "[]"]),
            (|f| put(f, "global_pool", json!("max")), &["`global_pool`", "max"]),
            (|f| trained(f, "crop_pct", json!(0)), &["`crop_pct`", "from 0.01 to 100"]),
            (|f| trained(f, "mean", json!([0.5, 0.5])), &["`std`", "2 numbers"]),
            (|f| trained(f, "std", json!([0.2, 0.0, 0.2])), &["`std`", "from 1e-6"]),
        ],
    );
    fn processor(f: &mut File, value: Value) {
        f.preprocessor = Some(value);
    }
    refused(
        hugging_face,
        &[
            (|f| processor(f, json!({ "size": 64, "image_std": "x" })), &["`image_std`"]),
            (|f| processor(f, json!({ "size": 70000 })), &["`size`", "65536"]),
        ],
    );
}

#[test]
fn sizes_that_cannot_be() {
    for size in [[0, 64], [64, 65537], [usize::MAX, 1]] {
        let error = torchvision().load_sized(Some(size)).unwrap_err();
        assert!(matches!(error, ModelError::Size { .. }), "{error}");
    }
    // The smallest of all is a network too.
    assert_eq!(torchvision().load_sized(Some([1, 1])).unwrap().graph.shape_of_output(), [5, 1, 1]);
}

#[test]
fn what_cannot_be_refused_is_accepted() {
    // The flags and arguments that change nothing.
    let mut f = timm("resnet18");
    put(
        &mut f,
        "model_args",
        json!({ "layers": [1, 1], "output_stride": 32, "drop_rate": 0.1, "act_layer": null }),
    );
    put(&mut f, "label_names", json!(["n0", "n1", "n2", "n3", "n4"]));
    put(&mut f, "label_descriptions", json!({ "n1": "a tench" }));
    let model = f.load().unwrap();
    assert_eq!(model.labels.unwrap()[..2], ["n0", "a tench"]);
    // Hugging Face without its config: the library's defaults.
    let mut f = hugging_face();
    f.config = None;
    assert_eq!(f.load().unwrap().family, "Hugging Face ResNet, BasicBlock [1, 1]");
    // A one-channel input.
    let mut f = torchvision();
    f.set("conv1.weight", &[4, 1, 7, 7]);
    assert_eq!(f.load().unwrap().graph.input_shape().channels, 1);
    assert_eq!(bottleneck().load().unwrap().family, "torchvision ResNeXt, Bottleneck [2], 2 groups");
}

/// Tensors under one library's names, and the config of another.
#[test]
fn configs_of_another_network() {
    refused(
        torchvision,
        &[
            (|f| put(f, "model_type", json!("vit")), &["`model_type` is \"vit\"", "\"resnet\""]),
            (|f| put(f, "depths", json!([2, 1])), &["`depths` is [2,1]", "[1,1]"]),
            (|f| put(f, "hidden_sizes", json!([4, 9])), &["`hidden_sizes` is [4,9]", "[4,8]"]),
            (|f| put(f, "layer_type", json!("bottleneck")), &["`layer_type`", "\"basic\""]),
            (|f| put(f, "hidden_act", json!("gelu")), &["activation", "\"gelu\""]),
            (|f| put(f, "downsample_in_first_stage", json!(true)), &["`downsample_in_first_stage`", "false"]),
            (|f| put(f, "architecture", json!("resnet50")), &["`architecture`", "BasicBlock [1, 1]"]),
        ],
    );
    let mut f = torchvision();
    put(&mut f, "model_type", json!("resnet"));
    put(&mut f, "depths", json!([1, 1]));
    assert!(f.load().is_ok());
    let mut f = timm("resnet18");
    put(&mut f, "model_type", json!("timm_wrapper"));
    assert!(f.load().is_ok());
}

#[test]
fn names_in_errors_are_the_file_s() {
    let mut f = torchvision();
    f.rename("", "module.");
    f.remove("module.bn1.bias");
    let error = f.load().unwrap_err().to_string();
    assert!(error.contains("missing tensor `module.bn1.bias`"), "{error}");
    // A convolution that was cut, seen by the norm behind it.
    let mut f = torchvision();
    f.set("conv1.weight", &[3, 3, 7, 7]);
    let error = f.load().unwrap_err().to_string();
    assert!(
        error.contains("`bn1.weight`: expected shape [3] as `conv1.weight` gives it, found [4]"),
        "{error}"
    );
}
