//! Pruning: exact selection on random networks, targets and limits, plans that really shrink, files and refusals.

mod common;

use common::random::{Builder, Rng, f32_error, images, network};
use common::seeded::{self, RESNET18, RESNET50};
use common::{difference, fixtures};
use proptest::prelude::*;
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::{Activation, Block, BlockWeight, Conv2d, Graph, Op, Shape, ValueId, Weight};
use rmnet::models::saved::{self, About};
use rmnet::models::{self, Model};
use rmnet::plan;
use rmnet::reference;
use rmnet::rewrite::prune::{AtLeast, Criterion, PruneError, PruneOptions, PruneTarget, Pruned, prune};
use rmnet::rewrite::{self, Mode, literal};
use rmnet::tensor::Tensor;
use rmnet::{Error, Judge, prune_model};

/// Rounding of f64 through a few dozen layers; a wrong row, column or shift is off by far more.
const F64_BOUND: f64 = 1e-12;
/// Rounding of f32 through as many.
const F32_BOUND: f64 = 1e-5;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn run(graph: &Graph, input: &[f32], batch: usize) -> Vec<f64> {
    reference::run(graph, &wide(input), batch)
}

fn digits() -> Model {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
    models::load(&Checkpoint::open(folder).unwrap(), None).unwrap()
}

fn chain(graph: &Graph) -> Graph {
    rewrite::for_mode(graph, Mode::Structured).unwrap().graph
}

/// The same convolution with some rows giving nothing: zeros in dense blocks, cuts in the others, no bias.
fn without_rows(conv: &Conv2d, masked: &[bool]) -> Conv2d {
    let mut blocks = vec![];
    for b in &conv.blocks {
        let keep: Vec<f64> = b.out.clone().map(|o| if masked[o] { 0.0 } else { 1.0 }).collect();
        match &b.weight {
            BlockWeight::Dense { weight, groups } => {
                let weight = BlockWeight::Dense { weight: weight.scaled(&keep), groups: *groups };
                blocks.push(Block { weight, ..b.clone() });
            }
            BlockWeight::Pointwise(w) => {
                blocks.push(Block { weight: BlockWeight::Pointwise(w.scaled(&keep)), ..b.clone() });
            }
            _ if keep.iter().all(|k| *k == 1.0) => blocks.push(b.clone()),
            other => {
                for (r, _) in keep.iter().enumerate().filter(|(_, k)| **k == 1.0) {
                    let weight = match other {
                        BlockWeight::Diagonal(f) => BlockWeight::Diagonal(vec![f[r]].into()),
                        other => other.clone(),
                    };
                    let (o, i) = (b.out.start + r, b.input.start + r);
                    blocks.push(Block { out: o..o + 1, input: i..i + 1, weight });
                }
            }
        }
    }
    let bias = conv.bias.iter().zip(masked).map(|(b, m)| if *m { 0.0 } else { *b }).collect();
    Conv2d { blocks, bias, ..conv.clone() }
}

/// A chain of which some computed channels, about `share` of them, are zero: inside blocks and at their ends.
fn masked(graph: &Graph, rng: &mut Rng, share: f64) -> (Graph, usize) {
    let mut new = Graph::new(graph.input_shape());
    let mut count = 0;
    for v in graph.values().skip(1) {
        let node = graph.node(v);
        let op = match &node.op {
            // Where a gated value is added, the gate and what it multiplies would have to be zero as well.
            Op::Conv2d(conv)
                if v != graph.output() && !matches!(graph.node(node.inputs[0]).op, Op::Gate { .. }) =>
            {
                let zero_at_zero =
                    |o: &usize| conv.activation.iter().any(|(r, a)| r.contains(o) && a.apply(0, 0.0) == 0.0);
                let dense = |o: usize| {
                    let multiplies = |b: &&Block| {
                        matches!(b.weight, BlockWeight::Dense { .. } | BlockWeight::Pointwise(_))
                    };
                    conv.blocks.iter().filter(multiplies).any(|b| b.out.contains(&o))
                };
                let rows: Vec<bool> = (0..conv.out_channels)
                    .map(|o| dense(o) && zero_at_zero(&o) && rng.uniform(0.0, 1.0) < share)
                    .collect();
                count += rows.iter().filter(|m| **m).count();
                Op::Conv2d(without_rows(conv, &rows))
            }
            op => op.clone(),
        };
        new.push(node.name.clone(), op, &node.inputs).unwrap();
    }
    (new, count)
}

