//! A plain chain as `torch.nn.Sequential` stores it, which is what the RMNet repository's `deploy()` and pruning write: the
//! names are numbers, and strides, paddings, pools and activations are in no tensor. `config.json`, or the metadata of the
//! file, lists the modules in order under `rmnet_chain`:
//!
//! ```json
//! {"rmnet_chain": [{"op": "conv2d", "stride": 1, "padding": 1}, {"op": "batch_norm"}, {"op": "relu"},
//!   {"op": "max_pool", "kernel": 3, "stride": 2, "padding": 1}, {"op": "global_average"}, {"op": "flatten"}, {"op": "linear"}]}
//! ```
//!
//! Also `relu6`, `prelu` and `identity` (a dropout). Widths and groups are read off the tensors, so that a pruned chain loads like
//! any other. A window is the square one that its padding keeps the size with, unless `"kernel": [height, width]` says
//! otherwise. A layer has a bias where others of its kind have one, the shifts of batch norms included, unless `"bias": false`
//! says that it has none. Image size and normalisation are `input_size`, `mean`, `std` as timm writes them.

use super::layers::{self, Layers};
use super::reader::Reader;
use super::scheme::{self, Built, Scheme};
use super::state_dict::StateDict;
use super::{ModelError, Naming, config};
use crate::graph::{Activation, Conv2d, MaxPool, Op, ValueId};
use crate::preprocess::Preprocess;
use serde::Deserialize;
use serde_json::Value;

/// Key of the list of modules, in `config.json` or in the file's metadata.
const KEY: &str = "rmnet_chain";

pub(super) const SCHEME: Scheme = Scheme {
    naming: Naming::Sequential,
    own_prefix: "",
    shown_by: "a plain chain (`0.weight`, with its modules under `rmnet_chain` in config.json)",
    matches: |dict| {
        let numbered = |n: &str| n.starts_with(|c: char| c.is_ascii_digit());
        let described = config::get(dict.config(), KEY).is_some() || dict.metadata(KEY).is_some();
        // Behind a deeper prefix there is a layer, not the chain.
        described
            && (dict.names().all(numbered) && dict.shape("weight").is_none() || dict.prefix().is_empty())
    },
    preprocess: |dict| match dict.tensor("0.weight").map(|t| t.shape()) {
        Some([_, _, 3, 3]) => Preprocess::cifar(),
        _ => Preprocess::imagenet(),
    },
    build,
    model_types: &[],
    timm: scheme::not_in_timm,
};

/// Whether every tensor has a number for a layer, but nothing says what the layers are.
pub(super) fn undescribed<'d>(dict: &'d StateDict<'_>) -> Option<&'d str> {
    let numbered = |n: &str| {
        n.split_once('.').is_some_and(|(i, what)| i.parse::<usize>().is_ok() && !what.contains('.'))
    };
    let bare = !(SCHEME.matches)(dict) && dict.names().all(numbered);
    dict.names().next().filter(|_| bare)
}

/// A module of the chain: what its tensors do not show.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Module {
    Conv2d { stride: usize, padding: usize, kernel: Option<[usize; 2]>, bias: Option<bool> },
    BatchNorm,
    Relu,
    Relu6,
    Prelu,
    MaxPool { kernel: usize, stride: usize, padding: usize },
    GlobalAverage,
    Flatten,
    Identity,
    Linear { bias: Option<bool> },
}

/// Whether each module has a bias: as the list says, else as others of its kind do. A layer with a batch norm behind it mostly
/// has none; any other has one as soon as one of them has, or a batch norm that shifts.
fn biased(reader: &Reader<'_>, modules: &[(String, Module)]) -> Vec<bool> {
    let normed = |i: usize| matches!(modules.get(i + 1), Some((_, Module::BatchNorm)));
    let has = |i: usize| reader.shape(&format!("{i}.bias")).is_some();
    let found = |with_norm: bool| {
        modules.iter().enumerate().any(|(i, (_, module))| match module {
            Module::Conv2d { .. } | Module::Linear { .. } => normed(i) == with_norm && has(i),
            Module::BatchNorm => !with_norm,
            _ => false,
        })
    };
    let [others, before_norms] = [false, true].map(found);
    let biased = |(i, (_, module)): (usize, &(String, Module))| match module {
        Module::Conv2d { bias: Some(said), .. } | Module::Linear { bias: Some(said) } => *said,
        _ if normed(i) => before_norms,
        _ => others,
    };
    modules.iter().enumerate().map(biased).collect()
}

