//! Dispatches for tests, from parts.
#![allow(dead_code, reason = "each test binary uses its part")]

use rmnet::graph::MaxPool;
use rmnet::kernel::{Add, BufferShape, ConvSpec, Function, KRange, Layout, Operand, Output, Precision, Spec};

/// A buffer shape in quads.
pub fn packed(batch: usize, channels: usize, height: usize, width: usize) -> BufferShape {
    BufferShape { batch, channels, height, width, layout: Layout::Packed, precision: Precision::F32 }
}

/// A buffer shape as an app has it.
pub fn planar(batch: usize, channels: usize, height: usize, width: usize) -> BufferShape {
    BufferShape { layout: Layout::Planar, ..packed(batch, channels, height, width) }
}

/// The same dispatch over packed buffers of f16.
pub fn half(mut spec: Spec) -> Spec {
    let set = |shape: &mut BufferShape| {
        if shape.layout == Layout::Packed {
            shape.precision = Precision::F16;
        }
    };
    match &mut spec {
        Spec::Conv(conv) => {
            conv.k_ranges.iter_mut().for_each(|k| set(&mut k.from.shape));
            for add in &mut conv.adds {
                set(&mut add.from.shape);
                add.gate.iter_mut().for_each(|g| set(&mut g.shape));
            }
            conv.outputs.iter_mut().for_each(|o| set(&mut o.shape));
        }
        Spec::MaxPool(pool) => [&mut pool.from.shape, &mut pool.to].map(set).into_iter().collect(),
        Spec::Average(average) => [&mut average.from.shape, &mut average.to].map(set).into_iter().collect(),
    }
    spec
}

/// A K range with its window; `kernel`, `stride`, `padding`, `dilation` square.
pub fn range(from: Operand, kernel: usize, stride: usize, padding: usize, dilation: usize) -> KRange {
    KRange {
        from,
        prologue: None,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        padding_end: [padding; 2],
        dilation: [dilation; 2],
        groups: 1,
    }
}

/// The whole of a buffer.
pub fn whole(buffer: usize, shape: BufferShape) -> Operand {
    Operand { buffer, shape, first_channel: 0, channels: shape.channels, stride: 1, avg_pool_2x2: false }
}

/// A convolution of its K ranges with ReLU on all, to one packed buffer.
pub fn conv(k_ranges: Vec<KRange>, out_channels: usize) -> ConvSpec {
    let from = k_ranges[0];
    let view = from.from.size();
    let axis = |i: usize| {
        let padded = view[i] + from.padding[i] + from.padding_end[i];
        (padded - from.dilation[i] * (from.kernel[i] - 1) - 1) / from.stride[i] + 1
    };
    let size = [axis(0), axis(1)];
    let shape = packed(from.from.shape.batch, out_channels, size[0], size[1]);
    ConvSpec {
        k_ranges,
        adds: vec![],
        in_place: 0,
        out_channels,
        size,
        activation: vec![(0..out_channels, Function::Relu)],
        pool: None,
        outputs: vec![Output { channels: 0..out_channels, shape, first_channel: 0 }],
    }
}

/// The same, added to what the output buffer holds.
pub fn in_place(mut spec: ConvSpec) -> ConvSpec {
    let from = whole(99, spec.outputs[0].shape);
    spec.adds.insert(0, Add { from, first_out: 0, gate: None });
    spec.in_place = 1;
    spec
}

/// A convolution to `out` of the buffer's 24 channels, added to some of those that it holds.
pub fn in_place_in_parts(out: usize, parts: &[(usize, usize)]) -> ConvSpec {
    let mut spec = conv(vec![range(whole(0, packed(2, 8, 7, 9)), 3, 1, 1, 1)], out);
    spec.outputs[0].shape.channels = 24;
    for &(start, end) in parts {
        let whole = whole(99, spec.outputs[0].shape);
        let from = Operand { first_channel: start, channels: end - start, ..whole };
        spec.adds.push(Add { from, first_out: start, gate: None });
    }
    spec.in_place = parts.len();
    spec
}