fn channels(graph: &Graph) -> usize {
    graph.convs().map(|(_, c)| c.out_channels).sum()
}

fn check_plan(graph: &Graph, input: &[f32], batch: usize) -> plan::Plan {
    let planned = plan::compile(graph, &plan::PlanOptions { batch, ..plan::PlanOptions::default() }).unwrap();
    plan::check(&planned).unwrap();
    let found = common::cpu(&planned).run(input).unwrap();
    let relative = f32_error(graph, input, batch, &found);
    assert!(relative < F32_BOUND, "{relative:e}\n{planned}\n{graph}");
    planned
}

/// Streams that lie one behind the other in one value stay so where another hands them on (RM-RepVGG behind a gate).
#[test]
fn every_fixture_can_be_pruned_and_planned() {
    for name in fixtures::names() {
        let f = fixtures::load(&name);
        let graph = chain(&f.model.graph);
        for multiple in [1, 4] {
            for ratio in [0.0, 0.25] {
                let options = PruneOptions { multiple, ..options(ratio) };
                let pruned = match prune(&graph, &Criterion::L1, &options) {
                    Ok(pruned) => pruned.graph,
                    Err(e) => panic!("{name}, ratio {ratio}, multiple {multiple}: {e}"),
                };
                let planned = plan::compile(&pruned, &plan::PlanOptions::default())
                    .unwrap_or_else(|e| panic!("{name}, ratio {ratio}, multiple {multiple}: {e}"));
                plan::check(&planned).unwrap_or_else(|e| panic!("{name}: {e}"));
                if ratio == 0.0 {
                    let (_, off) = difference(&run(&pruned, &f.input, f.batch), &f.logits);
                    assert!(off < F32_BOUND, "{name}, multiple {multiple}: {off:e}");
                }
            }
        }
    }
}

fn options(ratio: f64) -> PruneOptions {
    PruneOptions { target: PruneTarget::Ratio(ratio), ..PruneOptions::default() }
}