/// The modules, each with its key in the config.
fn modules(reader: &Reader<'_>, config: Option<&Value>) -> Result<Vec<(String, Module)>, ModelError> {
    let wrong = |key: &str, expected: String, found: &Value| config::wrong(key, &expected, found);
    let text = reader.metadata(KEY).map(|text| Value::String(text.into()));
    let from_text = |text: &Value| {
        let parsed = text.as_str().map(serde_json::from_str::<Value>);
        parsed.and_then(Result::ok).ok_or_else(|| wrong(KEY, "JSON".into(), text))
    };
    let value = match config::get(config, KEY) {
        Some(value) => value.clone(),
        None => from_text(&text.unwrap_or(Value::Null))?,
    };
    let list = value.as_array().ok_or_else(|| wrong(KEY, "a list of modules".into(), &value))?;
    let module = |(index, value): (usize, &Value)| {
        let key = format!("{KEY}.{index}");
        match Module::deserialize(value) {
            Ok(module) => Ok((key, module)),
            Err(e) => Err(wrong(&key, format!("a module ({e})"), value)),
        }
    };
    list.iter().enumerate().map(module).collect()
}

fn build(reader: &mut Reader<'_>, config: Option<&Value>, size: [usize; 2]) -> Result<Built, ModelError> {
    let modules = modules(reader, config)?;
    let biased = biased(reader, &modules);
    let mut net = Layers::reading(reader, "0", size);
    let mut x = ValueId::INPUT;
    for (index, (_, module)) in modules.iter().enumerate() {
        let name = index.to_string();
        x = match *module {
            Module::Conv2d { stride, padding, kernel, .. } => {
                let kernel = kernel.unwrap_or([padding.saturating_mul(2).saturating_add(1); 2]);
                conv(&mut net, &name, Window { kernel, stride, padding, bias: biased[index] }, x)?
            }
            Module::BatchNorm => net.norm(&name, x)?,
            Module::Relu => net.push(name, Op::Activation(Activation::Relu), &[x])?,
            Module::Relu6 => net.push(name, Op::Activation(Activation::Relu6), &[x])?,
            Module::Prelu => net.prelu(&name, x)?,
            Module::MaxPool { kernel, stride, padding } => {
                let pool = MaxPool { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] };
                net.push(name, Op::MaxPool(pool), &[x])?
            }
            Module::GlobalAverage => net.push(name, Op::GlobalAverage, &[x])?,
            // What follows reads a map of one pixel, or all of the map.
            Module::Flatten | Module::Identity => x,
            Module::Linear { .. } => net.linear(&name, biased[index], x)?,
        };
    }
    let shape = net.graph.shape(x);
    if shape.size() != [1, 1] {
        return Err(ModelError::Config {
            key: KEY.into(),
            expected: "a chain that ends in one value per class".into(),
            found: format!("one that ends in a map {shape}"),
        });
    }
    let convs = net.graph.convs().count();
    let family = format!("chain of {convs} convolutions");
    Ok(Built { graph: net.graph, family, blocks: vec![], classes: Some(shape.channels) })
}

/// What the tensors of a convolution must agree with.
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) bias: bool,
}

/// Width and groups are the weight's.
pub(super) fn conv(
    net: &mut Layers<'_, '_>,
    name: &str,
    Window { kernel, stride, padding, bias }: Window,
    x: ValueId,
) -> Result<ValueId, ModelError> {
    let channels = net.channels(x);
    let window = format!("{}, {}", kernel[0], kernel[1]);
    let groups = layers::groups(net.reader, name, channels, &window, None)?;
    let weight = net.reader.conv(name, None, Some(channels / groups), kernel)?;
    let mut conv = Conv2d::dense(weight, groups, [stride; 2], [padding; 2]);
    if bias {
        let bias = net.reader.tensor(&format!("{name}.bias"), &[Some(conv.out_channels)])?.to_f64();
        conv = conv.with_bias(bias);
    }
    net.push(name, Op::Conv2d(conv), &[x])
}
