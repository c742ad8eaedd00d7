//! Fuses activations into the preceding convolution or Add.

use crate::graph::{Activation, Conv2d, Graph, GraphError, Op, ValueId};

/// Fuses every activation that is the only reader of a linear convolution or Add. A convolution keeps its name. An Add takes the
/// activation's name, which is the name of the block. Any other activation becomes a 1x1 Dirac convolution that applies it.
///
/// # Errors
/// [`GraphError`] if a fused node does not fit, which cannot happen for a well-formed graph.
pub fn fuse_activation(graph: &Graph) -> Result<Graph, GraphError> {
    let consumers = graph.consumers();
    let mut new = Graph::new(graph.input_shape());
    let mut map: Vec<ValueId> = vec![ValueId(0)];
    for v in graph.values().skip(1) {
        let node = graph.node(v);
        let inputs: Vec<ValueId> = node.inputs.iter().map(|i| map[i.index()]).collect();
        let follower = match consumers[v.index()].as_slice() {
            [reader] => match &graph.node(*reader).op {
                Op::Activation(a) => Some((&graph.node(*reader).name, a)),
                _ => None,
            },
            _ => None,
        };
        let linear = is_linear(&node.op);
        let value = match (&node.op, follower) {
            (Op::Conv2d(conv), Some((_, a))) if linear => {
                let mut conv = conv.clone();
                conv.activation = vec![(0..conv.out_channels, a.clone())];
                new.push(node.name.clone(), Op::Conv2d(conv), &inputs)?
            }
            (Op::Add(_), Some((name, a))) if linear => new.push(name.clone(), Op::Add(a.clone()), &inputs)?,
            (Op::Activation(_), _)
                if is_linear(&graph.node(node.inputs[0]).op)
                    && consumers[node.inputs[0].index()].len() == 1 =>
            {
                inputs[0]
            }
            (Op::Activation(a), _) => {
                let conv = Conv2d::pointwise_function(node.shape.channels, a.clone());
                new.push(node.name.clone(), Op::Conv2d(conv), &inputs)?
            }
            _ => new.push(node.name.clone(), node.op.clone(), &inputs)?,
        };
        map.push(value);
    }
    debug_assert_eq!(map[graph.output().index()], new.output());
    Ok(new)
}

fn is_linear(op: &Op) -> bool {
    match op {
        Op::Conv2d(conv) => conv.is_linear(),
        Op::Add(a) => *a == Activation::Identity,
        _ => false,
    }
}
