//! Finds nodes by name.

use super::Node;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Node indices by the hash of their names, so that names are not stored twice.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeNames {
    hasher: RandomState,
    first: HashMap<u64, usize>,
    /// Nodes whose hash was already taken.
    others: Vec<usize>,
}

impl NodeNames {
    /// The names of existing nodes.
    pub(super) fn of(nodes: &[Node]) -> NodeNames {
        let mut names = NodeNames::default();
        nodes.iter().enumerate().for_each(|(i, n)| names.insert(&n.name, i));
        names
    }

    /// Adds the name of the node with index `at`.
    pub(super) fn insert(&mut self, name: &str, at: usize) {
        match self.first.entry(self.hasher.hash_one(name)) {
            std::collections::hash_map::Entry::Vacant(free) => drop(free.insert(at)),
            std::collections::hash_map::Entry::Occupied(_) => self.others.push(at),
        }
    }

    /// The index of the node named `name`.
    pub(super) fn find(&self, nodes: &[Node], name: &str) -> Option<usize> {
        let first = self.first.get(&self.hasher.hash_one(name));
        first.into_iter().chain(&self.others).copied().find(|i| nodes[*i].name == name)
    }
}
