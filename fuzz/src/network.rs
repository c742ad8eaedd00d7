//! Random networks: any widths, windows, strides, paddings, dilations, groups and sizes.

use crate::common::random::{Builder, Rng};
use crate::source::Source;
use rmnet::graph::{Activation, Block, BlockWeight, Conv2d, Graph, MaxPool, Op, Shape, ValueId, Weight};
use rmnet::tensor::Tensor;
use std::sync::Arc;

/// A network of up to a dozen layers and blocks.
pub fn network(s: &mut Source) -> Graph {
    network_of(s, 11)
}

/// A network of up to `most` layers and blocks after the first.
pub fn network_of(s: &mut Source, most: usize) -> Graph {
    let channels = if s.one_in(3) { s.within(1, 9) } else { 3 };
    let input = Shape { channels, height: s.within(1, 24), width: s.within(1, 24) };
    let mut net = Net { b: Builder::new(s.seed(), input), extreme: s.one_in(16) };
    let mut x = net.conv(s, ValueId::INPUT).unwrap_or(ValueId::INPUT);
    for _ in 0..s.within(0, most) {
        x = net.grow(s, x).unwrap_or(x);
    }
    if s.below(2) == 0 && x != ValueId::INPUT {
        let classes = s.within(1, 9);
        x = net.b.head(x, classes);
    }
    // The planner is given what the output needs, as a loaded network is.
    net.b.graph.up_to(x)
}

struct Net {
    b: Builder,
    /// Whether weights may be far from what training gives.
    extreme: bool,
}

impl Net {
    fn shape(&self, v: ValueId) -> Shape {
        self.b.graph.shape(v)
    }

    /// A node, where its operands fit it.
    fn push(&mut self, what: &str, op: Op, inputs: &[ValueId]) -> Option<ValueId> {
        let name = format!("{what}.{}", self.b.graph.nodes().len());
        let shape = self.shape(inputs[0]);
        (shape.len() <= 1 << 16).then(|| self.b.graph.push(name, op, inputs).ok()).flatten()
    }

    fn grow(&mut self, s: &mut Source, x: ValueId) -> Option<ValueId> {
        let shape = self.shape(x);
        // Blocks of the tests: whole numbers of channels, reserved ones among them.
        let blocks = shape.channels >= 2 && shape.len() <= 1 << 14;
        match s.below(14) {
            0..4 => self.conv(s, x),
            4 if blocks => Some(self.b.block(x)),
            5 | 6 if blocks => Some(self.b.variant(x)),
            4..7 => self.conv(s, x),
            7 => Some(self.b.norm(x)),
            8 => {
                let a = self.activation(s, shape.channels);
                self.push("act", Op::Activation(a), &[x])
            }
            9 => self.add(s, x),
            10 => {
                let kernel = [s.within(1, 4), s.within(1, 4)];
                let stride = [s.within(1, 3), s.within(1, 3)];
                let padding = [s.within(0, kernel[0] / 2), s.within(0, kernel[1] / 2)];
                self.push("pool", Op::MaxPool(MaxPool { kernel, stride, padding }), &[x])
            }
            11 => self.push("mean", Op::AvgPool2x2, &[x]),
            12 => {
                let start = s.below(shape.channels);
                let end = s.within(start + 1, shape.channels);
                self.push("slice", Op::Slice(start..end), &[x])
            }
            _ => self.gate(s, x),
        }
    }

    fn add(&mut self, s: &mut Source, x: ValueId) -> Option<ValueId> {
        let shape = self.shape(x);
        let same: Vec<ValueId> = self.b.graph.values().filter(|v| self.shape(*v) == shape).collect();
        let y = *s.pick(&same);
        let a = if s.one_in(2) { self.activation(s, shape.channels) } else { Activation::Identity };
        let pair = if s.one_in(2) { [x, y] } else { [y, x] };
        self.push("add", Op::Add(a), &pair)
    }

    fn gate(&mut self, s: &mut Source, x: ValueId) -> Option<ValueId> {
        let mean = self.push("squeeze", Op::GlobalAverage, &[x])?;
        let gate = self.conv(s, mean)?;
        let gate = self.push("sigmoid", Op::Activation(Activation::Sigmoid), &[gate])?;
        let room = self.shape(x).channels.checked_sub(self.shape(gate).channels)?;
        let first = s.within(0, room);
        self.push("gate", Op::Gate { first }, &[x, gate])
    }

    fn activation(&mut self, s: &mut Source, channels: usize) -> Activation {
        match s.below(6) {
            0 | 1 => Activation::Relu,
            2 => Activation::Relu6,
            3 => Activation::PRelu(self.values(channels, 1.0).into()),
            4 => Activation::Sigmoid,
            _ => Activation::Identity,
        }
    }

