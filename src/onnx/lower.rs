//! Lowers a graph's operations to ONNX operators that all runtimes support.

use super::constant::{Constant, ConstantValues};
use super::proto::{ATTRIBUTE_INT, ATTRIBUTE_INTS, AttributeProto, NodeProto};
use crate::graph::{Activation, Block, BlockWeight, Conv2d, Graph, Node, Op};
use crate::models::OutputKind;
use crate::rewrite;
use std::collections::HashSet;
use std::ops::Range;

/// Name of the model's input.
pub(super) const INPUT: &str = "input";
/// Name of the model's output, by its kind.
pub(super) fn output_name(output: OutputKind) -> &'static str {
    match output {
        OutputKind::Features => "features",
        OutputKind::Logits | OutputKind::Embedding => "logits",
    }
}

/// Operations and constants of a model.
#[derive(Default)]
pub(super) struct Lowered {
    pub nodes: Vec<NodeProto>,
    pub constants: Vec<Constant>,
    /// Names of values and constants so far.
    names: HashSet<String>,
    /// Names of the constants 0 and 6, once a ReLU6 needs them.
    bounds: Option<[String; 2]>,
}

/// The operators of a graph. Its output is named `output` and, if it is a vector, has the shape `[N, channels]`.
pub(super) fn lower(graph: &Graph, output: &str) -> Lowered {
    let names = HashSet::from([INPUT, output].map(String::from));
    let mut lowered = Lowered { names, ..Lowered::default() };
    let mut values = vec![INPUT.to_string()];
    for node in &graph.nodes()[1..] {
        let inputs = node.inputs.iter().map(|v| values[v.index()].clone()).collect();
        let channels: Vec<usize> = node.inputs.iter().map(|v| graph.shape(*v).channels).collect();
        values.push(lowered.node(node, inputs, &channels));
    }
    let value = graph.output();
    let last = values.swap_remove(value.index());
    let made = lowered.nodes.iter_mut().find(|n| n.output == [last.clone()]);
    match (graph.shape(value).size(), made) {
        ([1, 1], _) => lowered.nodes.push(operation(output, "Flatten", vec![last], vec![int("axis", 1)])),
        (_, None) => lowered.nodes.push(operation(output, "Identity", vec![last], vec![])),
        // Rename the value, since nothing else reads it.
        (_, Some(made)) => made.output = vec![output.into()],
    }
    lowered
}

/// An operation with one output of the same name.
fn operation(name: &str, op: &str, input: Vec<String>, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto { input, output: vec![name.into()], name: name.into(), op_type: op.into(), attribute }
}

fn int(name: &str, value: usize) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(value as i64), ints: vec![], r#type: ATTRIBUTE_INT }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|v| *v as i64).collect();
    AttributeProto { name: name.into(), i: None, ints, r#type: ATTRIBUTE_INTS }
}

impl Lowered {
    /// Adds the operators of a node; returns the name of its value.
    fn node(&mut self, node: &Node, mut inputs: Vec<String>, channels: &[usize]) -> String {
        let name = node.name.as_str();
        match &node.op {
            Op::Input(_) => unreachable!("the one input of a graph is its first node"),
            Op::Conv2d(conv) => {
                let y = self.conv(name, conv, inputs.remove(0));
                self.activation(name, y, &conv.activation)
            }
            Op::BatchNorm(bn) => {
                let (scale, shift) = bn.affine();
                let scaled = self.per_channel(name, "Mul", inputs.remove(0), &scale);
                self.per_channel(name, "Add", scaled, &shift)
            }
            Op::Activation(a) => self.activation(name, inputs.remove(0), &[(0..channels[0], a.clone())]),
            Op::Add(a) => {
                let sum = self.push(name, "Add", inputs, vec![]);
                self.activation(name, sum, &[(0..channels[0], a.clone())])
            }
            Op::MaxPool(pool) => {
                let [top, left] = pool.padding;
                let attributes = vec![
                    ints("kernel_shape", &pool.kernel),
                    ints("strides", &pool.stride),
                    ints("pads", &[top, left, top, left]),
                ];
                self.push(name, "MaxPool", inputs, attributes)
            }
            Op::AvgPool2x2 => self.avg_pool_2x2(name, inputs.remove(0)),
            Op::Slice(range) => self.slice(name, inputs.remove(0), range),
            Op::Gate { first } => {
                let (gated, all) = (*first..first + channels[1], channels[0]);
                if gated == (0..all) {
                    return self.push(name, "Mul", inputs, vec![]);
                }
                let (gate, x) = (inputs.remove(1), inputs.remove(0));
                let mut parts = vec![];
                for range in [0..gated.start, gated.clone(), gated.end..all] {
                    if range.is_empty() {
                        continue;
                    }
                    let mut part = self.slice(name, x.clone(), &range);
                    if range == gated {
                        part = self.push(name, "Mul", vec![part, gate.clone()], vec![]);
                    }
                    parts.push(part);
                }
                self.push(name, "Concat", parts, vec![int("axis", 1)])
            }
            Op::GlobalAverage => self.push(name, "GlobalAveragePool", inputs, vec![]),
        }
    }

