//! What kernels of one family are tried on, besides the table of all (`cases.rs`).
#![allow(dead_code, reason = "each test binary uses its part")]

use super::specs::*;
use rmnet::graph::MaxPool;
use rmnet::kernel::{AverageSpec, BufferShape, ConvSpec, Function, Operand, Spec};

/// A square window over all of a planar image.
pub fn image(
    [batch, channels, height, width]: [usize; 4],
    kernel: usize,
    stride: usize,
    out: usize,
) -> ConvSpec {
    conv(vec![range(whole(0, planar(batch, channels, height, width)), kernel, stride, kernel / 2, 1)], out)
}

/// The stems of the families, small.
pub fn stem_families() -> Vec<(&'static str, ConvSpec)> {
    vec![
        ("resnet", pooled(image([1, 3, 96, 80], 7, 2, 64), 3, 2, 1)),
        ("resnet, odd", pooled(image([3, 3, 61, 75], 7, 2, 20), 3, 2, 1)),
        ("cifar", image([2, 3, 32, 32], 3, 1, 16)),
        ("mobilenet_v2", activated(image([1, 3, 65, 47], 3, 2, 32), Function::Relu6)),
        ("wide stem", image([2, 3, 40, 56], 3, 2, 32)),
        ("iresnet", activated(image([1, 3, 28, 28], 3, 1, 64), Function::PRelu)),
        ("resnet_v2", pooled(activated(image([1, 3, 45, 50], 7, 2, 24), Function::Identity), 3, 2, 1)),
        ("alexnet", pooled(image([1, 3, 99, 83], 11, 4, 40), 3, 2, 0)),
    ]
}

/// Every remainder of pixels and channels.
pub fn stem_remainders() -> Vec<(String, ConvSpec)> {
    let mut specs = vec![];
    let sizes = (1..=17).map(|n| (n, 18 - n)).chain([(33, 2), (2, 33), (31, 34)]);
    for (case, (height, width)) in sizes.enumerate() {
        let out = [1, 3, 4, 8, 12, 16, 17, 20, 31, 33, 48, 60, 68][case % 13];
        let from = [1 + case % 3, 1 + case % 8, height, width];
        let plain = image(from, 3, 1, out);
        let name = format!("{from:?} to {out}");
        if height >= 2 && width >= 2 {
            specs.push((format!("{name}, pooled"), pooled(plain.clone(), 3, 2, 1)));
        }
        specs.push((name, plain));
    }
    specs
}

