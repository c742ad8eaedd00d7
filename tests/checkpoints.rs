//! Every fixture is recognised for what it is, with the size, labels and preprocessing of its configs. What it computes is
//! tested in `oracle.rs`.

use rmnet::checkpoint::Checkpoint;
use rmnet::graph::Op;
use rmnet::models::{self, Model, Naming, OutputKind};
use rmnet::preprocess::{Preprocess, Resize};
use rmnet::{LoadOptions, Size};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Names of the blocks' outputs are nodes, and so are those of the sums; without an activation after it the sum is the output.
fn blocks_are_nodes(model: &Model) {
    let find = |name: &str| {
        let value = model.graph.find(name).unwrap_or_else(|| panic!("no node {name}"));
        &model.graph.node(value).op
    };
    for block in &model.blocks {
        let output = find(block);
        assert!(
            matches!(output, Op::Add(_)) || matches!(find(&format!("{block}.add")), Op::Add(_)),
            "{block}"
        );
    }
}

#[test]
fn every_fixture_is_recognised() {
    use Naming::{HuggingFace, InsightFace, Original, RmNet, Saved, Sequential, Timm, Torchvision};
    let cases = [
        ("tv_resnet18", Torchvision, "torchvision ResNet, BasicBlock [2, 2, 2, 2]"),
        ("tv_resnet34", Torchvision, "torchvision ResNet, BasicBlock [3, 4, 6, 3]"),
        ("tv_basic_odd_widths", Torchvision, "torchvision ResNet, BasicBlock [2, 1, 2, 1]"),
        ("tv_basic_wide_stem", Torchvision, "torchvision ResNet, BasicBlock [2, 1, 1, 1]"),
        ("tv_resnet50", Torchvision, "torchvision ResNet, Bottleneck [3, 4, 6, 3]"),
        ("tv_bottleneck", Torchvision, "torchvision ResNet, Bottleneck [1, 2, 1, 1]"),
        ("tv_resnext", Torchvision, "torchvision ResNeXt, Bottleneck [2, 2, 2, 2], 4 groups"),
        ("tv_resnext_odd_groups", Torchvision, "torchvision ResNeXt, Bottleneck [1, 2, 1, 1], 3 groups"),
        ("tv_wide_resnet", Torchvision, "torchvision ResNet, Bottleneck [2, 2, 2, 1]"),
        ("tv_resnet18_f16", Torchvision, "torchvision ResNet, BasicBlock [2, 2, 2, 2]"),
        ("tv_resnet50_bf16", Torchvision, "torchvision ResNet, Bottleneck [2, 2, 2, 2]"),
        ("tv_resnet18_module", Torchvision, "torchvision ResNet, BasicBlock [1, 2, 1, 1]"),
        ("timm_resnet18", Timm, "timm ResNet, BasicBlock [2, 2, 2, 2]"),
        ("timm_resnet18_wide_stem", Timm, "timm ResNet, BasicBlock [2, 2, 2, 2]"),
        ("timm_resnet50", Timm, "timm ResNet, Bottleneck [3, 4, 6, 3]"),
        ("timm_resnext50", Timm, "timm ResNeXt, Bottleneck [3, 4, 6, 3], 4 groups"),
        ("timm_resnet18d", Timm, "timm ResNet, BasicBlock [2, 2, 2, 2], deep stem, average-pool shortcuts"),
        ("timm_resnet26t", Timm, "timm ResNet, Bottleneck [2, 2, 2, 2], deep stem, average-pool shortcuts"),
        ("timm_resnet50s", Timm, "timm ResNet, Bottleneck [1, 2, 1, 1], deep stem"),
        ("timm_seresnet18", Timm, "timm SE-ResNet, BasicBlock [2, 1, 2, 1]"),
        (
            "timm_seresnext26d",
            Timm,
            "timm SE-ResNeXt, Bottleneck [2, 2, 2, 2], 3 groups, deep stem, average-pool shortcuts",
        ),
        (
            "timm_resnetrs50",
            Timm,
            "timm SE-ResNet, Bottleneck [1, 1, 2, 1], deep stem, strided convolution for a max-pool, average-pool \
             shortcuts",
        ),
        (
            "timm_test_resnet",
            Timm,
            "timm ResNet, BasicBlock or Bottleneck [1, 1, 1, 1], deep stem, average-pool shortcuts",
        ),
        ("tv_other_steps", Torchvision, "torchvision ResNet, BasicBlock [1, 2, 1, 1]"),
        ("tv_dilated", Torchvision, "torchvision ResNet, Bottleneck [1, 1, 2, 2]"),
        ("tv_stride_in_first", Torchvision, "torchvision ResNet, Bottleneck [1, 2, 1, 1]"),
        ("tv_other_functions", Torchvision, "torchvision ResNet, BasicBlock [1, 1, 1, 1]"),
        ("tv_prelu", Torchvision, "torchvision ResNet, BasicBlock [1, 1, 1, 1]"),
        ("timm_resnetv2_18", Timm, "timm ResNetV2, BasicBlock [2, 2, 2, 2]"),
        ("timm_resnetv2_50", Timm, "timm ResNetV2, Bottleneck [2, 2, 2, 1]"),
        (
            "timm_resnetv2_50d",
            Timm,
            "timm ResNetV2, Bottleneck [1, 2, 1, 1], deep stem, average-pool shortcuts",
        ),
        (
            "timm_resnetv2_50t",
            Timm,
            "timm ResNetV2, Bottleneck [1, 1, 2, 1], deep stem, average-pool shortcuts",
        ),
        ("hf_basic", HuggingFace, "Hugging Face ResNet, BasicBlock [2, 2, 2, 2]"),
        ("hf_bottleneck", HuggingFace, "Hugging Face ResNet, Bottleneck [2, 2, 2, 2]"),
        ("hf_bottleneck_stride_first", HuggingFace, "Hugging Face ResNet, Bottleneck [1, 2, 2, 1]"),
        ("hf_downsample_first_stage", HuggingFace, "Hugging Face ResNet, BasicBlock [2, 1, 2, 1]"),
        ("cifar_resnet20", Torchvision, "torchvision CIFAR ResNet, BasicBlock [3, 3, 3]"),
        ("cifar_resnet14_odd_widths", Torchvision, "torchvision CIFAR ResNet, BasicBlock [2, 2, 2]"),
        ("finetuned_resnet18", Saved, "torchvision ResNet, BasicBlock [2, 2, 2, 2]"),
        ("iresnet", InsightFace, "insightface IResNet [2, 2, 2, 2], an embedding of 24 values"),
        ("iresnet_odd", InsightFace, "insightface IResNet [1, 2, 1, 1], an embedding of 10 values"),
        ("rmnext", RmNet, "RMNet repository RMNeXt [1, 2, 1, 1], 4 groups"),
        ("rmnext_cifar", RmNet, "RMNet repository RMNeXt [1, 1, 1], 2 groups"),
        ("rmrepvgg", RmNet, "RMNet repository RM-RepVGG, 9 blocks, 3 of them reserving"),
        ("rmrepvgg_cifar", RmNet, "RMNet repository RM-RepVGG, 6 blocks, 2 of them reserving"),
        (
            "rmrepvgg_se",
            RmNet,
            "RMNet repository RM-RepVGG with squeeze-and-excitation, 5 blocks, 1 of them reserving",
        ),
        ("rmnet_cifar", RmNet, "RMNet repository CIFAR ResNet, BasicBlock [1, 2, 1]"),
        ("rmnet_masked", RmNet, "RMNet repository ResNet, BasicBlock [2, 2, 1], masked"),
        ("rmnet_preact", RmNet, "RMNet repository pre-activation CIFAR ResNet, BasicBlock [1, 2, 2, 1]"),
        ("converted_basic", RmNet, "RMNet repository converted ResNet, BasicBlock [1, 2, 1, 1]"),
        ("converted_bottleneck", RmNet, "RMNet repository converted ResNet, Bottleneck [1, 2, 1, 1]"),
        ("chain_rmnet", Sequential, "nn.Sequential chain of 10 convolutions"),
        ("chain_rmnext", Sequential, "nn.Sequential chain of 11 convolutions"),
        ("chain_pruned", Sequential, "nn.Sequential chain of 12 convolutions"),
        ("tv_mobilenet_v2", Torchvision, "torchvision MobileNetV2, blocks [1, 2, 3, 4, 3, 3, 1]"),
        ("tv_mobilenet_v2_odd_widths", Torchvision, "torchvision MobileNetV2, blocks [1, 2, 3, 4, 3, 3, 1]"),
        ("timm_mobilenet_v2", Timm, "timm MobileNetV2, blocks [1, 2, 3, 4, 3, 3, 1]"),
        ("timm_mobilenet_v2_110d", Timm, "timm MobileNetV2, blocks [1, 3, 4, 5, 4, 4, 1]"),
        ("hf_mobilenet_v2", HuggingFace, "Hugging Face MobileNetV2, blocks [1, 2, 3, 4, 3, 3, 1]"),
        ("hf_mobilenet_v2_odd", HuggingFace, "Hugging Face MobileNetV2, blocks [1, 2, 3, 4, 3, 3, 1]"),
        ("hf_mobilenet_v2_dilated", HuggingFace, "Hugging Face MobileNetV2, blocks [1, 2, 3, 4, 3, 3, 1]"),
        ("repvgg", Original, "original RepVGG, blocks [2, 3, 3, 1]"),
        ("repvgg_groups_deployed", Original, "original RepVGG, blocks [2, 3, 3, 1], 4 groups, deployed"),
        ("repvgg_squeeze", Original, "original RepVGG, blocks [1, 2, 2, 1]"),
        ("timm_repvgg_b1g4", Timm, "timm RepVGG, blocks [4, 6, 16, 1], 4 groups"),
        ("timm_repvgg_a0_deployed", Timm, "timm RepVGG, blocks [2, 4, 14, 1], deployed"),
    ];
    for (name, naming, family) in cases {
        let model = Model::open(fixture(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((model.naming, model.family.as_str()), (naming, family), "{name}");
        blocks_are_nodes(&model);
    }
    // No folder is left out of the table.
    let folders = std::fs::read_dir(fixture("")).unwrap().filter_map(|e| {
        let path = e.unwrap().path();
        path.join("model.safetensors").exists().then_some(path)
    });
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(cases.iter().any(|c| c.0 == name), "{name} is not in the table");
    }
}

#[test]
fn the_bundled_model_loads_with_its_labels_and_preprocessing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/digits");
    let model = Model::open(&folder).unwrap();
    assert_eq!(model.labels.unwrap()[7], "7");
    assert_eq!(model.graph.input_shape().size(), [32, 32]);
    assert_eq!(model.preprocess.resize, Resize::Shortest(32));
}

