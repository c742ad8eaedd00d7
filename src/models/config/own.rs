//! The keys of this crate.

use crate::field::{Field, FromJson, keys};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

keys! {
    /// Assumptions, and the list of a chain's modules.
    pub(in crate::models) struct RmnetConfig {
        /// Assumptions by their keys, each [`Stated`].
        pub(in crate::models) rmnet: Field<Map<String, Value>>,
        /// The modules of a plain chain, in order, each a [`Module`].
        pub(in crate::models) rmnet_chain: Field<Vec<Value>>,
    }
}

/// The value of an assumption, in JSON.
#[derive(Clone, Debug)]
pub(in crate::models) enum Stated {
    Word(String),
    Number(Number),
    Flag(bool),
    List(Vec<Value>),
}

impl FromJson for Stated {
    fn from_json(found: &Value) -> Option<Stated> {
        Some(match found {
            Value::String(word) => Stated::Word(word.clone()),
            Value::Number(number) => Stated::Number(number.clone()),
            Value::Bool(flag) => Stated::Flag(*flag),
            Value::Array(list) => Stated::List(list.clone()),
            Value::Null | Value::Object(_) => return None,
        })
    }
}

impl Stated {
    /// The value as on the command line, with lists separated by commas.
    pub(in crate::models) fn text(&self) -> String {
        match self {
            Stated::Word(word) => word.clone(),
            Stated::Number(number) => number.to_string(),
            Stated::Flag(flag) => flag.to_string(),
            Stated::List(list) => list.iter().map(Value::to_string).collect::<Vec<_>>().join(","),
        }
    }
}

/// The properties of a plain chain's module that its tensors do not show.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::models) enum Module {
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
