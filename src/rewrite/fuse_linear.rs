//! Merges neighbouring linear 1x1 convolutions. This turns a MobileNetV2 without residual connections into a MobileNetV1, since
//! nothing separates the projection of a block from the expansion of the next.
//!
//! The result has more multiplies and fewer dispatches, so it should be measured.

use crate::graph::{Block, BlockWeight, Conv2d, Graph, GraphError, Op, ValueId, Weight};
use crate::tensor::Tensor;
use std::ops::Range;

/// Multiplies every linear 1x1 convolution whose only reader is another 1x1 convolution into that reader, in f64:
/// `act(B (A x + a) + b) = act(B A x + B a + b)`. The product keeps the reader's name.
///
/// Convolutions are not merged if their product has many times more values than both together.
///
/// If the reader also passes on the earlier convolution's output (a reserved range), the same convolution computes those rows.
///
/// # Errors
/// [`GraphError`] when a rewritten node does not fit, which a well-formed graph never gives.
pub fn fuse_linear(graph: &Graph) -> Result<Graph, GraphError> {
    let consumers = graph.consumers();
    let mut new = Graph::new(graph.input_shape());
    let mut map: Vec<Option<ValueId>> = vec![None; graph.nodes().len()];
    map[0] = Some(ValueId::INPUT);
    // Convolutions that are merged into their reader.
    let mut pending: Vec<Option<(Conv2d, ValueId)>> = vec![None; graph.nodes().len()];
    for v in graph.values().skip(1) {
        let node = graph.node(v);
        let mut op = node.op.clone();
        let mut inputs = node.inputs.clone();
        if let Op::Conv2d(conv) = &node.op {
            let mut conv = conv.clone();
            if let Some((first, source)) = pending[inputs[0].index()].take() {
                conv = product(&conv, &first);
                inputs = vec![source];
            }
            if let [reader] = consumers[v.index()].as_slice()
                && let Op::Conv2d(next) = &graph.node(*reader).op
                && is_pointwise(&conv)
                && conv.is_linear()
                && is_pointwise(next)
                && carried_in_quads(next)
                && worth_forming(&conv, next)
            {
                pending[v.index()] = Some((conv, inputs[0]));
                continue;
            }
            op = Op::Conv2d(conv);
        }
        let inputs: Vec<ValueId> =
            inputs.iter().map(|i| map[i.index()].expect("operands come first")).collect();
        map[v.index()] = Some(new.push(node.name.clone(), op, &inputs)?);
    }
    Ok(new)
}

/// A 1x1 convolution of stride 1 without padding, whose blocks can be multiplied as matrices.
fn is_pointwise(conv: &Conv2d) -> bool {
    let grouped = |b: &Block| matches!(b.weight, BlockWeight::Dense { groups, .. } if groups > 1);
    conv.kernel == [1, 1]
        && conv.stride == [1, 1]
        && conv.padding == [0, 0]
        && conv.padding_end == [0, 0]
        && !conv.blocks.iter().any(grouped)
}

/// Products of up to this many values (4 MiB in f64) are always merged.
const MIN_PRODUCT_BOUND: usize = 1 << 19;

/// Whether the product is not much larger than its factors. It would be, with a narrow layer between two wide ones.
fn worth_forming(first: &Conv2d, second: &Conv2d) -> bool {
    let own = first.macs_per_pixel().saturating_add(second.macs_per_pixel());
    let product = first.in_channels.saturating_mul(second.out_channels);
    product <= own.saturating_mul(16).max(MIN_PRODUCT_BOUND)
}

/// Whether passed-on rows end at a multiple of 4, where one dispatch can write two buffers.
fn carried_in_quads(conv: &Conv2d) -> bool {
    let handed_on = |b: &&Block| matches!(b.weight, BlockWeight::Dirac | BlockWeight::Diagonal(_));
    conv.blocks.iter().filter(handed_on).all(|b| b.out.start == 0 && b.out.end.is_multiple_of(4))
}

/// `second` after `first`: the product of every pair of blocks that share channels. Rows of `second` that read the same block of
/// `first` become one dense block.
fn product(second: &Conv2d, first: &Conv2d) -> Conv2d {
    let mut blocks: Vec<Block> = vec![];
    for a in &first.blocks {
        // One matrix of all rows that multiply this block, except rows that only hand on a Dirac block.
        let mut rows: Vec<(Range<usize>, Matrix)> = vec![];
        for b in &second.blocks {
            let shared = b.input.start.max(a.out.start)..b.input.end.min(a.out.end);
            if shared.is_empty() {
                continue;
            }
            let part = |range: &Range<usize>| shared.start - range.start..shared.end - range.start;
            let (of_b, of_a) = (part(&b.input), part(&a.out));
            let left = factors_of(&b.weight, &of_b);
            // Diagonal blocks have one row per input, so the same part of rows and inputs is taken.
            let out = match left {
                Some(_) => b.out.start + of_b.start..b.out.start + of_b.end,
                None => b.out.clone(),
            };
            match (left, factors_of(&a.weight, &of_a)) {
                (Some(left), Some(right)) => {
                    let factors: Vec<f64> = left.iter().zip(&right).map(|(l, r)| l * r).collect();
                    let weight = match factors.iter().all(|f| *f == 1.0) {
                        true => BlockWeight::Dirac,
                        false => BlockWeight::Diagonal(factors.into()),
                    };
                    let input = a.input.start + of_a.start..a.input.start + of_a.end;
                    blocks.push(Block { out, input, weight });
                }
                (Some(left), None) => rows.push((out, Matrix::of(a, &of_a).rows_scaled(&left))),
                (None, right) => {
                    let b = Matrix::columns_of(b, &of_b);
                    let a = match right {
                        Some(factors) => Matrix::diagonal(&factors, of_a.start, a.input.len()),
                        None => Matrix::of(a, &of_a),
                    };
                    rows.push((out, b.times(&a)));
                }
            }
        }
        blocks.extend(joined(rows, &a.input));
    }
    let (bias, has_bias) = (product_bias(second, first), first.has_bias || second.has_bias);
    Conv2d { in_channels: first.in_channels, blocks, bias, has_bias, ..second.clone() }
}

