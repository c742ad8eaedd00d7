//! A plain-loop interpreter of a [`Graph`] in f64: the reference that all other code is compared with.
//!
//! Block weights are applied block by block, by their definition, so the reference shares no code with the literal form or the planner.
//! Values are planar, `[batch, channels, height, width]`.

use crate::graph::{BlockWeight, Conv2d, Graph, MaxPool, Op, Shape, ValueId, Weight};
use crate::threads;

/// Runs a graph on `input`, `[batch, channels, height, width]` f64, and returns its output.
///
/// # Panics
/// When `input` does not hold `batch` images of the graph's input shape.
pub fn run(graph: &Graph, input: &[f64], batch: usize) -> Vec<f64> {
    let mut output = vec![];
    visit(graph, input, batch, |v, value| {
        if v == graph.output() {
            output = value.to_vec();
        }
    });
    output
}

/// Bytes of the largest set of values that [`visit`] holds at one time, at most [`usize::MAX`].
pub fn bytes(graph: &Graph, batch: usize) -> usize {
    let of = |v: ValueId| graph.shape(v).len().saturating_mul(8).saturating_mul(batch);
    let mut uses: Vec<usize> = graph.consumers().iter().map(Vec::len).collect();
    let (mut live, mut most) = (0usize, 0);
    for v in graph.values() {
        live = live.saturating_add(of(v));
        most = most.max(live);
        for i in &graph.node(v).inputs {
            uses[i.index()] -= 1;
            if uses[i.index()] == 0 {
                live = live.saturating_sub(of(*i));
            }
        }
    }
    most
}

/// Runs a graph and calls `see` with every value when it is computed. A value is dropped after its last use.
///
/// # Panics
/// When `input` does not hold `batch` images of the graph's input shape.
pub fn visit(graph: &Graph, input: &[f64], batch: usize, mut see: impl FnMut(ValueId, &[f64])) {
    visit_mut(graph, input, batch, |v, value| see(v, value));
}

/// [`visit`], in which `see` may change a value before other nodes read it.
///
/// # Panics
/// When `input` does not hold `batch` images of the graph's input shape.
pub fn visit_mut(graph: &Graph, input: &[f64], batch: usize, mut see: impl FnMut(ValueId, &mut [f64])) {
    assert_eq!(input.len(), batch * graph.input_shape().len(), "the input holds {batch} images");
    let mut uses: Vec<usize> = graph.consumers().iter().map(Vec::len).collect();
    let mut values: Vec<Vec<f64>> = vec![vec![]; graph.nodes().len()];
    for v in graph.values() {
        let node = graph.node(v);
        let operands: Vec<&[f64]> = node.inputs.iter().map(|i| values[i.index()].as_slice()).collect();
        let shapes: Vec<Shape> = node.inputs.iter().map(|i| graph.shape(*i)).collect();
        let mut value = match &node.op {
            Op::Input(_) => input.to_vec(),
            op => apply(op, &operands, &shapes, node.shape, batch),
        };
        see(v, &mut value);
        values[v.index()] = value;
        for i in &node.inputs {
            uses[i.index()] -= 1;
            if uses[i.index()] == 0 {
                values[i.index()] = vec![];
            }
        }
    }
}

/// Computes one operation from its operands.
///
/// # Panics
/// On [`Op::Input`], which computes nothing.
pub fn apply(op: &Op, operands: &[&[f64]], shapes: &[Shape], out: Shape, batch: usize) -> Vec<f64> {
    let x = operands[0];
    let plane = out.height * out.width;
    let by_channel = |f: &(dyn Fn(usize, f64) -> f64 + Sync)| -> Vec<f64> {
        x.iter().enumerate().map(|(i, &v)| f(i / plane % out.channels, v)).collect()
    };
    match op {
        Op::Input(_) => panic!("an input is given, not computed"),
        Op::Conv2d(conv) => conv2d(conv, x, shapes[0], out, batch),
        Op::BatchNorm(bn) => by_channel(&|c, v| {
            (v - bn.mean[c]) / (bn.variance[c] + bn.epsilon).sqrt() * bn.weight[c] + bn.bias[c]
        }),
        Op::Activation(a) => by_channel(&|c, v| a.apply(c, v)),
        Op::Add(a) => {
            let sums = x.iter().zip(operands[1]).enumerate();
            sums.map(|(i, (p, q))| a.apply(i / plane % out.channels, p + q)).collect()
        }
        Op::Slice(range) => {
            let image = shapes[0].len();
            x.chunks(image).flat_map(|v| &v[range.start * plane..range.end * plane]).copied().collect()
        }
        Op::Gate { first } => {
            let (channels, gates) = (out.channels, shapes[1].channels);
            let gated = |(i, v): (usize, &f64)| {
                let (image, c) = (i / plane / channels, i / plane % channels);
                match c.checked_sub(*first).filter(|g| *g < gates) {
                    Some(g) => v * operands[1][image * gates + g],
                    None => *v,
                }
            };
            x.iter().enumerate().map(gated).collect()
        }
        Op::AvgPool2x2 => avg_pool_2x2(x, shapes[0]),
        Op::MaxPool(pool) => max_pool(pool, x, shapes[0], out),
        Op::GlobalAverage => {
            let n = shapes[0].height * shapes[0].width;
            x.chunks(n).map(|c| c.iter().sum::<f64>() / n as f64).collect()
        }
    }
}

