//! Assumptions: properties that no tensor shows (strides, pools, the epsilon of batch norms, activations), so each family has a
//! convention for them. A model lists every convention it depends on, and each can be overridden.

mod conventions;
mod words;

pub(super) use conventions::{Conventions, Rectifier};
pub use words::in_words;

use super::ModelError;
use super::config::{Config, Stated, wrong};
use super::key::Key;
use crate::field::Field;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The key of `config.json` whose object states assumptions.
const CONFIG_KEY: &str = "rmnet";

/// The JSON types that an assumption may have.
const EXPECTED: &str = "a number, a word or a list";

/// Assumptions stated by the user, which override conventions.
///
/// ```
/// use rmnet::Assume;
///
/// let mut assume = Assume::default();
/// assume.state("stem_pool", "false")?;
/// assume.state("stage_strides", "1,2,2,1")?;
/// assert!(assume.state("stem_pool", "perhaps").is_err());
/// # Ok::<(), rmnet::error::ModelError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assume {
    values: BTreeMap<Key, String>,
}

impl Assume {
    /// States one assumption.
    ///
    /// # Errors
    /// [`ModelError::Assumption`] for an unknown key, an invalid value, or a second value for a key.
    pub fn state(&mut self, key: &str, value: &str) -> Result<(), ModelError> {
        let unknown = |why| ModelError::Assumption { key: key.into(), value: value.into(), why };
        let key: Key = key.trim().parse().map_err(unknown)?;
        let value = value.trim();
        if !key.accepts(value) {
            let why = format!("expected {}", key.expected());
            return Err(ModelError::Assumption { key: key.to_string(), value: value.into(), why });
        }
        let spaceless = |text: &str| text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
        let value = spaceless(value);
        if let Some(before) = self.values.get(&key).filter(|before| **before != value) {
            let why = format!("it was stated as {before} before");
            return Err(ModelError::Assumption { key: key.to_string(), value, why });
        }
        self.values.insert(key, value);
        Ok(())
    }

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The assumptions of a config file, overridden by those stated here.
    pub(in crate::models) fn over(&self, config: &Config) -> Result<Assume, ModelError> {
        let mut all = Assume::default();
        let stated = config.own.rmnet.checked(CONFIG_KEY, "an object of assumptions")?;
        let Some(stated) = stated else { return Ok(self.clone()) };
        for (key, value) in stated {
            let value = Field::<Stated>::from(value.clone());
            let text = value.checked(&format!("{CONFIG_KEY}.{key}"), EXPECTED)?.map(Stated::text);
            let text = text.ok_or_else(|| wrong(&format!("{CONFIG_KEY}.{key}"), EXPECTED, &Value::Null))?;
            all.state(key, &text)?;
        }
        all.values.extend(self.values.clone());
        Ok(all)
    }

    /// The stated value of a key.
    pub(in crate::models) fn get(&self, key: Key) -> Option<&str> {
        self.values.get(&key).map(String::as_str)
    }
}

/// A property that a network depends on and no tensor shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumption {
    /// The property.
    pub key: Key,
    /// Its value, as [`Assume::state`] takes it.
    pub value: String,
    /// Whether it was stated by the user or a config file; else it is the convention of the family.
    pub stated: bool,
}

impl fmt::Display for Assumption {
    /// `key=value`, as [`Assume::state`] takes them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_that_a_key_cannot_have_are_refused() {
        let refused = [
            ("stem_stride", "0"),
            ("stem_stride", "65"),
            ("stem_pool", "1"),
            ("stage_strides", "1,,2"),
            ("stage_strides", ""),
            ("stride_in", "5x5"),
            ("batch_norm_eps", "-1e-5"),
            ("batch_norm_eps", "nan"),
            ("activation", "gelu"),
            ("head", ""),
            ("preprocess", "imagenet"),
        ];
        for (key, value) in refused {
            let error = Assume::default().state(key, value).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn a_config_states_and_is_overruled() {
        let config =
            json!({ "rmnet": { "stage_strides": [1, 2, 2, 1], "stem_pool": false, "batch_norm_eps": 1e-3 } });
        let mut assume = Assume::default();
        assume.state("stem_pool", "true").unwrap();
        let all = assume.over(&Config::read(Some(&config))).unwrap();
        assert_eq!(all.get(Key::StageStrides), Some("1,2,2,1"));
        assert_eq!(all.get(Key::StemPool), Some("true"));
        assert_eq!(all.get(Key::BatchNormEps), Some("0.001"));
        for config in [
            json!({ "rmnet": 1 }),
            json!({ "rmnet": { "stem": 1 } }),
            json!({ "rmnet": { "stem_pool": {} } }),
        ] {
            assert!(assume.over(&Config::read(Some(&config))).is_err(), "{config}");
        }
    }
}
