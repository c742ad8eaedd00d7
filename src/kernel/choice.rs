//! Names of kernels: a family and one of its tiles. Tuning files and tests refer to kernels by these names.

use std::fmt;
use std::str::FromStr;

/// A kernel family: one algorithm for computing specs, in one or more files of `shaders/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FamilyId {
    /// Register tiles, each of one invocation (`conv/direct.wgsl`).
    Direct,
    /// Tiles of an implicit GEMM staged in workgroup memory (`conv/gemm.wgsl`).
    Gemm,
    /// Implicit GEMM on matrix units (`conv/gemm_matrix.wgsl`).
    GemmMatrix,
    /// The first convolution of a network (`conv/stem.wgsl`).
    Stem,
    /// Winograd's F(2x2, 3x3) in one shader (`conv/winograd_fused.wgsl`).
    WinogradFused,
    /// Software Vulkan: register tiles whose weights a subgroup loads together (`conv/direct.wgsl`).
    SoftwareDirect,
    /// Software Vulkan: one shader for convolutions of any shape (`software/conv.wgsl`).
    SoftwareConv,
    /// Software Vulkan: one shader for depthwise convolutions (`software/depthwise.wgsl`).
    SoftwareDepthwise,
    /// Software Vulkan: Winograd's F(2x2, 3x3) in passes.
    SoftwareWinograd2,
    /// Software Vulkan: Winograd's F(4x4, 3x3) in passes.
    SoftwareWinograd4,
    /// Software Vulkan: a projection, then F(2x2, 3x3) accumulated onto its result.
    SoftwareProjection2,
    /// Software Vulkan: a projection, then F(4x4, 3x3) accumulated onto its result.
    SoftwareProjection4,
    /// Matrix times vector (`dense/gemv.wgsl`).
    Gemv,
    /// Max pooling (`pool/max.wgsl`).
    MaxPool,
    /// Global average pooling (`pool/average*.wgsl`).
    Average,
}

/// Families.
const FAMILIES: usize = FamilyId::Average as usize + 1;

/// Tile sizes of a kernel, per invocation or per workgroup; 0 where a family has no such size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// Pixels of the tile.
    pub pixels: u16,
    /// Output channels of the tile.
    pub channels: u16,
    /// Input channels per step.
    pub depth: u16,
    /// Number of parts the reduction axis is split into (split-K); 1: not split.
    pub split_k: u16,
}

/// A kernel family and one of its tiles. Its text is `gemm 64px x 64oc x 16 in 4`, and stays the same in all versions of this crate that
/// read one schema version of tuning files.
///
/// ```
/// use rmnet::kernel::{Choice, FamilyId};
///
/// let choice: Choice = "gemm 64px x 64oc x 16".parse()?;
/// assert_eq!(choice.family, FamilyId::Gemm);
/// assert_eq!(choice.to_string(), "gemm 64px x 64oc x 16");
/// assert!("gemm 64".parse::<Choice>().is_err());
/// # Ok::<(), rmnet::kernel::ChoiceError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Choice {
    /// The family.
    pub family: FamilyId,
    /// The tile.
    pub tile: TileId,
}

/// A text that does not name a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a kernel such as `gemm 64px x 64oc x 16 in 4` (its family one of {}), found `{found}`",
    FamilyId::names()
)]
pub struct ChoiceError {
    /// The text.
    pub found: String,
}

impl FamilyId {
    /// Every family.
    pub const ALL: [FamilyId; FAMILIES] = [
        FamilyId::Direct,
        FamilyId::Gemm,
        FamilyId::GemmMatrix,
        FamilyId::Stem,
        FamilyId::WinogradFused,
        FamilyId::SoftwareDirect,
        FamilyId::SoftwareConv,
        FamilyId::SoftwareDepthwise,
        FamilyId::SoftwareWinograd2,
        FamilyId::SoftwareWinograd4,
        FamilyId::SoftwareProjection2,
        FamilyId::SoftwareProjection4,
        FamilyId::Gemv,
        FamilyId::MaxPool,
        FamilyId::Average,
    ];

