//! Detects the architecture of a checkpoint, and the prefix of its tensors, from tensor names.
//!
//! Training code wraps networks: `module.`, `model.backbone.`, `state_dict.teacher.`. Any prefix is accepted if the names after it are
//! those of a known network.

use super::architecture::Architecture;
use super::build::state_dict::{MAX_PREFIX_DEPTH, StateDict};
use super::config::Config;
use super::families::resnet_v2;
use super::namings::{hugging_face, insightface, original, rmnet, sequential, timm, torchvision};
use super::{Key, ModelError, Naming};
use crate::checkpoint::Checkpoint;
use std::collections::{BTreeSet, HashSet};

/// All architectures; the first that matches is taken.
const ARCHITECTURES: &[Architecture] = &[
    sequential::ARCHITECTURE,
    hugging_face::resnet::ARCHITECTURE,
    timm::resnet_v2::ARCHITECTURE,
    insightface::ARCHITECTURE,
    rmnet::NEXT,
    rmnet::REP,
    rmnet::RESIDUAL,
    rmnet::PREACT,
    rmnet::CONVERTED,
    torchvision::resnet::ARCHITECTURE,
    torchvision::mobilenet_v2::ARCHITECTURE,
    timm::mobilenet_v2::ARCHITECTURE,
    hugging_face::mobilenet_v2::ARCHITECTURE,
    original::ARCHITECTURE,
    timm::repvgg::ARCHITECTURE,
];

/// Finds the network of a checkpoint: the one under the `stated` prefix, else the only one.
///
/// # Errors
/// [`ModelError::Unsupported`] names a network that is recognised but not supported, [`ModelError::Ambiguous`] the prefixes of several
/// networks, [`ModelError::Unknown`] lists the names found and the names looked for.
pub(super) fn network<'a>(
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    stated: Option<&str>,
) -> Result<(StateDict<'a>, &'static Architecture), ModelError> {
    let candidates: Vec<&str> = prefixes(checkpoint).into_iter().collect();
    let mut found: Vec<(StateDict<'a>, &'static Architecture)> = vec![];
    // A Hugging Face network is found under its own prefix and again under `resnet.`; both are the same network.
    let mut known: HashSet<(Naming, String)> = HashSet::new();
    for prefix in &candidates {
        let dict = StateDict::behind(checkpoint, config, prefix);
        if let Some(architecture) = ARCHITECTURES.iter().find(|s| (s.matches)(&dict))
            && (prefix.is_empty() || !known.contains(&(architecture.naming, prefix.to_string())))
        {
            known.insert((architecture.naming, format!("{prefix}{}", architecture.own_prefix)));
            found.push((dict, architecture));
        }
    }
    let of = |(dict, _): &(StateDict<'a>, _)| dict.prefix().trim_end_matches('.').to_string();
    let all: Vec<String> = found.iter().map(of).collect();
    if all.is_empty() {
        return Err(unknown(checkpoint, config, &candidates));
    }
    if let Some(stated) = stated {
        let stated = stated.trim_end_matches('.');
        // Matches the whole prefix, or else whole segments of exactly one prefix.
        let parts = |found: &String| format!(".{found}.").contains(&format!(".{stated}."));
        let exact = all.iter().position(|found| found == stated);
        let mut some = (0..all.len()).filter(|i| parts(&all[*i]));
        let chosen = exact.or_else(|| some.next().filter(|_| some.next().is_none()));
        let Some(chosen) = chosen else {
            let names: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
            let why =
                format!("expected what one of these begins with or has a part of: {}", names.join(", "));
            return Err(ModelError::Assumption { key: Key::Prefix.to_string(), value: stated.into(), why });
        };
        found = vec![found.swap_remove(chosen)];
    }
    if !found.iter().all(|(dict, _)| dict.same_values(&found[0].0)) {
        return Err(ModelError::Ambiguous { what: "networks", found: all, key: Key::Prefix });
    }
    let (first, architecture) = &found[0];
    let copies = found[1..].iter().map(|(dict, _)| dict.prefix()).collect();
    let dict = StateDict::under(checkpoint, config, first.prefix(), copies);
    match unsupported(&dict) {
        Some((what, why)) => Err(ModelError::Unsupported { what: what.into(), why }),
        None => Ok((dict, architecture)),
    }
}

/// All candidate prefixes: the empty one, and every part of a name up to a dot.
fn prefixes(checkpoint: &Checkpoint) -> BTreeSet<&str> {
    let of_name = |name: &'_ str| -> Vec<usize> {
        name.match_indices('.').map(|(at, _)| at + 1).take(MAX_PREFIX_DEPTH).collect()
    };
    let mut all = BTreeSet::new();
    all.insert("");
    for name in checkpoint.names() {
        all.extend(of_name(name).into_iter().map(|end| &name[..end]));
    }
    all
}

