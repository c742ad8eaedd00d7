//! Numbers as names, as in `torch.nn.Sequential`: a plain chain whose modules are described by a list.

use crate::models::Naming;
use crate::models::architecture::{self, Architecture};
use crate::models::build::state_dict::StateDict;
use crate::models::families::chain::{self, KEY};
use crate::preprocess::Preprocess;

pub(in crate::models) const ARCHITECTURE: Architecture = Architecture {
    naming: Naming::Sequential,
    own_prefix: "",
    shown_by: "a plain chain (`0.weight`, with its modules under `rmnet_chain` in config.json)",
    matches: |dict| {
        let numbered = |n: &str| n.starts_with(|c: char| c.is_ascii_digit());
        let described = dict.config().own.rmnet_chain.found().is_some() || dict.metadata(KEY).is_some();
        // A deeper prefix contains a layer, not the chain.
        described
            && (dict.names().all(numbered) && dict.shape("weight").is_none() || dict.prefix().is_empty())
    },
    preprocess: |dict| match dict.tensor("0.weight").map(|t| t.shape()) {
        Some([_, _, 3, 3]) => Preprocess::cifar(),
        _ => Preprocess::imagenet(),
    },
    build: chain::build,
    model_types: &[],
    timm: architecture::not_in_timm,
};

/// The first tensor name of a network whose layers are all numbered but not described; `None` for other networks.
pub(in crate::models) fn undescribed<'d>(dict: &'d StateDict<'_>) -> Option<&'d str> {
    let numbered = |n: &str| {
        n.split_once('.').is_some_and(|(i, what)| i.parse::<usize>().is_ok() && !what.contains('.'))
    };
    let bare = !(ARCHITECTURE.matches)(dict) && dict.names().all(numbered);
    dict.names().next().filter(|_| bare)
}
