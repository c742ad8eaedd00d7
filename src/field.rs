//! A key of a config file, parsed once: the value if it has the expected type, else the JSON found, for the error message.
//!
//! Config files describe more than this crate runs, and another library may use a key for something else. Reading a [`Field`] therefore
//! never fails; a value of another type is refused only by code that needs the key.

use serde_json::{Map, Value};

/// A type that a key may have.
pub(crate) trait FromJson: Sized {
    /// The value of that type; `None` for JSON of another.
    fn from_json(found: &Value) -> Option<Self>;
}

/// Declares a struct whose members are the keys of a config file that are read, and its function `read`.
macro_rules! keys {
    (
        $(#[$about:meta])*
        $vis:vis struct $name:ident { $($(#[$doc:meta])* $of:vis $key:ident: $type:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Default)]
        $vis struct $name { $($(#[$doc])* $of $key: $type,)* }

        impl $name {
            /// The keys of an object; all are absent in JSON that is none.
            $vis fn read(file: &serde_json::Value) -> $name {
                $name { $($key: $crate::field::Field::of(file, stringify!($key)),)* }
            }
        }
    };
}
pub(crate) use keys;

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
        /// The value as the expected type, if it can be converted.
        value: Option<T>,
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
            Field::Given { found, value } if !found.is_null() => value.as_ref(),
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

impl<T: FromJson> Field<T> {
    /// A key of an object.
    pub(crate) fn of(file: &Value, key: &str) -> Field<T> {
        file.get(key).map_or(Field::Absent, |found| Field::from(found.clone()))
    }
}

impl<T: FromJson> From<Value> for Field<T> {
    fn from(found: Value) -> Field<T> {
        let value = T::from_json(&found);
        Field::Given { found, value }
    }
}

impl<T: FromJson> FromJson for Field<T> {
    fn from_json(found: &Value) -> Option<Field<T>> {
        Some(Field::from(found.clone()))
    }
}

impl FromJson for Value {
    fn from_json(found: &Value) -> Option<Value> {
        Some(found.clone())
    }
}

impl FromJson for bool {
    fn from_json(found: &Value) -> Option<bool> {
        found.as_bool()
    }
}

impl FromJson for f64 {
    fn from_json(found: &Value) -> Option<f64> {
        found.as_f64()
    }
}

impl FromJson for u64 {
    fn from_json(found: &Value) -> Option<u64> {
        found.as_u64()
    }
}

impl FromJson for u32 {
    fn from_json(found: &Value) -> Option<u32> {
        found.as_u64()?.try_into().ok()
    }
}

impl FromJson for usize {
    fn from_json(found: &Value) -> Option<usize> {
        found.as_u64()?.try_into().ok()
    }
}

impl FromJson for String {
    fn from_json(found: &Value) -> Option<String> {
        found.as_str().map(String::from)
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(found: &Value) -> Option<Vec<T>> {
        found.as_array()?.iter().map(T::from_json).collect()
    }
}

impl<T: FromJson, const N: usize> FromJson for [T; N] {
    fn from_json(found: &Value) -> Option<[T; N]> {
        Vec::from_json(found)?.try_into().ok()
    }
}

impl FromJson for Map<String, Value> {
    fn from_json(found: &Value) -> Option<Map<String, Value>> {
        found.as_object().cloned()
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

    keys! {
        struct File {
            depths: Field<Vec<usize>>,
            act: Field<String>,
        }
    }

    #[test]
    fn a_value_of_another_type_is_kept_for_the_error() {
        let file = |value: Value| File::read(&value);
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
        assert!(!file(json!(["relu"])).act.is_given());
    }

    #[test]
    fn values_are_of_their_type_exactly() {
        assert_eq!(usize::from_json(&json!(3)), Some(3));
        assert_eq!([json!(3.0), json!(-3), json!("3"), json!(null)].iter().find_map(usize::from_json), None);
        assert_eq!((f64::from_json(&json!(3)), f64::from_json(&json!(true))), (Some(3.0), None));
        assert_eq!(<[u64; 2]>::from_json(&json!([1, 2])), Some([1, 2]));
        assert_eq!(<[u64; 2]>::from_json(&json!([1, 2, 3])), None);
    }
}
