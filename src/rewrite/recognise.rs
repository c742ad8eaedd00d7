//! A plain chain's structure found again: what the literal form multiplied out.

use crate::graph::{Graph, GraphError, Op};

/// Takes every plain weight apart into the blocks it is made of ([`Conv2d::recognised`](crate::graph::Conv2d::recognised)),
/// exactly: not one value is changed. Gives the names of the layers where there was something to find.
///
/// # Errors
/// [`GraphError`] when a rewritten node does not fit, which a well-formed graph never gives.
pub fn recognise(graph: &Graph) -> Result<(Graph, Vec<String>), GraphError> {
    let mut new = Graph::new(graph.input_shape());
    let mut found = vec![];
    for node in &graph.nodes()[1..] {
        let mut op = node.op.clone();
        if let Op::Conv2d(conv) = &node.op
            && let Some(recognised) = conv.recognised(graph.shape(node.inputs[0]).size(), 0.0)
        {
            op = Op::Conv2d(recognised.conv);
            found.push(node.name.clone());
        }
        new.push(node.name.clone(), op, &node.inputs)?;
    }
    Ok((new, found))
}
