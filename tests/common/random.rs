//! Random residual networks, from a seed.

use rmnet::graph::{
    Activation, BatchNorm, Block, BlockWeight, Conv2d, Graph, MaxPool, Op, Shape, ValueId, Weight,
};
use rmnet::reference;
use rmnet::tensor::Tensor;

/// SplitMix64: small, fixed, good enough to make weights.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `lo..hi`.
    pub fn uniform(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Values of about unit variance.
    pub fn values(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.uniform(-1.7, 1.7)).collect()
    }
}

/// A network under construction.
pub struct Builder {
    pub graph: Graph,
    pub rng: Rng,
    names: usize,
}

impl Builder {
    pub fn new(seed: u64, input: Shape) -> Builder {
        Builder { graph: Graph::new(input), rng: Rng(seed), names: 0 }
    }

    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    pub fn push(&mut self, what: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = self.name(what);
        self.graph.push(name, op, inputs).expect("a network that fits")
    }

    /// Convolution without bias, then batch norm.
    pub fn conv(&mut self, x: ValueId, out: usize, k: usize, stride: usize, groups: usize) -> ValueId {
        self.conv_behind(0, x, out, k, stride, groups)
    }

    /// The same with `reserved` more channels in front that the convolution leaves zero.
    fn conv_behind(
        &mut self,
        reserved: usize,
        x: ValueId,
        out: usize,
        k: usize,
        stride: usize,
        groups: usize,
    ) -> ValueId {
        let cin = self.graph.shape(x).channels / groups;
        let scale = (1.0 / (cin * k * k) as f64).sqrt();
        let values = self.rng.values(out * cin * k * k).iter().map(|v| (v * scale) as f32).collect();
        let weight = Weight::new(Tensor::from_f32(vec![out, cin, k, k], values));
        let mut conv = Conv2d::dense(weight, groups, [stride; 2], [k / 2; 2]);
        conv.out_channels += reserved;
        conv.blocks[0].out = reserved..reserved + out;
        conv.bias = vec![0.0; reserved + out];
        conv.activation[0].0 = 0..reserved + out;
        let v = self.push("conv", Op::Conv2d(conv), &[x]);
        self.norm(v)
    }

    pub fn norm(&mut self, v: ValueId) -> ValueId {
        let out = self.graph.shape(v).channels;
        let bn = BatchNorm {
            weight: (0..out).map(|_| self.rng.uniform(-1.5, 1.5)).collect(),
            bias: (0..out).map(|_| self.rng.uniform(-0.5, 0.5)).collect(),
            mean: (0..out).map(|_| self.rng.uniform(-0.5, 0.5)).collect(),
            variance: (0..out).map(|_| self.rng.uniform(0.5, 2.0)).collect(),
            epsilon: 1e-5,
        };
        self.push("bn", Op::BatchNorm(bn), &[v])
    }

    pub fn relu(&mut self, x: ValueId) -> ValueId {
        self.push("relu", Op::Activation(Activation::Relu), &[x])
    }

    /// ReLU, mostly; sometimes ReLU6 or PReLU.
    pub fn activation(&mut self, x: ValueId) -> ValueId {
        let channels = self.graph.shape(x).channels;
        let activation = match self.rng.below(6) {
            0 => Activation::Relu6,
            1 => Activation::PRelu((0..channels).map(|_| self.rng.uniform(-0.5, 1.5)).collect()),
            _ => Activation::Relu,
        };
        self.push("act", Op::Activation(activation), &[x])
    }

    /// Squeeze-and-excitation.
    pub fn gate(&mut self, x: ValueId) -> ValueId {
        let channels = self.graph.shape(x).channels;
        let mut gate = self.push("squeeze", Op::GlobalAverage, &[x]);
        let inner = 1 + self.rng.below(6);
        gate = self.conv(gate, inner, 1, 1, 1);
        gate = self.relu(gate);
        gate = self.conv(gate, channels, 1, 1, 1);
        gate = self.push("sigmoid", Op::Activation(Activation::Sigmoid), &[gate]);
        self.push("gate", Op::Gate { first: 0 }, &[x, gate])
    }