/// Every kind of window, pool, view and output.
pub fn stem_kinds() -> Vec<(String, ConvSpec)> {
    let mut specs: Vec<(String, ConvSpec)> = vec![];
    let mut push = |name: &str, spec: ConvSpec| specs.push((name.into(), spec));
    let x = whole(0, planar(2, 3, 38, 41));
    for (kernel, stride, padding, dilation) in [
        (3, 2, 0, 1),
        (3, 1, 2, 2),
        (5, 1, 2, 1),
        (5, 3, 1, 1),
        (2, 2, 0, 1),
        (4, 1, 3, 1),
        (7, 1, 3, 1),
        (3, 4, 1, 3),
    ] {
        let base = conv(vec![range(x, kernel, stride, padding, dilation)], 20);
        let name = format!("k{kernel} s{stride} p{padding} d{dilation}");
        push(&format!("{name}, pooled"), pooled(base.clone(), 3, 2, 1));
        push(&name, base);
    }
    let base = image([2, 3, 38, 41], 3, 1, 20);
    for (kernel, stride, padding) in
        [(2, 2, 0), (3, 3, 1), (3, 1, 1), (2, 1, 0), (5, 2, 2), (1, 2, 0), (8, 3, 4)]
    {
        push(&format!("pool {kernel}/{stride}/{padding}"), pooled(base.clone(), kernel, stride, padding));
    }
    let mut uneven = pooled(base.clone(), 3, 2, 1);
    let pool = MaxPool { kernel: [3, 2], stride: [1, 3], padding: [1, 0] };
    let [height, width] = pool.output_size(uneven.size).expect("the window fits");
    (uneven.outputs[0].shape.height, uneven.outputs[0].shape.width) = (height, width);
    uneven.pool = Some(pool);
    push("uneven pool", uneven);
    let mut window = range(x, 1, 1, 0, 1);
    (window.kernel, window.stride, window.dilation) = ([3, 2], [1, 3], [2, 1]);
    (window.padding, window.padding_end) = ([2, 0], [2, 1]);
    push("uneven window", conv(vec![window], 20));
    (window.kernel, window.padding, window.padding_end) = ([1, 6], [0, 1], [0, 3]);
    push("wide window", conv(vec![window], 20));
    let part = Operand { first_channel: 3, channels: 5, stride: 3, ..whole(0, planar(2, 9, 60, 67)) };
    push("strided view", conv(vec![range(part, 3, 1, 1, 1)], 8));
    push("strided view, pooled", pooled(conv(vec![range(part, 3, 1, 1, 1)], 8), 2, 2, 0));
    push("to planar", to_planar(split(image([2, 3, 19, 30], 3, 2, 39), &[12, 32])));
    push("split", split(pooled(image([2, 3, 19, 30], 3, 2, 39), 3, 2, 1), &[4, 32]));
    let mut offset = image([1, 3, 19, 30], 3, 2, 39);
    offset.outputs[0].first_channel = 12;
    offset.outputs[0].shape.channels = 51;
    push("offset", offset);
    for (first, second) in [
        (Function::Sigmoid, Function::Relu),
        (Function::Identity, Function::Relu6),
        (Function::Identity, Function::PRelu),
    ] {
        let base = activated_in_ranges(image([1, 3, 19, 30], 3, 2, 21), first, 6, second);
        push(&format!("{first} then {second}, pooled"), pooled(base.clone(), 3, 2, 1));
        push(&format!("{first} then {second}"), base);
    }
    specs
}

/// [`half`] of a convolution.
pub fn in_half(spec: ConvSpec) -> ConvSpec {
    let Spec::Conv(spec) = half(Spec::Conv(spec)) else { unreachable!("a convolution stays one") };
    spec
}

/// Remainders of pixels, channels and K; operands and epilogues.
pub fn matrix_cases() -> Vec<(String, ConvSpec)> {
    let mut specs = vec![];
    for (batch, height, width, channels, kernel, out) in [
        (1, 10, 13, 36, 3, 130),
        (3, 5, 7, 40, 3, 70),
        (2, 8, 8, 32, 3, 128),
        (1, 1, 65, 197, 1, 67),
        (1, 4, 8, 64, 3, 16),
        (2, 3, 11, 28, 3, 33),
        (5, 2, 3, 33, 3, 28),
        (1, 33, 1, 8, 1, 36),
        (1, 1, 130, 300, 1, 31),
        (1, 7, 7, 256, 3, 64),
    ] {
        let from = whole(0, packed(batch, channels, height, width));
        let name = format!("{batch}x{height}x{width}, {channels} to {out}, {kernel}x{kernel}");
        specs.push((name, conv(vec![range(from, kernel, 1, kernel / 2, 1)], out)));
    }
    let x = whole(0, packed(2, 48, 7, 9));
    let three = |out: usize| conv(vec![range(x, 3, 1, 1, 1)], out);
    let like = |buffer: usize, channels: usize| whole(buffer, packed(2, channels, 7, 9));
    let part = Operand { first_channel: 4, channels: 37, stride: 2, ..whole(0, packed(2, 44, 13, 18)) };
    let named = [
        ("in place", in_place(three(36))),
        ("in place and another", add(in_place(three(18)), like(1, 18), 0)),
        ("gated add", gated(add(three(36), like(1, 36), 0), 2, 40, 4)),
        ("prelu", activated(three(37), Function::PRelu)),
        ("sigmoid", activated(three(40), Function::Sigmoid)),
        ("split in three", split(three(71), &[4, 36])),
        ("to planar", to_planar(three(39))),
        ("strided view", conv(vec![range(part, 3, 1, 1, 1)], 36)),
        ("strided", conv(vec![range(whole(0, packed(2, 32, 13, 14)), 3, 2, 1, 1)], 48)),
        ("dilated", conv(vec![range(whole(0, packed(2, 32, 9, 8)), 3, 1, 2, 2)], 48)),
        ("projection", projection(packed(2, 36, 7, 8), packed(2, 40, 13, 15), 36, 3, 2)),
        ("projection 1x1", projection(packed(2, 32, 6, 5), packed(2, 64, 6, 5), 36, 1, 1)),
    ];
    specs.extend(named.into_iter().map(|(name, spec)| (name.to_string(), spec)));
    specs.into_iter().map(|(name, spec)| (name, in_half(spec))).collect()
}

