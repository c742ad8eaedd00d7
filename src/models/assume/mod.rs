//! What no tensor shows, and each family therefore takes by convention: strides, pools, the epsilon of batch norms,
//! activations. Every such convention that a network rests on is listed with the model, and can be stated otherwise.

mod conventions;
mod words;

pub(super) use conventions::{Conventions, Rectifier};
pub use words::in_words;

use super::ModelError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The key of `config.json` whose object states assumptions.
const CONFIG_KEY: &str = "rmnet";

/// What can be assumed of a network, as [`Assume`] and the object `"rmnet"` in `config.json` spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Key {
    /// `stem_stride`: stride of the first convolution.
    StemStride,
    /// `stem_pool`: whether a 3x3 max-pool of stride 2 follows the stem, `true` or `false`.
    StemPool,
    /// `stage_strides`: stride of the first block of each stage, `1,2,2,2`.
    StageStrides,
    /// `block_strides`: stride of every block, where a stage does not say it.
    BlockStrides,
    /// `stride_in`: the convolution of a bottleneck that strides, `1x1` (its first) or `3x3`.
    StrideIn,
    /// `dilation`: of each stage, `1,1,2,4`. The first block of a stage convolves with the dilation of the stage before, and a stage
    /// that dilates more has so much less stride, unless `stage_strides` are stated too.
    Dilation,
    /// `shortcut_pool`: whether a strided shortcut averages 2x2 pixels before its convolution, `true` or `false`.
    ShortcutPool,
    /// `batch_norm_eps`: what is added to every variance.
    BatchNormEps,
    /// `activation`: `relu`, `relu6` or `prelu`.
    Activation,
    /// `anti_alias`: size of the blur before strides; 0, none, is the only one supported.
    AntiAlias,
    /// `head`: the name of the last layers, such as `my_head`, or `none` for the pooled features.
    Head,
    /// `head_activation`: between two linear layers of the head, `relu` or `none`.
    HeadActivation,
    /// `prefix`: what the names of the network begin with, such as `teacher.backbone`.
    Prefix,
    /// `preprocess`: how an image becomes the input, where no config file says so; a `preprocessor_config.json` beside the weights
    /// states it.
    Preprocess,
}

const KEYS: [(Key, &str, &str); 14] = [
    (Key::StemStride, "stem_stride", "a stride from 1 to 64"),
    (Key::StemPool, "stem_pool", "true or false"),
    (Key::StageStrides, "stage_strides", "a stride per stage, such as 1,2,2,2"),
    (Key::BlockStrides, "block_strides", "a stride per block, such as 1,1,2,1"),
    (Key::StrideIn, "stride_in", "1x1 or 3x3"),
    (Key::Dilation, "dilation", "a dilation per stage, such as 1,1,2,4"),
    (Key::ShortcutPool, "shortcut_pool", "true or false"),
    (Key::BatchNormEps, "batch_norm_eps", "a number from 0 to 1"),
    (Key::Activation, "activation", "relu, relu6 or prelu"),
    (Key::AntiAlias, "anti_alias", "the size of a blur, 0 for none"),
    (Key::Head, "head", "the name of the last layers, or none"),
    (Key::HeadActivation, "head_activation", "relu or none"),
    (Key::Prefix, "prefix", "what the names of the network begin with"),
    (Key::Preprocess, "preprocess", "a preprocessor_config.json beside the weights instead"),
];

/// The largest stride, dilation or blur that can be stated.
const LARGEST: usize = 64;

