//! Folds batch norms into the preceding convolution, in f64; without one, converts them to diagonal 1x1 convolutions.

use crate::graph::{BlockWeight, Conv2d, Graph, GraphError, Op, ValueId, Weight};

/// Folds every batch norm that is the only reader of a linear convolution: weight rows times `scale`, bias times `scale` plus
/// `shift`.
///
/// Weights stay borrowed: only a factor per row is added to them. A batch norm after anything else becomes a 1x1 convolution with
/// a diagonal block. It is never folded into the convolution after it, because the zeros of that convolution's padding would then
/// be wrong.
///
/// # Errors
/// [`GraphError`] if a folded node does not fit, which cannot happen for a well-formed graph.
pub fn fold_batch_norm(graph: &Graph) -> Result<Graph, GraphError> {
    let consumers = graph.consumers();
    let mut new = Graph::new(graph.input_shape());
    let mut map: Vec<ValueId> = vec![ValueId(0)];
    for v in graph.values().skip(1) {
        let node = graph.node(v);
        let inputs: Vec<ValueId> = node.inputs.iter().map(|i| map[i.index()]).collect();
        // A convolution whose only reader is a batch norm is folded with it and keeps its own name.
        if let (Op::Conv2d(conv), [reader]) = (&node.op, consumers[v.index()].as_slice())
            && let Op::BatchNorm(bn) = &graph.node(*reader).op
            && let Some(folded) = fold(conv, &bn.affine())
        {
            map.push(new.push(node.name.clone(), Op::Conv2d(folded), &inputs)?);
            continue;
        }
        if let Op::BatchNorm(_) = node.op {
            let source = node.inputs[0];
            if let Op::Conv2d(conv) = &graph.node(source).op
                && consumers[source.index()].len() == 1
                && foldable(conv)
            {
                map.push(inputs[0]);
                continue;
            }
        }
        if let Op::BatchNorm(bn) = &node.op {
            let (scale, shift) = bn.affine();
            map.push(new.push(node.name.clone(), Op::Conv2d(Conv2d::diagonal(scale, shift)), &inputs)?);
            continue;
        }
        map.push(new.push(node.name.clone(), node.op.clone(), &inputs)?);
    }
    debug_assert_eq!(map[graph.output().index()], new.output());
    Ok(new)
}

fn foldable(conv: &Conv2d) -> bool {
    conv.is_linear() && conv.blocks.iter().all(|b| !matches!(b.weight, BlockWeight::AvgPool2x2))
}

fn fold(conv: &Conv2d, (scale, shift): &(Vec<f64>, Vec<f64>)) -> Option<Conv2d> {
    if !foldable(conv) {
        return None;
    }
    let mut folded = conv.clone();
    for block in &mut folded.blocks {
        let rows = &scale[block.out.clone()];
        let scaled = |w: &Weight| w.scaled(rows);
        block.weight = match &block.weight {
            BlockWeight::Dense { weight, groups } => {
                BlockWeight::Dense { weight: scaled(weight), groups: *groups }
            }
            BlockWeight::Pointwise(weight) => BlockWeight::Pointwise(scaled(weight)),
            BlockWeight::Dirac => BlockWeight::Diagonal(rows.into()),
            BlockWeight::Diagonal(factors) => {
                BlockWeight::Diagonal(factors.iter().zip(rows).map(|(f, s)| f * s).collect())
            }
            BlockWeight::AvgPool2x2 => unreachable!("not foldable"),
        };
    }
    folded.has_bias = true;
    for (o, b) in folded.bias.iter_mut().enumerate() {
        *b = *b * scale[o] + shift[o];
    }
    Some(folded)
}