/// One 3x3 and one 1x1 for every remainder of pixels, channels and K; the first offers every tile.
pub fn shared_remainders() -> Vec<(String, ConvSpec)> {
    let mut specs = vec![];
    for (batch, height, width, channels, kernel, out) in [
        (1, 10, 13, 25, 3, 130),
        (3, 5, 7, 24, 3, 70),
        (2, 8, 8, 22, 3, 128),
        (1, 1, 65, 197, 1, 67),
        (1, 4, 4, 24, 3, 16),
        (1, 1, 17, 200, 1, 17),
        (2, 3, 11, 28, 3, 33),
        (1, 7, 9, 21, 3, 12),
        (5, 2, 3, 33, 3, 28),
        (1, 1, 64, 3, 1, 64),
        (1, 33, 1, 8, 1, 36),
        (1, 1, 130, 16, 1, 31),
    ] {
        let from = whole(0, packed(batch, channels, height, width));
        let spec = conv(vec![range(from, kernel, 1, kernel / 2, 1)], out);
        specs.push((format!("{batch}x{height}x{width}, {channels} to {out}, {kernel}x{kernel}"), spec));
    }
    specs
}

/// Every kind of operand and epilogue on 2 x 63 pixels and 20 or more channels: tiles with and without slices.
pub fn shared_kinds() -> Vec<(&'static str, ConvSpec)> {
    let x = whole(0, packed(2, 24, 7, 9));
    let three = |out: usize| conv(vec![range(x, 3, 1, 1, 1)], out);
    let like = |buffer: usize, channels: usize| whole(buffer, packed(2, channels, 7, 9));
    let mut specs = vec![
        ("in place", in_place(three(20))),
        ("in place in parts", in_place_in_parts(24, &[(4, 8), (16, 24)])),
        ("in place and another", add(in_place(three(18)), like(1, 18), 0)),
        ("add planar", add(three(20), whole(1, planar(2, 20, 7, 9)), 0)),
        ("gated add", gated(add(three(20), like(1, 20), 0), 2, 24, 4)),
        ("gated in place", gated(in_place(three(20)), 1, 20, 0)),
        ("relu before", relu_until(three(19), 6, true)),
        ("prelu", activated(three(21), Function::PRelu)),
        ("sigmoid", activated(three(24), Function::Sigmoid)),
        ("split in three", split(three(39), &[4, 32])),
        ("split planar", to_planar(split(three(39), &[12, 32]))),
        ("classifier of many", to_planar(conv(vec![range(whole(0, packed(19, 210, 1, 1)), 1, 1, 0, 1)], 30))),
    ];
    let view = Operand { first_channel: 4, channels: 21, stride: 2, ..whole(1, packed(2, 29, 13, 17)) };
    specs.push(("add a strided part", add(three(28), view, 4)));
    let part = Operand { first_channel: 4, channels: 25, stride: 2, ..whole(0, packed(2, 30, 13, 18)) };
    specs.push(("strided view", conv(vec![range(part, 3, 1, 1, 1)], 20)));
    specs.push(("strided view 1x1", conv(vec![range(part, 1, 1, 0, 1)], 20)));
    for (kernel, stride, padding, dilation) in
        [(3, 2, 1, 1), (3, 1, 0, 1), (3, 1, 2, 2), (5, 2, 3, 1), (2, 2, 0, 1), (1, 2, 0, 1)]
    {
        let from = whole(0, packed(2, 27, 14, 13));
        specs.push(("window", conv(vec![range(from, kernel, stride, padding, dilation)], 20)));
    }
    let mut uneven = range(whole(0, packed(2, 26, 8, 13)), 1, 1, 0, 1);
    (uneven.kernel, uneven.stride, uneven.dilation) = ([3, 2], [1, 3], [2, 1]);
    (uneven.padding, uneven.padding_end) = ([2, 0], [2, 1]);
    specs.push(("uneven window", conv(vec![uneven], 20)));
    for function in [Function::Identity, Function::Relu, Function::Relu6] {
        specs.push(("mapped", mapped(three(20), 0, function)));
        specs.push(("mapped means", mapped(of_means(packed(2, 18, 13, 11), 20), 0, function)));
    }
    specs.push(("means", of_means(packed(1, 32, 12, 10), 20)));
    specs.push(("projection", projection(packed(2, 22, 7, 8), packed(2, 18, 13, 15), 20, 3, 2)));
    specs.push(("projection 1x1", projection(packed(2, 30, 6, 5), packed(2, 27, 6, 5), 36, 1, 1)));
    let shape = packed(1, 56, 6, 6);
    let (low, high) = (
        Operand { channels: 26, ..whole(0, shape) },
        Operand { first_channel: 28, channels: 28, ..whole(0, shape) },
    );
    let thrice = vec![range(low, 3, 1, 1, 1), range(high, 5, 1, 2, 1), range(whole(0, shape), 1, 1, 0, 1)];
    specs.push(("same buffer thrice", conv(thrice, 24)));
    let mut offset = three(39);
    offset.outputs[0].first_channel = 12;
    offset.outputs[0].shape.channels = 51;
    specs.push(("offset", offset));
    specs
}

