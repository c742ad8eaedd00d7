//! Selects the value that a session returns: the network's own output, the pooled features, or a layer's map.
//!
//! The original graph is cut at the value before any rewrite, so every later stage works as for a whole graph.

use crate::graph::{Graph, Node, Op, ValueId};
use crate::models::{Model, Naming, OutputKind};
use crate::rewrite::Rewritten;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The value of a network that a session returns.
///
/// Parsed from text: `logits`, `features`, or else the name of a layer.
///
/// ```
/// use rmnet::{Device, Options, OutputChoice, Session};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
/// let run = |output: OutputChoice| -> Result<_, rmnet::Error> {
///     let options = Options::default().device(Device::Cpu).output(output);
///     let session = Session::open(folder, &options)?;
///     let values = session.run(&vec![0.5; session.input_len()])?;
///     Ok((session.output_shape(), values))
/// };
/// let ([_, channels, 1, 1], features) = run(OutputChoice::Features)? else { panic!("pooled") };
/// assert_eq!(features.len(), channels);
///
/// // A block's map has those features as its means.
/// let ([_, _, height, width], map) = run("layer3.2".parse()?)? else { unreachable!() };
/// let mean = map[..height * width].iter().sum::<f32>() / (height * width) as f32;
/// assert!((mean - features[0]).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputChoice {
    /// The network's own output.
    #[default]
    Logits,
    /// The input of the classifier: the global average of the last map, `[batch, channels, 1, 1]`. For a network that computes an
    /// embedding, the embedding.
    Features,
    /// A layer's value, `[batch, channels, height, width]`. The name is looked up as
    /// * a block (`layer1.0`, see [`Model::blocks`]): the value after its last activation, or its sum if no activation follows;
    /// * any other node of [`Model::graph`], such as `layer1.0.bn1`;
    /// * a module that holds several layers, such as the stage `layer1`, if exactly one value computed in it is read outside of it.
    ///
    /// In a converted file only the names in [`Model::layers`] are found: the original's blocks and poolings. Its other layers differ from
    /// the original's layers of the same name, since batch norm and activation are folded into them and carried channels are stored in
    /// front.
    Layer(String),
}

impl FromStr for OutputChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<OutputChoice, Infallible> {
        Ok(match text {
            "logits" => OutputChoice::Logits,
            "features" => OutputChoice::Features,
            layer => OutputChoice::Layer(layer.into()),
        })
    }
}

impl fmt::Display for OutputChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OutputChoice::Logits => "logits",
            OutputChoice::Features => "features",
            OutputChoice::Layer(name) => name,
        })
    }
}

/// Maximum number of names listed by an error.
const LISTED: usize = 40;

/// The names joined by commas. A long list is cut off, and the number of further names is added.
pub(super) fn some(names: &[String]) -> String {
    let listed = names[..names.len().min(LISTED)].join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// A value that a network does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// No layer has this name.
    #[error("output `{name}`: expected `logits`, `features` or the name of a layer; {}", listed(.names, *.converted))]
    UnknownLayer {
        /// The name asked for.
        name: String,
        /// Available names: blocks or, in a network without blocks, all layers.
        names: Vec<String>,
        /// Whether the model is a converted file, in which only these names are found.
        converted: bool,
    },
    /// Several values of a module are read outside of it.
    #[error("output `{name}`: expected a module with one output, found the outputs {}: name one of them", .values.join(", "))]
    Several {
        /// The name asked for.
        name: String,
        /// The layers that compute these values.
        values: Vec<String>,
    },
    /// The output is not computed from a global average.
    #[error(
        "output `features`: expected a global average before the output, found {layer} ({op}); name a layer instead"
    )]
    NotPooled {
        /// The layer at which the search from the output ended.
        layer: String,
        /// Its operation.
        op: String,
    },
}

fn listed(names: &[String], converted: bool) -> String {
    match (names, converted) {
        ([], true) => "this converted file has no block of the original: run the original for a layer".into(),
        (names, true) => format!("this converted file has the values of {} alone", some(names)),
        (names, false) => format!("there are {}; other layers go by the names of their tensors", some(names)),
    }
}

