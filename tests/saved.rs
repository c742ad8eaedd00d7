//! The block form and the literal form, written and read back bit for bit; and what is refused.

mod common;

use common::{difference, fixtures, random};
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::{Block, BlockWeight, Graph, Op, Shape, ValueId};
use rmnet::models::saved::{self, About, METADATA_KEY};
use rmnet::models::{self, Model};
use rmnet::plan::{self, Plan, PlanOptions};
use rmnet::reference;
use rmnet::rewrite::{self, Mode};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::HashMap;
use std::path::Path;

fn save(model: &Model, mode: Mode, path: &Path) -> Plan {
    let graph = rewrite::for_mode(&model.graph, mode).unwrap().graph;
    saved::save(path, &graph, &About::model(model)).unwrap();
    plan::compile(&graph, &PlanOptions::default()).unwrap()
}

/// Everything that decides what a device computes: formulas, and the bits of every weight and bias.
fn bits(plan: &Plan) -> Vec<(String, Vec<Vec<u32>>)> {
    let to_bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect();
    plan.dispatches
        .iter()
        .map(|d| {
            let mut values: Vec<Vec<u32>> = vec![];
            if let Some(w) = &d.weights {
                values.extend(w.k_ranges.iter().map(|k| to_bits(k.to_f32())));
                values.push(to_bits(w.bias.clone()));
                values.push(to_bits(w.slopes.clone()));
                let prologues = w.prologues.iter().flatten();
                values
                    .extend(prologues.flat_map(|(scale, shift)| [scale, shift]).map(|v| to_bits(v.clone())));
            }
            (plan.formula(d), values)
        })
        .collect()
}

#[test]
fn both_forms_load_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for name in fixtures::names() {
        let model = fixtures::load(&name).model;
        for mode in [Mode::Structured, Mode::Literal] {
            let path = folder.path().join("saved.safetensors");
            let expected = save(&model, mode, &path);
            let loaded = models::load(&Checkpoint::open(&path).unwrap(), None).unwrap();
            assert_eq!(loaded.preprocess, model.preprocess, "{name}");
            assert_eq!(loaded.labels, model.labels, "{name}");
            assert_eq!(loaded.output, model.output, "{name}");
            let found = plan::compile(&loaded.graph, &PlanOptions::default()).unwrap();
            assert!(bits(&found) == bits(&expected), "{name} {mode}: another plan or other weights");
        }
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().count() == 1, "no partial file is left");
}

/// TensorFlow's padding follows from the size of the input, also once the file holds nothing but a chain.
#[test]
fn a_saved_chain_pads_for_the_size_it_is_loaded_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    for name in ["hf_mobilenet_v2", "hf_mobilenet_v2_odd", "hf_mobilenet_v2_dilated"] {
        let original = Checkpoint::open(fixtures::root().join("tests/fixtures").join(name)).unwrap();
        for mode in [Mode::Structured, Mode::Literal] {
            save(&models::load(&original, None).unwrap(), mode, &path);
            let chain = Checkpoint::open(&path).unwrap();
            for size in [[64, 64], [45, 38], [33, 97]] {
                let expected = models::load(&original, Some(size)).unwrap().graph;
                let found = models::load(&chain, Some(size)).unwrap().graph;
                let input = random::images(&expected, 1, 7).iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
                // Weights are rounded to f32 in the file; another padding is off by far more.
                let expected = reference::run(&expected, &input, 1);
                let (_, off) = difference(&reference::run(&found, &input, 1), &expected);
                assert!(off < 1e-5, "{name} {mode} {size:?}: {off:e}");
            }
        }
    }
}

/// Average-pool shortcuts are taps in the literal form, which at an odd edge are another function.
#[test]
fn a_saved_chain_takes_means_at_the_size_it_is_loaded_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    let again = folder.path().join("again.safetensors");
    for name in ["timm_resnet18d", "timm_resnet26t", "timm_resnetv2_50d", "timm_seresnext26d"] {
        let original = Checkpoint::open(fixtures::root().join("tests/fixtures").join(name)).unwrap();
        let load = |size| models::load(&original, Some(size)).unwrap();
        for (mode, size) in
            [(Mode::Structured, [64, 64]), (Mode::Literal, [64, 64]), (Mode::Literal, [72, 72])]
        {
            save(&load(size), mode, &path);
            // The mark outlives a second writing.
            save(&models::load(&Checkpoint::open(&path).unwrap(), None).unwrap(), Mode::Literal, &again);
            for path in [&path, &again] {
                let chain = Checkpoint::open(path).unwrap();
                for size in [[64, 64], [65, 65], [72, 72], [96, 80]] {
                    let expected = load(size).graph;
                    let input: Vec<f64> =
                        random::images(&expected, 1, 7).iter().map(|v| f64::from(*v)).collect();
                    let expected = reference::run(&expected, &input, 1);
                    let found = models::load(&chain, Some(size)).unwrap().graph;
                    let (_, off) = difference(&reference::run(&found, &input, 1), &expected);
                    assert!(off < 1e-5, "{name} {mode} {size:?}: {off:e}");
                }
            }
        }
    }
}

