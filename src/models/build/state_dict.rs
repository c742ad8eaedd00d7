//! The tensors of one network in a checkpoint, under their library's names.

use crate::checkpoint::Checkpoint;
use crate::models::config::Config;
use crate::tensor::Tensor;
use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Maximum number of segments of a prefix.
pub(in crate::models) const MAX_PREFIX_DEPTH: usize = 8;

/// A name in the file, and the tensor.
type Stored<'a> = (&'a str, &'a Tensor);

/// The tensors of a checkpoint under one prefix, which is removed from names. Tensors outside the prefix, such as a head added by a
/// wrapper, are kept separately.
#[derive(Clone)]
pub(in crate::models) struct StateDict<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    /// The prefix of the network's names in the file; ends with a dot, or is empty.
    prefix: &'a str,
    /// By name in the network.
    tensors: BTreeMap<Cow<'a, str>, Stored<'a>>,
    /// Tensors outside the prefix, by names without the segments shared with it.
    beside: BTreeMap<&'a str, Stored<'a>>,
    /// Prefixes of networks with the same values, sorted.
    copies: Vec<&'a str>,
    /// Index of the module after the stages, if the network is a sequence of a ResNet's children.
    pool_child: Option<usize>,
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

/// The entries under a module's name, sorted.
fn under<'m, K, V>(
    map: &'m BTreeMap<K, V>,
    module: &str,
) -> impl Iterator<Item = (&'m K, &'m V)> + use<'m, K, V>
where
    K: Borrow<str> + Ord,
{
    let first = format!("{module}.");
    let from = (Bound::Included(first.as_str()), Bound::Unbounded);
    map.range::<str, _>(from).take_while(move |(name, _)| (*name).borrow().starts_with(&first))
}

/// The number that a name begins with.
pub(in crate::models) fn leading_number(name: &str) -> Option<usize> {
    name.split('.').next()?.parse().ok()
}

