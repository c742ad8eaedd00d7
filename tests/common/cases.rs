//! The table of dispatches every kernel is tried on.
#![allow(dead_code, reason = "each test binary uses its part")]

use super::specs::*;
use rmnet::graph::MaxPool;
use rmnet::kernel::{AverageSpec, BufferShape, ConvSpec, Function, Layout, Operand, PoolSpec, Spec};

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
    // Channels that move across quads: (of the buffer, the first added, how many, the first output channel).
    for (of, first, channels, to) in [(13, 5, 6, 2), (9, 2, 1, 7), (16, 7, 9, 1)] {
        for (layout, shape) in [("packed", packed(2, of, 5, 6)), ("planar", planar(2, of, 5, 6))] {
            let from = Operand { first_channel: first, channels, ..whole(1, shape) };
            let sum = add(conv(vec![range(whole(0, packed(2, 5, 5, 6)), 3, 1, 1, 1)], 17), from, to);
            let what = format!("moved add of {channels} from {first} to {to}, {layout}");
            specs.push((what.clone(), sum.clone()));
            let mut alone = add(sum, Operand { channels: 1, ..from }, 16);
            alone.k_ranges.clear();
            alone.adds.iter_mut().for_each(|a| a.from.buffer = 0);
            specs.push((format!("{what}, alone"), activated(alone, Function::Relu6)));
        }
        let strided = Operand { first_channel: first, channels, stride: 2, ..whole(1, packed(1, of, 9, 12)) };
        let sum = add(conv(vec![range(whole(0, packed(1, 4, 5, 6)), 1, 1, 0, 1)], 17), strided, to);
        specs.push((format!("moved add of {channels} from {first} to {to}, strided"), to_planar(sum)));
    }
    specs
}

/// Sums so long, on maps so small, that parts of K have invocations of their own.
fn deep() -> Vec<(String, ConvSpec)> {
    let mut specs = vec![];
    for (channels, height, width) in
        [(64, 7, 7), (70, 5, 9), (128, 3, 3), (260, 2, 5), (300, 1, 1), (133, 7, 13)]
    {
        for kernel in [1, 3] {
            let range = range(whole(0, packed(2, channels, height, width)), kernel, 1, kernel / 2, 1);
            specs.push((
                format!("{kernel}x{kernel} of {channels} at {height}x{width}"),
                conv(vec![range], 21),
            ));
        }
    }
    let (h, x) = (packed(1, 131, 7, 7), packed(1, 20, 14, 14));
    specs.push(("projection".into(), projection(h, x, 16, 3, 2)));
    specs.push(("projection 1x1".into(), projection(packed(2, 66, 6, 5), packed(2, 6, 6, 5), 36, 1, 1)));
    let base = || conv(vec![range(whole(0, packed(2, 130, 7, 9)), 3, 2, 1, 1)], 70);
    specs.push(("add".into(), add(base(), whole(1, packed(2, 70, 4, 5)), 0)));
    specs.push(("part gated".into(), gated(add(base(), whole(1, packed(2, 16, 4, 5)), 8), 2, 16, 0)));
    specs.push(("prelu".into(), activated(base(), Function::PRelu)));
    specs.push(("mapped".into(), mapped(base(), 0, Function::Relu6)));
    specs.push(("of means".into(), of_means(packed(2, 96, 7, 6), 10)));
    specs.push(("of a planar map".into(), conv(vec![range(whole(0, planar(1, 70, 5, 6)), 3, 1, 1, 1)], 9)));
    specs.push(("large window".into(), conv(vec![range(whole(0, packed(1, 68, 7, 8)), 5, 1, 2, 1)], 6)));
    specs.push((
        "in groups".into(),
        grouped(conv(vec![range(whole(0, packed(1, 256, 4, 4)), 3, 1, 1, 1)], 32), 2),
    ));
    specs
}

