//! The network as a graph of operations on `[channels, height, width]` values, one per image of a batch.
//!
//! A [`Graph`] is append-only: [`Graph::push`] infers and checks the shape and returns the id of the new value. Passes in
//! `rewrite` build a new graph from an old one.
//!
//! A graph is bounded by [`MAX_NODES`], [`MAX_NAME`], [`MAX_CHANNELS`], [`MAX_VALUES`], [`MAX_MACS`] and [`MAX_BLOCKS`]. `push`
//! refuses anything beyond, so later code can add up sizes without overflow.

mod activation;
mod conv;
mod display;
mod limits;
mod names;
mod non_negative;
mod op;
mod overflow;
mod recognise;
mod weight;

pub use activation::Activation;
pub use conv::{Block, BlockWeight, Conv2d, MAX_BLOCKS};
pub use limits::{MAX_CHANNELS, MAX_MACS, MAX_NAME, MAX_NODES, MAX_VALUES};
pub use op::{BatchNorm, MaxPool, Op};
pub use recognise::{NEAR_DIRAC, Recognised};
pub use weight::Weight;

use limits::Totals;
use names::NodeNames;
use std::collections::BTreeMap;
use std::fmt;

/// The shape of a value for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// Elements of one image, at most [`usize::MAX`].
    pub fn len(&self) -> usize {
        self.channels.saturating_mul(self.height).saturating_mul(self.width)
    }

    /// Whether there is no element at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `[height, width]`.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {}, {}]", self.channels, self.height, self.width)
    }
}

/// A value of a graph: the output of the node with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) usize);

impl ValueId {
    /// The graph's input.
    pub const INPUT: ValueId = ValueId(0);

    /// Index of the node that computes the value.
    pub fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// An operation with its name, its operands and the shape of its result.
#[derive(Clone, Debug)]
pub struct Node {
    /// The layer's name in the checkpoint if it has one. Unique within a graph.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Operands, all earlier in the graph.
    pub inputs: Vec<ValueId>,
    /// Shape of the value, inferred.
    pub shape: Shape,
}

/// An operation that does not fit its operands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{node}: expected {expected}, found {found}")]
pub struct GraphError {
    /// Name of the node refused.
    pub node: String,
    /// What the operation needs.
    pub expected: String,
    /// What it was given.
    pub found: String,
}

/// A directed acyclic graph in topological order.
#[derive(Clone, Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    output: ValueId,
    /// By node index, the channels of a batch norm or the slopes of an activation that the file does not have.
    padding: BTreeMap<usize, usize>,
    names: NodeNames,
    totals: Totals,
}

/// The shape of a convolution's output for `x`; if it does not fit, what was expected and what was found.
fn conv_shape(conv: &Conv2d, x: Shape) -> Result<Shape, (String, String)> {
    if conv.in_channels != x.channels {
        let expected = format!("{} input channels", conv.in_channels);
        return Err((expected, format!("{}", x.channels)));
    }
    conv.check()?;
    if conv.even && x.size().iter().any(|n| !n.is_multiple_of(2)) {
        let expected = "an input of even height and width, as its taps stand for 2x2 means";
        return Err((expected.into(), format!("{}x{}", x.height, x.width)));
    }
    let [height, width] = fitting(conv.output_size(x.size()), conv.kernel, x)?;
    let dense = |b: &Block| matches!(b.weight, BlockWeight::Dense { .. });
    if !conv.blocks.iter().all(dense) && conv.strided_size(x.size()) != [height, width] {
        let [h, w] = conv.strided_size(x.size());
        let expected = format!("padding that gives {h}x{w}, an output for every input at the stride");
        return Err((expected, format!("{height}x{width}")));
    }
    Ok(Shape { channels: conv.out_channels, height, width })
}

/// The output size of a window over `x`, or an error if the window does not fit.
fn fitting(size: Option<[usize; 2]>, window: [usize; 2], x: Shape) -> Result<[usize; 2], (String, String)> {
    size.ok_or_else(|| {
        (
            format!("an input that a {}x{} window fits", window[0], window[1]),
            format!("{}x{}", x.height, x.width),
        )
    })
}

impl Graph {
    /// A graph with only its input, named `input`. The output is the input until an operation is pushed.
    #[doc(hidden)]
    pub fn new(input: Shape) -> Graph {
        let node = Node { name: "input".into(), op: Op::Input(input), inputs: vec![], shape: input };
        Graph::of(vec![node], ValueId::INPUT, BTreeMap::new())
    }