/// The same, max-pooled.
pub fn pooled(mut spec: ConvSpec, kernel: usize, stride: usize, padding: usize) -> ConvSpec {
    let pool = MaxPool { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] };
    let [height, width] = pool.output_size(spec.size).expect("the window fits");
    for output in &mut spec.outputs {
        (output.shape.height, output.shape.width) = (height, width);
    }
    spec.pool = Some(pool);
    spec
}

/// The same into planar buffers.
pub fn to_planar(mut spec: ConvSpec) -> ConvSpec {
    for output in &mut spec.outputs {
        output.shape.layout = Layout::Planar;
    }
    spec
}

/// The same, cut into groups in its first range.
pub fn grouped(mut spec: ConvSpec, groups: usize) -> ConvSpec {
    spec.k_ranges[0].groups = groups;
    spec
}

/// The same with its output channels cut at `cuts` into buffers of their own.
pub fn split(mut spec: ConvSpec, cuts: &[usize]) -> ConvSpec {
    let shape = spec.outputs[0].shape;
    let ends = cuts.iter().copied().chain([spec.out_channels]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    spec.outputs = starts
        .zip(ends)
        .map(|(start, end)| Output {
            channels: start..end,
            shape: BufferShape { channels: end - start, ..shape },
            first_channel: 0,
        })
        .collect();
    spec
}

/// ReLU on the channels before `cut` only, or after it only.
pub fn relu_until(mut spec: ConvSpec, cut: usize, before: bool) -> ConvSpec {
    let (a, b) = (Function::Relu, Function::Identity);
    let (first, second) = if before { (a, b) } else { (b, a) };
    spec.activation = vec![(0..cut, first), (cut..spec.out_channels, second)];
    spec
}

/// The same with another add.
pub fn add(mut spec: ConvSpec, from: Operand, first_out: usize) -> ConvSpec {
    spec.adds.push(Add { from, first_out, gate: None });
    spec
}

/// `conv2` of a projection block: `[3x3 of h | 1x1 of x with stride]`.
pub fn projection(h: BufferShape, x: BufferShape, out: usize, kernel: usize, stride: usize) -> ConvSpec {
    let strided = Operand { stride, ..whole(1, x) };
    conv(vec![range(whole(0, h), kernel, 1, kernel / 2, 1), range(strided, 1, 1, 0, 1)], out)
}

/// The same with another function on all channels.
pub fn activated(mut spec: ConvSpec, function: Function) -> ConvSpec {
    spec.activation = vec![(0..spec.out_channels, function)];
    spec
}

/// The same, one function before channel `cut` and another after it.
pub fn activated_in_ranges(mut spec: ConvSpec, first: Function, cut: usize, second: Function) -> ConvSpec {
    spec.activation = vec![(0..cut, first), (cut..spec.out_channels, second)];
    spec
}

/// The same, its K range `i` mapped as it is loaded.
pub fn mapped(mut spec: ConvSpec, i: usize, function: Function) -> ConvSpec {
    spec.k_ranges[i].prologue = Some(function);
    spec
}

/// A 1x1 convolution of 2x2 means.
pub fn of_means(shape: BufferShape, out: usize) -> ConvSpec {
    conv(vec![range(Operand { avg_pool_2x2: true, ..whole(0, shape) }, 1, 1, 0, 1)], out)
}

/// The same, its last add gated by buffer `gate` from channel `first` on.
pub fn gated(mut spec: ConvSpec, gate: usize, channels: usize, first: usize) -> ConvSpec {
    let add = spec.adds.last_mut().expect("an add");
    let shape = packed(add.from.shape.batch, channels, 1, 1);
    let gate = Operand { first_channel: first, channels: add.from.channels, ..whole(gate, shape) };
    add.gate = Some(gate);
    spec
}