fn adds_up(before: &Graph, pruned: &Pruned) {
    let sum =
        |f: &dyn Fn(&rmnet::rewrite::prune::LayerLoss) -> usize| pruned.layers.iter().map(f).sum::<usize>();
    assert_eq!(sum(&|l| l.macs[0]), before.macs());
    assert_eq!(sum(&|l| l.macs[1]), pruned.graph.macs());
    assert_eq!(sum(&|l| l.parameters[0]), before.parameters());
    assert_eq!(sum(&|l| l.parameters[1]), pruned.graph.parameters());
    assert_eq!(sum(&|l| l.own[0] + l.reserved[0]), channels(before));
    assert_eq!(sum(&|l| l.own[1] + l.reserved[1]), channels(&pruned.graph));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Channels that are zero go, and nothing changes: of every family, inside blocks and at their ends.
    #[test]
    fn zero_channels_are_removed_exactly(
        seed: u64, share in 0.1f64..0.6, multiple in 1usize..5, coupled: bool, reserved: bool,
    ) {
        let (graph, _) = masked(&chain(&network(seed)), &mut Rng(seed ^ 1), share);
        let input = images(&graph, 2, seed);
        let expected = run(&graph, &input, 2);
        let options = PruneOptions { multiple, coupled, reserved, ..PruneOptions::default() };
        let pruned = prune(&graph, &Criterion::L1, &options).unwrap();
        let (_, relative) = difference(&run(&pruned.graph, &input, 2), &expected);
        prop_assert!(relative < F64_BOUND, "{relative:e}\n{graph}\n{}", pruned.graph);
        adds_up(&graph, &pruned);
        check_plan(&pruned.graph, &input, 2);
        let plain = literal(&pruned.graph).unwrap();
        let (_, relative) = difference(&run(&plain, &input, 2), &expected);
        prop_assert!(relative < F64_BOUND, "literal: {relative:e}");
    }

    /// Batch-norm scales of zero, with a bias: removed where that is exact, left where it is not, the same function always.
    #[test]
    fn masked_batch_norms_are_removed_exactly(seed: u64, share in 0.1f64..0.6) {
        let original = network(seed);
        let mut rng = Rng(seed ^ 2);
        let mut graph = Graph::new(original.input_shape());
        for node in &original.nodes()[1..] {
            let mut op = node.op.clone();
            if let Op::BatchNorm(bn) = &mut op {
                for w in &mut bn.weight {
                    *w = if rng.uniform(0.0, 1.0) < share { 0.0 } else { *w };
                }
            }
            graph.push(node.name.clone(), op, &node.inputs).unwrap();
        }
        let input = images(&graph, 2, seed);
        let expected = run(&graph, &input, 2);
        let removed = rewrite::for_mode(&graph, Mode::Structured).unwrap();
        let pruned = prune(&removed.graph, &Criterion::L1, &PruneOptions { multiple: 1, ..options(0.0) }).unwrap();
        let (_, relative) = difference(&run(&pruned.graph, &input, 2), &expected);
        prop_assert!(relative < F64_BOUND, "{relative:e}\n{}", pruned.graph);
    }

    /// Any prune of any network plans, runs, keeps its limits and its report adds up.
    #[test]
    fn every_pruned_network_runs(
        seed: u64, ratio in 0.05f64..0.6, multiple in 1usize..5, coupled: bool, reserved: bool, l1: bool,
    ) {
        let original = network(seed);
        let rewritten = rewrite::for_mode(&original, Mode::Structured).unwrap();
        let chain = &rewritten.graph;
        let criterion = match l1 {
            true => Criterion::L1,
            false => Criterion::BatchNorm(rmnet::rewrite::prune::batch_norm_scales(&original, &rewritten)),
        };
        let options = PruneOptions {
            multiple, coupled, reserved, keep_at_least: AtLeast::Share(0.25), ..options(ratio)
        };
        let pruned = match prune(chain, &criterion, &options) {
            Ok(pruned) => pruned,
            Err(PruneError::Unreachable { .. }) => return Ok(()),
            Err(error) => panic!("{error}\n{chain}"),
        };
        prop_assert!(pruned.removed as f64 <= ratio * pruned.channels as f64 + 1e-9);
        adds_up(chain, &pruned);
        for layer in pruned.layers.iter().filter(|_| !coupled) {
            prop_assert!(layer.own[1] * 4 >= layer.own[0], "{layer:?}");
        }
        let input = images(chain, 2, seed);
        check_plan(&pruned.graph, &input, 2);
    }
}

/// All of them but those that are tied to something that is not zero, such as the gate of a channel.
#[test]
fn nearly_all_zero_channels_go() {
    let (mut zero, mut removed) = (0, 0);
    for seed in 0..100 {
        let (graph, count) = masked(&chain(&network(seed)), &mut Rng(seed), 0.3);
        let options = PruneOptions { multiple: 1, ..PruneOptions::default() };
        zero += count;
        removed += prune(&graph, &Criterion::L1, &options).unwrap().removed;
    }
    println!("{removed} of {zero} zero channels removed");
    assert!(removed as f64 > 0.8 * zero as f64, "{removed} of {zero}");
}

/// The sets of a stage's channels are independent in the chain, and one in the coupled net.
#[test]
fn coupled_channels_go_together() {
    let model = digits();
    let kept = |coupled: bool| -> Vec<usize> {
        let options = PruneOptions { coupled, ..options(0.4) };
        let pruned = prune_model(&model, Judge::L1, &options).unwrap().pruned;
        let graph = &pruned.graph;
        // Channels carried, and carried all the way into the Add's place.
        let carried = |name: &str| {
            let Op::Conv2d(c) = &graph.node(graph.find(name).unwrap()).op else { unreachable!() };
            let dirac = c.blocks.iter().filter(|b| matches!(b.weight, BlockWeight::Dirac));
            (c.out_channels, dirac.map(|b| b.out.len()).sum::<usize>())
        };
        ["layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2"]
            .map(|name| {
                let (out, dirac) = carried(name);
                assert!(!coupled || out == dirac, "{name}: {dirac} of {out} carried");
                out
            })
            .to_vec()
    };
    let coupled = kept(true);
    assert!(coupled.iter().all(|n| *n == coupled[0] && *n < 16), "{coupled:?}");
    assert!(kept(false).iter().all(|n| *n < 16));
}

