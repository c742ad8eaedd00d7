//! Refusals of the paper's own networks, of IResNet and of plain chains.

mod common;

use common::spoil::*;
use serde_json::{Value, json};

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
    f.set("8.bias", &[5]);
    f.config = Some(json!({ "rmnet_chain": [
        { "op": "conv2d", "stride": 1, "padding": 1 }, { "op": "relu" }, { "op": "conv2d", "stride": 2, "padding": 1 },
        { "op": "batch_norm" }, { "op": "relu6" }, { "op": "max_pool", "kernel": 3, "stride": 2, "padding": 1 },
        { "op": "global_average" }, { "op": "flatten" }, { "op": "linear" },
    ] }));
    f
}

#[test]
fn embeddings_of_another_shape() {
    refused(
        iresnet,
        &[
            (|f| f.remove("prelu.weight"), &["missing", "`prelu.weight`", "[4]", "insightface"]),
            (|f| f.remove("layer1.0.downsample.0.weight"), &["missing", "`layer1.0.downsample.0.weight`"]),
            (|f| f.set("layer2.0.prelu.weight", &[3]), &["`layer2.0.prelu.weight`", "expected shape [8]"]),
            (|f| f.set("layer2.0.bn3.bias", &[4]), &["`layer2.0.bn3.bias`", "[8]"]),
            (|f| f.set("fc.weight", &[5, 33]), &["`fc.weight`", "8 channels of a square map", "[5, 33]"]),
            (|f| f.remove("features.running_var"), &["missing", "`features.running_var`", "[5]"]),
            (
                |f| f.set("layer1.0.se.fc1.weight", &[4, 4, 1, 1]),
                &["unexpected", "`layer1.0.se.fc1.weight`", "insightface"],
            ),
        ],
    );
    let error = iresnet().load_sized(Some([12, 8])).unwrap_err().to_string();
    assert!(error.contains("12x8: expected 8x8") && error.contains("2x2, here it is 3x2"), "{error}");
    let model = iresnet().load().unwrap();
    assert_eq!((model.preprocess.size, model.graph.shape_of_output()), (rmnet::Size::new(8, 8), [5, 1, 1]));
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
            (|f| f.norm("bn1", 8), &["`bn1.bias`", "no layer of the network"]),
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
            (|f| f.set("layer1.0.2.weight", &[4, 8, 1, 1]), &["`layer1.0.2.weight`", "[any, 8, 3, 3]"]),
            (|f| f.set("layer1.0.4.weight", &[4, 4, 1, 1]), &["`layer1.0.0.weight`", "[any, 4, 1, 1]"]),
            (|f| f.set("layer1.0.1.weight", &[8]), &["unexpected", "`layer1.0.1.weight`"]),
            (|f| f.remove("layer1.0.2.bias"), &["missing", "`layer1.0.2.bias`", "[4]"]),
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

fn list(f: &mut File, at: usize, module: Value) {
    f.config.as_mut().expect("a config")["rmnet_chain"][at] = module;
}

#[test]
fn chains_that_their_list_does_not_fit() {
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
            (|f| list(f, 3, json!({ "op": "identity" })), &["missing", "`2.bias`", "[6]"]),
            (
                |f| {
                    list(f, 2, json!({ "op": "conv2d", "stride": 2, "padding": 1, "bias": false }));
                    list(f, 3, json!({ "op": "identity" }));
                },
                &["unexpected", "`3.bias`", "nn.Sequential"],
            ),
            (|f| list(f, 6, json!({ "op": "identity" })), &["`8.weight`", "[any, 384]", "[5, 6]"]),
            (|f| list(f, 8, json!({ "op": "prelu" })), &["`8.weight`", "[6]"]),
            (|f| f.set("2.weight", &[6, 3, 3, 3]), &["`2.weight`", "[any, a divisor of 4, 3, 3]"]),
            (|f| f.set("2.weight", &[5, 2, 3, 3]), &["`2.weight`", "a multiple of 2 groups"]),
            (|f| f.remove("2.weight"), &["missing", "`2.weight`"]),
            (
                |f| {
                    f.config.as_mut().expect("a config")["rmnet_chain"]
                        .as_array_mut()
                        .expect("a list")
                        .truncate(6);
                    f.remove("8.weight");
                    f.remove("8.bias");
                },
                &["`rmnet_chain`", "one value per class", "[6, 8, 8]"],
            ),
        ],
    );
}

#[test]
fn biases_and_windows_that_a_chain_must_have() {
    fn kernel(f: &mut File, kernel: Value) {
        list(f, 0, json!({ "op": "conv2d", "stride": 1, "padding": 1, "kernel": kernel }));
    }
    refused(
        sequential,
        &[
            (|f| f.remove("0.bias"), &["missing", "`0.bias`", "[4]"]),
            (|f| f.remove("8.bias"), &["missing", "`8.bias`", "[5]"]),
            // Then the batch norm alone says that the chain has shifts.
            (
                |f| {
                    f.remove("0.bias");
                    f.remove("8.bias");
                },
                &["missing", "`0.bias`"],
            ),
            (|f| list(f, 8, json!({ "op": "linear", "bias": false })), &["unexpected", "`8.bias`"]),
            (|f| f.set("0.weight", &[4, 3, 3, 2]), &["`0.weight`", "[any, 3, 3, 3]", "[4, 3, 3, 2]"]),
            (|f| f.set("0.weight", &[4, 3, 5, 5]), &["`0.weight`", "[any, 3, 3, 3]"]),
            (|f| f.set("0.weight", &[4, 3, 2, 2]), &["`0.weight`", "[any, 3, 3, 3]"]),
            (|f| kernel(f, json!([3, 2])), &["`0.weight`", "[any, 3, 3, 2]", "[4, 3, 3, 3]"]),
            (|f| kernel(f, json!(3)), &["`rmnet_chain.0`"]),
        ],
    );
    // What the list says is not asked again.
    let mut f = sequential();
    f.set("0.weight", &[4, 3, 3, 2]);
    kernel(&mut f, json!([3, 2]));
    list(&mut f, 8, json!({ "op": "linear", "bias": false }));
    f.remove("8.bias");
    assert!(f.load().is_ok());
    // No shift anywhere is a network too.
    let mut f = sequential();
    list(&mut f, 3, json!({ "op": "identity" }));
    f.tensors.retain(|name, _| !name.ends_with(".bias") && !name.starts_with("3."));
    assert!(f.load().is_ok());
    f.set("0.bias", &[4]);
    let error = f.load().unwrap_err().to_string();
    assert!(error.contains("missing tensor `2.bias`"), "{error}");
}
