//! Recovers the block structure of a plain chain, which the literal form multiplied out.

use crate::graph::{Graph, GraphError, Op};

/// The recovered structure of a chain.
#[derive(Clone, Debug)]
pub struct Recognition {
    /// The chain in block weights.
    pub graph: Graph,
    /// Layers where there was something to find.
    pub layers: Vec<String>,
    /// Largest difference of a weight or bias from the Dirac it was taken for; 0 where not one value is changed.
    pub deviation: f64,
}

/// Splits every plain weight into blocks ([`Conv2d::recognised`](crate::graph::Conv2d::recognised)). With a `tolerance` of 0 not one
/// value is changed; with [`NEAR_DIRAC`](crate::graph::NEAR_DIRAC) carried channels are found that a batch norm divided out in f32 has
/// moved by its rounding.
///
/// # Errors
/// [`GraphError`] when a rewritten node does not fit, which a well-formed graph never gives.
pub fn recognise(graph: &Graph, tolerance: f64) -> Result<Recognition, GraphError> {
    let mut new = Graph::new(graph.input_shape());
    let (mut layers, mut deviation) = (vec![], 0.0f64);
    for node in &graph.nodes()[1..] {
        let mut op = node.op.clone();
        if let Op::Conv2d(conv) = &node.op
            && let Some(recognised) = conv.recognised(graph.shape(node.inputs[0]).size(), tolerance)
        {
            op = Op::Conv2d(recognised.conv);
            layers.push(node.name.clone());
            deviation = deviation.max(recognised.deviation);
        }
        new.push(node.name.clone(), op, &node.inputs)?;
    }
    Ok(Recognition { graph: new, layers, deviation })
}