    fn values(&mut self, n: usize, scale: f64) -> Vec<f64> {
        let Rng(seed) = &mut self.b.rng;
        let mut rng = Rng(*seed);
        let values = rng.values(n).into_iter().map(|v| {
            let far = [1e-20, 1e20, 0.0, 1e-40, 1e6];
            let unusual = self.extreme && rng.below(8) == 0;
            f64::from((v * scale * if unusual { far[rng.below(far.len())] } else { 1.0 }) as f32)
        });
        let values = values.collect();
        *seed = rng.0;
        values
    }

    fn weight(&mut self, shape: [usize; 4]) -> Weight {
        let scale = (1.0 / (shape[1] * shape[2] * shape[3]) as f64).sqrt();
        let values = self.values(shape.iter().product(), scale).iter().map(|v| *v as f32).collect();
        Weight::new(Tensor::from_f32(shape.to_vec(), values))
    }

    fn conv(&mut self, s: &mut Source, x: ValueId) -> Option<ValueId> {
        let shape = self.shape(x);
        let cin = shape.channels;
        let divisors: Vec<usize> = (1..=cin).filter(|g| cin.is_multiple_of(*g)).collect();
        let groups = match s.below(4) {
            0 | 1 => 1,
            2 => cin,
            _ => *s.pick(&divisors),
        };
        let out = groups * if groups > 8 { s.within(1, 2) } else { s.within(1, 12) };
        let common = [[3, 3], [1, 1], [5, 5], [7, 7]];
        let (usual, any) = (*s.pick(&common), [s.within(1, 7), s.within(1, 7)]);
        let kernel = if s.one_in(3) { any } else { usual };
        let weight = self.weight([out, cin / groups, kernel[0], kernel[1]]);
        let stride = if s.one_in(3) { [s.within(1, 3), s.within(1, 3)] } else { [1, 1] };
        let padding = match s.below(3) {
            0 | 1 => kernel.map(|k| k / 2),
            _ => [s.within(0, kernel[0]), s.within(0, kernel[1])],
        };
        let mut conv = Conv2d::dense(weight, groups, stride, padding);
        if s.one_in(4) {
            conv.dilation = [s.within(1, 3), s.within(1, 3)];
            conv.padding = [0, 1].map(|i| conv.padding[i] * conv.dilation[i]);
            conv.padding_end = conv.padding;
        }
        match s.below(8) {
            6 => conv = conv.padded_same(shape.size()),
            7 => conv.padding_end = [s.within(0, kernel[0]), s.within(0, kernel[1])],
            _ => {}
        }
        if s.one_in(2) {
            conv = conv.with_bias(self.values(out, 1.0));
        }
        if s.one_in(3) {
            self.blocks(s, &mut conv);
        }
        conv.activation = self.partition(s, conv.out_channels);
        self.push("conv", Op::Conv2d(conv), &[x])
    }

    /// Activations of ranges of channels.
    fn partition(&mut self, s: &mut Source, channels: usize) -> Vec<(std::ops::Range<usize>, Activation)> {
        let cut = if s.one_in(3) && channels > 1 { s.within(1, channels - 1) } else { channels };
        let mut parts = vec![(0..cut, self.activation(s, cut))];
        if cut < channels {
            parts.push((cut..channels, self.activation(s, channels - cut)));
        }
        parts
    }

    /// More channels in front of the convolution's own, and blocks anywhere.
    fn blocks(&mut self, s: &mut Source, conv: &mut Conv2d) {
        let reserved = s.within(0, 8);
        conv.out_channels += reserved;
        conv.blocks[0].out = reserved..conv.out_channels;
        conv.bias.splice(0..0, vec![0.0; reserved]);
        if s.one_in(6) {
            conv.blocks.clear();
        }
        for _ in 0..s.within(0, 3) {
            let most = conv.in_channels.min(conv.out_channels);
            let n = s.within(1, most);
            let (out, input) = (s.within(0, conv.out_channels - n), s.within(0, conv.in_channels - n));
            let factors: Arc<[f64]> = self.values(n, 1.0).into();
            let weight = match s.below(4) {
                0 => BlockWeight::Dirac,
                1 => BlockWeight::Diagonal(factors),
                2 => BlockWeight::Pointwise(self.weight([n, n, 1, 1])),
                _ => BlockWeight::AvgPool2x2,
            };
            conv.blocks.push(Block { out: out..out + n, input: input..input + n, weight });
        }
    }
}
