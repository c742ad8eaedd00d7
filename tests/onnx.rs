//! ONNX models: their structure, and what ONNX Runtime computes from them against PyTorch's f64 logits and the f64 oracle.
//!
//! `RMNET_ONNX_PYTHON` names a Python with `tests/onnx/requirements.txt` installed; `tests/all.sh` makes one. The tests that
//! need it are ignored by default, so that they never pass without it.
#![cfg(feature = "onnx")]

mod common;

use common::random::{self, Builder};
use common::{difference, fixtures};
use prost::Message;
use rmnet::graph::{Activation, Block, BlockWeight, Conv2d, Graph, MaxPool, Op, Shape, ValueId, Weight};
use rmnet::models::OutputKind;
use rmnet::models::saved::About;
use rmnet::onnx::{self, OnnxError, proto};
use rmnet::preprocess::Preprocess;
use rmnet::rewrite::{self, Form, Mode};
use rmnet::tensor::Tensor;
use rmnet::{OutputChoice, reference, verify};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;

fn about() -> About {
    About::new("a network", Preprocess::imagenet())
}

fn written(graph: &Graph, about: &About) -> proto::ModelProto {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    onnx::write(&path, graph, about).unwrap();
    assert!(std::fs::read_dir(folder.path()).unwrap().count() == 1, "no partial file is left");
    proto::ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap()
}

fn literal(graph: &Graph) -> Graph {
    rewrite::for_mode(graph, Mode::Literal).unwrap().graph
}

/// How often each operator occurs.
fn operators(graph: &proto::GraphProto) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    graph.node.iter().for_each(|n| *counts.entry(n.op_type.as_str()).or_default() += 1);
    counts
}

/// Every name is given once, and before it is read.
fn check_names(graph: &proto::GraphProto) {
    let mut known: HashSet<&str> = HashSet::new();
    let given = graph.initializer.iter().map(|t| &t.name).chain(graph.input.iter().map(|v| &v.name));
    given.for_each(|name| assert!(known.insert(name), "{name} is given twice"));
    for node in &graph.node {
        node.input.iter().for_each(|name| assert!(known.contains(name.as_str()), "{name} is not given"));
        node.output.iter().for_each(|name| assert!(known.insert(name), "{name} is given twice"));
    }
    graph.output.iter().for_each(|v| assert!(known.contains(v.name.as_str()), "{}", v.name));
}

#[test]
fn a_resnet_is_a_plain_chain_with_all_its_weights() {
    for name in fixtures::names() {
        let model = fixtures::load(&name).model;
        let graph = literal(&model.graph);
        let about = About::model(&model);
        let written = written(&graph, &about);
        assert_eq!(written.opset_import[0].version, onnx::OPSET, "{name}");
        let properties: BTreeMap<_, _> =
            written.metadata_props.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
        assert_eq!(properties["family"], about.family, "{name}");
        let preprocess: Preprocess = serde_json::from_str(properties["preprocess"]).unwrap();
        assert_eq!(preprocess, about.preprocess, "{name}");
        let labels = properties.get("labels").map(|l| serde_json::from_str::<Vec<String>>(l).unwrap());
        assert_eq!(labels, about.labels, "{name}");

        let onnx = written.graph.unwrap();
        check_names(&onnx);
        let counts = operators(&onnx);
        // None but those that were kept, and what adds up a mean that no window expresses.
        let kept = graph.nodes().iter().filter(|n| matches!(n.op, Op::Add(_))).count();
        let pooled = graph.convs().filter(|(_, c)| c.as_plain().is_none()).count();
        assert_eq!(counts.get("Add").copied().unwrap_or(0), kept + pooled, "{name}: {counts:?}");
        assert_eq!(counts["Conv"], graph.convs().count() + pooled, "{name}: {counts:?}");
        let tensor = |name: &str| onnx.initializer.iter().find(|t| t.name == name).unwrap();
        for (node, conv) in graph.convs() {
            let Some((weight, _)) = conv.as_plain() else { continue };
            let found = tensor(&format!("{}.weight", node.name));
            assert_eq!(found.dims, weight.shape().map(|d| d as i64), "{name} {}", node.name);
            let bytes = weight.rows_f32(0..weight.shape()[0]).into_iter().flat_map(f32::to_le_bytes);
            assert!(found.raw_data.iter().copied().eq(bytes), "{name} {}", node.name);
        }
    }
}