impl Key {
    fn row(self) -> &'static (Key, &'static str, &'static str) {
        KEYS.iter().find(|(key, ..)| *key == self).expect("every key has a row")
    }

    /// Whether such a value can be stated.
    fn accepts(self, value: &str) -> bool {
        let count = |text: &str, least: usize| {
            text.trim().parse().is_ok_and(|n: usize| (least..=LARGEST).contains(&n))
        };
        match self {
            Key::StemStride => count(value, 1),
            Key::AntiAlias => count(value, 0),
            Key::StageStrides | Key::BlockStrides | Key::Dilation => {
                value.split(',').all(|part| count(part, 1))
            }
            Key::StemPool | Key::ShortcutPool => matches!(value, "true" | "false"),
            Key::StrideIn => matches!(value, "1x1" | "3x3"),
            Key::BatchNormEps => value.parse().is_ok_and(|v: f64| (0.0..=1.0).contains(&v)),
            Key::Activation => matches!(value, "relu" | "relu6" | "prelu"),
            Key::HeadActivation => matches!(value, "relu" | "none"),
            Key::Head => !value.is_empty(),
            Key::Prefix => true,
            Key::Preprocess => false,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

impl FromStr for Key {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Key, ModelError> {
        let known = KEYS.iter().find(|(_, name, _)| *name == text).map(|(key, ..)| *key);
        known.ok_or_else(|| {
            let names: Vec<&str> = KEYS.iter().map(|(_, name, _)| *name).collect();
            ModelError::Assumption {
                key: text.into(),
                value: String::new(),
                why: format!("no such assumption; there are {}", names.join(", ")),
            }
        })
    }
}

/// Assumptions stated by whoever knows the network: they take the place of conventions.
///
/// ```
/// use rmnet::models::Assume;
///
/// let mut assume = Assume::default();
/// assume.state("stem_pool", "false")?;
/// assume.state("stage_strides", "1,2,2,1")?;
/// assert!(assume.state("stem_pool", "perhaps").is_err());
/// # Ok::<(), rmnet::models::ModelError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assume {
    values: BTreeMap<Key, String>,
}

impl Assume {
    /// States one; a later value of a key takes the place of an earlier one.
    ///
    /// # Errors
    /// [`ModelError::Assumption`] for an unknown key, or a value that the key cannot have.
    pub fn state(&mut self, key: &str, value: &str) -> Result<(), ModelError> {
        let key: Key = key.trim().parse()?;
        let value = value.trim();
        if !key.accepts(value) {
            let why = format!("expected {}", key.row().2);
            return Err(ModelError::Assumption { key: key.to_string(), value: value.into(), why });
        }
        let spaceless = |text: &str| text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
        self.values.insert(key, spaceless(value));
        Ok(())
    }

    /// Whether nothing is stated.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// What a config file states, with what is stated here on top.
    pub(in crate::models) fn over(&self, config: Option<&Value>) -> Result<Assume, ModelError> {
        let mut all = Assume::default();
        let Some(stated) = super::config::get(config, CONFIG_KEY) else { return Ok(self.clone()) };
        let Some(object) = stated.as_object() else {
            return Err(super::config::wrong(CONFIG_KEY, "an object of assumptions", stated));
        };
        for (key, value) in object {
            let text = match value {
                Value::String(text) => Some(text.clone()),
                Value::Array(list) => Some(list.iter().map(Value::to_string).collect::<Vec<_>>().join(",")),
                Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
                Value::Null | Value::Object(_) => None,
            };
            let text = text.ok_or_else(|| {
                super::config::wrong(&format!("{CONFIG_KEY}.{key}"), "a number, a word or a list", value)
            })?;
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

/// One thing that a network rests on and no tensor shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumption {
    /// What it is.
    pub key: Key,
    /// Its value, as [`Assume::state`] takes it.
    pub value: String,
    /// Whether it was stated; if not, it is the convention of the family.
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
    fn every_key_is_read_and_written_alike() {
        for (key, name, _) in KEYS {
            assert_eq!(name.parse::<Key>().unwrap(), key);
            assert_eq!(serde_json::to_value(key).unwrap(), json!(name));
        }
        let error = "stem".parse::<Key>().unwrap_err().to_string();
        assert!(error.contains("stem_stride"), "{error}");
    }

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
        let all = assume.over(Some(&config)).unwrap();
        assert_eq!(all.get(Key::StageStrides), Some("1,2,2,1"));
        assert_eq!(all.get(Key::StemPool), Some("true"));
        assert_eq!(all.get(Key::BatchNormEps), Some("0.001"));
        for config in [
            json!({ "rmnet": 1 }),
            json!({ "rmnet": { "stem": 1 } }),
            json!({ "rmnet": { "stem_pool": {} } }),
        ] {
            assert!(assume.over(Some(&config)).is_err(), "{config}");
        }
    }
}
