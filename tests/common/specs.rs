//! The table of dispatches every kernel is tried on.
#![allow(dead_code, reason = "each test binary uses its part")]

use rmnet::graph::MaxPool;
use rmnet::kernel::{
    Add, AverageSpec, BufferShape, ConvSpec, Function, KRange, Layout, Operand, Output, PoolSpec, Precision,
    Spec,
};

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
        map: None,
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
    Operand { buffer, shape, first_channel: 0, channels: shape.channels, stride: 1, mean_pool: false }
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
        max_pool: None,
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
    spec.max_pool = Some(pool);
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
    spec.k_ranges[i].map = Some(function);
    spec
}

/// A 1x1 convolution of 2x2 means.
pub fn of_means(shape: BufferShape, out: usize) -> ConvSpec {
    conv(vec![range(Operand { mean_pool: true, ..whole(0, shape) }, 1, 1, 0, 1)], out)
}

/// The same, its last add gated by buffer `gate` from channel `first` on.
pub fn gated(mut spec: ConvSpec, gate: usize, channels: usize, first: usize) -> ConvSpec {
    let add = spec.adds.last_mut().expect("an add");
    let shape = packed(add.from.shape.batch, channels, 1, 1);
    let gate = Operand { first_channel: first, channels: add.from.channels, ..whole(gate, shape) };
    add.gate = Some(gate);
    spec
}

/// What families other than plain ResNets need.
fn variants() -> Vec<(String, ConvSpec)> {
    let mut specs: Vec<(String, ConvSpec)> = vec![];
    let x = |channels: usize, side: usize| whole(0, packed(2, channels, side, side + 2));
    let three = |channels: usize, out: usize| conv(vec![range(x(channels, 7), 3, 1, 1, 1)], out);
    let functions = [Function::Identity, Function::Relu, Function::Relu6, Function::PRelu, Function::Sigmoid];
    for function in functions {
        specs.push((format!("3x3 {function}"), activated(three(6, 10), function)));
        let vector = conv(vec![range(whole(0, packed(2, 9, 1, 1)), 1, 1, 0, 1)], 7);
        specs.push((format!("matrix times vector, {function}"), activated(vector, function)));
    }
    for (first, second) in [
        (Function::Identity, Function::Relu6),
        (Function::Identity, Function::PRelu),
        (Function::PRelu, Function::Relu),
        (Function::Sigmoid, Function::Relu),
    ] {
        let name = format!("{first} then {second}");
        specs.push((name, activated_in_ranges(three(4, 12), first, 6, second)));
    }
    for function in [Function::Identity, Function::Relu, Function::Relu6] {
        for channels in [4, 7, 16] {
            specs.push((format!("mapped {function} of {channels}"), mapped(three(channels, 9), 0, function)));
        }
        let strided = conv(vec![range(Operand { stride: 2, ..x(8, 7) }, 1, 1, 0, 1)], 5);
        specs.push((format!("mapped {function}, strided view"), mapped(strided, 0, function)));
        specs.push((
            format!("mapped {function}, means"),
            mapped(of_means(packed(2, 8, 7, 6), 5), 0, function),
        ));
    }
    let two = conv(vec![range(x(8, 6), 3, 1, 1, 1), range(whole(1, packed(2, 6, 6, 8)), 1, 1, 0, 1)], 12);
    specs.push((
        "second range mapped, prelu".into(),
        activated(mapped(two, 1, Function::Relu), Function::PRelu),
    ));
    for (height, width) in [(6, 8), (7, 8), (6, 7), (5, 5), (1, 1), (2, 1), (1, 9)] {
        for channels in [4, 6] {
            let name = format!("means of {channels}x{height}x{width}");
            specs.push((name, of_means(packed(2, channels, height, width), 10)));
            let each = grouped(of_means(packed(1, channels, height, width), channels), channels);
            specs.push((format!("depthwise means of {channels}x{height}x{width}"), each));
        }
    }
    for (channels, first) in [(8, 0), (6, 0), (8, 4)] {
        let base = conv(vec![range(x(5, 6), 1, 1, 0, 1)], channels);
        let z = whole(1, packed(2, channels, 6, 8));
        let spec = gated(add(base, z, 0), 2, channels + first, first);
        specs.push((format!("gated add of {channels} from {first}"), spec));
    }
    let sum = gated(in_place(three(8, 8)), 1, 8, 0);
    specs.push(("gated in place".into(), sum));
    let mut copy = gated(add(three(4, 16), whole(1, packed(2, 8, 7, 9)), 8), 2, 8, 0);
    copy.k_ranges.clear();
    copy.size = [7, 9];
    specs.push(("gated add without a convolution".into(), copy));
    specs
}