    /// A block of another family: pre-activation, linear bottleneck with a depthwise convolution, squeeze-and-excitation,
    /// average-pool shortcut, parallel branches, parallel branches beside reserved channels, a shortcut scaled per channel.
    pub fn variant(&mut self, x: ValueId) -> ValueId {
        let channels = self.graph.shape(x).channels;
        let width = 3 + self.rng.below(8);
        let sum = |b: &mut Builder, y, side| b.push("add", Op::Add(Activation::Identity), &[y, side]);
        match self.rng.below(7) {
            0 => {
                let projected = self.rng.below(2) == 0;
                let (out, stride) = if projected { (width, 1 + self.rng.below(2)) } else { (channels, 1) };
                let a = self.norm(x);
                let a = self.activation(a);
                let h = self.conv(a, width, 3, 1, 1);
                let h = self.activation(h);
                let h = self.conv(h, out, 3, stride, 1);
                let side = if projected { self.conv(a, out, 1, stride, 1) } else { x };
                sum(self, h, side)
            }
            1 => {
                let h = self.conv(x, width, 1, 1, 1);
                let h = self.activation(h);
                let h = self.conv(h, width, 3, 1, width);
                let h = self.activation(h);
                let h = self.conv(h, channels, 1, 1, 1);
                sum(self, h, x)
            }
            2 => {
                let projected = self.rng.below(2) == 0;
                let (out, stride) = if projected { (width, 1 + self.rng.below(2)) } else { (channels, 1) };
                let h = self.conv(x, width, 3, stride, 1);
                let h = self.relu(h);
                let h = self.conv(h, out, 3, 1, 1);
                let h = self.gate(h);
                let side = if projected { self.conv(x, out, 1, stride, 1) } else { x };
                let s = sum(self, h, side);
                self.activation(s)
            }
            3 => {
                let h = self.conv(x, width, 1, 1, 1);
                let h = self.relu(h);
                let h = self.conv(h, width, 3, 2, 1);
                let h = self.relu(h);
                let h = self.conv(h, 8, 1, 1, 1);
                let mean = self.push("mean", Op::AvgPool2x2, &[x]);
                let side = self.conv(mean, 8, 1, 1, 1);
                let s = sum(self, h, side);
                self.relu(s)
            }
            4 => {
                let reserved = self.rng.below(channels).max(1);
                let a = self.conv_behind(reserved, x, channels - reserved, 3, 1, 1);
                let b = self.conv_behind(reserved, x, channels - reserved, 1, 1, 1);
                let mut carried = Conv2d::pointwise_function(channels, Activation::Identity);
                carried.blocks =
                    vec![Block { out: 0..reserved, input: 0..reserved, weight: BlockWeight::Dirac }];
                let carried = self.push("carry", Op::Conv2d(carried), &[x]);
                let c = self.norm(x);
                let s = sum(self, a, b);
                let s = sum(self, s, carried);
                let s = sum(self, s, c);
                self.relu(s)
            }
            5 => {
                let h = self.conv(x, width, 3, 1, 1);
                let h = self.activation(h);
                let h = self.conv(h, channels, 3, 1, 1);
                let side = self.norm(x);
                let s = sum(self, h, side);
                self.activation(s)
            }
            _ => {
                let a = self.conv(x, channels, 3, 1, 1);
                let b = self.conv(x, channels, 1, 1, 1);
                let c = self.norm(x);
                let s = sum(self, a, b);
                let s = sum(self, s, c);
                self.relu(s)
            }
        }
    }

    /// A residual block of 1 to 3 convolutions, identity or projection, ReLU after the Add or not.
    pub fn block(&mut self, x: ValueId) -> ValueId {
        let channels = self.graph.shape(x).channels;
        let count = 1 + self.rng.below(3);
        let identity = self.rng.below(2) == 0;
        let out = if identity { channels } else { 4 + self.rng.below(9) };
        let stride = if identity { 1 } else { 1 + self.rng.below(2) };
        let strided = self.rng.below(count);
        let mut h = x;
        for i in 0..count {
            let s = if i == strided { stride } else { 1 };
            let cin = self.graph.shape(h).channels;
            let last = i + 1 == count;
            let groups = if cin.is_multiple_of(2) && !last && self.rng.below(3) == 0 { 2 } else { 1 };
            let o = if last { out } else { groups * (2 + self.rng.below(6)) };
            let k = [1, 3, 3, 5][self.rng.below(4)];
            h = self.conv(h, o, k, s, groups);
            if !last {
                h = self.relu(h);
            }
        }
        let side = if identity { x } else { self.conv(x, out, 1, stride, 1) };
        let pair = if self.rng.below(2) == 0 { [h, side] } else { [side, h] };
        let sum = self.push("add", Op::Add(Activation::Identity), &pair);
        if self.rng.below(5) == 0 { sum } else { self.relu(sum) }
    }

