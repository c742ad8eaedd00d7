//! Describes assumptions in words.

use super::Assumption;
use crate::models::key::Key;

/// Describes assumptions: `stem stride 2 with max-pool; strides 1 2 2 2 in the 3x3; batch norm eps 1e-5; ReLU`.
pub fn in_words(assumptions: &[Assumption]) -> String {
    let value = |key: Key| assumptions.iter().find(|a| a.key == key).map(|a| a.value.as_str());
    let spaced = |text: &str| text.replace(',', " ");
    let mut parts: Vec<String> = vec![];
    let pool = value(Key::StemPool).map(|p| if p == "true" { "max-pool" } else { "no max-pool" });
    match (value(Key::StemStride), pool) {
        (Some(stride), Some(pool)) => parts.push(format!("stem stride {stride}, {pool}")),
        (Some(stride), None) => parts.push(format!("stem stride {stride}")),
        (None, Some(pool)) => parts.push(format!("{pool} after the stem")),
        (None, None) => {}
    }
    let strided = value(Key::StrideIn).map_or_else(String::new, |which| format!(" in the {which}"));
    match (value(Key::StageStrides), value(Key::BlockStrides)) {
        (Some(strides), _) => parts.push(format!("stage strides {}{strided}", spaced(strides))),
        (None, Some(strides)) => parts.push(format!("block strides {}{strided}", spaced(strides))),
        (None, None) if !strided.is_empty() => parts.push(format!("strides{strided}")),
        (None, None) => {}
    }
    for Assumption { key, value, .. } in assumptions {
        parts.push(match (key, value.as_str()) {
            (Key::Dilation, v) if v.split(',').all(|d| d == "1") => "no dilation".into(),
            (Key::Dilation, v) => format!("dilation {}", spaced(v)),
            (Key::ShortcutPool, "true") => "strided shortcuts average".into(),
            (Key::ShortcutPool, _) => "strided shortcuts do not average".into(),
            (Key::BatchNormEps, v) => format!("batch norm eps {v}"),
            (Key::Activation, "relu") => "ReLU".into(),
            (Key::Activation, "relu6") => "ReLU6".into(),
            (Key::Activation, v) => v.to_string(),
            (Key::AntiAlias, "0") => "no anti-aliasing".into(),
            (Key::AntiAlias, v) => format!("anti-aliasing of {v}"),
            (Key::GlobalPool, _) => "average pool at the end".into(),
            (Key::Head, "none") => "no head: the output is the pooled features".into(),
            (Key::Head, v) => format!("head `{v}`"),
            (Key::HeadActivation, "relu") => "ReLU between the layers of the head".into(),
            (Key::HeadActivation, _) => "nothing between the layers of the head".into(),
            (Key::Preprocess, v) => format!("images {v}"),
            (Key::Prefix, v) => format!("the network `{v}`"),
            (Key::StemStride | Key::StemPool | Key::StageStrides | Key::BlockStrides | Key::StrideIn, _) => {
                continue;
            }
        });
    }
    parts.join("; ")
}
