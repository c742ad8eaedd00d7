//! Every refusal of the loader: a small valid checkpoint, one thing wrong with it, and an error that names that thing.

use rmnet::checkpoint::Checkpoint;
use rmnet::models::{self, Model, ModelError};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The tensors of a checkpoint by name, and its config files.
#[derive(Clone, Default)]
struct File {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    config: Option<Value>,
    preprocessor: Option<Value>,
}

impl File {
    fn set(&mut self, name: &str, shape: &[usize]) {
        let values = vec![0.5; shape.iter().product()];
        self.tensors.insert(name.into(), (shape.to_vec(), values));
    }

    fn norm(&mut self, layer: &str, channels: usize) {
        for what in ["weight", "bias", "running_mean", "running_var"] {
            self.set(&format!("{layer}.{what}"), &[channels]);
        }
    }

    fn unit(&mut self, [conv, norm]: [String; 2], shape: [usize; 4]) {
        self.set(&format!("{conv}.weight"), &shape);
        self.norm(&norm, shape[0]);
    }

    fn remove(&mut self, name: &str) {
        assert!(self.tensors.remove(name).is_some(), "{name}");
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.tensors = std::mem::take(&mut self.tensors)
            .into_iter()
            .map(|(name, t)| (name.strip_prefix(from).map_or(name.clone(), |rest| format!("{to}{rest}")), t))
            .collect();
    }

    fn value(&mut self, name: &str, at: usize, value: f32) {
        self.tensors.get_mut(name).expect("the tensor").1[at] = value;
    }

    fn load(&self) -> Result<Model, ModelError> {
        self.load_sized(None)
    }

    fn load_sized(&self, size: Option<[usize; 2]>) -> Result<Model, ModelError> {
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, (shape, v))| (name, shape, v.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = bytes.iter().map(|(name, shape, data)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), data).expect("a whole tensor"))
        });
        let file = safetensors::serialize(views, None).expect("a file");
        let config = self.config.as_ref().map(Value::to_string);
        let mut checkpoint = Checkpoint::from_bytes(file, config.as_deref()).expect("a checkpoint");
        if let Some(text) = self.preprocessor.as_ref().map(Value::to_string) {
            checkpoint = checkpoint.with_preprocessor_config(&text).expect("an object");
        }
        models::load(&checkpoint, size)
    }
}

/// Two stages of one block each: widths 4 and 8, five classes.
fn torchvision() -> File {
    let mut f = File::default();
    f.unit(["conv1", "bn1"].map(String::from), [4, 3, 7, 7]);
    for (stage, [input, out]) in [(1, [4, 4]), (2, [4, 8])] {
        let name = |what: &str| format!("layer{stage}.0.{what}");
        f.unit([name("conv1"), name("bn1")], [out, input, 3, 3]);
        f.unit([name("conv2"), name("bn2")], [out, out, 3, 3]);
        if input != out {
            f.unit([name("downsample.0"), name("downsample.1")], [out, input, 1, 1]);
        }
    }
    f.set("fc.weight", &[5, 8]);
    f.set("fc.bias", &[5]);
    f
}

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

fn timm(architecture: &str) -> File {
    File { config: Some(json!({ "architecture": architecture, "num_classes": 5 })), ..torchvision() }
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

/// Each case: what is done to the file, and words of the error.
type Case = (fn(&mut File), &'static [&'static str]);

