//! The assumptions of a network, and the tensors of its file that it ignores. `inspect`, `run` and `verify` print them with their
//! report, other verbs on standard error.

use super::terminal;
use rmnet::models::{self, Assume, Assumption, Key, Model};
use serde::Serialize;
use std::fmt;

/// Maximum number of ignored tensors that are named; a training checkpoint has hundreds.
const NAMED: usize = 6;

/// An option `--assume`, as clap reads it.
pub fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("expected KEY=VALUE, such as stem_pool=false, found `{text}`"))?;
    Assume::default().state(key, value).map_err(|e| e.to_string())?;
    Ok((key.into(), value.into()))
}

/// Prints notes on standard error, for verbs whose report does not contain them.
pub fn note(model: &Model) {
    let said = Assumed::of(model).said();
    said.iter().for_each(|(what, words)| terminal::say(&format!("note: {what}: {words}")));
}

/// The part of a report that lists a model's assumptions and ignored tensors.
#[derive(Serialize)]
pub struct Assumed<'a> {
    assumed: &'a [Assumption],
    ignored: &'a [String],
}

impl<'a> Assumed<'a> {
    pub fn of(model: &'a Model) -> Assumed<'a> {
        Assumed { assumed: &model.assumed, ignored: &model.ignored }
    }

    /// Whether the model depends on a convention that nobody stated.
    pub fn by_convention(&self) -> bool {
        self.assumed.iter().any(|a| !a.stated)
    }

    /// Pairs of a heading (stated, assumed, ignored) and its text, without empty ones.
    fn said(&self) -> Vec<(&'static str, String)> {
        let (stated, assumed): (Vec<_>, Vec<_>) = self.assumed.iter().cloned().partition(|a| a.stated);
        let mut said = vec![];
        if !stated.is_empty() {
            said.push(("stated", models::in_words(&stated)));
        }
        if !assumed.is_empty() {
            said.push(("assumed", models::in_words(&assumed)));
        }
        if !self.ignored.is_empty() {
            let named: Vec<String> =
                self.ignored.iter().take(NAMED).map(|n| terminal::line(n).into_owned()).collect();
            let more = match self.ignored.len() - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            // Normalisation that a network does itself is ignored.
            let normalises = self.ignored.iter().any(|name| models::normalises(name));
            let note = if normalises { "; inputs are taken as normalised already" } else { "" };
            said.push(("ignored", format!("{}{more}{note}", named.join(", "))));
        }
        said.into_iter().map(|(what, words)| (what, terminal::line(&words).into_owned())).collect()
    }

    /// Rows of `inspect`, which also explain how to state other values.
    pub fn rows(&self) -> String {
        let row = |(what, words): &(&str, String)| format!("{what:<11} {words}\n");
        let (ignored, others): (Vec<_>, Vec<_>) =
            self.said().into_iter().partition(|(what, _)| *what == "ignored");
        let mut text: String = others.iter().map(row).collect();
        let can_be_stated = |a: &&Assumption| !a.stated && a.key != Key::Preprocess;
        let assumed: Vec<String> = self.assumed.iter().filter(can_be_stated).map(|a| a.to_string()).collect();
        if !assumed.is_empty() {
            text += &format!(
                "            no tensor shows what is assumed; --assume KEY=VALUE, or \"rmnet\" in config.json, states others than\n            {}\n",
                assumed.join(" ")
            );
        }
        text.extend(ignored.iter().map(row));
        text
    }
}

impl fmt::Display for Assumed<'_> {
    /// One line per heading, each with a newline; nothing if nothing is assumed or ignored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said().iter().try_for_each(|(what, words)| writeln!(f, "{what}: {words}"))
    }
}