#[test]
fn targets_are_reached_within_a_step() {
    let model = digits();
    for (coupled, multiple) in [(false, 1), (false, 4), (true, 1), (true, 4), (false, 8)] {
        let mut last = usize::MAX;
        for r in [0.1, 0.25, 0.5, 0.6] {
            let options = PruneOptions { coupled, multiple, ..options(r) };
            let found = prune_model(&model, Judge::BatchNorm, &options).unwrap();
            adds_up(&chain(&model.graph), &found.pruned);
            let (removed, all) = (found.pruned.removed as f64, found.pruned.channels as f64);
            assert_eq!(found.pruned.channels, 16 * 7 + 32 * 6 + 64 * 6);
            // A step of the coupled net takes `multiple` channels of every layer of a stage, the first has 4.
            let step = (multiple * if coupled { 4 } else { 1 }) as f64;
            assert!(removed <= r * all && removed + step > r * all, "{removed} of {all} at {r}, {options:?}");
            assert!(found.pruned.graph.macs() < last);
            last = found.pruned.graph.macs();

            let before = chain(&model.graph).macs() as f64;
            let options = PruneOptions { target: PruneTarget::Macs(1.0 - r), ..options };
            let found = prune_model(&model, Judge::L1, &options).unwrap().pruned;
            let left = found.graph.macs() as f64 / before;
            // One step of the widest plane: `multiple` of 16 channels of a stage's first blocks.
            let step = multiple as f64 * if coupled { 0.06 } else { 0.02 };
            assert!(left <= 1.0 - r && left > 1.0 - r - step, "{left} for {r}, {options:?}");
        }
    }
}

#[test]
fn limits_are_kept() {
    let model = digits();
    let base = PruneOptions { keep_at_least: AtLeast::Share(0.25), ..options(0.5) };
    let limits = vec![("layer1.1.conv2".to_string(), 0.0), ("layer3.0.conv1".to_string(), 0.2)];
    let found = prune_model(&model, Judge::L1, &PruneOptions { limits, ..base.clone() }).unwrap().pruned;
    let own = |name: &str| found.layers.iter().find(|l| l.layer == name).unwrap().own;
    assert_eq!(own("layer1.1.conv2"), [16, 16]);
    assert_eq!(own("layer3.0.conv1"), [64, 52]);
    assert!(found.layers.iter().all(|l| l.own[1] * 4 >= l.own[0]));
    assert!(found.removed as f64 > 0.49 * found.channels as f64);
    let keep = PruneOptions { keep_at_least: AtLeast::Channels(12), multiple: 1, ..options(0.6) };
    let found = prune_model(&model, Judge::L1, &keep).unwrap().pruned;
    assert!(found.layers.iter().all(|l| l.own[1] >= 12.min(l.own[0])), "{:?}", found.layers);
}

/// In multiples of 4 nothing is copied and no carried range is multiplied: the plan shrinks as the channels do.
#[test]
fn plans_shrink() {
    let load = |arch| {
        models::load(&Checkpoint::from_bytes(seeded::checkpoint(arch, 7), None).unwrap(), None).unwrap()
    };
    for (name, model) in [("digits", digits()), ("resnet18", load(RESNET18)), ("resnet50", load(RESNET50))] {
        for ratio in [0.3, 0.5] {
            for judge in [Judge::L1, Judge::BatchNorm] {
                let found = prune_model(&model, judge, &options(ratio)).unwrap();
                let [before, after] = &found.plans;
                assert_eq!(after.dispatches.len(), before.dispatches.len(), "{name} {ratio}\n{after}");
                assert_eq!(
                    after.macs(),
                    found.pruned.graph.macs(),
                    "{name} {ratio}: only the chain's multiplies"
                );
                let share = after.activation_bytes() as f64 / before.activation_bytes() as f64;
                assert!(share < 1.0 - 0.8 * ratio, "{name} {ratio}: {share} of the bytes\n{after}");
                let in_place = |p: &plan::Plan| p.dispatches.iter().filter(|d| d.in_place.is_some()).count();
                assert!(in_place(after) + 2 >= in_place(before), "{name} {ratio}\n{after}");
            }
        }
    }
}

