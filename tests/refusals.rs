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

    fn statistics(&mut self, layer: &str, channels: usize) {
        self.set(&format!("{layer}.running_mean"), &[channels]);
        self.set(&format!("{layer}.running_var"), &[channels]);
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

/// Two stages of one block each, widths 4 and 8, and a linear layer over a map of 2x2: images of 8x8.
fn iresnet() -> File {
    let mut f = File::default();
    f.unit(["conv1", "bn1"].map(String::from), [4, 3, 3, 3]);
    f.set("prelu.weight", &[4]);
    for (stage, [input, out]) in [(1, [4, 4]), (2, [4, 8])] {
        let name = |what: &str| format!("layer{stage}.0.{what}");
        f.norm(&name("bn1"), input);
        f.unit([name("conv1"), name("bn2")], [out, input, 3, 3]);
        f.set(&name("prelu.weight"), &[out]);
        f.unit([name("conv2"), name("bn3")], [out, out, 3, 3]);
        f.unit([name("downsample.0"), name("downsample.1")], [out, input, 1, 1]);
    }
    f.norm("bn2", 8);
    f.set("fc.weight", &[5, 32]);
    f.set("fc.bias", &[5]);
    f.norm("features", 5);
    f
}

/// 3x3 and 1x1 of RepVGG, `own` of the output channels.
fn branches(f: &mut File, name: &str, [input, own]: [usize; 2], identity: bool) {
    f.unit(["conv33", "bn33"].map(|w| format!("{name}.{w}")), [own, input, 3, 3]);
    f.unit(["conv11", "bn11"].map(|w| format!("{name}.{w}")), [own, input, 1, 1]);
    if identity {
        f.norm(&format!("{name}.bn00"), own);
    }
}

/// A stem of two, and a stage of one grouped bottleneck: 4 inner channels in 2 groups.
fn rmnext() -> File {
    let mut f = File::default();
    branches(&mut f, "layer0.0", [3, 4], false);
    branches(&mut f, "layer0.1", [4, 4], false);
    let name = |what: &str| format!("layer1.0.{what}");
    f.unit([name("conv1"), name("bn1")], [4, 4, 1, 1]);
    f.unit([name("conv2"), name("bn2")], [4, 2, 3, 3]);
    f.unit([name("conv3"), name("bn3")], [4, 4, 1, 1]);
    f.statistics(&name("running1"), 4);
    f.statistics(&name("running2"), 4);
    f.set("fc.weight", &[5, 4]);
    f.set("fc.bias", &[5]);
    f
}

/// Two of stride 2, one that reserves a channel of 4, one that widens.
fn rmrepvgg() -> File {
    let mut f = File::default();
    for (i, (channels, identity)) in
        [([3, 4], false), ([4, 4], false), ([4, 3], true), ([4, 8], false)].into_iter().enumerate()
    {
        branches(&mut f, &format!("feature.{i}"), channels, identity);
    }
    f.set("fc.weight", &[5, 8]);
    f.set("fc.bias", &[5]);
    f
}

/// One stage of one block of 4 channels, with pruning masks.
fn masked() -> File {
    let mut f = File::default();
    f.unit(["conv1", "bn1"].map(String::from), [4, 3, 3, 3]);
    let name = |what: &str| format!("layer1.0.{what}");
    f.unit([name("conv1"), name("bn1")], [4, 4, 3, 3]);
    f.unit([name("conv2"), name("bn2")], [4, 4, 3, 3]);
    let masks =
        ["mask1.weight", "layer1.0.mask1.weight", "layer1.0.mask2.weight", "layer1.0.mask_res.0.weight"];
    masks.iter().for_each(|mask| f.set(mask, &[4, 1, 1, 1]));
    f.statistics(&name("running1"), 4);
    f.set("fc.weight", &[5, 4]);
    f.set("fc.bias", &[5]);
    f
}

/// Stages of one block each, widths 4 and 8.
fn preactivation() -> File {
    let mut f = File::default();
    f.set("conv1.weight", &[4, 3, 3, 3]);
    for (stage, [input, out]) in [(1, [4, 4]), (2, [4, 8])] {
        let name = |what: &str| format!("layer{stage}.0.{what}");
        f.norm(&name("bn1"), input);
        f.unit([name("conv1"), name("bn2")], [out, input, 3, 3]);
        f.set(&name("conv2.weight"), &[out, out, 3, 3]);
    }
    f.set("layer2.0.downsample.weight", &[8, 4, 1, 1]);
    f.statistics("layer2.0.running", 4);
    f.set("fc.weight", &[5, 8]);
    f.set("fc.bias", &[5]);
    f
}

/// A grouped convolution, a batch norm and a classifier.
fn sequential() -> File {
    let mut f = File::default();
    f.set("0.weight", &[4, 3, 3, 3]);
    f.set("0.bias", &[4]);
    f.set("2.weight", &[6, 2, 3, 3]);
    f.norm("3", 6);
    f.set("8.weight", &[5, 6]);
    f.config = Some(json!({ "rmnet_chain": [
        { "op": "conv2d", "stride": 1, "padding": 1 }, { "op": "relu" }, { "op": "conv2d", "stride": 2, "padding": 1 },
        { "op": "batch_norm" }, { "op": "relu6" }, { "op": "max_pool", "kernel": 3, "stride": 2, "padding": 1 },
        { "op": "global_average" }, { "op": "flatten" }, { "op": "linear" },
    ] }));
    f
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
fn embeddings_of_another_shape() {
    refused(
        iresnet,
        &[
            (|f| f.remove("prelu.weight"), &["missing", "`prelu.weight`", "[4]", "insightface"]),
            (|f| f.remove("layer1.0.downsample.0.weight"), &["missing", "`layer1.0.downsample.0.weight`"]),
            (|f| f.set("layer2.0.prelu.weight", &[1]), &["`layer2.0.prelu.weight`", "expected shape [8]"]),
            (|f| f.set("layer2.0.bn3.bias", &[4]), &["`layer2.0.bn3.bias`", "[8]"]),
            (|f| f.set("fc.weight", &[5, 33]), &["`fc.weight`", "8 channels of a square map", "[5, 33]"]),
            (|f| f.remove("features.running_var"), &["missing", "`features.running_var`", "[5]"]),
            (|f| f.set("layer1.0.se.fc1.weight", &[4, 4, 1, 1]), &["SE-ResNet"]),
        ],
    );
    let error = iresnet().load_sized(Some([12, 8])).unwrap_err().to_string();
    assert!(error.contains("12x8: expected 8x8") && error.contains("2x2, here it is 3x2"), "{error}");
    let model = iresnet().load().unwrap();
    assert_eq!((model.preprocess.size, model.graph.shape_of_output()), ([8, 8], [5, 1, 1]));
    // Any size that gives the map.
    assert_eq!(iresnet().load_sized(Some([7, 5])).unwrap().graph.shape_of_output(), [5, 1, 1]);
}

#[test]
fn networks_of_the_rmnet_repository() {
    refused(
        rmnext,
        &[
            (
                |f| f.remove("layer0.1.conv11.weight"),
                &["missing", "`layer0.1.conv11.weight`", "[4, 4, 1, 1]"],
            ),
            (|f| branches(f, "layer0.2", [4, 4], false), &["unexpected", "`layer0.2."]),
            (|f| f.norm("layer0.1.bn00", 4), &["unexpected", "`layer0.1.bn00."]),
            (
                |f| f.set("layer1.0.conv2.weight", &[4, 3, 3, 3]),
                &["`layer1.0.conv2.weight`", "a divisor of 4"],
            ),
            (|f| f.set("layer1.0.conv2.weight", &[6, 2, 3, 3]), &["`layer1.0.conv2.weight`", "[4, 2, 3, 3]"]),
            (|f| f.statistics("layer1.0.running2", 5), &["`layer1.0.running2.running_mean`", "[4]", "[5]"]),
            (|f| f.set("layer1.0.running1.weight", &[4]), &["unexpected", "`layer1.0.running1.weight`"]),
            (|f| f.statistics("layer1.0.running3", 4), &["unexpected", "`layer1.0.running3."]),
            (
                |f| f.unit(["downsample.0", "downsample.1"].map(|w| format!("layer1.0.{w}")), [4, 4, 1, 1]),
                &["unexpected", "`layer1.0.downsample.0.weight`"],
            ),
        ],
    );
    refused(
        masked,
        &[
            (|f| f.remove("mask1.weight"), &["missing", "`mask1.weight`", "[4, 1, 1, 1]"]),
            (|f| f.remove("layer1.0.mask_res.0.weight"), &["missing", "`layer1.0.mask_res.0.weight`"]),
            (|f| f.set("layer1.0.mask2.weight", &[4, 4, 1, 1]), &["`layer1.0.mask2.weight`", "[4, 1, 1, 1]"]),
        ],
    );
    refused(
        preactivation,
        &[
            (|f| f.remove("layer2.0.downsample.weight"), &["missing", "`layer2.0.downsample.weight`"]),
            (|f| f.statistics("layer2.0.running", 8), &["`layer2.0.running.running_mean`", "[4]"]),
            (|f| f.norm("bn1", 8), &["unexpected", "`bn1.bias`"]),
            (
                |f| f.set("layer1.0.downsample.weight", &[4, 4, 1, 1]),
                &["unexpected", "`layer1.0.downsample.weight`"],
            ),
        ],
    );
}

#[test]
fn networks_converted_in_place() {
    fn converted() -> File {
        let mut f = File::default();
        f.unit(["conv1", "bn1"].map(String::from), [4, 3, 7, 7]);
        for (module, shape) in [(0, [8, 4, 3, 3]), (2, [4, 8, 3, 3])] {
            f.set(&format!("layer1.0.{module}.weight"), &shape);
            f.set(&format!("layer1.0.{module}.bias"), &shape[..1]);
        }
        f.set("fc.weight", &[5, 4]);
        f.set("fc.bias", &[5]);
        f
    }
    refused(
        converted,
        &[
            (|f| f.remove("layer1.0.2.weight"), &["missing", "`layer1.0.2.weight`"]),
            (|f| f.set("layer1.0.2.weight", &[4, 8, 1, 1]), &["`layer1.0.2.weight`", "[any, any, 3, 3]"]),
            (|f| f.set("layer1.0.4.weight", &[4, 4, 1, 1]), &["`layer1.0.0.weight`", "[any, any, 1, 1]"]),
            (|f| f.set("layer1.0.1.weight", &[8]), &["unexpected", "`layer1.0.1.weight`"]),
        ],
    );
}

#[test]
fn strides_that_no_tensor_shows() {
    refused(
        rmrepvgg,
        &[
            (|f| f.remove("feature.1.bn33.bias"), &["missing", "`feature.1.bn33.bias`"]),
            (|f| f.rename("feature.2.", "feature.9."), &["missing", "`feature.2.conv33.weight`"]),
            (|f| branches(f, "feature.2", [4, 5], true), &["`feature.2.conv33.weight`", "at most 4"]),
            (|f| f.set("feature.2.bn00.weight", &[4]), &["`feature.2.bn00.weight`", "[3]"]),
            // Without identity, the next width would be another one.
            (
                |f| branches(f, "feature.3", [4, 6], false),
                &["strides", "`feature.3.conv33.weight`", "from 4 to 6"],
            ),
            (
                |f| f.tensors.retain(|n, _| !n.starts_with("feature") || n.starts_with("feature.0")),
                &["only block"],
            ),
            (
                |f| {
                    f.norm("feature.1.bn00", 4);
                    f.set("fc.weight", &[1000, 8]);
                },
                &["strides", "`feature.1`", "1000 classes"],
            ),
            (|f| f.set("feature.0.se.down.weight", &[2, 4, 1, 1]), &["missing", "`feature.0.se.down.bias`"]),
        ],
    );
    let excited = |f: &mut File| {
        for (i, channels) in [4, 4, 3, 8].into_iter().enumerate() {
            let name = |what: &str| format!("feature.{i}.se.{what}");
            f.set(&name("down.weight"), &[2, if i == 2 { 4 } else { channels }, 1, 1]);
            f.set(&name("down.bias"), &[2]);
            f.set(&name("up.weight"), &[channels, 2, 1, 1]);
            f.set(&name("up.bias"), &[channels]);
        }
    };
    let mut f = rmrepvgg();
    excited(&mut f);
    assert!(f.load().unwrap().family.contains("squeeze-and-excitation"));
    let error = f.load_sized(Some([32, 64])).unwrap_err().to_string();
    assert!(error.contains("32x64: expected a square"), "{error}");
    f.norm("feature.1.bn00", 4);
    let error = f.load().unwrap_err().to_string();
    assert!(error.contains("strides") && error.contains("right after the stem"), "{error}");
}

#[test]
fn chains_that_their_list_does_not_fit() {
    fn list(f: &mut File, at: usize, module: Value) {
        f.config.as_mut().expect("a config")["rmnet_chain"][at] = module;
    }
    refused(
        sequential,
        &[
            (|f| f.config = None, &["nn.Sequential", "`0.bias`", "`rmnet_chain`"]),
            (|f| put(f, "rmnet_chain", json!({})), &["`rmnet_chain`", "a list of modules"]),
            (|f| list(f, 1, json!({ "op": "gelu" })), &["`rmnet_chain.1`", "gelu"]),
            (|f| list(f, 0, json!({ "op": "conv2d", "stride": 1 })), &["`rmnet_chain.0`", "padding"]),
            (
                |f| list(f, 0, json!({ "op": "conv2d", "stride": 1, "padding": 1, "dilation": 2 })),
                &["`rmnet_chain.0`", "dilation"],
            ),
            (|f| list(f, 0, json!({ "op": "conv2d", "stride": 0, "padding": 1 })), &["layer 0", "stride"]),
            (|f| list(f, 3, json!({ "op": "identity" })), &["unexpected", "`3.bias`", "nn.Sequential"]),
            (|f| list(f, 6, json!({ "op": "identity" })), &["`8.weight`", "[any, 384]", "[5, 6]"]),
            (|f| list(f, 8, json!({ "op": "prelu" })), &["`8.weight`", "[6]"]),
            (|f| f.set("2.weight", &[6, 3, 3, 3]), &["`2.weight`", "[any, 4, 1, 1]"]),
            (|f| f.set("2.weight", &[5, 2, 3, 3]), &["`2.weight`", "a multiple of 2 groups"]),
            (|f| f.remove("2.weight"), &["missing", "`2.weight`"]),
            (
                |f| {
                    f.config.as_mut().expect("a config")["rmnet_chain"]
                        .as_array_mut()
                        .expect("a list")
                        .truncate(6);
                    f.remove("8.weight");
                },
                &["`rmnet_chain`", "one value per class", "[6, 8, 8]"],
            ),
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
            (|f| f.set("layer1.0.prelu.weight", &[4]), &["`conv1.weight`", "[any, 3, 3, 3]", "insightface"]),
            (
                |f| f.set("layer1.0.running1.weight", &[4]),
                &["unexpected", "`layer1.0.running1.weight`", "RMNet repository"],
            ),
        ],
    );
    let others: [(&[&str], &str); 10] = [
        (&["stages.0.blocks.0.norm1.weight", "norm.running_mean"], "pre-activation ResNetV2 is recognised"),
        (&["stages.0.blocks.0.norm1.weight", "norm.weight"], "weight-standardised"),
        (&["stage1.0.rbr_dense.conv.weight"], "RepVGG"),
        (&["stage1.0.rbr_reparam.weight"], "RepVGG"),
        (&["stages.0.0.conv_kxk.conv.weight"], "RepVGG"),
        (&["features.0.0.weight", "features.1.conv.0.0.weight"], "MobileNetV2"),
        (&["conv_stem.weight", "blocks.0.0.conv_dw.weight"], "MobileNetV2"),
        (&["mobilenet_v2.conv_1x1.convolution.weight", "classifier.weight"], "MobileNetV2"),
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
    // A one-channel input.
    let mut f = torchvision();
    f.set("conv1.weight", &[4, 1, 7, 7]);
    assert_eq!(f.load().unwrap().graph.input_shape().channels, 1);
    assert_eq!(bottleneck().load().unwrap().family, "torchvision ResNeXt, Bottleneck [2], 2 groups");
}
