//! Networks that no checkpoint is, but that a graph or a saved chain can say: every form of them is the same function, or they
//! are refused by name.

mod common;

use common::difference;
use common::random::{Rng, images};
use rmnet::checkpoint::Checkpoint;
use rmnet::graph::{Activation, Block, BlockWeight, Conv2d, Graph, MaxPool, Op, Shape, ValueId, Weight};
use rmnet::models;
use rmnet::models::saved::{self, About};
use rmnet::preprocess::Preprocess;
use rmnet::rewrite::{self, Form, Mode, Outcome, Rewritten};
use rmnet::tensor::Tensor;
use rmnet::{plan, reference, verify};

const INPUT: Shape = Shape { channels: 8, height: 8, width: 8 };

fn weight(shape: [usize; 4]) -> Weight {
    let values = Rng(shape.iter().sum::<usize>() as u64).values(shape.iter().product());
    Weight::new(Tensor::from_f32(shape.to_vec(), values.iter().map(|v| *v as f32).collect()))
}

fn conv(out: usize, input: usize, k: usize) -> Conv2d {
    Conv2d::dense(weight([out, input, k, k]), 1, [1, 1], [k / 2, k / 2])
}

fn activated(conv: Conv2d, activation: Activation) -> Conv2d {
    Conv2d { activation: vec![(0..conv.out_channels, activation)], ..conv }
}

/// What a convolution of one diagonal block reads past its centre tap.
fn diagonal(weight: BlockWeight, k: usize, stride: [usize; 2]) -> Conv2d {
    let block = Block { out: 0..8, input: 0..8, weight };
    let plain = Conv2d::pointwise_function(8, Activation::Identity);
    Conv2d {
        kernel: [k, k],
        padding: [k / 2; 2],
        padding_end: [k / 2; 2],
        stride,
        blocks: vec![block],
        ..plain
    }
}

struct Net(Graph);

impl Net {
    fn new() -> Net {
        Net(Graph::new(INPUT))
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        self.0.push(name, op, inputs).unwrap_or_else(|e| panic!("{e}"))
    }

    fn conv(&mut self, name: &str, conv: Conv2d, x: ValueId) -> ValueId {
        self.push(name, Op::Conv2d(conv), &[x])
    }

    /// A gate computed from what it multiplies.
    fn gate(&mut self, x: ValueId) -> ValueId {
        let channels = self.0.shape(x).channels;
        let mean = self.push("mean", Op::GlobalAverage, &[x]);
        let factors = self.conv("factors", activated(conv(channels, channels, 1), Activation::Sigmoid), mean);
        self.push("gate", Op::Gate { first: 0 }, &[x, factors])
    }

    fn head(mut self, x: ValueId) -> Graph {
        let mean = self.push("average", Op::GlobalAverage, &[x]);
        let channels = self.0.shape(mean).channels;
        self.conv("fc", conv(3, channels, 1), mean);
        self.0
    }
}

fn about(graph: &Graph) -> About {
    About::new("crafted", Preprocess::imagenet().with_size(graph.input_shape().size()))
}