    fn of(nodes: Vec<Node>, output: ValueId, padding: BTreeMap<usize, usize>) -> Graph {
        let (names, totals) = (NodeNames::of(&nodes), Totals::of(&nodes));
        Graph { nodes, output, padding, names, totals }
    }

    /// Appends an operation, which becomes the graph's output, and returns its value.
    ///
    /// # Errors
    /// [`GraphError`] names the node when its operands do not fit, when the name is taken, or when the graph would be too large.
    #[doc(hidden)]
    pub fn push(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let name = name.into();
        let refuse = |expected: String, found: String| GraphError { node: name.clone(), expected, found };
        let refused = |(expected, found)| refuse(expected, found);
        self.admits_name(&name).map_err(refused)?;
        self.admitted()?;
        let shape = self.infer(&op, inputs).map_err(refused)?;
        let totals = self.totals.with(&op, shape);
        totals.check().map_err(refused)?;
        self.totals = totals;
        self.names.insert(&name, self.nodes.len());
        self.nodes.push(Node { name, op, inputs: inputs.to_vec(), shape });
        self.output = ValueId(self.nodes.len() - 1);
        Ok(self.output)
    }

    fn infer(&self, op: &Op, inputs: &[ValueId]) -> Result<Shape, (String, String)> {
        let arity = match op {
            Op::Input(_) => return Err(("one input, made by Graph::new".into(), "a second input".into())),
            Op::Add(_) | Op::Gate { .. } => 2,
            _ => 1,
        };
        if inputs.len() != arity || inputs.iter().any(|v| v.0 >= self.nodes.len()) {
            return Err((format!("{arity} earlier operands"), format!("{inputs:?}")));
        }
        let x = self.shape(inputs[0]);
        match op {
            Op::Input(shape) => Ok(*shape),
            Op::Conv2d(conv) => conv_shape(conv, x),
            Op::BatchNorm(bn) => {
                let lengths = [bn.weight.len(), bn.bias.len(), bn.mean.len(), bn.variance.len()];
                if lengths.iter().any(|&n| n != x.channels) {
                    return Err((format!("statistics of {} channels", x.channels), format!("{lengths:?}")));
                }
                Ok(x)
            }
            Op::Activation(a) => a.check(x.channels).map(|()| x),
            Op::Add(a) => {
                a.check(x.channels)?;
                let y = self.shape(inputs[1]);
                if x == y { Ok(x) } else { Err((format!("two operands of shape {x}"), format!("{y}"))) }
            }
            Op::MaxPool(pool) => {
                pool.check()?;
                let [height, width] = fitting(pool.output_size(x.size()), pool.kernel, x)?;
                Ok(Shape { height, width, ..x })
            }
            Op::AvgPool2x2 => Ok(Shape { height: x.height.div_ceil(2), width: x.width.div_ceil(2), ..x }),
            Op::Slice(range) => match range.start < range.end && range.end <= x.channels {
                true => Ok(Shape { channels: range.len(), ..x }),
                false => Err((format!("a range of {} channels", x.channels), format!("{range:?}"))),
            },
            Op::Gate { first } => {
                let gate = self.shape(inputs[1]);
                let end = first.checked_add(gate.channels);
                if gate.size() == [1, 1] && end.is_some_and(|end| end <= x.channels) {
                    return Ok(x);
                }
                let expected =
                    format!("a gate [g, 1, 1] of channels {first} to {first} + g of {}", x.channels);
                Err((expected, format!("{gate}")))
            }
            Op::GlobalAverage => Ok(Shape { height: 1, width: 1, ..x }),
        }
    }

    /// All nodes, operands before their readers.
    #[doc(hidden)]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node that computes a value.
    #[doc(hidden)]
    pub fn node(&self, value: ValueId) -> &Node {
        &self.nodes[value.0]
    }

    /// Every value, in order.
    #[doc(hidden)]
    pub fn values(&self) -> impl DoubleEndedIterator<Item = ValueId> + use<> {
        (0..self.nodes.len()).map(ValueId)
    }

    /// The shape of a value.
    #[doc(hidden)]
    pub fn shape(&self, value: ValueId) -> Shape {
        self.nodes[value.0].shape
    }

    /// The shape of the input.
    #[doc(hidden)]
    pub fn input_shape(&self) -> Shape {
        self.nodes[0].shape
    }

    /// The value the graph computes.
    #[doc(hidden)]
    pub fn output(&self) -> ValueId {
        self.output
    }