#[test]
fn sizes_labels_and_preprocessing_come_from_the_configs() {
    let timm = Model::open(fixture("timm_resnet18")).unwrap();
    assert_eq!(timm.graph.input_shape().size(), [64, 64]);
    assert_eq!((timm.preprocess.size, timm.preprocess.resize), (Size::new(64, 64), Resize::Shortest(67)));
    assert_eq!(timm.labels, None);
    let odd = Model::load(
        &Checkpoint::open(fixture("timm_resnet18_wide_stem")).unwrap(),
        &LoadOptions::default().size([45, 37]),
    )
    .unwrap();
    assert_eq!(
        (odd.preprocess.size, odd.preprocess.resize),
        (Size::new(45, 37), Resize::Cover(Size::new(47, 38)))
    );

    let hf = Model::open(fixture("hf_bottleneck")).unwrap();
    assert_eq!((hf.preprocess.size, hf.preprocess.resize), (Size::new(64, 64), Resize::Shortest(73)));
    assert_eq!(hf.labels.unwrap()[3], "class 3");

    let mobilenet = Model::open(fixture("hf_mobilenet_v2")).unwrap();
    let expected =
        Preprocess { size: Size::new(64, 64), resize: Resize::Shortest(73), ..Preprocess::mobilenet() };
    assert_eq!(mobilenet.preprocess, Preprocess { crop_pct: 64.0 / 73.0, ..expected.clone() });
    // Its processor's file left out: the library's own, at the size of config.json.
    let config = std::fs::read_to_string(fixture("hf_mobilenet_v2/config.json")).unwrap();
    let tensors = std::fs::read(fixture("hf_mobilenet_v2/model.safetensors")).unwrap();
    let alone = models::load(&Checkpoint::from_bytes(tensors, Some(&config)).unwrap(), None).unwrap();
    assert_eq!(alone.preprocess, expected);

    let tv = Model::open(fixture("tv_resnet18")).unwrap();
    assert_eq!(tv.preprocess, Preprocess::imagenet());
    let larger = Model::load(
        &Checkpoint::open(fixture("tv_resnet18")).unwrap(),
        &LoadOptions::default().size([192, 192]),
    )
    .unwrap();
    assert_eq!(larger.preprocess.resize, Resize::Shortest(219));
    let cifar = Model::open(fixture("cifar_resnet20")).unwrap();
    assert_eq!(cifar.preprocess, Preprocess::cifar());

    // The linear layer over the last map, 3x3 after four strides, fixes the size.
    let face = Model::open(fixture("iresnet")).unwrap();
    assert_eq!(
        (face.preprocess.size, face.preprocess.resize),
        (Size::new(48, 48), Resize::Exact(Size::new(48, 48)))
    );
    assert_eq!((face.preprocess.mean, face.preprocess.std), (vec![0.5; 3], vec![0.5; 3]));
    assert_eq!((face.output, cifar.output), (OutputKind::Embedding, OutputKind::Logits));
}
