//! Checks timm's `config.json` for any family: the architecture and its arguments. Most differences between networks do not show in the
//! tensors. Therefore only known architectures are accepted, and only arguments that are known not to change the function.

use super::names::{blocks, plain, refused};
use crate::models::ModelError;
use crate::models::architecture::Architecture;
use crate::models::config::{TimmConfig, wrong};
use crate::models::families::resnet::BlockKind;
use serde_json::Value;

/// The values that an argument may have. They change the network only in ways that tensors or the architecture show.
pub(super) enum Allowed {
    /// Any value: shapes or names show it, it is compared with them, or it only matters in training.
    Any,
    /// `true` and `false`.
    Flag,
    /// These words.
    Words(&'static [&'static str]),
    /// These values, in JSON.
    Values(&'static [&'static str]),
}

/// Arguments by name, each with the values that it may have.
pub(super) type Arguments = &'static [(&'static str, Allowed)];

/// Arguments of every family.
const OF_ALL: Arguments = &[
    ("drop_path_rate", Allowed::Any),
    ("drop_rate", Allowed::Any),
    ("global_pool", Allowed::Words(&["avg"])),
    ("in_chans", Allowed::Any),
    ("num_classes", Allowed::Any),
    ("output_stride", Allowed::Values(&["32"])),
    ("pretrained", Allowed::Any),
];

impl Allowed {
    fn has(&self, value: &Value) -> bool {
        match self {
            Allowed::Any => true,
            Allowed::Flag => value.is_boolean(),
            Allowed::Words(words) => value.as_str().is_some_and(|value| words.contains(&value)),
            Allowed::Values(values) => values
                .iter()
                .any(|allowed| serde_json::from_str(allowed).is_ok_and(|allowed: Value| allowed == *value)),
        }
    }
}

fn unsupported<T>(what: impl Into<String>, why: impl Into<String>) -> Result<T, ModelError> {
    Err(ModelError::Unsupported { what: what.into(), why: why.into() })
}

/// The architecture named by a config.
///
/// # Errors
/// [`ModelError::Config`] if it is not a string, [`ModelError::Unsupported`] if it is a known unsupported architecture.
pub(in crate::models) fn architecture(config: &TimmConfig) -> Result<Option<&str>, ModelError> {
    let Some(name) = config.architecture.checked("architecture", "a name")? else { return Ok(None) };
    match refused(&plain(name)) {
        Some(why) => unsupported(format!("timm `{name}`"), why),
        None => Ok(Some(name)),
    }
}

/// Refuses an architecture that does not match the naming scheme of the tensors.
pub(in crate::models) fn check(name: &str, architecture: &Architecture) -> Result<(), ModelError> {
    (architecture.timm)(&plain(name)).or_else(|why| unsupported(format!("timm `{name}`"), why))
}

/// Refuses arguments that are allowed neither for every family nor for this one, and any pooling except the average.
pub(super) fn check_arguments(config: &TimmConfig, of_family: Arguments) -> Result<(), ModelError> {
    if let Some(pool) =
        config.global_pool.found().filter(|_| config.global_pool.get().is_none_or(|p| p != "avg"))
    {
        return unsupported("a timm network with another pooling", format!("`global_pool` is {pool}"));
    }
    if config.architecture.found().is_none() {
        return Ok(());
    }
    let Some(args) = config.model_args.checked("model_args", "an object")? else { return Ok(()) };
    let allowed = |key: &String, value: &Value| {
        OF_ALL.iter().chain(of_family).any(|(name, allowed)| name == key && allowed.has(value))
    };
    match args.all.iter().find(|(key, value)| !value.is_null() && !allowed(key, value)) {
        Some((key, value)) => unsupported(
            "a timm network with other arguments",
            format!("config.json has `model_args.{key}` {value}, which changes the network"),
        ),
        None => Ok(()),
    }
}

/// Refuses an architecture whose blocks differ from the tensors', unless an argument changes their number.
pub(super) fn depths_agree(
    config: &TimmConfig,
    kind: Option<BlockKind>,
    depths: &[usize],
) -> Result<(), ModelError> {
    let Some(found) = config.architecture.found() else { return Ok(()) };
    let named = config.architecture.get().and_then(|name| blocks(&plain(name)));
    let Some((of_name, published)) = named else { return Ok(()) };
    if config.args().layers.found().is_some() || Some(of_name) == kind && published == depths {
        return Ok(());
    }
    let kind = kind.map_or("both kinds of block".into(), |kind| kind.to_string());
    let expected = format!("a network of {kind} {depths:?}, as the tensors have it");
    Err(wrong("architecture", &expected, found))
}

/// Refuses a config that disagrees with the tensors (`shown`) on whether a part of the network exists. The config states it by the argument
/// `key`, or else by the architecture's name (`named`).
pub(super) fn part_agrees(
    config: &TimmConfig,
    key: &str,
    named: bool,
    shown: bool,
    what: &str,
) -> Result<(), ModelError> {
    let argument = config.argument(key);
    if argument.map_or(named, asks) == shown {
        return Ok(());
    }
    let (key, found) = match argument {
        Some(value) => (format!("model_args.{key}"), value),
        None => ("architecture".into(), config.architecture.found().unwrap_or(&Value::Null)),
    };
    let which = if shown { "with" } else { "without" };
    let expected = format!("a network {which} {what}, as the tensors have it");
    Err(ModelError::Config { key, expected, found: found.to_string() })
}

/// Whether an argument enables something: it is not `false`, an empty name or an empty object.
fn asks(argument: &Value) -> bool {
    match argument {
        Value::Bool(flag) => *flag,
        Value::String(name) => !name.is_empty(),
        Value::Object(object) => !object.is_empty(),
        _ => true,
    }
}
