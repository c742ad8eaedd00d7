//! A key of a config file, parsed once: the value if it has the expected type, else the JSON found, for the error message.
//!
//! Config files describe more than this crate runs, and another library may use a key for something else. Reading a [`Field`] therefore
//! never fails; a value of another type is refused only by code that needs the key.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The value of a key that may be left out.
#[derive(Clone, Debug, Default)]
pub(crate) enum Field<T> {
    /// The file does not have the key.
    #[default]
    Absent,
    /// The file has the key.
    Given {
        /// The JSON found.
        found: Value,
        /// The value as the expected type, or why it cannot be converted.
        value: Result<T, String>,
    },
}

impl<T> Field<T> {
    /// Whether the file has the key, even with `null`.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self, Field::Given { .. })
    }

    /// The JSON found, of any type; `None` for `null`.
    pub(crate) fn found(&self) -> Option<&Value> {
        match self {
            Field::Given { found, .. } => Some(found).filter(|found| !found.is_null()),
            Field::Absent => None,
        }
    }

    /// The value, if it is present with the expected type.
    pub(crate) fn get(&self) -> Option<&T> {
        match self {
            Field::Given { found, value } if !found.is_null() => value.as_ref().ok(),
            _ => None,
        }
    }

    /// The value, or `None` if absent; the error is the JSON found if it has another type.
    pub(crate) fn read(&self) -> Result<Option<&T>, &Value> {
        match (self.found(), self.get()) {
            (Some(found), None) => Err(found),
            (_, value) => Ok(value),
        }
    }
}

impl<T: DeserializeOwned> From<Value> for Field<T> {
    fn from(found: Value) -> Field<T> {
        let value = T::deserialize(&found).map_err(|error| error.to_string());
        Field::Given { found, value }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        Value::deserialize(deserializer).map(Field::from)
    }
}

/// A value for a message, truncated if it is long.
pub(crate) fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((cut, _)) = text.char_indices().nth(80) {
        text.truncate(cut);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct File {
        depths: Field<Vec<usize>>,
        act: Field<String>,
    }

    #[test]
    fn a_value_of_another_type_is_kept_for_the_error() {
        let file = |value: Value| File::deserialize(&value).unwrap();
        let right = file(json!({ "depths": [3, 4], "act": "relu", "other": 1 }));
        assert_eq!(right.depths.read(), Ok(Some(&vec![3, 4])));
        assert_eq!(right.act.get().map(String::as_str), Some("relu"));
        let wrong = file(json!({ "depths": [3.0], "act": 1 }));
        assert_eq!(wrong.depths.read(), Err(&json!([3.0])));
        assert_eq!(wrong.act.found(), Some(&json!(1)));
        for nothing in [file(json!({})), file(json!({ "depths": null, "act": null }))] {
            assert_eq!((nothing.depths.read(), nothing.act.found()), (Ok(None), None));
        }
        assert!(file(json!({ "act": null })).act.is_given());
    }
}
