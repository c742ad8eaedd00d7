//! The convolutions of the CPU with each set of instructions that the processor has: random layers, each within its rounding bound.

mod common;

use common::random::Rng;
use proptest::prelude::*;
use rmnet::cpu::{CpuExecutor, Instructions};
use rmnet::graph::{Activation, Conv2d, Graph, Op, Shape, ValueId, Weight};
use rmnet::kernel::{Precision, Rounding};
use rmnet::plan::{self, CheckedPlan, PlanOptions, PlanTarget};
use rmnet::tensor::Tensor;
use rmnet::threads::Threads;
use rmnet::verify::check_layers;

/// Layers under construction.
struct Layers {
    graph: Graph,
    rng: Rng,
}

impl Layers {
    fn conv(&mut self, name: &str, x: ValueId, shape: [usize; 4], groups: usize, stride: usize) -> ValueId {
        let count = shape.iter().product();
        let weight =
            Tensor::from_f32(shape.to_vec(), self.rng.values(count).iter().map(|v| *v as f32).collect());
        let padding = [self.rng.below(shape[2]), self.rng.below(shape[3])];
        let mut conv = Conv2d::dense(Weight::new(weight), groups, [stride; 2], padding);
        conv.bias = self.rng.values(shape[0]);
        let slopes = self.rng.values(shape[0]);
        let activation = match self.rng.below(5) {
            0 => Activation::Identity,
            1 => Activation::Relu6,
            2 => Activation::PRelu(slopes.into()),
            3 => Activation::Sigmoid,
            _ => Activation::Relu,
        };
        conv.activation = vec![(0..shape[0], activation)];
        self.graph.push(name, Op::Conv2d(conv), &[x]).expect("a layer that fits")
    }

    fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.graph.push(name, Op::Add(Activation::Relu), &[a, b]).expect("operands of one shape")
    }
}

/// A window of any size, 3x3 convolutions beside and behind each other whose sums are added, groups, depthwise.
fn layers(seed: u64) -> Graph {
    let mut rng = Rng(seed);
    let [height, width] = [0; 2].map(|_| 8 + rng.below(16));
    let inputs = 1 + rng.below(9);
    let widths = [1, 3, 15, 16, 17, 24, 40, 64, 65, 100, 150];
    let channels = widths[rng.below(widths.len())];
    let (k, stride) = ([1 + rng.below(4), 1 + rng.below(4)], 1 + rng.below(2));
    let mut l = Layers { graph: Graph::new(Shape { channels: inputs, height, width }), rng };
    let a = l.conv("window", ValueId::INPUT, [channels, inputs, k[0], k[1]], 1, stride);
    let shape = l.graph.shape(a);
    let same = |l: &mut Layers, name: &str, x: ValueId, groups: usize| {
        let per_group = l.graph.shape(x).channels / groups;
        let weight: Vec<f32> =
            l.rng.values(shape.channels * per_group * 9).iter().map(|v| *v as f32).collect();
        let weight = Weight::new(Tensor::from_f32(vec![shape.channels, per_group, 3, 3], weight));
        let mut conv = Conv2d::dense(weight, groups, [1, 1], [1, 1]);
        conv.bias = l.rng.values(shape.channels);
        l.graph.push(name, Op::Conv2d(conv), &[x]).expect("a layer that fits")
    };
    let b = same(&mut l, "three", a, 1);
    let sum = l.add("sum", b, a);
    let c = same(&mut l, "depthwise", sum, shape.channels);
    let sum = l.add("sum of depthwise", c, sum);
    let groups = if shape.channels.is_multiple_of(4) { 4 } else { 1 };
    let d = l.conv("groups", sum, [2 * shape.channels, shape.channels / groups, 3, 1], groups, 1);
    l.conv("last", d, [70, 2 * shape.channels, 1, 1], 1, 2);
    l.graph
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_layer_stays_within_its_bound(seed: u64, batch in 1usize..4, threads in 1usize..4) {
        let graph = layers(seed);
        let keep: Vec<String> = graph.nodes()[1..].iter().map(|n| n.name.clone()).collect();
        let options = PlanOptions { batch, keep, target: PlanTarget::CPU, ..PlanOptions::default() };
        let plan = CheckedPlan::new(plan::compile(&graph, &options).unwrap()).unwrap();
        let input: Vec<f32> =
            Rng(seed).values(batch * graph.input_shape().len()).iter().map(|v| *v as f32).collect();
        let threads = Threads::new(threads).unwrap();
        for instructions in Instructions::available() {
            let cpu = CpuExecutor::with_instructions(instructions, &threads, &plan).unwrap();
            let values = cpu.run_keeping(&input).unwrap().kept.into_iter().collect();
            for layer in check_layers(&graph, &input, batch, &values, Precision::F32, |name| cpu.rounding(name)) {
                prop_assert!(layer.passed(), "{instructions}, {}: {:.2} of its bound\n{}", layer.layer, layer.of_bound, *plan);
            }
        }
    }
}

/// Wide filters take Winograd's algorithm, with the bound that belongs to it; the sizes of maps have no say, so that sessions share weights.
#[test]
fn small_filters_take_winograds_algorithm() {
    for (channels, side, expected) in [(16, 1, true), (64, 14, true), (15, 14, false), (171, 14, false)] {
        let mut graph = Graph::new(Shape { channels, height: side, width: side });
        let weight =
            Weight::new(Tensor::from_f32(vec![channels, channels, 3, 3], vec![0.5; channels * channels * 9]));
        let conv = Conv2d::dense(weight, 1, [1, 1], [1, 1]);
        graph.push("conv", Op::Conv2d(conv), &[ValueId::INPUT]).unwrap();
        let options =
            PlanOptions { keep: vec!["conv".into()], target: PlanTarget::CPU, ..PlanOptions::default() };
        let cpu =
            CpuExecutor::new(&CheckedPlan::new(plan::compile(&graph, &options).unwrap()).unwrap()).unwrap();
        assert_eq!(cpu.kernels()[0].contains("winograd"), expected, "{channels} {side}: {:?}", cpu.kernels());
        assert_eq!(cpu.rounding("conv") != Rounding::DIRECT, expected);
    }
}