    /// The value of the node named `name`.
    #[doc(hidden)]
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.names.find(&self.nodes, name).map(ValueId)
    }

    /// The graph that ends at `value`, without the nodes that it does not need. Nodes keep their names, and the input stays.
    #[doc(hidden)]
    pub fn up_to(&self, value: ValueId) -> Graph {
        let mut needed = vec![false; self.nodes.len()];
        (needed[0], needed[value.0]) = (true, true);
        for (i, node) in self.nodes.iter().enumerate().rev().filter(|(i, _)| *i <= value.0) {
            if needed[i] {
                node.inputs.iter().for_each(|v| needed[v.0] = true);
            }
        }
        let mut moved = vec![ValueId::INPUT; self.nodes.len()];
        let mut nodes: Vec<Node> = vec![];
        for (i, node) in self.nodes.iter().enumerate().filter(|(i, _)| needed[*i]) {
            moved[i] = ValueId(nodes.len());
            let inputs = node.inputs.iter().map(|v| moved[v.0]).collect();
            nodes.push(Node { inputs, ..node.clone() });
        }
        let mut padding = BTreeMap::new();
        padding.extend(self.padding.iter().filter(|(i, _)| needed[**i]).map(|(i, n)| (moved[*i].0, *n)));
        Graph::of(nodes, moved[value.0], padding)
    }

    /// For each value, the nodes that read it. A node that reads it twice is listed twice.
    #[doc(hidden)]
    pub fn consumers(&self) -> Vec<Vec<ValueId>> {
        let mut users = vec![vec![]; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for v in &node.inputs {
                users[v.0].push(ValueId(i));
            }
        }
        users
    }

    /// The same network for another input height and width. Padding is unchanged, except where it follows from the input size
    /// ([`Conv2d::same`]). Taps that represent 2x2 means ([`Conv2d::even`]) become mean blocks again if only those are correct at
    /// the new size.
    ///
    /// # Errors
    /// [`GraphError`] names the first layer whose window no longer fits, or whose means cannot be recognised among its taps.
    #[doc(hidden)]
    pub fn resized(&self, height: usize, width: usize) -> Result<Graph, GraphError> {
        let mut graph = Graph::new(Shape { height, width, ..self.input_shape() });
        for node in &self.nodes[1..] {
            let (old, new) = (self.shape(node.inputs[0]).size(), graph.shape(node.inputs[0]).size());
            let odd = new.iter().any(|n| !n.is_multiple_of(2));
            let op = match &node.op {
                Op::Conv2d(conv) if conv.same => Op::Conv2d(conv.clone().padded_same(new)),
                Op::Conv2d(conv) if conv.even && odd => {
                    Op::Conv2d(conv.recognised(old, 0.0).map_or_else(|| conv.clone(), |r| r.conv))
                }
                op => op.clone(),
            };
            graph.push(node.name.clone(), op, &node.inputs)?;
        }
        graph.output = self.output;
        graph.padding.clone_from(&self.padding);
        Ok(graph)
    }

    /// Multiply-accumulates for one image. Dirac blocks count none.
    pub fn macs(&self) -> usize {
        self.totals.macs()
    }

    /// Convolutions with their nodes, in order.
    #[doc(hidden)]
    pub fn convs(&self) -> impl Iterator<Item = (&Node, &Conv2d)> {
        self.nodes.iter().filter_map(|n| match &n.op {
            Op::Conv2d(conv) => Some((n, conv)),
            _ => None,
        })
    }

    /// Records that `channels` channels of a batch norm, or slopes of an activation, are not in the file: they are padding, or
    /// values that several layers share.
    pub(crate) fn pad(&mut self, value: ValueId, channels: usize) {
        self.padding.insert(value.0, channels);
    }

    /// Channels of all batch norms, as far as they are in the file.
    fn norm_channels(&self) -> usize {
        let channels = |(i, n): (usize, &Node)| match &n.op {
            Op::BatchNorm(bn) => bn.weight.len() - self.padding.get(&i).unwrap_or(&0),
            _ => 0,
        };
        self.nodes.iter().enumerate().map(channels).sum()
    }

    /// Number of learned values, counted as usual: weights, biases, slopes, and the scales and shifts of batch norms, without
    /// their running [statistics](Graph::statistics).
    pub fn parameters(&self) -> usize {
        let of = |(i, node): (usize, &Node)| match &node.op {
            Op::Conv2d(conv) => conv.parameters(),
            Op::Activation(a) => a.parameters() - self.padding.get(&i).unwrap_or(&0),
            Op::Add(a) => a.parameters(),
            _ => 0,
        };
        2 * self.norm_channels() + self.nodes.iter().enumerate().map(of).sum::<usize>()
    }

    /// Number of running means and variances of batch norms, which training tracks but does not learn.
    pub fn statistics(&self) -> usize {
        2 * self.norm_channels()
    }
}
