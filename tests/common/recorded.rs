//! What the record of kernels is of: every table of cases, and the layers of three networks, in f32 and f16.

use super::specs::half;
use super::{cases, families, layers};
use rmnet::kernel::Spec;
use std::collections::HashSet;

const NETWORKS: [&str; 3] = ["resnet18", "resnet50", "mobilenet_v2"];

/// Every distinct dispatch, with a name of its own; but for `all`, of the tables of cases a third in f16.
pub fn cases(all: bool) -> Vec<(String, Spec)> {
    let mut single: Vec<(String, Spec)> = cases::all();
    let mut push = |family: &str, name: &str, spec: Spec| single.push((format!("{family}, {name}"), spec));
    for (name, spec) in families::stem_families() {
        push("stem", name, Spec::Conv(spec));
    }
    for (name, spec) in families::stem_remainders().into_iter().chain(families::stem_kinds()) {
        push("stem", &name, Spec::Conv(spec));
    }
    for (name, spec) in families::matrix_cases() {
        push("matrix", &name, Spec::Conv(spec));
    }
    for (name, spec) in families::shared_remainders() {
        push("shared", &name, Spec::Conv(spec));
    }
    for (name, spec) in families::shared_kinds() {
        push("shared", name, Spec::Conv(spec));
    }
    for (name, spec) in families::in_slices() {
        push("slices", &name, spec);
    }
    for (name, spec) in families::pass_remainders() {
        push("passes", &name, Spec::Conv(spec));
    }
    for (name, _, spec) in families::pass_kinds() {
        push("passes", name, Spec::Conv(spec));
    }
    for network in NETWORKS {
        for layer in layers::network(network, 1) {
            push(network, &layer.name, layer.spec);
        }
    }
    let both = single.into_iter().enumerate().flat_map(|(i, (name, spec))| {
        let in_half = all || i % 3 == 0 || NETWORKS.iter().any(|n| name.starts_with(n));
        let stored = in_half.then(|| (format!("{name}, f16"), half(spec.clone())));
        [Some((name, spec)), stored].into_iter().flatten()
    });
    distinct(both)
}

/// Those whose dispatch is not among those before, each with a name of its own.
pub fn distinct(all: impl Iterator<Item = (String, Spec)>) -> Vec<(String, Spec)> {
    let (mut names, mut specs) = (HashSet::new(), HashSet::new());
    let mut cases = vec![];
    for (name, spec) in all.filter(|(_, spec)| specs.insert(spec.clone())) {
        let numbered = (2..).map(|n| format!("{name} ({n})"));
        let name = [name.clone()].into_iter().chain(numbered).find(|n| !names.contains(n));
        let name = name.expect("numbers do not end");
        names.insert(name.clone());
        cases.push((name, spec));
    }
    cases
}