/// Matrices times vectors, and means: the sums that several invocations share, with as many of them as a GPU would have.
pub fn in_slices() -> Vec<(String, Spec)> {
    let mut specs = vec![];
    for (batch, channels, out) in
        [(1, 512, 1000), (1, 2048, 100), (3, 300, 37), (2, 1030, 18), (4, 129, 17), (1, 64, 4), (2, 7, 1100)]
    {
        let product = conv(vec![range(whole(0, packed(batch, channels, 1, 1)), 1, 1, 0, 1)], out);
        let name = format!("{batch} of {channels} to {out}");
        let spec = match out % 2 {
            0 => to_planar(product),
            _ => activated(product, Function::PRelu),
        };
        specs.push((name, Spec::Conv(spec)));
    }
    for shape in [
        packed(1, 512, 7, 7),
        packed(3, 10, 5, 6),
        packed(1, 24, 56, 57),
        packed(2, 9, 2, 3),
        packed(1, 6, 1, 8),
        planar(2, 5, 12, 11),
    ] {
        for part in [false, true] {
            let first_channel = if part { 4 } else { 0 };
            let from = Operand { first_channel, channels: shape.channels - first_channel, ..whole(0, shape) };
            let to = BufferShape { channels: from.channels, ..packed(shape.batch, 0, 1, 1) };
            specs.push((
                format!("mean of {shape:?} from {first_channel}"),
                Spec::Average(AverageSpec { from, to }),
            ));
        }
    }
    specs
}

/// A 3x3 convolution of all that a buffer holds.
pub fn three(batch: usize, channels: usize, height: usize, width: usize, out: usize) -> ConvSpec {
    conv(vec![range(whole(0, packed(batch, channels, height, width)), 3, 1, 1, 1)], out)
}