/// Saves and loads the graph, takes it to every form, and compares each with it: by the oracle, as a saved file, and planned on
/// the CPU. Gives the block form.
fn every_form_is_the_same(graph: &Graph) -> Rewritten {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.safetensors");
    saved::save(&path, graph, &about(graph)).unwrap();
    let graph = models::load(&Checkpoint::open(&path).unwrap(), None).unwrap().graph;
    let input = images(&graph, 2, 7);
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
    let expected = reference::run(&graph, &wide, 2);
    for (mode, merge) in
        [Mode::Structured, Mode::Literal, Mode::Residual].into_iter().flat_map(|m| [(m, false), (m, true)])
    {
        let form = rewrite::for_mode(&graph, Form { mode, merge }).unwrap().graph;
        let (_, off) = difference(&reference::run(&form, &wide, 2), &expected);
        assert!(off < 1e-12, "{mode}, merge {merge}: {off:e}\n{graph}\n{form}");
        #[cfg(feature = "onnx")]
        rmnet::onnx::write(&folder.path().join("model.onnx"), &form, &about(&graph)).unwrap();
        saved::save(&path, &form, &about(&graph)).unwrap();
        let loaded = models::load(&Checkpoint::open(&path).unwrap(), None).unwrap().graph;
        for graph in [&form, &loaded] {
            let plan = plan::compile(graph, &plan::PlanOptions { batch: 2, ..plan::PlanOptions::default() })
                .unwrap();
            plan::check(&plan).unwrap_or_else(|e| panic!("{e}\n{plan}\n{graph}"));
            let found = common::cpu(&plan).run(&input).unwrap();
            let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
            let (_, off) = difference(&found, &expected);
            assert!(off < 1e-5, "{mode}, merge {merge}: {off:e}\n{plan}");
        }
    }
    let rewritten = rewrite::for_mode(&graph, Mode::Structured).unwrap();
    let whole = verify::expected(&graph, &rewritten.blocks, &wide, 2);
    let (blocks, _) = verify::check_blocks(&rewritten, &whole, &wide, 2, &Default::default());
    assert_eq!(blocks.len(), rewritten.blocks.len());
    for block in blocks {
        assert!(block.f64.relative < verify::F64_BOUND, "{}: {:?}", block.block, block.f64);
    }
    rewritten
}

fn refusal(graph: Result<ValueId, rmnet::graph::GraphError>) -> String {
    graph.expect_err("a layer that does not fit").to_string()
}

/// An Add with its activation, as saved residual graphs have it, over parallel branches.
#[test]
fn summed_branches_keep_the_activation_of_their_add() {
    for activation in [Activation::Relu, Activation::Relu6, Activation::PRelu(vec![0.25; 8].into())] {
        let mut net = Net::new();
        let a = net.conv("a", conv(8, 8, 3), ValueId::INPUT);
        let b = net.conv("b", conv(8, 8, 1), ValueId::INPUT);
        let x = net.push("sum", Op::Add(activation.clone()), &[a, b]);
        // One more that stands apart cannot be fused into it.
        let x = net.push("apart", Op::Activation(Activation::Relu6), &[x]);
        let rewritten = every_form_is_the_same(&net.head(x));
        assert_eq!(rewritten.blocks[0].outcome, Outcome::Summed { branches: 2 });
        assert_eq!(rewritten.blocks[0].block, "sum");
    }
}

/// Branches summed into a convolution that a residual block takes in: where it merges, where it reserves, as the shortcut.
#[test]
fn summed_branches_inside_a_block() {
    for place in ["last", "first", "shortcut"] {
        let mut net = Net::new();
        let x = net.conv("stem", conv(8, 8, 3), ValueId::INPUT);
        let relu = |net: &mut Net, name, x| net.push(name, Op::Activation(Activation::Relu), &[x]);
        let x = relu(&mut net, "stem.relu", x);
        let a = net.conv("a", conv(8, 8, if place == "shortcut" { 1 } else { 3 }), x);
        let b = net.conv("b", conv(8, 8, 1), x);
        let sum = net.push("sum", Op::Add(Activation::Identity), &[a, b]);
        let (main, side) = match place {
            "last" => (sum, x),
            "first" => {
                let h = relu(&mut net, "inner", sum);
                (net.conv("c", conv(8, 8, 3), h), x)
            }
            _ => {
                let h = net.conv("c", activated(conv(6, 8, 3), Activation::Relu), x);
                (net.conv("d", conv(8, 6, 3), h), sum)
            }
        };
        let end = net.push("end", Op::Add(Activation::Identity), &[main, side]);
        let end = relu(&mut net, "end.relu", end);
        let rewritten = every_form_is_the_same(&net.head(end));
        let [summed, removed] = rewritten.blocks.as_slice() else {
            panic!("{place}: {:?}", rewritten.blocks)
        };
        assert_eq!(summed.outcome, Outcome::Summed { branches: 2 }, "{place}");
        assert!(matches!(removed.outcome, Outcome::Removed { .. }), "{place}: {removed:?}");
        assert_eq!((&summed.block, &summed.output), (&removed.block, &removed.output), "{place}");
        assert_eq!(removed.block, "end.relu");
    }
}