/// Means in too few channels to be told from taps.
#[test]
fn means_that_stay_taps_are_refused_at_odd_sizes() {
    let mut b = random::Builder::new(1, Shape { channels: 3, height: 8, width: 8 });
    let conv = b.conv(ValueId::INPUT, 8, 3, 2, 1);
    let Op::Conv2d(own) = b.graph.node(b.graph.nodes()[conv.index()].inputs[0]).op.clone() else {
        unreachable!("a convolution with its batch norm")
    };
    let mut conv = own;
    for out in [1, 4] {
        conv.blocks.push(Block { out: out..out + 1, input: 0..1, weight: BlockWeight::AvgPool2x2 });
    }
    conv.blocks[0].out = 5..8;
    let BlockWeight::Dense { weight, .. } = &mut conv.blocks[0].weight else { unreachable!("dense") };
    *weight = weight.selected(&[5, 6, 7], &[0, 1, 2]);
    let mut graph = Graph::new(b.graph.input_shape());
    graph.push("pooled", Op::Conv2d(conv), &[ValueId::INPUT]).unwrap();
    assert!(graph.resized(9, 8).is_ok(), "means are means at every size");
    let literal = rewrite::literal(&graph).unwrap();
    assert!(literal.resized(10, 8).is_ok());
    let error = literal.resized(9, 8).unwrap_err().to_string();
    assert!(error.contains("pooled") && error.contains("even height and width, as"), "{error}");
    assert!(error.contains("found 9x8"), "{error}");
}

#[test]
fn a_network_of_one_size_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    save(&fixtures::load("tests/fixtures/iresnet").model, Mode::Structured, &path);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let error = models::load(&checkpoint, Some([64, 64])).unwrap_err().to_string();
    assert!(error.contains("64x64: expected 48x48"), "{error}");
    assert!(models::load(&checkpoint, Some([47, 48])).is_ok(), "the last map is the same");
}

#[test]
fn the_literal_form_is_plain_convolutions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("literal.safetensors");
    let model = fixtures::load("tests/fixtures/tv_resnet18").model;
    save(&model, Mode::Literal, &path);
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for name in file.names() {
        let layer = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias"));
        assert!(layer.is_some_and(|l| !l.contains("downsample")), "{name}");
    }
}

/// Rewrites the chain's JSON, or drops a tensor, and gives the refusal.
fn refusal(change: impl Fn(&mut String, &mut Vec<String>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    save(&fixtures::load("tests/fixtures/tv_resnet18").model, Mode::Structured, &path);
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut chain = header.metadata().as_ref().unwrap()[METADATA_KEY].clone();
    let mut names: Vec<String> = file.names().iter().map(ToString::to_string).collect();
    change(&mut chain, &mut names);
    let views = names.iter().map(|n| {
        let t = file.tensor(n).unwrap();
        (n.clone(), TensorView::new(Dtype::F32, t.shape().to_vec(), t.data()).unwrap())
    });
    let metadata = HashMap::from([(METADATA_KEY.to_string(), chain)]);
    let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
    let checkpoint = Checkpoint::from_bytes(bytes, None).unwrap();
    models::load(&checkpoint, None).expect_err("a broken chain").to_string()
}

#[test]
fn values_that_are_no_numbers_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    save(&fixtures::load("tests/fixtures/tv_resnet18").model, Mode::Structured, &path);
    let whole = std::fs::read(&path).unwrap();
    for (name, at) in [("layer1.0.conv2.weight", 7), ("fc.bias", 0)] {
        for value in [f32::NAN, f32::INFINITY] {
            let mut bytes = whole.clone();
            let file = SafeTensors::deserialize(&whole).unwrap();
            let from = file.tensor(name).unwrap().data().as_ptr() as usize - whole.as_ptr() as usize;
            bytes[from + 4 * at..][..4].copy_from_slice(&value.to_le_bytes());
            let checkpoint = Checkpoint::from_bytes(bytes, None).unwrap();
            let error = models::load(&checkpoint, None).unwrap_err().to_string();
            let wanted = format!("tensor {name} of layer {}", name.rsplit_once('.').unwrap().0);
            assert!(
                error.contains(&wanted) && error.contains(&format!("{value} at element {at}")),
                "{error}"
            );
        }
    }
}

