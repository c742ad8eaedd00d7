//! Parameters as the field counts them: all tensors of a checkpoint but the running statistics of batch norms.

mod common;

use common::{fixtures, seeded};
use rmnet::checkpoint::Checkpoint;
use rmnet::models::{self, Model};
use rmnet::rewrite::{self, Mode};

/// Values of tensors that are trained, and of running means and variances. RMNet's layers `running*` only measure, for a later
/// conversion, and its blocks' masks are multiplied into their batch norms as the file is read: neither is part of the network.
fn counted(checkpoint: &Checkpoint) -> [usize; 2] {
    let mut counts = [0, 0];
    for (name, tensor) in checkpoint.tensors() {
        let values = tensor.shape().iter().product::<usize>();
        let mut parts = name.rsplit('.');
        match (parts.next(), parts.next()) {
            (_, Some(layer)) if layer.starts_with("running") => {}
            (_, Some("mask1" | "mask2")) if name.starts_with("layer") => {}
            (Some("running_mean" | "running_var"), _) => counts[1] += values,
            (Some("num_batches_tracked"), _) => {}
            _ => counts[0] += values,
        }
    }
    counts
}

#[test]
fn every_fixture_has_the_parameters_of_its_file() {
    let mut wrong = vec![];
    for name in fixtures::names() {
        let path = fixtures::root().join(&name).join("model.safetensors");
        let expected = counted(&Checkpoint::open(path).expect("a checkpoint"));
        let graph = fixtures::load(&name).model.graph;
        let found = [graph.parameters(), graph.statistics()];
        if found != expected {
            wrong.push(format!("{name}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `sum(p.numel() for p in torchvision.models.resnet18().parameters())`, and of `resnet50()`; `p` of `buffers()` without counters.
#[test]
fn resnets_have_the_figures_of_torchvision() {
    for (arch, parameters, statistics) in
        [(seeded::RESNET18, 11_689_512, 9_600), (seeded::RESNET50, 25_557_032, 53_120)]
    {
        let checkpoint = Checkpoint::from_bytes(seeded::checkpoint(arch, 1), None).expect("a checkpoint");
        let graph = models::load(&checkpoint, None).expect("a network").graph;
        assert_eq!([graph.parameters(), graph.statistics()], [parameters, statistics]);
    }
}

/// A bias of zeros is a parameter like any other.
#[test]
fn a_bias_of_zeros_counts() {
    let mut bytes = seeded::checkpoint(seeded::RESNET18, 1);
    let (header, metadata) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
    let (start, end) = metadata.info("fc.bias").expect("a bias").data_offsets;
    bytes[8 + header..][start..end].fill(0);
    let graph =
        models::load(&Checkpoint::from_bytes(bytes, None).expect("a file"), None).expect("a network").graph;
    assert_eq!(graph.parameters(), 11_689_512);
}

/// Batch norms fold into biases; the carried channels of the chain add nothing.
#[test]
fn removal_leaves_weights_and_one_bias_per_computed_channel() {
    let model = Model::open(fixtures::root().join("tests/fixtures/tv_resnet18")).expect("a model");
    let chain = rewrite::for_mode(&model.graph, Mode::Structured).expect("a chain").graph;
    let weights = model.graph.convs().map(|(_, c)| c.macs_per_pixel()).sum::<usize>();
    let norms = model.graph.statistics() / 2;
    let classes = model.graph.shape(model.graph.output()).channels;
    // A projection's bias is summed into that of the convolution it merges with.
    let merged: usize = model
        .graph
        .convs()
        .filter(|(node, _)| node.name.contains("downsample"))
        .map(|(_, conv)| conv.out_channels)
        .sum();
    assert_eq!(chain.parameters(), weights + norms - merged + classes);
    assert_eq!(chain.statistics(), 0);
}