    fn conv(&mut self, layer: &str, conv: &Conv2d, x: String) -> String {
        // A kernel cannot express the mean over a 2x2 window cut by an odd edge: pool first, then place the result in its rows.
        let (means, rest): (Vec<Block>, Vec<Block>) =
            conv.blocks.iter().cloned().partition(|b| matches!(b.weight, BlockWeight::AvgPool2x2));
        let plain = if conv.as_plain().is_some() {
            conv.clone()
        } else {
            rewrite::flatten(&Conv2d { blocks: rest, ..conv.clone() })
        };
        let sum = self.plain_conv(layer, &plain, x.clone());
        if means.is_empty() {
            return sum;
        }
        let pooled = self.avg_pool_2x2(&format!("{layer}.mean"), x);
        let rows = Conv2d {
            in_channels: conv.in_channels,
            blocks: means.into_iter().map(|b| Block { weight: BlockWeight::Dirac, ..b }).collect(),
            ..Conv2d::pointwise_function(conv.out_channels, Activation::Identity)
        };
        let placed = self.plain_conv(&format!("{layer}.rows"), &rewrite::flatten(&rows), pooled);
        self.push(layer, "Add", vec![sum, placed], vec![])
    }

    /// The convolution without activation, from one dense block.
    fn plain_conv(&mut self, layer: &str, conv: &Conv2d, x: String) -> String {
        let (weight, groups) = conv.as_plain().expect("a plain weight");
        let dims = weight.shape().to_vec();
        let weight = self.constant(&format!("{layer}.weight"), dims, ConstantValues::Weight(weight.clone()));
        let bias = self.floats(&format!("{layer}.bias"), vec![conv.out_channels], &conv.bias);
        let attributes = vec![
            ints("kernel_shape", &conv.kernel),
            ints("strides", &conv.stride),
            ints("pads", &[conv.padding, conv.padding_end].concat()),
            ints("dilations", &conv.dilation),
            int("group", groups),
        ];
        self.push(layer, "Conv", vec![x, weight, bias], attributes)
    }