#[test]
fn a_broken_chain_is_refused_by_name() {
    let replaced = |from: &'static str, to: &'static str| {
        refusal(move |chain, _| {
            assert!(chain.contains(from), "{from} in {chain}");
            *chain = chain.replacen(from, to, 1);
        })
    };
    let version = replaced("\"version\":1", "\"version\":9");
    assert!(version.contains("expected version 1, found 9"), "{version}");
    let json = replaced("\"nodes\":[", "\"nodes\":[[");
    assert!(json.contains(METADATA_KEY), "{json}");
    let missing = refusal(|_, names| names.retain(|n| n != "layer1.0.conv1.weight"));
    assert!(missing.contains("layer1.0.conv1.weight") && missing.contains("no such tensor"), "{missing}");
    let shape = replaced("\"out_channels\":8", "\"out_channels\":7");
    assert!(shape.contains("conv1.bias") && shape.contains("expected F32 [7]"), "{shape}");
    let groups = replaced("\"groups\":1", "\"groups\":0");
    assert!(groups.contains("conv1"), "{groups}");
    let range = replaced("\"out\":{\"start\":0,", "\"out\":{\"start\":99999,");
    assert!(range.contains("conv1"), "{range}");
    let window = replaced("\"padding\":[3,3]", "\"padding\":[18446744073709551615,3]");
    assert!(window.contains("conv1"), "{window}");
    let pool = replaced(
        "\"op\":\"max_pool\",\"kernel\":[3,3],\"stride\":[2,2]",
        "\"op\":\"max_pool\",\"kernel\":[3,3],\"stride\":[0,0]",
    );
    assert!(pool.contains("maxpool") && pool.contains("stride [0, 0]"), "{pool}");
    let large = replaced("\"input\":[3,64,64]", "\"input\":[3,64,16385]");
    assert!(large.contains("sides from 1 to 16384, found [3, 64, 16385]"), "{large}");
    let input = replaced("\"input\":[3,64,64]", "\"input\":[3,0,64]");
    assert!(input.contains("input") && input.contains("[3, 0, 64]"), "{input}");
    let size = replaced("\"input\":[3,64,64]", "\"input\":[3,32,32]");
    assert!(size.contains("preprocess.size") && size.contains("[32, 32]"), "{size}");
    let labels = replaced("\"labels\":null", "\"labels\":[\"cat\"]");
    assert!(labels.contains("expected 10 names, found 1 names"), "{labels}");
}

#[test]
fn tensors_that_no_layer_reads_are_refused_by_name() {
    // A block's weight, a bias, and a whole layer that the chain leaves out.
    let other = refusal(|chain, _| {
        *chain =
            chain.replace("\"tensor\":\"layer1.0.conv2.weight\"", "\"tensor\":\"layer1.0.conv1.weight\"");
    });
    assert!(other.contains("unexpected tensor `layer1.0.conv2.weight`"), "{other}");
    let block = refusal(|chain, _| {
        let mut value: serde_json::Value = serde_json::from_str(chain).unwrap();
        let nodes = value["nodes"].as_array_mut().unwrap();
        let conv = nodes.iter_mut().find(|n| n["name"] == "layer2.0.conv1").unwrap();
        let blocks = conv["blocks"].as_array_mut().unwrap();
        let dense = |b: &serde_json::Value| b["kind"] == "dense";
        assert!(blocks.len() > 1 && blocks.iter().any(dense), "{blocks:?}");
        blocks.retain(|b| !dense(b));
        *chain = value.to_string();
    });
    assert!(block.contains("unexpected tensor `layer2.0.conv1.weight`"), "{block}");
    let last = refusal(|chain, _| {
        let mut value: serde_json::Value = serde_json::from_str(chain).unwrap();
        value["nodes"].as_array_mut().unwrap().pop();
        *chain = value.to_string();
    });
    assert!(last.contains("unexpected tensor `fc.bias` of shape [10]"), "{last}");
}

#[test]
fn a_tensor_beside_the_chain_is_refused_by_name() {
    let path = fixtures::root().join("tests/fixtures/finetuned_resnet18/model.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut tensors = file.tensors();
    let weight = file.tensor("fc.weight").unwrap();
    tensors.push(("fc.weight.zzz".into(), weight));
    let bytes = safetensors::serialize(tensors, header.metadata().clone()).unwrap();
    let error = models::load(&Checkpoint::from_bytes(bytes, None).unwrap(), None).unwrap_err().to_string();
    assert!(error.contains("unexpected tensor `fc.weight.zzz`"), "{error}");
}