#[test]
fn a_model_over_protobufs_limit_is_refused_before_anything_is_written() {
    let mut graph = Graph::new(Shape { channels: 16384, height: 4, width: 4 });
    // Nothing of it is formed: 9.7 GB.
    let dirac = Block { out: 0..16384, input: 0..16384, weight: BlockWeight::Dirac };
    let window =
        Conv2d { kernel: [3, 3], padding: [1, 1], padding_end: [1, 1], blocks: vec![dirac], ..one(16384) };
    graph.push("huge", Op::Conv2d(window), &[ValueId::INPUT]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let refused = onnx::write(&folder.path().join("model.onnx"), &graph, &about()).unwrap_err();
    let text = refused.to_string();
    let OnnxError::TooLarge { bytes, largest } = refused else { panic!("{text}") };
    assert_eq!(largest[0], ("huge.weight".into(), 16384 * 16384 * 9 * 4));
    assert!(bytes > largest[0].1 && text.contains("huge.weight (9663676416 bytes)"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/model.onnx");
    let refused = onnx::write(&path, &special(), &about()).unwrap_err().to_string();
    assert!(refused.contains("missing/model.onnx"), "{refused}");
}

/// A 1x1 identity of so many channels.
fn one(channels: usize) -> Conv2d {
    Conv2d::pointwise_function(channels, Activation::Identity)
}

/// What random networks have none of: values over 6, several activations in a convolution, gates for some channels, windows that are padded
/// on one side, dilation, unequal sides, a mean in a window, names that are taken.
fn special() -> Graph {
    let mut b = Builder::new(5, Shape { channels: 3, height: 17, width: 14 });
    let mut values =
        |n: usize, scale: f64| -> Vec<f64> { b.rng.values(n).iter().map(|v| v * scale).collect() };
    let mut dense = |out: usize, per_group: usize, [h, w]: [usize; 2], groups: usize| {
        let n = out * per_group * h * w;
        let scale = 1.0 / ((per_group * h * w) as f64).sqrt();
        let weight = values(n, scale).into_iter().map(|v| v as f32).collect();
        let weight = Weight::new(Tensor::from_f32(vec![out, per_group, h, w], weight));
        Conv2d { bias: values(out, 8.0), ..Conv2d::dense(weight, groups, [1, 1], [0, 0]) }
    };
    let prelu = |n: usize| Activation::PRelu((0..n).map(|i| 0.3 * i as f64 - 0.4).collect());
    let same = Conv2d {
        stride: [2, 1],
        padding: [0, 1],
        padding_end: [1, 2],
        activation: vec![
            (0..2, Activation::Identity),
            (2..5, Activation::Relu6),
            (5..8, prelu(3)),
            (8..8, Activation::Sigmoid),
            (8..12, Activation::Relu),
        ],
        ..dense(12, 3, [3, 4], 1)
    };
    let dilated = Conv2d {
        dilation: [2, 1],
        padding: [2, 1],
        padding_end: [2, 1],
        activation: vec![(0..4, Activation::Relu6), (4..8, Activation::Relu)],
        ..dense(8, 6, [3, 3], 2)
    };
    let mixed = Conv2d {
        activation: vec![(0..3, Activation::Sigmoid), (3..6, prelu(3)), (6..8, Activation::Sigmoid)],
        ..dense(8, 8, [1, 1], 1)
    };
    // `[mean of x ; h]`, twice over one of the channels.
    let inner = Conv2d { stride: [2, 2], padding: [1, 1], padding_end: [1, 1], ..dense(5, 8, [3, 3], 1) };
    let mean = |out, input| Block { out, input, weight: BlockWeight::AvgPool2x2 };
    let dense_rows = Block { out: 8..13, ..inner.blocks[0].clone() };
    let diagonal = Block { out: 0..2, input: 3..5, weight: BlockWeight::Diagonal([0.5, -2.0].into()) };
    let pooled = Conv2d {
        out_channels: 13,
        blocks: vec![mean(0..8, 0..8), dense_rows, mean(12..13, 2..3), diagonal],
        bias: vec![0.25; 13],
        activation: vec![(0..8, Activation::Identity), (8..13, Activation::Relu)],
        ..inner
    };
    let clipped = Conv2d { activation: vec![(0..4, Activation::Relu6)], ..dense(4, 13, [1, 1], 1) };
    let gates = Conv2d { activation: vec![(0..4, Activation::Sigmoid)], ..dense(4, 4, [1, 1], 1) };
    let head = dense(3, 13, [1, 1], 1);

    let g = &mut b.graph;
    let mut push = |name: &str, op, inputs: &[ValueId]| g.push(name, op, inputs).unwrap();
    let x = push("logits", Op::Conv2d(same), &[ValueId::INPUT]);
    let x = push("logits.bias", Op::Conv2d(dilated), &[x]);
    let pool = MaxPool { kernel: [3, 2], stride: [1, 2], padding: [1, 0] };
    let x = push("pool", Op::MaxPool(pool), &[x]);
    let x = push("mixed", Op::Conv2d(mixed), &[x]);
    let x = push("pooled", Op::Conv2d(pooled), &[x]);
    let c = push("clipped", Op::Conv2d(clipped), &[x]);
    let c = push("average", Op::GlobalAverage, &[c]);
    let gate = push("gates", Op::Conv2d(gates), &[c]);
    let x = push("gated", Op::Gate { first: 7 }, &[x, gate]);
    let part = push("part", Op::Slice(2..6), &[x]);
    let part = push("gated_part", Op::Gate { first: 0 }, &[part, gate]);
    let sum = push("sum", Op::Add(prelu(4)), &[part, part]);
    let side = push("side", Op::GlobalAverage, &[sum]);
    let x = push("average_x", Op::GlobalAverage, &[x]);
    let x = push("gated_average", Op::Gate { first: 9 }, &[x, side]);
    push("fc", Op::Conv2d(head), &[x]);
    b.graph
}

#[test]
fn taken_names_are_numbered() {
    let onnx = written(&special(), &about()).graph.unwrap();
    check_names(&onnx);
    let counts = operators(&onnx);
    for (operator, count) in [("PRelu", 4), ("Min", 2), ("Clip", 1), ("Concat", 3), ("AveragePool", 1)] {
        assert_eq!(counts.get(operator), Some(&count), "{operator}: {counts:?}");
    }
}

/// A model in a folder, and what it is to compute.
struct Case {
    name: String,
    nodes: usize,
    bytes: u64,
    expected: Vec<f64>,
}

fn case(folder: &Path, name: &str, graph: &Graph, input: &[f32], expected: Vec<f64>) -> Case {
    let path = folder.join(format!("{}.onnx", name.replace('/', "_")));
    let output = if name.starts_with("features") { OutputKind::Features } else { OutputKind::Logits };
    onnx::write(&path, graph, &About { output, ..about() }).unwrap();
    let raw: Vec<u8> = input.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path.with_extension("input"), raw).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let nodes = proto::ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap().node.len();
    Case { name: name.into(), nodes, bytes: bytes.len() as u64, expected }
}

/// Runs all cases of a folder in ONNX Runtime, at once and image by image.
fn judge(folder: &Path, cases: &[Case]) {
    let python = std::env::var("RMNET_ONNX_PYTHON").expect("RMNET_ONNX_PYTHON: a Python with onnxruntime");
    let run =
        Command::new(python).arg(fixtures::root().join("tests/onnx/check.py")).arg(folder).output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}{failed}");
    print!("{said}");
    for c in cases {
        let mut line = format!("{:<44} {:>4} nodes {:>9} bytes", c.name, c.nodes, c.bytes);
        for kind in ["batch", "single", "openvino"] {
            let path = folder.join(format!("{}.{kind}", c.name.replace('/', "_")));
            let raw = match std::fs::read(&path) {
                Err(_) if kind == "openvino" => continue,
                raw => raw.unwrap(),
            };
            let found = raw.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b)));
            let (_, relative) = difference(&found.collect::<Vec<_>>(), &c.expected);
            line += &format!(" {kind} {relative:.1e}");
            assert!(relative < verify::F32_LOGITS_BOUND, "{line}");
        }
        println!("{line}");
    }
}