/// The error if no network was found: either an unsupported or an unknown one.
fn unknown(checkpoint: &Checkpoint, config: &Config, candidates: &[&str]) -> ModelError {
    let shared = |prefix: &&&str| checkpoint.names().all(|name| name.starts_with(**prefix));
    for prefix in candidates.iter().filter(shared) {
        if let Some((what, why)) = unsupported(&StateDict::behind(checkpoint, config, prefix)) {
            return ModelError::Unsupported { what: what.into(), why };
        }
    }
    let names: Vec<String> = checkpoint.names().take(5).map(|n| format!("`{n}`")).collect();
    let more = if checkpoint.names().len() > names.len() { ", ..." } else { "" };
    let found = match names.len() {
        0 => "no tensors".into(),
        _ => format!("{} tensors, {}{more}", checkpoint.names().len(), names.join(", ")),
    };
    let looked_for: Vec<&str> = ARCHITECTURES.iter().map(|s| s.shown_by).collect();
    ModelError::Unknown { found, looked_for: format!("looked for\n  {}", looked_for.join("\n  ")) }
}

/// An unsupported network that is recognised by one of its tensors, and the description of that tensor.
fn unsupported(dict: &StateDict<'_>) -> Option<(&'static str, String)> {
    let first = |test: &dyn Fn(&str) -> bool| dict.names().find(|n| test(n));
    let seen = |name: &str| format!("the file has `{}`", dict.file_name(name));
    let contains = |part: &'static str| first(&|n| n.contains(part));

    let batch_norm = first(&|n| n.ends_with(".running_mean")).is_some();
    if let Some(name) = first(&resnet_v2::block_norm).filter(|_| !batch_norm) {
        let what = "a pre-activation ResNetV2 with GroupNorm or weight-standardised convolutions";
        return Some((what, seen(name)));
    }
    for part in [".conv_kxk.0.", ".conv_scale.", ".rbr_conv.", ".rbr_scale.", ".rbr_skip."] {
        if let Some(name) = contains(part) {
            return Some(("MobileOne", seen(name)));
        }
    }
    if let Some(name) = first(&|n| n.starts_with("features.") && n.contains(".running1.")) {
        return Some((
            "RMobileNet of the RMNet repository",
            format!("{}, but its strides are in no tensor", seen(name)),
        ));
    }
    if let Some(name) = sequential::undescribed(dict) {
        let why = format!("{}, and no `rmnet_chain` in config.json says what its layers are", seen(name));
        return Some(("a plain nn.Sequential", why));
    }
    if let Some(name) = first(&|n| n.contains(".post_se.") || n.starts_with("stage1.blocks.")) {
        return Some(("RepVGGplus", seen(name)));
    }
    if let Some(name) = first(&|n| n.starts_with("blocks.") && n.contains(".se.")) {
        let what = "timm's EfficientNet, MobileNetV3 or another MobileNet with squeeze-and-excitation";
        return Some((what, seen(name)));
    }
    if !dict.names().any(|n| n.starts_with("layer1.")) {
        return None;
    }
    if let Some(name) = contains(".aa.") {
        return Some(("an anti-aliased ResNet", seen(name)));
    }
    if let Some(name) = contains(".se.conv.") {
        return Some(("ECA-ResNet (efficient channel attention)", seen(name)));
    }
    if let Some(name) = contains(".se_module.") {
        return Some(("an older SE-ResNet (its max-pool rounds its size up)", seen(name)));
    }
    let norm = first(&|n| n == "bn1.weight")?;
    if !batch_norm {
        return Some((
            "a ResNet with GroupNorm",
            format!("{} but no `running_mean` anywhere, so its norms are not batch norms", seen(norm)),
        ));
    }
    None
}