#[test]
fn a_gate_before_the_first_convolution_keeps_its_block() {
    let mut net = Net::new();
    let x = net.conv("stem", conv(8, 8, 3), ValueId::INPUT);
    let gated = net.gate(x);
    let h = net.conv("c", conv(8, 8, 3), gated);
    let x = net.push("end", Op::Add(Activation::Relu), &[h, x]);
    let rewritten = every_form_is_the_same(&net.head(x));
    let Outcome::Kept { reason } = &rewritten.blocks[0].outcome else { panic!("{:?}", rewritten.blocks) };
    assert!(reason.contains("gate: a gate stands before the first convolution"), "{reason}");
}

#[test]
fn a_grouped_block_over_part_of_the_inputs() {
    for first in [0, 4] {
        let mut net = Net::new();
        let mut part = Conv2d::dense(weight([4, 2, 3, 3]), 2, [1, 1], [1, 1]);
        part.in_channels = 8;
        part.blocks[0].input = first..first + 4;
        let x = net.conv("a", part, ValueId::INPUT);
        every_form_is_the_same(&net.head(x));
    }
}

#[test]
fn a_dirac_branch_across_the_groups_of_another() {
    let grouped = Conv2d::dense(weight([4, 2, 3, 3]), 4, [1, 1], [1, 1]);
    let block = Block { out: 0..4, input: 0..4, weight: BlockWeight::Dirac };
    let across = Conv2d {
        in_channels: 8,
        blocks: vec![block.clone()],
        ..Conv2d::pointwise_function(4, Activation::Identity)
    };
    let mut net = Net::new();
    let a = net.conv("a", grouped.clone(), ValueId::INPUT);
    let b = net.conv("b", across, ValueId::INPUT);
    let x = net.push("sum", Op::Add(Activation::Relu), &[a, b]);
    every_form_is_the_same(&net.head(x));

    let mut net = Net::new();
    let both = Conv2d { blocks: vec![grouped.blocks[0].clone(), block], ..grouped };
    let x = net.conv("a", both, ValueId::INPUT);
    every_form_is_the_same(&net.head(x));
}

#[test]
fn empty_weights_are_refused() {
    let mut graph = Graph::new(INPUT);
    for (out, input) in [(0..0, 0..0), (0..4, 0..0), (0..0, 0..8), (3..3, 0..8)] {
        let dense = BlockWeight::Dense { weight: weight([out.len(), input.len(), 1, 1]), groups: 1 };
        let mut layer = conv(8, 8, 1);
        layer.blocks.push(Block { out, input, weight: dense });
        let error = refusal(graph.push("a", Op::Conv2d(layer), &[ValueId::INPUT]));
        assert!(error.contains("a: expected blocks of at least one channel"), "{error}");
    }
    let none = Conv2d { out_channels: 0, blocks: vec![], bias: vec![], activation: vec![], ..conv(8, 8, 1) };
    let error = refusal(graph.push("a", Op::Conv2d(none), &[ValueId::INPUT]));
    assert!(error.contains("found 8 and 0"), "{error}");
}

#[test]
fn a_gate_past_the_last_channel_is_refused() {
    let mut net = Net::new();
    let mean = net.push("mean", Op::GlobalAverage, &[ValueId::INPUT]);
    for first in [1, usize::MAX] {
        let error = refusal(net.0.push("gate", Op::Gate { first }, &[ValueId::INPUT, mean]));
        assert!(error.contains(&format!("channels {first} to {first} + g of 8")), "{error}");
    }
}