#[test]
#[ignore = "needs RMNET_ONNX_PYTHON, see tests/all.sh"]
fn onnx_runtime_gives_pytorchs_logits() {
    let folder = tempfile::tempdir().unwrap();
    let cases: Vec<Case> = fixtures::names()
        .iter()
        .map(|name| {
            let f = fixtures::load(name);
            case(folder.path(), name, &literal(&f.model.graph), &f.input, f.logits)
        })
        .collect();
    judge(folder.path(), &cases);
}

#[test]
#[ignore = "needs RMNET_ONNX_PYTHON, see tests/all.sh"]
fn onnx_runtime_gives_the_oracles_logits() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = vec![];
    let mut add = |name: String, graph: &Graph, input: &[f32]| {
        let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
        cases.push(case(folder.path(), &name, graph, input, reference::run(graph, &wide, 2)));
    };
    let special = special();
    add("special".into(), &special, &random::images(&special, 2, 1));
    for seed in 0..24 {
        let graph = random::network(seed);
        let input = random::images(&graph, 2, seed);
        // As it is, with batch norms and Adds; without; and with neighbouring 1x1 convolutions merged.
        add(format!("{seed}_original"), &graph, &input);
        for merge in [false, true] {
            let form = Form { mode: Mode::Literal, merge };
            let name = format!("{seed}_literal{}", if merge { "_merged" } else { "" });
            add(name, &rewrite::for_mode(&graph, form).unwrap().graph, &input);
        }
    }
    judge(folder.path(), &cases);
}

