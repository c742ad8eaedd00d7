//! Nodes by name.

use super::Node;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Positions of nodes by the hash of their names, so that no name is kept twice.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeNames {
    hasher: RandomState,
    first: HashMap<u64, usize>,
    /// Nodes whose hash another node has.
    others: Vec<usize>,
}

impl NodeNames {
    /// The names of nodes that are there already.
    pub(super) fn of(nodes: &[Node]) -> NodeNames {
        let mut names = NodeNames::default();
        nodes.iter().enumerate().for_each(|(i, n)| names.insert(&n.name, i));
        names
    }

    /// Takes in the name of the node at a position.
    pub(super) fn insert(&mut self, name: &str, at: usize) {
        match self.first.entry(self.hasher.hash_one(name)) {
            std::collections::hash_map::Entry::Vacant(free) => drop(free.insert(at)),
            std::collections::hash_map::Entry::Occupied(_) => self.others.push(at),
        }
    }

    /// The position of the node of a name.
    pub(super) fn find(&self, nodes: &[Node], name: &str) -> Option<usize> {
        let first = self.first.get(&self.hasher.hash_one(name));
        first.into_iter().chain(&self.others).copied().find(|i| nodes[*i].name == name)
    }
}
