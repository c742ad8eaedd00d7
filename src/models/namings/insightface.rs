//! The names of insightface, and its preprocessing of face images.

use crate::models::architecture::{self, Architecture};
use crate::models::build::layers::depths;
use crate::models::build::state_dict::StateDict;
use crate::models::families::iresnet::{self, image_side, map_side};
use crate::models::{MAX_INPUT_SIDE, Naming};
use crate::preprocess::{Preprocess, Resize};

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::InsightFace,
    own_prefix: "",
    shown_by: "insightface IResNet names (`prelu.weight`, `layer1.0.prelu.weight`)",
    matches: |dict| {
        // A ResNet with PReLU slopes has neither of these final batch norms.
        let last = dict.shape("features.weight").or(dict.shape("bn2.weight")).is_some();
        last && dict.names().any(|n| n.starts_with("layer") && n.ends_with(".prelu.weight"))
    },
    preprocess,
    build: |reader, _, size| iresnet::build(reader, size),
    model_types: &["iresnet"],
    timm: architecture::not_in_timm,
};

/// insightface's preprocessing: warped to the size that the linear layer requires, values from -1 to 1.
fn preprocess(dict: &StateDict<'_>) -> Preprocess {
    let dim = |name: &str, at: usize| dict.tensor(name)?.shape().get(at).copied();
    let side = || {
        let map = map_side(dim("fc.weight", 1)?, dim("bn2.weight", 0)?)?;
        image_side(map, 1usize.checked_shl(u32::try_from(depths(dict.names()).len()).ok()?)?)
            .filter(|s| *s <= MAX_INPUT_SIDE)
    };
    let size = [side().unwrap_or(112); 2];
    Preprocess {
        size: size.into(),
        resize: Resize::Exact(size.into()),
        crop_pct: 1.0,
        mean: vec![0.5; 3],
        std: vec![0.5; 3],
        ..Preprocess::imagenet()
    }
}
