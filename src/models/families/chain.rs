//! A plain chain as `torch.nn.Sequential` stores it, which is what the RMNet repository's `deploy()` and pruning write: the names are
//! numbers, and no tensor shows strides, paddings, pools and activations. `config.json`, or the file's metadata, lists the modules in order
//! under `rmnet_chain`:
//!
//! ```json
//! {"rmnet_chain": [{"op": "conv2d", "stride": 1, "padding": 1}, {"op": "batch_norm"}, {"op": "relu"},
//!   {"op": "max_pool", "kernel": 3, "stride": 2, "padding": 1}, {"op": "global_average"}, {"op": "flatten"}, {"op": "linear"}]}
//! ```
//!
//! Further modules are `relu6`, `prelu` and `identity` (a dropout). Widths and groups follow from the tensors, so a pruned chain loads like
//! any other. Unless `"kernel": [height, width]` says otherwise, kernels are square with k = 2 * padding + 1. Unless `"bias": false` says
//! otherwise, a layer has a bias (a batch norm a shift) if other layers of its type have one. Image size and normalisation are
//! `input_size`, `mean`, `std` as timm writes them.

use crate::graph::{Activation, Conv2d, MaxPool, Op, ValueId};
use crate::models::ModelError;
use crate::models::architecture::Built;
use crate::models::build::layers::{self, Layers};
use crate::models::build::reader::TensorReader;
use crate::models::config::{Config, Module, wrong};
use serde::Deserialize;
use serde_json::Value;

/// Key of the list of modules, in `config.json` or in the file's metadata.
pub(in crate::models) const KEY: &str = "rmnet_chain";

/// Whether each module has a bias: as listed, else as in other modules of its type. A layer followed by a batch norm usually has none. Any
/// other layer has one if one of these layers has one, or if a batch norm has a shift.
fn biased(reader: &TensorReader<'_>, modules: &[Module]) -> Vec<bool> {
    let normed = |i: usize| matches!(modules.get(i + 1), Some(Module::BatchNorm));
    let has = |i: usize| reader.shape(&format!("{i}.bias")).is_some();
    let found = |with_norm: bool| {
        modules.iter().enumerate().any(|(i, module)| match module {
            Module::Conv2d { .. } | Module::Linear { .. } => normed(i) == with_norm && has(i),
            Module::BatchNorm => !with_norm,
            _ => false,
        })
    };
    let [others, before_norms] = [false, true].map(found);
    let biased = |(i, module): (usize, &Module)| match module {
        Module::Conv2d { bias: Some(said), .. } | Module::Linear { bias: Some(said) } => *said,
        _ if normed(i) => before_norms,
        _ => others,
    };
    modules.iter().enumerate().map(biased).collect()
}

/// The modules in order.
fn modules(reader: &TensorReader<'_>, config: &Config) -> Result<Vec<Module>, ModelError> {
    let not_json = |found: &Value| wrong(KEY, "JSON", found);
    let described = match (config.own.rmnet_chain.found(), reader.metadata(KEY)) {
        (Some(_), _) => config.own.rmnet_chain.clone(),
        (None, Some(text)) => {
            let parsed: Result<Value, _> = serde_json::from_str(text);
            parsed.map_err(|_| not_json(&Value::String(text.into())))?.into()
        }
        (None, None) => return Err(not_json(&Value::Null)),
    };
    let list = described.checked(KEY, "a list of modules")?;
    let list = list.ok_or_else(|| wrong(KEY, "a list of modules", &Value::Null))?;
    let module = |(index, found): (usize, &Value)| {
        Module::deserialize(found)
            .map_err(|e| wrong(&format!("{KEY}.{index}"), &format!("a module ({e})"), found))
    };
    list.iter().enumerate().map(module).collect()
}

pub(in crate::models) fn build(
    reader: &mut TensorReader<'_>,
    config: &Config,
    size: [usize; 2],
) -> Result<Built, ModelError> {
    let modules = modules(reader, config)?;
    let biased = biased(reader, &modules);
    let mut net = Layers::reading(reader, "0", size);
    let mut x = ValueId::INPUT;
    for (index, module) in modules.iter().enumerate() {
        let name = index.to_string();
        x = match *module {
            Module::Conv2d { stride, padding, kernel, .. } => {
                let kernel = kernel.unwrap_or([padding.saturating_mul(2).saturating_add(1); 2]);
                conv(&mut net, &name, ListedWindow { kernel, stride, padding, bias: biased[index] }, x)?
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
            // Nothing to do: the next layer reads a map of one pixel, or the whole map.
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

/// The listed window of a convolution.
pub(in crate::models) struct ListedWindow {
    pub(in crate::models) kernel: [usize; 2],
    pub(in crate::models) stride: usize,
    pub(in crate::models) padding: usize,
    pub(in crate::models) bias: bool,
}

/// A convolution with the listed window; width and groups follow from its weight.
pub(in crate::models) fn conv(
    net: &mut Layers<'_, '_>,
    name: &str,
    ListedWindow { kernel, stride, padding, bias }: ListedWindow,
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
