//! Recovers the block structure of a plain chain, such as one written by the literal form.

use crate::graph::{Graph, GraphError, Op};

/// The recovered structure of a chain.
#[derive(Clone, Debug)]
pub struct Recognition {
    /// The chain in block weights.
    pub graph: Graph,
    /// Names of the layers in which block structure was found.
    pub layers: Vec<String>,
    /// Largest difference between a weight or bias and the Dirac that replaced it; 0 if no value is changed.
    pub deviation: f64,
}

/// Splits every plain weight into blocks ([`Conv2d::recognised`](crate::graph::Conv2d::recognised)). A `tolerance` of 0 changes
/// no value. [`NEAR_DIRAC`](crate::graph::NEAR_DIRAC) also finds carried channels that differ from a Dirac by rounding, because a
/// batch norm was divided out in f32.
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
