//! Checks one key: its type, and whether its value agrees with the tensors.

use crate::field::{Field, shown};
use crate::models::ModelError;
use serde::Serialize;
use serde_json::Value;

/// The error for a value that the key cannot have.
pub(in crate::models) fn wrong(key: &str, expected: &str, found: &Value) -> ModelError {
    ModelError::Config { key: key.into(), expected: expected.into(), found: shown(found) }
}

impl<T> Field<T> {
    /// The value of `key`, if it has one.
    ///
    /// # Errors
    /// [`ModelError::Config`], with the text `expected`, for a value of another type.
    pub(in crate::models) fn checked(&self, key: &str, expected: &str) -> Result<Option<&T>, ModelError> {
        self.read().map_err(|found| wrong(key, expected, found))
    }

    /// Refuses a value of `key` that contradicts the tensors.
    pub(in crate::models) fn agrees<V>(&self, key: &str, tensors: &V) -> Result<(), ModelError>
    where
        T: PartialEq<V>,
        V: Serialize + ?Sized,
    {
        match self.found() {
            Some(found) if !self.get().is_some_and(|value| value == tensors) => Err(ModelError::Config {
                key: key.into(),
                expected: format!("{} as the tensors have it", serde_json::json!(tensors)),
                found: found.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

impl Field<bool> {
    /// The flag `key`, if the file has it.
    pub(in crate::models) fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        Ok(self.checked(key, "true or false")?.copied())
    }
}