    /// Its name in texts and files.
    pub fn name(self) -> &'static str {
        match self {
            FamilyId::Direct => "direct",
            FamilyId::Gemm => "gemm",
            FamilyId::GemmMatrix => "gemm-matrix",
            FamilyId::Stem => "stem",
            FamilyId::WinogradFused => "winograd-fused",
            FamilyId::SoftwareDirect => "software-direct",
            FamilyId::SoftwareConv => "software-conv",
            FamilyId::SoftwareDepthwise => "software-depthwise",
            FamilyId::SoftwareWinograd2 => "software-winograd-2x2",
            FamilyId::SoftwareWinograd4 => "software-winograd-4x4",
            FamilyId::SoftwareProjection2 => "software-projection-winograd-2x2",
            FamilyId::SoftwareProjection4 => "software-projection-winograd-4x4",
            FamilyId::Gemv => "gemv",
            FamilyId::MaxPool => "max-pool",
            FamilyId::Average => "average",
        }
    }

    fn names() -> String {
        FamilyId::ALL.map(FamilyId::name).join(", ")
    }
}

impl TileId {
    /// For families with one tile, or whose tiles differ in split-K only.
    pub(super) const WHOLE: TileId = TileId { pixels: 0, channels: 0, depth: 0, split_k: 1 };

    /// A tile of `pixels` x `channels` output channels, K not split.
    pub(super) fn new(pixels: usize, channels: usize) -> TileId {
        TileId { pixels: size(pixels), channels: size(channels), depth: 0, split_k: 1 }
    }

    /// Sets the input channels per step.
    pub(super) fn with_depth(self, depth: usize) -> TileId {
        TileId { depth: size(depth), ..self }
    }

    /// Sets the number of parts of K.
    pub(super) fn with_split_k(self, split_k: usize) -> TileId {
        TileId { split_k: size(split_k), ..self }
    }
}

/// A tile size as `u16`, saturating.
fn size(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

impl fmt::Display for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TileId { pixels, channels, depth, split_k } = self.tile;
        let mut text = self.family.to_string();
        if pixels > 0 {
            text += &format!(" {pixels}px x {channels}oc");
        }
        if depth > 0 {
            text += &format!(" x {depth}");
        }
        if split_k > 1 {
            text += &format!(" in {split_k}");
        }
        f.pad(&text)
    }
}

impl FromStr for Choice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Choice, ChoiceError> {
        let parsed = || {
            let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
            let family = FamilyId::ALL.into_iter().find(|f| f.name() == name)?;
            let mut tile = TileId { split_k: 1, ..TileId::default() };
            let mut words = rest.split(' ').filter(|word| !word.is_empty()).peekable();
            if let Some(pixels) = words.next_if(|word| word.ends_with("px")) {
                tile.pixels = pixels.trim_end_matches("px").parse().ok()?;
                words.next_if_eq(&"x")?;
                tile.channels = words.next()?.strip_suffix("oc")?.parse().ok()?;
            }
            if words.next_if_eq(&"x").is_some() {
                tile.depth = words.next()?.parse().ok()?;
            }
            if words.next_if_eq(&"in").is_some() {
                tile.split_k = words.next()?.parse().ok()?;
            }
            words.next().is_none().then_some(Choice { family, tile })
        };
        // A text that parses but is not the canonical form is refused.
        parsed().filter(|choice| choice.to_string() == text).ok_or_else(|| ChoiceError { found: text.into() })
    }
}

impl serde::Serialize for Choice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Choice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Choice, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_choices_are_one_to_one() {
        let tile = TileId { pixels: 64, channels: 32, depth: 16, split_k: 4 };
        let none = TileId { split_k: 1, ..TileId::default() };
        for family in FamilyId::ALL {
            for tile in [
                tile,
                none,
                TileId { depth: 0, ..tile },
                TileId { split_k: 16, ..none },
                tile.with_split_k(1),
            ] {
                let choice = Choice { family, tile };
                assert_eq!(choice.to_string().parse(), Ok(choice), "{choice}");
            }
        }
        for wrong in [
            "",
            "gemm 64px",
            "gemm 64px x",
            "gemm  64px x 64oc",
            "tiled",
            "gemm 64px x 64oc in 1",
            "gemm in 2 in 2",
            "gemm 064px x 64oc",
        ] {
            let error = wrong.parse::<Choice>().expect_err(wrong);
            assert!(error.to_string().contains(&format!("found `{wrong}`")), "{error}");
        }
    }
}