    /// Global average and classifier.
    pub fn head(&mut self, x: ValueId, classes: usize) -> ValueId {
        let mean = self.push("average", Op::GlobalAverage, &[x]);
        let channels = self.graph.shape(mean).channels;
        let values = self.rng.values(classes * channels).iter().map(|v| *v as f32).collect();
        let weight = Weight::new(Tensor::from_f32(vec![classes, channels, 1, 1], values));
        let mut conv = Conv2d::dense(weight, 1, [1, 1], [0, 0]);
        conv.bias = self.rng.values(classes);
        self.push("fc", Op::Conv2d(conv), &[mean])
    }
}

/// A whole network: stem, perhaps a pool, blocks and plain convolutions, head. Odd sizes, any channel counts.
pub fn network(seed: u64) -> Graph {
    let mut rng = Rng(seed ^ 0x5EED);
    let input = Shape { channels: 3, height: 9 + rng.below(14), width: 9 + rng.below(14) };
    let mut b = Builder::new(seed, input);
    let stem = if rng.below(2) == 0 { (7, 2) } else { (3, 1) };
    let width = 4 + rng.below(9);
    let mut x = b.conv(ValueId::INPUT, width, stem.0, stem.1, 1);
    x = b.relu(x);
    if rng.below(2) == 0 {
        let pool = MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
        x = b.push("pool", Op::MaxPool(pool), &[x]);
    }
    for _ in 0..1 + rng.below(4) {
        x = if rng.below(2) == 0 { b.block(x) } else { b.variant(x) };
        if rng.below(4) == 0 {
            let width = 3 + rng.below(7);
            x = b.conv(x, width, 3, 1, 1);
            x = b.relu(x);
        }
    }
    let classes = 2 + rng.below(5);
    b.head(x, classes);
    b.graph
}

/// `batch` random images for a graph.
pub fn images(graph: &Graph, batch: usize, seed: u64) -> Vec<f32> {
    Rng(seed).values(batch * graph.input_shape().len()).iter().map(|v| *v as f32).collect()
}

/// How far f32 logits are from the oracle's, over the largest sum of magnitudes `|w| |x| + |b|` that a logit is summed from.
/// Over the largest logit alone, a network whose features happen to cancel in every logit would look inexact.
///
/// # Panics
/// When the lengths differ, a value is not finite or the output is no convolution.
pub fn f32_error(graph: &Graph, input: &[f32], batch: usize, found: &[f32]) -> f64 {
    let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|v| f64::from(*v)).collect() };
    let expected = reference::run(graph, &wide(input), batch);
    let (worst, _) = super::difference(&wide(found), &expected);
    let node = graph.node(graph.output());
    let Op::Conv2d(classifier) = &node.op else { panic!("{} is no convolution", node.name) };
    let mut magnitudes = classifier.clone();
    magnitudes.bias.iter_mut().for_each(|b| *b = b.abs());
    for block in &mut magnitudes.blocks {
        if let BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) = &mut block.weight {
            let values = weight.to_f64().iter().map(|v| v.abs()).collect();
            *weight = Weight::new(Tensor::from_f64(weight.shape().to_vec(), values));
        }
    }
    let mut features = vec![];
    reference::visit(graph, &wide(input), batch, |v, value| {
        if v == node.inputs[0] {
            features = value.iter().map(|x| x.abs()).collect();
        }
    });
    let mut sums = Graph::new(graph.shape(node.inputs[0]));
    sums.push("sums", Op::Conv2d(magnitudes), &[sums.output()]).unwrap();
    let scale = reference::run(&sums, &features, batch).into_iter().fold(0.0, f64::max);
    if worst == 0.0 { 0.0 } else { worst / scale }
}