#[track_caller]
fn refused(start: fn() -> File, cases: &[Case]) {
    start().load().expect("the file before anything is wrong with it");
    for (spoil, words) in cases {
        let mut file = start();
        spoil(&mut file);
        let error = file.load().map(|m| m.family).expect_err(&format!("{words:?}")).to_string();
        for word in *words {
            assert!(error.contains(word), "expected {word:?} in {error:?}");
        }
    }
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
            (|f| f.remove("fc.bias"), &["missing", "`fc.bias`", "[5]"]),
            (|f| f.rename("layer2.0", "layer2.1"), &["missing", "`layer2.0.conv1.weight`"]),
            (|f| f.rename("layer2", "layer3"), &["missing", "`layer2.0.conv1.weight`"]),
            (|f| f.rename("layer1", "layer99999999999"), &["missing", "`layer1.0.conv1.weight`"]),
            (|f| f.set("extra", &[1]), &["unexpected", "`extra`", "[1]"]),
            (|f| f.set("conv1.bias", &[4]), &["unexpected", "`conv1.bias`"]),
            (|f| f.set("layer1.0.relu.alpha", &[4]), &["unexpected", "`layer1.0.relu.alpha`"]),
            (
                |f| f.set("conv1.weight", &[4, 3, 5, 5]),
                &["`conv1.weight`", "[any, any, 7, 7]", "[4, 3, 5, 5]"],
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
            (|f| f.set("layer1.0.se.fc1.weight", &[1, 4, 1, 1]), &["SE-ResNet", "`layer1.0.se.fc1.weight`"]),
            (|f| f.set("layer1.0.se.conv.weight", &[1, 1, 3]), &["ECA-ResNet"]),
            (|f| f.rename("conv1.", "conv1.0."), &["deep stem", "`conv1.0.weight`"]),
            (
                |f| {
                    f.rename("layer2.0.downsample.1", "layer2.0.downsample.2");
                    f.rename("layer2.0.downsample.0", "layer2.0.downsample.1");
                },
                &["ResNet-D", "`layer2.0.downsample.1.weight`"],
            ),
            (
                |f| f.tensors.retain(|name, _| !name.contains("running_")),
                &["GroupNorm", "`bn1.weight`", "no `running_mean`"],
            ),
            (|f| f.set("layer1.0.prelu.weight", &[4]), &["IResNet"]),
            (|f| f.set("layer1.0.running1.weight", &[4]), &["RMNeXt"]),
        ],
    );
    let others: [(&[&str], &str); 8] = [
        (&["stages.0.blocks.0.norm1.weight", "norm.running_mean"], "pre-activation ResNetV2 is recognised"),
        (&["stages.0.blocks.0.norm1.weight", "norm.weight"], "weight-standardised"),
        (&["stages.0.0.conv_kxk.0.conv.weight"], "MobileOne"),
        (&["stage1.0.rbr_conv.0.conv.weight"], "MobileOne"),
        (&["stage1.blocks.0.rbr_dense.conv.weight", "stage1.blocks.0.post_se.down.weight"], "RepVGGplus"),
        (&["features.0.0.weight", "features.1.conv.0.0.weight"], "MobileNetV2 of 0 blocks"),
        (
            &["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.0.0.se.conv_reduce.weight"],
            "EfficientNet",
        ),
        (&["feature.0.conv33.weight"], "RM-RepVGG"),
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
    for name in
        ["resnetaa50", "resnetblur18", "ecaresnet26t", "seresnet18", "resnet18d", "resnet50_gn", "vgg16"]
    {
        let error = timm(name).load().expect_err(name);
        assert!(matches!(error, ModelError::Unsupported { .. }), "{name}: {error}");
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    }
}

fn put(f: &mut File, key: &str, value: Value) {
    f.config.get_or_insert_with(|| json!({}))[key] = value;
}

