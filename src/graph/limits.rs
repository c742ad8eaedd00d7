//! Size limits of graphs. A few bytes of a file can state any size. Within these limits, later sums of elements, bytes and
//! multiplications fit `usize`, and the work of every pass stays in proportion to the file.

use super::{Graph, GraphError, Node, Op, Shape};
use std::collections::HashSet;

/// Maximum nodes of a graph. Networks have a few hundred.
pub const MAX_NODES: usize = 100_000;

/// Maximum bytes of a node's name.
pub const MAX_NAME: usize = 1 << 16;

/// Maximum channels of all nodes of a graph together. A ResNet-152 has 400 000.
pub const MAX_CHANNELS: usize = 1 << 23;

/// Maximum elements of all values of a graph together, for one image: 2^42, or 2^28 where addresses have 32 bits, as in a
/// browser. A ResNet-50 on an image of 16384 x 16384 has 2^38.
pub const MAX_VALUES: usize = match 1usize.checked_shl(42) {
    Some(values) => values,
    None => 1 << 28,
};

/// Maximum multiply-accumulates of a graph, for one image: 2^55, or `usize::MAX` where that is smaller.
pub const MAX_MACS: usize = match 1usize.checked_shl(55) {
    Some(macs) => macs,
    None => usize::MAX,
};

/// Sums over the nodes of a graph, saturating at `usize::MAX`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    channels: usize,
    values: usize,
    macs: usize,
}

impl Totals {
    /// The totals with one more node.
    pub(super) fn with(self, op: &Op, shape: Shape) -> Totals {
        let pixels = shape.height.saturating_mul(shape.width);
        let macs = match op {
            Op::Conv2d(conv) => conv.macs_per_pixel().saturating_mul(pixels),
            _ => 0,
        };
        Totals {
            channels: self.channels.saturating_add(shape.channels),
            // A plane without channels has no elements, but later code still multiplies its rows by its columns.
            values: self.values.saturating_add(pixels.saturating_mul(shape.channels.max(1))),
            macs: self.macs.saturating_add(macs),
        }
    }

    /// The totals of existing nodes.
    pub(super) fn of(nodes: &[Node]) -> Totals {
        nodes.iter().fold(Totals::default(), |totals, n| totals.with(&n.op, n.shape))
    }

    pub(super) fn macs(&self) -> usize {
        self.macs
    }

    /// Whether the totals are within the limits; if not, what was expected and what was found.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let limits = [
            (self.channels, MAX_CHANNELS, "channels in all layers together"),
            (self.values, MAX_VALUES, "values in all layers together, for one image"),
            (self.macs, MAX_MACS, "multiplications in all layers together, for one image"),
        ];
        match limits.into_iter().find(|(found, most, _)| found > most) {
            None => Ok(()),
            Some((usize::MAX, most, what)) => {
                Err((format!("at most {most} {what}"), "more than can be counted".into()))
            }
            Some((found, most, what)) => Err((format!("at most {most} {what}"), found.to_string())),
        }
    }
}

impl Graph {
    /// Checks a graph against `MAX_CHANNELS`, `MAX_VALUES` and `MAX_MACS`. [`Graph::push`] calls this, since the input alone,
    /// which [`Graph::new`] does not check, may already be too large.
    ///
    /// # Errors
    /// [`GraphError`] names the last node, the limit and what was found.
    pub fn admitted(&self) -> Result<(), GraphError> {
        let node = self.nodes.last().map_or_else(String::new, |n| n.name.clone());
        self.totals.check().map_err(|(expected, found)| GraphError { node, expected, found })
    }

    /// Whether a further node may have this name; if not, what was expected and what was found.
    pub(super) fn admits_name(&self, name: &str) -> Result<(), (String, String)> {
        if self.nodes.len() >= MAX_NODES {
            return Err((format!("at most {MAX_NODES} layers"), format!("{} and more", self.nodes.len())));
        }
        if name.len() > MAX_NAME {
            return Err((format!("a name of at most {MAX_NAME} bytes"), name.len().to_string()));
        }
        match self.find(name) {
            Some(_) => Err(("a name of its own".into(), "another node of that name".into())),
            None => Ok(()),
        }
    }

    /// Bytes of its parameters in f32, at most [`usize::MAX`]. A tensor that several layers read counts once; every vector
    /// counts.
    pub fn stored_bytes(&self) -> usize {
        let mut seen = HashSet::new();
        let mut elements = 0usize;
        for node in &self.nodes {
            let vectors = match &node.op {
                Op::Conv2d(conv) => {
                    conv.stored(&mut |tensor| {
                        if seen.insert(tensor.place()) {
                            elements = elements.saturating_add(tensor.len());
                        }
                    });
                    conv.bias.len() + conv.activation.iter().map(|(_, a)| a.parameters()).sum::<usize>()
                }
                Op::BatchNorm(bn) => 4 * bn.weight.len(),
                Op::Activation(a) | Op::Add(a) => a.parameters(),
                _ => 0,
            };
            elements = elements.saturating_add(vectors);
        }
        elements.saturating_mul(4)
    }

    /// Elements of all values together, for one image.
    pub(crate) fn value_count(&self) -> usize {
        self.totals.values
    }
}