impl<'a> StateDict<'a> {
    /// Only the tensors under a prefix, which suffice for recognition.
    pub(in crate::models) fn behind(
        checkpoint: &'a Checkpoint,
        config: &'a Config,
        prefix: &'a str,
    ) -> StateDict<'a> {
        let inner = |(name, tensor): Stored<'a>| (Cow::Borrowed(&name[prefix.len()..]), (name, tensor));
        let mut tensors = BTreeMap::new();
        tensors.extend(checkpoint.tensors_from(prefix).map(inner));
        let mut dict = StateDict {
            checkpoint,
            config,
            prefix,
            tensors,
            beside: BTreeMap::new(),
            copies: vec![],
            pool_child: None,
        };
        dict.name_children();
        dict
    }

    /// All tensors, including those outside the prefix. Of two that map to one name, the one that shares more of the prefix is taken.
    pub(in crate::models) fn under(
        checkpoint: &'a Checkpoint,
        config: &'a Config,
        prefix: &'a str,
        copies: Vec<&'a str>,
    ) -> StateDict<'a> {
        let mut dict = StateDict { copies, ..StateDict::behind(checkpoint, config, prefix) };
        dict.copies.sort_unstable();
        for (name, tensor) in checkpoint.tensors().filter(|(name, _)| !name.starts_with(prefix)) {
            let relative = after_shared(name, prefix);
            match dict.beside.insert(relative, (name, tensor)) {
                Some(nearer) if nearer.0.len() > name.len() => {
                    dict.beside.insert(relative, nearer);
                    dict.beside.insert(name, (name, tensor));
                }
                Some(farther) => drop(dict.beside.insert(farther.0, farther)),
                None => {}
            }
        }
        dict
    }

    /// Restores the names of a ResNet's children in a sequence, `nn.Sequential(*resnet.children())` or a part of it: convolution, batch
    /// norm, then stages of blocks. Modules after the stages keep their numbers.
    fn name_children(&mut self) {
        let shape = |name: &str| self.tensors.get(name).map(|(_, tensor)| tensor.shape().len());
        let stem = shape("0.weight").or(shape("0.0.weight")) == Some(4) && shape("1.running_mean").is_some();
        let block = |name: &&Cow<'_, str>| name.ends_with(".0.conv1.weight");
        let mut stages: Vec<usize> =
            self.tensors.keys().filter(block).filter_map(|n| leading_number(n)).collect();
        stages.sort_unstable();
        if !stem || stages.first().is_none_or(|first| *first < 2) {
            return;
        }
        let name = |child: usize| match child {
            0 => Some("conv1".to_string()),
            1 => Some("bn1".to_string()),
            _ => {
                let stage = stages.partition_point(|s| *s < child);
                (stages.get(stage) == Some(&child)).then(|| format!("layer{}", stage + 1))
            }
        };
        let named = |(old, stored): (Cow<'a, str>, Stored<'a>)| {
            let new = leading_number(&old).and_then(|child| Some((name(child)?, old.split_once('.')?.1)));
            let new = new.map(|(name, rest)| Cow::Owned(format!("{name}.{rest}")));
            (new.unwrap_or(old), stored)
        };
        let tensors = std::mem::take(&mut self.tensors);
        self.tensors.extend(tensors.into_iter().map(named));
        self.pool_child = stages.last().map(|last| last + 1);
    }

    pub(in crate::models) fn prefix(&self) -> &'a str {
        self.prefix
    }

    /// Names under the prefix, sorted.
    pub(in crate::models) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(Cow::as_ref)
    }

    /// Names beside the prefix, sorted.
    pub(in crate::models) fn names_beside(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.beside.keys().copied()
    }

    /// Whether the network has a tensor under the name of a module.
    pub(in crate::models) fn has_under(&self, module: &str) -> bool {
        self.names_under(module).next().is_some()
    }

    /// Names under a module's name, sorted.
    pub(in crate::models) fn names_under(&self, module: &str) -> impl Iterator<Item = &str> {
        under(&self.tensors, module).map(|(name, _)| name.as_ref())
    }

    /// Whether a tensor beside the network has a name under a module's name.
    pub(in crate::models) fn has_beside(&self, module: &str) -> bool {
        under(&self.beside, module).next().is_some()
    }

    /// Moves tensors beside the network under a name into it, unless the network has tensors under this name.
    pub(in crate::models) fn adopt(&mut self, name: &str) {
        if self.has_under(name) {
            return;
        }
        let adopted: Vec<&str> = under(&self.beside, name).map(|(n, _)| *n).collect();
        for name in adopted {
            if let Some(found) = self.beside.remove(name) {
                self.tensors.insert(Cow::Borrowed(name), found);
            }
        }
    }

    /// Tensors beside the network that do not belong to a copy of it.
    pub(in crate::models) fn beside(&self) -> impl Iterator<Item = Stored<'a>> + '_ {
        let copied = |name: &str| {
            let prefixes = name.match_indices('.').map(|(at, _)| &name[..=at]).take(MAX_PREFIX_DEPTH);
            std::iter::once("").chain(prefixes).any(|prefix| self.copies.binary_search(&prefix).is_ok())
        };
        self.beside.values().copied().filter(move |(name, _)| !copied(name))
    }

    /// The number of the pool, or of whatever else follows the stages, among the children of a ResNet in a sequence.
    pub(in crate::models) fn pool_child(&self) -> Option<usize> {
        self.pool_child
    }

    /// Prefixes of networks with the same values.
    pub(in crate::models) fn copies(&self) -> &[&'a str] {
        &self.copies
    }

    /// Tensors of the file whose dtype cannot be computed with: name in the file, name without the prefix if it is under the prefix, dtype
    /// and shape.
    pub(in crate::models) fn others(
        &self,
    ) -> impl Iterator<Item = (&'a str, Option<&'a str>, &'a str, &'a [usize])> + '_ {
        self.checkpoint
            .others()
            .map(|(name, dtype, shape)| (name, name.strip_prefix(self.prefix), dtype, shape))
    }

    pub(in crate::models) fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        self.tensors.get(name).map(|(_, tensor)| *tensor)
    }

    pub(in crate::models) fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.tensor(name).map(Tensor::shape)
    }

    /// The name that a tensor has in the file, or would have.
    pub(in crate::models) fn file_name(&self, name: &str) -> String {
        self.tensors.get(name).map_or_else(|| format!("{}{name}", self.prefix), |(full, _)| full.to_string())
    }

    /// A name of the file without the segments it shares with the prefix.
    pub(in crate::models) fn relative<'n>(&self, name: &'n str) -> &'n str {
        after_shared(name, self.prefix)
    }

    /// `config.json`.
    pub(in crate::models) fn config(&self) -> &'a Config {
        self.config
    }

    /// A value of the file's metadata.
    pub(in crate::models) fn metadata(&self, key: &str) -> Option<&'a str> {
        self.checkpoint.metadata(key)
    }

    /// Whether another network has the same names, shapes and values.
    pub(in crate::models) fn same_values(&self, other: &StateDict<'_>) -> bool {
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