fn conv2d(conv: &Conv2d, x: &[f64], shape: Shape, out: Shape, batch: usize) -> Vec<f64> {
    let (in_plane, out_plane) = (shape.height * shape.width, out.height * out.width);
    let mut result = vec![0.0; batch * out.len()];
    let centre = conv.centre().unwrap_or([0, 0]);
    let activation: Vec<_> =
        conv.activation.iter().flat_map(|(r, a)| r.clone().map(move |o| (o - r.start, a))).collect();
    threads::each_part(&mut result, out_plane, |i, sum| {
        let (image, o) = (i / out.channels, i % out.channels);
        let channel = |c: usize| &x[(image * shape.channels + c) * in_plane..][..in_plane];
        sum.fill(conv.bias[o]);
        for block in conv.blocks.iter().filter(|b| b.out.contains(&o)) {
            let r = o - block.out.start;
            match &block.weight {
                BlockWeight::Dirac => tap(conv, centre, 1.0, channel(block.input.start + r), shape, sum, out),
                BlockWeight::Diagonal(scale) => {
                    tap(conv, centre, scale[r], channel(block.input.start + r), shape, sum, out);
                }
                BlockWeight::AvgPool2x2 => {
                    let means = avg_pool_2x2(channel(block.input.start + r), shape);
                    sum.iter_mut().zip(means).for_each(|(s, m)| *s += m);
                }
                BlockWeight::Pointwise(w) => {
                    for (c, v) in w.row(r).into_iter().enumerate() {
                        tap(conv, centre, v, channel(block.input.start + c), shape, sum, out);
                    }
                }
                BlockWeight::Dense { weight, groups } => {
                    let per_group = block.input.len() / groups;
                    let first = block.input.start + r / (block.out.len() / groups) * per_group;
                    dense_row(conv, weight, r, |c| channel(first + c), shape, sum, out);
                }
            }
        }
        for v in sum {
            *v = activation[o].1.apply(activation[o].0, *v);
        }
    });
    result
}

fn dense_row<'a>(
    conv: &Conv2d,
    weight: &Weight,
    row: usize,
    channel: impl Fn(usize) -> &'a [f64],
    shape: Shape,
    sum: &mut [f64],
    out: Shape,
) {
    let [kh, kw] = conv.kernel;
    for (j, v) in weight.row(row).into_iter().enumerate() {
        let (c, t) = (j / (kh * kw), j % (kh * kw));
        tap(conv, [t / kw, t % kw], v, channel(c), shape, sum, out);
    }
}

/// `sum[y, x] += weight * input[y * stride + ky * dilation - padding, ..]` where the position is inside the input.
fn tap(
    conv: &Conv2d,
    [ky, kx]: [usize; 2],
    weight: f64,
    input: &[f64],
    shape: Shape,
    sum: &mut [f64],
    out: Shape,
) {
    // Only output positions whose input position lies inside, since padding zeros add nothing.
    let range = |axis: usize, k: usize, size: usize, count: usize| {
        let offset = k * conv.dilation[axis];
        let first = conv.padding[axis].saturating_sub(offset).div_ceil(conv.stride[axis]);
        let end = (size + conv.padding[axis]).saturating_sub(offset).div_ceil(conv.stride[axis]);
        first..end.min(count)
    };
    let columns = range(1, kx, shape.width, out.width);
    if columns.is_empty() {
        return;
    }
    for y in range(0, ky, shape.height, out.height) {
        let iy = y * conv.stride[0] + ky * conv.dilation[0] - conv.padding[0];
        let ix = columns.start * conv.stride[1] + kx * conv.dilation[1] - conv.padding[1];
        let source = input[iy * shape.width + ix..(iy + 1) * shape.width].iter().step_by(conv.stride[1]);
        for (s, v) in sum[y * out.width..][columns.clone()].iter_mut().zip(source) {
            *s += weight * v;
        }
    }
}

/// Means of 2x2 windows at stride 2 of every plane, over the elements inside.
fn avg_pool_2x2(x: &[f64], shape: Shape) -> Vec<f64> {
    let mut result = vec![];
    for plane in x.chunks(shape.height * shape.width) {
        for y in (0..shape.height).step_by(2) {
            for x in (0..shape.width).step_by(2) {
                let rows = y..(y + 2).min(shape.height);
                let columns = x..(x + 2).min(shape.width);
                let count = (rows.len() * columns.len()) as f64;
                let inside = rows.flat_map(|y| columns.clone().map(move |x| plane[y * shape.width + x]));
                result.push(inside.sum::<f64>() / count);
            }
        }
    }
    result
}

fn max_pool(pool: &MaxPool, x: &[f64], shape: Shape, out: Shape) -> Vec<f64> {
    let mut result = Vec::with_capacity(x.len() / shape.len() * out.len());
    for plane in x.chunks(shape.height * shape.width) {
        for y in 0..out.height {
            for x in 0..out.width {
                let rows = window(y, pool, 0, shape.height);
                let max = rows
                    .flat_map(|iy| window(x, pool, 1, shape.width).map(move |ix| (iy, ix)))
                    .map(|(iy, ix)| plane[iy * shape.width + ix])
                    .fold(f64::NEG_INFINITY, f64::max);
                result.push(max);
            }
        }
    }
    result
}

fn window(at: usize, pool: &MaxPool, axis: usize, size: usize) -> std::ops::Range<usize> {
    let start = at * pool.stride[axis];
    let first = start.saturating_sub(pool.padding[axis]);
    first..(start + pool.kernel[axis]).saturating_sub(pool.padding[axis]).min(size)
}
