//! The output of a verb: one value, printed as text for people or as JSON for scripts.

use super::{Failure, terminal};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::fmt::Display;
use std::io;
use std::time::Duration;

/// Version of every JSON object printed.
const SCHEMA_VERSION: u32 = 1;

/// The output of a verb. Text and JSON are made from one value, so that they report the same.
#[derive(Debug)]
pub struct Report {
    /// For people; ends without a newline.
    text: String,
    /// For scripts; an object, or null if everything has already been printed.
    json: Value,
}

impl Report {
    /// The value's `Display` is the text, its `Serialize` the JSON object.
    pub fn of(value: &(impl Serialize + Display)) -> Result<Report, Failure> {
        let mut text = value.to_string();
        text.truncate(text.trim_end_matches('\n').len());
        Ok(Report { text, json: to_json(value)? })
    }

    /// A report of which only the JSON is left to print: the text was printed in parts, or is not asked for.
    pub fn json_alone(value: &impl Serialize) -> Result<Report, Failure> {
        Ok(Report { text: String::new(), json: to_json(value)? })
    }

    /// An empty report, for a verb that has already printed everything.
    pub fn printed() -> Report {
        Report { text: String::new(), json: Value::Null }
    }

    /// Prints the report as text or JSON, with a newline.
    pub fn print(self, as_json: bool) -> io::Result<()> {
        if self.text.is_empty() && self.json.is_null() {
            return Ok(());
        }
        let lines = if as_json {
            terminal::json(&versioned(self.json))
        } else {
            terminal::text(&self.text).into_owned()
        };
        terminal::print(&(lines + "\n"))
    }
}

/// A value as JSON.
pub fn to_json(value: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value)
        .map_err(|e| Failure::input(format!("the report cannot be written as JSON: {e}")))
}

/// The printed object, with the version of its schema.
pub fn versioned(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert("schema_version".into(), SCHEMA_VERSION.into());
    }
    value
}

/// The JSON object that `--json` prints for an error.
pub fn error_line(message: &str) -> String {
    terminal::json(&versioned(json!({ "error": message })))
}

/// For `serialize_with`: a string, as written by `Display`.
pub fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// For `serialize_with`: pairs as an object, in the given order.
pub fn as_object<S: Serializer>(
    pairs: &[(impl Display, impl Serialize)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key.to_string(), value)))
}

/// For `serialize_with`: a time in whole nanoseconds.
pub fn nanoseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_nanos() as u64)
}