#[test]
fn timm_arguments_that_change_the_network() {
    refused(
        || timm("resnet18"),
        &[
            (|f| put(f, "model_args", json!({ "output_stride": 16 })), &["model_args.output_stride", "16"]),
            (|f| put(f, "model_args", json!({ "act_layer": "silu" })), &["model_args.act_layer", "silu"]),
            (|f| put(f, "model_args", json!({ "aa_layer": "blurpool" })), &["model_args.aa_layer"]),
            (|f| put(f, "model_args", json!({ "something_new": 1 })), &["model_args.something_new"]),
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
fn mobilenets_that_are_not_what_their_names_say() {
    refused(
        tv_mobilenet,
        &[
            (
                |f| f.remove("features.5.conv.2.weight"),
                &["missing", "`features.5.conv.2.weight`", "[any, 12, 1, 1]"],
            ),
            (|f| f.remove("classifier.1.bias"), &["missing", "`classifier.1.bias`", "[5]"]),
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
            (|f| trained(f, "crop_pct", json!(0)), &["`crop_pct`", "above 0"]),
            (|f| trained(f, "crop_mode", json!("border")), &["`crop_mode`", "\"border\""]),
            (|f| trained(f, "interpolation", json!("random")), &["`interpolation`", "\"random\""]),
            (|f| trained(f, "mean", json!([0.5, 0.5])), &["`mean`", "three numbers"]),
            (|f| trained(f, "std", json!([0.2, 0.0, 0.2])), &["`std`", "above 0"]),
        ],
    );
    fn processor(f: &mut File, value: Value) {
        f.preprocessor = Some(value);
    }
    refused(
        hugging_face,
        &[
            (|f| processor(f, json!({ "size": "large" })), &["`size`", "shortest_edge"]),
            (|f| processor(f, json!({ "size": { "shortest_edge": 224 } })), &["`size`", "crop_size"]),
            (|f| processor(f, json!({ "size": 64, "resample": 5 })), &["`resample`", "found 5"]),
            (|f| processor(f, json!({ "size": 64, "do_resize": 1 })), &["`do_resize`", "true or false"]),
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

/// Only for the test above.
trait OutputShape {
    fn shape_of_output(&self) -> [usize; 3];
}

impl OutputShape for rmnet::graph::Graph {
    fn shape_of_output(&self) -> [usize; 3] {
        let shape = self.shape(self.output());
        [shape.channels, shape.height, shape.width]
    }
}

#[test]
fn what_cannot_be_refused_is_accepted() {
    // The flags and arguments that change nothing.
    let mut f = timm("resnet18");
    put(&mut f, "model_args", json!({ "output_stride": 32, "drop_rate": 0.1, "act_layer": null }));
    put(&mut f, "label_names", json!(["n0", "n1", "n2", "n3", "n4"]));
    put(&mut f, "label_descriptions", json!({ "n1": "a tench" }));
    let model = f.load().unwrap();
    assert_eq!(model.labels.unwrap()[..2], ["n0", "a tench"]);
    // Hugging Face without its config: the library's defaults.
    let mut f = hugging_face();
    f.config = None;
    assert_eq!(f.load().unwrap().family, "Hugging Face ResNet, BasicBlock [1, 1]");
    // A MobileNetV2 of Hugging Face without it: the library's defaults again, whatever the widths.
    let mut f = hf_mobilenet();
    assert_eq!(f.load().unwrap().preprocess.size, [96, 96]);
    f.config = None;
    assert_eq!(f.load().unwrap().graph.input_shape().size(), [224, 224]);
    // timm's MobileNetV2 is known by its names alone, and a RepVGG may be deployed block by block.
    let mut f = timm_mobilenet();
    f.config = None;
    assert_eq!(f.load().unwrap().family, "timm MobileNetV2, blocks [1, 2, 3, 4, 3, 3, 1]");
    let mut f = own_repvgg();
    f.tensors.retain(|name, _| !name.starts_with("stage1.1."));
    f.set("stage1.1.rbr_reparam.weight", &[4, 2, 3, 3]);
    f.set("stage1.1.rbr_reparam.bias", &[4]);
    let model = f.load().unwrap();
    assert_eq!(
        (model.family.as_str(), model.blocks.len()),
        ("original RepVGG, blocks [2, 2, 2, 2], 2 groups", 8)
    );
    // A one-channel input.
    let mut f = torchvision();
    f.set("conv1.weight", &[4, 1, 7, 7]);
    assert_eq!(f.load().unwrap().graph.input_shape().channels, 1);
    assert_eq!(bottleneck().load().unwrap().family, "torchvision ResNeXt, Bottleneck [2], 2 groups");
}