/// Maps as an app has them: what an output that is no vector needs.
fn planar_maps() -> Vec<(String, ConvSpec)> {
    let mut specs = vec![];
    let three = |out: usize| conv(vec![range(whole(0, packed(2, 8, 7, 9)), 3, 1, 1, 1)], out);
    for out in [1, 3, 8, 22, 37] {
        specs.push((format!("{out} channels"), three(out)));
        specs.push((
            format!("1x1, {out} channels"),
            conv(vec![range(whole(0, packed(2, 8, 5, 7)), 1, 1, 0, 1)], out),
        ));
        specs.push((format!("a sum of {out}"), add(three(out), whole(1, packed(2, out, 7, 9)), 0)));
        specs.push((format!("prelu of {out}"), activated(three(out), Function::PRelu)));
    }
    specs.push(("a strided sum".into(), {
        let view = Operand { first_channel: 4, channels: 8, stride: 2, ..whole(1, packed(2, 14, 13, 17)) };
        add(three(16), view, 4)
    }));
    specs.push(("a projection".into(), projection(packed(2, 10, 7, 8), packed(2, 6, 13, 15), 20, 3, 2)));
    specs.push(("gated".into(), gated(add(three(16), whole(1, packed(2, 16, 7, 9)), 0), 2, 16, 0)));
    let twelve = conv(vec![range(whole(0, packed(2, 12, 7, 9)), 3, 2, 1, 1)], 12);
    specs.push(("depthwise".into(), activated(grouped(twelve.clone(), 12), Function::Relu6)));
    specs.push(("groups".into(), grouped(twelve, 3)));
    let means = |channels: usize| of_means(packed(2, channels, 7, 6), channels);
    specs.push(("depthwise means".into(), grouped(means(6), 6)));
    let mut sum = add(three(8), whole(0, packed(2, 8, 7, 9)), 0);
    sum.k_ranges.clear();
    specs.push(("what is added alone".into(), sum.clone()));
    specs.push(("what is added alone, pooled".into(), pooled(sum, 3, 2, 1)));
    let image = conv(vec![range(whole(0, planar(2, 3, 33, 29)), 7, 2, 3, 1)], 20);
    specs.push(("a stem".into(), image.clone()));
    specs.push(("a pooled stem".into(), pooled(image, 3, 2, 1)));
    specs.push(("pooled".into(), pooled(three(10), 2, 2, 0)));
    // Some channels of the output, from any on.
    for (out, first) in [(8, 4), (13, 5), (6, 3), (37, 1)] {
        let mut part = three(out);
        part.outputs[0].first_channel = first;
        part.outputs[0].shape.channels = first + out + 2;
        specs.push((format!("{out} channels from {first} on"), part));
    }
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
    for (name, spec) in planar_maps() {
        push(&format!("planar map, {name}"), to_planar(spec));
    }
    for (name, spec) in deep() {
        push(&format!("deep {name}"), spec);
    }
    push("deep in place", in_place(conv(vec![range(whole(0, packed(2, 128, 7, 5)), 3, 1, 1, 1)], 24)));
    push("deep planar", to_planar(conv(vec![range(whole(0, packed(1, 128, 7, 5)), 3, 1, 1, 1)], 10)));
    let wide = conv(vec![range(whole(0, packed(1, 128, 7, 5)), 3, 1, 1, 1)], 39);
    push("deep split", split(wide, &[4, 32]));
    let mut specs: Vec<_> = specs.into_iter().map(|(name, spec)| (name, Spec::Conv(spec))).collect();
    for (kernel, stride, padding) in [(3, 2, 1), (2, 2, 0), (3, 1, 1), (5, 3, 2)] {
        for shape in [packed(2, 10, 9, 12), planar(2, 5, 11, 8)] {
            let pool = MaxPool { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] };
            let [height, width] = pool.output_size([shape.height, shape.width]).expect("the window fits");
            for layout in [Layout::Packed, Layout::Planar] {
                let to = BufferShape { height, width, layout, ..shape };
                specs.push(("max pool".into(), Spec::MaxPool(PoolSpec { from: whole(0, shape), pool, to })));
            }
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