impl OutputChoice {
    /// The model cut off after this value. If it is not the model's own output, layers after it are removed from [`Model::graph`], there
    /// are no labels, and [`Model::output`] is [`OutputKind::Features`].
    ///
    /// # Errors
    /// [`OutputError`] if the model has no such value.
    pub fn of<'m>(&self, model: &'m Model) -> Result<Cow<'m, Model>, OutputError> {
        let value = match self {
            OutputChoice::Logits => model.graph.output(),
            OutputChoice::Features => features(model)?,
            OutputChoice::Layer(name) => layer(model, name)?,
        };
        if value == model.graph.output() {
            return Ok(Cow::Borrowed(model));
        }
        let graph = model.graph.up_to(value);
        let blocks = model.blocks.iter().filter(|b| graph.find(b).is_some()).cloned().collect();
        let mut layers = model.layers.clone();
        layers.retain(|_, node| graph.find(node).is_some());
        Ok(Cow::Owned(Model {
            graph,
            blocks,
            layers,
            labels: None,
            output: OutputKind::Features,
            ..model.clone()
        }))
    }
}

/// The value that the classifier reads: walks back from the output through layers of 1x1 maps to the global average. Every layer on the way
/// has one operand, so the walk never enters the branch of a gate, which has its own average.
fn features(model: &Model) -> Result<ValueId, OutputError> {
    let graph = &model.graph;
    if model.output == OutputKind::Embedding {
        return Ok(graph.output());
    }
    let mut value = graph.output();
    loop {
        let node = graph.node(value);
        match (&node.op, node.inputs.as_slice()) {
            (Op::GlobalAverage, _) => return Ok(value),
            (Op::Conv2d(_) | Op::BatchNorm(_) | Op::Activation(_), [x])
                if graph.shape(*x).size() == [1, 1] =>
            {
                value = *x;
            }
            (op, _) => {
                return Err(OutputError::NotPooled { layer: node.name.clone(), op: op.to_string() });
            }
        }
    }
}

/// The value that a layer's name refers to.
fn layer(model: &Model, name: &str) -> Result<ValueId, OutputError> {
    let graph = &model.graph;
    if model.naming == Naming::Saved {
        let node = model.layers.get(name).and_then(|node| graph.find(node));
        let unknown = || OutputError::UnknownLayer {
            name: name.into(),
            names: model.layers.keys().cloned().collect(),
            converted: true,
        };
        return node.ok_or_else(unknown);
    }
    if let Some(value) = graph.find(name) {
        return Ok(value);
    }
    match outputs_of(graph, name).as_slice() {
        [value] => Ok(*value),
        [] => {
            let all = || graph.nodes().iter().map(|n| n.name.clone()).collect();
            let names = if model.blocks.is_empty() { all() } else { model.blocks.clone() };
            Err(OutputError::UnknownLayer { name: name.into(), names, converted: false })
        }
        several => {
            let values = several.iter().map(|v| graph.node(*v).name.clone()).collect();
            Err(OutputError::Several { name: name.into(), values })
        }
    }
}

/// The outputs of a module: values of layers below its name (as `layer1.0.conv1` is below `layer1`) that layers outside the module read, or
/// that are the network's output.
fn outputs_of(graph: &Graph, name: &str) -> Vec<ValueId> {
    let below = |v: &ValueId| {
        let rest = graph.node(*v).name.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('.')) && !name.is_empty()
    };
    let consumers = graph.consumers();
    let leaves =
        |v: &ValueId| *v == graph.output() || consumers[v.index()].iter().any(|reader| !below(reader));
    graph.values().filter(below).filter(leaves).collect()
}

/// The node that computes the output of a module of several layers, such as the stage `layer1`; `None` if there is no such module, or if it
/// has several outputs.
pub(super) fn module_output(model: &Model, name: &str) -> Option<String> {
    match outputs_of(&model.graph, name).as_slice() {
        [value] => Some(model.graph.node(*value).name.clone()),
        _ => None,
    }
}

/// Maps the names of blocks and poolings of `original` whose values still exist in the rewritten graph to the rewritten graph's nodes. A
/// converted file stores this as [`Model::layers`]. Other layers are left out, since later layers are fused into them or they carry
/// channels.
pub fn preserved_layers(original: &Model, rewritten: &Rewritten) -> BTreeMap<String, String> {
    let graph = &original.graph;
    let is_pool = |n: &&Node| matches!(n.op, Op::MaxPool(_) | Op::GlobalAverage);
    let pools = graph.nodes().iter().filter(is_pool).map(|n| (&n.name, &n.name));
    // A model that was converted before already maps names to nodes.
    let node_of = |name: &String| original.layers.get(name).unwrap_or(name).clone();
    let named = original.layers.iter();
    let blocks = rewritten.blocks.iter().map(|b| (&b.block, &b.output));
    let same = |(name, node): &(&String, &String)| {
        let before = graph.find(&node_of(name)).map(|v| graph.shape(v));
        let after = rewritten.graph.find(node).map(|v| rewritten.graph.shape(v));
        before.is_some() && before == after
    };
    named.chain(pools).chain(blocks).filter(same).map(|(name, node)| (name.clone(), node.clone())).collect()
}