/// The factors of a part of a Dirac or diagonal block; `None` for other blocks.
fn factors_of(weight: &BlockWeight, part: &Range<usize>) -> Option<Vec<f64>> {
    match weight {
        BlockWeight::Dirac => Some(vec![1.0; part.len()]),
        BlockWeight::Diagonal(factors) => Some(factors[part.clone()].to_vec()),
        _ => None,
    }
}

/// `B a + b`: the bias of `second` after `first`.
fn product_bias(second: &Conv2d, first: &Conv2d) -> Vec<f64> {
    let mut bias = second.bias.clone();
    for b in &second.blocks {
        let values = &first.bias[b.input.clone()];
        match &b.weight {
            BlockWeight::Dirac => bias[b.out.clone()].iter_mut().zip(values).for_each(|(o, v)| *o += v),
            BlockWeight::Diagonal(factors) => {
                let terms = values.iter().zip(factors.iter());
                bias[b.out.clone()].iter_mut().zip(terms).for_each(|(o, (v, f))| *o += v * f);
            }
            BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) => {
                for (r, o) in bias[b.out.clone()].iter_mut().enumerate() {
                    *o += weight.row(r).iter().zip(values).map(|(w, v)| w * v).sum::<f64>();
                }
            }
            BlockWeight::AvgPool2x2 => unreachable!("of stride 2"),
        }
    }
    bias
}

/// The products with one block of the first convolution, as blocks; neighbouring rows share a block.
fn joined(mut rows: Vec<(Range<usize>, Matrix)>, input: &Range<usize>) -> Vec<Block> {
    rows.sort_by_key(|(out, _)| out.start);
    let mut joined: Vec<(Range<usize>, Matrix)> = vec![];
    for (out, matrix) in rows {
        match joined.last_mut() {
            Some((range, all)) if range.end == out.start => {
                range.end = out.end;
                all.values.extend(matrix.values);
            }
            _ => joined.push((out, matrix)),
        }
    }
    let block = |(out, matrix): (Range<usize>, Matrix)| {
        let tensor = Tensor::from_f64(vec![out.len(), matrix.columns, 1, 1], matrix.values);
        let weight = BlockWeight::Dense { weight: Weight::new(tensor), groups: 1 };
        Block { out, input: input.clone(), weight }
    };
    joined.into_iter().map(block).collect()
}

/// A row-major matrix.
struct Matrix {
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    fn weight(block: &Block) -> &Weight {
        match &block.weight {
            BlockWeight::Dense { weight, .. } | BlockWeight::Pointwise(weight) => weight,
            _ => unreachable!("diagonal blocks are taken apart before"),
        }
    }

    /// Some rows of a dense block.
    fn of(block: &Block, rows: &Range<usize>) -> Matrix {
        let weight = Matrix::weight(block);
        Matrix { columns: block.input.len(), values: rows.clone().flat_map(|r| weight.row(r)).collect() }
    }

    /// Some columns of a dense block.
    fn columns_of(block: &Block, columns: &Range<usize>) -> Matrix {
        let weight = Matrix::weight(block);
        let row = |r| weight.row(r)[columns.clone()].to_vec();
        Matrix { columns: columns.len(), values: (0..block.out.len()).flat_map(row).collect() }
    }

    /// Factor `i` at column `first + i` of row `i`.
    fn diagonal(factors: &[f64], first: usize, columns: usize) -> Matrix {
        let mut values = vec![0.0; factors.len() * columns];
        for (i, factor) in factors.iter().enumerate() {
            values[i * columns + first + i] = *factor;
        }
        Matrix { columns, values }
    }

    fn rows_scaled(mut self, factors: &[f64]) -> Matrix {
        for (row, factor) in self.values.chunks_exact_mut(self.columns).zip(factors) {
            row.iter_mut().for_each(|v| *v *= factor);
        }
        self
    }

    fn times(&self, right: &Matrix) -> Matrix {
        let mut values = Vec::with_capacity(self.values.len() / self.columns * right.columns);
        for row in self.values.chunks_exact(self.columns) {
            let mut sum = vec![0.0; right.columns];
            for (l, of_right) in row.iter().zip(right.values.chunks_exact(right.columns)) {
                sum.iter_mut().zip(of_right).for_each(|(s, r)| *s += l * r);
            }
            values.extend(sum);
        }
        Matrix { columns: right.columns, values }
    }
}
