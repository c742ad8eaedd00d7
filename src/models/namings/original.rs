//! The names used by a network's authors: RepVGG's `stage0`, `stage{1-4}.{i}.rbr_dense`, `linear`.

use crate::models::Naming;
use crate::models::architecture::{self, Architecture};
use crate::models::families::repvgg::{self, RepVggNames};
use crate::preprocess::Preprocess;

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::Original,
    own_prefix: "",
    shown_by: "RepVGG's own names (`stage0.rbr_dense.conv.weight`)",
    matches: |dict| dict.names().any(|n| n.starts_with("stage") && n.contains(".rbr_")),
    preprocess: |_| Preprocess::imagenet(),
    build: |reader, _, size| repvgg::build(reader, &NAMES, size).map(|(built, _)| built),
    model_types: &["repvgg"],
    timm: architecture::not_in_timm,
};

const NAMES: RepVggNames = RepVggNames {
    stem: "stage0",
    stage: "stage",
    first: 1,
    dense: "rbr_dense",
    pointwise: "rbr_1x1",
    identity: "rbr_identity",
    deployed: "rbr_reparam",
    squeeze: ["se.down", "se.up"],
    head: ["gap", "linear"],
};