/// The values that the original libraries have at the end of blocks, `[N, C, H, W]`, and pooled features, `[N, C]`.
#[test]
#[ignore = "needs RMNET_ONNX_PYTHON, see tests/all.sh"]
fn onnx_runtime_gives_features() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = vec![];
    for fixture in ["tv_resnet18", "tv_mobilenet_v2", "timm_resnetv2_18", "rmrepvgg", "hf_basic"] {
        let f = fixtures::load(&format!("tests/fixtures/{fixture}"));
        let mut add = |choice: OutputChoice, expected: Option<&Vec<f64>>| {
            let cut = choice.of(&f.model).unwrap();
            let input: Vec<f64> = f.input.iter().map(|v| f64::from(*v)).collect();
            let expected = expected.cloned().unwrap_or_else(|| reference::run(&cut.graph, &input, f.batch));
            let name = format!("features of {fixture}, {choice}");
            cases.push(case(folder.path(), &name, &literal(&cut.graph), &f.input, expected));
        };
        add(OutputChoice::Features, None);
        for (block, expected) in &f.blocks {
            add(OutputChoice::Layer(block.clone()), Some(expected));
        }
    }
    judge(folder.path(), &cases);
}

/// The output of a map is the map, under a name of its own.
#[test]
fn a_map_is_written_as_it_is() {
    let f = fixtures::load("tests/fixtures/tv_resnet18");
    let sizes = |choice: &str| {
        let cut = choice.parse::<OutputChoice>().unwrap().of(&f.model).unwrap().into_owned();
        let onnx = written(&literal(&cut.graph), &About { output: cut.output, ..about() }).graph.unwrap();
        check_names(&onnx);
        let [made] = onnx.output.as_slice() else { panic!("{} outputs", onnx.output.len()) };
        let dim = made.r#type.clone().unwrap().tensor_type.unwrap().shape.unwrap().dim;
        let size = |d: &proto::Dimension| match d.size {
            Some(proto::Size::Value(n)) => n,
            _ => 0,
        };
        (made.name.clone(), dim.iter().map(size).collect::<Vec<_>>())
    };
    assert_eq!(sizes("logits").0, "logits");
    assert_eq!(sizes("features"), ("features".into(), vec![0, 24]));
    assert_eq!(sizes("layer1.1"), ("features".into(), vec![0, 8, 16, 16]));
    assert_eq!(sizes("input"), ("features".into(), vec![0, 3, 64, 64]));
}