#[test]
fn pruned_models_are_saved_and_loaded_bit_for_bit() {
    let model = digits();
    let dir = tempfile::tempdir().unwrap();
    let found = prune_model(&model, Judge::BatchNorm, &options(0.35)).unwrap();
    let about = About::model(&found.model);
    let (first, second) = (dir.path().join("a.safetensors"), dir.path().join("b.safetensors"));
    saved::save(&first, &found.pruned.graph, &about).unwrap();
    let loaded = models::load(&Checkpoint::open(&first).unwrap(), None).unwrap();
    saved::save(&second, &loaded.graph, &about).unwrap();
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    let input = images(&loaded.graph, 1, 3);
    let logits = |graph: &Graph| {
        let graph = rewrite::for_mode(graph, Mode::Structured).unwrap().graph;
        let plan = plan::compile(&graph, &plan::PlanOptions::default()).unwrap();
        common::cpu(&plan).run(&input).unwrap()
    };
    assert_eq!(logits(&loaded.graph), logits(&found.pruned.graph));
    // Pruned once more, by what the file still has.
    let again = prune_model(&loaded, Judge::L1, &options(0.2)).unwrap();
    assert!(again.pruned.graph.macs() < found.pruned.graph.macs());
}

/// Readers without padding lose nothing in the mean: the mean logits of the calibration images stay.
#[test]
fn means_are_folded() {
    let mut b = Builder::new(11, Shape { channels: 3, height: 8, width: 8 });
    let x = b.conv(ValueId::INPUT, 16, 3, 1, 1);
    let x = b.relu(x);
    b.head(x, 5);
    let model = Model { graph: b.graph.clone(), blocks: vec![], ..digits() };
    let input = images(&b.graph, 6, 4);
    let found = prune_model(&model, Judge::Mean(&input), &options(0.5)).unwrap().pruned;
    assert_eq!(found.removed, 8);
    let mean = |graph: &Graph| -> Vec<f64> {
        let logits = run(graph, &input, 6);
        (0..5).map(|c| logits.iter().skip(c).step_by(5).sum::<f64>() / 6.0).collect()
    };
    let (_, relative) = difference(&mean(&found.graph), &mean(&b.graph));
    assert!(relative < F64_BOUND, "{relative:e}");
    // Without the means the logits move.
    let found = prune_model(&model, Judge::L1, &options(0.5)).unwrap().pruned;
    assert!(difference(&mean(&found.graph), &mean(&b.graph)).1 > 1e-3);
}

/// A constant that is not zero goes where its reader is not padded, and stays where it is.
#[test]
fn constants_go_where_that_is_exact() {
    for (kernel, goes) in [(1, true), (3, false)] {
        let mut b = Builder::new(5, Shape { channels: 3, height: 7, width: 7 });
        let x = b.conv(ValueId::INPUT, 8, 3, 1, 1);
        let x = b.relu(x);
        let x = b.conv(x, 8, kernel, 1, 1);
        let x = b.push("out", Op::Activation(Activation::Relu), &[x]);
        b.head(x, 3);
        let mut graph = Graph::new(b.graph.input_shape());
        for (i, node) in b.graph.nodes().iter().enumerate().skip(1) {
            let mut op = node.op.clone();
            if let (Op::BatchNorm(bn), 2) = (&mut op, i) {
                (bn.weight[2], bn.bias[2]) = (0.0, 0.75);
                (bn.weight[5], bn.bias[5]) = (0.0, -0.75);
            }
            graph.push(node.name.clone(), op, &node.inputs).unwrap();
        }
        let input = images(&graph, 2, 1);
        let found =
            prune(&chain(&graph), &Criterion::L1, &PruneOptions { multiple: 1, ..options(0.0) }).unwrap();
        assert_eq!(found.removed, if goes { 2 } else { 1 });
        assert_eq!(found.left.iter().any(|l| l.reason.contains("padded")), !goes, "{:?}", found.left);
        let (_, relative) = difference(&run(&found.graph, &input, 2), &run(&graph, &input, 2));
        assert!(relative < F64_BOUND, "{relative:e}");
    }
}