/// Where more zeros come last than first, outputs lie beyond the last input: nothing to carry there.
#[test]
fn a_carried_channel_has_an_input_for_every_output() {
    let uneven = |weight| Conv2d { padding_end: [3, 1], ..diagonal(weight, 3, [1, 1]) };
    let mut graph = Graph::new(INPUT);
    for block in [BlockWeight::Dirac, BlockWeight::Pointwise(weight([8, 8, 1, 1]))] {
        let error = refusal(graph.push("a", Op::Conv2d(uneven(block)), &[ValueId::INPUT]));
        assert!(error.contains("a: expected") && error.contains("8x8"), "{error}");
    }
    // A block whose sizes meet again only at its end.
    let mut net = Net::new();
    let x = net.conv("stem", conv(8, 8, 3), ValueId::INPUT);
    let h = net.conv("c", Conv2d { padding_end: [2, 1], ..conv(8, 8, 3) }, x);
    let h = net.conv("d", Conv2d { padding_end: [0, 1], ..conv(8, 8, 3) }, h);
    let x = net.push("end", Op::Add(Activation::Relu), &[h, x]);
    let rewritten = every_form_is_the_same(&net.head(x));
    let Outcome::Kept { reason } = &rewritten.blocks[0].outcome else { panic!("{:?}", rewritten.blocks) };
    assert!(reason.contains("c: "), "{reason}");
}

/// Means behind every reader there is, the end of the network among them.
#[test]
fn means_can_be_read_by_anything() {
    let readers: [(&str, Op); 7] = [
        ("strided dirac", Op::Conv2d(diagonal(BlockWeight::Dirac, 3, [2, 2]))),
        ("uneven stride", Op::Conv2d(diagonal(BlockWeight::Dirac, 3, [3, 1]))),
        ("uneven diagonal", Op::Conv2d(diagonal(BlockWeight::Diagonal(vec![0.5; 8].into()), 3, [3, 1]))),
        ("means", Op::AvgPool2x2),
        ("pool", Op::MaxPool(MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] })),
        ("window", Op::Conv2d(conv(8, 8, 3))),
        ("slice", Op::Slice(1..7)),
    ];
    for (name, reader) in readers {
        let mut net = Net::new();
        let x = net.conv("stem", conv(8, 8, 3), ValueId::INPUT);
        let x = net.push("mean", Op::AvgPool2x2, &[x]);
        let x = net.push(name, reader, &[x]);
        every_form_is_the_same(&net.head(x));
    }
    let views: [(&str, Op); 5] = [
        ("mean", Op::AvgPool2x2),
        ("slice", Op::Slice(2..7)),
        ("dirac", Op::Conv2d(diagonal(BlockWeight::Dirac, 1, [2, 2]))),
        ("means", Op::Conv2d(diagonal(BlockWeight::AvgPool2x2, 3, [2, 2]))),
        ("map", Op::Conv2d(activated(diagonal(BlockWeight::Dirac, 1, [1, 1]), Activation::Relu6))),
    ];
    for (name, last) in views {
        let mut net = Net::new();
        let x = net.conv("stem", conv(8, 8, 3), ValueId::INPUT);
        net.push(name, last, &[x]);
        every_form_is_the_same(&net.0);
    }
    let mut net = Net::new();
    let x = net.conv("stem", conv(8, 8, 3), ValueId::INPUT);
    net.gate(x);
    every_form_is_the_same(&net.0);
}

/// What is asked for before a run in f64: the largest set of values that are held at one time.
#[test]
fn a_run_in_f64_takes_its_values_at_their_most() {
    let mut net = Net::new();
    let a = net.conv("a", conv(16, 8, 1), ValueId::INPUT);
    let b = net.conv("b", conv(4, 16, 1), a);
    let graph = net.head(b);
    // The input goes once `a` is there: 8 and 16 channels, then 16 and 4.
    assert_eq!(reference::bytes(&graph, 3), 3 * 8 * 64 * (8 + 16));
    assert_eq!(reference::bytes(&graph, usize::MAX), usize::MAX);
    let rewritten = rewrite::for_mode(&graph, Mode::Structured).unwrap();
    assert_eq!(verify::bytes(&graph, &rewritten, 1), 8 * 64 * (8 + 16) + 8 * 64 * 8);
}