/// Every remainder of Winograd's tiles.
pub fn pass_remainders() -> Vec<(String, ConvSpec)> {
    let shapes = [
        (1, 1, 1, 1, 1),
        (1, 3, 2, 5, 7),
        (1, 8, 3, 4, 16),
        (2, 5, 4, 9, 17),
        (3, 12, 7, 7, 20),
        (1, 16, 13, 31, 33),
        (2, 22, 8, 6, 48),
        (5, 4, 5, 3, 5),
        (1, 9, 30, 17, 12),
        (1, 6, 9, 9, 64),
        (2, 7, 5, 12, 67),
    ];
    let named = |(batch, channels, height, width, out)| {
        let name = format!("{batch}x{height}x{width}, {channels} to {out}");
        (name, three(batch, channels, height, width, out))
    };
    shapes.into_iter().map(named).collect()
}

/// Every operand and epilogue that Winograd's passes take, with the number of kernels of passes there are for it.
pub fn pass_kinds() -> Vec<(&'static str, usize, ConvSpec)> {
    let x = packed(2, 24, 11, 9);
    let view = Operand { first_channel: 8, channels: 10, ..whole(0, x) };
    let strided = Operand { stride: 2, ..whole(0, packed(2, 12, 21, 18)) };
    let unpadded = conv(vec![range(whole(0, x), 3, 1, 0, 1)], 20);
    let of_two =
        conv(vec![range(whole(0, x), 3, 1, 1, 1), range(whole(1, packed(2, 6, 11, 9)), 3, 1, 1, 1)], 20);
    let added = |spec| add(spec, whole(1, packed(2, 8, 11, 9)), 4);
    let every_other = Operand { stride: 2, ..whole(2, packed(2, 12, 21, 18)) };
    let clipped = ConvSpec { activation: vec![(0..20, Function::Relu6)], ..three(2, 24, 11, 9, 20) };
    let specs = [
        ("a range of channels", conv(vec![range(view, 3, 1, 1, 1)], 20)),
        ("every other row", conv(vec![range(strided, 3, 1, 1, 1)], 20)),
        ("no padding", unpadded),
        ("wide padding", conv(vec![range(whole(0, x), 3, 1, 2, 1)], 20)),
        ("two windows", of_two),
        ("in place", in_place(three(2, 24, 11, 9, 20))),
        ("in place, and an added value", in_place(added(three(2, 24, 11, 9, 20)))),
        ("an added value", added(three(2, 24, 11, 9, 20))),
        ("two added values", add(added(three(2, 24, 11, 9, 20)), every_other, 0)),
        ("two outputs", split(three(2, 24, 11, 9, 20), &[8])),
        ("clipped", clipped),
    ];
    // There a projection may be summed before.
    let strided = projection(x, packed(2, 10, 22, 18), 20, 3, 2);
    let two = ConvSpec {
        k_ranges: [&strided.k_ranges[..], &[range(whole(2, packed(2, 6, 11, 9)), 1, 1, 0, 1)]].concat(),
        ..strided.clone()
    };
    let mut offset = strided.clone();
    offset.outputs[0].first_channel = 12;
    offset.outputs[0].shape.channels = 36;
    let apart = [
        ("a projection", 3, strided.clone()),
        ("a projection of stride 1", 3, projection(x, packed(2, 10, 11, 9), 20, 3, 1)),
        ("a projection to many", 3, projection(x, packed(2, 10, 22, 18), 37, 3, 2)),
        ("a projection and an added value", 3, add(strided.clone(), whole(2, packed(2, 8, 11, 9)), 4)),
        (
            "a projection, clipped",
            3,
            ConvSpec { activation: vec![(0..20, Function::Relu6)], ..strided.clone() },
        ),
        ("two projections", 1, two),
        ("a projection in place", 2, in_place(strided.clone())),
        ("a projection to a part of a buffer", 3, offset),
        ("a projection and two outputs", 2, split(strided, &[8])),
    ];
    specs.into_iter().map(|(name, spec)| (name, 2, spec)).chain(apart).collect()
}
