//! The tensors of one network in a checkpoint, under the names that its library gives them.

use crate::checkpoint::Checkpoint;
use crate::tensor::Tensor;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a checkpoint holds under one prefix: names begin after it. What lies beside it, such as a head that a wrapper added, is
/// kept apart.
#[derive(Clone)]
pub(super) struct StateDict<'a> {
    checkpoint: &'a Checkpoint,
    /// What the names of the network begin with in the file; ends with a dot, or is empty.
    prefix: &'a str,
    /// By name in the network: the name in the file, and the tensor.
    tensors: BTreeMap<&'a str, (&'a str, &'a Tensor)>,
    /// The same of what lies beside; names without the segments that they share with the prefix.
    beside: BTreeMap<&'a str, (&'a str, &'a Tensor)>,
}

/// The part of a name after the whole segments that it shares with a prefix.
fn after_shared<'n>(name: &'n str, prefix: &str) -> &'n str {
    let mut rest = name;
    for segment in prefix.split_inclusive('.') {
        match rest.strip_prefix(segment) {
            Some(after) => rest = after,
            None => break,
        }
    }
    rest
}

impl<'a> StateDict<'a> {
    pub(super) fn under(checkpoint: &'a Checkpoint, prefix: &'a str) -> StateDict<'a> {
        let (mut tensors, mut beside) = (BTreeMap::new(), BTreeMap::new());
        for (name, tensor) in checkpoint.tensors() {
            match name.strip_prefix(prefix) {
                Some(inner) => drop(tensors.insert(inner, (name, tensor))),
                None => {
                    let relative = after_shared(name, prefix);
                    let key = if beside.contains_key(relative) { name } else { relative };
                    beside.insert(key, (name, tensor));
                }
            }
        }
        StateDict { checkpoint, prefix, tensors, beside }
    }

    pub(super) fn prefix(&self) -> &'a str {
        self.prefix
    }

    /// Names under the prefix, sorted.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &'a str> + '_ {
        self.tensors.keys().copied()
    }

    /// Names beside the prefix, sorted.
    pub(super) fn names_beside(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.beside.keys().copied()
    }

    /// Takes what lies beside under a name into the network, unless the network has that name itself.
    pub(super) fn adopt(&mut self, name: &str) {
        let of = |n: &&str| n.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        if self.tensors.keys().any(of) {
            return;
        }
        let adopted: Vec<&str> = self.beside.keys().copied().filter(of).collect();
        for name in adopted {
            if let Some(found) = self.beside.remove(name) {
                self.tensors.insert(name, found);
            }
        }
    }

    /// Tensors of the file that cannot be computed with, by the name in the file: those under the prefix with the rest of it.
    pub(super) fn others(
        &self,
    ) -> impl Iterator<Item = (&'a str, Option<&'a str>, &'a str, &'a [usize])> + '_ {
        self.checkpoint
            .others()
            .map(|(name, dtype, shape)| (name, name.strip_prefix(self.prefix), dtype, shape))
    }

    /// Tensors beside the network: the name in the file, and the tensor.
    pub(super) fn beside(&self) -> impl Iterator<Item = (&'a str, &'a Tensor)> + '_ {
        self.beside.values().copied()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        self.tensors.get(name).map(|(_, tensor)| *tensor)
    }

    pub(super) fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.tensor(name).map(Tensor::shape)
    }

    /// The name that a tensor has in the file, or would have.
    pub(super) fn file_name(&self, name: &str) -> String {
        self.tensors.get(name).map_or_else(|| format!("{}{name}", self.prefix), |(full, _)| full.to_string())
    }

    /// `config.json`.
    pub(super) fn config(&self) -> Option<&'a Value> {
        self.checkpoint.config()
    }

    /// A value of the file's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&'a str> {
        self.checkpoint.metadata(key)
    }

    /// Whether another network has the same names, shapes and values.
    pub(super) fn same_values(&self, other: &StateDict<'_>) -> bool {
        self.tensors.len() == other.tensors.len()
            && self.tensors.iter().zip(&other.tensors).all(|((a, (_, x)), (b, (_, y)))| {
                let same =
                    a == b && x.shape() == y.shape() && x.dtype() == y.dtype() && x.bytes() == y.bytes();
                x.release();
                y.release();
                same
            })
    }
}
