//! The JSON of a saved chain, read key by key.

use super::layer::{SavedActivation, SavedBlock, SavedNode, SavedOp, SavedWeight};
use crate::field::{FromJson, shown};
use serde::de::Error;
use serde_json::Value;
use std::ops::Range;

/// The key of an object.
///
/// # Errors
/// If it is missing or has a value of another type.
pub(super) fn key<T: FromJson>(object: &Value, name: &'static str) -> Result<T, serde_json::Error> {
    let found = object.get(name).ok_or_else(|| Error::missing_field(name))?;
    T::from_json(found).ok_or_else(|| Error::custom(format_args!("invalid `{name}`: {}", shown(found))))
}

/// The key of an object, if it has it.
fn optional<T: FromJson>(object: &Value, name: &'static str) -> Result<Option<T>, serde_json::Error> {
    let given = object.get(name).is_some_and(|found| !found.is_null());
    given.then(|| key(object, name)).transpose()
}

/// A list of objects.
fn list<T>(
    object: &Value,
    name: &'static str,
    read: fn(&Value) -> Result<T, serde_json::Error>,
) -> Result<Vec<T>, serde_json::Error> {
    key::<Vec<Value>>(object, name)?.iter().map(read).collect()
}

/// The nodes of a chain.
pub(super) fn nodes(chain: &Value) -> Result<Vec<SavedNode>, serde_json::Error> {
    list(chain, "nodes", |node| {
        Ok(SavedNode { name: key(node, "name")?, inputs: key(node, "inputs")?, op: op(node)? })
    })
}

fn op(node: &Value) -> Result<SavedOp, serde_json::Error> {
    Ok(match key::<String>(node, "op")?.as_str() {
        "conv2d" => SavedOp::Conv2d {
            in_channels: key(node, "in_channels")?,
            out_channels: key(node, "out_channels")?,
            kernel: key(node, "kernel")?,
            stride: key(node, "stride")?,
            padding: key(node, "padding")?,
            padding_end: optional(node, "padding_end")?,
            same: optional(node, "same")?.unwrap_or_default(),
            even: optional(node, "even")?.unwrap_or_default(),
            dilation: key(node, "dilation")?,
            blocks: list(node, "blocks", block)?,
            bias: key(node, "bias")?,
            activation: key(node, "activation")?,
        },
        "add" => SavedOp::Add { activation: key(node, "activation")? },
        "activation" => SavedOp::Activation { activation: key(node, "activation")? },
        "max_pool" => SavedOp::MaxPool {
            kernel: key(node, "kernel")?,
            stride: key(node, "stride")?,
            padding: key(node, "padding")?,
        },
        "mean_pool2" => SavedOp::MeanPool2,
        "slice" => SavedOp::Slice { channels: key(node, "channels")? },
        "gate" => SavedOp::Gate { first: key(node, "first")? },
        "global_average" => SavedOp::GlobalAverage,
        unknown => return Err(Error::custom(format_args!("unknown `op`: {unknown:?}"))),
    })
}

fn block(block: &Value) -> Result<SavedBlock, serde_json::Error> {
    let weight = match key::<String>(block, "kind")?.as_str() {
        "dense" => SavedWeight::Dense { tensor: key(block, "tensor")?, groups: key(block, "groups")? },
        "pointwise" => SavedWeight::Pointwise { tensor: key(block, "tensor")? },
        "dirac" => SavedWeight::Dirac,
        "diagonal" => SavedWeight::Diagonal { tensor: key(block, "tensor")? },
        "mean_pool2" => SavedWeight::MeanPool2,
        unknown => return Err(Error::custom(format_args!("unknown `kind`: {unknown:?}"))),
    };
    Ok(SavedBlock { out: key(block, "out")?, input: key(block, "input")?, weight })
}

impl FromJson for Range<usize> {
    fn from_json(found: &Value) -> Option<Range<usize>> {
        Some(usize::from_json(found.get("start")?)?..usize::from_json(found.get("end")?)?)
    }
}

impl FromJson for (Range<usize>, SavedActivation) {
    fn from_json(found: &Value) -> Option<(Range<usize>, SavedActivation)> {
        let [range, activation] = found.as_array()?.as_slice() else { return None };
        Some((FromJson::from_json(range)?, FromJson::from_json(activation)?))
    }
}

impl FromJson for SavedActivation {
    fn from_json(found: &Value) -> Option<SavedActivation> {
        if let Some(prelu) = found.get("prelu") {
            return Some(SavedActivation::Prelu { tensor: FromJson::from_json(prelu.get("tensor")?)? });
        }
        Some(match found.as_str()? {
            "identity" => SavedActivation::Identity,
            "relu" => SavedActivation::Relu,
            "relu6" => SavedActivation::Relu6,
            "sigmoid" => SavedActivation::Sigmoid,
            _ => return None,
        })
    }
}