    /// Appends the activation of each channel range.
    fn activation(&mut self, layer: &str, mut x: String, ranges: &[(Range<usize>, Activation)]) -> String {
        let ranges: Vec<_> = ranges.iter().filter(|(range, _)| !range.is_empty()).collect();
        let is_sigmoid = |(_, a): &&(_, Activation)| *a == Activation::Sigmoid;
        if ranges.iter().all(is_sigmoid) {
            return self.push(layer, "Sigmoid", vec![x], vec![]);
        }
        if ranges.iter().any(is_sigmoid) {
            let part = |(range, a): &(Range<usize>, Activation)| {
                let y = self.slice(layer, x.clone(), range);
                self.activation(layer, y, &[(0..range.len(), a.clone())])
            };
            let parts = ranges.into_iter().map(part).collect();
            return self.push(layer, "Concat", parts, vec![int("axis", 1)]);
        }
        // All other activations are a slope for negative values and, for ReLU6, an upper bound.
        let channels = || ranges.iter().flat_map(|(range, a)| (0..range.len()).map(move |c| (a, c)));
        let slopes: Vec<f64> = channels().map(|(a, c)| -a.apply(c, -1.0)).collect();
        let bounded: Vec<bool> = channels().map(|(a, _)| *a == Activation::Relu6).collect();
        if bounded.iter().all(|b| *b) {
            let bounds = self.bounds();
            return self.push(layer, "Clip", [vec![x], bounds.to_vec()].concat(), vec![]);
        }
        if slopes.iter().all(|s| *s == 0.0) {
            x = self.push(layer, "Relu", vec![x], vec![]);
        } else if slopes.iter().any(|s| *s != 1.0) {
            let slopes = self.floats(&format!("{layer}.slope"), vec![slopes.len(), 1, 1], &slopes);
            x = self.push(layer, "PRelu", vec![x, slopes], vec![]);
        }
        if bounded.contains(&true) {
            let bounds: Vec<f64> =
                bounded.iter().map(|b| if *b { 6.0 } else { f64::from(f32::MAX) }).collect();
            x = self.per_channel(layer, "Min", x, &bounds);
        }
        x
    }

    fn avg_pool_2x2(&mut self, layer: &str, x: String) -> String {
        let attributes = vec![
            ints("kernel_shape", &[2, 2]),
            ints("strides", &[2, 2]),
            // The mean is over the elements inside the map: `count_include_pad` defaults to 0.
            int("ceil_mode", 1),
        ];
        self.push(layer, "AveragePool", vec![x], attributes)
    }

    fn slice(&mut self, layer: &str, x: String, range: &Range<usize>) -> String {
        let mut inputs = vec![x];
        for (what, value) in [("start", range.start), ("end", range.end), ("axis", 1)] {
            inputs.push(self.constant(
                &format!("{layer}.{what}"),
                vec![1],
                ConstantValues::Ints(vec![value as i64]),
            ));
        }
        self.push(layer, "Slice", inputs, vec![])
    }

    /// Applies `op` to `x` and one value per channel.
    fn per_channel(&mut self, layer: &str, op: &str, x: String, values: &[f64]) -> String {
        let name = format!("{layer}.{}", op.to_lowercase());
        let values = self.floats(&name, vec![1, values.len(), 1, 1], values);
        self.push(layer, op, vec![x, values], vec![])
    }

    fn bounds(&mut self) -> [String; 2] {
        if self.bounds.is_none() {
            let mut scalar = |name, value| self.floats(name, vec![], &[value]);
            self.bounds = Some([scalar("relu6.min", 0.0), scalar("relu6.max", 6.0)]);
        }
        self.bounds.clone().expect("set above")
    }

    fn floats(&mut self, name: &str, dims: Vec<usize>, values: &[f64]) -> String {
        self.constant(name, dims, ConstantValues::Floats(values.iter().map(|v| *v as f32).collect()))
    }

    fn constant(&mut self, name: &str, dims: Vec<usize>, values: ConstantValues) -> String {
        let name = self.unused(name.into());
        self.constants.push(Constant { name: name.clone(), dims, values });
        name
    }

    /// Adds an operation. The first one of a layer gets the layer's name; later ones also get the operator's name.
    fn push(
        &mut self,
        layer: &str,
        op: &str,
        inputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) -> String {
        let taken = self.names.contains(layer);
        let name = if taken { format!("{layer}.{}", op.to_lowercase()) } else { layer.to_string() };
        let name = self.unused(name);
        self.nodes.push(operation(&name, op, inputs, attributes));
        name
    }

    /// The name itself, or with a number appended if it is taken.
    fn unused(&mut self, name: String) -> String {
        let numbered = (2..).map(|i| format!("{name}_{i}"));
        let name = std::iter::once(name.clone()).chain(numbered).find(|n| !self.names.contains(n));
        let name = name.expect("numbers do not end");
        self.names.insert(name.clone());
        name
    }
}