/// Convolution of which some rows carry channels of `x`, and the others are its own.
fn carrying(b: &mut Builder, x: ValueId, carried: Block, own: std::ops::Range<usize>) -> ValueId {
    let channels = b.graph.shape(x).channels;
    let values = b.rng.values(own.len() * channels * 9).iter().map(|v| (v * 0.1) as f32).collect();
    let weight = Weight::new(Tensor::from_f32(vec![own.len(), channels, 3, 3], values));
    let mut conv = Conv2d::dense(weight, 1, [1, 1], [1, 1]);
    conv.out_channels += carried.out.len();
    conv.bias = vec![0.0; conv.out_channels];
    conv.activation[0].0 = 0..conv.out_channels;
    conv.blocks[0].out = own;
    conv.blocks.push(carried);
    b.push("carrying", Op::Conv2d(conv), &[x])
}

/// Channels are removed in other multiples than 4: what a gate multiplies begins and ends anywhere, and is read in parts.
#[test]
fn gates_over_any_range_of_channels_are_planned() {
    let dirac = |out, input| Block { out, input, weight: BlockWeight::Dirac };
    let start = || {
        let mut b = Builder::new(7, Shape { channels: 3, height: 9, width: 7 });
        let x = b.conv(ValueId::INPUT, 14, 3, 1, 1);
        let x = b.relu(x);
        (b, x)
    };
    let check = |mut b: Builder, x: ValueId| {
        b.head(x, 3);
        let input = images(&b.graph, 2, 5);
        let graph = rewrite::fuse_activation(&rewrite::fold_batch_norm(&b.graph).unwrap()).unwrap();
        check_plan(&graph, &input, 2);
    };
    // Read from the middle of a quad to the middle of another, from the start of one, to the end of the buffer.
    for input in [3..10, 4..10, 5..14, 6..7] {
        let (mut b, x) = start();
        let gated = b.gate(x);
        let rows = input.len();
        let x = carrying(&mut b, gated, dirac(0..rows, input), rows..rows + 1);
        check(b, x);
    }
    // Gated as values of several buffers, that meet inside a quad.
    for rows in [6, 3] {
        let (mut b, x) = start();
        let x = carrying(&mut b, x, dirac(0..rows, 0..rows), rows..rows + 6);
        let x = b.gate(x);
        check(b, x);
    }
}

#[test]
fn refusals_name_the_option() {
    let model = digits();
    let refused = |options: PruneOptions, judge: Judge<'_>| {
        prune_model(&model, judge, &options).unwrap_err().to_string()
    };
    for r in [-0.1, 1.0, f64::NAN] {
        assert!(refused(options(r), Judge::L1).contains("ratio: expected"), "{r}");
    }
    let macs = |r| PruneOptions { target: PruneTarget::Macs(r), ..PruneOptions::default() };
    assert!(refused(macs(0.0), Judge::L1).contains("macs: expected"));
    assert!(refused(macs(1e-6), Judge::L1).contains("macs: 0.000001 cannot be reached"));
    let limits = vec![("nosuch".to_string(), 0.5)];
    let text = refused(PruneOptions { limits, ..options(0.2) }, Judge::L1);
    assert!(text.contains("`nosuch`") && text.contains("layer1.0.conv1"), "{text}");
    let limits = vec![("conv1".to_string(), 1.5)];
    assert!(refused(PruneOptions { limits, ..options(0.2) }, Judge::L1).contains("conv1=1.5"));
    let held = PruneOptions { keep_at_least: AtLeast::Share(0.9), ..options(0.5) };
    assert!(refused(held, Judge::L1).contains("ratio: 0.5 cannot be reached"));
    let text = refused(options(0.2), Judge::Mean(&[0.0; 5]));
    assert!(text.contains("3072") && text.contains('5'), "{text}");
    assert!(refused(PruneOptions { multiple: 0, ..options(0.2) }, Judge::L1).contains("multiple"));
    // A chain has no batch norms left.
    let model = Model { graph: chain(&model.graph), ..model.clone() };
    let error = prune_model(&model, Judge::BatchNorm, &options(0.2)).unwrap_err();
    assert!(matches!(error, Error::Prune(PruneError::Criterion { .. })), "{error}");
}
