//! Keys of assumptions, and their allowed values.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The properties that can be assumed of a network, as spelled by [`Assume`](super::Assume) and the object `"rmnet"` in `config.json`.
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
    /// `block_strides`: stride of every block, for networks in which the stages do not determine it.
    BlockStrides,
    /// `stride_in`: the convolution of a bottleneck that strides, `1x1` (its first) or `3x3`.
    StrideIn,
    /// `dilation`: of each stage, `1,1,2,4`. The first block of a stage convolves with the dilation of the stage before, and a stage
    /// divides its stride by the growth of dilation, unless `stage_strides` are stated too.
    Dilation,
    /// `shortcut_pool`: whether a strided shortcut averages 2x2 pixels before its convolution, `true` or `false`.
    ShortcutPool,
    /// `batch_norm_eps`: what is added to every variance.
    BatchNormEps,
    /// `activation`: `relu`, `relu6` or `prelu`.
    Activation,
    /// `anti_alias`: size of the blur before strides; only 0 (no blur) is supported.
    AntiAlias,
    /// `global_pool`: the pooling of the last map; only `avg` is supported.
    GlobalPool,
    /// `head`: the name of the last layers, such as `my_head`, or `none` for the pooled features.
    Head,
    /// `head_activation`: the activation between two linear layers of the head, `relu` or `none`.
    HeadActivation,
    /// `prefix`: the prefix of the network's tensor names, such as `teacher.backbone`.
    Prefix,
    /// `preprocess`: how an image becomes the input, if no config file states it. A `preprocessor_config.json` beside the weights states
    /// it.
    Preprocess,
}

const KEYS: [(Key, &str, &str); 15] = [
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
    (Key::GlobalPool, "global_pool", "avg"),
    (Key::Head, "head", "the name of the last layers, or none"),
    (Key::HeadActivation, "head_activation", "relu or none"),
    (Key::Prefix, "prefix", "what the names of the network begin with"),
    (Key::Preprocess, "preprocess", "a preprocessor_config.json beside the weights instead"),
];

/// Maximum stride, dilation or blur that can be stated.
const MAX_NUMBER: usize = 64;

impl Key {
    fn row(self) -> &'static (Key, &'static str, &'static str) {
        KEYS.iter().find(|(key, ..)| *key == self).expect("every key has a row")
    }

    /// Description of its values.
    pub(super) fn expected(self) -> &'static str {
        self.row().2
    }

    /// Whether a value is allowed.
    pub(super) fn accepts(self, value: &str) -> bool {
        let count = |text: &str, least: usize| {
            text.trim().parse().is_ok_and(|n: usize| (least..=MAX_NUMBER).contains(&n))
        };
        match self {
            Key::StemStride => count(value, 1),
            Key::AntiAlias => count(value, 0),
            Key::StageStrides | Key::BlockStrides | Key::Dilation => {
                value.split(',').all(|part| count(part, 1))
            }
            Key::StemPool | Key::ShortcutPool => matches!(value, "true" | "false"),
            Key::StrideIn => matches!(value, "1x1" | "3x3"),
            Key::BatchNormEps => number(value).is_some_and(|v| (0.0..=1.0).contains(&v)),
            Key::GlobalPool => value == "avg",
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
    /// A message that lists the known keys.
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let known = KEYS.iter().find(|(_, name, _)| *name == text).map(|(key, ..)| *key);
        known.ok_or_else(|| {
            let names: Vec<&str> = KEYS.iter().map(|(_, name, _)| *name).collect();
            format!("no such assumption; there are {}", names.join(", "))
        })
    }
}

/// The number that a text says, as JSON or with less: `1e-5`, `.00001`. JSON's parser is in every program; Rust's own would bring a table of
/// powers of five into the download for browsers.
pub(super) fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let zero = if digits.starts_with('.') { "0" } else { "" };
    serde_json::from_str(&format!("{zero}{digits}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_users_write_them() {
        for text in ["1e-5", "1E-05", "0.00001", ".00001", "+1e-5"] {
            assert_eq!(number(text), Some(1e-5), "{text}");
        }
        for text in ["", "NaN", "inf", "1e-5x", "1,5", "true"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn every_key_is_read_and_written_alike() {
        for (key, name, _) in KEYS {
            assert_eq!(name.parse::<Key>().unwrap(), key);
            assert_eq!(serde_json::to_value(key).unwrap(), serde_json::json!(name));
        }
        let error = "stem".parse::<Key>().unwrap_err();
        assert!(error.contains("stem_stride"), "{error}");
    }
}
