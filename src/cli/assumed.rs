//! What a network rests on and no tensor shows, and what of its file is no part of it: said by every verb that runs it.

use rmnet::models::{self, Assume, Model};
use serde_json::{Value, json};
use std::fmt::Write;

/// Ignored tensors that are named; a training checkpoint has hundreds.
const NAMED: usize = 6;

/// An option `--assume`, as clap reads it.
pub fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("expected KEY=VALUE, such as stem_pool=false, found `{text}`"))?;
    Assume::default().state(key, value).map_err(|e| e.to_string())?;
    Ok((key.into(), value.into()))
}

/// Lines for people, each with its newline; none where nothing is assumed or ignored.
pub fn text(model: &Model) -> String {
    let mut text = String::new();
    let (stated, assumed): (Vec<_>, Vec<_>) = model.assumed.iter().cloned().partition(|a| a.stated);
    if !stated.is_empty() {
        let _ = writeln!(text, "stated: {}", models::in_words(&stated));
    }
    if !assumed.is_empty() {
        let _ = writeln!(text, "assumed: {}", models::in_words(&assumed));
    }
    if !model.ignored.is_empty() {
        let named: Vec<String> =
            model.ignored.iter().take(NAMED).map(|n| n.escape_debug().to_string()).collect();
        let more = match model.ignored.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = writeln!(text, "ignored: {}{more}", named.join(", "));
    }
    text
}

/// How other values are stated, with those that are assumed.
pub fn how(model: &Model) -> String {
    let assumed: Vec<String> = model.assumed.iter().filter(|a| !a.stated).map(|a| a.to_string()).collect();
    match assumed.is_empty() {
        true => String::new(),
        false => format!(
            "         no tensor shows these; --assume KEY=VALUE, or \"rmnet\" in config.json, states others than\n         {}\n",
            assumed.join(" ")
        ),
    }
}

/// The same for scripts: a list of assumptions.
pub fn json(model: &Model) -> Value {
    json!(model.assumed)
}
