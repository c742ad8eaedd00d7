//! Which network and which naming scheme the tensor names show.

use super::ModelError;
use super::resnet_v2;
use super::scheme::{SCHEMES, Scheme};
use crate::checkpoint::Checkpoint;

/// Finds the scheme.
///
/// # Errors
/// [`ModelError::Unsupported`] names a network that is recognised but not supported, [`ModelError::Unknown`] lists what
/// was found and what was looked for.
pub(super) fn scheme(checkpoint: &Checkpoint) -> Result<&'static Scheme, ModelError> {
    if let Some((what, why)) = unsupported(checkpoint) {
        return Err(ModelError::Unsupported { what: what.into(), why });
    }
    if let Some(scheme) = SCHEMES.iter().find(|s| (s.matches)(checkpoint)) {
        return Ok(scheme);
    }
    let names: Vec<String> = checkpoint.names().take(5).map(|n| format!("`{n}`")).collect();
    let more = if checkpoint.names().len() > names.len() { ", ..." } else { "" };
    let found = match names.len() {
        0 => "no tensors".into(),
        _ => format!("{} tensors, {}{more}", checkpoint.names().len(), names.join(", ")),
    };
    let looked_for: Vec<&str> = SCHEMES.iter().map(|s| s.shown_by).collect();
    Err(ModelError::Unknown { found, looked_for: format!("looked for\n  {}", looked_for.join("\n  ")) })
}

/// A network that is known by a tensor of it, and what that tensor is.
fn unsupported(checkpoint: &Checkpoint) -> Option<(&'static str, String)> {
    let first = |test: &dyn Fn(&str) -> bool| checkpoint.names().find(|n| test(n));
    let seen = |name: &str| format!("the file has `{name}`");
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
    if let Some(name) = super::sequential::undescribed(checkpoint) {
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
    if !checkpoint.names().any(|n| n.starts_with("layer1.")) {
        return None;
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