/// Every case, named.
pub fn all() -> Vec<(String, Spec)> {
    let mut specs: Vec<(String, ConvSpec)> = vec![];
    specs.extend(variants());
    let mut push = |name: &str, spec: ConvSpec| specs.push((name.into(), spec));
    // Every remainder of tiles in width and channels, odd sizes.
    for width in 1..=17 {
        push("width", conv(vec![range(whole(0, packed(1, 8, 3, width)), 3, 1, 1, 1)], 8));
        push("width 1x1", conv(vec![range(whole(0, packed(2, 4, 1, width)), 1, 1, 0, 1)], 12));
    }
    for channels in [1, 2, 3, 4, 5, 6, 7, 9, 13, 16, 17, 20, 24, 28, 31, 33] {
        push("out channels", conv(vec![range(whole(0, packed(1, 5, 5, 7)), 3, 1, 1, 1)], channels));
        push("in channels", conv(vec![range(whole(0, packed(2, channels, 4, 5)), 3, 1, 1, 1)], 6));
    }
    for (kernel, stride, padding, dilation) in [
        (3, 2, 1, 1),
        (3, 1, 0, 1),
        (3, 1, 2, 2),
        (3, 2, 3, 2),
        (5, 1, 2, 1),
        (5, 3, 1, 1),
        (7, 2, 3, 1),
        (2, 2, 0, 1),
        (1, 2, 0, 1),
        (4, 1, 3, 1),
        (1, 1, 1, 1),
    ] {
        for (height, width) in [(9, 11), (14, 14), (12, 8)] {
            let name = format!("k{kernel} s{stride} p{padding} d{dilation}");
            push(
                &name,
                conv(
                    vec![range(whole(0, packed(2, 6, height, width)), kernel, stride, padding, dilation)],
                    10,
                ),
            );
        }
    }
    let mut uneven = range(whole(0, packed(1, 7, 8, 13)), 1, 1, 0, 1);
    (uneven.kernel, uneven.stride, uneven.dilation) = ([3, 2], [1, 3], [2, 1]);
    (uneven.padding, uneven.padding_end) = ([2, 1], [2, 1]);
    push("uneven window", conv(vec![uneven], 9));
    uneven.kernel = [1, 6];
    push("wide window", conv(vec![uneven], 9));
    // TensorFlow's "SAME" at stride 2: of an even side, zeros at the end alone.
    for (height, width) in [(8, 6), (8, 7), (9, 12)] {
        let same = |shape: BufferShape, kernel: usize| {
            let all = |n: usize| (n.div_ceil(2) - 1) * 2 + kernel - n;
            let (rows, columns) = (all(height), all(width));
            let mut same = range(whole(0, shape), kernel, 2, 0, 1);
            same.padding = [rows / 2, columns / 2];
            same.padding_end = [rows.div_ceil(2), columns.div_ceil(2)];
            same
        };
        push("same padding", conv(vec![same(packed(2, 6, height, width), 3)], 10));
        push("same padding, even window", conv(vec![same(packed(1, 6, height, width), 4)], 8));
        push("same padding, planar in", conv(vec![same(planar(2, 3, height, width), 3)], 8));
        let base = conv(vec![same(packed(2, 12, height, width), 3)], 12);
        push("same padding, depthwise", grouped(base, 12));
    }
    for batch in 1..=3 {
        push("batch", conv(vec![range(whole(0, packed(batch, 12, 7, 7)), 3, 1, 1, 1)], 32));
        push("planar in", conv(vec![range(whole(0, planar(batch, 3, 9, 10)), 7, 2, 3, 1)], 16));
        push("planar both", to_planar(conv(vec![range(whole(0, planar(batch, 5, 6, 9)), 3, 1, 1, 1)], 7)));
        push("classifier", to_planar(conv(vec![range(whole(0, packed(batch, 37, 1, 1)), 1, 1, 0, 1)], 101)));
        push("classifier, planar in", conv(vec![range(whole(0, planar(batch, 37, 1, 1)), 1, 1, 0, 1)], 10));
        push("stem", pooled(conv(vec![range(whole(0, planar(batch, 3, 33, 29)), 7, 2, 3, 1)], 20), 3, 2, 1));
    }
    push("classifier of many", to_planar(conv(vec![range(whole(0, packed(9, 16, 1, 1)), 1, 1, 0, 1)], 10)));
    // Views.
    let part = Operand { first_channel: 4, channels: 9, stride: 2, ..whole(0, packed(2, 14, 9, 10)) };
    push("strided view", conv(vec![range(part, 3, 1, 1, 1)], 8));
    push("strided view 1x1", conv(vec![range(part, 1, 1, 0, 1)], 8));
    let part = Operand { first_channel: 3, channels: 5, stride: 3, ..whole(0, planar(2, 9, 9, 10)) };
    push("strided planar view", conv(vec![range(part, 3, 1, 1, 1)], 8));
    // Several K ranges.
    push("projection", projection(packed(1, 16, 7, 7), packed(1, 8, 14, 14), 16, 3, 2));
    push("projection of odd size", projection(packed(2, 10, 7, 8), packed(2, 6, 13, 15), 20, 3, 2));
    push("projection 1x1", projection(packed(2, 10, 6, 5), packed(2, 6, 6, 5), 36, 1, 1));
    let shape = packed(1, 24, 6, 6);
    let (low, high) = (
        Operand { channels: 10, ..whole(0, shape) },
        Operand { first_channel: 12, channels: 12, ..whole(0, shape) },
    );
    push("same buffer twice", conv(vec![range(low, 3, 1, 1, 1), range(high, 1, 1, 0, 1)], 12));
    push(
        "same buffer thrice",
        conv(vec![range(low, 3, 1, 1, 1), range(high, 5, 1, 2, 1), range(whole(0, shape), 1, 1, 0, 1)], 12),
    );
    // Adds.
    for out in [16, 10] {
        let base = conv(vec![range(whole(0, packed(2, 8, 7, 9)), 3, 1, 1, 1)], out);
        push("in place", in_place(base.clone()));
        push("in place 1x1", in_place(conv(vec![range(whole(0, packed(2, 8, 7, 9)), 1, 1, 0, 1)], out)));
        push("in place in parts", in_place_in_parts(out, &[(4, 8)]));
        push("in place in two parts", in_place_in_parts(out + 6, &[(0, 4), (8, 16)]));
        push("in place and another", add(in_place(base.clone()), whole(1, packed(2, out, 7, 9)), 0));
        push("add", add(base.clone(), whole(1, packed(2, out, 7, 9)), 0));
        push("add planar", add(base.clone(), whole(1, planar(2, out, 7, 9)), 0));
        push("add of the input", add(base.clone(), whole(0, packed(2, 8, 7, 9)), 0));
        let view = Operand { first_channel: 4, channels: 5, stride: 2, ..whole(1, packed(2, 11, 13, 17)) };
        push("add a strided part", add(add(base.clone(), view, 4), whole(0, packed(2, 8, 7, 9)), 0));
        push("relu before", relu_until(base.clone(), 6, true));
        push("relu after", add(relu_until(base.clone(), 4, false), whole(1, packed(2, out, 7, 9)), 0));
        let mut sum = add(add(base.clone(), whole(0, packed(2, out, 7, 9)), 0), view, 0);
        sum.k_ranges.clear();
        push("sum", sum.clone());
        sum.adds.pop();
        push("copy", sum);
        let mut sum = in_place(base);
        sum.k_ranges.clear();
        push("sum in place", add(sum, view, 4));
    }
    // Several outputs, an offset.
    let wide = conv(vec![range(whole(0, packed(2, 8, 7, 6)), 3, 1, 1, 1)], 39);
    push("split in two", split(wide.clone(), &[20]));
    push("split in three", split(wide.clone(), &[4, 32]));
    push("split pooled", split(pooled(wide.clone(), 3, 2, 1), &[12]));
    push("split planar", to_planar(split(wide.clone(), &[4, 32])));
    let mut offset = wide.clone();
    offset.outputs[0].first_channel = 12;
    offset.outputs[0].shape.channels = 51;
    push("offset", offset);
    // Groups.
    for (inputs, outputs, groups) in [
        (16, 16, 4),
        (32, 64, 4),
        (64, 64, 2),
        (6, 6, 2),
        (9, 6, 3),
        (8, 24, 4),
        (24, 12, 3),
        (12, 12, 12),
        (10, 10, 10),
        (5, 20, 5),
        (12, 9, 3),
        (128, 128, 32),
    ] {
        for (kernel, stride) in [(3, 1), (1, 1), (3, 2)] {
            let base =
                conv(vec![range(whole(0, packed(2, inputs, 6, 5)), kernel, stride, kernel / 2, 1)], outputs);
            push(&format!("groups {inputs}/{outputs}/{groups}"), grouped(base, groups));
        }
    }
    push("planar groups", grouped(conv(vec![range(whole(0, planar(1, 6, 6, 5)), 3, 1, 1, 1)], 8), 2));
    push("planar depthwise", grouped(conv(vec![range(whole(0, planar(1, 6, 6, 5)), 3, 1, 1, 1)], 6), 6));
    push(
        "grouped pooled",
        pooled(grouped(conv(vec![range(whole(0, packed(1, 6, 8, 9)), 3, 1, 1, 1)], 6), 3), 2, 2, 0),
    );
    push("groups and dense", {
        let mut two = projection(packed(1, 12, 6, 6), packed(1, 8, 12, 12), 12, 3, 2);
        two.k_ranges[0].groups = 3;
        two
    });
    // Fused pools.
    for (kernel, stride, padding) in
        [(3, 2, 1), (2, 2, 0), (3, 3, 1), (3, 1, 1), (2, 1, 0), (5, 2, 2), (1, 2, 0)]
    {
        let base = conv(vec![range(whole(0, packed(2, 6, 13, 17)), 3, 1, 1, 1)], 10);
        push(&format!("pool {kernel}/{stride}/{padding}"), pooled(base.clone(), kernel, stride, padding));
        let add_view = Operand { stride: 2, ..whole(1, packed(2, 10, 25, 34)) };
        push("pool of a sum", pooled(relu_until(add(base, add_view, 0), 4, true), kernel, stride, padding));
    }
    push(
        "pool to planar",
        to_planar(pooled(conv(vec![range(whole(0, planar(1, 3, 40, 31)), 3, 2, 1, 1)], 5), 3, 2, 1)),
    );
    let mut specs: Vec<_> = specs.into_iter().map(|(name, spec)| (name, Spec::Conv(spec))).collect();
    for (kernel, stride, padding) in [(3, 2, 1), (2, 2, 0), (3, 1, 1), (5, 3, 2)] {
        for shape in [packed(2, 10, 9, 12), planar(2, 5, 11, 8)] {
            let pool = MaxPool { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] };
            let [height, width] = pool.output_size([shape.height, shape.width]).expect("the window fits");
            let to = BufferShape { height, width, layout: Layout::Packed, ..shape };
            specs.push(("max pool".into(), Spec::MaxPool(PoolSpec { from: whole(0, shape), pool, to })));
        }
    }
    for (shape, layout) in [
        (packed(3, 10, 7, 7), Layout::Packed),
        (packed(1, 9, 3, 5), Layout::Planar),
        (planar(2, 5, 4, 4), Layout::Packed),
    ] {
        let to = BufferShape { height: 1, width: 1, layout, ..shape };
        specs.push(("average".into(), Spec::Average(AverageSpec { from: whole(0, shape), to })));
    }
    let from = Operand { first_channel: 4, channels: 6, ..whole(0, packed(1, 10, 5, 5)) };
    let to = packed(1, 6, 1, 1);
    specs.push(("average of a part".into(), Spec::Average(AverageSpec { from, to })));
    specs
}
